//! The public keys of an issuer of tokens, as its OpenID configuration would lead to them (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

/// A JSON Web Key Set, as an issuer's `jwks_uri` answers it: `{"keys": […]}`. Only its RSA keys are
/// used, as Entra takes nothing but RS256.
#[derive(Clone, Debug, Deserialize)]
pub struct JsonWebKeySet {
    /// Its keys.
    pub keys: Vec<JsonWebKey>,
}

/// One public key. Members that are not here are ignored, as RFC 7517 wants it.
#[derive(Clone, Debug, Deserialize)]
pub struct JsonWebKey {
    /// `RSA` for the keys that are used.
    pub kty: String,
    /// What a token's header names it by.
    #[serde(default)]
    pub kid: Option<String>,
    /// Modulus of an RSA key, in base64url.
    #[serde(default)]
    pub n: Option<String>,
    /// Exponent of an RSA key, in base64url.
    #[serde(default)]
    pub e: Option<String>,
}

impl JsonWebKeySet {
    /// Whether any signature can be checked with it.
    pub(crate) fn is_of_use(&self) -> bool {
        self.keys.iter().any(|key| key.components().is_some())
    }

    /// Whether one of the keys has signed `message`: the key of that id, where a token names one.
    pub(super) fn have_signed(&self, kid: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        self.keys
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)))
            .filter_map(JsonWebKey::components)
            .any(|key| {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            })
    }
}

impl JsonWebKey {
    fn components(&self) -> Option<RsaPublicKeyComponents<Vec<u8>>> {
        if self.kty != "RSA" {
            return None;
        }
        Some(RsaPublicKeyComponents {
            n: number(self.n.as_deref()?)?,
            e: number(self.e.as_deref()?)?,
        })
    }
}

/// Bytes without leading zeros, which some write and ring does not take.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec()).filter(|bytes| !bytes.is_empty())
}

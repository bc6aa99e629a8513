//! Client assertions: a token of another issuer instead of a secret (workload identity).
//!
//! Its claims are checked against the client's federated credentials; its signature where the
//! credential has the issuer's keys, which Azure would fetch from the issuer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use super::TokenError;
use super::jwks::JsonWebKeySet;
use crate::world::World;

/// Whether `assertion` lets a client sign in. The codes of Entra's refusals, and their texts, are
/// from reports of users: 700213 of Azure/azure-workload-identity#1200, 700024 of Azure/login#180 and
/// AzureAD/microsoft-authentication-library-for-java#984.
pub(super) fn check(
    world: &World,
    client: &str,
    assertion: &str,
    now: Timestamp,
) -> Result<(), TokenError> {
    let Some(token) = Token::parse(assertion) else {
        return Err(TokenError::invalid_client(
            50_027,
            "JWT token is invalid or malformed.".to_owned(),
        ));
    };
    let claims = &token.claims;
    let text = |name: &str| claims[name].as_str().unwrap_or_default();
    let (issuer, subject) = (text("iss"), text("sub"));
    let mut known = world
        .federated_credentials
        .iter()
        .filter(|credential| {
            credential.client_id.eq_ignore_ascii_case(client)
                && credential.issuer == issuer
                && credential.subject == subject
                && is_for(&claims["aud"], &credential.audience)
        })
        .peekable();
    if known.peek().is_none() {
        return Err(TokenError::invalid_client(
            700_213,
            format!(
                "No matching federated identity record found for presented assertion subject \
                 '{subject}'. Check your federated identity credential Subject, Audience and Issuer \
                 against the presented assertion."
            ),
        ));
    }
    if !known.any(|credential| {
        let keys = credential.jwks.as_ref();
        keys.is_none_or(|keys| token.is_signed_by(keys))
    }) {
        return Err(TokenError::not_signed());
    }
    let second = now.as_second();
    let begun = claims["nbf"].as_i64().is_none_or(|from| from <= second);
    let live = claims["exp"].as_i64().is_some_and(|until| until > second);
    if begun && live {
        return Ok(());
    }
    Err(TokenError::invalid_client(
        700_024,
        "Client assertion is not within its valid time range.".to_owned(),
    ))
}

/// A JWT in its compact form.
struct Token<'a> {
    header: Value,
    claims: Value,
    /// What the signature is of: header and claims as they were sent.
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed,
            signature,
        })
    }

    fn is_signed_by(&self, keys: &JsonWebKeySet) -> bool {
        let Some(signature) = decoded(self.signature) else {
            return false;
        };
        let kid = self.header["kid"].as_str();
        self.header["alg"] == "RS256" && keys.have_signed(kid, self.signed.as_bytes(), &signature)
    }
}

fn object(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&decoded(part)?).ok()?;
    value.is_object().then_some(value)
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()
}

fn is_for(audience: &Value, wanted: &str) -> bool {
    match audience {
        Value::String(one) => one == wanted,
        Value::Array(all) => all.iter().any(|one| one == wanted),
        _ => false,
    }
}

//! What Azure demands of a token: the claims in a `WWW-Authenticate` header (continuous access
//! evaluation, contract §2).

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde_json::{Map, Value};

/// The claims that the next token has to be asked with, as JSON text. None where the header asks
/// for none, or for something that no token request could carry.
pub(super) fn claims(headers: &HeaderMap) -> Option<String> {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    challenges
        .filter_map(|value| value.to_str().ok())
        .find_map(decoded)
}

fn decoded(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("claims=\"")?;
    let (encoded, _) = rest.split_once('"')?;
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = [STANDARD, URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(encoded).ok())?;
    // Nothing else is put into a request that carries a secret.
    serde_json::from_slice::<Map<String, Value>>(&bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use reqwest::header::HeaderValue;

    use super::*;

    /// Its base64 has a `+` and padding, so that the alphabets differ.
    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1>?"}}}"#;

    fn read(value: &str) -> Option<String> {
        let value = HeaderValue::from_str(value).unwrap();
        claims(&HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]))
    }

    #[test]
    fn claims_are_read_in_either_alphabet_wherever_they_stand() {
        for encoded in [STANDARD.encode(CLAIMS), URL_SAFE_NO_PAD.encode(CLAIMS)] {
            let challenge = format!(
                "Bearer authorization_uri=\"https://login.test/t\", error=\"insufficient_claims\", claims=\"{encoded}\""
            );
            assert_eq!(read(&challenge).as_deref(), Some(CLAIMS));
        }
    }

    #[test]
    fn a_challenge_without_claims_or_with_others_than_json_asks_for_none() {
        let text = STANDARD.encode("scope=everything");
        for challenge in [
            "Bearer error=\"invalid_token\"",
            "Bearer claims=\"\"",
            "Bearer claims=\"%%%\"",
            "Bearer claims=\"e30",
            &format!("Bearer claims=\"{text}\""),
        ] {
            assert_eq!(read(challenge), None, "{challenge}");
        }
    }
}

//! Client assertions: a token of another issuer instead of a secret (workload identity).
//!
//! Its claims are checked against the client's federated credentials; its signature is not, because
//! the issuer's keys may be out of reach.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use super::TokenError;
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
    let Some(claims) = claims(assertion) else {
        return Err(TokenError::invalid_client(
            50_027,
            "JWT token is invalid or malformed.".to_owned(),
        ));
    };
    let text = |name: &str| claims[name].as_str().unwrap_or_default();
    let (issuer, subject) = (text("iss"), text("sub"));
    let known = world.federated_credentials.iter().any(|credential| {
        credential.client_id.eq_ignore_ascii_case(client)
            && credential.issuer == issuer
            && credential.subject == subject
            && is_for(&claims["aud"], &credential.audience)
    });
    if !known {
        return Err(TokenError::invalid_client(
            700_213,
            format!(
                "No matching federated identity record found for presented assertion subject \
                 '{subject}'. Check your federated identity credential Subject, Audience and Issuer \
                 against the presented assertion."
            ),
        ));
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

fn claims(assertion: &str) -> Option<Value> {
    let mut parts = assertion.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims.is_object().then_some(claims)
}

fn is_for(audience: &Value, wanted: &str) -> bool {
    match audience {
        Value::String(one) => one == wanted,
        Value::Array(all) => all.iter().any(|one| one == wanted),
        _ => false,
    }
}

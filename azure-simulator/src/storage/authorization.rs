//! Who may do what with a storage account: a signature in the URL, the account's key, or a token.

use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};

use crate::arm::request::Query;
use crate::azure::Azure;
use crate::entra::{Audience, Principal};
use crate::storage::StorageRequest;
use crate::storage::account::Account;
use crate::storage::error::StorageError;
use crate::storage::sas::{self, Permission};

/// Refuses a request that nothing permits.
pub(crate) fn check(
    azure: &Azure,
    account: &Account,
    request: &StorageRequest,
    permission: Permission,
) -> Result<(), StorageError> {
    let now = azure.clock.now().timestamp;
    let settings = &azure.settings;
    if request.query.get("sig").is_some() {
        let place = (request.container.as_str(), request.blob.as_str());
        if sas::permits(account, settings, place, &request.query, (permission, now)) {
            return Ok(());
        }
        return Err(denied(
            "Signature fields not well formed, expired or not permitted.",
        ));
    }
    let given = request.headers.get(header::AUTHORIZATION);
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Some(signed) = given.strip_prefix("SharedKey ") {
        let text = text_to_sign(account, request);
        if let Some((name, signature)) = signed.split_once(':')
            && name == account.name
            && sas::is_signed(account, settings, &text, signature)
        {
            return Ok(());
        }
        return Err(denied(
            "The MAC signature found in the HTTP request is not the same.",
        ));
    }
    match azure
        .tokens
        .check(settings, &request.headers, Audience::Storage, now)
    {
        Ok(Principal::Client(_)) => Ok(()),
        _ => Err(denied(
            "Neither a signature, nor an account key, nor a token was given.",
        )),
    }
}

fn denied(detail: &str) -> StorageError {
    StorageError::new(
        StatusCode::FORBIDDEN,
        "AuthenticationFailed",
        format!(
            "Server failed to authenticate the request. Make sure the value of Authorization header \
             is formed correctly including the signature. {detail}"
        ),
    )
}

/// The string that Shared Key signs (version 2015-02-21 and later).
fn text_to_sign(account: &Account, request: &StorageRequest) -> String {
    let header = |name: HeaderName| text_of(&request.headers, &name);
    let length = match request.length {
        0 => String::new(),
        length => length.to_string(),
    };
    let mut text = format!("{}\n", request.method);
    for value in [
        header(header::CONTENT_ENCODING),
        header(header::CONTENT_LANGUAGE),
        length,
        header(HeaderName::from_static("content-md5")),
        header(header::CONTENT_TYPE),
        // `x-ms-date` stands in for it.
        String::new(),
        header(header::IF_MODIFIED_SINCE),
        header(header::IF_MATCH),
        header(header::IF_NONE_MATCH),
        header(header::IF_UNMODIFIED_SINCE),
        header(header::RANGE),
    ] {
        text.push_str(&value);
        text.push('\n');
    }
    let mut own: Vec<(&str, String)> = request
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-ms-"))
        .map(|name| (name.as_str(), text_of(&request.headers, name)))
        .collect();
    own.sort();
    for (name, value) in own {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{}{}", account.name, request.raw_path));
    text.push_str(&canonical_query(&request.query));
    text
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_owned()
}

fn canonical_query(query: &Query) -> String {
    let mut pairs: Vec<(String, &str)> = query
        .names()
        .map(|name| (name.to_lowercase(), query.get(name).unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("\n{name}:{value}"))
        .collect()
}

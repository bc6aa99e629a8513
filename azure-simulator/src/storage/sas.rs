//! Shared access signatures: URLs that let somebody without a token at one container or blob, for a
//! while. Signed with the account's key, so that clients who have it sign their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use uuid::Uuid;

use crate::arm::request::Query;
use crate::azure::Settings;
use crate::storage::account::Account;

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
const VERSION: &str = "2021-08-06";
/// From this version on the encryption scope is signed too.
const WITH_ENCRYPTION_SCOPE: &str = "2020-12-06";
/// From this version on the kind of resource and the snapshot are.
const WITH_RESOURCE: &str = "2018-11-09";

/// What account keys are derived from; new in every simulator.
#[derive(Clone)]
pub(crate) struct SigningKey(Uuid);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) fn derived(&self, name: &str) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA512, self.0.as_bytes());
        hmac::sign(&key, name.as_bytes()).as_ref().to_vec()
    }
}

/// What an operation needs; any of its letters in `sp` will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Read,
    Write,
    List,
    Delete,
}

impl Permission {
    fn letters(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "wca",
            Self::List => "l",
            Self::Delete => "d",
        }
    }
}

fn account_key(account: &Account, settings: &Settings) -> hmac::Key {
    hmac::Key::new(
        hmac::HMAC_SHA256,
        &settings.signing_key.derived(&account.name),
    )
}

/// Whether `signature`, as `Authorization` headers and `sig` carry it, is that of `text` under an
/// account's key.
pub(crate) fn is_signed(
    account: &Account,
    settings: &Settings,
    text: &str,
    signature: &str,
) -> bool {
    let key = account_key(account, settings);
    STANDARD
        .decode(signature)
        .is_ok_and(|tag| hmac::verify(&key, text.as_bytes(), &tag).is_ok())
}

/// The query that lets whoever has it at a container, or at one blob of it, for an hour.
pub(crate) fn issue(
    account: &Account,
    settings: &Settings,
    (container, blob): (&str, Option<&str>),
    permissions: &str,
    now: Timestamp,
) -> String {
    let expires = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kind = if blob.is_some() { "b" } else { "c" };
    let query = format!("sv={VERSION}&sr={kind}&sp={permissions}&se={expires}&spr=https");
    let resource = resource(account, container, blob.unwrap_or_default());
    let signed = text_to_sign(&Query::parse(&query), &resource);
    let tag = hmac::sign(&account_key(account, settings), signed.as_bytes());
    let signature = STANDARD.encode(tag);
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    format!("{query}&sig={signature}")
}

/// Whether the signature in a query permits an operation on a blob now.
pub(crate) fn permits(
    account: &Account,
    settings: &Settings,
    (container, blob): (&str, &str),
    query: &Query,
    (permission, now): (Permission, Timestamp),
) -> bool {
    let part = |name| query.get(name).unwrap_or_default();
    let resource = match part("sr") {
        "b" => resource(account, container, blob),
        "c" => resource(account, container, ""),
        _ => return false,
    };
    let signed = text_to_sign(query, &resource);
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let live = time(part("se")).is_some_and(|expires| expires > now)
        && (part("st").is_empty() || time(part("st")).is_some_and(|starts| starts <= now));
    live && part("sp").contains(|letter| permission.letters().contains(letter))
        && is_signed(account, settings, &signed, part("sig"))
}

fn resource(account: &Account, container: &str, blob: &str) -> String {
    let mut resource = format!("/blob/{}/{container}", account.name);
    if !blob.is_empty() {
        resource.push('/');
        resource.push_str(blob);
    }
    resource
}

/// The string that a service SAS signs.
fn text_to_sign(query: &Query, resource: &str) -> String {
    let part = |name| query.get(name).unwrap_or_default();
    let mut parts = vec![
        part("sp"),
        part("st"),
        part("se"),
        resource,
        part("si"),
        part("sip"),
        part("spr"),
        part("sv"),
    ];
    if part("sv") >= WITH_RESOURCE {
        parts.extend([part("sr"), part("snapshot")]);
    }
    if part("sv") >= WITH_ENCRYPTION_SCOPE {
        parts.push(part("ses"));
    }
    parts.extend([
        part("rscc"),
        part("rscd"),
        part("rsce"),
        part("rscl"),
        part("rsct"),
    ]);
    parts.join("\n")
}

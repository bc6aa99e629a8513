//! The tokens that were issued, and who shows one.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::arm::error::ArmError;
use crate::azure::Settings;
use crate::lock;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A service principal, by its client id.
    Client(String),
    /// A job, by the key of its workspace: what a run token stands for.
    Run { workspace: String },
}

impl Principal {
    pub(crate) fn display_name(&self) -> &str {
        match self {
            Self::Client(id) => id,
            Self::Run { .. } => "run",
        }
    }
}

/// Which plane a token is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    ResourceManager,
    DataPlane,
    Storage,
}

/// What a token for ARM may be for, beside the address that ARM has here.
const RESOURCE_MANAGER: [&str; 2] = [
    "https://management.core.windows.net",
    "https://management.azure.com",
];
const MACHINE_LEARNING: &str = "https://ml.azure.com";
const STORAGE: &str = "https://storage.azure.com";

/// The resource of ours that a scope or a client names, where it is one.
pub(super) fn resource(named: &str, settings: &Settings) -> Option<String> {
    let named = named.trim_end_matches('/');
    let known = named == settings.base_url()
        || RESOURCE_MANAGER.contains(&named)
        || [MACHINE_LEARNING, STORAGE].contains(&named);
    known.then(|| named.to_owned())
}

impl Audience {
    /// Whether a token for that resource is for this plane.
    fn takes(self, resource: &str, settings: &Settings) -> bool {
        let manages = resource == settings.base_url() || RESOURCE_MANAGER.contains(&resource);
        match self {
            Self::ResourceManager => manages,
            Self::DataPlane => manages || resource == MACHINE_LEARNING,
            Self::Storage => resource == STORAGE,
        }
    }
}

#[derive(Clone, Debug)]
struct Issued {
    principal: Principal,
    /// The resource that it is for.
    audience: String,
    expires: Timestamp,
    /// Since when it is not taken any more, though it has not expired.
    revoked: Option<Timestamp>,
}

/// Every token that was issued and has not been forgotten. Kept as digests.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: Mutex<HashMap<[u8; 32], Issued>>,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Unknown,
    Expired {
        at: Timestamp,
        now: Timestamp,
    },
    /// It is for this resource and not for the one that it was shown to.
    OtherAudience(String),
    /// Not expired: continuous access evaluation wants a newer one.
    Revoked(Timestamp),
}

impl Refusal {
    /// ARM's 401 (contract section 2). Codes and words have been reported: without a token in
    /// hashicorp/terraform-provider-azurerm#3612, with one that is none in
    /// Azure/azure-powershell#27882, with an old one in microsoft/foundry-dev-tools#461, with one for
    /// another resource in Azure-Samples/active-directory-dotnetcore-daemon-v2#145. The claims of one
    /// for a revoked token have the form that Azure CLI was sent (Azure/azure-cli#23635), in a
    /// challenge as Azure's SDKs know it (Azure/azure-sdk-for-js#32351).
    pub(crate) fn arm_error(self, settings: &Settings) -> ArmError {
        let (code, message) = match &self {
            Self::OtherAudience(resource) => {
                let allowed: Vec<String> = RESOURCE_MANAGER
                    .iter()
                    .map(|one| format!("{one}/,{one}"))
                    .collect();
                let message = format!(
                    "The access token has been obtained for wrong audience or resource '{resource}'. \
                     It should exactly match with one of the allowed audiences '{}'.",
                    allowed.join(",")
                );
                ("InvalidAuthenticationTokenAudience", message)
            }
            Self::Missing => (
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.".to_owned(),
            ),
            Self::Unknown => (
                "InvalidAuthenticationToken",
                "The access token is invalid.".to_owned(),
            ),
            Self::Expired { at, now } => (
                "ExpiredAuthenticationToken",
                format!(
                    "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
                    at.strftime("%-m/%-d/%Y %-I:%M:%S %p"),
                    now.strftime("%-m/%-d/%Y %-I:%M:%S %p"),
                ),
            ),
            Self::Revoked(_) => (
                settings.world.unproven.revoked_token_code.as_str(),
                "The access token has been revoked.".to_owned(),
            ),
        };
        let mut challenge = format!(
            "Bearer authorization_uri=\"{}/{}\"",
            settings.base_url(),
            settings.world.tenant_id,
        );
        match self {
            Self::Revoked(at) => {
                let claims = json!({
                    "access_token": {"nbf": {"essential": true, "value": at.as_second().to_string()}},
                });
                challenge.push_str(&format!(
                    ", error=\"insufficient_claims\", claims=\"{}\"",
                    STANDARD.encode(claims.to_string()),
                ));
            }
            _ => challenge.push_str(&format!(
                ", error=\"invalid_token\", error_description=\"{message}\""
            )),
        }
        ArmError::new(StatusCode::UNAUTHORIZED, code, message).header("www-authenticate", challenge)
    }
}

impl Tokens {
    /// A new token in the form of a JWT; `claims` get `exp`, `iat` and `nbf`.
    pub(crate) fn issue(
        &self,
        principal: Principal,
        now: Timestamp,
        lifetime: SignedDuration,
        mut claims: Value,
    ) -> String {
        let expires = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
        let audience = claims["aud"].as_str().unwrap_or_default().to_owned();
        claims["iat"] = json!(now.as_second());
        claims["nbf"] = json!(now.as_second());
        claims["exp"] = json!(expires.as_second());
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signature = Sha256::digest(Uuid::new_v4().as_bytes());
        let token = format!(
            "{}.{}.{}",
            part(json!({"typ": "JWT", "alg": "none", "kid": "azure-simulator"})),
            part(claims),
            URL_SAFE_NO_PAD.encode(signature),
        );
        let mut issued = lock(&self.issued);
        issued.retain(|_, token| token.expires > now.saturating_sub(lifetime).unwrap_or(now));
        issued.insert(
            digest(&token),
            Issued {
                principal,
                audience,
                expires,
                revoked: None,
            },
        );
        token
    }

    /// Who shows the bearer token of these headers.
    pub(crate) fn check(
        &self,
        settings: &Settings,
        headers: &HeaderMap,
        audience: Audience,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let header = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .ok_or(Refusal::Missing)?;
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Refusal::Unknown)?;
        let issued = lock(&self.issued)
            .get(&digest(token))
            .cloned()
            .ok_or(Refusal::Unknown)?;
        if issued.expires <= now {
            let at = issued.expires;
            return Err(Refusal::Expired { at, now });
        }
        if let Some(at) = issued.revoked {
            return Err(Refusal::Revoked(at));
        }
        let of_a_run = matches!(issued.principal, Principal::Run { .. });
        if audience == Audience::ResourceManager && of_a_run {
            return Err(Refusal::Unknown);
        }
        if !audience.takes(&issued.audience, settings) {
            return Err(Refusal::OtherAudience(issued.audience));
        }
        Ok(issued.principal)
    }

    /// Takes no token of clients any more that was issued until now.
    pub(crate) fn revoke_all(&self, now: Timestamp) {
        for token in lock(&self.issued).values_mut() {
            if matches!(token.principal, Principal::Client(_)) {
                token.revoked = Some(now);
            }
        }
    }

    /// Makes every token of clients expire now; run tokens live on.
    pub(crate) fn expire_all(&self, now: Timestamp) {
        for token in lock(&self.issued).values_mut() {
            if matches!(token.principal, Principal::Client(_)) {
                token.expires = now;
            }
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

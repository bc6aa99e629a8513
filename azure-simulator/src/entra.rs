//! Entra ID: issues access tokens for client secrets, and knows the tokens it issued
//! (contract section 2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::Query;
use crate::azure::{Azure, Settings};
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
}

#[derive(Clone, Debug)]
struct Issued {
    principal: Principal,
    expires: Timestamp,
}

/// Every token that was issued and has not been forgotten. Kept as digests.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: Mutex<HashMap<[u8; 32], Issued>>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Unknown,
    Expired,
}

impl Refusal {
    /// ARM's 401 (contract section 2).
    pub(crate) fn arm_error(self, settings: &Settings) -> ArmError {
        let (code, message) = match self {
            Self::Missing => (
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ),
            Self::Unknown => ("InvalidAuthenticationToken", "The access token is invalid."),
            Self::Expired => (
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            ),
        };
        ArmError::new(StatusCode::UNAUTHORIZED, code, message).header(
            "www-authenticate",
            format!(
                "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", \
                 error_description=\"{message}\"",
                settings.base_url(),
                settings.world.tenant_id,
            ),
        )
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
        issued.insert(digest(&token), Issued { principal, expires });
        token
    }

    /// Who shows the bearer token of these headers.
    pub(crate) fn check(
        &self,
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
            return Err(Refusal::Expired);
        }
        match (audience, &issued.principal) {
            (Audience::ResourceManager, Principal::Run { .. }) => Err(Refusal::Unknown),
            _ => Ok(issued.principal),
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

/// An error of the token endpoint.
struct TokenError {
    status: StatusCode,
    error: &'static str,
    code: u32,
    message: String,
}

impl TokenError {
    fn new(status: StatusCode, error: &'static str, code: u32, message: String) -> Self {
        Self {
            status,
            error,
            code,
            message,
        }
    }

    fn answer(self, now: Timestamp) -> Answer {
        let correlation = Uuid::new_v4();
        let trace = Uuid::new_v4();
        let time = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        Answer::json(
            self.status,
            json!({
                "error": self.error,
                "error_description": format!(
                    "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
                    self.code, self.message
                ),
                "error_codes": [self.code],
                "timestamp": time,
                "trace_id": trace,
                "correlation_id": correlation,
            }),
        )
    }
}

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(crate) async fn token(
    State(azure): State<Arc<Azure>>,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let now = azure.clock.now().timestamp;
    let form = Query::parse(&String::from_utf8_lossy(&body));
    match grant(&azure, &tenant, &form, now) {
        Ok(answer) => answer,
        Err(error) => error.answer(now),
    }
}

fn grant(azure: &Azure, tenant: &str, form: &Query, now: Timestamp) -> Result<Answer, TokenError> {
    let world = &azure.settings.world;
    let bad = |error, code, message| TokenError::new(StatusCode::BAD_REQUEST, error, code, message);
    if !tenant.eq_ignore_ascii_case(&world.tenant_id) {
        return Err(bad(
            "invalid_request",
            90002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and \
                 are signing into the correct cloud."
            ),
        ));
    }
    let grant_type = form.get("grant_type").unwrap_or_default();
    if grant_type != "client_credentials" {
        return Err(bad(
            "unsupported_grant_type",
            70003,
            format!("The app requested an unsupported grant type '{grant_type}'."),
        ));
    }
    let id = form.get("client_id").unwrap_or_default();
    let known = world
        .clients
        .iter()
        .find(|client| client.client_id.eq_ignore_ascii_case(id));
    let Some(client) = known else {
        return Err(bad(
            "unauthorized_client",
            700_016,
            format!(
                "Application with identifier '{id}' was not found in the directory '{tenant}'. This \
                 can happen if the application has not been installed by the administrator of the \
                 tenant or consented to by any user in the tenant."
            ),
        ));
    };
    let unauthorized =
        |code, message| TokenError::new(StatusCode::UNAUTHORIZED, "invalid_client", code, message);
    if form.get("client_assertion").is_some() {
        tracing::warn!("a client assertion was offered; only client secrets are simulated");
        return Err(unauthorized(
            700_027,
            "The certificate or assertion used to authenticate is not valid. Client assertions are \
             not simulated."
                .to_owned(),
        ));
    }
    if form.get("client_secret") != Some(client.client_secret.as_str()) {
        return Err(unauthorized(
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{id}'."
            ),
        ));
    }
    let scope = form.get("scope").unwrap_or_default();
    let Some(audience) = audience_of(scope, &azure.settings) else {
        return Err(bad(
            "invalid_resource",
            500_011,
            format!("The resource principal named '{scope}' was not found in the tenant."),
        ));
    };
    let lifetime = world.token_lifetime_seconds;
    let claims = json!({
        "aud": audience,
        "iss": format!("https://sts.windows.net/{}/", world.tenant_id),
        "appid": client.client_id,
        "oid": client.client_id,
        "tid": world.tenant_id,
    });
    let token = azure.tokens.issue(
        Principal::Client(client.client_id.clone()),
        now,
        SignedDuration::from_secs(i64::try_from(lifetime).unwrap_or(i64::MAX)),
        claims,
    );
    Ok(Answer::ok(json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token,
    }))
    .header("cache-control", "no-store, no-cache"))
}

/// The resource that a scope asks for, where it is one of ours.
fn audience_of(scope: &str, settings: &Settings) -> Option<String> {
    let resource = scope
        .split_whitespace()
        .find_map(|scope| scope.strip_suffix("/.default"))?
        .trim_end_matches('/');
    let own = settings.base_url();
    [
        "https://management.azure.com",
        "https://management.core.windows.net",
        "https://ml.azure.com",
        own.as_str(),
    ]
    .contains(&resource)
    .then(|| resource.to_owned())
}

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`.
pub(crate) async fn openid_configuration(
    State(azure): State<Arc<Azure>>,
    Path(tenant): Path<String>,
) -> Answer {
    let base = azure.settings.base_url();
    Answer::ok(json!({
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
        "issuer": format!("{base}/{tenant}/v2.0"),
        "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "response_types_supported": ["code", "id_token"],
        "scopes_supported": ["openid"],
        "tenant_region_scope": null,
        "cloud_instance_name": azure.settings.authority,
    }))
}

/// `GET /common/discovery/instance`: which hosts are one cloud.
pub(crate) async fn instance_discovery(State(azure): State<Arc<Azure>>) -> Answer {
    let authority = &azure.settings.authority;
    Answer::ok(json!({
        "tenant_discovery_endpoint": format!(
            "{}/{}/v2.0/.well-known/openid-configuration",
            azure.settings.base_url(), azure.settings.world.tenant_id,
        ),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": authority,
            "preferred_cache": authority,
            "aliases": [authority],
        }],
    }))
}

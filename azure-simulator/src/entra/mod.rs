//! Entra ID: issues access tokens for client secrets and for tokens of other issuers, and knows the
//! tokens it issued (contract section 2).

mod assertion;
mod jwks;
pub(crate) mod run_token;
mod tokens;

pub use jwks::{JsonWebKey, JsonWebKeySet};
pub(crate) use tokens::{Audience, Principal, Refusal, Tokens};

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::request::Query;
use crate::azure::{Azure, Settings};

/// An error of the token endpoint.
struct TokenError {
    status: StatusCode,
    error: &'static str,
    /// Number of the `AADSTS` code, where it is known which one Azure has.
    code: Option<u32>,
    message: String,
}

impl TokenError {
    fn new(status: StatusCode, error: &'static str, code: u32, message: String) -> Self {
        Self {
            status,
            error,
            code: Some(code),
            message,
        }
    }

    fn invalid_client(code: u32, message: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, message)
    }

    /// None of the issuer's keys has signed an assertion. The code of that was not recorded.
    fn not_signed() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error: "invalid_client",
            code: None,
            message: "The client assertion is not signed by a key of its issuer (RS256)."
                .to_owned(),
        }
    }

    fn answer(self, now: Timestamp) -> Answer {
        let correlation = Uuid::new_v4();
        let trace = Uuid::new_v4();
        let time = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let code = self.code.map(|code| format!("AADSTS{code}: "));
        Answer::json(
            self.status,
            json!({
                "error": self.error,
                "error_description": format!(
                    "{}{} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
                    code.unwrap_or_default(), self.message
                ),
                "error_codes": self.code.into_iter().collect::<Vec<_>>(),
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
    let unauthorized = TokenError::invalid_client;
    if let Some(assertion) = form.get("client_assertion") {
        assertion::check(world, &client.client_id, assertion, now)?;
    } else if form.get("client_secret") != Some(client.client_secret.as_str()) {
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

/// Versions of the metadata service's tokens (contract section 2).
const METADATA_VERSIONS: [&str; 2] = ["2018-02-01", "2019-08-01"];

/// A token for the managed identity of a virtual machine (contract section 2): that of a client of
/// the world, the first where none is named. A client's object id is its client id here, and none has an
/// ARM id.
pub(crate) fn managed_identity_token(
    azure: &Azure,
    query: &Query,
    now: Timestamp,
) -> Result<Answer, String> {
    let world = &azure.settings.world;
    if !METADATA_VERSIONS.contains(&query.get("api-version").unwrap_or_default()) {
        return Err(format!(
            "The api-version of a token is one of {}",
            METADATA_VERSIONS.join(", ")
        ));
    }
    let named = ["client_id", "object_id", "msi_res_id"].map(|name| (name, query.get(name)));
    let mut named = named
        .into_iter()
        .filter_map(|(name, id)| id.map(|id| (name, id)));
    let identity = match (named.next(), named.next()) {
        (None, _) => world.clients.first(),
        (Some(("msi_res_id", _)), None) => None,
        (Some((_, id)), None) => world
            .clients
            .iter()
            .find(|client| client.client_id.eq_ignore_ascii_case(id)),
        (Some(_), Some(_)) => return Err("An identity is named in one way".to_owned()),
    };
    let identity = identity.ok_or("Identity not found")?;
    let resource = query.get("resource").unwrap_or_default();
    let scope = format!("{}/.default", resource.trim_end_matches('/'));
    let audience = audience_of(&scope, &azure.settings).ok_or_else(|| {
        format!(
            "AADSTS500011: The resource principal named {resource} was not found in the tenant."
        )
    })?;
    let lifetime = i64::try_from(world.token_lifetime_seconds).unwrap_or(i64::MAX);
    let token = azure.tokens.issue(
        Principal::Client(identity.client_id.clone()),
        now,
        SignedDuration::from_secs(lifetime),
        json!({"aud": audience, "appid": identity.client_id, "tid": world.tenant_id}),
    );
    let begins = now.as_second();
    // Numbers are texts here, unlike at the token endpoint.
    Ok(Answer::ok(json!({
        "access_token": token,
        "client_id": identity.client_id,
        "expires_in": lifetime.to_string(),
        "expires_on": begins.saturating_add(lifetime).to_string(),
        "ext_expires_in": lifetime.to_string(),
        "not_before": begins.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

/// The resource that a scope asks for, where it is one of ours.
fn audience_of(scope: &str, settings: &Settings) -> Option<String> {
    let named = scope
        .split_whitespace()
        .find_map(|scope| scope.strip_suffix("/.default"))?;
    tokens::resource(named, settings)
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
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
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

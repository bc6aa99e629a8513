//! Managed identity: the metadata service of a machine, which gives a token to who is on it
//! (contract section 2). It is served on the control port, as plain HTTP; a network namespace can
//! give it its address, and some clients can be told another one.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, StatusCode, Uri};
use jiff::SignedDuration;
use serde_json::json;

use super::{Principal, audience_of};
use crate::answer::Answer;
use crate::arm::request::Query;
use crate::azure::Azure;

/// `GET /metadata/identity/oauth2/token`.
pub(crate) async fn token(State(azure): State<Arc<Azure>>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = Query::parse(uri.query().unwrap_or_default());
    let asked = headers
        .get("metadata")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if !asked {
        return refused("Required metadata header not specified");
    }
    if query.get("api-version").is_none() {
        return refused("Required query variable 'api-version' is missing");
    }
    let resource = query.get("resource").unwrap_or_default();
    let scope = format!("{}/.default", resource.trim_end_matches('/'));
    let Some(audience) = audience_of(&scope, &azure.settings) else {
        return refused("The resource is not known");
    };
    let world = &azure.settings.world;
    let wanted = query.get("client_id");
    let client = world
        .clients
        .iter()
        .find(|client| wanted.is_none_or(|id| client.client_id.eq_ignore_ascii_case(id)));
    let Some(client) = client else {
        return refused("Identity not found");
    };
    let now = azure.clock.now().timestamp;
    let lifetime = i64::try_from(world.token_lifetime_seconds).unwrap_or(i64::MAX);
    let lifetime = SignedDuration::from_secs(lifetime);
    let claims = json!({"aud": audience, "appid": client.client_id, "tid": world.tenant_id});
    let principal = Principal::Client(client.client_id.clone());
    let token = azure.tokens.issue(principal, now, lifetime, claims);
    let expires = now.saturating_add(lifetime).unwrap_or(now);
    Answer::ok(json!({
        "access_token": token,
        "client_id": client.client_id,
        "expires_in": world.token_lifetime_seconds.to_string(),
        "expires_on": expires.as_second().to_string(),
        "not_before": now.as_second().to_string(),
        "resource": resource,
        "token_type": "Bearer",
    }))
}

fn refused(description: &str) -> Answer {
    Answer::json(
        StatusCode::BAD_REQUEST,
        json!({"error": "invalid_request", "error_description": description}),
    )
}

//! The instance metadata service, where its address can be had: in a network namespace in which
//! `169.254.169.254` is local.
//!
//! A job that asks is known by its process, because all nodes share one machine; any other process
//! is a virtual machine with a managed identity.

mod caller;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;

use crate::answer::Answer;
use crate::arm::request::Query;
use crate::azure::Azure;
use crate::entra;

/// Address and port of the service, on every virtual machine of Azure.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);

/// Serves for ever, if the address can be had.
pub(crate) async fn serve(azure: Arc<Azure>) {
    let listener = match TcpListener::bind(ADDRESS).await {
        Ok(listener) => listener,
        Err(problem) => {
            tracing::warn!(%problem, "there is no instance metadata service: 169.254.169.254 cannot be had");
            return;
        }
    };
    let routes = Router::new()
        .route("/metadata/identity/oauth2/token", get(token))
        .route("/metadata/scheduledevents", get(scheduled_events))
        .route("/metadata/instance/compute/name", get(name))
        .with_state(azure)
        .into_make_service_with_connect_info::<SocketAddr>();
    if let Err(problem) = axum::serve(listener, routes).await {
        tracing::error!(%problem, "the instance metadata service is closed");
    }
}

/// Who does not know the service is refused: a header that no browser or proxy adds, and a version.
fn check(headers: &HeaderMap, uri: &Uri) -> Result<Query, Answer> {
    let given = headers.get("metadata").map(http::HeaderValue::as_bytes);
    if given.is_none_or(|value| !value.eq_ignore_ascii_case(b"true")) {
        return Err(refused("Required metadata header not specified"));
    }
    let query = Query::parse(uri.query().unwrap_or_default());
    if query.get("api-version").is_none_or(str::is_empty) {
        return Err(refused("Required query variable 'api-version' is missing"));
    }
    Ok(query)
}

fn refused(description: &str) -> Answer {
    let body = json!({"error": "invalid_request", "error_description": description});
    Answer::json(StatusCode::BAD_REQUEST, body)
}

/// `GET /metadata/identity/oauth2/token`; the control port has it too, for clients that can be told
/// another address.
pub(crate) async fn token(State(azure): State<Arc<Azure>>, headers: HeaderMap, uri: Uri) -> Answer {
    let query = match check(&headers, &uri) {
        Ok(query) => query,
        Err(answer) => return answer,
    };
    let now = azure.clock.now().timestamp;
    entra::managed_identity_token(&azure, &query, now).unwrap_or_else(|problem| refused(&problem))
}

async fn scheduled_events(State(azure): State<Arc<Azure>>, headers: HeaderMap, uri: Uri) -> Answer {
    match check(&headers, &uri) {
        Ok(_) => Answer::ok(azure.transact(|transaction| transaction.scheduled_events())),
        Err(answer) => answer,
    }
}

/// The name of the virtual machine that asks, by which scheduled events call it.
async fn name(
    State(azure): State<Arc<Azure>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Err(answer) = check(&headers, &uri) {
        return answer.into_response();
    }
    let keepers = azure.transact(|transaction| caller::keepers(transaction));
    let asked = tokio::task::spawn_blocking(move || caller::find(&keepers, peer, ADDRESS)).await;
    match asked {
        Ok(Some(node)) => node.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

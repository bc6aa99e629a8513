//! The HTTP routes of a head that only pretends: those that the operator's bootstrap adds to Dask's
//! scheduler, and `/health`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::azure::Azure;

#[derive(Clone)]
struct Head {
    azure: Arc<Azure>,
    run: Arc<str>,
}

pub(crate) fn router(azure: Arc<Azure>, run: String) -> Router {
    let head = Head {
        azure,
        run: run.into(),
    };
    Router::new()
        .route("/dask-azureml/v1/state", get(state))
        .route("/dask-azureml/v1/to-close", post(to_close))
        .route("/dask-azureml/v1/retire", post(retire))
        .route_layer(middleware::from_fn_with_state(head.clone(), guard))
        .route("/health", get(async || "ok"))
        .layer(middleware::map_response(named))
        .with_state(head)
}

/// Nobody shall take this for Dask.
async fn named(mut response: Response) -> Response {
    let name = HeaderValue::from_static("azure-simulator (pretend)");
    response.headers_mut().insert(header::SERVER, name);
    response
}

/// Lets in who brings the token whose hash the job was given.
async fn guard(State(head): State<Head>, request: Request, next: Next) -> Response {
    let brought = request.headers().get(header::AUTHORIZATION);
    let token = brought
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let digest: Option<String> = token.map(|token| {
        let digest = Sha256::digest(token.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    let known = head.azure.transact(|transaction| {
        let scheduler = transaction.state.pretend.schedulers.get(&*head.run);
        scheduler.is_some_and(|scheduler| digest.as_ref() == Some(&scheduler.token_sha256))
    });
    if known {
        return next.run(request).await;
    }
    let headers = [(header::WWW_AUTHENTICATE, "Bearer")];
    let body = Json(json!({"error": "unauthorized"}));
    (StatusCode::UNAUTHORIZED, headers, body).into_response()
}

/// The head ended while it was asked.
fn gone() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

async fn state(State(head): State<Head>) -> Response {
    let state = head.azure.transact(|transaction| {
        let now = transaction.now.timestamp;
        let scheduler = transaction.state.pretend.schedulers.get(&*head.run)?;
        Some(scheduler.state(now))
    });
    state.map_or_else(gone, |state| Json(state).into_response())
}

async fn to_close(State(head): State<Head>, body: Bytes) -> Response {
    let count = match field(&body, "count", |value| value.as_u64()) {
        Ok(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Err(problem) => return malformed(problem),
    };
    let first = match optional_field(&body, "first", strings) {
        Ok(first) => first.unwrap_or_default(),
        Err(problem) => return malformed(problem),
    };
    let answer = head.azure.transact(|transaction| {
        let scheduler = transaction.state.pretend.schedulers.get(&*head.run)?;
        Some(scheduler.to_close(count, &first))
    });
    answer.map_or_else(gone, |answer| Json(answer).into_response())
}

async fn retire(State(head): State<Head>, body: Bytes) -> Response {
    let names = match field(&body, "names", names_of) {
        Ok(names) => names,
        Err(problem) => return malformed(problem),
    };
    let answer = head
        .azure
        .transact(|transaction| transaction.pretend_retire(&head.run, &names));
    match answer {
        None => gone(),
        Some(Ok(answer)) => Json(answer).into_response(),
        Some(Err(conflict)) => (StatusCode::CONFLICT, Json(conflict)).into_response(),
    }
}

fn names_of(value: &Value) -> Option<Vec<String>> {
    strings(value).filter(|names| !names.is_empty())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let name = |name: &Value| match name.as_str() {
        Some("") | None => None,
        Some(name) => Some(name.to_owned()),
    };
    value.as_array()?.iter().map(name).collect()
}

/// The value of a field of the body, or what is wrong with the body.
fn field<T>(body: &Bytes, name: &str, read: fn(&Value) -> Option<T>) -> Result<T, String> {
    optional_field(body, name, read)?
        .ok_or_else(|| format!("the body is not a JSON object with '{name}'"))
}

fn optional_field<T>(
    body: &Bytes,
    name: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<Option<T>, String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let read =
        |value| read(value).ok_or_else(|| format!("'{name}' has a value that it cannot have"));
    body.get(name).map(read).transpose()
}

fn malformed(problem: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": problem}))).into_response()
}

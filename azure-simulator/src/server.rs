//! The TLS listener: one port for Entra, ARM, discovery and the AML data plane.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::{FutureExt as _, StreamExt as _};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::answer::Refused;
use crate::arm::error::ArmError;
use crate::arm::request::decoded;
use crate::azure::Azure;
use crate::exchange_log::Exchange;
use crate::faults::action::{Action, Borne};
use crate::faults::answer::{Asked, Cut, cut};
use crate::resource_id::ResourceId;
use crate::{arm, routes, storage};

/// ARM takes no larger body than 4 MiB.
const LARGEST_BODY: usize = 4 << 20;
/// Artifacts may be larger.
const LARGEST_ARTIFACT: usize = 256 << 20;
/// So much of a body that is too large is read all the same: a client that is still sending would
/// find its connection cut before it reads why.
const MOST_DISCARDED: usize = 64 << 20;

/// Accepts connections for ever; they end with the task.
pub(crate) async fn serve(azure: Arc<Azure>, listener: TcpListener, tls: TlsAcceptor) {
    let router = routes::router(azure.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(
                        azure.clone(),
                        router.clone(),
                        tls.clone(),
                        stream,
                    ));
                }
                Err(problem) => tracing::warn!(%problem, "a connection cannot be accepted"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(azure: Arc<Azure>, router: Router, tls: TlsAcceptor, stream: TcpStream) {
    // Answers are small and go out at once; a refusal costs nothing but time.
    let _ = stream.set_nodelay(true);
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(problem) => {
            tracing::debug!(%problem, "no TLS with a client");
            return;
        }
    };
    let service = service_fn(move |request| exchange(azure.clone(), router.clone(), request));
    let mut connections = auto::Builder::new(TokioExecutor::new());
    // Who has sent all of a request and closes its half still wants the answer.
    connections.http1().half_close(true);
    let served = connections
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(problem) = served {
        tracing::debug!(%problem, "a connection ended");
    }
}

/// One request and its answer: faults, latency, log.
async fn exchange(
    azure: Arc<Azure>,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Cut> {
    let begun = azure.clock.now();
    let (mut parts, body) = request.into_parts();
    if let Some(uri) = account_uri(&parts) {
        parts.uri = uri;
    }
    let asked = Asked::of(&parts);
    let method = parts.method.clone();
    let path = parts.uri.path().to_owned();
    let limit = if path.starts_with("/artifact/") || path.starts_with("/blob/") {
        LARGEST_ARTIFACT
    } else {
        LARGEST_BODY
    };
    let (body, refusal) = match collect(Body::new(body), limit).await {
        Ok(body) => (body, None),
        Err(NotRead::TooLarge) => (Bytes::new(), Some(too_large(&azure))),
        Err(NotRead::Broken) => return Err(Cut),
    };
    azure.meter.count_request(&parts.method, &path);
    let mut record = Exchange::new(begun.timestamp, &parts, &body);
    let fault = azure.faults.matching(&parts.method, &path);
    if let Some(fault) = &fault {
        tracing::info!(number = fault.number, %path, "a fault strikes");
        record.struck_by(fault.number, &fault.action.name());
    }
    let number = fault.as_ref().map(|fault| fault.number);
    let action = fault.map(|fault| fault.action);
    azure
        .clock
        .pass(azure.settings.world.timings.request_seconds)
        .await;
    match &action {
        Some(Action::LoseRequest) => {
            azure.exchanges.add(record.lost(None));
            return Err(Cut);
        }
        Some(Action::Delay { seconds }) => azure.clock.pass_real(*seconds).await,
        Some(action) => asked.before(&azure, action),
        None => {}
    }
    let consequence = action.as_ref().and_then(Action::consequence);
    let to_bear = number.filter(|_| consequence.is_some());
    if let Some(consequence) = consequence {
        parts.extensions.insert(consequence);
    }
    let instead = action
        .as_ref()
        .and_then(|action| action.instead(azure.clock.now().timestamp))
        .or(refusal);
    let response = match instead {
        // ARM answers so itself, with its own headers.
        Some(response) if ResourceId::parse(&decoded(&path)).is_some() => {
            let call = arm::Call {
                method: &method,
                uri: &parts.uri,
                headers: &parts.headers,
                body: &body,
            };
            arm::instead(&azure, &call, begun, response)
        }
        Some(response) => response,
        None => call(router, parts, body).await,
    };
    let (mut parts, body) = response.into_parts();
    let bytes = collect(body, usize::MAX).await.unwrap_or_default();
    let bytes = asked.altered(&azure, action.as_ref(), &mut parts, bytes);
    azure.meter.note_answer(&method, &path, &parts, &bytes);
    if let Some(number) = to_bear
        && parts.extensions.get::<Borne>().is_none()
    {
        tracing::warn!(number, %path, "a fault has struck what begins nothing that could go so");
        azure.faults.note_unused(number);
    }
    if let Some(Refused(what)) = parts.extensions.get() {
        tracing::warn!(what, "refused: not simulated");
        azure.meter.count_refused();
    }
    azure.given_out.note(&parts, &bytes);
    match action {
        Some(Action::LoseAnswer) => {
            azure.exchanges.add(record.lost(Some((&parts, &bytes))));
            return Err(Cut);
        }
        Some(Action::CutAnswer) => {
            azure.exchanges.add(record.lost(Some((&parts, &bytes))));
            let body = cut(&mut parts, &bytes);
            return Ok(Response::from_parts(parts, body));
        }
        _ => {}
    }
    azure.exchanges.add(record.answered(&parts, &bytes));
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// Where a request to a storage account leads; `None` for every other request.
fn account_uri(parts: &http::request::Parts) -> Option<Uri> {
    let host = match parts.uri.host() {
        Some(host) => host,
        None => parts.headers.get(header::HOST)?.to_str().ok()?,
    };
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    storage::internal_path(host, path)?.parse().ok()
}

/// A request that breaks us is answered, and the connection goes on: what else is under way on it is none of its
/// business.
async fn call(router: Router, parts: http::request::Parts, body: Bytes) -> Response {
    let what = format!("{} {}", parts.method, parts.uri.path());
    let request = Request::from_parts(parts, Body::from(body));
    match AssertUnwindSafe(router.oneshot(request))
        .catch_unwind()
        .await
    {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(what, "a request broke the simulator");
            let told = json!({"error": {
                "code": "SimulatorBroke",
                "message": format!("{what} broke the simulator, which Azure would not have: its log says where"),
            }});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(told)).into_response()
        }
    }
}

/// Why a body is not there.
enum NotRead {
    /// It is larger than what is taken.
    TooLarge,
    /// It ended before its end, or is not what HTTP lets it be: nobody is left to be answered.
    Broken,
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, NotRead> {
    let mut stream = body.into_data_stream();
    let mut collected = Vec::new();
    let mut length: usize = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| NotRead::Broken)?;
        length = length.saturating_add(chunk.len());
        if length <= limit {
            collected.extend_from_slice(&chunk);
        } else if length - limit > MOST_DISCARDED {
            break;
        }
    }
    if length > limit {
        return Err(NotRead::TooLarge);
    }
    Ok(Bytes::from(collected))
}

fn too_large(azure: &Azure) -> Response {
    let error = ArmError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestContentTooLarge",
        "The request content is larger than the maximum size of 4194304 bytes.",
    );
    let world = &azure.settings.world;
    error
        .answer(&world.location, azure.clock.now().timestamp)
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_request_that_breaks_the_simulator_is_answered_with_a_500() {
        async fn breaks() -> StatusCode {
            panic!("the ice is thin here")
        }
        let router = Router::new().route("/thin-ice", get(breaks));
        let (parts, ()) = Request::get("/thin-ice").body(()).unwrap().into_parts();
        let answer = call(router, parts, Bytes::new()).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = collect(answer.into_body(), usize::MAX).await;
        let body = body.unwrap_or_else(|_| panic!("the body can be read"));
        assert!(String::from_utf8_lossy(&body).contains("GET /thin-ice"));
    }
}

//! What a fault makes of an answer that has been given.

use axum::body::{Body, Bytes};
use futures::stream;
use http::{HeaderValue, Method, StatusCode, header, request, response};
use serde_json::Value;

use crate::arm::error::ArmError;
use crate::arm::request::decoded;
use crate::azure::Azure;
use crate::clock::bounded;
use crate::faults::action::{Action, with_nulls};
use crate::kinds;
use crate::resource_id::ResourceId;

/// Why a connection ends before its answer does: a fault wants it so.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
pub(crate) struct Cut;

/// The parts of a request that its answer is altered by.
pub(crate) struct Asked {
    method: Method,
    path: String,
    query: String,
}

impl Asked {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        }
    }

    /// What must be known before the request is looked at.
    pub(crate) fn before(&self, azure: &Azure, action: &Action) {
        let now = azure.clock.now();
        match action {
            Action::ExpireToken => azure.tokens.expire_all(now.timestamp),
            Action::StaleFor { seconds } => {
                let until = now.elapsed.saturating_add(bounded(*seconds));
                azure.faults.lag.make_stale(&self.path, until);
            }
            _ => {}
        }
    }

    /// The answer as its client gets it.
    pub(crate) fn altered(
        &self,
        azure: &Azure,
        action: Option<&Action>,
        parts: &mut response::Parts,
        body: Bytes,
    ) -> Bytes {
        let before = body.len();
        let body = self.altered_body(azure, action, parts, body);
        if body.len() != before {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        body
    }

    fn altered_body(
        &self,
        azure: &Azure,
        action: Option<&Action>,
        parts: &mut response::Parts,
        body: Bytes,
    ) -> Bytes {
        let now = azure.clock.now().elapsed;
        let mut body = body;
        if self.method == Method::GET && parts.status.is_success() {
            if azure.faults.lag.hides(&self.path, now) {
                return self.not_found(azure, parts);
            }
            body = azure.faults.lag.answer(&self.path, &self.query, now, body);
        }
        match action {
            Some(Action::NotFoundFor { seconds }) if parts.status.is_success() => {
                let until = now.saturating_add(bounded(*seconds));
                azure.faults.lag.hide(&self.path, until);
                body
            }
            Some(Action::TruncateAnswer) => body.slice(..body.len() / 2),
            Some(Action::NullFields { fields }) => match serde_json::from_slice::<Value>(&body) {
                Ok(mut value) => {
                    with_nulls(&mut value, fields);
                    Bytes::from(value.to_string())
                }
                Err(_) => body,
            },
            _ => body,
        }
    }

    fn not_found(&self, azure: &Azure, parts: &mut response::Parts) -> Bytes {
        let id = ResourceId::parse(&decoded(&self.path));
        let error = match id.and_then(|id| Some(kinds::find(&id)?.not_found(&id))) {
            Some(error) => error,
            None => ArmError::new(StatusCode::NOT_FOUND, "NotFound", "It is not found."),
        };
        parts.status = StatusCode::NOT_FOUND;
        let kind = HeaderValue::from_static("error");
        parts.headers.insert("x-ms-response-type", kind);
        let location = &azure.settings.world.location;
        let body = error
            .answer(location, azure.clock.now().timestamp)
            .json_body();
        Bytes::from(body.to_string())
    }
}

/// A body whose connection is cut in its middle.
pub(crate) fn cut(parts: &mut response::Parts, body: &Bytes) -> Body {
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.slice(..body.len() / 2);
    let pieces = stream::unfold(Some(half), async |left| match left {
        Some(half) if half.is_empty() => {
            // Whoever writes to the wire gets the chance to send what there is.
            tokio::task::yield_now().await;
            Some((Err(Cut), None))
        }
        Some(half) => Some((Ok(half), Some(Bytes::new()))),
        None => None,
    });
    Body::from_stream(pieces)
}

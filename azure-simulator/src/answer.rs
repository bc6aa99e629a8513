//! What a handler answers, before it is turned into HTTP.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

/// Has no `Debug`: it may be a token.
pub(crate) enum Content {
    Empty,
    Json(Value),
    Xml(String),
    Bytes(Bytes),
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    pub(crate) content: Content,
    /// What was asked for and is not simulated; goes to the log and the exchange log.
    pub(crate) refused: Option<String>,
}

/// Travels beside the response to the exchange log.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub(crate) String);

impl Answer {
    fn of(status: StatusCode, content: Content) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content,
            refused: None,
        }
    }

    pub(crate) fn json(status: StatusCode, body: Value) -> Self {
        Self::of(status, Content::Json(body))
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::of(status, Content::Empty)
    }

    pub(crate) fn xml(status: StatusCode, text: impl Into<String>) -> Self {
        Self::of(status, Content::Xml(text.into()))
    }

    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::of(StatusCode::OK, Content::Bytes(bytes.into()))
    }

    /// The body of an answer in JSON; `null` of any other.
    pub(crate) fn json_body(self) -> Value {
        match self.content {
            Content::Json(body) => body,
            Content::Empty | Content::Xml(_) | Content::Bytes(_) => Value::Null,
        }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        self.header_named(HeaderName::from_static(name), value)
    }

    pub(crate) fn header_named(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Whether it says where its operation is polled.
    pub(crate) fn begins_operation(&self) -> bool {
        self.headers.iter().any(|(name, _)| {
            name == "azure-asyncoperation"
                || (*name == header::LOCATION && self.status == StatusCode::ACCEPTED)
        })
    }

    /// As HEAD wants it.
    pub(crate) fn without_body(mut self) -> Self {
        self.content = Content::Empty;
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (kind, body) = match self.content {
            Content::Empty => (None, Body::empty()),
            Content::Json(value) => (
                Some("application/json; charset=utf-8"),
                Body::from(value.to_string()),
            ),
            Content::Xml(text) => (Some("application/xml"), Body::from(text)),
            Content::Bytes(bytes) => (Some("application/octet-stream"), Body::from(bytes)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if let Some(kind) = kind {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        if let Some(what) = self.refused {
            response.extensions_mut().insert(Refused(what));
        }
        response
    }
}

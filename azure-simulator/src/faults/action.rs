//! What becomes of a request that a fault strikes.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::clock::seconds_given;
use crate::problem::Problem;

/// What becomes of a request that a fault strikes. Durations are of Azure's time where they say
/// nothing else; at the pace `instant` those are real seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// It is not looked at; this is its answer.
    Answer(FaultAnswer),
    /// It is not looked at; the answer is a 429 with `Retry-After`.
    Throttle {
        /// What `Retry-After` asks for.
        retry_after_seconds: u32,
        /// How it asks.
        #[serde(default)]
        form: RetryAfterForm,
    },
    /// It is looked at after so many seconds of real time.
    Delay {
        /// How long.
        #[serde(deserialize_with = "seconds_given")]
        seconds: f64,
    },
    /// The connection is cut before anything is changed.
    LoseRequest,
    /// The change is made, and the connection is cut before the answer.
    LoseAnswer,
    /// The change is made, and the connection is cut in the middle of the answer's body.
    CutAnswer,
    /// The change is made; the answer is whole HTTP, and its body ends in the middle.
    TruncateAnswer,
    /// The change is made; the answer has `null` where it had something.
    NullFields {
        /// Names of the fields, wherever they stand; every field but `id`, `name` and `type` that
        /// holds no object where empty.
        #[serde(default)]
        fields: Vec<String>,
    },
    /// The change is made and answered, and then a GET of that path is a 404 for a while.
    NotFoundFor {
        /// How long.
        #[serde(deserialize_with = "seconds_given")]
        seconds: f64,
    },
    /// For a while, GETs of this path answer what they answer first: page by page, for a LIST.
    StaleFor {
        /// How long.
        #[serde(deserialize_with = "seconds_given")]
        seconds: f64,
    },
    /// The token that it brings expires as it arrives, and all others of clients with it.
    ExpireToken,
    /// It is accepted. The operation that it begins ends as `Failed`, and the resource's
    /// `provisioningState` is `Failed`, with this among its `provisioningErrors`.
    FailOperation {
        /// Such as `InternalServerError`.
        code: String,
        /// What goes wrong, in Azure's words.
        message: String,
    },
    /// It is accepted, and the operation that it begins never ends. The cancel of a job is one.
    HangOperation,
    /// It is accepted; the operation that it begins goes on, and polling it is answered 503.
    UnavailableOperation {
        /// How often.
        polls: u32,
    },
    /// A job is accepted and stays `Queued` for ever, with an error of its compute.
    HoldInQueue {
        /// Such as `ClusterCoreQuotaReached`.
        code: String,
        /// What is missing, in Azure's words.
        message: String,
    },
}

/// The two forms of `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterForm {
    /// `Retry-After: 7`
    #[default]
    Seconds,
    /// `Retry-After: Tue, 04 Nov 2025 09:40:51 GMT`
    Date,
}

/// What a fault makes of a request that is accepted: it shows later.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Consequence {
    Operation(Fate),
    HeldInQueue(Problem),
}

/// How a long-running operation goes that a fault has struck.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    Fails(Problem),
    NeverEnds,
    Unavailable { polls: u32 },
}

/// Travels beside the answer of a request that has a consequence now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borne;

impl Action {
    /// Its name, as in a fault's JSON.
    pub(crate) fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            Ok(Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
            _ => String::new(),
        }
    }

    /// The answer where the request is not looked at.
    pub(crate) fn instead(&self, now: Timestamp) -> Option<Response> {
        match self {
            Self::Answer(answer) => Some(answer.response()),
            Self::Throttle {
                retry_after_seconds,
                form,
            } => {
                let answer = FaultAnswer::error(429, "TooManyRequests")
                    .with_header("Retry-After", &form.text(*retry_after_seconds, now));
                Some(answer.response())
            }
            _ => None,
        }
    }

    /// What it makes of a request that is accepted.
    pub(crate) fn consequence(&self) -> Option<Consequence> {
        match self {
            Self::FailOperation { code, message } => Some(Consequence::Operation(Fate::Fails(
                Problem::new(code, message),
            ))),
            Self::HangOperation => Some(Consequence::Operation(Fate::NeverEnds)),
            Self::UnavailableOperation { polls } => {
                Some(Consequence::Operation(Fate::Unavailable { polls: *polls }))
            }
            Self::HoldInQueue { code, message } => {
                Some(Consequence::HeldInQueue(Problem::new(code, message)))
            }
            _ => None,
        }
    }
}

impl RetryAfterForm {
    fn text(self, seconds: u32, now: Timestamp) -> String {
        match self {
            Self::Seconds => seconds.to_string(),
            Self::Date => {
                // A date has whole seconds: the next one, so that nobody comes too early.
                let wait = SignedDuration::from_secs(i64::from(seconds) + 1);
                let at = now.saturating_add(wait).unwrap_or(now);
                at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
            }
        }
    }
}

/// The answer of a fault.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultAnswer {
    /// HTTP status.
    pub status: u16,
    /// Code of Azure's error envelope.
    #[serde(default)]
    pub code: String,
    /// Message of Azure's error envelope.
    #[serde(default)]
    pub message: String,
    /// Headers, such as `Retry-After`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The whole body instead of an error envelope.
    #[serde(default)]
    pub body: Option<Value>,
}

/// What no answer can have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("`status` is a number from 200 to 599, not {0}")]
    Status(u16),
    #[error("`{0}` is no header that an answer can be given, or has no such value")]
    Header(String),
}

impl FaultAnswer {
    /// Whether it can be given as it is.
    pub(crate) fn check(&self) -> Result<(), NoAnswer> {
        if !(200..=599).contains(&self.status) {
            return Err(NoAnswer::Status(self.status));
        }
        for (name, value) in &self.headers {
            let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
            let fits = name
                .parse::<HeaderName>()
                .is_ok_and(|name| !framing.contains(&name))
                && HeaderValue::from_str(value).is_ok();
            if !fits {
                return Err(NoAnswer::Header(name.clone()));
            }
        }
        Ok(())
    }

    /// An error in ARM's envelope.
    #[must_use]
    pub fn error(status: u16, code: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: "The simulator was told to answer so.".to_owned(),
            headers: BTreeMap::new(),
            body: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = self
            .body
            .clone()
            .unwrap_or_else(|| json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = Answer::json(status, body).into_response();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// `null` in the named fields, wherever they stand; in every field that could do without where
/// none is named.
pub(crate) fn with_nulls(body: &mut Value, fields: &[String]) {
    match body {
        Value::Object(members) => {
            for (name, value) in members {
                let named = fields.iter().any(|field| field == name);
                let any = fields.is_empty()
                    && !value.is_object()
                    && !["id", "name", "type", "value"].contains(&name.as_str());
                if named || any {
                    *value = Value::Null;
                } else {
                    with_nulls(value, fields);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_nulls(item, fields)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_has_the_name_that_its_json_has() {
        for (json, name) in [
            (json!("lose_answer"), "lose_answer"),
            (json!({"delay": {"seconds": 1}}), "delay"),
        ] {
            let action: Action = serde_json::from_value(json).unwrap();
            assert_eq!(action.name(), name);
        }
    }

    #[test]
    fn retry_after_has_two_forms() {
        let now: Timestamp = "2025-11-04T09:40:51.5Z".parse().unwrap();
        assert_eq!(RetryAfterForm::Seconds.text(7, now), "7");
        assert_eq!(
            RetryAfterForm::Date.text(7, now),
            "Tue, 04 Nov 2025 09:40:59 GMT"
        );
    }

    #[test]
    fn nulls_leave_who_a_resource_is() {
        let body = json!({"value": [{"id": "/x", "tags": {"a": "b"}, "properties": {"n": 1}}]});
        let mut all = body.clone();
        with_nulls(&mut all, &[]);
        assert_eq!(
            all,
            json!({"value": [{"id": "/x", "tags": {"a": null}, "properties": {"n": null}}]})
        );
        let mut some = body;
        with_nulls(&mut some, &["tags".to_owned()]);
        assert_eq!(
            some,
            json!({"value": [{"id": "/x", "tags": null, "properties": {"n": 1}}]})
        );
    }
}

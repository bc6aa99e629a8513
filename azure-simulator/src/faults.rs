//! Faults that a test sets: which request they strike, and what becomes of it.

use std::sync::Mutex;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::lock;
use std::collections::BTreeMap;

/// A fault: the first request that matches (or the `nth`) and `count - 1` after it get `action`.
///
/// ```
/// use azure_simulator::{Fault, FaultAnswer};
///
/// let busy = Fault::answer("PUT", "/computes/", FaultAnswer::error(429, "TooManyRequests"));
/// assert_eq!(busy.count, Some(1));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// HTTP method; every one where absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Text that the path contains, in any casing.
    #[serde(default)]
    pub path: String,
    /// Strikes at the nth match first, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How often it strikes; for ever where `null`.
    #[serde(default = "once")]
    pub count: Option<u64>,
    /// What becomes of the request.
    pub action: Action,
}

fn one() -> u64 {
    1
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn once() -> Option<u64> {
    Some(1)
}

/// What becomes of a request that a fault strikes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not looked at; this is its answer.
    Answer(FaultAnswer),
    /// It is looked at after so many seconds of real time.
    Delay {
        /// How long.
        seconds: f64,
    },
    /// The connection is cut before anything is changed.
    LoseRequest,
    /// The change is made, and the connection is cut before the answer.
    LoseAnswer,
}

/// The answer of a fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
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

impl FaultAnswer {
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

    pub(crate) fn response(&self) -> Response {
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

impl Fault {
    /// Strikes once, with an answer.
    #[must_use]
    pub fn answer(method: &str, path: &str, answer: FaultAnswer) -> Self {
        Self::once(method, path, Action::Answer(answer))
    }

    /// Strikes once.
    #[must_use]
    pub fn once(method: &str, path: &str, action: Action) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            nth: 1,
            count: Some(1),
            action,
        }
    }

    /// Strikes so many times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Strikes for ever.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.count = None;
        self
    }
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Mutex<FaultList>,
}

#[derive(Debug, Default)]
struct FaultList {
    last: u64,
    faults: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    number: u64,
    fault: Fault,
    matched: u64,
    struck: u64,
}

/// A fault that strikes a request.
#[derive(Debug)]
pub(crate) struct Strike {
    pub(crate) number: u64,
    pub(crate) action: Action,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> u64 {
        let mut list = lock(&self.set);
        list.last += 1;
        let number = list.last;
        list.faults.push(Set {
            number,
            fault,
            matched: 0,
            struck: 0,
        });
        number
    }

    pub(crate) fn clear(&self) {
        lock(&self.set).faults.clear();
    }

    /// The first fault that strikes this request; each counts its matches.
    pub(crate) fn matching(&self, method: &Method, path: &str) -> Option<Strike> {
        let path = path.to_lowercase();
        let mut strike = None;
        for set in &mut lock(&self.set).faults {
            let fault = &set.fault;
            let named = fault.method.as_deref();
            if !named.is_none_or(|named| method.as_str().eq_ignore_ascii_case(named))
                || !path.contains(&fault.path.to_lowercase())
            {
                continue;
            }
            set.matched += 1;
            let left = fault.count.is_none_or(|count| set.struck < count);
            if strike.is_none() && set.matched >= fault.nth && left {
                set.struck += 1;
                strike = Some(Strike {
                    number: set.number,
                    action: fault.action.clone(),
                });
            }
        }
        strike
    }

    /// `GET /faults`.
    pub(crate) fn shown(&self) -> Value {
        let list = lock(&self.set);
        let shown = list.faults.iter().map(|set| {
            json!({
                "number": set.number,
                "fault": set.fault,
                "matched": set.matched,
                "struck": set.struck,
            })
        });
        Value::Array(shown.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_from_its_nth_match_as_often_as_it_is_told() {
        let faults = Faults::default();
        let mut fault = Fault::once("PUT", "/jobs/", Action::LoseAnswer).times(2);
        fault.nth = 2;
        faults.add(fault);
        let struck: Vec<bool> = (0..5)
            .map(|_| faults.matching(&Method::PUT, "/x/JOBS/1").is_some())
            .collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.matching(&Method::GET, "/x/jobs/1").is_none());
    }
}

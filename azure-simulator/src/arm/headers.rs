//! The headers that every ARM answer carries (contract section 1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::arm::throttling::Remaining;

/// How ARM counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    Read,
    Write,
    Delete,
}

impl Counted {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Read,
            Method::DELETE => Self::Delete,
            _ => Self::Write,
        }
    }
}

impl Described<'_> {
    /// Adds the headers of contract section 1 to an ARM answer.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let request = self;
        let guid = Uuid::new_v4().to_string();
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let (own, all) = match request.counted {
            Counted::Read => (
                "x-ms-ratelimit-remaining-subscription-reads",
                "x-ms-ratelimit-remaining-subscription-global-reads",
            ),
            Counted::Write => (
                "x-ms-ratelimit-remaining-subscription-writes",
                "x-ms-ratelimit-remaining-subscription-global-writes",
            ),
            Counted::Delete => (
                "x-ms-ratelimit-remaining-subscription-deletes",
                "x-ms-ratelimit-remaining-subscription-global-deletes",
            ),
        };
        if let Some(remaining) = request.remaining {
            set(own, remaining.of_principal.to_string());
            set(all, remaining.of_all.to_string());
        }
        set("x-ms-request-id", guid.clone());
        set("x-ms-correlation-request-id", guid.clone());
        set(
            "x-ms-routing-request-id",
            format!(
                "{}:{}:{guid}",
                request.location.to_uppercase(),
                request.now.strftime("%Y%m%dT%H%M%SZ"),
            ),
        );
        set(
            "x-ms-operation-identifier",
            format!("{}/{guid}", request.location),
        );
        let kind = if request.failed { "error" } else { "standard" };
        set("x-ms-response-type", kind.to_owned());
        if request.machine_learning {
            set(
                "azureml-served-by-cluster",
                format!("vienna-{}-01", request.location),
            );
            set(
                "x-request-time",
                format!("{:.3}", request.took.as_secs_f64()),
            );
            set("request-context", format!("appId=cid-v1:{guid}"));
        }
        for (name, value) in [
            (header::CACHE_CONTROL, "no-cache"),
            (header::PRAGMA, "no-cache"),
            (header::EXPIRES, "-1"),
            (
                header::STRICT_TRANSPORT_SECURITY,
                "max-age=31536000; includeSubDomains",
            ),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(id) = request.echoed_client_request_id {
            headers.insert(
                HeaderName::from_static("x-ms-client-request-id"),
                id.clone(),
            );
        }
    }
}

/// What the headers of an answer tell about its request.
pub(crate) struct Described<'a> {
    pub(crate) counted: Counted,
    /// `None` where nobody knows who asked.
    pub(crate) remaining: Option<Remaining>,
    pub(crate) now: Timestamp,
    pub(crate) took: Duration,
    pub(crate) location: &'a str,
    pub(crate) failed: bool,
    pub(crate) machine_learning: bool,
    pub(crate) echoed_client_request_id: Option<&'a HeaderValue>,
}

//! The headers that every ARM answer carries (contract section 1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::lock;
use std::sync::Mutex;

/// Requests that ARM would still take, by kind, for one principal and for all of them
/// (contract section 1: 250 reads refilled at 25/s, 200 writes and deletes at 10/s; 15 times
/// that for all). They are counted and told; nothing is throttled by them.
#[derive(Debug)]
pub(crate) struct RemainingRequests {
    buckets: Mutex<[Bucket; 3]>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    size: f64,
    refill_per_second: f64,
    left: f64,
    at: Duration,
}

/// How ARM counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Default for RemainingRequests {
    fn default() -> Self {
        let bucket = |size, refill_per_second| Bucket {
            size,
            refill_per_second,
            left: size,
            at: Duration::ZERO,
        };
        Self {
            buckets: Mutex::new([
                bucket(250.0, 25.0),
                bucket(200.0, 10.0),
                bucket(200.0, 10.0),
            ]),
        }
    }
}

impl RemainingRequests {
    fn take(&self, counted: Counted, now: Duration) -> (u64, u64) {
        let mut buckets = lock(&self.buckets);
        let bucket = &mut buckets[counted as usize];
        let waited = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.at = now;
        bucket.left = (bucket.left + waited * bucket.refill_per_second).min(bucket.size);
        bucket.left = (bucket.left - 1.0).max(0.0);
        let spent = bucket.size - bucket.left;
        (bucket.left as u64, (bucket.size * 15.0 - spent) as u64)
    }

    /// Adds the headers of contract section 1 to an ARM answer.
    pub(crate) fn describe(&self, headers: &mut HeaderMap, request: &Described<'_>) {
        let guid = Uuid::new_v4().to_string();
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let (left, global) = self.take(request.counted, request.elapsed);
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
        set(own, left.to_string());
        set(all, global.to_string());
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
    pub(crate) now: Timestamp,
    pub(crate) elapsed: Duration,
    pub(crate) took: Duration,
    pub(crate) location: &'a str,
    pub(crate) failed: bool,
    pub(crate) machine_learning: bool,
    pub(crate) echoed_client_request_id: Option<&'a HeaderValue>,
}

//! What the clients of this Azure cost it: requests by kind, writes that changed nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{Method, StatusCode, response};
use serde_json::{Value, json};

use crate::arm::headers::Counted;
use crate::lock;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reads: u64,
    writes: u64,
    deletes: u64,
    throttled: [u64; 3],
    /// Least seen left in each of ARM's buckets, by the header that told it.
    low_water: BTreeMap<String, u64>,
    /// Seen left in each at last.
    left: BTreeMap<String, u64>,
    data_plane: u64,
    tokens: u64,
    refused: u64,
    /// By ARM id.
    unchanged_writes: BTreeMap<String, u64>,
}

/// What the names of ARM's headers begin with that tell what is left in a bucket.
const BUCKET_HEADER: &str = "x-ms-ratelimit-remaining-subscription-";

#[derive(PartialEq, Eq)]
enum Plane {
    Entra,
    Data,
    ResourceManager,
}

impl Plane {
    fn of(path: &str) -> Self {
        let first = path.split('/').nth(1).unwrap_or_default();
        if path.ends_with("/oauth2/v2.0/token") {
            Self::Entra
        } else if matches!(
            first,
            "discovery" | "mlflow" | "history" | "artifact" | "blob" | "common"
        ) {
            Self::Data
        } else {
            Self::ResourceManager
        }
    }
}

/// Whether a 429 is not throttling: another operation is under way (contract section 3).
fn is_conflict(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body)
        .is_ok_and(|body| body["error"]["code"] == "RetryableError")
}

impl Meter {
    pub(crate) fn count_request(&self, method: &Method, path: &str) {
        let mut counts = lock(&self.counts);
        match Plane::of(path) {
            Plane::Entra => counts.tokens += 1,
            Plane::Data => counts.data_plane += 1,
            Plane::ResourceManager => match Counted::of(method) {
                Counted::Read => counts.reads += 1,
                Counted::Write => counts.writes += 1,
                Counted::Delete => counts.deletes += 1,
            },
        }
    }

    /// Counts throttled requests, and how empty the buckets were that the headers tell of.
    pub(crate) fn note_answer(
        &self,
        method: &Method,
        path: &str,
        answer: &response::Parts,
        body: &[u8],
    ) {
        if Plane::of(path) != Plane::ResourceManager {
            return;
        }
        let mut counts = lock(&self.counts);
        if answer.status == StatusCode::TOO_MANY_REQUESTS && !is_conflict(body) {
            counts.throttled[Counted::of(method) as usize] += 1;
        }
        for (name, value) in &answer.headers {
            let bucket = name.as_str().strip_prefix(BUCKET_HEADER);
            let left = value.to_str().ok().and_then(|left| left.parse().ok());
            if let (Some(bucket), Some(left)) = (bucket, left) {
                let low = counts.low_water.entry(bucket.to_owned()).or_insert(left);
                *low = left.min(*low);
                counts.left.insert(bucket.to_owned(), left);
            }
        }
    }

    pub(crate) fn count_refused(&self) {
        lock(&self.counts).refused += 1;
    }

    pub(crate) fn count_unchanged_write(&self, id: &str) {
        *lock(&self.counts)
            .unchanged_writes
            .entry(id.to_owned())
            .or_default() += 1;
    }

    pub(crate) fn reset(&self) {
        *lock(&self.counts) = Counts::default();
    }

    /// `GET /meter`, but for what nodes cost.
    pub(crate) fn shown(&self) -> Value {
        let counts = lock(&self.counts);
        json!({
            "requests": {
                "reads": counts.reads,
                "writes": counts.writes,
                "deletes": counts.deletes,
            },
            "throttled": {
                "reads": counts.throttled[Counted::Read as usize],
                "writes": counts.throttled[Counted::Write as usize],
                "deletes": counts.throttled[Counted::Delete as usize],
            },
            "bucket_low_water": counts.low_water,
            "bucket_left": counts.left,
            "data_plane_requests": counts.data_plane,
            "token_requests": counts.tokens,
            "refused": counts.refused,
            "unchanged_writes": counts.unchanged_writes.values().sum::<u64>(),
            "unchanged_writes_by_id": counts.unchanged_writes,
        })
    }
}

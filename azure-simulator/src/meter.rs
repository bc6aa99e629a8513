//! What the clients of this Azure cost it: requests by kind, writes that changed nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::Method;
use serde_json::{Value, json};

use crate::arm::headers::{Counted, RemainingRequests};
use crate::lock;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) remaining: RemainingRequests,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reads: u64,
    writes: u64,
    deletes: u64,
    data_plane: u64,
    tokens: u64,
    refused: u64,
    /// By ARM id.
    unchanged_writes: BTreeMap<String, u64>,
}

impl Meter {
    pub(crate) fn count_request(&self, method: &Method, path: &str) {
        let mut counts = lock(&self.counts);
        let plane = path.split('/').nth(1).unwrap_or_default();
        if path.ends_with("/oauth2/v2.0/token") {
            counts.tokens += 1;
        } else if matches!(
            plane,
            "discovery" | "mlflow" | "history" | "artifact" | "blob" | "common"
        ) {
            counts.data_plane += 1;
        } else {
            match Counted::of(method) {
                Counted::Read => counts.reads += 1,
                Counted::Write => counts.writes += 1,
                Counted::Delete => counts.deletes += 1,
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

    /// `GET /meter`. Nothing is throttled, so those counts stay 0.
    pub(crate) fn shown(&self) -> Value {
        let counts = lock(&self.counts);
        json!({
            "requests": {
                "reads": counts.reads,
                "writes": counts.writes,
                "deletes": counts.deletes,
            },
            "throttled": {"reads": 0, "writes": 0, "deletes": 0},
            "data_plane_requests": counts.data_plane,
            "token_requests": counts.tokens,
            "refused": counts.refused,
            "unchanged_writes": counts.unchanged_writes.values().sum::<u64>(),
            "unchanged_writes_by_id": counts.unchanged_writes,
        })
    }
}

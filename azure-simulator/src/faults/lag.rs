//! Answers that lag behind what is true: a new resource that is not found yet, a LIST of a while ago.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;

use crate::lock;

#[derive(Debug, Default)]
pub(crate) struct Lag {
    lagging: Mutex<Lagging>,
}

#[derive(Debug, Default)]
struct Lagging {
    /// Paths that are not found until a time.
    hidden: HashMap<String, Duration>,
    /// Paths whose first answers stand until a time.
    stale: HashMap<String, Stale>,
}

#[derive(Debug)]
struct Stale {
    until: Duration,
    /// First answers by query.
    answers: HashMap<String, Bytes>,
}

impl Lag {
    /// The path is not found until then.
    pub(crate) fn hide(&self, path: &str, until: Duration) {
        lock(&self.lagging)
            .hidden
            .insert(path.to_lowercase(), until);
    }

    /// What the path answers first stands until then. One that stands already goes on to stand.
    pub(crate) fn make_stale(&self, path: &str, until: Duration) {
        let mut lagging = lock(&self.lagging);
        lagging
            .stale
            .entry(path.to_lowercase())
            .or_insert_with(|| Stale {
                until,
                answers: HashMap::new(),
            });
    }

    pub(crate) fn hides(&self, path: &str, now: Duration) -> bool {
        let mut lagging = lock(&self.lagging);
        lagging.hidden.retain(|_, until| *until > now);
        lagging.hidden.contains_key(&path.to_lowercase())
    }

    /// The answer of a while ago; `fresh` where there is none, which then stands for it.
    pub(crate) fn answer(&self, path: &str, query: &str, now: Duration, fresh: Bytes) -> Bytes {
        let mut lagging = lock(&self.lagging);
        lagging.stale.retain(|_, stale| stale.until > now);
        match lagging.stale.get_mut(&path.to_lowercase()) {
            Some(stale) => stale
                .answers
                .entry(query.to_owned())
                .or_insert(fresh)
                .clone(),
            None => fresh,
        }
    }

    pub(crate) fn clear(&self) {
        *lock(&self.lagging) = Lagging::default();
    }
}

//! What one process remembers of a cluster between two reconciles. All of it may be lost: it saves requests and spaces
//! tries, and no decision about what exists rests on it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::act::Setbacks;
use super::conclude::Next;
use super::observed::JobFailure;
use super::preflight::Preflight;
use crate::azure_resources::PoolNode;
use crate::inventory::Pace;

#[derive(Clone, Debug)]
pub struct ClusterMemory {
    pub setbacks: Setbacks,
    pub pace: Pace,
    /// When the plan's text last changed.
    pub changed_at: Timestamp,
    pub plan: String,
    pub generation: i64,
    pub last_status_write: Option<Timestamp>,
    /// What was found before the first spend of this generation, once it has passed.
    pub passed: Option<Preflight>,
    /// The request for a look at everything anew that was seen last.
    pub request: Option<String>,
    /// Everything is to be looked at anew.
    pub doubts: bool,
    /// The nodes of the pool, as they were when this head's address had to be believed.
    pub pool_nodes: Option<(String, Vec<PoolNode>)>,
    pub job_failures: BTreeMap<String, JobFailure>,
}

impl ClusterMemory {
    pub fn new(now: Timestamp) -> Self {
        Self {
            setbacks: Setbacks::default(),
            pace: Pace::Moving,
            changed_at: now,
            plan: String::new(),
            generation: 0,
            last_status_write: None,
            passed: None,
            request: None,
            doubts: false,
            pool_nodes: None,
            job_failures: BTreeMap::new(),
        }
    }

    /// A changed spec is a new chance for what failed.
    pub fn see_generation(&mut self, generation: i64) {
        if self.generation != generation {
            self.generation = generation;
            self.setbacks = Setbacks::default();
            self.passed = None;
            self.pace = Pace::Moving;
        }
    }

    /// Somebody asks for a look at everything anew, as if nothing were remembered. `handled` is what status tells.
    pub fn see_request(&mut self, request: Option<&str>, handled: Option<&str>) {
        let Some(request) = request else { return };
        if handled == Some(request) || self.request.as_deref() == Some(request) {
            return;
        }
        self.request = Some(request.to_owned());
        self.setbacks = Setbacks::default();
        self.passed = None;
        self.pool_nodes = None;
        self.job_failures.clear();
        self.pace = Pace::Moving;
        self.doubts = true;
    }

    /// What has passed is not looked at again in the same generation.
    pub fn see_preflight(&mut self, preflight: Option<&Preflight>) {
        if let Some(preflight) = preflight.filter(|preflight| preflight.has_passed()) {
            self.passed = Some(preflight.clone());
        }
    }

    /// Says whether the plan differs from the one before.
    pub fn see_plan(&mut self, plan: String, now: Timestamp) -> bool {
        let is_new = self.plan != plan;
        if is_new {
            self.plan = plan;
            self.changed_at = now;
        }
        is_new
    }

    /// What is at rest is looked at less closely.
    pub fn see_next(&mut self, next: Next) {
        self.pace = match next {
            Next::AtRest => Pace::Settled,
            Next::After(_) | Next::Never => Pace::Moving,
        };
    }
}

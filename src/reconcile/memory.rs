//! What one process remembers of a cluster between two reconciles. All of it may be lost: it saves requests and spaces
//! tries, and no decision about what exists rests on it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::act::Setbacks;
use super::conclude::Next;
use super::observed::JobFailure;
use super::plan::Finding;
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
    /// The nodes of the pool, as they were when this head's address had to be believed.
    pub pool_nodes: Option<(String, Vec<PoolNode>)>,
    pub job_failures: BTreeMap<String, JobFailure>,
    /// What the last plan found, so that it is counted and told once.
    pub findings: Vec<Finding>,
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
            pool_nodes: None,
            job_failures: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// A changed spec is a new chance for what failed.
    pub fn see_generation(&mut self, generation: i64) {
        if self.generation != generation {
            self.generation = generation;
            self.setbacks = Setbacks::default();
            self.pace = Pace::Moving;
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

    /// Those of the plan's findings that the plan before did not have.
    pub fn see_findings(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let before = std::mem::replace(&mut self.findings, findings.to_vec());
        let is_new = |finding: &&Finding| !before.contains(finding);
        findings.iter().filter(is_new).cloned().collect()
    }

    /// What is at rest is looked at less closely.
    pub fn see_next(&mut self, next: Next) {
        self.pace = match next {
            Next::AtRest => Pace::Settled,
            Next::After(_) | Next::Never => Pace::Moving,
        };
    }
}

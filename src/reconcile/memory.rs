//! What one process remembers of a cluster between two reconciles. All of it may be lost: it saves requests and spaces
//! tries, and no decision about what exists rests on it.

use jiff::Timestamp;

use super::act::Setbacks;
use super::conclude::Next;
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

    /// What is at rest is looked at less closely.
    pub fn see_next(&mut self, next: Next) {
        self.pace = match next {
            Next::AtRest => Pace::Settled,
            Next::After(_) | Next::Never => Pace::Moving,
        };
    }
}

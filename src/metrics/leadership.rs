//! Which of several operators works.

use prometheus::{Error, IntCounter, IntCounterVec};

use super::definition::{Defined, Definition};
use super::now::Now;
use crate::leadership::Lead;

const LEADER: Definition = Definition {
    name: "dask_azureml_leader",
    help: "1 on the operator that works, 0 on a standby",
    labels: &[],
    what_to_do: "Their sum is 1, but for seconds. 0 for long: nobody works; look at the Lease, and at the logs for why it cannot be taken.",
};

const TRANSITIONS: Definition = Definition {
    name: "dask_azureml_leader_transitions_total",
    help: "How often this process took the lead: 0 or 1, as one that loses it ends",
    labels: &[],
    what_to_do: "Many in an hour, over all pods: the API server is slow, or pods are killed.",
};

#[derive(Clone)]
pub(super) struct Leadership {
    transitions: IntCounterVec,
}

impl Leadership {
    pub(super) fn new() -> Result<Self, Error> {
        let leadership = Self {
            transitions: TRANSITIONS.counter()?,
        };
        leadership.transitions();
        Ok(leadership)
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![TRANSITIONS.with(self.transitions.clone())]
    }

    /// It is there, with 0, from the first time that it is asked for.
    pub(super) fn transitions(&self) -> IntCounter {
        self.transitions.with_label_values::<&str>(&[])
    }
}

/// Whether this operator leads, as it is whenever the page is read.
pub(super) fn of_lead(lead: Lead) -> Result<(&'static Definition, Now), Error> {
    let read = move || vec![(Vec::new(), if lead.is_current() { 1.0 } else { 0.0 })];
    Ok((&LEADER, Now::new(&LEADER, read)?))
}

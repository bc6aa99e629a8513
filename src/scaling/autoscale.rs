//! How many workers are of use, and how many of them to ask for now.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::Autoscaling;
use crate::azure_resources::job::JobFacts;
use crate::names::JobName;
use crate::reconcile::{Observed, ValidCluster};

/// How many workers are wanted, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Worker jobs.
    pub replicas: u32,
    /// As `want 12: 480 tasks of 30 s over 8 threads x 300 s, capped by quota at 12`.
    pub why: String,
    /// How many were of use at this look, before anything is smoothed: what [`Recommendations`] keep.
    pub useful: Option<u32>,
    /// When time alone may change the decision.
    pub look_again: Option<Timestamp>,
}

/// What was of use lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recommendations {}

impl Recommendations {
    /// Takes note of what was of use at `now`.
    pub fn see(&mut self, _decision: &Decision, _now: Timestamp) {}
}

/// `jobs`: all of this cluster, ended ones included.
pub(super) fn autoscale(
    autoscaling: &Autoscaling,
    cluster: &ValidCluster,
    observed: &Observed,
    _jobs: &BTreeMap<JobName, JobFacts>,
) -> Decision {
    let told = observed.told.desired_replicas;
    let replicas = told
        .unwrap_or(cluster.worker.replicas)
        .clamp(autoscaling.min_replicas, autoscaling.max_replicas);
    Decision {
        replicas,
        why: format!("want {replicas}: the size to start with"),
        useful: None,
        look_again: None,
    }
}

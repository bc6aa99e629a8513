//! What a cluster is to have now: the spec's number or the autoscaler's, unless it rests.

use std::collections::BTreeMap;

use super::autoscale::{Decision, autoscale};
use super::rest::rest;
use crate::api::{IdleAction, RestStatus};
use crate::azure_resources::job::JobFacts;
use crate::names::{JobName, Slot};
use crate::reconcile::{Observed, ValidCluster};

/// What a cluster is to have now, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    /// There is to be a head, and with it a scheduler.
    pub head: bool,
    /// Worker jobs beside the head.
    pub workers: u32,
    /// What the autoscaler says, also while the cluster rests.
    pub decision: Option<Decision>,
    pub rest: Option<RestStatus>,
}

impl Aim {
    /// A head and so many workers.
    pub fn of(workers: u32) -> Self {
        Self {
            head: true,
            workers,
            decision: None,
            rest: None,
        }
    }

    /// Dask workers, the head's own among them.
    pub fn dask_workers(&self, cluster: &ValidCluster) -> u32 {
        self.workers + u32::from(self.head && cluster.scheduler.run_worker)
    }
}

/// `jobs`: all of this cluster, ended ones included.
pub(crate) fn aim(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Aim {
    let decision = cluster
        .autoscaling
        .map(|autoscaling| autoscale(&autoscaling, cluster, observed, jobs));
    let workers = decision
        .as_ref()
        .map_or(cluster.worker.replicas, |decision| decision.replicas);
    let rest = rest(cluster, observed);
    let (head, workers) = match rest.as_ref().map(|rest| rest.action) {
        None => (true, workers),
        Some(IdleAction::ScaleToZero) => (true, 0),
        // The scheduler is needed until the last worker has handed over what it can.
        Some(IdleAction::Suspend) => (has_a_worker(jobs), 0),
    };
    Aim {
        head,
        workers,
        decision,
        rest,
    }
}

fn has_a_worker(jobs: &BTreeMap<JobName, JobFacts>) -> bool {
    jobs.iter()
        .any(|(name, facts)| name.slot != Slot::Head && !facts.status.is_terminal())
}

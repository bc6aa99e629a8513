//! What a cluster is to have now: the spec's number or the autoscaler's, unless it rests.

use std::collections::BTreeMap;

use super::autoscale::{Decision, autoscale};
use super::cost::{self, Affordable};
use super::letting_go::closing;
use super::rest::{is_recorded, may_hand_over, present_head, rest, runs};
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
    /// The rest that it is in, or that begins as soon as the status says so.
    pub rest: Option<RestStatus>,
    /// No head is to be there before the rest ends, so that a pool of ours keeps no node.
    pub suspends: bool,
    /// How many workers there would be, were they not too dear.
    pub too_dear: Option<u32>,
    /// Heads up to this incarnation ended before or with a rest: that they did is no failure.
    pub heads_forgiven: u32,
}

impl Aim {
    /// A head and so many workers.
    pub fn of(workers: u32) -> Self {
        Self {
            head: true,
            workers,
            decision: None,
            rest: None,
            suspends: false,
            too_dear: None,
            heads_forgiven: 0,
        }
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
    let wanted = decision
        .as_ref()
        .map_or(cluster.worker.replicas, |decision| decision.replicas);
    let workers = affordable(wanted, cluster, observed, jobs);
    let rest = rest(cluster, observed, jobs);
    let acts = rest.as_ref().filter(|rest| is_recorded(rest, observed));
    let suspends = acts.is_some_and(|rest| rest.action == IdleAction::Suspend);
    let (head, workers) = match (&rest, acts) {
        (None, _) => (true, workers),
        // Until the status says why, all stays as it is.
        (Some(_), None) => as_it_is(cluster, observed, jobs),
        (_, Some(rest)) if rest.action == IdleAction::ScaleToZero => (true, 0),
        // The scheduler is needed until the last worker has handed over what it can.
        (_, Some(rest)) => {
            let has_scheduler = present_head(jobs).is_some_and(runs);
            let hands_over = may_hand_over(rest, cluster, observed);
            (has_a_worker(jobs) && has_scheduler && hands_over, 0)
        }
    };
    let forgiven = observed.told.rested_head.as_deref();
    let forgiven = forgiven.and_then(|id| cluster.place.identity.parse_job_id(id));
    Aim {
        head,
        workers,
        decision,
        too_dear: (workers < wanted && rest.is_none()).then_some(wanted),
        rest,
        suspends,
        heads_forgiven: forgiven.map_or(0, |head| head.incarnation),
    }
}

/// As many of them as `budget.maxPerHour` pays for beside the head, where the budget is to be kept. Nobody is let go for
/// it whom an annotation protects.
fn affordable(
    wanted: u32,
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> u32 {
    let present = || as_it_is(cluster, observed, jobs).1;
    match cost::most_workers(cluster, observed) {
        Affordable::Any => wanted,
        Affordable::AtMost(most) if observed.annotations.do_not_disrupt => {
            wanted.min(most.max(present()))
        }
        Affordable::AtMost(most) => wanted.min(most),
        // Nobody is added whose price is not known, and nobody is let go for that.
        Affordable::Unknown => wanted.min(present()),
    }
}

/// The head, if there is one, and the workers that serve it, but for those that close: nobody counts on them.
fn as_it_is(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> (bool, u32) {
    let Some(head) = present_head(jobs) else {
        return (false, 0);
    };
    let closing = closing(cluster, observed).jobs;
    let serves = |(name, facts): &(&JobName, &JobFacts)| {
        name.slot != Slot::Head
            && (facts.status.has_not_started() || !closing.contains(&facts.id))
            && !facts.status.is_terminal()
            && !facts.status.is_leaving()
            && facts.head() == Some(head.id.as_str())
    };
    let workers = jobs.iter().filter(serves).count();
    (true, u32::try_from(workers).unwrap_or(u32::MAX))
}

fn has_a_worker(jobs: &BTreeMap<JobName, JobFacts>) -> bool {
    jobs.iter()
        .any(|(name, facts)| name.slot != Slot::Head && !facts.status.is_terminal())
}

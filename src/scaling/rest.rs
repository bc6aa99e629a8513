//! Whether a cluster rests, why, and what ends that (docs/decisions/021-rest-is-recorded-before-it-is-acted-on.md).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cost;
use super::letting_go::{Cancelled, LettingGo};
use crate::api::{Annotations, BudgetAction, IdleAction, ReconcilePolicy, RestReason, RestStatus};
use crate::azure_resources::Scene;
use crate::azure_resources::job::{JobFacts, JobStatus, Lineup};
use crate::azure_resources::ownership::owner_uid;
use crate::dask::State;
use crate::names::{JobName, Slot};
use crate::reconcile::{Observed, ValidCluster};

/// How long workers may take to end their tasks and hand over their data before everything ends, where the manifest
/// does not say.
const HANDS_OVER_WITHIN: SignedDuration = SignedDuration::from_secs(120);

/// How long before the end of an idle cluster it is warned of, at most; at most half of the timeout.
const WARNS_OF_IDLE_END: SignedDuration = SignedDuration::from_secs(300);
/// How long before the end of a head it is warned of; a tenth of lifetimes below two days.
const WARNS_OF_LIFETIME_END: SignedDuration = SignedDuration::from_hours(24);
/// So much time there is at least between a warning and what it warns of, unless the whole warning is shorter: also where
/// a limit was set on a cluster that is past it, or no operator was there to warn.
const NOTICE: SignedDuration = SignedDuration::from_secs(300);

/// The rest that a cluster is in, or comes to now. `jobs`: all of this cluster, ended ones included.
pub(crate) fn rest(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<RestStatus> {
    let told = observed.told.rest.as_ref();
    let begins = |reason, action| RestStatus {
        reason,
        action,
        since: Time(whole_seconds(observed.seen_at)),
        generation: observed.generation,
        wake: observed.annotations.wake.clone(),
    };
    if cluster.suspend {
        let told = told.filter(|told| told.reason == RestReason::Suspended);
        return Some(
            told.cloned()
                .unwrap_or_else(|| begins(RestReason::Suspended, IdleAction::Suspend)),
        );
    }
    let lasting = told.filter(|told| lasts(told, cluster, observed, jobs));
    // A scheduler that stays is no shelter from what ends it.
    let may_begin = !forbids(&observed.annotations)
        && lasting.is_none_or(|told| told.action == IdleAction::ScaleToZero);
    let warned = || {
        let comes = |coming: &Coming| coming.is_told(observed) && coming.at <= observed.seen_at;
        let mut all = coming(cluster, observed, jobs, lasting).into_iter();
        all.find(comes).map(|coming| (coming.reason, coming.action))
    };
    let over_budget = || {
        is_used_up(cluster, observed, jobs).then_some((RestReason::OverBudget, IdleAction::Suspend))
    };
    let begun = may_begin.then(|| warned().or_else(over_budget)).flatten();
    begun
        .map(|(reason, action)| begins(reason, action))
        .or_else(|| lasting.cloned())
}

/// Whether this rest stands in the status: only then it is acted on, so that an operator that starts anew knows why no
/// job is there. What the spec says needs no record.
pub(super) fn is_recorded(rest: &RestStatus, observed: &Observed) -> bool {
    rest.reason == RestReason::Suspended || observed.told.rest.as_ref() == Some(rest)
}

/// What is known without the jobs: no head is there, or will be soon.
pub(crate) fn is_suspended(cluster: &ValidCluster, observed: &Observed) -> bool {
    let recorded = observed.told.rest.as_ref().is_some_and(|told| {
        let is_woken = is_woken(told, observed);
        told.action == IdleAction::Suspend
            && match told.reason {
                RestReason::Suspended => false,
                RestReason::OverBudget => {
                    !is_woken || is_used_up(cluster, observed, &BTreeMap::new())
                }
                RestReason::Idle | RestReason::LifetimeReached => !is_woken,
            }
    });
    cluster.suspend || recorded
}

/// A rest that comes by itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coming {
    pub(crate) reason: RestReason,
    pub(crate) action: IdleAction,
    pub(crate) at: Timestamp,
}

impl Coming {
    fn is_told(&self, observed: &Observed) -> bool {
        let mut told = observed.told.coming_rests.iter();
        told.any(|told| told.reason == self.reason)
    }
}

/// The rests that come by themselves and are so near that they are to be told, the next one first. `resting`: the rest
/// that the cluster is in.
pub(crate) fn coming(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
    resting: Option<&RestStatus>,
) -> Vec<Coming> {
    let ends = resting.is_some_and(|rest| rest.action == IdleAction::Suspend);
    if ends || cluster.suspend || forbids(&observed.annotations) {
        return Vec::new();
    }
    let idle = || {
        let idle = cluster.idle.filter(|_| resting.is_none())?;
        let at = idle_at(cluster, observed, jobs)?;
        Some((RestReason::Idle, idle.action, at, idle_warning(cluster)))
    };
    let lifetime = || {
        let at = lifetime_ends(cluster, jobs)?;
        let warning = lifetime_warning(cluster.max_lifetime?);
        Some((
            RestReason::LifetimeReached,
            IdleAction::Suspend,
            at,
            warning,
        ))
    };
    let near = [idle(), lifetime()].into_iter().flatten();
    let near = near.filter_map(|(reason, action, at, warning)| {
        let now = observed.seen_at;
        let since = at.saturating_sub(warning).unwrap_or(at);
        let soonest = whole_seconds(now.saturating_add(NOTICE.min(warning)).unwrap_or(now));
        let mut told = observed.told.coming_rests.iter();
        let told = told.find(|told| told.reason == reason);
        let notice = told.map_or(soonest, |told| told.at.0.min(soonest));
        let at = at.max(notice);
        (now >= since).then_some(Coming { reason, action, at })
    });
    let mut near: Vec<_> = near.collect();
    near.sort_by_key(|coming| coming.at);
    near
}

pub(crate) fn idle_warning(cluster: &ValidCluster) -> SignedDuration {
    let timeout = cluster
        .idle
        .map_or(SignedDuration::ZERO, |idle| idle.timeout);
    WARNS_OF_IDLE_END.min(timeout / 2)
}

pub(crate) fn lifetime_warning(lifetime: SignedDuration) -> SignedDuration {
    if lifetime < WARNS_OF_LIFETIME_END * 2 {
        lifetime / 10
    } else {
        WARNS_OF_LIFETIME_END
    }
}

/// What would let the cluster rest now, were it not resting, had it been warned and did nothing forbid it.
pub(crate) fn due(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<(RestReason, IdleAction)> {
    if let Some(idle) = cluster.idle
        && idle_at(cluster, observed, jobs).is_some_and(|at| at <= observed.seen_at)
    {
        return Some((RestReason::Idle, idle.action));
    }
    if lifetime_ends(cluster, jobs).is_some_and(|at| at <= observed.seen_at) {
        return Some((RestReason::LifetimeReached, IdleAction::Suspend));
    }
    is_used_up(cluster, observed, jobs).then_some((RestReason::OverBudget, IdleAction::Suspend))
}

/// Whether an annotation keeps the operator from letting the cluster rest of its own accord.
pub(crate) fn forbids(annotations: &Annotations) -> bool {
    let writes = matches!(
        annotations.policy,
        ReconcilePolicy::Manage | ReconcilePolicy::DetachOnDelete
    );
    annotations.do_not_disrupt || annotations.dry_run || !writes
}

fn lasts(
    told: &RestStatus,
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> bool {
    match told.reason {
        RestReason::Suspended => false,
        // To wake it would let it rest again at once.
        RestReason::OverBudget => !is_woken(told, observed) || is_used_up(cluster, observed, jobs),
        // Whoever wakes it while it hands over gets a new head, and not the one whose time is over.
        RestReason::LifetimeReached => {
            !is_woken(told, observed)
                || lifetime_ends(cluster, jobs).is_some_and(|at| at <= observed.seen_at)
        }
        RestReason::Idle => {
            !is_woken(told, observed) && !work_has_come(told, cluster, observed, jobs)
        }
    }
}

fn is_woken(told: &RestStatus, observed: &Observed) -> bool {
    observed.generation != told.generation || observed.annotations.wake != told.wake
}

/// A scheduler that is still there has something to do again. Once workers are being ended that hold data, what it
/// wants to compute anew is no work that came.
fn work_has_come(
    told: &RestStatus,
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> bool {
    let is_being_ended =
        told.action == IdleAction::Suspend && !may_hand_over(told, cluster, observed);
    !is_being_ended && answer(observed, jobs).is_some_and(has_work)
}

/// Since when nothing has been to do, as far as this operator and those before it have seen.
///
/// The count begins with our own first look at an idle scheduler, so that its clock does not matter. Its own time is
/// heard where it is later and not ahead of ours: work between two looks begins the count anew.
pub(crate) fn idle_since(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<Timestamp> {
    present_head(jobs).filter(|head| runs(head))?;
    let now = whole_seconds(observed.seen_at);
    let told = observed.told.idle_since.filter(|since| *since <= now);
    let Some(state) = answer(observed, jobs) else {
        // It was not asked yet, or is silent: nothing new is known, and nothing follows from it.
        return told;
    };
    if !is_idle(state) {
        return None;
    }
    // Whoever wakes a cluster has the whole time before it rests again.
    let rested = observed.told.rest.as_ref().filter(|_| !cluster.suspend);
    let woke = rested.is_some_and(|told| !lasts(told, cluster, observed, jobs));
    let first_look = told.filter(|_| !woke).unwrap_or(now);
    let its_own = state
        .load
        .idle_since
        .and_then(timestamp)
        .filter(|own| *own <= now);
    Some(its_own.map_or(first_look, |own| own.max(first_look)))
}

/// When the cluster will have been idle for long enough, if it goes on as it does; the scheduler answers now.
pub(crate) fn idle_at(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<Timestamp> {
    let idle = cluster.idle?;
    answer(observed, jobs).filter(|state| is_idle(state))?;
    let since = idle_since(cluster, observed, jobs)?;
    since.checked_add(idle.timeout).ok()
}

/// When the present head has had its lifetime, by `maxLifetimeSeconds`.
pub(crate) fn lifetime_ends(
    cluster: &ValidCluster,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<Timestamp> {
    let head = present_head(jobs).filter(|head| runs(head))?;
    head.started_at?.checked_add(cluster.max_lifetime?).ok()
}

/// `budget.maxTotal` is spent, and the manifest says what follows.
fn is_used_up(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> bool {
    let budget = cluster
        .budget
        .filter(|budget| budget.action == BudgetAction::Suspend);
    let Some(most) = budget.and_then(|budget| budget.max_total) else {
        return false;
    };
    cost::accrued(cluster, observed, jobs).is_some_and(|amount| amount >= most)
}

/// Workers still have time to end their tasks and to hand over their data. A clock that jumps, ends it.
pub(super) fn may_hand_over(
    rest: &RestStatus,
    cluster: &ValidCluster,
    observed: &Observed,
) -> bool {
    let waited = observed.seen_at.duration_since(rest.since.0).abs();
    // A longer grace is for tasks that run: data goes with the head in any case.
    let is_busy = || {
        let state = observed.scheduler.state.as_ref();
        let answers = state.filter(|_| observed.scheduler.silence.is_none());
        answers.is_none_or(|state| {
            let of_workers = state.workers.iter().any(|worker| worker.processing > 0);
            state.load.processing > 0 || of_workers
        })
    };
    waited < hands_over_within(cluster) && (waited < HANDS_OVER_WITHIN || is_busy())
}

fn hands_over_within(cluster: &ValidCluster) -> SignedDuration {
    cluster.worker.scale_down_grace.unwrap_or(HANDS_OVER_WITHIN)
}

/// When everything ends that has not ended by itself.
pub(crate) fn hand_over_ends(rest: &RestStatus, cluster: &ValidCluster) -> Option<Timestamp> {
    rest.since.0.checked_add(hands_over_within(cluster)).ok()
}

/// The newest head job, if it has not ended.
pub(crate) fn present_head(jobs: &BTreeMap<JobName, JobFacts>) -> Option<&JobFacts> {
    let mut heads = jobs.iter().filter(|(name, _)| name.slot == Slot::Head);
    let (_, newest) = heads.next_back()?;
    (!newest.status.is_terminal()).then_some(newest)
}

pub(super) fn runs(job: &JobFacts) -> bool {
    matches!(job.status, JobStatus::Running | JobStatus::NotResponding)
}

/// What the scheduler of the present head answers now.
pub(crate) fn answer<'a>(
    observed: &'a Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<&'a State> {
    let head = present_head(jobs).filter(|head| runs(head))?;
    let sight = &observed.scheduler;
    let is_present = sight
        .target
        .as_ref()
        .is_some_and(|target| target.head_run == head.id);
    let state = sight.state.as_ref();
    state.filter(|_| is_present && sight.silence.is_none())
}

fn has_work(state: &State) -> bool {
    let load = &state.load;
    load.processing > 0 || load.queued > 0 || load.unrunnable > 0
}

/// Nothing runs, waits for a thread or lacks a worker. An answer that contradicts itself is not idle.
fn is_idle(state: &State) -> bool {
    let load = &state.load;
    load.idle_since
        .is_some_and(|since| since.is_finite() && since >= 0.0)
        && !has_work(state)
        && state.workers.iter().all(|worker| worker.processing == 0)
}

/// Whole seconds, as the status writes them.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    at.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Floor),
    )
    .unwrap_or(at)
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    let duration = SignedDuration::try_from_secs_f64(seconds.floor()).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(duration).ok()
}

/// Ends every job of ours, the head last: nothing is handed over any more.
pub fn end_all(scene: &Scene<'_>, lineup: &Lineup) -> LettingGo {
    let uid = scene.cluster.owner.uid.as_str();
    let alive = lineup.jobs.iter().filter(|(_, facts)| {
        !facts.status.is_terminal()
            && !facts.status.is_leaving()
            && owner_uid(&facts.tags) == Some(uid)
    });
    let cancel = alive.map(|(name, facts)| Cancelled {
        job: *name,
        why: if facts.status.has_not_started() {
            "the cluster rests, and it has not started".into()
        } else {
            "the cluster rests".into()
        },
        reason: None,
    });
    let (heads, mut workers): (Vec<_>, Vec<_>) =
        cancel.partition(|cancelled| cancelled.job.slot == Slot::Head);
    workers.extend(heads);
    LettingGo {
        cancel: workers,
        ..LettingGo::default()
    }
}

//! How many workers are of use, and how many of them to ask for now (docs/decisions/020-how-many-workers.md).

mod demand;
#[cfg(test)]
mod tests;
mod window;

pub use window::{Recommendations, Useful};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use self::demand::Demand;
use super::Aim;
use super::letting_go::{closing, retired_at};
use super::rest::rest;
use crate::api::{Autoscaling, IdleAction};
use crate::azure_resources::Scene;
use crate::azure_resources::job::{JobFacts, JobStatus, Lineup, Updates};
use crate::lookup::Trouble;
use crate::names::JobName;
use crate::reconcile::{Observed, SchedulerStage, ValidCluster, pool_refusal};

/// Between two steps down.
const BETWEEN_STEPS_DOWN: SignedDuration = SignedDuration::from_secs(60);
/// While something is pending there is a look at least this often: what was not looked at is not known.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);
const SHORTEST_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// How many workers are wanted, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Worker jobs.
    pub replicas: u32,
    /// As `want 12: 480 tasks, 14400 s of work over 8 threads x 300 s; capped by QuotaExceeded at 12`.
    pub why: String,
    /// The last part of `why`: what keeps the number from being another one. It changes only when that does, while the
    /// part before it tells of the moment.
    pub caveat: Option<String>,
    /// What was of use at this look, before anything is smoothed; `None` where it told nothing.
    pub useful: Option<Useful>,
    /// When time alone may change the decision.
    pub look_again: Option<Timestamp>,
}

impl Decision {
    fn of(replicas: u32, because: String) -> Self {
        Self {
            replicas,
            why: format!("want {replicas}: {because}"),
            caveat: None,
            useful: None,
            look_again: None,
        }
    }

    fn with_caveat(mut self, caveat: Option<String>) -> Self {
        if let Some(caveat) = &caveat {
            self.why = format!("{}{CAVEAT}{caveat}", self.why);
        }
        self.caveat = caveat;
        self
    }

    /// Whether this line, which was told of the same number, still tells what matters.
    pub(crate) fn is_told_by(&self, line: &str) -> bool {
        let told = line.split_once(CAVEAT).map(|(_, caveat)| caveat);
        told == self.caveat.as_deref()
    }
}

/// What stands before a caveat, and nowhere else in a line.
const CAVEAT: &str = "; ";

/// `jobs`: all of this cluster, ended ones included.
pub(super) fn autoscale(
    autoscaling: &Autoscaling,
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Decision {
    let identity = &cluster.place.identity;
    let lineup = Lineup::of(
        jobs.clone(),
        Aim::of(0),
        Updates::default(),
        &closing(cluster, observed),
        |name| identity.job_id(name),
    );
    let scene = Scene {
        cluster,
        observed,
        lineup: Some(&lineup),
    };
    let (before, because) = start(cluster, observed, &lineup);
    let stage = SchedulerStage::of(&scene, &lineup);
    let kept = protected(&scene, &lineup, &stage);
    let before = before
        .max(kept)
        .max(autoscaling.min_replicas)
        .min(autoscaling.max_replicas);
    let Some(state) = stage.answering(&scene) else {
        let silent = observed.scheduler.silence.is_some();
        let caveat =
            silent.then(|| "the scheduler does not answer, so the number stays".to_owned());
        return Decision::of(before, because.to_owned()).with_caveat(caveat);
    };
    match Demand::of(state, &lineup, autoscaling, cluster, observed) {
        Ok(demand) => Scale {
            autoscaling,
            observed,
            demand,
            before,
            refusal: refusal(cluster, observed, &lineup),
        }
        .decide(),
        Err(nonsense) => Decision::of(before, because.to_owned()).with_caveat(Some(format!(
            "the scheduler tells of {nonsense}, so the number stays"
        ))),
    }
}

/// The number before this decision, and why it is that.
fn start<'a>(cluster: &ValidCluster, observed: &Observed, lineup: &Lineup) -> (u32, &'a str) {
    let runs = lineup
        .head_facts()
        .is_some_and(|head| head.status == JobStatus::Running);
    let rested = observed.told.rest.as_ref();
    let begins_anew = !runs
        && rested.is_some_and(|rest| rest.action == IdleAction::Suspend)
        && rest(cluster, observed, &lineup.jobs).is_none();
    if let Some(told) = observed.told.desired_replicas.filter(|_| !begins_anew) {
        return (told, "as before");
    }
    if runs {
        let alive = u32::try_from(lineup.alive_workers.len()).unwrap_or(u32::MAX);
        return (alive, "the workers that there were");
    }
    (cluster.worker.replicas, "the size to start with")
}

/// So many workers have started and were not told to go, where an annotation keeps them: also those that were one too
/// many before it was there.
fn protected(scene: &Scene<'_>, lineup: &Lineup, stage: &SchedulerStage) -> u32 {
    if !scene.observed.annotations.do_not_disrupt {
        return 0;
    }
    let state = stage.answering(scene);
    let is_leaving = |job: &JobFacts| {
        let Some(state) = state else { return false };
        let mut workers = state.workers.iter();
        match workers.find(|worker| worker.job_id() == job.id) {
            Some(worker) => worker.is_leaving(),
            // It was there, and its job is about to end.
            None => {
                let sight = &scene.observed.scheduler;
                let is_retired = || retired_at(sight.retirement.as_ref(), &job.id).is_some();
                sight.seen.contains_key(&job.id) || is_retired()
            }
        }
    };
    let stays = |name: &&JobName| {
        let job = &lineup.jobs[*name];
        !job.status.has_not_started() && !is_leaving(job)
    };
    let count = lineup.alive_workers.iter().filter(stays).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What the pool says to the workers that wait for a node. What it said once may stand there long after.
fn refusal(cluster: &ValidCluster, observed: &Observed, lineup: &Lineup) -> Option<Trouble> {
    let waits = |name: &JobName| lineup.jobs[name].status.has_not_started();
    let somebody_waits = lineup.alive_workers.iter().any(waits);
    pool_refusal(observed, &cluster.place.compute).filter(|_| somebody_waits)
}

/// A decision from an answer that makes sense.
struct Scale<'a> {
    autoscaling: &'a Autoscaling,
    observed: &'a Observed,
    demand: Demand,
    /// Between the bounds.
    before: u32,
    /// Why the pool gets no more nodes.
    refusal: Option<Trouble>,
}

impl Scale<'_> {
    fn decide(&self) -> Decision {
        let useful = self.demand.useful();
        let unrunnable = match self.demand.unrunnable {
            0 => None,
            _ => Some(
                "some tasks ask for a worker or resource that no worker of this cluster has"
                    .to_owned(),
            ),
        };
        let decision = if useful.grow > self.before {
            self.up(useful)
        } else {
            self.down(useful)
        };
        let decision = match decision.caveat {
            Some(_) => decision,
            None => decision.with_caveat(unrunnable),
        };
        Decision {
            useful: Some(useful),
            ..decision
        }
    }

    fn up(&self, useful: Useful) -> Decision {
        let Autoscaling {
            max_replicas,
            max_scale_up_step,
            ..
        } = *self.autoscaling;
        let told = self.demand.told();
        if self.before >= max_replicas {
            return Decision::of(
                self.before,
                format!("{told}, and maxReplicas is {max_replicas}"),
            );
        }
        let window = seconds(self.autoscaling.scale_up_stabilization_seconds);
        let lately = self.lately(window, useful).map(|lately| lately.grow);
        let Some(wanted) = lately.filter(|lately| *lately > self.before) else {
            let because = format!(
                "{told}, and more only if it lasts for {} s",
                window.as_secs()
            );
            let look_again = self.free_at(window, |seen| seen.grow <= self.before);
            return self.again(Decision::of(self.before, because), look_again);
        };
        if let Some(refusal) = &self.refusal {
            let caveat = format!("capped by {} at {}", refusal.reason, self.before);
            return Decision::of(self.before, told).with_caveat(Some(caveat));
        }
        let wanted = wanted.min(max_replicas);
        let at_once = self.demand.registered.saturating_add(max_scale_up_step);
        let replicas = wanted.min(at_once).max(self.before);
        let because = if replicas < wanted {
            format!("{told}, which is {wanted}, but {max_scale_up_step} on their way at once")
        } else if useful.grow > wanted && wanted == max_replicas {
            format!("{told}, and maxReplicas is {max_replicas}")
        } else {
            told
        };
        Decision::of(replicas, because)
    }

    fn down(&self, useful: Useful) -> Decision {
        let demand = &self.demand;
        let told = demand.told();
        let work = useful.keep.max(self.autoscaling.min_replicas);
        let floor = work.max(demand.floor());
        if floor >= self.before {
            let because = match () {
                () if work >= self.before && useful.keep < work => {
                    format!("{told}, and minReplicas is {work}")
                }
                () if work < self.before => format!("{told}, {}", demand.told_floor()),
                () => told,
            };
            return Decision::of(self.before, because);
        }
        let window = seconds(self.autoscaling.scale_down_stabilization_seconds);
        let lately = self.lately(window, useful).map(|lately| lately.keep);
        let floor = lately.map(|lately| lately.max(floor));
        let Some(floor) = floor.filter(|floor| *floor < self.before) else {
            let because = format!(
                "{told}, and fewer only if it lasts for {} s",
                window.as_secs()
            );
            let look_again = self.free_at(window, |seen| seen.keep >= self.before);
            return self.again(Decision::of(self.before, because), look_again);
        };
        if self.observed.annotations.do_not_disrupt {
            let caveat = "the annotation do-not-disrupt keeps the others".to_owned();
            return Decision::of(self.before, told).with_caveat(Some(caveat));
        }
        if let Some(next) = self.next_step_down() {
            return self.again(Decision::of(self.before, told), next);
        }
        let percent = u64::from(self.autoscaling.max_scale_down_percent);
        let step = u64::from(self.before) * percent / 100;
        let step = u32::try_from(step).unwrap_or(u32::MAX).max(1);
        let replicas = self.before.saturating_sub(step).max(floor);
        let because = match () {
            () if replicas > floor => format!("{told}, down to {floor} step by step"),
            () if floor > work && floor == demand.floor() => {
                format!("{told}, {}", demand.told_floor())
            }
            () if floor > work => format!("{told}, and {floor} were of use lately"),
            () if floor > useful.keep => format!("{told}, and minReplicas is {floor}"),
            () => told,
        };
        Decision::of(replicas, because)
    }

    fn lately(&self, window: SignedDuration, useful: Useful) -> Option<Useful> {
        let now = self.observed.seen_at;
        self.observed.recommendations.over(window, now, useful)
    }

    fn free_at(&self, window: SignedDuration, against: impl Fn(Useful) -> bool) -> Timestamp {
        let now = self.observed.seen_at;
        self.observed.recommendations.free_at(window, now, against)
    }

    /// When the last change is long enough ago; `None` if it is. A change in the future is one of another clock.
    fn next_step_down(&self) -> Option<Timestamp> {
        let last = self.observed.told.last_scale_time?;
        let since = self.observed.seen_at.duration_since(last);
        (since.abs() < BETWEEN_STEPS_DOWN)
            .then(|| last.saturating_add(BETWEEN_STEPS_DOWN).unwrap_or(last))
    }

    fn again(&self, decision: Decision, at: Timestamp) -> Decision {
        let now = self.observed.seen_at;
        let wait = at.duration_since(now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        Decision {
            look_again: now.checked_add(wait).ok(),
            ..decision
        }
    }
}

fn seconds(of: u32) -> SignedDuration {
    SignedDuration::from_secs(of.into())
}

//! Who stands in which slot, and what id comes next. Found in Azure at every look, never remembered.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::failure::lasting_failure;
use super::started_with::RUN_WORKER;
use super::wire::{JobFacts, JobStatus};
use crate::azure_resources::Scene;
use crate::names::{JobName, Slot};
use crate::reconcile::{ValidCluster, WorkerSubmission};
use crate::scaling::Aim;

/// Delay before a slot is filled again after one failure; it doubles with each further one in a row.
const RESTART_DELAY: Duration = Duration::from_secs(10);
/// The longest such delay.
pub const MAX_RESTART_DELAY: Duration = Duration::from_secs(300);

/// Who stands in a slot, or will.
#[derive(Clone, Debug, PartialEq)]
pub enum Occupant {
    Alive(JobName),
    Vacant {
        /// The id to submit next.
        next: JobName,
        /// Not submitted before that: its predecessors failed.
        not_before: Option<Timestamp>,
        /// The newest job that stood here, if any. One that was cancelled before it started is passed over.
        last: Option<Box<JobFacts>>,
        /// Failures in a row.
        failures: u32,
    },
}

impl Occupant {
    /// The job that stands here, or the one that comes next.
    pub fn name(&self) -> JobName {
        match self {
            Self::Alive(name) | Self::Vacant { next: name, .. } => *name,
        }
    }
}

/// The jobs of a cluster, put in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Lineup {
    /// What there is to be.
    pub aim: Aim,
    pub head: Occupant,
    /// The wanted worker slots.
    pub workers: Vec<Occupant>,
    /// Worker jobs of the present head that have neither ended nor been told to, wanted or not, and are not slow to close.
    pub alive_workers: Vec<JobName>,
    /// Worker jobs whose worker was told to go a while ago: they end by themselves, sooner or later, and hold their slot
    /// until then.
    pub closing: Vec<JobName>,
    /// Jobs on their way out: they hold their slot until they have ended.
    pub leaving: Vec<JobName>,
    /// Alive worker jobs of a head that is gone: their scheduler, and with it their data, no longer exists.
    pub stale_workers: Vec<JobName>,
    /// Jobs that were started before a change of the spec, each with the fields that have changed; ended ones included.
    pub outdated: BTreeMap<JobName, Vec<&'static str>>,
    /// Worker jobs on top of those that are wanted, so that a new one can take the place of one that is outdated.
    pub surge: u32,
    /// All of them, by name.
    pub jobs: BTreeMap<JobName, JobFacts>,
}

/// Which jobs lack a change of the spec, and how much room there is to replace workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updates {
    pub outdated: BTreeMap<JobName, Vec<&'static str>>,
    /// One more worker than wanted may run while one is replaced.
    pub may_surge: bool,
    /// One that does already goes on, though there is no room for another one.
    pub keeps_surge: bool,
}

/// Which workers were told to go a while ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closing {
    /// Ids of their jobs.
    pub jobs: BTreeSet<String>,
    /// So many worker jobs there may be at most, those that close among them; `None` for any number.
    pub most: Option<u32>,
}

impl Lineup {
    /// `jobs` are all jobs of this cluster, ended ones included.
    pub fn of(
        jobs: BTreeMap<JobName, JobFacts>,
        aim: Aim,
        updates: Updates,
        closes: &Closing,
        head_id: impl Fn(JobName) -> String,
    ) -> Self {
        let Updates {
            outdated,
            may_surge,
            keeps_surge,
        } = updates;
        let head = occupant(&jobs, &outdated, Slot::Head, None, aim.heads_forgiven);
        let serves = head_id(head.name());
        let serves = serves.as_str();
        let (mut alive_workers, mut stale_workers) = (Vec::new(), Vec::new());
        let (mut closing, mut leaving) = (Vec::new(), Vec::new());
        for (name, facts) in &jobs {
            if facts.status.is_terminal() {
                continue;
            }
            let is_worker = matches!(name.slot, Slot::Worker(_));
            if facts.status.is_leaving() {
                leaving.push(*name);
            } else if is_worker && facts.head() == Some(serves) {
                // One that Azure runs again after a preemption comes back, whatever it was told before.
                if closes.jobs.contains(&facts.id) && !facts.status.has_not_started() {
                    closing.push(*name);
                } else {
                    alive_workers.push(*name);
                }
            } else if is_worker {
                stale_workers.push(*name);
            }
        }
        let has_started =
            |name: &&JobName| outdated.contains_key(*name) && !jobs[*name].status.has_not_started();
        let is_on_top = || {
            let is_new = |name: &&JobName| !outdated.contains_key(*name);
            let alive = u32::try_from(alive_workers.len()).unwrap_or(u32::MAX);
            alive == aim.workers + 1 && alive_workers.iter().any(|it| is_new(&it))
        };
        let rolls = (may_surge || keeps_surge && is_on_top())
            && aim.workers > 0
            && alive_workers.iter().any(|it| has_started(&it));
        let surge = u32::from(rolls);
        let taken: BTreeSet<Slot> = alive_workers
            .iter()
            .chain(&closing)
            .chain(&leaving)
            .chain(&stale_workers)
            .map(|name| name.slot)
            .collect();
        let fill_slot = |slot| occupant(&jobs, &outdated, slot, Some(serves), 0);
        let room = closes.most.map_or(u32::MAX, |most| {
            let closing = u32::try_from(closing.len()).unwrap_or(u32::MAX);
            most.saturating_sub(closing)
        });
        let wanted = aim.workers + surge;
        let has = alive_workers.len();
        let fills = wanted.min(room.max(u32::try_from(has).unwrap_or(u32::MAX)));
        let workers = fill(&alive_workers, &taken, fills, fill_slot);
        Self {
            aim,
            head,
            workers,
            alive_workers,
            closing,
            leaving,
            stale_workers,
            outdated,
            surge,
            jobs,
        }
    }

    /// Runs with what the spec says now, as far as it tells.
    pub fn is_up_to_date(&self, name: JobName) -> bool {
        !self.outdated.contains_key(&name)
    }

    /// Dask workers that are wanted, the head's own among them.
    pub fn dask_workers(&self, cluster: &ValidCluster) -> u32 {
        self.aim.workers + u32::from(self.aim.head && self.head_runs_worker(cluster))
    }

    /// Whether the head has a worker of its own, or will: a change of that waits until the head ends.
    pub fn head_runs_worker(&self, cluster: &ValidCluster) -> bool {
        let asked_for = cluster.scheduler.run_worker;
        match &self.head {
            Occupant::Alive(head) => {
                let changed = self.outdated.get(head);
                let has_changed = changed.is_some_and(|fields| fields.contains(&RUN_WORKER));
                asked_for != has_changed
            }
            Occupant::Vacant { .. } => asked_for,
        }
    }

    pub fn head_facts(&self) -> Option<&JobFacts> {
        match &self.head {
            Occupant::Alive(name) => self.jobs.get(name),
            Occupant::Vacant { .. } => None,
        }
    }

    /// Failures in a row of the slot of this worker before it, with what the spec says now and for the same head.
    pub(crate) fn failures_before(&self, name: JobName) -> u32 {
        let head = self.jobs.get(&name).and_then(JobFacts::head);
        let mut failures = 0;
        for incarnation in (1..name.incarnation).rev() {
            let before = JobName {
                incarnation,
                ..name
            };
            let Some(facts) = self.jobs.get(&before) else {
                break;
            };
            if facts.was_cancelled_before_it_started() {
                continue;
            }
            if !facts.has_failed_as_worker() || facts.head() != head || !self.is_up_to_date(before)
            {
                break;
            }
            failures += 1;
        }
        failures
    }

    /// Worker jobs that have not ended: what `status.replicas` counts.
    pub fn worker_jobs_that_have_not_ended(&self) -> usize {
        self.jobs
            .iter()
            .filter(|(name, facts)| {
                matches!(name.slot, Slot::Worker(_)) && !facts.status.is_terminal()
            })
            .count()
    }

    /// A worker is submitted only for a head that is there or submitted with it.
    pub(super) fn worker_must_wait(&self, name: JobName, scene: &Scene<'_>) -> bool {
        if name.slot == Slot::Head {
            return false;
        }
        match &self.head {
            Occupant::Alive(head) => {
                self.leaving.contains(head)
                    || scene.observed.worker_submission == WorkerSubmission::AfterHead
                        && self
                            .head_facts()
                            .is_none_or(|head| head.status != JobStatus::Running)
            }
            Occupant::Vacant { not_before, .. } => {
                scene.observed.worker_submission == WorkerSubmission::AfterHead
                    || not_before.is_some_and(|at| at > scene.observed.seen_at)
                    || lasting_failure(scene, &self.head).is_some()
                    || self
                        .leaving
                        .iter()
                        .any(|leaving| leaving.slot == Slot::Head)
            }
        }
    }
}

/// Keeps who is there and fills the lowest slots that are not taken up to `replicas`.
fn fill(
    alive: &[JobName],
    taken: &BTreeSet<Slot>,
    replicas: u32,
    occupant: impl Fn(Slot) -> Occupant,
) -> Vec<Occupant> {
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let mut workers: Vec<Occupant> = alive
        .iter()
        .copied()
        .take(wanted)
        .map(Occupant::Alive)
        .collect();
    let free = (0..=u16::MAX)
        .map(Slot::Worker)
        .filter(|slot| !taken.contains(slot));
    let missing = wanted.saturating_sub(workers.len());
    workers.extend(free.take(missing).map(occupant));
    workers
}

/// The newest incarnation of a slot, or what follows it. `serves` restricts the count of failures to one head's
/// workers: that a head went down is no failure of theirs. What was `outdated` says nothing of what the spec asks for
/// now: a change of the spec is a new chance, and a head that is replaced for one has not failed. Incarnations up to
/// `forgiven` count as no failures.
fn occupant(
    jobs: &BTreeMap<JobName, JobFacts>,
    outdated: &BTreeMap<JobName, Vec<&'static str>>,
    slot: Slot,
    serves: Option<&str>,
    forgiven: u32,
) -> Occupant {
    let incarnations = || {
        jobs.range(
            JobName {
                slot,
                incarnation: 0,
            }..=JobName {
                slot,
                incarnation: u32::MAX,
            },
        )
        .rev()
    };
    let Some((newest, facts)) = incarnations().next() else {
        return Occupant::Vacant {
            next: JobName::first(slot),
            not_before: None,
            last: None,
            failures: 0,
        };
    };
    if !facts.status.is_terminal() {
        return Occupant::Alive(*newest);
    }
    let up_to_date = || {
        incarnations()
            .take_while(|(name, _)| !outdated.contains_key(name))
            .filter(|(name, _)| name.incarnation > forgiven)
            .map(|(_, facts)| facts)
    };
    // A worker that was cancelled before it started was told to go: that says nothing of what it would have come to.
    let says_something =
        |facts: &&JobFacts| serves.is_none() || !facts.was_cancelled_before_it_started();
    // A head that ends is a failure whatever its exit code: nobody asked it to. A worker that completes was retired.
    let failed = |facts: &&JobFacts| match serves {
        None => true,
        Some(serves) => facts.status != JobStatus::Completed && facts.head() == Some(serves),
    };
    let failures = up_to_date()
        .filter(says_something)
        .take_while(failed)
        .count();
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    let last = incarnations()
        .map(|(_, facts)| facts)
        .find(says_something)
        .unwrap_or(facts);
    let not_before = restart_delay(failures)
        .and_then(|delay| last.ended_at.or(last.created_at)?.checked_add(delay).ok());
    Occupant::Vacant {
        next: newest.next(),
        not_before,
        last: Some(Box::new(last.clone())),
        failures,
    }
}

fn restart_delay(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?;
    Some(
        RESTART_DELAY
            .saturating_mul(1 << doublings.min(16))
            .min(MAX_RESTART_DELAY),
    )
}

pub(super) fn delay_message(
    name: JobName,
    at: Timestamp,
    last: Option<&JobFacts>,
    scene: &Scene<'_>,
) -> String {
    format!(
        "{}job {} starts at {}",
        last_words(last, scene),
        scene.cluster.place.identity.job_id(name),
        at.strftime("%H:%M:%S UTC")
    )
}

pub(super) fn trial_message(
    name: JobName,
    other: JobName,
    last: Option<&JobFacts>,
    scene: &Scene<'_>,
) -> String {
    let identity = &scene.cluster.place.identity;
    format!(
        "{}as several workers failed, job {} starts when {} has shown that workers start again",
        last_words(last, scene),
        identity.job_id(name),
        identity.job_id(other),
    )
}

fn last_words(last: Option<&JobFacts>, scene: &Scene<'_>) -> String {
    last.map_or_else(String::new, |last| {
        let failure = scene.observed.job_failures.get(&last.id);
        let detail = failure.map_or_else(String::new, |failure| format!(": {failure}"));
        format!("job {} ended {}{detail}; ", last.id, last.status)
    })
}

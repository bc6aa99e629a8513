//! Fewer workers without losing data: what has not started is cancelled, what holds data is retired by the scheduler,
//! and nothing is killed blindly.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::rollout::{self, Rollout, rollout};
use crate::api::Reason;
use crate::azure_resources::Scene;
use crate::azure_resources::job::{Closing, JobFacts, Lineup, Occupant};
use crate::azure_resources::ownership::owner_uid;
use crate::dask::{Retirement, RetirementOutcome, State, Worker, job_of};
use crate::names::{JobName, Slot};
use crate::reconcile::{Observed, SchedulerStage, ValidCluster};

/// How long a retired worker's job may take to end by itself before it is cancelled: Dask closes within seconds, a
/// running task is waited for.
const RETIRED_JOB_ENDS_WITHIN: Duration = Duration::from_secs(600);
/// Two refused attempts in quick succession wedge a worker (dask-protocol section 0, 4).
const BETWEEN_RETIREMENTS: Duration = Duration::from_secs(10);
/// Most workers that are told to go have gone after that; others are no longer counted on, and their place is filled.
const MAKES_ROOM_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// A worker that has been told to go, has no task left and is still there after that will not go by itself.
const LEAVES_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// A worker that sends no heartbeat for so long is replaced. Dask's own limit of five minutes is off (a scheduler that
/// pauses would drop all of them), and would meet tasks that hold Python's lock for long.
const UNHEARD_OF_FOR: SignedDuration = SignedDuration::from_mins(15);

/// Who goes now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LettingGo {
    pub cancel: Vec<Cancelled>,
    /// So many are to be retired, chosen by the scheduler.
    pub retire: u32,
    /// Ids of the jobs whose workers go before others.
    pub first: Vec<String>,
    /// What is waited for, if workers are still to go.
    pub waiting: Option<Waiting>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cancelled {
    pub job: JobName,
    pub why: String,
    /// Where it is told as an event of its own.
    pub reason: Option<Reason>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub reason: Reason,
    pub message: String,
}

impl LettingGo {
    fn wait(&mut self, reason: Reason, message: String) {
        self.waiting = Some(Waiting { reason, message });
    }

    fn cancels(&mut self, job: JobName, why: impl Into<String>) {
        self.cancel.push(Cancelled {
            job,
            why: why.into(),
            reason: None,
        });
    }
}

/// Whose workers have been told to go a while ago, by the scheduler or by us, and did not come back: they are busy or
/// wedged, and nobody should wait for them who wants a worker.
pub(crate) fn closing(cluster: &ValidCluster, observed: &Observed) -> Closing {
    let sight = &observed.scheduler;
    let now = observed.seen_at;
    let is_slow = |since: Timestamp| now.duration_since(since).abs() > MAKES_ROOM_WITHIN;
    let leaving = sight.seen.iter().filter_map(|(job, seen)| {
        let since = seen.leaving_since?;
        is_slow(since).then(|| job.clone())
    });
    let mut jobs: BTreeSet<String> = leaving.collect();
    if let Some(RetirementOutcome::Answered { at, retired }) = sight
        .retirement
        .as_ref()
        .map(|retirement| &retirement.outcome)
        && is_slow(*at)
    {
        let retired = retired
            .retired
            .iter()
            .map(|worker| job_of(worker).to_owned());
        jobs.extend(retired);
    }
    for worker in sight.state.iter().flat_map(|state| &state.workers) {
        if !worker.is_leaving() {
            jobs.remove(worker.job_id());
        }
    }
    let of_pool = cluster
        .compute
        .max_nodes
        .saturating_sub(cluster.head_nodes());
    let of_bounds = cluster
        .autoscaling
        .map_or(u32::MAX, |autoscaling| autoscaling.max_replicas);
    Closing {
        jobs,
        most: Some(of_pool.min(of_bounds)),
    }
}

/// Who has to go for the cluster to have its wanted number of workers, with what the spec says.
pub fn letting_go(scene: &Scene<'_>, lineup: &Lineup, stage: &SchedulerStage) -> LettingGo {
    let mut going = LettingGo::default();
    let uid = scene.cluster.owner.uid.as_str();
    let is_ours = |name: &&JobName| owner_uid(&lineup.jobs[*name].tags) == Some(uid);
    for name in lineup.stale_workers.iter().filter(is_ours) {
        going.cancels(*name, "its scheduler is gone");
    }
    if rollout::goes(scene, lineup) {
        if let Occupant::Alive(head) = &lineup.head
            && is_ours(&head)
            && !lineup.leaving.contains(head)
        {
            let fields = lineup.outdated[head].join(", ");
            let why = format!("{fields} changed, and updatePolicy is Recreate");
            going.cancels(*head, why);
        }
        return going;
    }
    let state = stage.answering(scene);
    if let Some(state) = state {
        cancel_who_is_late(scene, lineup, state, &mut going);
    }
    let is_late = |name: &JobName| going.cancel.iter().any(|cancelled| cancelled.job == *name);
    let alive: Vec<JobName> = lineup
        .alive_workers
        .iter()
        .copied()
        .filter(|name| !is_late(name))
        .collect();
    let wanted = usize::try_from(lineup.aim.workers + lineup.surge).unwrap_or(usize::MAX);
    let surplus = alive.len().saturating_sub(wanted);
    if surplus > 0 {
        let surplus =
            cancel_not_started(scene, lineup, state, &alive, surplus, is_ours, &mut going);
        if surplus > 0 {
            retire_surplus(scene, lineup, state, (&alive, wanted, surplus), &mut going);
        }
        return going;
    }
    replace_outdated(scene, lineup, state, &mut going);
    if let (Some(state), None) = (state, &going.waiting) {
        tell_wedged(scene, lineup, state, &mut going);
    }
    let is_late = |name: &JobName| going.cancel.iter().any(|cancelled| cancelled.job == *name);
    let closing = lineup.closing.iter().filter(|name| !is_late(name)).count();
    if going.waiting.is_none() && alive.len() >= wanted && closing > 0 {
        let message = format!("{}: {HAND_OVER}", to_go(closing));
        going.wait(Reason::Retiring, message);
    }
    going
}

/// Those that have not started go first, the outdated before others and the highest slot before the rest. Returns how
/// many are still to go.
fn cancel_not_started(
    scene: &Scene<'_>,
    lineup: &Lineup,
    state: Option<&State>,
    alive: &[JobName],
    surplus: usize,
    is_ours: impl Fn(&&JobName) -> bool,
    going: &mut LettingGo,
) -> usize {
    let wanted = lineup.aim.workers;
    let not_started = |name: &&JobName| rollout::has_not_started(scene, lineup, state, **name);
    let mut candidates: Vec<&JobName> = alive
        .iter()
        .rev()
        .filter(not_started)
        .filter(is_ours)
        .collect();
    candidates.sort_by_key(|name| lineup.is_up_to_date(**name));
    candidates.truncate(surplus);
    for name in &candidates {
        let why = format!("{wanted} workers are wanted, and it has not started");
        going.cancels(**name, why);
    }
    surplus - candidates.len()
}

fn retire_surplus(
    scene: &Scene<'_>,
    lineup: &Lineup,
    state: Option<&State>,
    (alive, wanted, surplus): (&[JobName], usize, usize),
    going: &mut LettingGo,
) {
    let Some(state) = state else {
        let message = format!(
            "{}, and only the scheduler can tell which may",
            to_go(surplus)
        );
        return going.wait(Reason::Retiring, message);
    };
    let staying = registered(state, lineup, alive, |worker| !worker.is_leaving());
    let to_retire = staying.len().saturating_sub(wanted).min(surplus);
    if to_retire > 0 {
        going.first = ids(lineup, &rollout::outdated_workers(scene, lineup));
        return Retiring {
            scene,
            lineup,
            candidates: staying,
            count: to_retire,
            reason: Reason::Retiring,
        }
        .ask(going);
    }
    let leaving = registered(state, lineup, alive, Worker::is_leaving).len();
    let message = if leaving > 0 {
        format!("{}: {HAND_OVER}", to_go(surplus))
    } else {
        // All that are to go have left the scheduler, or never came to it.
        format!(
            "{} that the scheduler does not hold: their jobs end by themselves, or are retired once they have registered",
            to_go(surplus)
        )
    };
    going.wait(Reason::Retiring, message);
}

fn replace_outdated(
    scene: &Scene<'_>,
    lineup: &Lineup,
    state: Option<&State>,
    going: &mut LettingGo,
) {
    let outdated = rollout::outdated_workers(scene, lineup);
    match rollout(scene, lineup, state) {
        Rollout::Nothing => {}
        Rollout::Cancel(names) => {
            for name in names {
                let fields = lineup.outdated[&name].join(", ");
                let why = format!("{fields} changed, and it has not started");
                going.cancels(name, why);
            }
        }
        Rollout::Waits(why) => {
            let message = format!("workers are replaced one by one: {why}");
            going.wait(Reason::Updating, message);
        }
        Rollout::RetireOneOf(names) => {
            let Some(state) = state else { return };
            going.first = ids(lineup, &names);
            Retiring {
                scene,
                lineup,
                candidates: registered(state, lineup, &outdated, |_| true),
                count: 1,
                reason: Reason::Updating,
            }
            .ask(going);
        }
    }
}

fn ids(lineup: &Lineup, names: &[JobName]) -> Vec<String> {
    names
        .iter()
        .map(|name| lineup.jobs[name].id.clone())
        .collect()
}

/// Those of the jobs whose worker the scheduler holds, and is as asked for.
fn registered<'a>(
    state: &'a State,
    lineup: &Lineup,
    jobs: &[JobName],
    is: impl Fn(&Worker) -> bool,
) -> Vec<(JobName, &'a Worker)> {
    jobs.iter()
        .filter_map(|name| {
            let id = lineup.jobs[name].id.as_str();
            let worker = state.workers.iter().find(|worker| worker.job_id() == id)?;
            is(worker).then_some((*name, worker))
        })
        .collect()
}

/// Cancels what will not come about by itself: a job whose worker has left and that does not end, one whose worker does
/// not register, and one whose worker is wedged on its way out. None of them holds data.
fn cancel_who_is_late(scene: &Scene<'_>, lineup: &Lineup, state: &State, going: &mut LettingGo) {
    let uid = scene.cluster.owner.uid.as_str();
    for name in lineup.alive_workers.iter().chain(&lineup.closing) {
        let facts = &lineup.jobs[name];
        let runs = !facts.status.has_not_started();
        if !runs || owner_uid(&facts.tags) != Some(uid) {
            continue;
        }
        let worker = state.workers.iter().find(|it| it.job_id() == facts.id);
        match worker {
            None => {
                let overdue = why_overdue(scene, facts);
                going.cancel.extend(overdue.map(|(why, reason)| Cancelled {
                    job: *name,
                    why: why.to_owned(),
                    reason,
                }));
            }
            Some(worker) if is_unheard_of(scene, worker) => {
                let why = format!(
                    "its worker is {} and has not been heard of for more than {} s",
                    worker.status,
                    UNHEARD_OF_FOR.as_secs()
                );
                going.cancels(*name, why);
            }
            Some(worker) if worker.nbytes == 0 && wedged_since(scene, worker).is_some() => {
                let why = format!(
                    "its worker is {}, holds nothing and does not go",
                    worker.status
                );
                going.cancels(*name, why);
            }
            Some(_) => {}
        }
    }
}

/// It has sent no heartbeat for so long while its scheduler answered all the time. A paused process may come to itself
/// again, so an annotation keeps it.
fn is_unheard_of(scene: &Scene<'_>, worker: &Worker) -> bool {
    let observed = scene.observed;
    let seen = observed.scheduler.seen.get(worker.job_id());
    let since = seen.and_then(|seen| seen.unheard_since);
    !observed.annotations.do_not_disrupt
        && since.is_some_and(|since| observed.seen_at.duration_since(since) > UNHEARD_OF_FOR)
}

/// Since when a worker has been told to go, if that is long ago and no task keeps it.
fn wedged_since(scene: &Scene<'_>, worker: &Worker) -> Option<Timestamp> {
    let seen = scene.observed.scheduler.seen.get(worker.job_id())?;
    let since = seen.leaving_since.filter(|_| worker.is_leaving())?;
    let is_wedged = scene.observed.seen_at.duration_since(since).abs() > LEAVES_WITHIN;
    (is_wedged && worker.processing == 0).then_some(since)
}

fn tell_wedged(scene: &Scene<'_>, lineup: &Lineup, state: &State, going: &mut LettingGo) {
    let held = registered(state, lineup, &lineup.closing, |_| true);
    let wedged = held
        .into_iter()
        .find_map(|(name, worker)| Some((name, worker, wedged_since(scene, worker)?)))
        .filter(|(_, worker, _)| worker.nbytes > 0);
    if let Some((name, worker, since)) = wedged {
        let message = format!(
            "the worker of job {} is {} since {}, does not go and takes no task: its job is cancelled once it holds nothing, and it holds data",
            lineup.jobs[&name].id,
            worker.status,
            since.strftime("%H:%M:%S UTC"),
        );
        going.wait(Reason::Retiring, message);
    }
}

/// Why a job goes whose worker the scheduler does not hold: it has had its time to end by itself, or to register.
fn why_overdue(scene: &Scene<'_>, job: &JobFacts) -> Option<(&'static str, Option<Reason>)> {
    let sight = &scene.observed.scheduler;
    let is_over = |since: Timestamp, within: SignedDuration| {
        scene.observed.seen_at.duration_since(since) > within
    };
    if let Some(at) = retired_at(sight.retirement.as_ref(), &job.id) {
        let within = SignedDuration::try_from(RETIRED_JOB_ENDS_WITHIN).ok()?;
        let why = "it holds no data and has not ended by itself";
        return is_over(at, within).then_some((why, None));
    }
    // Before it answered, after we began to ask or after a silence, nobody knows.
    let now = scene.observed.seen_at;
    let answers_since = sight.answers_since.filter(|since| *since <= now);
    let answers_since = answers_since.unwrap_or(Timestamp::MIN);
    let missing_since = match sight.seen.get(&job.id) {
        // Azure may run a preempted job again after any time in the queue.
        Some(seen) => seen.last.max(job.started_at.unwrap_or(seen.last)),
        None => job.started_at?,
    }
    .max(answers_since);
    let why = "its worker has not registered within worker.startTimeoutSeconds";
    is_over(missing_since, scene.cluster.worker.start_timeout)
        .then_some((why, Some(Reason::StartTimeout)))
}

/// A retirement that is wanted.
struct Retiring<'a> {
    scene: &'a Scene<'a>,
    lineup: &'a Lineup,
    /// Who may go.
    candidates: Vec<(JobName, &'a Worker)>,
    count: usize,
    /// What is told while all goes well.
    reason: Reason,
}

impl Retiring<'_> {
    /// Asks for it unless the last one is too fresh, and says what is waited for.
    fn ask(self, going: &mut LettingGo) {
        let now = self.scene.observed.seen_at;
        let retirement = self.scene.observed.scheduler.retirement.as_ref();
        let count = self.count;
        let prefix = match self.reason {
            Reason::Updating => "workers are replaced one by one".to_owned(),
            _ => to_go(count),
        };
        // What is tried again is no news: the sentence of the last answer stays until another one comes.
        let refusal = || {
            let told = self.scene.observed.told.why_workers_wait.as_deref()?;
            let told = told.strip_prefix(&prefix)?.strip_prefix(": ")?;
            let is_refusal = [NONE_CAN, NOT_ASKED].iter().any(|it| told.starts_with(it));
            is_refusal.then(|| told.to_owned())
        };
        let (why, is_held, asks) = match retirement.map(|retirement| &retirement.outcome) {
            Some(RetirementOutcome::UnderWay) => {
                let why = refusal().unwrap_or_else(|| "they hand over their data".to_owned());
                (why, false, false)
            }
            Some(RetirementOutcome::Answered { at, retired }) if too_soon(*at, now) => {
                if !retired.leaving.is_empty() {
                    ("they finish their tasks".to_owned(), false, false)
                } else if retired.refused.is_empty() && !retired.retired.is_empty() {
                    ("some have left".to_owned(), false, false)
                } else if retired.data_is_held() {
                    (String::new(), true, false)
                } else {
                    let why = format!("{NONE_CAN}: {}", retired.why());
                    (why, false, false)
                }
            }
            Some(RetirementOutcome::Failed { at, message }) if too_soon(*at, now) => {
                (format!("{NOT_ASKED}: {message}"), false, false)
            }
            _ => {
                let asked = || "they are asked to hand over their data".to_owned();
                (refusal().unwrap_or_else(asked), false, true)
            }
        };
        // Nobody goes in the place of a worker that is named: where one of them could not go, fewer are wanted all the
        // same.
        let were_refused = retirement.is_some_and(|retirement| {
            matches!(&retirement.outcome, RetirementOutcome::Answered { retired, .. } if retired.retired.is_empty())
        });
        if were_refused && self.reason == Reason::Retiring {
            going.first = Vec::new();
        }
        if asks {
            going.retire = u32::try_from(count).unwrap_or(u32::MAX);
        } else {
            going.first = Vec::new();
        }
        let is_under_way = matches!(
            retirement.map(|retirement| &retirement.outcome),
            Some(RetirementOutcome::UnderWay)
        );
        let was_held = self.scene.observed.told.data_held && (asks || is_under_way);
        if is_held || was_held {
            return self.hold(is_held, going);
        }
        going.wait(self.reason, format!("{prefix}: {why}"));
    }

    /// What they hold fits nowhere else. It is lost only when the user's grace for a lowered number has passed, one
    /// worker at a time, and only after a refusal that knows of all losses before.
    fn hold(mut self, is_refused: bool, going: &mut LettingGo) {
        self.candidates
            .sort_by_key(|(name, worker)| (worker.nbytes, *name));
        let count = self.count;
        let grace = self.scene.cluster.worker.scale_down_grace;
        let since = self.scene.observed.told.last_scale_time;
        let ends = grace.and_then(|grace| since?.checked_add(grace).ok());
        // It runs from when the number that is wanted now was told. Nobody asked for a number where a cluster rests.
        let wanted = self.lineup.dask_workers(self.scene.cluster);
        let is_told = self.scene.observed.told.desired_workers == Some(wanted);
        // A replacement never loses data, also where it has come to look like a lowered number.
        let replaces = self.lineup.alive_workers.iter();
        let replaces = replaces.copied().any(|it| !self.lineup.is_up_to_date(it));
        let ends = ends.filter(|_| {
            self.reason == Reason::Retiring
                && is_told
                && !replaces
                && self.lineup.aim.rest.is_none()
        });
        let end = match ends {
            Some(at) => format!(
                "until {}, then they go all the same",
                at.strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
            None if grace.is_some() || self.reason == Reason::Updating => {
                "until it does".to_owned()
            }
            None => "until it does, as worker.scaleDownGraceSeconds is not set".to_owned(),
        };
        let message = format!(
            "{}, and the data that they hold fits nowhere else: free some or add workers; they are kept {end}",
            to_go(count)
        );
        going.wait(Reason::DataHeld, message);
        let is_over = ends.is_some_and(|at| at <= self.scene.observed.seen_at);
        if is_refused
            && is_over
            && self.nobody_is_going()
            && let Some((name, worker)) = self
                .candidates
                .iter()
                .find(|(name, _)| self.may_be_lost(*name))
        {
            let why = format!(
                "it is to go, {} of it fit nowhere else, and worker.scaleDownGraceSeconds has passed",
                about(worker.nbytes)
            );
            going.cancels(*name, why);
        }
    }

    /// The refusal does not say that it stays for another reason than its data, as actors that nobody could make again.
    fn may_be_lost(&self, name: JobName) -> bool {
        let retirement = self.scene.observed.scheduler.retirement.as_ref();
        let job = &self.lineup.jobs[&name].id;
        match retirement.map(|retirement| &retirement.outcome) {
            Some(RetirementOutcome::Answered { retired, .. }) => !retired.stays_without_data(job),
            _ => false,
        }
    }

    /// No worker is on its way out, and none has ended since the refusal: it speaks of those that are there.
    fn nobody_is_going(&self) -> bool {
        let retirement = self.scene.observed.scheduler.retirement.as_ref();
        let Some(RetirementOutcome::Answered { at, .. }) =
            retirement.map(|retirement| &retirement.outcome)
        else {
            return false;
        };
        let is_going = |(name, facts): (&JobName, &JobFacts)| {
            name.slot != Slot::Head
                && (facts.status.is_leaving() || facts.ended_at.is_some_and(|ended| ended >= *at))
        };
        !self.lineup.jobs.iter().any(is_going)
    }
}

/// Begins what is told of a refusal for another reason than data.
const NONE_CAN: &str = "none of them can now";
/// Begins what is told of a request that failed.
const NOT_ASKED: &str = "they cannot be asked now";
const HAND_OVER: &str = "they hand over their data and finish their tasks";

fn to_go(count: usize) -> String {
    match count {
        1 => "1 worker is to go".to_owned(),
        many => format!("{many} workers are to go"),
    }
}

/// So many bytes, roughly: what is told of them does not follow each of them.
pub(crate) fn about(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    units
        .into_iter()
        .find(|(_, bits)| bytes >> bits > 0)
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, bits)| format!("{:.1} {unit}", bytes as f64 / (1_u64 << bits) as f64),
        )
}

fn too_soon(at: Timestamp, now: Timestamp) -> bool {
    // Of an hour that is still to come tells a clock that has jumped.
    now.duration_since(at).abs()
        < SignedDuration::try_from(BETWEEN_RETIREMENTS).unwrap_or(SignedDuration::ZERO)
}

pub(super) fn retired_at(retirement: Option<&Retirement>, job: &str) -> Option<Timestamp> {
    let RetirementOutcome::Answered { at, retired } = &retirement?.outcome else {
        return None;
    };
    let mut gone = retired.retired.iter();
    gone.any(|worker| job_of(worker) == job).then_some(*at)
}

//! Fewer workers without losing data: what has not started is cancelled, what holds data is retired by the scheduler,
//! and nothing is killed blindly.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::azure_resources::Scene;
use crate::azure_resources::job::{JobFacts, Lineup};
use crate::azure_resources::ownership::owner_uid;
use crate::dask::{Retirement, RetirementOutcome};
use crate::names::JobName;
use crate::reconcile::SchedulerStage;

/// How long a retired worker's job may take to end by itself before it is cancelled: Dask closes within seconds, a
/// running task is waited for.
const RETIRED_JOB_ENDS_WITHIN: Duration = Duration::from_secs(600);
/// Two refused attempts in quick succession wedge a worker (dask-protocol section 0, 4).
const BETWEEN_RETIREMENTS: Duration = Duration::from_secs(10);

/// Who goes now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LettingGo {
    pub cancel: Vec<Cancelled>,
    /// So many are to be retired, chosen by the scheduler.
    pub retire: u32,
    /// Jobs whose workers go before all others.
    pub first: Vec<String>,
    /// What is waited for, if workers are still to go.
    pub waiting: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cancelled {
    pub job: JobName,
    pub why: String,
}

/// Who has to go for the cluster to have its wanted number of workers.
pub fn letting_go(scene: &Scene<'_>, lineup: &Lineup, stage: &SchedulerStage) -> LettingGo {
    let mut going = LettingGo::default();
    let uid = scene.cluster.owner.uid.as_str();
    let is_ours = |name: &&JobName| owner_uid(&lineup.jobs[*name].tags) == Some(uid);
    for name in lineup.stale_workers.iter().filter(is_ours) {
        going.cancel.push(Cancelled {
            job: *name,
            why: "its scheduler is gone".into(),
        });
    }
    let wanted = usize::try_from(lineup.aim.workers).unwrap_or(usize::MAX);
    let Some(mut surplus) = lineup
        .alive_workers
        .len()
        .checked_sub(wanted)
        .filter(|surplus| *surplus > 0)
    else {
        return going;
    };
    let not_started = lineup
        .alive_workers
        .iter()
        .rev()
        .filter(|name| lineup.jobs[*name].status.has_not_started())
        .filter(is_ours);
    for name in not_started.take(surplus) {
        surplus -= 1;
        going.cancel.push(Cancelled {
            job: *name,
            why: format!("{wanted} workers are wanted, and it has not started"),
        });
    }
    if surplus == 0 {
        return going;
    }
    let Some(state) = stage.answering(scene) else {
        going.waiting = Some(format!(
            "{surplus} workers are to go, and only the scheduler can tell which may"
        ));
        return going;
    };
    let registered: BTreeSet<&str> = state
        .workers
        .iter()
        .map(crate::dask::Worker::job_id)
        .collect();
    let worker_jobs = |facts: &&JobFacts| registered.contains(facts.id.as_str());
    let registered_jobs = lineup
        .alive_workers
        .iter()
        .map(|name| &lineup.jobs[name])
        .filter(worker_jobs)
        .count();
    let to_retire = registered_jobs.saturating_sub(wanted).min(surplus);
    let retirement = scene.observed.scheduler.retirement.as_ref();
    if to_retire > 0 {
        return retire(to_retire, retirement, scene.observed.seen_at, going);
    }
    // All that are to go have left the scheduler, or never came to it.
    let overdue = lineup
        .alive_workers
        .iter()
        .filter(|name| !registered.contains(lineup.jobs[*name].id.as_str()))
        .filter(|name| is_overdue(scene, retirement, &lineup.jobs[*name]))
        .filter(is_ours);
    going
        .cancel
        .extend(overdue.take(surplus).map(|name| Cancelled {
            job: *name,
            why: "it holds no data and has not ended by itself".into(),
        }));
    going.waiting = Some(format!(
        "{surplus} workers are to go that the scheduler does not hold: their jobs end by themselves, or are retired once they have registered"
    ));
    going
}

/// A worker that the scheduler does not hold has had its time to end by itself, or to register.
fn is_overdue(scene: &Scene<'_>, retirement: Option<&Retirement>, job: &JobFacts) -> bool {
    let start_timeout = Duration::from_secs(scene.cluster.scheduler.start_timeout_seconds.into());
    let retired = retired_at(retirement, &job.id).map(|at| (at, RETIRED_JOB_ENDS_WITHIN));
    let never_registered = job
        .started_at
        .map(|at| (at, start_timeout + RETIRED_JOB_ENDS_WITHIN));
    retired.or(never_registered).is_some_and(|(since, within)| {
        scene.observed.seen_at.duration_since(since)
            > jiff::SignedDuration::try_from(within).unwrap_or(jiff::SignedDuration::MAX)
    })
}

fn retire(
    count: usize,
    retirement: Option<&Retirement>,
    now: Timestamp,
    mut going: LettingGo,
) -> LettingGo {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let waits = match retirement.map(|retirement| &retirement.outcome) {
        None => None,
        Some(RetirementOutcome::UnderWay) => Some("they hand over their data".to_owned()),
        Some(RetirementOutcome::Answered { at, retired }) if too_soon(*at, now) => Some(
            if retired.refused.is_empty() && !retired.retired.is_empty() {
                "some have left".to_owned()
            } else {
                "the others cannot hold their data now".to_owned()
            },
        ),
        Some(RetirementOutcome::Failed { at, message }) if too_soon(*at, now) => {
            Some(message.clone())
        }
        Some(RetirementOutcome::Answered { .. } | RetirementOutcome::Failed { .. }) => None,
    };
    let why = waits
        .clone()
        .unwrap_or_else(|| "they are asked to hand over their data".into());
    going.waiting = Some(format!("{count} workers are to go: {why}"));
    if waits.is_none() {
        going.retire = count;
    }
    going
}

fn too_soon(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at)
        < jiff::SignedDuration::try_from(BETWEEN_RETIREMENTS).unwrap_or(jiff::SignedDuration::ZERO)
}

fn retired_at(retirement: Option<&Retirement>, job: &str) -> Option<Timestamp> {
    let RetirementOutcome::Answered { at, retired } = &retirement?.outcome else {
        return None;
    };
    let of_job = |worker: &String| {
        worker
            .split_once('.')
            .map_or(worker.as_str(), |(job, _)| job)
            == job
    };
    retired.retired.iter().any(of_job).then_some(*at)
}

//! Changes of the spec on a running cluster: which jobs lack them, who is replaced next, and what waits.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::Aim;
use super::cost::{self, Affordable};
use crate::api::{DO_NOT_DISRUPT, PendingChange, UpdatePolicy};
use crate::azure_resources::job::{
    JobFacts, Lineup, MAX_RESTART_DELAY, Occupant, Updates, outdated,
};
use crate::azure_resources::ownership::owner_uid;
use crate::azure_resources::{ComputeHave, Scene};
use crate::dask::State;
use crate::lookup::Lookup;
use crate::names::{JobName, Slot};
use crate::reconcile::{Observed, ValidCluster};

/// How long a new worker may wait for a node before an outdated one makes room for it. A node of an own pool takes
/// three to five minutes.
const A_NODE_COMES_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// `jobs`: all of this cluster, ended ones included.
pub(crate) fn updates(
    cluster: &ValidCluster,
    observed: &Observed,
    aim: &Aim,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Updates {
    let outdated = outdated(cluster, jobs);
    let head_is_outdated = outdated
        .keys()
        .any(|name| name.slot == Slot::Head && !jobs[name].status.is_terminal());
    let goes_with_the_head = head_is_outdated && cluster.update_policy == UpdatePolicy::Recreate;
    Updates {
        outdated,
        may_surge: has_room(cluster, observed, aim)
            && !goes_with_the_head
            && !observed.annotations.do_not_disrupt,
        keeps_surge: !goes_with_the_head,
    }
}

/// The pool, the autoscaler's limit and the budget leave room for one worker more than wanted.
fn has_room(cluster: &ValidCluster, observed: &Observed, aim: &Aim) -> bool {
    let with_one_more = aim.workers.saturating_add(1);
    let of_pool = pool(observed, cluster).and_then(|pool| {
        let inner = pool.properties.properties?;
        inner.scale_settings?.max_node_count
    });
    let max_nodes = of_pool.map_or(cluster.compute.max_nodes, |most| {
        most.min(cluster.compute.max_nodes)
    });
    let max_replicas = cluster
        .autoscaling
        .map(|autoscaling| autoscaling.max_replicas);
    let affordable = match cost::most_workers(cluster, observed) {
        Affordable::Any => u32::MAX,
        Affordable::AtMost(most) => most,
        Affordable::Unknown => 0,
    };
    with_one_more.saturating_add(cluster.head_nodes()) <= max_nodes
        && max_replicas.is_none_or(|most| with_one_more <= most)
        && with_one_more <= affordable
}

fn pool(observed: &Observed, cluster: &ValidCluster) -> Option<ComputeHave> {
    let Lookup::Present(body) = observed.resource(&cluster.place.compute) else {
        return None;
    };
    serde_json::from_value(body.clone()).ok()
}

/// How long Azure may take to give a job a node that is free.
const A_JOB_IS_PLACED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// How far the replacement of outdated workers is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rollout {
    /// No worker is outdated, or none may be replaced now.
    Nothing,
    /// These have not started: to cancel them costs nobody anything.
    Cancel(Vec<JobName>),
    /// Every other worker is there, so one of these may go.
    RetireOneOf(Vec<JobName>),
    /// Until this has come about nobody goes.
    Waits(String),
}

/// Who is replaced next. Never more than one worker is missing by our doing: an outdated one goes only when all others
/// are there, and none goes while a new one fails.
pub(super) fn rollout(scene: &Scene<'_>, lineup: &Lineup, state: Option<&State>) -> Rollout {
    if hindrance(scene, lineup).is_some() {
        return Rollout::Nothing;
    }
    let outdated = outdated_workers(scene, lineup);
    if outdated.is_empty() {
        return Rollout::Nothing;
    }
    if let Some(failing) = failing(lineup) {
        return Rollout::Waits(format!(
            "job {} failed with the new settings, so no further worker is replaced before one works with them",
            failing.id
        ));
    }
    // Nobody would be submitted in their place.
    if cost::most_workers(scene.cluster, scene.observed) == Affordable::Unknown {
        return Rollout::Waits(
            "nobody knows what a node costs, as budget.maxPerHour is to be kept".into(),
        );
    }
    let (queued, started): (Vec<_>, Vec<_>) = outdated
        .into_iter()
        .partition(|name| has_not_started(scene, lineup, state, *name));
    if !queued.is_empty() {
        return Rollout::Cancel(queued);
    }
    // That the scheduler does not answer is told as such.
    let Some(state) = state else {
        return Rollout::Nothing;
    };
    let there: BTreeSet<&str> = state
        .workers
        .iter()
        .filter(|worker| !worker.is_leaving())
        .map(crate::dask::Worker::job_id)
        .collect();
    let mut missing = lineup.alive_workers.iter().filter(|name| {
        !there.contains(lineup.jobs[*name].id.as_str()) || !is_proven(scene, lineup, **name)
    });
    // Only the one on top of those that are wanted may go without a node: whoever goes for it makes room for it.
    let on_top =
        usize::try_from(lineup.aim.workers).is_ok_and(|wanted| lineup.alive_workers.len() > wanted);
    let missing = match missing.next() {
        Some(first) if on_top && waits_for_a_node(scene, lineup, state, *first) => missing.next(),
        first => first,
    };
    if let Some(missing) = missing {
        let id = &lineup.jobs[missing].id;
        return Rollout::Waits(if there.contains(id.as_str()) {
            format!("job {id} runs on trial, as the one before it failed")
        } else {
            format!("the worker of job {id} is coming or going")
        });
    }
    if let Some(closing) = lineup.closing.first() {
        let id = &lineup.jobs[closing].id;
        return Rollout::Waits(format!("the worker of job {id} is coming or going"));
    }
    let vacant = lineup.workers.iter().find_map(|worker| match worker {
        Occupant::Vacant { next, .. } => Some(*next),
        Occupant::Alive(_) => None,
    });
    if let Some(next) = vacant {
        let id = scene.cluster.place.identity.job_id(next);
        return Rollout::Waits(format!("job {id} is to be submitted"));
    }
    Rollout::RetireOneOf(started)
}

/// Jobs are being replaced for a change of the spec, or are next: nobody has to allow it.
pub(crate) fn is_under_way(scene: &Scene<'_>, lineup: &Lineup) -> bool {
    goes(scene, lineup)
        || hindrance(scene, lineup).is_none() && !outdated_workers(scene, lineup).is_empty()
}

/// Why outdated workers are not replaced one by one at all.
fn hindrance(scene: &Scene<'_>, lineup: &Lineup) -> Option<&'static str> {
    if goes(scene, lineup) {
        Some("the head is replaced, and they with it")
    } else if scene.observed.annotations.do_not_disrupt {
        Some(DO_NOT_DISRUPT)
    } else {
        None
    }
}

/// The head is replaced for a change of the spec.
pub(super) fn goes(scene: &Scene<'_>, lineup: &Lineup) -> bool {
    let Occupant::Alive(head) = lineup.head else {
        return false;
    };
    // A cluster that comes to rest lets its workers go in peace, and its head after them.
    scene.cluster.update_policy == UpdatePolicy::Recreate
        && lineup.aim.rest.is_none()
        && !lineup.is_up_to_date(head)
        && !scene.observed.annotations.do_not_disrupt
}

pub(super) fn outdated_workers(scene: &Scene<'_>, lineup: &Lineup) -> Vec<JobName> {
    let uid = scene.cluster.owner.uid.as_str();
    let alive = lineup.alive_workers.iter().copied();
    alive
        .filter(|name| !lineup.is_up_to_date(*name))
        .filter(|name| owner_uid(&lineup.jobs[name].tags) == Some(uid))
        .collect()
}

/// The newest job of a slot that has failed with what the spec says now, and has no successor yet.
fn failing(lineup: &Lineup) -> Option<&JobFacts> {
    lineup.workers.iter().find_map(|worker| match worker {
        Occupant::Vacant {
            failures: 1..,
            last,
            ..
        } => last.as_deref(),
        _ => None,
    })
}

/// A worker whose predecessor failed with the same settings has to run for a while before it counts: one that comes
/// and goes would else empty the cluster of those that work.
fn is_proven(scene: &Scene<'_>, lineup: &Lineup, name: JobName) -> bool {
    let within = SignedDuration::try_from(MAX_RESTART_DELAY).unwrap_or(SignedDuration::MAX);
    lineup.failures_before(name) == 0
        || lineup.jobs[&name]
            .started_at
            .is_some_and(|at| scene.observed.seen_at.duration_since(at) >= within)
}

/// To cancel it costs nobody anything. Azure tells later than the scheduler that a job runs, and of a silent one counts
/// whom it has ever held.
pub(super) fn has_not_started(
    scene: &Scene<'_>,
    lineup: &Lineup,
    state: Option<&State>,
    name: JobName,
) -> bool {
    let job = &lineup.jobs[&name];
    let is_there = || match state {
        Some(state) => {
            let mut workers = state.workers.iter();
            workers.any(|worker| worker.job_id() == job.id)
        }
        None => scene.observed.scheduler.seen.contains_key(&job.id),
    };
    job.status.has_not_started() && !is_there()
}

/// A new worker that gets no node: the pool says so, or it has waited for long.
fn waits_for_a_node(scene: &Scene<'_>, lineup: &Lineup, state: &State, name: JobName) -> bool {
    if !has_not_started(scene, lineup, Some(state), name) {
        return false;
    }
    let created = lineup.jobs[&name].created_at;
    let waits_longer_than =
        |time| created.is_some_and(|at| scene.observed.seen_at.duration_since(at) > time);
    let pool = pool(scene.observed, scene.cluster);
    let inner = pool.and_then(|pool| pool.properties.properties);
    let is_refused = inner
        .as_ref()
        .is_some_and(|inner| !inner.errors().is_empty());
    // Others fill it: every node that it may have runs a job.
    let is_full = inner.is_some_and(|inner| {
        let most = inner
            .scale_settings
            .and_then(|settings| settings.max_node_count);
        let running = inner
            .node_state_counts
            .and_then(|counts| counts.running_node_count);
        most.zip(running)
            .is_some_and(|(most, running)| running >= most)
    });
    waits_longer_than(A_NODE_COMES_WITHIN)
        || is_refused
        || is_full && waits_longer_than(A_JOB_IS_PLACED_WITHIN)
}

/// What the spec says and jobs that run do not have yet: `status.pendingChanges`.
pub(crate) fn pending_changes(
    scene: &Scene<'_>,
    lineup: &Lineup,
    state: Option<&State>,
) -> Vec<PendingChange> {
    let change = |component: &str, jobs: &[JobName], waits_for: String| {
        let mut fields = Vec::new();
        for field in jobs.iter().flat_map(|name| &lineup.outdated[name]) {
            if !fields.iter().any(|known| known == field) {
                fields.push((*field).to_owned());
            }
        }
        PendingChange {
            component: component.to_owned(),
            fields,
            jobs: u32::try_from(jobs.len()).unwrap_or(u32::MAX),
            waits_for,
        }
    };
    let mut changes = Vec::new();
    let forbidden = || format!("the annotation {DO_NOT_DISRUPT} to be taken off");
    if let Occupant::Alive(head) = lineup.head
        && !lineup.is_up_to_date(head)
    {
        let waits_for = match scene.cluster.update_policy {
            UpdatePolicy::RollingUpdate => "the head to end, or updatePolicy Recreate".to_owned(),
            UpdatePolicy::Recreate if scene.observed.annotations.do_not_disrupt => forbidden(),
            UpdatePolicy::Recreate => "the head's job to end, which is cancelled".to_owned(),
        };
        changes.push(change("head", &[head], waits_for));
    }
    let workers = outdated_workers(scene, lineup);
    if !workers.is_empty() {
        let waits_for = match hindrance(scene, lineup) {
            Some(DO_NOT_DISRUPT) => forbidden(),
            Some(_) => "the head to be replaced".to_owned(),
            None => match rollout(scene, lineup, state) {
                Rollout::Waits(why) if failing(lineup).is_some() => why,
                _ => "workers to be replaced one by one".to_owned(),
            },
        };
        changes.push(change("workers", &workers, waits_for));
    }
    changes
}

//! Workers that fail the same way in many slots are started again as a whole, not each slot for itself.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Lineup, Occupant};
use crate::azure_resources::Scene;
use crate::names::{JobName, Slot};
use crate::reconcile::SchedulerStage;

/// Failures in a row of one slot before it may wait for another one's trial: one failure of many at once is often one
/// event that has passed.
const A_PATTERN: u32 = 2;
/// A worker that has registered and runs for so long has stood its trial.
const TRIAL: SignedDuration = SignedDuration::from_secs(60);

/// The job that has to show first that workers start again. `None` where this slot may be filled: it has not failed
/// twice in a row, or it is the one that is tried.
pub(super) fn waits_for(
    scene: &Scene<'_>,
    lineup: &Lineup,
    occupant: &Occupant,
) -> Option<JobName> {
    let has_pattern = |occupant: &&Occupant| {
        matches!(occupant, Occupant::Vacant { failures, .. } if *failures >= A_PATTERN)
            && occupant.name().slot != Slot::Head
    };
    if !has_pattern(&occupant) {
        return None;
    }
    let tried = tried(scene, lineup);
    if tried.iter().any(|(_, has_stood)| *has_stood) {
        return None;
    }
    if let Some((on_trial, _)) = tried.first() {
        return Some(*on_trial);
    }
    let failing = lineup.workers.iter().filter(has_pattern);
    let next = failing.min_by_key(|occupant| match occupant {
        Occupant::Vacant { not_before, .. } => (*not_before, occupant.name()),
        Occupant::Alive(name) => (None, *name),
    });
    next.map(Occupant::name)
        .filter(|next| *next != occupant.name())
}

/// The workers whose slots have failed as often before, and whether they have stood their trial.
fn tried(scene: &Scene<'_>, lineup: &Lineup) -> Vec<(JobName, bool)> {
    let stage = SchedulerStage::of(scene, lineup);
    let registered: BTreeSet<&str> = stage
        .answering(scene)
        .map(|state| state.workers.iter().map(crate::dask::Worker::job_id))
        .into_iter()
        .flatten()
        .collect();
    let runs_for_long = |name: &JobName| {
        let job = &lineup.jobs[name];
        registered.contains(job.id.as_str())
            && job
                .started_at
                .is_some_and(|at| scene.observed.seen_at.duration_since(at) >= TRIAL)
    };
    lineup
        .alive_workers
        .iter()
        .filter(|name| lineup.failures_before(**name) >= A_PATTERN)
        .map(|name| (*name, runs_for_long(name)))
        .collect()
}

//! When a status is written: not at each change of a number (docs/decisions/009-status-writes-are-spaced.md).

use jiff::{SignedDuration, Timestamp};

use super::conditions::held;
use crate::api::{ConditionType, DaskClusterStatus, Phase};

/// What the autoscaler wants: the next decision begins with it, also that of another operator.
fn desired_replicas(status: &DaskClusterStatus) -> Option<u32> {
    Some(status.autoscaling.as_ref()?.desired_replicas)
}

/// The same, with what rest and budget make of it.
fn desired_workers(status: &DaskClusterStatus) -> Option<u32> {
    status.autoscaling.as_ref()?;
    Some(status.workers.as_ref()?.desired)
}

/// When this status may be written. What people and tools wait for goes out at once; the first step of progress two
/// seconds after the acknowledgement, further ones and mere numbers at most every five, and that a cluster is idle or busy
/// again at most every thirty.
pub(in crate::reconcile) fn write_not_before(
    before: &DaskClusterStatus,
    after: &DaskClusterStatus,
    last_write: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    if before == after {
        return None;
    }
    let key = |status: &DaskClusterStatus| {
        let summary = [ConditionType::Ready, ConditionType::Stalled];
        let told = summary.map(|kind| {
            held(status, kind).map(|held| (held.status.clone(), held.observed_generation))
        });
        (
            told,
            held(status, ConditionType::CredentialsTrouble).is_some(),
            status.observed_generation,
            // What a rest is acted on by.
            (
                status.rest.clone(),
                status.rested_head.clone(),
                status.coming_rests.clone(),
            ),
            status.planned_changes.clone(),
            (desired_replicas(status), desired_workers(status)),
            status.last_handled_reconcile_at.clone(),
            status
                .scheduler
                .as_ref()
                .and_then(|scheduler| scheduler.address.clone())
                .is_some()
                && status.phase == Some(Phase::Running),
        )
    };
    // One that is still to come is of a clock that has jumped.
    let Some(last_write) = last_write.filter(|at| *at <= now) else {
        return Some(Timestamp::MIN);
    };
    // Nobody may go on connecting to where nobody is.
    let address = |status: &DaskClusterStatus| status.scheduler.as_ref()?.address.clone();
    let is_gone = address(before).is_some() && address(before) != address(after);
    if is_gone || key(before) != key(after) {
        return Some(Timestamp::MIN);
    }
    let not_idle = |status: &DaskClusterStatus| DaskClusterStatus {
        idle_since: None,
        // Written along with it.
        cost: None,
        ..status.clone()
    };
    let spacing = if before.phase == Some(Phase::Pending) {
        2
    } else if not_idle(before) == not_idle(after) {
        // Whoever works by hand is idle and busy in turn.
        30
    } else {
        5
    };
    Some(
        last_write
            .saturating_add(SignedDuration::from_secs(spacing))
            .unwrap_or(Timestamp::MAX),
    )
}

//! `Ready`, `Reconciling` and `Stalled` as kstatus reads them, and the phase for people.

use super::Outcome;
use super::conditions::{Verdict, held};
use super::rest;
use crate::api::{ConditionStatus, ConditionType, Phase, Reason};
use crate::lookup::Trouble;
use crate::reconcile::status::{Bounds, Facts};
use crate::reconcile::validate::Wanted;

pub(super) struct Summary {
    pub(super) ready: Verdict,
    pub(super) reconciling: Verdict,
    pub(super) stalled: Verdict,
    pub(super) phase: Phase,
}

pub(super) fn summarize(
    outcome: &Outcome<'_>,
    stages: &[(ConditionType, Verdict)],
    troubles: &[(ConditionType, Trouble)],
    facts: &Facts,
) -> Summary {
    let verdict = |status, reason, message: String| Verdict {
        status,
        reason,
        message,
    };
    let deleting = matches!(outcome.wanted, Wanted::Nothing(_));
    let first_wait = outcome.plan.waits.first();
    // What the manifest asks for while it rests is that neither is there.
    let of_jobs = [ConditionType::SchedulerReady, ConditionType::WorkersReady];
    let rest = rest::suspending(outcome);
    let first_unready = stages
        .iter()
        .filter(|(stage, _)| rest.is_none() || !of_jobs.contains(stage))
        .find(|(_, stage)| !stage.is_true());
    let jobs_left = facts.jobs_that_have_not_ended();
    let is_going = match jobs_left {
        Some(jobs) => jobs > 0,
        None => outcome.before.phase == Some(Phase::Suspending),
    };
    // Once reached within a generation it is lost only with the scheduler or with the last wanted worker.
    let was_ready = held(outcome.before, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "True" && ready.observed_generation == Some(outcome.generation)
    });
    let has_scheduler = stages
        .iter()
        .any(|(stage, verdict)| *stage == ConditionType::SchedulerReady && verdict.is_true());
    // What autoscaling asks for beyond its bounds' lower one is no promise of the manifest.
    let always = facts
        .bounds
        .as_ref()
        .map_or(facts.desired_workers, |bounds| bounds.always);
    let has_a_worker = always == 0 || facts.ready_workers > 0;
    // A policy of the manifest holds all the way to the rest that it asks for.
    let still_ready = was_ready && !deleting && (rest.is_some() || has_scheduler && has_a_worker);
    let lasting = troubles
        .iter()
        .find(|(_, trouble)| trouble.lasting)
        .filter(|_| !deleting);
    let has_enough_to_begin = facts
        .bounds
        .as_ref()
        .is_some_and(|bounds| facts.ready_workers >= bounds.at_first.min(facts.desired_workers));
    let first_unready = first_unready
        .filter(|(stage, _)| *stage != ConditionType::WorkersReady || !has_enough_to_begin);
    let holds = || {
        if let (Some(rest), Wanted::Cluster(cluster)) = (rest, outcome.wanted) {
            let message = rest::why(rest, cluster);
            return verdict(ConditionStatus::True, Reason::Suspended, message);
        }
        let message = match &facts.bounds {
            Some(Bounds { fewest, most, .. }) => {
                format!("the scheduler answers and {fewest} to {most} workers follow the work")
            }
            None => format!(
                "the scheduler answers and {} workers are wanted",
                facts.desired_workers
            ),
        };
        verdict(ConditionStatus::True, Reason::Ready, message)
    };
    let ready = if still_ready {
        holds()
    } else if deleting {
        let message = troubles.first().map(|(_, trouble)| trouble.message.clone());
        let message = message.or_else(|| first_wait.map(|wait| wait.message.clone()));
        let message = message.or_else(|| {
            outcome
                .plan
                .steps
                .first()
                .map(|step| step.action.to_string())
        });
        verdict(
            ConditionStatus::False,
            Reason::Deleting,
            message.unwrap_or_default(),
        )
    } else if let Some((_, trouble)) = lasting.or(troubles.first()) {
        verdict(
            ConditionStatus::False,
            trouble.reason,
            trouble.message.clone(),
        )
    } else if let Some((stage, unready)) = first_unready {
        let message = match first_wait {
            Some(wait) if unready.message.is_empty() => wait.message.clone(),
            _ => format!("{stage}: {}", unready.message),
        };
        verdict(unready.status, unready.reason, message)
    } else if rest.is_none() && facts.replaces_jobs {
        let message =
            "jobs are replaced, as the spec has changed: status.pendingChanges names them";
        verdict(ConditionStatus::False, Reason::Updating, message.to_owned())
    } else if rest.is_some() && is_going {
        let jobs = jobs_left.unwrap_or_default();
        let message = format!("the cluster comes to rest: {jobs} jobs have not ended");
        verdict(ConditionStatus::False, Reason::Suspended, message)
    } else {
        holds()
    };
    let is_ready = ready.is_true();
    let stalled = match lasting {
        Some((_, trouble)) if !is_ready => verdict(
            ConditionStatus::True,
            trouble.reason,
            trouble.message.clone(),
        ),
        _ => verdict(
            ConditionStatus::False,
            if is_ready {
                Reason::Ready
            } else {
                Reason::Progressing
            },
            String::new(),
        ),
    };
    // What annotations keep from being done is not under way.
    let is_kept = outcome.plan.withheld_by.is_some() && !outcome.plan.withheld.is_empty();
    let reconciling = if is_ready || stalled.is_true() || is_kept {
        verdict(ConditionStatus::False, ready.reason, String::new())
    } else {
        verdict(
            ConditionStatus::True,
            if deleting {
                Reason::Deleting
            } else {
                Reason::Progressing
            },
            ready.message.clone(),
        )
    };
    let scheduler_wanted_soon = stages
        .iter()
        .all(|(stage, verdict)| verdict.is_true() || of_jobs.contains(stage));
    let phase = match () {
        () if deleting => Phase::Deleting,
        () if stalled.is_true() => Phase::Stalled,
        () if rest.is_some() && is_going => Phase::Suspending,
        () if rest.is_some() && is_ready => Phase::Suspended,
        () if is_ready => Phase::Running,
        () if scheduler_wanted_soon => Phase::Starting,
        () if first_unready.is_some_and(|(_, stage)| stage.status == ConditionStatus::Unknown) => {
            Phase::Pending
        }
        () => Phase::Provisioning,
    };
    Summary {
        ready,
        reconciling,
        stalled,
        phase,
    }
}

//! Step 5: what happened → [`Conclusion`]: the status to show, the events to tell, and when to look again. Pure.

mod conditions;
mod events;
mod money;
mod next;
mod preflight;
mod rest;
mod retelling;
mod spacing;
mod stages;
mod starts;
mod summary;
#[cfg(test)]
mod tests;

pub(super) use events::Event;
pub use events::LetGo;
pub use next::Next;
pub(super) use rest::deadline;
pub(super) use spacing::write_not_before;
pub(super) use starts::reached;
pub use starts::{StageReached, StartStage};

use std::time::Duration;

use jiff::Timestamp;

use self::conditions::{Verdict, conditions, held};
use self::events::{events, let_go, occurrences};
use self::next::next;
use self::preflight::preflight_verdict;
use self::stages::stage_verdict;
use self::summary::summarize;
use super::act::Acted;
use super::observed::Observed;
use super::plan::{Finding, Plan, is_about_credentials};
use super::status::{Facts, details};
use super::validate::Wanted;
use crate::api::{
    ConditionStatus, ConditionType, DO_NOT_DISRUPT, DaskClusterStatus, PendingChange, Phase, Reason,
};
use crate::lookup::Trouble;

/// The outcome of one reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Conclusion {
    pub status: DaskClusterStatus,
    /// What changed in the status; told with it.
    pub events: Vec<Event>,
    /// What happened, whether or not the status comes to show it.
    pub occurrences: Vec<Event>,
    pub let_go: LetGo,
    pub next: Next,
    /// When time alone changes something, whatever `next` says.
    pub look_again: Option<Timestamp>,
}

impl Conclusion {
    /// What `Ready` says.
    pub(super) fn ready_reason(&self) -> Reason {
        held(&self.status, ConditionType::Ready)
            .map_or(Reason::Pending, |ready| Verdict::of(ready).reason)
    }
}

/// What a conclusion is made from.
pub(super) struct Outcome<'a> {
    pub generation: i64,
    pub wanted: &'a Wanted,
    pub observed: &'a Observed,
    pub plan: &'a Plan,
    pub acted: &'a Acted,
    pub before: &'a DaskClusterStatus,
    pub now: Timestamp,
    /// When anything of this cluster last changed.
    pub changed_at: Timestamp,
    /// What the plan found and no plan before it had.
    pub new_findings: &'a [Finding],
    /// The last look led to another plan.
    pub plan_is_new: bool,
    /// What a dry run would do.
    pub planned_changes: Option<String>,
    /// How long a settled cluster goes unlooked at.
    pub resync: Duration,
}

/// The stages, in the order in which their conditions stand.
const STAGES: [ConditionType; 6] = [
    ConditionType::NetworkReady,
    ConditionType::ComputeReady,
    ConditionType::DatasetsReady,
    ConditionType::EnvironmentReady,
    ConditionType::SchedulerReady,
    ConditionType::WorkersReady,
];

/// The very first status of a generation: seen, and not yet known to hold. Written before any call to Azure, so that
/// nobody takes the old status for the new spec's (kstatus).
pub(super) fn acknowledge(
    before: &DaskClusterStatus,
    generation: i64,
    now: Timestamp,
) -> Option<DaskClusterStatus> {
    if before.observed_generation == Some(generation) {
        return None;
    }
    let verdict = |status, reason, message: &str| Verdict {
        status,
        reason,
        message: message.to_owned(),
    };
    let mut verdicts = vec![
        (
            ConditionType::Ready,
            verdict(
                ConditionStatus::Unknown,
                Reason::Pending,
                "the spec has been seen",
            ),
        ),
        (
            ConditionType::Reconciling,
            verdict(
                ConditionStatus::True,
                Reason::Progressing,
                "the spec is being worked in",
            ),
        ),
        (
            ConditionType::Stalled,
            verdict(ConditionStatus::False, Reason::Progressing, ""),
        ),
    ];
    let kept = [ConditionType::PreflightPassed].into_iter().chain(STAGES);
    verdicts.extend(kept.map(|stage| {
        let held = held(before, stage);
        let verdict = held.map_or_else(
            || verdict(ConditionStatus::Unknown, Reason::Pending, ""),
            Verdict::of,
        );
        (stage, verdict)
    }));
    let at_times = [
        ConditionType::CredentialsTrouble,
        ConditionType::Suspended,
        ConditionType::ChangesPending,
        ConditionType::OverBudget,
    ];
    verdicts.extend(
        at_times
            .into_iter()
            .filter_map(|kind| Some((kind, Verdict::of(held(before, kind)?)))),
    );
    Some(DaskClusterStatus {
        observed_generation: Some(generation),
        conditions: conditions(before, verdicts, generation, now),
        phase: before.phase.or(Some(Phase::Pending)),
        ..before.clone()
    })
}

pub(super) fn conclude(outcome: &Outcome<'_>) -> Conclusion {
    let troubles = troubles(outcome);
    let stages: Vec<_> = STAGES
        .into_iter()
        .map(|stage| (stage, stage_verdict(outcome, stage, &troubles)))
        .collect();
    let facts = Facts::gather(outcome);
    let summary = summarize(outcome, &stages, &troubles, &facts);
    let is_ready = summary.ready.is_true();
    let mut verdicts = vec![
        (ConditionType::Ready, summary.ready),
        (ConditionType::Reconciling, summary.reconciling),
        (ConditionType::Stalled, summary.stalled),
        (ConditionType::PreflightPassed, preflight_verdict(outcome)),
    ];
    verdicts.extend(stages);
    let request = &outcome.observed.annotations.requested_at;
    verdicts.extend(credentials_trouble(outcome, &troubles, is_ready));
    let suspended = rest::suspended_verdict(outcome, &facts);
    verdicts.extend(suspended.map(|verdict| (ConditionType::Suspended, verdict)));
    let details = details(outcome, &facts);
    verdicts.extend(changes_pending(&details));
    let cost = money::cost(outcome, &facts);
    let over_budget = money::over_budget(outcome, &facts, cost.as_ref());
    verdicts.extend(over_budget.map(|verdict| (ConditionType::OverBudget, verdict)));
    let mut status = DaskClusterStatus {
        observed_generation: Some(outcome.generation),
        conditions: conditions(outcome.before, verdicts, outcome.generation, outcome.now),
        phase: Some(summary.phase),
        planned_changes: outcome.planned_changes.clone().map(shortened),
        last_handled_reconcile_at: request
            .clone()
            .or_else(|| outcome.before.last_handled_reconcile_at.clone()),
        ..details
    };
    status.cost = money::settled(cost, &status, outcome.before);
    let events = events(outcome, &status, facts.lineup.as_ref());
    let mut occurrences = occurrences(outcome);
    occurrences.extend(rest::loss(outcome, &facts));
    let next = next(outcome, &status);
    let look_again = rest::look_again(outcome, &facts);
    Conclusion {
        status,
        events,
        occurrences,
        let_go: let_go(outcome),
        next,
        look_again,
    }
}

/// The longest text of what a dry run would do, in bytes.
const LONGEST_PLAN: usize = 32_768;

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_PLAN));
    text
}

/// What is wrong with the credentials, where `Ready` does not say it: a cluster that works is Ready without them, and
/// while its Secret is being deleted. One that goes lets go of its Secret by itself.
fn credentials_trouble(
    outcome: &Outcome<'_>,
    troubles: &[(ConditionType, Trouble)],
    is_ready: bool,
) -> Option<(ConditionType, Verdict)> {
    if matches!(outcome.wanted, Wanted::Nothing(_)) || outcome.observed.namespace_is_going {
        return None;
    }
    let credentials = &outcome.observed.credentials;
    let of_credentials = |(_, trouble): &&(_, Trouble)| is_about_credentials(trouble.reason);
    let refused = troubles.iter().filter(|_| is_ready).find(of_credentials);
    let (reason, message) = match (refused, &credentials.secret) {
        (Some((_, trouble)), _) => (trouble.reason, trouble.message.clone()),
        (None, Some(secret)) if credentials.going => (
            Reason::SecretBeingDeleted,
            format!(
                "somebody deletes Secret {}, which this cluster needs to leave Azure again: it stays until the cluster is gone. To keep the cluster, name another Secret in spec.credentialsSecretName",
                secret.name
            ),
        ),
        (None, _) => return None,
    };
    let verdict = Verdict {
        status: ConditionStatus::True,
        reason,
        message,
    };
    Some((ConditionType::CredentialsTrouble, verdict))
}

/// What the autoscaler has just decided, to be told before it is acted on.
pub(super) fn decided(
    before: &DaskClusterStatus,
    wanted: &Wanted,
    plan: &Plan,
    now: Timestamp,
) -> Option<Conclusion> {
    let status = super::status::decided(before, wanted, plan, now)?;
    Some(Conclusion {
        events: events::rescaled(before, &status, plan.aim())
            .into_iter()
            .collect(),
        status,
        occurrences: Vec::new(),
        let_go: LetGo::default(),
        next: Next::After(Duration::ZERO),
        look_again: None,
    })
}

/// Says what jobs lack of the spec that run, while they do.
fn changes_pending(status: &DaskClusterStatus) -> Option<(ConditionType, Verdict)> {
    let changes = &status.pending_changes;
    let is_forbidden = |change: &PendingChange| change.waits_for.contains(DO_NOT_DISRUPT);
    let reason = if changes.is_empty() {
        return None;
    } else if changes.iter().any(is_forbidden) {
        Reason::DisruptionForbidden
    } else if changes.iter().any(|change| change.component == "head") {
        Reason::ChangesPending
    } else {
        Reason::Updating
    };
    let told = changes.iter().map(|change| {
        let fields = change.fields.join(", ");
        let (component, waits_for) = (&change.component, &change.waits_for);
        format!("{component}: the change of {fields} waits for {waits_for}")
    });
    let verdict = Verdict {
        status: ConditionStatus::True,
        reason,
        message: told.collect::<Vec<_>>().join("; "),
    };
    Some((ConditionType::ChangesPending, verdict))
}

/// What stands in the way: planned, or found while acting.
fn troubles(outcome: &Outcome<'_>) -> Vec<(ConditionType, Trouble)> {
    let planned = outcome
        .plan
        .blocked
        .iter()
        .map(|blocked| (blocked.stage, blocked.trouble.clone()));
    let met = outcome
        .acted
        .failures()
        .map(|(step, trouble)| (step.stage, trouble.clone()));
    planned.chain(met).collect()
}

//! What is told once, as events: each change of a condition, where the address stops, and what stays behind.

use super::Outcome;
use super::conditions::{Verdict, held};
use crate::api::{ConditionType, DaskClusterStatus, DeletionPolicy, Reason, ReconcilePolicy};
use crate::cluster::Place;
use crate::reconcile::plan::Action;
use crate::reconcile::validate::Wanted;

/// Something to tell once, as an event of `events.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: Reason,
    /// What was being done: `Provision`, `Connect`, …
    pub action: &'static str,
    pub note: String,
}

pub(super) fn events(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Vec<Event> {
    let mut events = Vec::new();
    for condition in &status.conditions {
        let is = |kind: ConditionType| condition.type_ == kind.as_str();
        if is(ConditionType::Reconciling) {
            continue;
        }
        let verdict = Verdict::of(condition);
        let known = outcome
            .before
            .conditions
            .iter()
            .find(|held| held.type_ == condition.type_);
        let same = known
            .is_some_and(|held| held.status == condition.status && held.reason == condition.reason);
        let quiet = matches!(verdict.reason, Reason::Pending | Reason::Progressing)
            || is(ConditionType::Stalled) && !verdict.is_true()
            || verdict.reason == Reason::Deleting && !is(ConditionType::Ready);
        if same || quiet {
            continue;
        }
        // What passes is no news, and what stops is told by the stage that it stops.
        if is(ConditionType::PreflightPassed)
            && (!verdict.reason.is_warning() || is_told_besides_preflight(status, verdict.reason))
        {
            continue;
        }
        // The summary repeats a stage's trouble; one of the two is enough.
        if is(ConditionType::Ready)
            && verdict.reason != Reason::Deleting
            && !verdict.is_true()
            && is_told_by_another(status, verdict.reason)
        {
            continue;
        }
        let message = if condition.message.is_empty() {
            String::new()
        } else {
            format!(": {}", condition.message)
        };
        events.push(Event {
            warning: verdict.reason.is_warning(),
            reason: verdict.reason,
            action: action_word(&condition.type_),
            note: format!("{} is {}{message}", condition.type_, condition.status),
        });
    }
    let deleted = outcome
        .acted
        .done()
        .any(|step| matches!(step.action, Action::RemoveFinalizer));
    if deleted && let Wanted::Nothing(place) = outcome.wanted {
        events.push(farewell(outcome, place));
    }
    if let Some(event) = unroutable(outcome, status) {
        events.push(event);
    }
    events
}

fn action_word(condition: &str) -> &'static str {
    match condition {
        "PreflightPassed" => "Preflight",
        "NetworkReady" | "ComputeReady" | "DatasetsReady" | "EnvironmentReady" => "Provision",
        "SchedulerReady" => "Connect",
        "WorkersReady" => "Scale",
        _ => "Reconcile",
    }
}

fn is_told_besides_preflight(status: &DaskClusterStatus, reason: Reason) -> bool {
    status.conditions.iter().any(|condition| {
        condition.reason == reason.as_str()
            && condition.type_ != ConditionType::PreflightPassed.as_str()
    })
}

/// A condition besides the summary's `Ready` and `Reconciling` and the look before the first spend has this reason.
fn is_told_by_another(status: &DaskClusterStatus, reason: Reason) -> bool {
    let summary = [
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::PreflightPassed,
    ]
    .map(ConditionType::as_str);
    status.conditions.iter().any(|condition| {
        condition.reason == reason.as_str() && !summary.contains(&condition.type_.as_str())
    })
}

/// The last event names what stays in Azure.
fn farewell(outcome: &Outcome<'_>, place: &Place) -> Event {
    let before = outcome.before;
    let left = match (&outcome.observed.annotations.policy, place.deletion_policy) {
        (ReconcilePolicy::Observe, _) => format!(
            "nothing was written to Azure, as the reconcile-policy is observe: pool {}, its network and all jobs stay as they are, and cost what they cost",
            place.compute.name()
        ),
        (ReconcilePolicy::DetachOnDelete, _) => format!(
            "pool {}, its network and all jobs stay in Azure and go on costing money, as the reconcile-policy is detach-on-delete",
            place.compute.name()
        ),
        (_, DeletionPolicy::Delete) => "nothing that costs money is left in Azure".to_owned(),
        (_, DeletionPolicy::Retain) => format!(
            "the jobs have ended; pool {} and its network stay, as deletionPolicy is Retain",
            place.compute.name()
        ),
    };
    let note = match registered_versions(before, place).as_slice() {
        [] => left,
        [only] => format!("{left}; {only} stays in the workspace, as it is shared"),
        [others @ .., last] => format!(
            "{left}; {} and {last} stay in the workspace, as they are shared",
            others.join(", ")
        ),
    };
    Event {
        warning: false,
        reason: Reason::Deleting,
        action: "Delete",
        note,
    }
}

/// The versions that were registered for this cluster, as far as its last status tells that it came to that.
fn registered_versions(before: &DaskClusterStatus, place: &Place) -> Vec<String> {
    let was_written = |stage| {
        held(before, stage)
            .map(Verdict::of)
            .is_some_and(|told| told.is_true() || told.reason == Reason::Provisioning)
    };
    let mut versions = Vec::new();
    if was_written(ConditionType::DatasetsReady) {
        let registered = before
            .datasets
            .iter()
            .filter(|dataset| place.registered_datasets.contains(&dataset.name));
        versions.extend(registered.map(|dataset| {
            let version = dataset.version.as_deref().unwrap_or("?");
            format!("data asset {}:{version}", dataset.name)
        }));
    }
    if place.registers_environment && was_written(ConditionType::EnvironmentReady) {
        versions.push("the environment version".to_owned());
    }
    versions
}

/// Says once why the Service has no endpoint.
fn unroutable(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Option<Event> {
    let address = |status: &DaskClusterStatus| {
        status
            .scheduler
            .as_ref()
            .and_then(|scheduler| scheduler.address.clone())
    };
    let now = address(status)?;
    let has_service = status
        .scheduler
        .as_ref()
        .is_some_and(|scheduler| scheduler.service.is_some());
    (!has_service && address(outcome.before).as_deref() != Some(&now)).then(|| Event {
        warning: false,
        reason: Reason::Ready,
        action: "Connect",
        note: format!("Kubernetes takes no endpoint for {now}, so the Service has none: clients on that machine use status.scheduler.address"),
    })
}

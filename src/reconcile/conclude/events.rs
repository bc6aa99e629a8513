//! What is told once, as events: each change of a condition, where the address stops, and what stays behind.

use super::Outcome;
use super::conditions::{Verdict, held};
use crate::api::{
    ConditionType, DaskClusterStatus, DeletionPolicy, Reason, ReconcilePolicy, UpdatePolicy,
};
use crate::azure_resources::KINDS;
use crate::azure_resources::job::{self, Lineup, differ_in};
use crate::cluster::Place;
use crate::dask::Target;
use crate::kubernetes::ABANDON_ANNOTATION;
use crate::names::Slot;
use crate::reconcile::observed::Observed;
use crate::reconcile::plan::{Action, Finding, Response, is_about_credentials};
use crate::reconcile::status::scaled;
use crate::reconcile::validate::Wanted;
use crate::scaling::rest::whole_seconds;
use crate::scaling::{Aim, about};

/// Something to tell once, as an event of `events.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: Reason,
    /// What was being done: `Provision`, `Connect`, …
    pub action: &'static str,
    pub note: String,
}

pub(super) fn events(
    outcome: &Outcome<'_>,
    status: &DaskClusterStatus,
    lineup: Option<&Lineup>,
) -> Vec<Event> {
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
        let same = known.is_some_and(|held| {
            held.status == condition.status
                    && held.reason == condition.reason
                    // Other fields are another drift.
                    && (verdict.reason != Reason::Drifted || held.message == condition.message)
        });
        let waits = [
            Reason::Pending,
            Reason::Progressing,
            Reason::WaitingForBudget,
        ];
        let quiet = waits.contains(&verdict.reason)
            || is(ConditionType::Stalled) && !verdict.is_true()
            || verdict.reason == Reason::Deleting && !is(ConditionType::Ready)
            // The condition of that name tells it.
            || verdict.reason == Reason::Suspended && !is(ConditionType::Suspended);
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
        events.push(if outcome.observed.is_abandoned {
            abandonment(outcome, place)
        } else {
            farewell(outcome, place)
        });
    }
    events.extend(rescaled(outcome.before, status, outcome.plan.aim()));
    events.extend(locked_out(outcome, status));
    events.extend(lost_head(outcome, status, lineup));
    if let Some(event) = unroutable(outcome, status) {
        events.push(event);
    }
    events
}

/// Another number of workers than was told before, and why.
pub(super) fn rescaled(
    before: &DaskClusterStatus,
    status: &DaskClusterStatus,
    aim: Option<&Aim>,
) -> Option<Event> {
    let (had, has) = scaled(before, status)?;
    let rests = aim.is_some_and(|aim| aim.rest.is_some()) || status.rest.is_some();
    let of_autoscaler = |status: &DaskClusterStatus| {
        let told = status.autoscaling.as_ref()?;
        Some(told.desired_replicas)
    };
    let decided = of_autoscaler(before) != of_autoscaler(status);
    let why = match &status.autoscaling {
        Some(autoscaling) if decided => autoscaling.decision.clone(),
        _ if rests => "the cluster rests".to_owned(),
        _ if aim.is_some_and(|aim| aim.too_dear.is_some()) => {
            "as spec.budget.maxPerHour allows".to_owned()
        }
        Some(_) => "nothing keeps it any more from what the autoscaler wants".to_owned(),
        None => "as spec.worker.replicas says".to_owned(),
    };
    Some(Event {
        warning: false,
        reason: Reason::Scaled,
        action: if has > had { "ScaleUp" } else { "ScaleDown" },
        note: format!("from {had} to {has} workers: {why}"),
    })
}

/// What passes so soon that no condition may come to show it.
pub(super) fn occurrences(outcome: &Outcome<'_>) -> Vec<Event> {
    let mut events = undone(outcome.new_findings);
    events.extend(lost_data(outcome));
    events.extend(never_came(outcome));
    events
}

/// A worker's job that was cancelled.
struct CancelledWorker<'a> {
    job: &'a str,
    why: &'a str,
    /// Bytes of results that its worker held, as far as the scheduler knew.
    held: u64,
}

/// None of a cluster that goes: all of its jobs do.
fn cancelled_workers<'a>(outcome: &Outcome<'a>) -> Vec<CancelledWorker<'a>> {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return Vec::new();
    };
    let identity = &cluster.place.identity;
    let state = outcome.observed.scheduler.state.as_ref();
    let acted = outcome.acted;
    let cancelled = acted.done().filter_map(|step| {
        let Action::CancelJob { id, .. } = &step.action else {
            return None;
        };
        let job = id.name();
        if !matches!(identity.parse_job_id(job)?.slot, Slot::Worker(_)) {
            return None;
        }
        let mut workers = state.into_iter().flat_map(|state| &state.workers);
        let worker = workers.find(|worker| worker.job_id() == job);
        Some(CancelledWorker {
            job,
            why: &step.why,
            held: worker.map_or(0, |worker| worker.nbytes),
        })
    });
    cancelled.collect()
}

/// How many workers a reconcile cancelled, by whether they held data. Those that the scheduler retires end by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetGo {
    pub cancelled: u32,
    pub lost: u32,
}

pub(super) fn let_go(outcome: &Outcome<'_>) -> LetGo {
    let mut gone = LetGo::default();
    for worker in cancelled_workers(outcome) {
        if worker.held > 0 {
            gone.lost += 1;
        } else {
            gone.cancelled += 1;
        }
    }
    gone
}

/// The workers that were cancelled though they held data.
fn lost_data(outcome: &Outcome<'_>) -> Option<Event> {
    let cancelled = cancelled_workers(outcome).into_iter();
    let lost = cancelled.filter(|worker| worker.held > 0).map(|worker| {
        let held = about(worker.held);
        format!(
            "the worker of job {} held {held}: {}",
            worker.job, worker.why
        )
    });
    let notes: Vec<_> = lost.collect();
    (!notes.is_empty()).then(|| Event {
        warning: true,
        reason: Reason::DataLost,
        action: "Cancel",
        note: notes.join("; "),
    })
}

/// The workers that were given up on. Others take their places at once, so no condition tells it for long.
fn never_came(outcome: &Outcome<'_>) -> Option<Event> {
    let cancelled = outcome.acted.done().filter_map(|step| match &step.action {
        Action::CancelJob { id, .. } if step.reason == Some(Reason::StartTimeout) => {
            Some(id.name())
        }
        _ => None,
    });
    let jobs: Vec<_> = cancelled.collect();
    (!jobs.is_empty()).then(|| Event {
        warning: true,
        reason: Reason::StartTimeout,
        action: "Cancel",
        note: format!(
            "cancelled {}, as no worker has registered from there within worker.startTimeoutSeconds: its log (user_logs/std_log_process_00.txt) in the studio may say why; others are started instead",
            jobs.join(", ")
        ),
    })
}

/// Says once what went with a head that has ended.
fn lost_head(
    outcome: &Outcome<'_>,
    status: &DaskClusterStatus,
    lineup: Option<&Lineup>,
) -> Option<Event> {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return None;
    };
    outcome.before.scheduler.as_ref()?;
    let head = outcome.before.run.as_ref()?.name.as_deref()?;
    let lineup = lineup?;
    let facts = lineup.jobs.values().find(|facts| facts.id == head)?;
    // After a preemption Azure runs the same job again.
    let told = outcome
        .before
        .run
        .as_ref()
        .and_then(|run| run.start_time.as_ref());
    let starts_again = facts.status.has_not_started()
        || told
            .zip(facts.started_at)
            .is_some_and(|(told, started)| whole_seconds(told.0) != whole_seconds(started));
    let is_over = starts_again || facts.status.is_leaving() || facts.status.is_terminal();
    // A successor may have published before anybody could write that its predecessor was gone.
    let run = status.run.as_ref().and_then(|run| run.name.as_deref());
    let is_there = status.scheduler.is_some() && run == Some(head);
    if !is_over || is_there || !lineup.aim.head {
        return None;
    }
    let sight = &outcome.observed.scheduler;
    let is_its = |target: &Target| target.head_run == head;
    let state = sight
        .state
        .as_ref()
        .filter(|_| sight.target.as_ref().is_some_and(is_its));
    let held = state.map(|state| {
        let of_workers = state.workers.iter().map(|worker| worker.nbytes).sum();
        (state.load.nbytes.max(of_workers), state.load.clients)
    });
    let (is_lost, lost) = match held {
        Some((0, clients)) => (
            false,
            format!("it held no data, and {clients} clients were connected"),
        ),
        Some((bytes, clients)) => (
            true,
            format!(
                "{} of results are lost, and {clients} clients were connected",
                about(bytes)
            ),
        ),
        None => (false, "what it held is not known".to_owned()),
    };
    let name = cluster.place.identity.parse_job_id(head)?;
    let is_replaced =
        cluster.update_policy == UpdatePolicy::Recreate && !lineup.is_up_to_date(name);
    let next = if starts_again {
        "Azure ML starts the same job again"
    } else {
        "another one is started"
    };
    let (reason, why) = match (is_lost, is_replaced) {
        (_, true) => (Reason::Updating, "it is replaced for a change of the spec"),
        (true, false) => (Reason::DataLost, next),
        (false, false) => (Reason::HeadFailed, next),
    };
    Some(Event {
        warning: reason.is_warning() || is_lost,
        reason: if is_lost { Reason::DataLost } else { reason },
        action: "Replace",
        note: format!(
            "head job {head} is {}, and its scheduler is gone: {lost}; {why}",
            facts.status
        ),
    })
}

/// What somebody did in Azure and the operator undoes at once. One event for
/// all of a kind: Kubernetes counts further ones of the same reason, and drops what they say.
fn undone(findings: &[Finding]) -> Vec<Event> {
    // Conditions show the other responses until somebody acts.
    let told = [
        (Response::SetBack, Reason::Drifted, "SetBack"),
        (Response::MadeAgain, Reason::DeletedInAzure, "MakeAgain"),
    ];
    told.into_iter()
        .filter_map(|(response, reason, action)| {
            let notes: Vec<_> = findings
                .iter()
                .filter(|found| found.response == response)
                .map(Finding::to_string)
                .collect();
            (!notes.is_empty()).then(|| Event {
                warning: true,
                reason,
                action,
                note: notes.join("; "),
            })
        })
        .collect()
}

fn action_word(condition: &str) -> &'static str {
    match condition {
        "PreflightPassed" => "Preflight",
        "NetworkReady" | "ComputeReady" | "DatasetsReady" | "EnvironmentReady" => "Provision",
        "SchedulerReady" => "Connect",
        "WorkersReady" => "Scale",
        "Suspended" => "Rest",
        "OverBudget" => "Spend",
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
    let others = not_taken_along(outcome.observed, place);
    let left = match (&outcome.observed.annotations.policy, place.deletion_policy) {
        (ReconcilePolicy::Observe, _) => format!(
            "nothing was written to Azure, as the reconcile-policy is observe: {}, its network and all jobs stay as they are, and cost what they cost",
            pools(place)
        ),
        (ReconcilePolicy::DetachOnDelete, _) => format!(
            "{}, its network and all jobs stay in Azure and go on costing money, as the reconcile-policy is detach-on-delete",
            pools(place)
        ),
        (_, DeletionPolicy::Delete) if !others.is_empty() => format!(
            "everything that was proven to be this cluster's own is gone; {} stays, as its tags do not name this cluster or others have something in it",
            others.join(", ")
        ),
        (_, DeletionPolicy::Delete) => "nothing that costs money is left in Azure".to_owned(),
        (_, DeletionPolicy::Retain) => format!(
            "the jobs have ended; {} and its network stay, as deletionPolicy is Retain",
            pools(place)
        ),
    };
    let mut versions = registered_versions(outcome.before, place);
    versions.extend(earlier_versions(outcome.observed, place));
    let note = match versions.as_slice() {
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

/// `pool ds13-cluster`, with the head's where it has one of its own.
fn pools(place: &Place) -> String {
    let names: Vec<_> = place.pools().map(|pool| pool.name()).collect();
    format!("pool {}", names.join(", pool "))
}

/// What is still there under the names that the cluster would have taken along.
fn not_taken_along(observed: &Observed, place: &Place) -> Vec<String> {
    let places = KINDS.iter().flat_map(|kind| {
        let ids = (kind.places)(place);
        ids.into_iter().map(|id| (kind.name, id))
    });
    places
        .filter(|(_, id)| observed.resource(id).present().is_some())
        .map(|(kind, id)| format!("{kind} {}", id.title()))
        .collect()
}

/// Says once, and anew when it changes, what a cluster lacks that wants to leave and is not let into Azure.
fn locked_out(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Option<Event> {
    if !matches!(outcome.wanted, Wanted::Nothing(_)) {
        return None;
    }
    let blocked = &outcome.plan.blocked;
    let reason = blocked
        .iter()
        .map(|blocked| blocked.trouble.reason)
        .find(|reason| is_about_credentials(*reason))?;
    let told = |status| held(status, ConditionType::Ready).map(|held| &held.message);
    let message = told(status)?;
    (told(outcome.before) != Some(message)).then(|| Event {
        warning: true,
        reason,
        action: "Delete",
        note: message.clone(),
    })
}

/// The last event of a cluster that was let go names everything that it may have left, as far as the manifest and what
/// was last seen of it tell.
fn abandonment(outcome: &Outcome<'_>, place: &Place) -> Event {
    let pools = place.own_pools().map(|pool| format!("pool {pool}"));
    let mut left: Vec<_> = pools.collect();
    if let Some(network) = place.own_network() {
        left.push(format!("network {}", network.virtual_network));
    }
    let head = outcome.before.run.as_ref().and_then(|run| run.name.clone());
    left.push(format!(
        "the jobs of workspace {} whose names begin with {}{}",
        place.workspace,
        place.identity.job_prefix(),
        head.map_or_else(String::new, |head| format!(" (the head is {head})")),
    ));
    left.extend(registered_versions(outcome.before, place));
    Event {
        warning: true,
        reason: Reason::Abandoned,
        action: "Delete",
        note: format!(
            "let go by {ABANDON_ANNOTATION}; what was made of these is left in Azure: {}",
            left.join("; ")
        ),
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

/// What jobs were started with before the spec was changed, which nobody knows the names of any more.
fn earlier_versions(observed: &Observed, place: &Place) -> Option<String> {
    let jobs = observed.resources.iter().filter_map(|(id, found)| {
        place.identity.parse_job_id(id.name())?;
        Some(job::tags(found.present()?))
    });
    let tags: Vec<_> = jobs.collect();
    let of_datasets = !place.registered_datasets.is_empty() && differ_in("datasets", &tags);
    let of_environment = place.registers_environment && differ_in("environment", &tags);
    (of_datasets || of_environment)
        .then(|| "what was registered before the spec was changed".to_owned())
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
        // Not that of the condition: Kubernetes counts events of one reason and action as one, and drops what they say.
        action: "Route",
        note: format!("Kubernetes takes no endpoint for {now}, so the Service has none: clients on that machine use status.scheduler.address"),
    })
}

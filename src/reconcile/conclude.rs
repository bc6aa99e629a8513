//! Step 5: what happened → [`Conclusion`]: the status to show, the events to tell, and when to look again. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::act::Acted;
use super::observed::Observed;
use super::plan::{Action, Plan, held_up};
use super::retelling;
use super::status::{Facts, details};
use super::validate::Wanted;
use crate::api::{
    ConditionStatus, ConditionType, DaskClusterStatus, DeletionPolicy, Phase, Reason,
};
use crate::lookup::Trouble;

/// The outcome of one reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Conclusion {
    pub status: DaskClusterStatus,
    pub events: Vec<Event>,
    pub next: Next,
}

/// When to look again, unless something wakes us before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    /// Nothing is to be done, nothing moves, and this look found what the one before had told.
    AtRest,
    /// The object is gone, or will be by the time anybody could look.
    Never,
}

/// Something to tell once, as an event of `events.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: Reason,
    /// What was being done: `Provision`, `Connect`, …
    pub action: &'static str,
    pub note: String,
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
    /// The last look led to another plan.
    pub plan_is_new: bool,
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
    verdicts.extend(STAGES.into_iter().map(|stage| {
        let held = held(before, stage);
        let verdict = held.map_or_else(
            || verdict(ConditionStatus::Unknown, Reason::Pending, ""),
            Verdict::of,
        );
        (stage, verdict)
    }));
    Some(DaskClusterStatus {
        observed_generation: Some(generation),
        conditions: conditions(before, verdicts, generation, now),
        phase: before.phase.or(Some(Phase::Pending)),
        ..before.clone()
    })
}

#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn of(condition: &Condition) -> Self {
        Self {
            status: match condition.status.as_str() {
                "True" => ConditionStatus::True,
                "False" => ConditionStatus::False,
                _ => ConditionStatus::Unknown,
            },
            reason: Reason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == condition.reason)
                .unwrap_or(Reason::Pending),
            message: condition.message.clone(),
        }
    }

    fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

pub(super) fn conclude(outcome: &Outcome<'_>) -> Conclusion {
    let troubles = troubles(outcome);
    let stages: Vec<_> = STAGES
        .into_iter()
        .map(|stage| (stage, stage_verdict(outcome, stage, &troubles)))
        .collect();
    let facts = Facts::gather(outcome);
    let summary = summarize(outcome, &stages, &troubles, &facts);
    let mut verdicts = vec![
        (ConditionType::Ready, summary.ready),
        (ConditionType::Reconciling, summary.reconciling),
        (ConditionType::Stalled, summary.stalled),
    ];
    verdicts.extend(stages);
    let status = DaskClusterStatus {
        observed_generation: Some(outcome.generation),
        conditions: conditions(outcome.before, verdicts, outcome.generation, outcome.now),
        phase: Some(summary.phase),
        ..details(outcome, &facts)
    };
    let events = events(outcome, &status);
    let next = next(outcome, &status);
    Conclusion {
        status,
        events,
        next,
    }
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

fn stage_verdict(
    outcome: &Outcome<'_>,
    stage: ConditionType,
    troubles: &[(ConditionType, Trouble)],
) -> Verdict {
    let verdict = |status, reason, message: String| Verdict {
        status,
        reason,
        message,
    };
    if let Wanted::Nothing(_) = outcome.wanted {
        let leaving = [ConditionType::SchedulerReady, ConditionType::WorkersReady].contains(&stage);
        return match held(outcome.before, stage).filter(|_| !leaving) {
            Some(condition) => Verdict::of(condition),
            None => verdict(ConditionStatus::False, Reason::Deleting, String::new()),
        };
    }
    // That a look did not come through is no news of what it would have seen.
    if outcome.plan.unseen.contains(&stage)
        && let Some(condition) = held(outcome.before, stage).filter(|held| held.status == "True")
    {
        return Verdict::of(condition);
    }
    if let Some((_, trouble)) = troubles.iter().find(|(at, _)| *at == stage) {
        return verdict(
            ConditionStatus::False,
            trouble.reason,
            trouble.message.clone(),
        );
    }
    if let Some(wait) = outcome.plan.waits.iter().find(|wait| wait.stage == stage) {
        return verdict(ConditionStatus::False, wait.reason, wait.message.clone());
    }
    if let Some(step) = outcome
        .plan
        .steps
        .iter()
        .find(|step| step.stage == stage && step.action.provisions())
    {
        if outcome.acted.was_cut_short() {
            return verdict(ConditionStatus::False, Reason::Pending, held_up(step));
        }
        return verdict(
            ConditionStatus::False,
            Reason::Provisioning,
            step.action.to_string(),
        );
    }
    // Not looked at, or something stands in the way of everything: what the stage was like is the best that is known.
    let was_looked_at = !outcome.plan.unseen.contains(&stage)
        && !troubles.iter().any(|(at, _)| *at == ConditionType::Ready)
        && !outcome
            .plan
            .waits
            .iter()
            .any(|wait| wait.stage == ConditionType::Ready);
    if was_looked_at {
        return verdict(ConditionStatus::True, Reason::Ready, String::new());
    }
    held(outcome.before, stage).map_or_else(
        || verdict(ConditionStatus::Unknown, Reason::Pending, String::new()),
        Verdict::of,
    )
}

struct Summary {
    ready: Verdict,
    reconciling: Verdict,
    stalled: Verdict,
    phase: Phase,
}

fn summarize(
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
    let first_unready = stages.iter().find(|(_, stage)| !stage.is_true());
    let everything_holds = !deleting && troubles.is_empty() && first_unready.is_none();
    // Once reached within a generation it is lost only with the scheduler or with the last wanted worker.
    let was_ready = held(outcome.before, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "True" && ready.observed_generation == Some(outcome.generation)
    });
    let has_scheduler = stages
        .iter()
        .any(|(stage, verdict)| *stage == ConditionType::SchedulerReady && verdict.is_true());
    let has_a_worker = facts.desired_workers == 0 || facts.ready_workers > 0;
    let still_ready = was_ready && !deleting && has_scheduler && has_a_worker;
    let lasting = troubles
        .iter()
        .find(|(_, trouble)| trouble.lasting)
        .filter(|_| !deleting);
    let ready = if everything_holds || still_ready {
        verdict(
            ConditionStatus::True,
            Reason::Ready,
            format!(
                "the scheduler answers and {} workers are wanted",
                facts.desired_workers
            ),
        )
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
        verdict(
            ConditionStatus::False,
            unready.reason,
            format!("{stage}: {}", unready.message),
        )
    } else {
        verdict(
            ConditionStatus::Unknown,
            Reason::Pending,
            first_wait
                .map(|wait| wait.message.clone())
                .unwrap_or_default(),
        )
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
    let reconciling = if is_ready || stalled.is_true() {
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
    let scheduler_wanted_soon = stages.iter().all(|(stage, verdict)| {
        verdict.is_true()
            || [ConditionType::SchedulerReady, ConditionType::WorkersReady].contains(stage)
    });
    let phase = match () {
        () if deleting => Phase::Deleting,
        () if stalled.is_true() => Phase::Stalled,
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

fn held(status: &DaskClusterStatus, condition: ConditionType) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|held| held.type_ == condition.as_str())
}

/// The longest message that Kubernetes takes into a condition.
const MAX_MESSAGE: usize = 32_768;

fn conditions(
    before: &DaskClusterStatus,
    verdicts: Vec<(ConditionType, Verdict)>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|(kind, verdict)| {
            let status = verdict.status.as_str().to_owned();
            let known = held(before, kind).filter(|held| held.status == status);
            let since = known.map(|held| held.last_transition_time.clone());
            let mut message = verdict.message;
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            if let Some(known) = known
                && known.reason == verdict.reason.as_str()
                && retelling::is_the_same(&known.message, &message)
            {
                message.clone_from(&known.message);
            }
            Condition {
                type_: kind.as_str().to_owned(),
                status,
                reason: verdict.reason.as_str().to_owned(),
                message,
                observed_generation: Some(generation),
                last_transition_time: since.unwrap_or(Time(now)),
            }
        })
        .collect()
}

fn events(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Vec<Event> {
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
            || is(ConditionType::Stalled) && !verdict.is_true();
        if same || quiet {
            continue;
        }
        // The summary repeats a stage's trouble; one of the two is enough.
        if is(ConditionType::Ready) && !verdict.is_true() && verdict.reason != Reason::Deleting {
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
    if deleted && let Wanted::Nothing(_) = outcome.wanted {
        events.push(farewell(outcome));
    }
    if let Some(event) = unroutable(outcome, status) {
        events.push(event);
    }
    events
}

fn action_word(condition: &str) -> &'static str {
    match condition {
        "NetworkReady" | "ComputeReady" | "DatasetsReady" | "EnvironmentReady" => "Provision",
        "SchedulerReady" => "Connect",
        "WorkersReady" => "Scale",
        _ => "Reconcile",
    }
}

/// The last event names what stays in Azure: versions are shared.
fn farewell(outcome: &Outcome<'_>) -> Event {
    let datasets = outcome.before.datasets.iter().map(|dataset| {
        format!(
            "{}:{}",
            dataset.name,
            dataset.version.as_deref().unwrap_or("?")
        )
    });
    let kept: Vec<_> = datasets.collect();
    let kept = if kept.is_empty() {
        String::new()
    } else {
        format!("data assets {} and ", kept.join(", "))
    };
    let left = match outcome.wanted {
        Wanted::Nothing(place) if place.deletion_policy == DeletionPolicy::Retain => format!(
            "the jobs have ended; pool {} and its network stay, as deletionPolicy is Retain",
            place.compute.name()
        ),
        _ => "nothing that costs money is left in Azure".to_owned(),
    };
    Event {
        warning: false,
        reason: Reason::Deleting,
        action: "Delete",
        note: format!(
            "{left}; {kept}the environment version stay in the workspace, as they are shared"
        ),
    }
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

/// While something moves: a look after a quarter of the time since the last change, so that what takes seconds is
/// seen within a second and what takes minutes is not asked for each second.
const QUICKEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(15);

fn next(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Next {
    let acted = outcome.acted;
    if acted
        .done()
        .any(|step| matches!(step.action, Action::RemoveFinalizer))
    {
        return Next::Never;
    }
    // A plan that was carried out and comes again unchanged is waited for like everything else.
    if acted.failures().next().is_none() && acted.done().next().is_some() && outcome.plan_is_new {
        return Next::After(Duration::ZERO);
    }
    if outcome.plan.is_settled() && status == outcome.before && !pool_moves(status) {
        return Next::AtRest;
    }
    let age =
        Duration::try_from(outcome.now.duration_since(outcome.changed_at)).unwrap_or_default();
    let moving = (age / 4).clamp(QUICKEST, SLOWEST);
    let due = outcome
        .observed
        .setbacks
        .values()
        .map(|setback| setback.not_before)
        .chain(acted.next_tries())
        .filter(|at| *at > outcome.now)
        .map(|at| Duration::try_from(at.duration_since(outcome.now)).unwrap_or_default())
        .min();
    let waits_for_itself = !outcome.plan.waits.is_empty() || outcome.plan.is_settled();
    Next::After(match due {
        Some(due) if !waits_for_itself => due.max(QUICKEST),
        Some(due) => due.min(moving).max(QUICKEST),
        None if waits_for_itself => moving,
        None => moving.max(SLOWEST).min(outcome.resync),
    })
}

/// Azure changes the number of nodes: nothing waits for that, but the status shows it.
fn pool_moves(status: &DaskClusterStatus) -> bool {
    let resizes = status
        .compute
        .as_ref()
        .and_then(|compute| compute.allocation_state.as_deref())
        .is_some_and(|state| state != "Steady");
    let on_the_way = status
        .nodes
        .as_ref()
        .is_some_and(|nodes| nodes.preparing > 0 || nodes.leaving > 0);
    resizes || on_the_way
}

/// When this status may be written. What people and tools wait for goes out at once; the first step of progress two
/// seconds after the acknowledgement, further ones and mere numbers at most every five.
pub(super) fn write_not_before(
    before: &DaskClusterStatus,
    after: &DaskClusterStatus,
    last_write: Option<Timestamp>,
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
            status.observed_generation,
            status
                .scheduler
                .as_ref()
                .and_then(|scheduler| scheduler.address.clone())
                .is_some()
                && status.phase == Some(Phase::Running),
        )
    };
    let Some(last_write) = last_write else {
        return Some(Timestamp::MIN);
    };
    if key(before) != key(after) {
        return Some(Timestamp::MIN);
    }
    let spacing = if before.phase == Some(Phase::Pending) {
        2
    } else {
        5
    };
    Some(
        last_write
            .saturating_add(SignedDuration::from_secs(spacing))
            .unwrap_or(Timestamp::MAX),
    )
}

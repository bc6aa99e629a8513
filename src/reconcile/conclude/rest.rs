//! What is told of a rest: that it holds, that it comes, what it cost in data, and when time alone changes something.

use jiff::{SignedDuration, Timestamp};

use super::Outcome;
use super::conditions::{Verdict, held};
use super::events::Event;
use crate::api::{
    ConditionStatus, ConditionType, DO_NOT_DISRUPT, IdleAction, Priority, Reason, RestReason,
    RestStatus, WAKE,
};
use crate::azure_resources::Machine;
use crate::azure_resources::job::Lineup;
use crate::dask::State;
use crate::names::Slot;
use crate::reconcile::observed::Observed;
use crate::reconcile::plan::Action;
use crate::reconcile::status::Facts;
use crate::reconcile::validate::{ValidCluster, Wanted};
use crate::scaling::{about, cost, rest};

/// The rest that the cluster is in, or comes to, as far as anything is done about it.
pub(super) fn resting<'a>(outcome: &'a Outcome<'_>) -> Option<&'a RestStatus> {
    let told = outcome.before.rest.as_ref();
    if matches!(outcome.wanted, Wanted::Nothing(_)) {
        return None;
    }
    match outcome.plan.aim() {
        Some(aim) if outcome.plan.withheld_by.is_none() => aim.rest.as_ref(),
        Some(aim) => told.filter(|told| aim.rest.as_ref() == Some(told)),
        None => told,
    }
}

/// The rest, if it ends head and workers.
pub(super) fn suspending<'a>(outcome: &'a Outcome<'_>) -> Option<&'a RestStatus> {
    resting(outcome).filter(|rest| rest.action == IdleAction::Suspend)
}

/// What scheduler and workers say of themselves while they are let go, and once they are gone.
pub(super) fn stage_verdict(outcome: &Outcome<'_>, stage: ConditionType) -> Option<Verdict> {
    suspending(outcome)?;
    let has_head = outcome.plan.aim().is_some_and(|aim| aim.head);
    let goes = match stage {
        ConditionType::WorkersReady => true,
        ConditionType::SchedulerReady => !has_head,
        _ => false,
    };
    let mut waits = outcome.plan.waits.iter();
    let wait = waits.find(|wait| wait.stage == stage);
    goes.then(|| Verdict {
        status: ConditionStatus::False,
        reason: Reason::Suspended,
        message: wait.map_or_else(
            || "the condition Suspended says why".to_owned(),
            |wait| wait.message.clone(),
        ),
    })
}

/// The condition `Suspended`: True while head and workers are gone or go, False where something is to be known of a rest
/// that comes, is forbidden, or leaves the scheduler; otherwise it is not there.
pub(super) fn suspended_verdict(outcome: &Outcome<'_>, facts: &Facts) -> Option<Verdict> {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return None;
    };
    let verdict = |status, reason, message: String| {
        Some(Verdict {
            status,
            reason,
            message,
        })
    };
    let resting = resting(outcome);
    let verdict_of =
        |rest: &RestStatus, status| verdict(status, reason(rest.reason), why(rest, cluster));
    if let Some(rest) = resting.filter(|rest| rest.action == IdleAction::Suspend) {
        return verdict_of(rest, ConditionStatus::True);
    }
    // The scheduler is there, and what is to be known of its end is said before why no worker is.
    let coming = end_that_comes(outcome, cluster, facts, resting);
    match resting {
        None => coming,
        Some(rest) => coming.or_else(|| verdict_of(rest, ConditionStatus::False)),
    }
}

/// What is to be known of a rest that comes or is forbidden, but for the one that the cluster is in.
fn end_that_comes(
    outcome: &Outcome<'_>,
    cluster: &ValidCluster,
    facts: &Facts,
    resting: Option<&RestStatus>,
) -> Option<Verdict> {
    let observed = outcome.observed;
    let Some(lineup) = &facts.lineup else {
        // Nobody can look: what was told of what comes still stands.
        let held = held(outcome.before, ConditionType::Suspended)?;
        return (held.status == "False").then(|| Verdict::of(held));
    };
    let is_news = |cause: RestReason| resting.is_none_or(|rest| rest.reason != cause);
    let jobs = &lineup.jobs;
    let forbidden = rest::forbids(&observed.annotations);
    let now = observed.seen_at;
    let (reason, first, rest) = if forbidden
        && let Some((cause, _)) = rest::due(cluster, observed, jobs)
        && is_news(cause)
    {
        let first = format!("the cluster would rest ({})", reason(cause));
        let rest = if observed.annotations.do_not_disrupt {
            format!("the annotation {DO_NOT_DISRUPT} keeps it from that: take it off")
        } else {
            "nothing is done, as another annotation says".to_owned()
        };
        (Reason::DisruptionForbidden, first, rest)
    } else if let Some(coming) = rest::coming(cluster, observed, jobs, resting).first() {
        let at = clock(coming.at);
        let held = data(rest::answer(observed, jobs));
        let goes = match coming.action {
            IdleAction::Suspend => "workers and head end",
            IdleAction::ScaleToZero => "the workers end",
        };
        match coming.reason {
            RestReason::Idle => (
                Reason::IdleSoon,
                format!("nothing has been to do for long, and {goes} at {at}"),
                format!("{held}: give it work, or raise spec.idleTimeoutSeconds"),
            ),
            _ => (
                Reason::LifetimeEnding,
                format!("the head ends at {at}, as spec.maxLifetimeSeconds says"),
                format!("{held}: save what you need"),
            ),
        }
    } else {
        let at = azure_end(cluster, observed, lineup)?;
        let warning = rest::lifetime_warning(azure_limit(cluster, observed));
        if now < at.saturating_sub(warning).unwrap_or(at) {
            return None;
        }
        (
            Reason::LifetimeEnding,
            format!(
                "the head ends at {}, which is as long as Azure ML lets a job run",
                clock(at)
            ),
            format!("{}: save what you need", data(rest::answer(observed, jobs))),
        )
    };
    // What it holds changes with every look, and is told once.
    let same = held(outcome.before, ConditionType::Suspended).filter(|held| {
        held.reason == reason.as_str() && held.message.starts_with(&format!("{first};"))
    });
    let message = same.map_or_else(|| format!("{first}; {rest}"), |held| held.message.clone());
    Some(Verdict {
        status: ConditionStatus::False,
        reason,
        message,
    })
}

pub(super) fn reason(reason: RestReason) -> Reason {
    match reason {
        RestReason::Suspended => Reason::Suspended,
        RestReason::Idle => Reason::Idle,
        RestReason::LifetimeReached => Reason::LifetimeReached,
        RestReason::OverBudget => Reason::OverBudget,
    }
}

/// Why, and how it ends.
pub(super) fn why(rest: &RestStatus, cluster: &ValidCluster) -> String {
    let wakes = format!("change the spec or the annotation {WAKE} to bring it back");
    match (rest.reason, rest.action) {
        (RestReason::Suspended, _) => {
            "spec.suspend says so: set it to false to bring head and workers back".to_owned()
        }
        (RestReason::Idle, IdleAction::Suspend) => {
            format!("nothing was to do for {}: {wakes}", idle_timeout(cluster))
        }
        (RestReason::Idle, IdleAction::ScaleToZero) => format!(
            "nothing was to do for {}, so the workers end and the scheduler stays: work brings them back, and so does a change of the spec or of the annotation {WAKE}",
            idle_timeout(cluster)
        ),
        (RestReason::LifetimeReached, _) => {
            format!("the head has run for spec.maxLifetimeSeconds: {wakes}")
        }
        (RestReason::OverBudget, _) => {
            "spec.budget.maxTotal is used up: raise it to bring the cluster back".to_owned()
        }
    }
}

fn idle_timeout(cluster: &ValidCluster) -> String {
    cluster.idle.map_or_else(
        || "long enough".to_owned(),
        |idle| format!("idleTimeoutSeconds ({} s)", idle.timeout.as_secs()),
    )
}

/// Azure ML ends every run after so long (architecture section 5), by the priority of the pool that the head runs on.
fn azure_limit(cluster: &ValidCluster, observed: &Observed) -> SignedDuration {
    let pool = cluster.place.pool_of(Slot::Head);
    match Machine::of(cluster, observed, pool).priority {
        Priority::Dedicated => SignedDuration::from_hours(21 * 24),
        Priority::LowPriority => SignedDuration::from_hours(7 * 24),
    }
}

/// When Azure ML ends the head.
fn azure_end(cluster: &ValidCluster, observed: &Observed, lineup: &Lineup) -> Option<Timestamp> {
    let started = lineup.head_facts()?.started_at?;
    started.checked_add(azure_limit(cluster, observed)).ok()
}

/// When the head ends at the latest: what `status.run.deadline` says.
pub(in crate::reconcile) fn deadline(
    cluster: &ValidCluster,
    observed: &Observed,
    lineup: &Lineup,
) -> Option<Timestamp> {
    let own = rest::lifetime_ends(cluster, &lineup.jobs);
    [own, azure_end(cluster, observed, lineup)]
        .into_iter()
        .flatten()
        .min()
}

/// What the end of the head took along, told with the cancel that ends it.
pub(super) fn loss(outcome: &Outcome<'_>, facts: &Facts) -> Option<Event> {
    let rest = suspending(outcome)?;
    let lineup = facts.lineup.as_ref()?;
    let head = lineup
        .jobs
        .keys()
        .rev()
        .find(|name| name.slot == Slot::Head);
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return None;
    };
    let id = cluster.place.job(*head?);
    outcome
        .acted
        .done()
        .find(|step| matches!(&step.action, Action::CancelJob { id: ended, .. } if *ended == id))?;
    let state = rest::answer(outcome.observed, &lineup.jobs);
    let lost = state.is_some_and(|state| bytes(state) > 0);
    Some(Event {
        warning: lost,
        reason: if lost {
            Reason::DataLost
        } else {
            reason(rest.reason)
        },
        action: "Suspend",
        note: format!(
            "job {} was cancelled, as the cluster rests ({}); {}",
            id.name(),
            reason(rest.reason),
            state.map_or_else(
                || "its scheduler does not tell what was held".to_owned(),
                |state| data(Some(state))
            )
        ),
    })
}

/// What is held, and for how many clients: `3.2 GiB of results are held, and 2 clients are connected`.
fn data(state: Option<&State>) -> String {
    let Some(state) = state else {
        return "the scheduler does not tell what is held".to_owned();
    };
    let clients = match state.load.clients {
        0 => "no client is connected".to_owned(),
        1 => "1 client is connected".to_owned(),
        many => format!("{many} clients are connected"),
    };
    match bytes(state) {
        0 => format!("no result is held, and {clients}"),
        held => format!("{} of results are held, and {clients}", about(held)),
    }
}

fn bytes(state: &State) -> u64 {
    let of_workers = state.workers.iter().map(|worker| worker.nbytes).sum();
    state.load.nbytes.max(of_workers)
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// When time alone changes something: the end of an idle cluster, of a head, of a budget, of the time to hand over, the
/// warnings before, and what the autoscaler waits for.
pub(super) fn look_again(outcome: &Outcome<'_>, facts: &Facts) -> Option<Timestamp> {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return None;
    };
    let lineup = facts.lineup.as_ref()?;
    let aim = outcome.plan.aim();
    let resting = resting(outcome);
    let hand_over = resting
        .filter(|_| lineup.aim.head)
        .and_then(|rest| rest::hand_over_ends(rest, cluster));
    let (observed, jobs) = (outcome.observed, &lineup.jobs);
    let idle = rest::idle_at(cluster, observed, jobs)
        .map(|at| (at, rest::idle_warning(cluster)))
        .filter(|_| resting.is_none());
    let own =
        rest::lifetime_ends(cluster, jobs).zip(cluster.max_lifetime.map(rest::lifetime_warning));
    let of_azure = azure_end(cluster, observed, lineup)
        .map(|at| (at, rest::lifetime_warning(azure_limit(cluster, observed))));
    let ends = [idle, own, of_azure].into_iter().flatten();
    let times = ends.flat_map(|(at, before)| [at.saturating_sub(before).ok(), Some(at)]);
    let others = [
        hand_over,
        cost::used_up_at(cluster, observed)
            .filter(|_| resting.is_none_or(|rest| rest.action == IdleAction::ScaleToZero)),
        aim.and_then(|aim| aim.decision.as_ref()?.look_again),
    ];
    let coming = rest::coming(cluster, observed, jobs, resting);
    times
        .chain(coming.into_iter().map(|coming| Some(coming.at)))
        .chain(others)
        .flatten()
        .filter(|at| *at > outcome.now)
        .min()
}

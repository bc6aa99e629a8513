//! When to look again.

use std::time::Duration;

use super::Outcome;
use crate::api::{DaskClusterStatus, Reason};
use crate::reconcile::plan::Action;
use crate::reconcile::setbacks::USAGES_LAST;

/// When to look again, unless something wakes us before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    /// Nothing is to be done, nothing moves, and this look found what the one before had told.
    AtRest,
    /// The object is gone, or will be by the time anybody could look.
    Never,
}

/// While something moves: a look after a quarter of the time since the last change, so that what takes seconds is
/// seen within a second and what takes minutes is not asked for each second.
const QUICKEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(15);

pub(super) fn next(outcome: &Outcome<'_>, status: &DaskClusterStatus) -> Next {
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
    // Quota may come before the next try is due.
    let look_at_usages = outcome
        .now
        .saturating_add(USAGES_LAST)
        .unwrap_or(outcome.now);
    let turns = outcome
        .plan
        .blocked
        .iter()
        .filter(|blocked| blocked.trouble.reason == Reason::WaitingForBudget)
        .filter_map(|blocked| blocked.trouble.retry_after);
    let due = outcome
        .observed
        .setbacks
        .values()
        .map(|setback| match setback.shortage() {
            Some(_) => setback.not_before.min(look_at_usages),
            None => setback.not_before,
        })
        .chain(acted.next_tries())
        .filter(|at| *at > outcome.now)
        .map(|at| Duration::try_from(at.duration_since(outcome.now)).unwrap_or_default())
        .chain(turns)
        .min();
    let plan = outcome.plan;
    let waits_for_itself = !plan.waits.is_empty() || !plan.held_up.is_empty() || plan.is_settled();
    Next::After(match due {
        Some(due) if !waits_for_itself => due.max(QUICKEST),
        Some(due) => due.min(moving).max(QUICKEST),
        None if waits_for_itself => moving,
        None => moving.max(SLOWEST).min(outcome.resync),
    })
}

/// Azure changes the number of nodes: nothing waits for that, but the status shows it.
fn pool_moves(status: &DaskClusterStatus) -> bool {
    let mut pools = status.compute.iter().chain(&status.head_compute);
    let resizes = pools.any(|pool| {
        let state = pool.allocation_state.as_deref();
        state.is_some_and(|state| state != "Steady")
    });
    let on_the_way = status
        .nodes
        .as_ref()
        .is_some_and(|nodes| nodes.preparing > 0 || nodes.leaving > 0);
    resizes || on_the_way
}

//! When to look again.

use std::time::Duration;

use super::Outcome;
use crate::reconcile::plan::Action;

/// When to look again, unless something wakes us before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    /// The object is gone, or will be by the time anybody could look.
    Never,
}

/// While something moves: a look after a quarter of the time since the last change, so that what takes seconds is
/// seen within a second and what takes minutes is not asked for each second.
const QUICKEST: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(15);

pub(super) fn next(outcome: &Outcome<'_>) -> Next {
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
    if outcome.plan.is_settled() {
        return Next::After(outcome.resync);
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
    let waits_for_itself = !outcome.plan.waits.is_empty();
    Next::After(match due {
        Some(due) if !waits_for_itself => due.max(QUICKEST),
        Some(due) => due.min(moving).max(QUICKEST),
        None if waits_for_itself => moving,
        None => moving.max(SLOWEST).min(outcome.resync),
    })
}

//! What is told of the look before the first spend.

use super::Outcome;
use super::conditions::{Verdict, held};
use crate::api::{ConditionStatus, ConditionType, Reason};
use crate::reconcile::preflight::{Check, Preflight};

pub(super) fn preflight_verdict(outcome: &Outcome<'_>) -> Verdict {
    let told = held(outcome.before, ConditionType::PreflightPassed);
    let as_before = || {
        let pending = || Verdict {
            status: ConditionStatus::Unknown,
            reason: Reason::Pending,
            message: String::new(),
        };
        told.map_or_else(pending, Verdict::of)
    };
    let Some(preflight) = &outcome.plan.preflight else {
        return as_before();
    };
    let was_passed = told.is_some_and(|told| told.status == "True");
    if !preflight.is_complete && (was_passed && is_out_of_sight(preflight) || !preflight.stops()) {
        return as_before();
    }
    let stop = preflight.findings.iter().find(|finding| finding.stops);
    let (status, reason) = match stop {
        Some(stop) => (ConditionStatus::False, stop.trouble.reason),
        None if preflight.findings.is_empty() => (ConditionStatus::True, Reason::Ready),
        None => (ConditionStatus::True, Reason::PassedWithWarnings),
    };
    Verdict {
        status,
        reason,
        message: preflight.to_string(),
    }
}

/// Azure cannot be asked now: that is no news of what it would answer.
fn is_out_of_sight(preflight: &Preflight) -> bool {
    let mut stops = preflight.findings.iter().filter(|finding| finding.stops);
    stops.all(|finding| {
        matches!(finding.check, Check::Credentials | Check::Workspace) && !finding.trouble.lasting
    })
}

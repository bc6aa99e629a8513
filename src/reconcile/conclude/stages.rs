//! What each stage says of itself.

use super::Outcome;
use super::conditions::{Verdict, held};
use super::rest;
use crate::api::{ConditionStatus, ConditionType, Reason};
use crate::lookup::Trouble;
use crate::reconcile::plan::{Finding, Response, Step, held_up};
use crate::reconcile::validate::Wanted;

/// `troubles`: all that stands in the way, by stage.
pub(super) fn stage_verdict(
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
    let is_resting = rest::suspending(outcome).is_some();
    if outcome.plan.unseen.contains(&stage)
        && let Some(condition) = held(outcome.before, stage).filter(|held| {
            held.status == "True" || is_resting && held.reason == Reason::Suspended.as_str()
        })
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
    if outcome.plan.lineup.is_some()
        && let Some(verdict) = rest::stage_verdict(outcome, stage)
    {
        return verdict;
    }
    let wait = outcome.plan.waits.iter().find(|wait| wait.stage == stage);
    let done = of_stage(&outcome.plan.steps, stage);
    let step = done.or_else(|| of_stage(&outcome.plan.held_up, stage));
    let withheld = of_stage(&outcome.plan.withheld, stage);
    if let (Some(step), Some(reason)) = (withheld, outcome.plan.withheld_by) {
        let message = format!("{} is not done", step.action);
        return verdict(ConditionStatus::False, reason, message);
    }
    // What waits for another resource of its own stage says less than what is done in Azure for that one.
    let writes_azure = step.is_some_and(|step| step.action.writes_azure());
    if let Some(wait) = wait.filter(|wait| wait.reason != Reason::Pending || !writes_azure) {
        return verdict(ConditionStatus::False, wait.reason, wait.message.clone());
    }
    if let Some(step) = step {
        // Whether what stands in the way was just tried or waits for its next try is no news.
        if done.is_none() || outcome.acted.was_cut_short() {
            return verdict(ConditionStatus::False, Reason::Pending, held_up(step));
        }
        let found = finding(outcome, stage, &[Response::SetBack, Response::MadeAgain]);
        let reason = match found.map(|found| found.response) {
            Some(Response::MadeAgain) => Reason::DeletedInAzure,
            _ => Reason::Provisioning,
        };
        let message = found.map_or_else(|| step.action.to_string(), Finding::to_string);
        return verdict(ConditionStatus::False, reason, message);
    }
    // Not looked at, or something stands in the way of everything: what the stage was like is the best that is known.
    let was_looked_at = !outcome.plan.unseen.contains(&stage)
        && !troubles.iter().any(|(at, _)| *at == ConditionType::Ready)
        && !outcome
            .plan
            .waits
            .iter()
            .any(|wait| wait.stage == ConditionType::Ready);
    if was_looked_at && let Some(found) = finding(outcome, stage, &[Response::Reported]) {
        return verdict(ConditionStatus::True, Reason::Drifted, found.to_string());
    }
    if was_looked_at {
        return verdict(ConditionStatus::True, Reason::Ready, String::new());
    }
    held(outcome.before, stage).map_or_else(
        || verdict(ConditionStatus::Unknown, Reason::Pending, String::new()),
        Verdict::of,
    )
}

/// The first of the steps that makes or changes something of this stage.
fn of_stage(steps: &[Step], stage: ConditionType) -> Option<&Step> {
    let mut steps = steps.iter();
    steps.find(|step| step.stage == stage && step.action.provisions())
}

fn finding<'a>(
    outcome: &Outcome<'a>,
    stage: ConditionType,
    responses: &[Response],
) -> Option<&'a Finding> {
    let mut findings = outcome.plan.findings.iter();
    findings.find(|found| found.stage == stage && responses.contains(&found.response))
}

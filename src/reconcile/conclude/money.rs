//! What is told of money. A status is not written because time has passed: what has come together since is written with
//! the next change.

use super::Outcome;
use super::conditions::Verdict;
use crate::api::{ConditionStatus, CostStatus, DaskClusterStatus, Reason};
use crate::quantity;
use crate::reconcile::status::Facts;
use crate::reconcile::validate::Wanted;
use crate::scaling::cost::{self, Affordable};

/// What the status is to say of it: as told, unless something else or the rate changes.
pub(super) fn settled(
    now: Option<CostStatus>,
    status: &DaskClusterStatus,
    before: &DaskClusterStatus,
) -> Option<CostStatus> {
    let rate = |cost: &Option<CostStatus>| {
        cost.as_ref()
            .map(|cost| (cost.hourly.clone(), cost.currency.clone()))
    };
    let without_cost = |status: &DaskClusterStatus| DaskClusterStatus {
        cost: None,
        ..status.clone()
    };
    let is_still = rate(&now) == rate(&before.cost) && without_cost(status) == without_cost(before);
    if is_still { before.cost.clone() } else { now }
}

pub(super) fn cost(outcome: &Outcome<'_>, facts: &Facts) -> Option<CostStatus> {
    let (Wanted::Cluster(cluster), Some(lineup)) = (outcome.wanted, &facts.lineup) else {
        return outcome.before.cost.clone();
    };
    cost::cost(cluster, outcome.observed, &lineup.jobs)
}

/// The condition `OverBudget`: there only while it is so.
pub(super) fn over_budget(
    outcome: &Outcome<'_>,
    facts: &Facts,
    cost: Option<&CostStatus>,
) -> Option<Verdict> {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return None;
    };
    let budget = cluster.budget?;
    let cost = cost?;
    let number = |amount: &str| quantity::number(amount).ok();
    let accrued = facts
        .lineup
        .as_ref()
        .and_then(|lineup| cost::accrued(cluster, outcome.observed, &lineup.jobs))
        .or_else(|| number(&cost.accrued.amount.0));
    let currency = &cost.currency;
    let mut said = Vec::new();
    if let Some(most) = budget.max_total
        && accrued.is_some_and(|accrued| accrued >= most)
    {
        said.push(format!(
            "the nodes have cost as much as budget.maxTotal ({most} {currency})"
        ));
    }
    let hourly = number(&cost.hourly.0);
    let is_known = cost::most_workers(cluster, outcome.observed) != Affordable::Unknown;
    let too_dear = facts.lineup.as_ref().filter(|_| is_known);
    let too_dear = too_dear.and_then(|lineup| {
        let wanted = lineup.aim.too_dear?;
        Some((lineup.aim.workers, wanted))
    });
    if let Some(most) = budget.max_per_hour {
        if let Some(hourly) = hourly.filter(|hourly| *hourly > most) {
            said.push(format!(
                "the nodes cost {hourly} {currency} an hour, more than budget.maxPerHour ({most})"
            ));
        }
        if let Some((workers, wanted)) = too_dear {
            said.push(format!(
                "{workers} workers are asked for instead of {wanted}, as budget.maxPerHour ({most} {currency}) pays for no more"
            ));
        }
    }
    (!said.is_empty()).then(|| Verdict {
        status: ConditionStatus::True,
        reason: Reason::OverBudget,
        message: format!("{}: raise spec.budget, or ask for less", said.join("; ")),
    })
}

//! What the nodes of a cluster cost: Azure's list price, times the nodes as they were observed
//! (docs/decisions/022-cost-is-kept-in-status.md).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rest::whole_seconds;
use crate::api::{AccruedCost, BudgetAction, CostStatus};
use crate::azure::ResourceId;
use crate::azure_resources::job::{JobFacts, JobStatus};
use crate::azure_resources::{ComputeHave, Machine};
use crate::lookup::Lookup;
use crate::names::{JobName, Slot};
use crate::quantity;
use crate::reconcile::{Observed, Price, ValidCluster};

/// The longest time that is counted at once: no head lives longer, and its end changes the status. What is more is a
/// clock that jumped.
const COUNTED_AT_MOST: SignedDuration = SignedDuration::from_hours(21 * 24);
/// Less than this is not added up: the rounding of many small amounts would come to something.
const COUNTED_FROM: f64 = 0.01;

/// What the status is to say; `None` while no price is known.
pub(crate) fn cost(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<CostStatus> {
    let told = observed.told.cost.as_ref();
    let rate = match rate(cluster, observed, jobs) {
        Known::Price(rate) => rate,
        // What was spent is not forgotten.
        Known::NoPrice | Known::NotNow => return told.cloned(),
    };
    let hourly = money(rate.amount);
    let now = whole_seconds(observed.seen_at);
    let amount = accrued(cluster, observed, jobs)?;
    let counts = told.is_none_or(|told| {
        let counted = number(&told.accrued.amount).unwrap_or(0.0);
        told.hourly != hourly
            || told.currency != rate.currency
            || told.accrued.as_of.0 > now
            || amount - counted >= COUNTED_FROM
    });
    if !counts {
        return told.cloned();
    }
    Some(CostStatus {
        hourly,
        accrued: AccruedCost {
            amount: money(amount),
            as_of: Time(now),
        },
        currency: rate.currency,
    })
}

/// What all nodes cost in an hour, those of each pool by their own price.
fn rate(cluster: &ValidCluster, observed: &Observed, jobs: &BTreeMap<JobName, JobFacts>) -> Known {
    let mut rate: Option<Price> = None;
    let told = observed.told.cost.as_ref();
    for pool in cluster.place.pools() {
        let Some(nodes) = nodes(cluster, observed, jobs, pool) else {
            return Known::NotNow;
        };
        let price = match (price(cluster, observed, pool), told) {
            (Known::Price(price), _) => price,
            // No node costs nothing, whatever one would cost.
            (_, Some(told)) if nodes == 0 => Price {
                amount: 0.0,
                currency: told.currency.clone(),
            },
            (unknown, _) => return unknown,
        };
        let amount = price.amount * f64::from(nodes);
        rate = Some(Price {
            amount: amount + rate.map_or(0.0, |rate| rate.amount),
            ..price
        });
    }
    rate.map_or(Known::NotNow, Known::Price)
}

/// What has come together up to now: what was told, and what the nodes cost since. A status that was lost is made up
/// for by the times of the jobs.
pub(crate) fn accrued(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> Option<f64> {
    let now = whole_seconds(observed.seen_at);
    if let Some(told) = &observed.told.cost {
        let since = now.duration_since(told.accrued.as_of.0);
        return Some(number(&told.accrued.amount)? + number(&told.hourly)? * hours(since));
    }
    let hours_on = |pool: &ResourceId| {
        let of_job = |(name, job): (&JobName, &JobFacts)| {
            let started = job
                .started_at
                .filter(|_| cluster.place.pool_of(name.slot) == pool)?;
            Some(hours(job.ended_at.unwrap_or(now).duration_since(started)))
        };
        jobs.iter().filter_map(of_job).sum::<f64>()
    };
    let of_pool = |pool| match price(cluster, observed, pool) {
        Known::Price(price) => Some(price.amount * hours_on(pool)),
        Known::NoPrice | Known::NotNow => None,
    };
    cluster.place.pools().map(of_pool).sum()
}

/// When `budget.maxTotal` will be used up, at the present rate.
pub(crate) fn used_up_at(cluster: &ValidCluster, observed: &Observed) -> Option<Timestamp> {
    let most = cluster.budget?.max_total?;
    let told = observed.told.cost.as_ref()?;
    let (amount, hourly) = (number(&told.accrued.amount)?, number(&told.hourly)?);
    let hours = (most - amount) / hourly;
    // Rounded up: a look too early would see nothing.
    let left = SignedDuration::try_from_secs_f64((hours * 3600.0).ceil() + 1.0).ok()?;
    told.accrued.as_of.0.checked_add(left).ok()
}

/// How many workers beside the head `budget.maxPerHour` pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affordable {
    /// It is not to be kept, or nodes have no price.
    Any,
    AtMost(u32),
    /// It is to be kept, and nobody knows the price now.
    Unknown,
}

pub(crate) fn most_workers(cluster: &ValidCluster, observed: &Observed) -> Affordable {
    let budget = cluster
        .budget
        .filter(|budget| budget.action == BudgetAction::Suspend);
    let Some(most) = budget.and_then(|budget| budget.max_per_hour) else {
        return Affordable::Any;
    };
    let of = |slot| price(cluster, observed, cluster.place.pool_of(slot));
    let (head, worker) = match (of(Slot::Head), of(Slot::Worker(0))) {
        (Known::NotNow, _) | (_, Known::NotNow) => return Affordable::Unknown,
        (Known::NoPrice, _) | (_, Known::NoPrice) => return Affordable::Any,
        (Known::Price(head), Known::Price(worker)) => (head.amount, worker.amount),
    };
    // An amount that is a whole number of prices pays for as many.
    let nodes = ((most - head) / worker + 1e-9).floor();
    if !nodes.is_finite() {
        return Affordable::Any;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded just before"
    )]
    let nodes = nodes.clamp(0.0, f64::from(u16::MAX)) as u32;
    Affordable::AtMost(nodes)
}

/// Nodes that run jobs of this cluster.
pub(crate) fn own_nodes(jobs: &BTreeMap<JobName, JobFacts>) -> u32 {
    nodes_with_jobs(jobs, |_| true)
}

fn nodes_with_jobs(jobs: &BTreeMap<JobName, JobFacts>, counts: impl Fn(Slot) -> bool) -> u32 {
    let has_a_node = |(name, job): &(&JobName, &JobFacts)| {
        let runs = matches!(job.status, JobStatus::Running | JobStatus::NotResponding)
            || job.status.is_leaving() && job.started_at.is_some();
        runs && counts(name.slot)
    };
    u32::try_from(jobs.iter().filter(has_a_node).count()).unwrap_or(u32::MAX)
}

/// All nodes of a pool of our own; of another pool those that run our jobs. `None` while nobody can tell.
fn nodes(
    cluster: &ValidCluster,
    observed: &Observed,
    jobs: &BTreeMap<JobName, JobFacts>,
    pool: &ResourceId,
) -> Option<u32> {
    if !cluster.place.is_own_pool(pool) {
        let runs_there = |slot| cluster.place.pool_of(slot) == pool;
        return Some(nodes_with_jobs(jobs, runs_there));
    }
    match observed.resource(pool) {
        Lookup::Present(body) => {
            let pool: ComputeHave = serde_json::from_value(body.clone()).ok()?;
            let inner = pool.properties.properties?;
            // Azure has taken them back, and charges nothing for them.
            let counts = inner.node_state_counts.unwrap_or_default();
            let preempted = counts.preempted_node_count.unwrap_or(0);
            let current = inner.current_node_count.unwrap_or(0);
            Some(current.saturating_sub(preempted))
        }
        Lookup::Absent => Some(0),
        Lookup::NotAsked | Lookup::Unavailable(_) => None,
    }
}

enum Known {
    Price(Price),
    /// The region tells none for this size.
    NoPrice,
    /// The pool or the region could not be looked at.
    NotNow,
}

/// What a node of a pool costs in an hour, by the size that the pool has or is to have.
fn price(cluster: &ValidCluster, observed: &Observed, pool: &ResourceId) -> Known {
    let Lookup::Present(sizes) = &observed.vm_sizes else {
        return Known::NotNow;
    };
    let Machine { vm_size, priority } = Machine::of(cluster, observed, pool);
    let Some(size) = vm_size else {
        return Known::NotNow;
    };
    sizes
        .iter()
        .find(|offered| offered.name.eq_ignore_ascii_case(&size))
        .and_then(|offered| offered.hourly_price(priority))
        .filter(|price| price.amount.is_finite() && price.amount >= 0.0)
        .map_or(Known::NoPrice, Known::Price)
}

/// Not less than none: a clock that jumped back takes nothing away.
fn hours(time: SignedDuration) -> f64 {
    time.clamp(SignedDuration::ZERO, COUNTED_AT_MOST)
        .as_secs_f64()
        / 3600.0
}

fn number(amount: &Quantity) -> Option<f64> {
    quantity::number(&amount.0).ok()
}

/// With at most four decimals.
fn money(amount: f64) -> Quantity {
    // A sum of nothing is -0.
    let text = format!("{:.4}", amount + 0.0);
    Quantity(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

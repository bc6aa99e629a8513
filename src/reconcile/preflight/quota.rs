//! Quota by VM family and in all, against what is needed at once and what the pool may grow to.

use super::{Check, Need, Preflight, STAGE, passing};
use crate::api::{Priority, Reason};
use crate::azure::ResourceId;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::observed::Observed;
use crate::reconcile::region::{Usage, VmSize};
use crate::reconcile::validate::ValidCluster;

/// A pool that is to be made, or to grow.
pub(super) struct Pool<'a> {
    pub size: &'a VmSize,
    pub priority: Priority,
    pub need: Need,
    /// Otherwise it is the head's alone.
    pub is_of_workers: bool,
}

impl Pool<'_> {
    /// The quotas that its cores count in.
    fn usages<'a>(&self, usages: &'a [Usage]) -> impl Iterator<Item = &'a Usage> {
        // Low priority has one quota for all families.
        let of_family = match (self.priority, &self.size.family) {
            (Priority::Dedicated, Some(family)) => Usage::of_family(usages, family),
            _ => None,
        };
        let of_all = Usage::of_all_families(usages, self.priority);
        of_family.into_iter().chain(of_all)
    }

    fn takes(&self, nodes: u32) -> u64 {
        u64::from(nodes).saturating_mul(self.size.cores.unwrap_or(0))
    }
}

pub(super) fn look(
    preflight: &mut Preflight,
    cluster: &ValidCluster,
    observed: &Observed,
    pools: &[Pool<'_>],
) {
    let usages = match &observed.usages {
        Lookup::Present(usages) => usages,
        Lookup::Unavailable(trouble) => {
            preflight.is_complete = false;
            let message = format!("how much quota is left cannot be read: {}", trouble.message);
            return preflight.warn(Check::Quota, STAGE, passing(trouble, message));
        }
        Lookup::Absent | Lookup::NotAsked => {
            preflight.is_complete = false;
            return;
        }
    };
    let is_new = |pool: &&ResourceId| matches!(observed.resource(pool), Lookup::Absent);
    let new = cluster.place.own_pools().filter(is_new).count() as u64;
    if let Some(clusters) = Usage::of_clusters(usages)
        && clusters.free().is_some_and(|free| free < new)
    {
        let message = format!(
            "{} pools of {} are there already{}: delete one, or ask Azure for more",
            clusters.current_value.unwrap_or(0),
            clusters.limit.unwrap_or(0),
            if new > 1 {
                ", and the head takes another one"
            } else {
                ""
            }
        );
        preflight.stop(
            Check::Quota,
            STAGE,
            Trouble::passing(Reason::QuotaExceeded, message),
        );
    }
    let mut compared: Vec<&Usage> = Vec::new();
    for usage in pools.iter().flat_map(|pool| pool.usages(usages)) {
        if compared.iter().any(|other| std::ptr::eq(*other, usage)) {
            continue;
        }
        compared.push(usage);
        let counts = |pool: &&Pool<'_>| {
            let mut of_pool = pool.usages(usages);
            of_pool.any(|other| std::ptr::eq(other, usage))
        };
        let (workers, head): (Vec<_>, Vec<_>) = pools
            .iter()
            .filter(counts)
            .filter(|pool| pool.size.cores.is_some())
            .partition(|pool| pool.is_of_workers);
        compare(
            preflight,
            usage,
            workers.first().copied(),
            head.first().copied(),
        );
    }
}

/// `workers` and `head`: the pools whose cores count in it.
fn compare(
    preflight: &mut Preflight,
    usage: &Usage,
    workers: Option<&Pool<'_>>,
    head: Option<&Pool<'_>>,
) {
    let Some(free) = usage.free() else { return };
    let left = format!(
        "{}: {free} of {} are free",
        usage.title(),
        usage.limit.unwrap_or(0)
    );
    let trouble = |message: String| Trouble::passing(Reason::QuotaExceeded, message);
    let of_head = head.map_or(0, |head| head.takes(head.need.at_most));
    let Some(workers) = workers else {
        if of_head > free {
            let message = format!(
                "the head's node takes {of_head} vCPUs ({left}): ask Azure for more, or choose another spec.scheduler.compute.vmSize"
            );
            let stops = head.is_some_and(|head| head.need.at_once > 0);
            preflight.find(Check::Quota, stops, STAGE, trouble(message));
        }
        return;
    };
    let Need {
        at_once,
        at_most,
        there,
    } = workers.need;
    let head_at_once = head.map_or(0, |head| head.need.at_once);
    let taken_at_once =
        workers.takes(at_once) + head.map_or(0, |head| head.takes(head.need.at_once));
    let left_for_workers = free.saturating_sub(of_head);
    if taken_at_once > free {
        let message = format!(
            "{} nodes take {taken_at_once} vCPUs at once ({left}): ask Azure for more, or lower spec.worker.replicas and spec.compute.minNodes",
            at_once + head_at_once
        );
        preflight.stop(Check::Quota, STAGE, trouble(message));
    } else if workers.takes(at_most) > left_for_workers {
        let cores = workers.size.cores.unwrap_or(0).max(1);
        let beside = match of_head {
            0 => String::new(),
            cores => format!(" beside the head's {cores}"),
        };
        let message = format!(
            "the pool stops growing at {} nodes instead of {}, as {at_most} more take {} vCPUs{beside} ({left}): ask Azure for more before they are needed, or lower spec.compute.maxNodes",
            u64::from(there) + left_for_workers / cores,
            there + at_most,
            workers.takes(at_most)
        );
        preflight.warn(Check::Quota, STAGE, trouble(message));
    }
}

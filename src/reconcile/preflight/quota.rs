//! Quota by VM family and in all, against what is needed at once and what the pool may grow to.

use super::{Check, Need, Preflight, passing};
use crate::api::{ConditionType, Priority, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::observed::Observed;
use crate::reconcile::region::{Usage, VmSize};
use crate::reconcile::validate::ValidCluster;

const STAGE: ConditionType = ConditionType::ComputeReady;

pub(super) fn look(
    preflight: &mut Preflight,
    cluster: &ValidCluster,
    observed: &Observed,
    size: &VmSize,
    need: Need,
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
    let is_new = matches!(observed.resource(&cluster.place.compute), Lookup::Absent);
    if let Some(clusters) = Usage::of_clusters(usages).filter(|_| is_new)
        && clusters.free() == Some(0)
    {
        let message = format!(
            "{} pools of {} are there already: delete one, or ask Azure for more",
            clusters.current_value.unwrap_or(0),
            clusters.limit.unwrap_or(0)
        );
        preflight.stop(
            Check::Quota,
            STAGE,
            Trouble::passing(Reason::QuotaExceeded, message),
        );
    }
    let Some(cores) = size.cores else { return };
    let priority = cluster.compute.priority;
    // Low priority has one quota for all families.
    let of_family = match (priority, &size.family) {
        (Priority::Dedicated, Some(family)) => Usage::of_family(usages, family),
        _ => None,
    };
    for usage in of_family
        .into_iter()
        .chain(Usage::of_all_families(usages, priority))
    {
        compare(preflight, usage, cores, need);
    }
}

fn compare(preflight: &mut Preflight, usage: &Usage, cores: u64, need: Need) {
    let Some(free) = usage.free() else { return };
    let takes = |nodes: u32| u64::from(nodes).saturating_mul(cores);
    let left = format!(
        "{}: {free} of {} are free",
        usage.title(),
        usage.limit.unwrap_or(0)
    );
    let trouble = |message: String| Trouble::passing(Reason::QuotaExceeded, message);
    let Need {
        at_once,
        at_most,
        there,
    } = need;
    if takes(at_once) > free {
        let message = format!(
            "{at_once} nodes take {} vCPUs at once ({left}): ask Azure for more, or lower spec.worker.replicas and spec.compute.minNodes",
            takes(at_once)
        );
        preflight.stop(Check::Quota, STAGE, trouble(message));
    } else if takes(at_most) > free {
        let message = format!(
            "the pool stops growing at {} nodes instead of {}, as {at_most} more take {} vCPUs ({left}): ask Azure for more before they are needed, or lower spec.compute.maxNodes",
            u64::from(there) + free / cores.max(1),
            there + at_most,
            takes(at_most)
        );
        preflight.warn(Check::Quota, STAGE, trouble(message));
    }
}

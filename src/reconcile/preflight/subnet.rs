//! Free addresses of the subnet, against the nodes that are needed at once and those that the pool may grow to.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::{Check, Need, Needs, Preflight};
use crate::api::{ConditionType, Reason};
use crate::azure_resources::SubnetHave;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::observed::Observed;
use crate::reconcile::validate::ValidCluster;

const STAGE: ConditionType = ConditionType::NetworkReady;
/// Addresses of each subnet that Azure keeps for itself (contract section 11).
const KEPT_BY_AZURE: u64 = 5;

pub(super) fn look(
    preflight: &mut Preflight,
    cluster: &ValidCluster,
    observed: &Observed,
    needs: Needs,
) {
    let Some(network) = &cluster.place.network else {
        return;
    };
    let wanted = cluster
        .network
        .as_ref()
        .and_then(|network| network.subnet_address_prefix);
    let free = match observed.resource(&network.subnet) {
        Lookup::Present(body) => free(body),
        Lookup::Absent => wanted.map(|prefix| addresses(prefix).saturating_sub(KEPT_BY_AZURE)),
        Lookup::NotAsked | Lookup::Unavailable(_) => None,
    };
    let Some(free) = free else { return };
    let subnet = network.subnet.name();
    let trouble = |message: String| Trouble::passing(Reason::SubnetFull, message);
    let Need { at_most, there, .. } = needs.workers;
    let at_once = needs.workers.at_once + needs.head.at_once;
    let left_for_workers = free.saturating_sub(u64::from(needs.head.at_most));
    if u64::from(at_once) > free {
        let message = format!(
            "subnet {subnet} has {free} free addresses, and {at_once} nodes are needed at once: use a larger subnet, or lower spec.worker.replicas and spec.compute.minNodes"
        );
        preflight.stop(Check::Subnet, STAGE, trouble(message));
    } else if u64::from(at_most) > left_for_workers {
        let message = format!(
            "subnet {subnet} has {free} free addresses, so the pool stops growing at {} nodes instead of {}: use a larger subnet, or lower spec.compute.maxNodes",
            u64::from(there) + left_for_workers,
            there + at_most
        );
        preflight.warn(Check::Subnet, STAGE, trouble(message));
    }
}

/// Addresses that nobody has; `None` where Azure does not tell.
fn free(subnet: &Value) -> Option<u64> {
    let have: SubnetHave = serde_json::from_value(subnet.clone()).ok()?;
    let prefixes = have.properties.prefixes();
    let all: BTreeSet<Ipv4Net> = prefixes.filter_map(|prefix| prefix.parse().ok()).collect();
    if all.is_empty() {
        return None;
    }
    let used = subnet
        .pointer("/properties/ipConfigurations")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let free: u64 = all
        .into_iter()
        .map(|prefix| addresses(prefix).saturating_sub(KEPT_BY_AZURE))
        .sum();
    Some(free.saturating_sub(used as u64))
}

fn addresses(prefix: Ipv4Net) -> u64 {
    1 << (32 - u32::from(prefix.prefix_len()))
}

//! What is looked at before the first spend: ([`ValidCluster`], [`Observed`]) → [`Preflight`], with everything that was
//! found and not only the first of it. Pure.

mod quota;
mod subnet;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use super::observed::{Observed, Workspace};
use super::plan::CONNECTION;
use super::region::{Price, VmSize};
use super::validate::ValidCluster;
use crate::api::{ConditionType, Priority, Reason};
use crate::azure_resources::ownership::{owner_uid, tags_of};
use crate::azure_resources::{AzureKind as _, ComputeHave, Job, KINDS, Scene};
use crate::lookup::{Lookup, Trouble};
use crate::scaling::rest::is_suspended;

/// What was found before the first spend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    pub findings: Vec<Obstacle>,
    /// All that could be asked has answered: looking again tells nothing new.
    pub is_complete: bool,
    /// What the nodes of the pool will be, as far as the region tells.
    pub node: Option<Node>,
}

/// Something that stands in the way, or will when the cluster grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    pub check: Check,
    /// Nothing is made as long as it stands; otherwise a warning.
    pub stops: bool,
    pub stage: ConditionType,
    pub trouble: Trouble,
}

/// What was looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    Annotations,
    Credentials,
    Workspace,
    VmSize,
    Quota,
    Subnet,
    /// What the manifest names or its names collide with: network, pool, datasets, environment.
    Resource,
}

/// One node of the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub vm_size: String,
    pub location: String,
    pub priority: Priority,
    /// For an hour.
    pub price: Option<Price>,
}

/// Nodes that the manifest asks for and that are not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    /// What the pool keeps, or head and workers take.
    at_once: u32,
    /// What the pool may grow by.
    at_most: u32,
    there: u32,
}

impl Preflight {
    pub fn of(cluster: &ValidCluster, observed: &Observed) -> Self {
        let mut preflight = Self::default();
        if let Some(trouble) = &observed.credentials.trouble {
            preflight.stop(Check::Credentials, ConditionType::Ready, trouble.clone());
            return preflight;
        }
        let workspace = match workspace(cluster, observed) {
            Ok(Some(workspace)) => workspace,
            Ok(None) => return preflight,
            Err(trouble) => {
                preflight.stop(Check::Workspace, ConditionType::Ready, trouble);
                return preflight;
            }
        };
        let need = Need::of(cluster, observed);
        preflight.is_complete = true;
        if cluster.place.compute_is_ours {
            preflight.look_at_size(cluster, observed, workspace, need);
        }
        subnet::look(&mut preflight, cluster, observed, need);
        preflight.look_at_resources(cluster, observed);
        if has_spent(cluster, observed) {
            preflight.stop_no_more();
        }
        preflight
    }

    pub fn stops(&self) -> bool {
        self.findings.iter().any(|finding| finding.stops)
    }

    /// Nothing stands in the way, and nothing that is still to be looked at could.
    pub fn has_passed(&self) -> bool {
        self.is_complete && !self.stops()
    }

    fn stop(&mut self, check: Check, stage: ConditionType, trouble: Trouble) {
        self.find(check, true, stage, trouble);
    }

    fn warn(&mut self, check: Check, stage: ConditionType, trouble: Trouble) {
        self.find(check, false, stage, trouble);
    }

    fn find(&mut self, check: Check, stops: bool, stage: ConditionType, trouble: Trouble) {
        self.findings.push(Obstacle {
            check,
            stops,
            stage,
            trouble,
        });
    }

    /// What becomes of a resource that is there is told by its own condition.
    fn stop_no_more(&mut self) {
        self.findings
            .retain(|finding| finding.check != Check::Resource);
        for finding in &mut self.findings {
            finding.stops = false;
        }
    }

    fn look_at_size(
        &mut self,
        cluster: &ValidCluster,
        observed: &Observed,
        workspace: &Workspace,
        need: Need,
    ) {
        const STAGE: ConditionType = ConditionType::ComputeReady;
        let Some(wanted) = &cluster.compute.vm_size else {
            return;
        };
        let location = &workspace.location;
        let sizes = match &observed.vm_sizes {
            Lookup::Present(sizes) => sizes,
            Lookup::Unavailable(trouble) => {
                self.is_complete = false;
                let message = format!(
                    "the VM sizes of {location} cannot be listed: {}",
                    trouble.message
                );
                return self.warn(Check::VmSize, STAGE, passing(trouble, message));
            }
            Lookup::Absent | Lookup::NotAsked => {
                self.is_complete = false;
                return;
            }
        };
        let Some(size) = find(sizes, wanted) else {
            // An empty list is no answer: Azure says it too.
            if !sizes.is_empty() {
                let message = format!(
                    "{location} offers no VM size {wanted} to Azure ML: choose another spec.compute.vmSize (az ml compute list-sizes --location {location})"
                );
                self.stop(
                    Check::VmSize,
                    STAGE,
                    Trouble::lasting(Reason::VmSizeUnknown, message),
                );
            }
            return;
        };
        if let Some(unfit) = unfit(size, cluster.compute.priority) {
            let message = format!("VM size {wanted} in {location} {unfit}");
            self.stop(
                Check::VmSize,
                STAGE,
                Trouble::lasting(Reason::VmSizeUnknown, message),
            );
        }
        self.node = Some(Node {
            vm_size: wanted.clone(),
            location: location.clone(),
            priority: cluster.compute.priority,
            price: size.hourly_price(cluster.compute.priority),
        });
        quota::look(self, cluster, observed, size, need);
    }

    /// Whatever a kind says stands in its way, as if everything before it were there.
    fn look_at_resources(&mut self, cluster: &ValidCluster, observed: &Observed) {
        let scene = Scene {
            cluster,
            observed,
            lineup: None,
        };
        let mut all: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        all.insert(CONNECTION);
        for kind in KINDS.iter().filter(|kind| kind.name != Job::NAME) {
            for blocked in (kind.plan)(&scene, &all).blocked {
                // Whoever owns the far side of a peering may take days; the pool does not wait for it.
                if blocked.trouble.reason == Reason::PeeringPending {
                    continue;
                }
                self.stop(Check::Resource, blocked.stage, blocked.trouble);
            }
        }
    }
}

/// The workspace, nothing while it has not been looked at, or why it is of no use.
pub(super) fn workspace<'a>(
    cluster: &ValidCluster,
    observed: &'a Observed,
) -> Result<Option<&'a Workspace>, Trouble> {
    let id = &cluster.place.workspace;
    let workspace = match &observed.workspace {
        Lookup::Present(workspace) => workspace,
        Lookup::Unavailable(trouble) => return Err(trouble.clone()),
        Lookup::NotAsked => return Ok(None),
        Lookup::Absent => {
            let message = format!(
                "workspace {} does not exist in resource group {}: create it, or correct spec.workspace",
                id.name(),
                id.resource_group().unwrap_or_default()
            );
            return Err(Trouble::lasting(Reason::WorkspaceNotFound, message));
        }
    };
    if workspace.isolation_mode != "Disabled" {
        let message = format!(
            "workspace {} has a managed network ({}): its pools lie in Microsoft's own network, where no scheduler can be reached; use a workspace without one",
            id.name(),
            workspace.isolation_mode
        );
        return Err(Trouble::lasting(Reason::ManagedNetwork, message));
    }
    Ok(Some(workspace))
}

/// Nodes may be running already: nothing is taken from them any more.
fn has_spent(cluster: &ValidCluster, observed: &Observed) -> bool {
    let place = &cluster.place;
    if place.compute_is_ours {
        return matches!(
            observed.resource(&place.compute),
            Lookup::Present(pool) if owner_uid(&tags_of(pool)) == Some(cluster.owner.uid.as_str())
        );
    }
    observed.resources.iter().any(|(id, found)| {
        place.identity.parse_job_id(id.name()).is_some() && found.present().is_some()
    })
}

fn find<'a>(sizes: &'a [VmSize], wanted: &str) -> Option<&'a VmSize> {
    sizes
        .iter()
        .find(|size| size.name.eq_ignore_ascii_case(wanted))
}

/// What a size that is offered cannot be used for.
fn unfit(size: &VmSize, priority: Priority) -> Option<&'static str> {
    let for_pools = |kinds: &Vec<String>| {
        kinds.is_empty()
            || kinds
                .iter()
                .any(|kind| kind.eq_ignore_ascii_case("AmlCompute"))
    };
    if !size.supported_compute_types.as_ref().is_none_or(for_pools) {
        return Some("cannot be used for a pool (AmlCompute): choose another spec.compute.vmSize");
    }
    let refused = priority == Priority::LowPriority && size.low_priority_capable == Some(false);
    refused.then_some(
        "cannot be had at low priority: choose another spec.compute.vmSize, or priority Dedicated",
    )
}

fn passing(trouble: &Trouble, message: String) -> Trouble {
    Trouble::passing(trouble.reason, message)
}

impl Need {
    fn of(cluster: &ValidCluster, observed: &Observed) -> Self {
        let there = match observed.resource(&cluster.place.compute) {
            Lookup::Present(pool) => serde_json::from_value::<ComputeHave>(pool.clone())
                .ok()
                .and_then(|pool| pool.properties.properties?.current_node_count)
                .unwrap_or(0),
            Lookup::Absent | Lookup::NotAsked | Lookup::Unavailable(_) => 0,
        };
        Self {
            at_once: nodes_at_once(cluster, observed).saturating_sub(there),
            at_most: cluster.compute.max_nodes.saturating_sub(there),
            there,
        }
    }
}

/// What the pool keeps, or head and workers take: none while the cluster rests, and of an autoscaled one the size that it
/// starts with.
pub(super) fn nodes_at_once(cluster: &ValidCluster, observed: &Observed) -> u32 {
    if is_suspended(cluster, observed) {
        return 0;
    }
    let replicas = cluster.worker.replicas;
    let workers = cluster.autoscaling.map_or(replicas, |autoscaling| {
        replicas
            .max(autoscaling.min_replicas)
            .min(autoscaling.max_replicas)
    });
    cluster.compute.min_nodes.max(1 + workers)
}

impl Check {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Annotations => "annotations",
            Self::Credentials => "credentials",
            Self::Workspace => "workspace",
            Self::VmSize => "vmSize",
            Self::Quota => "quota",
            Self::Subnet => "subnet",
            Self::Resource => "resource",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.stops { "stop" } else { "warning" };
        write!(
            f,
            "{weight}: {}: {}",
            self.check.as_str(),
            self.trouble.message
        )
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, location) = (&self.vm_size, &self.location);
        match &self.price {
            Some(Price { amount, currency }) => {
                write!(
                    f,
                    "a node ({size} in {location}) costs {amount} {currency} an hour"
                )
            }
            None => write!(f, "Azure tells no price of {size} in {location}"),
        }
    }
}

/// All that was found, in one text; what a node costs where nothing stands in the way.
impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.findings.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{finding}")?;
        }
        match &self.node {
            Some(node) if self.findings.is_empty() => write!(f, "{node}"),
            _ => Ok(()),
        }
    }
}

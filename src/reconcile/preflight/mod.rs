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
use crate::azure::ResourceId;
use crate::azure_resources::ownership::{owner_uid, tags_of};
use crate::azure_resources::{AzureKind as _, ComputeHave, Job, KINDS, Machine, Scene};
use crate::lookup::{Lookup, Trouble};
use crate::scaling::rest::is_suspended;

const STAGE: ConditionType = ConditionType::ComputeReady;

/// What was found before the first spend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    pub findings: Vec<Obstacle>,
    /// All that could be asked has answered: looking again tells nothing new.
    pub is_complete: bool,
    /// What the nodes of the pool will be, as far as the region tells.
    pub node: Option<Node>,
    /// What the head's will be, where it has a pool of its own.
    pub head: Option<Node>,
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

/// Nodes that the manifest asks for and that are not there yet, pool by pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    workers: Need,
    /// Nothing where the head has no pool of its own.
    head: Need,
}

/// Nodes of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    /// What the pool keeps, or its jobs take.
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
        let needs = Needs::of(cluster, observed);
        preflight.is_complete = true;
        preflight.look_at_sizes(cluster, observed, workspace, needs);
        subnet::look(&mut preflight, cluster, observed, needs);
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

    fn look_at_sizes(
        &mut self,
        cluster: &ValidCluster,
        observed: &Observed,
        workspace: &Workspace,
        needs: Needs,
    ) {
        let place = &cluster.place;
        let wanted = place.own_pools().filter_map(|pool| {
            let Machine { vm_size, priority } = Machine::asked_for(cluster, pool);
            Some((pool, vm_size?, priority))
        });
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            return;
        }
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
        let node = |vm_size: &str, priority, size: &VmSize| Node {
            vm_size: vm_size.to_owned(),
            location: location.clone(),
            priority,
            price: size.hourly_price(priority),
        };
        let mut pools = Vec::new();
        for (pool, vm_size, priority) in wanted {
            let is_of_workers = *pool == place.compute;
            let field = if is_of_workers {
                "spec.compute.vmSize"
            } else {
                "spec.scheduler.compute.vmSize"
            };
            let Some(size) = self.look_at_size(sizes, &vm_size, priority, location, field) else {
                continue;
            };
            let node = node(&vm_size, priority, size);
            if is_of_workers {
                self.node = Some(node);
            } else {
                self.head = Some(node);
            }
            pools.push(quota::Pool {
                size,
                priority,
                need: needs.of_pool(cluster, pool),
                is_of_workers,
            });
        }
        // What somebody else's costs is told where it was seen.
        if let Some(theirs) = place.head_compute.as_ref().filter(|head| !head.is_ours) {
            let machine = Machine::of(cluster, observed, &theirs.id);
            let size = machine
                .vm_size
                .and_then(|name| Some((find(sizes, &name)?, name)));
            self.head = size.map(|(size, name)| node(&name, machine.priority, size));
        }
        if !pools.is_empty() {
            quota::look(self, cluster, observed, &pools);
        }
    }

    /// The size, where the region offers it.
    fn look_at_size<'a>(
        &mut self,
        sizes: &'a [VmSize],
        wanted: &str,
        priority: Priority,
        location: &str,
        field: &str,
    ) -> Option<&'a VmSize> {
        let unknown = |message| Trouble::lasting(Reason::VmSizeUnknown, message);
        let Some(size) = find(sizes, wanted) else {
            // An empty list is no answer: Azure says it too.
            if !sizes.is_empty() {
                let message = format!(
                    "{location} offers no VM size {wanted} to Azure ML: choose another {field} (az ml compute list-sizes --location {location})"
                );
                self.stop(Check::VmSize, STAGE, unknown(message));
            }
            return None;
        };
        if let Some((unfit, or)) = unfit(size, priority) {
            let message =
                format!("VM size {wanted} in {location} {unfit}: choose another {field}{or}");
            self.stop(Check::VmSize, STAGE, unknown(message));
        }
        Some(size)
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
        return place.own_pools().any(|pool| {
            matches!(
                observed.resource(pool),
                Lookup::Present(pool) if owner_uid(&tags_of(pool)) == Some(cluster.owner.uid.as_str())
            )
        });
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

/// What a size that is offered cannot be used for, and a way out beside another size.
fn unfit(size: &VmSize, priority: Priority) -> Option<(&'static str, &'static str)> {
    let for_pools = |kinds: &Vec<String>| {
        kinds.is_empty()
            || kinds
                .iter()
                .any(|kind| kind.eq_ignore_ascii_case("AmlCompute"))
    };
    if !size.supported_compute_types.as_ref().is_none_or(for_pools) {
        return Some(("cannot be used for a pool (AmlCompute)", ""));
    }
    let refused = priority == Priority::LowPriority && size.low_priority_capable == Some(false);
    refused.then_some(("cannot be had at low priority", ", or priority Dedicated"))
}

fn passing(trouble: &Trouble, message: String) -> Trouble {
    Trouble::passing(trouble.reason, message)
}

impl Needs {
    fn of(cluster: &ValidCluster, observed: &Observed) -> Self {
        let head = cluster.place.head_compute.as_ref().map(|head| {
            let now = head_nodes_at_once(cluster, observed);
            Need::of(observed, &head.id, now, 1)
        });
        Self {
            workers: Need::of(
                observed,
                &cluster.place.compute,
                nodes_at_once(cluster, observed),
                cluster.compute.max_nodes,
            ),
            head: head.unwrap_or_default(),
        }
    }

    fn of_pool(self, cluster: &ValidCluster, pool: &ResourceId) -> Need {
        if *pool == cluster.place.compute {
            self.workers
        } else {
            self.head
        }
    }
}

impl Need {
    /// `now` and `most`: nodes that the pool is to have.
    fn of(observed: &Observed, pool: &ResourceId, now: u32, most: u32) -> Self {
        let there = match observed.resource(pool) {
            Lookup::Present(pool) => serde_json::from_value::<ComputeHave>(pool.clone())
                .ok()
                .and_then(|pool| pool.properties.properties?.current_node_count)
                .unwrap_or(0),
            Lookup::Absent | Lookup::NotAsked | Lookup::Unavailable(_) => 0,
        };
        Self {
            at_once: now.saturating_sub(there),
            at_most: most.saturating_sub(there),
            there,
        }
    }
}

/// Nodes of the head's own pool.
pub(super) fn head_nodes_at_once(cluster: &ValidCluster, observed: &Observed) -> u32 {
    let has_a_pool = cluster.place.head_compute.is_some();
    u32::from(has_a_pool && !is_suspended(cluster, observed))
}

/// What the workers' pool keeps, or head and workers take of it: none while the cluster rests, and of an autoscaled one the size that it
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
    let taken = cluster.head_nodes() + workers;
    cluster.compute.min_nodes.max(taken)
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

impl Node {
    /// What one costs; `what` is `a node`, or whose it is.
    pub fn told(&self, what: &str) -> String {
        let (size, location) = (&self.vm_size, &self.location);
        match &self.price {
            Some(Price { amount, currency }) => {
                format!("{what} ({size} in {location}) costs {amount} {currency} an hour")
            }
            None => format!("Azure tells no price of {size} in {location}"),
        }
    }
}

/// What a node costs, and the head's where it has another pool.
pub(super) fn nodes_told(node: &Node, head: Option<&Node>) -> Vec<String> {
    match head {
        None => vec![node.told("a node")],
        Some(head) => vec![node.told("a worker's node"), head.told("the head's node")],
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
            Some(node) if self.findings.is_empty() => {
                f.write_str(&nodes_told(node, self.head.as_ref()).join("; "))
            }
            _ => Ok(()),
        }
    }
}

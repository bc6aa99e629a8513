//! The pools of virtual machines: `spec.compute`, and `spec.scheduler.compute` for the head alone.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CreationPolicy;
use super::rules::{
    forbidden, immutable, immutable_creation_policy, immutable_if_given, invalid, pool_name,
    pool_name_end, required, vm_size,
};

/// The AmlCompute pool of a cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = required(
        ".vmSize",
        "self.creationPolicy != 'Create' || has(self.vmSize)",
        "vmSize is required with creationPolicy Create: give a size that the workspace's region offers, such as STANDARD_DS13_V2",
    ),
    validation = forbidden(
        ".vmSize",
        "self.creationPolicy != 'UseExisting' || !has(self.vmSize)",
        "vmSize must be left out with creationPolicy UseExisting: the pool has its size already",
    ),
    validation = forbidden(
        ".identity",
        "self.creationPolicy != 'UseExisting' || !has(self.identity)",
        "identity must be left out with creationPolicy UseExisting: the pool has its identities already",
    ),
    validation = required(
        ".name",
        "self.creationPolicy == 'Create' || has(self.name)",
        "name is required with creationPolicy UseExisting and Adopt: name the pool",
    ),
    validation = forbidden(
        ".creationPolicy",
        "self.creationPolicy != 'UseExisting' || (self.priority == 'Dedicated' && self.minNodes == 0 && self.maxNodes == 100 && self.idleSecondsBeforeScaleDown == 120)",
        "priority, minNodes, maxNodes and idleSecondsBeforeScaleDown do nothing with creationPolicy UseExisting, as the pool is never changed: leave them out",
    ),
    validation = invalid(
        ".minNodes",
        "self.minNodes <= self.maxNodes",
        "minNodes must not be greater than maxNodes: lower minNodes or raise maxNodes",
    ),
    validation = immutable_if_given("name"),
    validation = immutable_if_given("vmSize"),
    validation = immutable_if_given("identity"),
    validation = immutable("priority"),
    validation = immutable_creation_policy(),
)]
pub struct Compute {
    /// The pool's name in the workspace. Left out, it is derived from the UID of the
    /// DaskCluster. Required with creationPolicy UseExisting and Adopt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    #[x_kube(validation = pool_name(), validation = pool_name_end())]
    pub name: Option<String>,

    /// The size of each virtual machine, such as STANDARD_DS13_V2. Required with creationPolicy
    /// Create; with Adopt the pool must have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = vm_size())]
    pub vm_size: Option<String>,

    /// Dedicated machines, or LowPriority ones, which are cheaper and which Azure may take back
    /// at any time.
    #[serde(default)]
    pub priority: Priority,

    /// Who the nodes are to Azure. The jobs read data as the first identity of the list. Left out,
    /// they read as whoever submitted them, the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ComputeIdentity>,

    /// How many nodes the pool keeps even when nothing runs.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub min_nodes: u32,

    /// How many nodes the pool grows to at most. The cluster takes 1 + worker.replicas of them, or one less where
    /// scheduler.compute gives the head a pool of its own.
    #[serde(default = "Compute::default_max_nodes")]
    #[schemars(range(min = 1, max = 100))]
    pub max_nodes: u32,

    /// How many seconds a node idles before the pool gives it back.
    #[serde(default = "Compute::default_idle_seconds_before_scale_down")]
    #[schemars(range(min = 60, max = 86400))]
    pub idle_seconds_before_scale_down: u32,

    /// Create makes the pool and removes it with the cluster; UseExisting uses the pool of that
    /// name and never changes it; Adopt takes over the pool of that name, which then is as if made.
    #[serde(default)]
    pub creation_policy: CreationPolicy,
}

impl Compute {
    fn default_max_nodes() -> u32 {
        100
    }

    fn default_idle_seconds_before_scale_down() -> u32 {
        120
    }
}

/// A pool for the head alone: Dedicated nodes, none or one of them, in the subnet of `spec.compute`'s pool and with its
/// identities, so that Azure may take workers away and not the scheduler.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = required(
        ".name",
        "self.creationPolicy == 'Create' || has(self.name)",
        "name is required with creationPolicy UseExisting: name the pool that the head is to run on",
    ),
    validation = forbidden(
        ".vmSize",
        "self.creationPolicy == 'Create' || !has(self.vmSize)",
        "vmSize must be left out with creationPolicy UseExisting: the head's pool has its size already",
    ),
)]
pub struct HeadCompute {
    /// The pool's name in the workspace. Left out, it is derived from the UID of the DaskCluster. Required with
    /// creationPolicy UseExisting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    #[x_kube(validation = pool_name(), validation = pool_name_end())]
    pub name: Option<String>,

    /// The size of the head's virtual machine. Left out, that of spec.compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = vm_size())]
    pub vm_size: Option<String>,

    /// Create makes the pool and removes it with the cluster; UseExisting uses the pool of that name, which must be
    /// Dedicated and lie in the workers' subnet, and never changes it.
    #[serde(default)]
    pub creation_policy: HeadComputePolicy,
}

/// Whether the head's pool is made by the operator or used as it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeadComputePolicy {
    /// Made by the operator, and removed with the DaskCluster. One of that name that somebody
    /// else made is refused.
    #[default]
    Create,
    /// Must exist; it is never changed and never removed.
    UseExisting,
}

/// The managed identities of a pool.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComputeIdentity {
    /// ARM ids of user-assigned managed identities.
    #[schemars(length(min = 1, max = 10), inner(length(max = 360)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = (
            "self.all(id, id.matches(r'(?i)^/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/?#]{1,90}/providers/Microsoft[.]ManagedIdentity/userAssignedIdentities/[a-z0-9][a-z0-9_-]{2,127}$'))",
            "userAssigned must hold ARM ids such as /subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>",
        ),
    )]
    pub user_assigned: Vec<String>,
}

/// What Azure may do with a node while it is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// A node stays until the pool gives it back.
    #[default]
    Dedicated,
    /// Azure may take a node away at any time.
    LowPriority,
}

//! The pool of virtual machines: `spec.compute`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CreationPolicy;

/// The AmlCompute pool of a cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// The pool's name in the workspace. Left out, it is derived from the UID of the
    /// DaskCluster. Required with creationPolicy UseExisting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// The size of each virtual machine, such as STANDARD_DS13_V2. Required with creationPolicy
    /// Create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_size: Option<String>,

    /// Dedicated machines, or LowPriority ones, which are cheaper and which Azure may take back
    /// at any time.
    #[serde(default)]
    pub priority: Priority,

    /// How many nodes the pool keeps even when nothing runs.
    #[serde(default)]
    pub min_nodes: u32,

    /// How many nodes the pool grows to at most. The cluster takes 1 + worker.replicas of them.
    #[serde(default = "Compute::default_max_nodes")]
    pub max_nodes: u32,

    /// How many seconds a node idles before the pool gives it back.
    #[serde(default = "Compute::default_idle_seconds_before_scale_down")]
    pub idle_seconds_before_scale_down: u32,

    /// Create makes the pool and removes it with the cluster; UseExisting uses the pool of that
    /// name and never changes it.
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

/// What Azure may do with a node while it is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// A node stays until the pool gives it back.
    #[default]
    Dedicated,
    /// Azure may take a node away at any time.
    LowPriority,
}

//! How many workers follow the work: `spec.autoscaling`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules::invalid;

/// Lets the number of worker nodes follow the work that the scheduler has. The defaults fit nodes that take minutes to
/// boot. `worker.replicas` is the size to start with, and the present one stands in `status.autoscaling`.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = invalid(
    ".minReplicas",
    "self.minReplicas <= self.maxReplicas",
    "autoscaling.minReplicas must not be greater than autoscaling.maxReplicas: lower minReplicas or raise maxReplicas",
))]
pub struct Autoscaling {
    /// How many worker nodes stay when there is no work.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub min_replicas: u32,

    /// How many worker nodes there are at most. With the head, unless it has a pool of its own, they must fit into
    /// compute.maxNodes.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: u32,

    /// In how many seconds the work that is there should be done: workers are asked for until it would be. A node costs
    /// about seven minutes beside its work, for booting and for the time until it is given back: a smaller number is
    /// faster and dearer, a greater one slower and cheaper.
    #[serde(default = "Autoscaling::default_target_duration_seconds")]
    #[schemars(range(min = 60, max = 86400))]
    pub target_duration_seconds: u32,

    /// For how many seconds more workers must have been of use before they are asked for.
    #[serde(default = "Autoscaling::default_scale_up_stabilization_seconds")]
    #[schemars(range(max = 3600))]
    pub scale_up_stabilization_seconds: u32,

    /// For how many seconds fewer workers must have been enough before any is let go. The pool then keeps the node for
    /// another compute.idleSecondsBeforeScaleDown. Where both together are less than a node takes to boot, nodes are paid
    /// for again that were just given back.
    #[serde(default = "Autoscaling::default_scale_down_stabilization_seconds")]
    #[schemars(range(max = 86400))]
    pub scale_down_stabilization_seconds: u32,

    /// How many workers may be on their way at once, from being asked for until they have registered.
    #[serde(default = "Autoscaling::default_max_scale_up_step")]
    #[schemars(range(min = 1, max = 99))]
    pub max_scale_up_step: u32,

    /// How many of the workers may be let go within a minute, in percent of those that are there, but at least one.
    #[serde(default = "Autoscaling::default_max_scale_down_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub max_scale_down_percent: u32,
}

impl Autoscaling {
    fn default_target_duration_seconds() -> u32 {
        900
    }

    fn default_scale_up_stabilization_seconds() -> u32 {
        30
    }

    fn default_scale_down_stabilization_seconds() -> u32 {
        120
    }

    fn default_max_scale_up_step() -> u32 {
        20
    }

    fn default_max_scale_down_percent() -> u32 {
        50
    }

    /// All defaults, between these bounds.
    pub fn between(min_replicas: u32, max_replicas: u32) -> Self {
        Self {
            min_replicas,
            max_replicas,
            target_duration_seconds: Self::default_target_duration_seconds(),
            scale_up_stabilization_seconds: Self::default_scale_up_stabilization_seconds(),
            scale_down_stabilization_seconds: Self::default_scale_down_stabilization_seconds(),
            max_scale_up_step: Self::default_max_scale_up_step(),
            max_scale_down_percent: Self::default_max_scale_down_percent(),
        }
    }
}

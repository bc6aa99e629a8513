//! The worker nodes beside the head: `spec.worker`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::EnvVar;

/// The worker nodes, one Dask worker each.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// How many worker nodes run beside the head, so that the cluster takes 1 + replicas nodes.
    #[serde(default = "Worker::default_replicas")]
    pub replicas: u32,

    /// How many threads each worker runs. Left out, the node's cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,

    /// How much memory each worker may use, such as 48Gi. Left out, the node's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Quantity>,

    /// Environment variables of the workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

impl Worker {
    fn default_replicas() -> u32 {
        1
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            replicas: Self::default_replicas(),
            threads: None,
            memory_limit: None,
            env: Vec::new(),
        }
    }
}

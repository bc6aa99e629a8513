//! The worker nodes beside the head: `spec.worker`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::EnvVar;
use super::schema::quantity;

/// The worker nodes, one Dask worker each.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// How many worker nodes run beside the head, so that the cluster takes 1 + replicas nodes. 100 only where the head has
    /// a pool of its own.
    #[serde(default = "Worker::default_replicas")]
    #[schemars(range(max = 100))]
    pub replicas: u32,

    /// How many threads each worker runs. Left out, the node's cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u32>,

    /// How much memory each worker may use, such as 48Gi. Left out, the node's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = (
        "type(self) == int ? int(self) >= 67108864 : isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('64Mi')) >= 0",
        "worker.memoryLimit must be a quantity of at least 64Mi, such as 48Gi",
    ))]
    pub memory_limit: Option<Quantity>,

    /// Environment variables of the workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,

    /// How many seconds a worker may take from the start of its job until it has registered; then its job is ended, and
    /// another one takes its place.
    #[serde(default = "Worker::default_start_timeout_seconds")]
    #[schemars(range(min = 60, max = 86400))]
    pub start_timeout_seconds: u32,

    /// For how many seconds a worker that is to go is kept because its data fits nowhere else; then it ends, and the data
    /// is lost. Left out, it is kept until the data fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 604_800))]
    pub scale_down_grace_seconds: Option<u32>,
}

impl Worker {
    fn default_replicas() -> u32 {
        1
    }

    fn default_start_timeout_seconds() -> u32 {
        1800
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            replicas: Self::default_replicas(),
            threads: None,
            memory_limit: None,
            env: Vec::new(),
            start_timeout_seconds: Self::default_start_timeout_seconds(),
            scale_down_grace_seconds: None,
        }
    }
}

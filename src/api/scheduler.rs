//! The head node: `spec.scheduler`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules::immutable_if_given;
use super::{EnvVar, HeadCompute};

/// The head node, which runs the Dask scheduler.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = immutable_if_given("compute"))]
pub struct Scheduler {
    /// A pool of Dedicated nodes for the head alone, so that the loss of a LowPriority node never takes the scheduler. Left
    /// out, the head runs on a node of spec.compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<HeadCompute>,

    /// Whether the head node runs a Dask worker beside the scheduler.
    #[serde(default = "Scheduler::default_run_worker")]
    pub run_worker: bool,

    /// Whether the head node runs JupyterLab beside the scheduler.
    #[serde(default)]
    pub jupyter: bool,

    /// Environment variables of the scheduler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,

    /// How many seconds the head may take from the start of its job until the scheduler
    /// answers, and before that from its submission until it starts.
    #[serde(default = "Scheduler::default_start_timeout_seconds")]
    #[schemars(range(min = 60, max = 86400))]
    pub start_timeout_seconds: u32,
}

impl Scheduler {
    fn default_run_worker() -> bool {
        true
    }

    fn default_start_timeout_seconds() -> u32 {
        1800
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            compute: None,
            run_worker: Self::default_run_worker(),
            jupyter: false,
            env: Vec::new(),
            start_timeout_seconds: Self::default_start_timeout_seconds(),
        }
    }
}

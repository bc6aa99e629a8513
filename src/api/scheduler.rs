//! The head node: `spec.scheduler`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::EnvVar;

/// The head node, which runs the Dask scheduler.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
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
            run_worker: Self::default_run_worker(),
            jupyter: false,
            env: Vec::new(),
            start_timeout_seconds: Self::default_start_timeout_seconds(),
        }
    }
}

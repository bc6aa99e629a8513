//! Environment variables of head and workers: `spec.scheduler.env`, `spec.worker.env`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An environment variable with a value that everyone who may read the workspace can read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// The name of the variable.
    pub name: String,

    /// Its value. Left out, the empty string. Job bodies can be read by everyone who may read
    /// the workspace, so this is no place for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

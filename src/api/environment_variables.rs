//! Environment variables of head and workers: `spec.scheduler.env`, `spec.worker.env`.

use kube::KubeSchema;
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{forbidden, invalid};

/// An environment variable with a value that everyone who may read the workspace can read.
///
/// Dask reads what follows `DASK_` without regard to case, so the reserved names are compared
/// likewise. A parent of a reserved setting is reserved too: JSON in it sets the same.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = declare_value_from)]
#[x_kube(
    validation = invalid(
        ".name",
        "self.name.matches(r'^[A-Za-z_][A-Za-z0-9_]{0,255}$')",
        "the name of an environment variable must be letters, digits and _, and not start with a digit",
    ),
    validation = forbidden(
        ".name",
        "!self.name.matches(r'^(AZUREML_|AZURE_ML_|AZ_BATCH|MLFLOW_|AZURE_SIMULATOR_|DASK_(?i:AZUREML_))') && !self.name.matches(r'^DASK_(?i:DISTRIBUTED(__(SCHEDULER(__(HTTP(__ROUTES)?|WORKER_TTL))?|WORKER|NANNY))?|.*__PRELOAD|INTERNAL_INHERIT_CONFIG)$')",
        "this environment variable is set by the operator or by Azure Machine Learning: choose another name, or a setting of Dask below the reserved one",
    ),
    validation = forbidden(
        ".name",
        "!self.name.matches(r'^DASK_(?i:(ROOT_)?CONFIG)$')",
        "a file of Dask settings could turn the operator's own around: give each setting by a variable of its own, such as DASK_DISTRIBUTED__ADMIN__LOG_LENGTH",
    ),
    validation = invalid(
        ".value",
        r"!has(self.value) || !self.value.matches(r'\x00')",
        "the value of an environment variable must not hold a NUL character",
    ),
    validation = invalid(
        ".value",
        "!has(self.value) || !self.value.contains('${{')",
        "the value of an environment variable must not hold ${{, which Azure Machine Learning would evaluate",
    ),
    validation = forbidden(
        ".valueFrom",
        "!has(self.valueFrom)",
        "valueFrom is not supported, as job bodies can be read by everyone who may read the workspace: let the code fetch secrets by identity or from Key Vault, and give plain values by value",
    ),
)]
pub struct EnvVar {
    /// The name of the variable.
    #[schemars(length(max = 256))]
    pub name: String,

    /// Its value. Left out, the empty string. Job bodies can be read by everyone who may read
    /// the workspace, so this is no place for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
}

/// Declares `valueFrom`, which Pods have, so that its rule can say why it is refused here; an
/// unknown field would be refused without a reason.
fn declare_value_from(schema: &mut Schema) {
    if let Some(properties) = schema
        .ensure_object()
        .get_mut("properties")
        .and_then(|properties| properties.as_object_mut())
    {
        properties.insert(
            "valueFrom".to_owned(),
            json!({
                "description": "Not supported: secrets come by identity or from Key Vault.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            }),
        );
    }
}

//! What the containers run in: `spec.environment`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Either an image, a conda file or both, from which an environment is registered; or the name
/// and version of one that is registered already.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// A container image with sh and python on the PATH, and with Dask's distributed unless
    /// condaFile brings it. Left out beside a condaFile, the operator's default base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// A conda environment file, as YAML text, that Azure Machine Learning builds on top of the
    /// image (once, 10 to 20 minutes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conda_file: Option<String>,

    /// The name of an environment that is registered in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

//! What the containers run in: `spec.environment`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules::{asset_name, asset_version};

/// Either an image, a conda file or both, from which an environment is registered; or the name
/// and version of one that is registered already.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "(has(self.image) || has(self.condaFile)) != (has(self.name) || has(self.version))",
        "environment must hold either image, condaFile or both, or else name and version of a registered environment",
    ),
    validation = (
        "has(self.name) == has(self.version)",
        "environment.name and environment.version must be given together",
    ),
)]
pub struct Environment {
    /// A container image with sh and python on the PATH, and with Dask's distributed unless
    /// condaFile brings it. Left out beside a condaFile, the operator's default base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = (
        r"self.matches(r'^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*([+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$')",
        "environment.image must be an image reference, such as ghcr.io/dask/dask:2025.1.0, without a scheme and without spaces",
    ))]
    pub image: Option<String>,

    /// A conda environment file, as YAML text, that Azure Machine Learning builds on top of the
    /// image (once, 10 to 20 minutes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub conda_file: Option<String>,

    /// The name of an environment that is registered in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = asset_name("environment.name"))]
    pub name: Option<String>,

    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = asset_version())]
    pub version: Option<String>,
}

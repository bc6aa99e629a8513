//! Data that every node can read: `spec.datasets`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A data asset of the workspace, as an input of every job of the cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// The name of the data asset. On every node DASK_AZUREML_DATASET_<NAME> (upper case, - as
    /// _) holds where it is.
    pub name: String,

    /// The version of the data asset. Required without a uri; with one, "1" if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// What the asset is: a folder, a file, or a folder that holds an MLTable file.
    #[serde(default, rename = "type")]
    pub type_: DatasetType,

    /// Where the data lies. Given, the operator registers the asset if it is not there; left
    /// out, the asset of that name and version must be registered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,

    /// How a node reads it: Mount streams on demand, Download copies it first, Direct passes
    /// the uri on.
    #[serde(default)]
    pub mode: DatasetMode,

    /// The path under which every node finds it, such as /mnt/noaa.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The kind of a data asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatasetType {
    /// A folder.
    #[default]
    UriFolder,
    /// A single file.
    UriFile,
    /// A folder that holds an `MLTable` file.
    #[serde(rename = "MLTable")]
    MlTable,
}

/// How a node reads a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatasetMode {
    /// Mounted read only; what is read is streamed.
    #[default]
    Mount,
    /// Copied onto the node before the job starts.
    Download,
    /// Passed on as a URI; nothing is mounted.
    Direct,
}

//! Data that every node can read: `spec.datasets`.

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{asset_name, asset_version, forbidden, required};

/// A data asset of the workspace, as an input of every job of the cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = required(
        ".version",
        "has(self.uri) || has(self.version)",
        "a dataset needs its version or its uri: without a uri, name and version of a data asset that is registered already",
    ),
    validation = forbidden(
        ".path",
        "self.mode != 'Direct' || !has(self.path)",
        "path must be left out with mode Direct, which mounts nothing: the variable DASK_AZUREML_DATASET_<NAME> holds the uri",
    ),
)]
pub struct Dataset {
    /// The name of the data asset. On every node DASK_AZUREML_DATASET_<NAME> (upper case, - as
    /// _) holds where it is.
    #[schemars(length(max = 255))]
    #[x_kube(validation = asset_name("a dataset's name"))]
    pub name: String,

    /// The version of the data asset. Required without a uri; with one, "1" if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = asset_version())]
    pub version: Option<String>,

    /// What the asset is: a folder, a file, or a folder that holds an MLTable file.
    #[serde(default, rename = "type")]
    pub type_: DatasetType,

    /// Where the data lies. Given, the operator registers the asset if it is not there; left
    /// out, the asset of that name and version must be registered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = (
            r"self.matches(r'^(azureml|abfss|wasbs|https)://[^\p{Cc}]+$')",
            "uri must start with azureml://, abfss://, wasbs:// or https:// (a registered asset azureml:name:version is written as name and version, without a uri)",
        ),
        validation = (
            "!self.matches(r'^(abfss|wasbs)://') || self.matches(r'^(abfss|wasbs)://[^@:/?#]+@[^@:/?#]+(/|$)')",
            "uri of an abfss or wasbs dataset must be scheme://container@account.host/path, without a password or port",
        ),
        validation = (
            "!self.matches(r'^(azureml|https)://') || self.matches(r'^(azureml|https)://[^@/?#]+([/?#]|$)')",
            "uri of an azureml or https dataset must not hold a user or password before its path: use a datastore or an identity",
        ),
        validation = (
            r"!self.matches(r'(?is)\?(.*[&;])?sig=')",
            "uri must not hold a SAS signature (sig=), as everyone who may read the DaskCluster could read it: use a datastore or an identity",
        ),
        validation = (
            "!self.contains('${{')",
            "uri must not hold ${{, which Azure Machine Learning would evaluate",
        ),
    )]
    pub uri: Option<String>,

    /// How a node reads it: Mount streams on demand, Download copies it first, Direct passes
    /// the uri on.
    #[serde(default)]
    pub mode: DatasetMode,

    /// The path under which every node finds it, such as /mnt/noaa. Not with mode Direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(
        validation = (
            r"self.matches(r'^(/([A-Za-z0-9_-][A-Za-z0-9._-]*|\.[A-Za-z0-9_-][A-Za-z0-9._-]*|\.\.[A-Za-z0-9._-]+))+$')",
            "path must be an absolute path, such as /mnt/noaa, of letters, digits and ._- without an empty, . or .. segment and without / at the end",
        ),
        validation = (
            "!self.matches(r'^/(proc|sys|dev|etc|usr|bin|sbin|lib|boot)(/|$)')",
            "path must not be one of /proc /sys /dev /etc /usr /bin /sbin /lib /boot nor under one: take one under /mnt",
        ),
    )]
    pub path: Option<String>,
}

impl Dataset {
    /// Every dataset has an environment variable of its own.
    pub(super) fn distinct_variables() -> Rule {
        Rule::from((
            "self.all(one, self.exists_one(other, other.name.upperAscii().replace('-', '_') == one.name.upperAscii().replace('-', '_')))",
            "two datasets must not share the variable DASK_AZUREML_DATASET_<NAME> (upper case, - as _): rename one of them",
        ))
    }

    /// A link can be made at no path that is itself another link, or lies under one.
    pub(super) fn distinct_paths() -> Rule {
        Rule::from((
            "self.all(one, !has(one.path) || self.exists_one(other, has(other.path) && (one.path + '/').startsWith(other.path + '/')))",
            "the path of a dataset must be neither another's nor under another's: give each a path of its own",
        ))
    }
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

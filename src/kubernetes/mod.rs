//! Reading and writing Kubernetes: what the watches have seen, and the few kinds of write that we make.

mod caches;
mod older_crd;
mod recent;
mod recorder;
mod sight;
mod understood;
mod writer;

pub use caches::Caches;
pub use recent::RecentWrites;
pub use recorder::Recorder;
pub use sight::{IN_USE_LABEL, Sight, credentials_secret};
pub use understood::{Read, Stranger, tell_strangers, understood};
pub use writer::ClusterWriter;

/// On a DaskCluster: what it made in Azure goes before it does.
pub const FINALIZER: &str = "azureml.dask.dev/azure-resources";
/// On a DaskCluster, `"true"`: once it is deleted it goes at once, and what it has in Azure stays.
pub const ABANDON_ANNOTATION: &str = "azureml.dask.dev/abandon";
/// The Secret that holds the credentials of a namespace's DaskClusters that name none.
pub const NAMESPACE_CREDENTIALS: &str = "dask-azureml-credentials";
/// On a credentials Secret: a DaskCluster still needs it to go.
pub const IN_USE_FINALIZER: &str = "azureml.dask.dev/in-use";

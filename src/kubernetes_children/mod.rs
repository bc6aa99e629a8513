//! What a cluster has in Kubernetes: one pure builder a file. Each child is owned by its DaskCluster, so Kubernetes'
//! garbage collector takes it away.

mod connection_secret;
mod endpoint_slice;
mod service;

pub use connection_secret::{
    HeldConnection, SECRET_TYPE, connection_secret, connection_secret_name,
};
pub use endpoint_slice::{endpoint_slice, slice_is_as_wanted};
pub use service::{DASHBOARD_PORT, SCHEDULER_PORT, service, service_is_as_wanted, service_name};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;

use crate::api::DaskCluster;
use crate::names::ClusterIdentity;

/// Name of the operator among the managers of fields and the makers of objects.
pub const MANAGER: &str = "dask-azureml-operator";

/// Metadata of a child: its labels, and the reference that makes it go with its cluster.
fn metadata(cluster: &ClusterIdentity, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels(cluster)),
        owner_references: Some(vec![OwnerReference {
            api_version: DaskCluster::api_version(&()).into_owned(),
            kind: DaskCluster::kind(&()).into_owned(),
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

fn labels(cluster: &ClusterIdentity) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "app.kubernetes.io/managed-by".to_owned(),
            MANAGER.to_owned(),
        ),
        ("app.kubernetes.io/name".to_owned(), "dask".to_owned()),
        (
            "app.kubernetes.io/instance".to_owned(),
            cluster.name.clone(),
        ),
    ])
}

/// Does this object belong to this cluster?
pub fn is_owned_by(metadata: &ObjectMeta, cluster: &ClusterIdentity) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == cluster.uid)
}

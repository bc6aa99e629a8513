//! What the watches have seen.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};

use super::RecentWrites;
use crate::api::DaskCluster;

/// On Secrets that carry our in-use finalizer, so that they, and no others, are watched.
pub const IN_USE_LABEL: &str = "azureml.dask.dev/in-use";

/// Caches kept by watches, and our own writes that they have not seen yet.
pub struct Sight {
    pub clusters: Store<DaskCluster>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    pub connections: Store<Secret>,
    pub in_use: Store<PartialObjectMeta<Secret>>,
    pub recent: Recent,
}

#[derive(Default)]
pub struct Recent {
    pub clusters: RecentWrites<DaskCluster>,
    pub services: RecentWrites<Service>,
    pub slices: RecentWrites<EndpointSlice>,
    pub connections: RecentWrites<Secret>,
    pub in_use: RecentWrites<PartialObjectMeta<Secret>>,
}

impl Sight {
    /// The newest that is known of a cluster.
    pub fn cluster(&self, watched: Arc<DaskCluster>) -> Arc<DaskCluster> {
        let (namespace, name) = (watched.namespace().unwrap_or_default(), watched.name_any());
        let newest = self
            .recent
            .clusters
            .newest(&namespace, &name, Some(Arc::clone(&watched)));
        // One that was deleted and made again under the same name is another one.
        newest
            .filter(|newest| newest.uid() == watched.uid())
            .unwrap_or(watched)
    }

    pub fn namespace_is_going(&self, name: &str) -> bool {
        self.namespaces
            .get(&ObjectRef::new(name))
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.recent
            .services
            .newest(namespace, name, get(&self.services, namespace, name))
    }

    pub fn slice(&self, namespace: &str, name: &str) -> Option<Arc<EndpointSlice>> {
        self.recent
            .slices
            .newest(namespace, name, get(&self.slices, namespace, name))
    }

    pub fn connection(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.recent
            .connections
            .newest(namespace, name, get(&self.connections, namespace, name))
    }

    /// A Secret that carries our in-use finalizer.
    pub fn in_use(&self, namespace: &str, name: &str) -> Option<Arc<PartialObjectMeta<Secret>>> {
        let held =
            self.recent
                .in_use
                .newest(namespace, name, get(&self.in_use, namespace, name))?;
        held.labels().contains_key(IN_USE_LABEL).then_some(held)
    }

    /// Names and UIDs of this namespace's Secrets in use that no DaskCluster names.
    pub fn forgotten_secrets(&self, namespace: &str) -> Vec<(String, String)> {
        let secrets = self.in_use.state();
        let here = secrets
            .iter()
            .filter(|secret| secret.namespace().as_deref() == Some(namespace));
        here.filter(|secret| self.users(namespace, &secret.name_any()).is_empty())
            .filter(|secret| self.in_use(namespace, &secret.name_any()).is_some())
            .map(|secret| (secret.name_any(), secret.uid().unwrap_or_default()))
            .collect()
    }

    /// Names of the DaskClusters that name this Secret.
    pub fn users(&self, namespace: &str, secret: &str) -> Vec<String> {
        let clusters = self.clusters.state();
        clusters
            .iter()
            .filter(|cluster| cluster.namespace().as_deref() == Some(namespace))
            .filter(|cluster| cluster.spec.credentials_secret_name.as_deref() == Some(secret))
            .map(|cluster| cluster.name_any())
            .collect()
    }
}

fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

//! What the watches have seen.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};

use super::{NAMESPACE_CREDENTIALS, RecentWrites};
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
    /// Every Secret [`NAMESPACE_CREDENTIALS`], in use or not.
    pub namespace_credentials: Store<PartialObjectMeta<Secret>>,
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

    /// A Secret that may hold credentials, as far as it is watched: one in use, or the namespace's.
    pub fn credentials(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<PartialObjectMeta<Secret>>> {
        let is_the_namespaces = name == NAMESPACE_CREDENTIALS;
        let store = if is_the_namespaces {
            &self.namespace_credentials
        } else {
            &self.in_use
        };
        let watched = get(store, namespace, name);
        let is_there = watched.is_some();
        let newest = self.recent.in_use.newest(namespace, name, watched)?;
        // One that we let go leaves the watch of those in use, or was waiting only for that to be gone: our own write
        // tells nothing of it any more.
        let is_watched =
            newest.labels().contains_key(IN_USE_LABEL) || is_the_namespaces && is_there;
        is_watched.then_some(newest)
    }

    /// A Secret that carries our in-use finalizer.
    pub fn in_use(&self, namespace: &str, name: &str) -> Option<Arc<PartialObjectMeta<Secret>>> {
        self.credentials(namespace, name)
            .filter(|held| held.labels().contains_key(IN_USE_LABEL))
    }

    /// Names and UIDs of this namespace's Secrets in use that no DaskCluster takes its credentials from.
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

    /// Names of the DaskClusters that take their credentials from this Secret.
    pub fn users(&self, namespace: &str, secret: &str) -> Vec<String> {
        let clusters = self.clusters.state();
        clusters
            .iter()
            .filter(|cluster| cluster.namespace().as_deref() == Some(namespace))
            .filter(|cluster| credentials_secret(cluster) == secret)
            .map(|cluster| cluster.name_any())
            .collect()
    }
}

/// The Secret that a cluster takes its credentials from, if it is there: the one that it names, or the namespace's.
pub fn credentials_secret(cluster: &DaskCluster) -> &str {
    let named = cluster.spec.credentials_secret_name.as_deref();
    named.unwrap_or(NAMESPACE_CREDENTIALS)
}

fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::runtime::reflector::{self, store::Writer};
    use kube::runtime::watcher::Event;

    use super::*;

    type Metadata = PartialObjectMeta<Secret>;

    struct Watches {
        sight: Sight,
        in_use: Writer<Metadata>,
        namespace_credentials: Writer<Metadata>,
    }

    fn watches() -> Watches {
        let (in_use, in_use_writer) = reflector::store();
        let (namespace_credentials, namespace_credentials_writer) = reflector::store();
        let sight = Sight {
            clusters: reflector::store().0,
            namespaces: reflector::store().0,
            services: reflector::store().0,
            slices: reflector::store().0,
            connections: reflector::store().0,
            in_use,
            namespace_credentials,
            recent: Recent::default(),
        };
        Watches {
            sight,
            in_use: in_use_writer,
            namespace_credentials: namespace_credentials_writer,
        }
    }

    fn secret(name: &str, version: &str, is_held: bool) -> Metadata {
        let label = (IN_USE_LABEL.to_owned(), "true".to_owned());
        PartialObjectMeta {
            metadata: ObjectMeta {
                namespace: Some("n".into()),
                name: Some(name.into()),
                resource_version: Some(version.into()),
                labels: is_held.then(|| BTreeMap::from([label])),
                ..ObjectMeta::default()
            },
            ..Metadata::default()
        }
    }

    fn version(sight: &Sight, name: &str) -> Option<String> {
        sight.credentials("n", name)?.resource_version()
    }

    #[test]
    fn a_secret_that_we_let_go_is_on_no_watch_so_nothing_is_known_of_it() {
        let mut watches = watches();
        let held = secret("named", "5", true);
        watches
            .in_use
            .apply_watcher_event(&Event::Apply(held.clone()));
        assert_eq!(version(&watches.sight, "named").as_deref(), Some("5"));
        watches
            .sight
            .recent
            .in_use
            .wrote(secret("named", "6", false));
        assert_eq!(version(&watches.sight, "named"), None);
        watches.in_use.apply_watcher_event(&Event::Delete(held));
        assert_eq!(version(&watches.sight, "named"), None);
    }

    #[test]
    fn the_namespaces_secret_is_known_held_or_not_until_it_is_gone() {
        let mut watches = watches();
        let apply = |watches: &mut Watches, version: &str, is_held| {
            let secret = secret(NAMESPACE_CREDENTIALS, version, is_held);
            watches
                .namespace_credentials
                .apply_watcher_event(&Event::Apply(secret));
        };
        assert_eq!(version(&watches.sight, NAMESPACE_CREDENTIALS), None);
        apply(&mut watches, "5", false);
        assert_eq!(
            version(&watches.sight, NAMESPACE_CREDENTIALS).as_deref(),
            Some("5")
        );
        assert!(watches.sight.in_use("n", NAMESPACE_CREDENTIALS).is_none());
        apply(&mut watches, "6", true);
        assert!(watches.sight.in_use("n", NAMESPACE_CREDENTIALS).is_some());
        // Our write takes off the finalizer that alone kept it: the watch sees it go, and never without its label.
        let let_go = secret(NAMESPACE_CREDENTIALS, "7", false);
        watches.sight.recent.in_use.wrote(let_go.clone());
        assert_eq!(
            version(&watches.sight, NAMESPACE_CREDENTIALS).as_deref(),
            Some("7")
        );
        assert!(watches.sight.in_use("n", NAMESPACE_CREDENTIALS).is_none());
        watches
            .namespace_credentials
            .apply_watcher_event(&Event::Delete(let_go));
        assert_eq!(version(&watches.sight, NAMESPACE_CREDENTIALS), None);
    }
}

//! Objects as our own writes returned them, until the watch has caught up: what we wrote is known at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt as _};

/// The newest answers to our writes, by namespace and name.
pub struct RecentWrites<K> {
    written: Mutex<HashMap<(String, String), Arc<K>>>,
}

impl<K> Default for RecentWrites<K> {
    fn default() -> Self {
        Self {
            written: Mutex::default(),
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone> RecentWrites<K> {
    pub fn wrote(&self, object: K) {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        self.lock().insert(key, Arc::new(object));
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The newer of what the watch has and what we wrote. Resource versions of one object are comparable numbers
    /// (Kubernetes API concepts, "Resource versions"). Once the watch has caught up, what it says holds, deletion
    /// included.
    pub fn newest(&self, namespace: &str, name: &str, watched: Option<Arc<K>>) -> Option<Arc<K>> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut written = self.lock();
        let Some(ours) = written.get(&key) else {
            return watched;
        };
        let caught_up = watched
            .as_ref()
            .is_some_and(|watched| version(&**watched) >= version(&**ours));
        if caught_up {
            written.remove(&key);
            return watched;
        }
        Some(Arc::clone(ours))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Arc<K>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(object: &impl Resource) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn service(version: &str) -> Service {
        let metadata = ObjectMeta {
            namespace: Some("n".into()),
            name: Some("s".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        Service {
            metadata,
            ..Service::default()
        }
    }

    fn newest(recent: &RecentWrites<Service>, watched: Option<&str>) -> Option<String> {
        let watched = watched.map(|version| Arc::new(service(version)));
        recent
            .newest("n", "s", watched)?
            .metadata
            .resource_version
            .clone()
    }

    #[test]
    fn what_we_wrote_holds_until_the_watch_has_caught_up_and_then_the_watch_does() {
        let recent = RecentWrites::default();
        assert_eq!(newest(&recent, Some("5")).as_deref(), Some("5"));
        recent.wrote(service("10"));
        assert_eq!(newest(&recent, Some("9")).as_deref(), Some("10"));
        assert_eq!(
            newest(&recent, None).as_deref(),
            Some("10"),
            "the watch has not seen it yet"
        );
        assert_eq!(newest(&recent, Some("11")).as_deref(), Some("11"));
        assert_eq!(
            newest(&recent, None),
            None,
            "deleted after the watch had seen it"
        );
    }
}

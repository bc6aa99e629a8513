//! What the operator asked the API server for, noted on its way out.

#![allow(dead_code, reason = "what only some scenarios need stays in one place")]

use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;

/// One request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KubernetesCall {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Null where the request has none.
    pub(crate) body: Value,
}

impl KubernetesCall {
    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET"
    }

    pub(crate) fn is_status_write(&self) -> bool {
        self.path.ends_with("/status")
    }
}

/// The calls of one operator after the other: watches with the lists that they begin with, leases
/// and events are left out.
#[derive(Clone, Default)]
pub(crate) struct KubernetesCalls(Arc<Mutex<Vec<KubernetesCall>>>);

impl KubernetesCalls {
    pub(crate) fn all(&self) -> Vec<KubernetesCall> {
        self.lock().clone()
    }

    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// A client whose requests are noted here.
    pub(crate) fn client(&self, config: Config) -> Client {
        let client = Client::try_from(config).expect("the kubeconfig of the launcher is complete");
        let namespace = client.default_namespace().to_owned();
        let calls = self.clone();
        let noted = tower::service_fn(move |request: Request<Body>| {
            let (client, calls) = (client.clone(), calls.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                calls.note(
                    parts.method.as_str(),
                    parts.uri.path(),
                    parts.uri.query().unwrap_or_default(),
                    serde_json::from_slice(&body).unwrap_or_default(),
                );
                let request = Request::from_parts(parts, Body::from(body));
                client.send(request).await
            }
        });
        Client::new(noted, namespace)
    }

    fn note(&self, method: &str, path: &str, query: &str, body: Value) {
        let ends_in = |collection: &str| path.ends_with(collection);
        let lists_for_a_watch = method == "GET"
            && [
                "/daskclusters",
                "/namespaces",
                "/services",
                "/endpointslices",
                "/secrets",
            ]
            .into_iter()
            .any(ends_in);
        let is_aside = query.contains("watch=true")
            || lists_for_a_watch
            || path.contains("/events")
            || path.contains("/leases");
        if !is_aside {
            self.lock().push(KubernetesCall {
                method: method.to_owned(),
                path: path.to_owned(),
                body,
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<KubernetesCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

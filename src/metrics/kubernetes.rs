//! What is asked of the API server: every request of the client, by what it is about and not by its path.

use http::{Method, Request, Uri};
use kube::Client;
use kube::client::Body;
use prometheus::{Error, IntCounterVec};

use super::definition::{Defined, Definition};

const REQUESTS: Definition = Definition {
    name: "dask_azureml_kubernetes_requests_total",
    help: "Requests to the API server by verb, resource and HTTP status; a watch counts when it begins",
    labels: &["verb", "resource", "status"],
    what_to_do: "Status 403: the operator lacks a role. 429 and `none`: the API server is short of breath, or away.",
};

#[derive(Clone)]
pub(super) struct Kubernetes {
    requests: IntCounterVec,
}

impl Kubernetes {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            requests: REQUESTS.counter()?,
        })
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![REQUESTS.with(self.requests.clone())]
    }

    fn answered(&self, call: Call, status: Option<u16>) {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests
            .with_label_values(&[call.verb, call.resource, status.as_str()])
            .inc();
    }
}

/// A client that hands on to `client` and counts.
pub(super) fn counted(client: Client, requests: Kubernetes) -> Client {
    let namespace = client.default_namespace().to_owned();
    let counting = tower::service_fn(move |request: Request<Body>| {
        let (client, requests) = (client.clone(), requests.clone());
        async move {
            let call = Call::of(request.method(), request.uri());
            let answer = client.send(request).await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            requests.answered(call, status);
            answer
        }
    });
    Client::new(counting, namespace)
}

/// What a request asks for, in the words of Kubernetes' roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    verb: &'static str,
    resource: &'static str,
}

/// All that the operator asks for.
const RESOURCES: [&str; 10] = [
    "customresourcedefinitions",
    "daskclusters",
    "daskclusters/status",
    "endpointslices",
    "events",
    "leases",
    "namespaces",
    "secrets",
    "serviceaccounts/token",
    "services",
];

impl Call {
    fn of(method: &Method, uri: &Uri) -> Self {
        let parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        // After `api/v1`, or after `apis/<group>/<version>`.
        let parts = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (resource, name, subresource) = match parts {
            ["namespaces", _, resource, rest @ ..] => (Some(*resource), rest.first(), rest.get(1)),
            [resource, rest @ ..] => (Some(*resource), rest.first(), rest.get(1)),
            [] => (None, None, None),
        };
        let asked = resource.map(|resource| match subresource {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource.to_owned(),
        });
        let known = RESOURCES
            .into_iter()
            .find(|known| Some(*known) == asked.as_deref());
        let query = uri.query().unwrap_or_default();
        let watches = query.split('&').any(|part| part == "watch=true");
        Self {
            verb: match (method, name) {
                (&Method::GET, _) if watches => "watch",
                (&Method::GET, Some(_)) => "get",
                (&Method::GET, None) => "list",
                (&Method::POST, _) => "create",
                (&Method::PUT, _) => "update",
                (&Method::PATCH, _) => "patch",
                (&Method::DELETE, Some(_)) => "delete",
                (&Method::DELETE, None) => "deletecollection",
                _ => "other",
            },
            resource: known.unwrap_or("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_in_the_words_of_roles() {
        let group = "/apis/azureml.dask.dev/v1alpha1";
        for (method, path, verb, resource) in [
            (
                "GET",
                format!("{group}/daskclusters?limit=1"),
                "list",
                "daskclusters",
            ),
            (
                "GET",
                format!("{group}/daskclusters?watch=true&timeoutSeconds=290"),
                "watch",
                "daskclusters",
            ),
            (
                "GET",
                "/api/v1/namespaces/weather/secrets/mine".into(),
                "get",
                "secrets",
            ),
            (
                "PATCH",
                format!("{group}/namespaces/weather/daskclusters/noaa"),
                "patch",
                "daskclusters",
            ),
            (
                "PUT",
                format!("{group}/namespaces/weather/daskclusters/noaa/status?"),
                "update",
                "daskclusters/status",
            ),
            (
                "POST",
                "/apis/events.k8s.io/v1/namespaces/weather/events".into(),
                "create",
                "events",
            ),
            (
                "DELETE",
                "/apis/discovery.k8s.io/v1/namespaces/weather/endpointslices/a".into(),
                "delete",
                "endpointslices",
            ),
            (
                "POST",
                "/api/v1/namespaces/weather/serviceaccounts/mine/token".into(),
                "create",
                "serviceaccounts/token",
            ),
            (
                "GET",
                "/api/v1/namespaces/kube-system".into(),
                "get",
                "namespaces",
            ),
            ("GET", "/api/v1/namespaces".into(), "list", "namespaces"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let told = Call::of(&method, &path.parse().unwrap());
            assert_eq!(told, Call { verb, resource }, "{path}");
        }
    }

    #[test]
    fn what_the_operator_has_no_business_with_is_one_value() {
        for path in [
            "/api/v1/namespaces/weather/pods/somebody-s",
            "/apis/apps/v1/namespaces/weather/deployments/x/scale",
            "/version",
            "/",
        ] {
            let told = Call::of(&Method::GET, &path.parse().unwrap());
            assert_eq!(told.resource, "other", "{path}");
        }
    }
}

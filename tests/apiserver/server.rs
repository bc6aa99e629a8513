//! Asking the API server, in the strict mode that `kubectl` uses.

use http::Request;
use kube::Client;
use serde_json::Value;

use crate::control_plane::ControlPlane;

/// A namespace of its own on the shared API server, which knows `DaskCluster`.
pub(crate) struct Server {
    pub(crate) client: Client,
    path: String,
}

impl Server {
    pub(crate) async fn new() -> Self {
        let control_plane = ControlPlane::shared().await;
        control_plane.install_crd().await;
        let namespace = control_plane.namespace("rules").await;
        Self {
            client: control_plane.client(),
            path: format!("/apis/azureml.dask.dev/v1alpha1/namespaces/{namespace}/daskclusters"),
        }
    }

    /// What the API server would store; else the words in which it refuses.
    pub(crate) async fn try_create(&self, manifest: &Value) -> Result<Value, String> {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", self.path);
        self.send("POST", &path, manifest).await
    }

    /// Stores the manifest, which it must be able to.
    pub(crate) async fn create(&self, manifest: &Value) -> Value {
        let path = format!("{}?fieldValidation=Strict", self.path);
        self.send("POST", &path, manifest)
            .await
            .expect("the manifest is taken")
    }

    /// What the API server would store in place of an object that exists; else its words.
    pub(crate) async fn try_replace(&self, object: &Value) -> Result<Value, String> {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let path = format!("{}/{name}?dryRun=All&fieldValidation=Strict", self.path);
        self.send("PUT", &path, object).await
    }

    /// Server-side apply, as the manager `tests`.
    pub(crate) async fn apply(&self, manifest: &Value) -> Result<Value, String> {
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        let path = format!(
            "{}/{name}?fieldManager=tests&fieldValidation=Strict",
            self.path
        );
        self.send("PATCH", &path, manifest).await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let content_type = match method {
            "PATCH" => "application/apply-patch+yaml",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(serde_json::to_vec(body).expect("a manifest is JSON"))
            .expect("a valid request");
        match self.client.request::<Value>(request).await {
            Ok(stored) => Ok(stored),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("the API server could not be asked: {error}"),
        }
    }
}

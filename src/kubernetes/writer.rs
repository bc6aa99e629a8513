//! The writes of one reconcile. Every object has one manager of fields, us; `spec` is never written.

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::older_crd;
use super::recent::RecentWrites;
use super::sight::{IN_USE_LABEL, Sight};
use super::{FINALIZER, IN_USE_FINALIZER};
use crate::access::AccessPool;
use crate::api::{DaskCluster, DaskClusterStatus, Reason};
use crate::kubernetes_children::{MANAGER, connection_secret, is_owned_by};
use crate::lookup::Trouble;
use crate::names::ClusterIdentity;
use crate::reconcile::{Child, trouble};

pub struct ClusterWriter<'a> {
    pub client: &'a Client,
    pub sight: &'a Sight,
    pub access: &'a AccessPool,
    pub cluster: &'a ClusterIdentity,
}

/// A kind of child, as kube's calls ask for it.
trait Written:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Serialize
    + DeserializeOwned
    + std::fmt::Debug
{
}

impl Written for Service {}
impl Written for EndpointSlice {}
impl Written for Secret {}

/// Server-side apply: what we stop naming goes, what others name stays. The UID keeps it from making an object that
/// is gone.
fn apply() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

impl ClusterWriter<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.cluster.namespace)
    }

    fn identified(&self) -> serde_json::Value {
        json!({
            "apiVersion": DaskCluster::api_version(&()),
            "kind": DaskCluster::kind(&()),
            "metadata": {"name": self.cluster.name, "uid": self.cluster.uid},
        })
    }

    /// # Errors
    /// The API server's; a cluster that is gone already needs no finalizer taken off.
    pub async fn set_finalizer(&self, on: bool) -> Result<(), kube::Error> {
        let mut body = self.identified();
        if on {
            body["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        let api: Api<DaskCluster> = self.api();
        match api
            .patch(&self.cluster.name, &apply(), &Patch::Apply(&body))
            .await
        {
            Ok(cluster) if on => self.sight.recent.clusters.wrote(cluster),
            Ok(_) => self
                .sight
                .recent
                .clusters
                .forget(&self.cluster.namespace, &self.cluster.name),
            Err(error) if !on && is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// # Errors
    /// The API server's.
    pub async fn set_status(&self, status: &DaskClusterStatus) -> Result<(), kube::Error> {
        let mut body = self.identified();
        body["status"] = json!(status);
        let api: Api<DaskCluster> = self.api();
        let name = &self.cluster.name;
        let mut written = api.patch_status(name, &apply(), &Patch::Apply(&body)).await;
        if let Err(kube::Error::Api(refusal)) = &written
            && older_crd::take_out_undeclared(&mut body, &refusal.message)
        {
            tracing::warn!(name, refusal = refusal.message, "{}", older_crd::ADVICE);
            written = api.patch_status(name, &apply(), &Patch::Apply(&body)).await;
        }
        self.sight.recent.clusters.wrote(written?);
        Ok(())
    }

    /// Puts our in-use finalizer, and the label by which it is found, on a Secret or takes both off.
    ///
    /// # Errors
    /// The API server's; a Secret that is gone needs nothing taken off.
    pub async fn hold_secret(&self, name: &str, uid: &str, on: bool) -> Result<(), kube::Error> {
        let mut body =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": uid}});
        if on {
            body["metadata"]["finalizers"] = json!([IN_USE_FINALIZER]);
            body["metadata"]["labels"] = json!({IN_USE_LABEL: "true"});
        }
        let api: Api<Secret> = self.api();
        match api
            .patch_metadata(name, &apply(), &Patch::Apply(&body))
            .await
        {
            Ok(secret) => {
                let (namespace, version) = (
                    &self.cluster.namespace,
                    secret.metadata.resource_version.clone(),
                );
                if on {
                    self.access.secret_was_touched(namespace, name, version);
                } else {
                    self.access.forget(namespace, name);
                }
                self.sight.recent.in_use.wrote(PartialObjectMeta {
                    types: None,
                    ..secret
                });
                Ok(())
            }
            Err(error) if !on && is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// In a user's words; an object of that name that is somebody else's is left alone.
    pub async fn create(&self, child: &Child) -> Result<(), Trouble> {
        let recent = &self.sight.recent;
        match child {
            Child::Service(service) => {
                self.create_one(&**service, &recent.services, Reason::ServiceNotOurs)
                    .await
            }
            Child::EndpointSlice(slice) => {
                self.create_one(&**slice, &recent.slices, Reason::ServiceNotOurs)
                    .await
            }
            Child::ConnectionSecret(held) => {
                let secret = connection_secret(self.cluster, held);
                self.create_one(&secret, &recent.connections, Reason::SecretNotOurs)
                    .await
            }
        }
    }

    async fn create_one<K: Written>(
        &self,
        object: &K,
        recent: &RecentWrites<K>,
        not_ours: Reason,
    ) -> Result<(), Trouble> {
        let kind = K::kind(&());
        let name = object.meta().name.clone().unwrap_or_default();
        let doing = format!("creating {kind} {name}");
        let refused = |error: &kube::Error| trouble::of_kubernetes(&doing, error);
        let api: Api<K> = self.api();
        let params = PostParams {
            field_manager: Some(MANAGER.into()),
            ..PostParams::default()
        };
        match api.create(&params, object).await {
            Ok(created) => recent.wrote(created),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let have = api.get(&name).await.map_err(|error| refused(&error))?;
                if !is_owned_by(have.meta(), self.cluster) {
                    let message = format!(
                        "{kind} {name} exists and belongs to somebody else: delete it, or give the DaskCluster another name"
                    );
                    return Err(Trouble::lasting(not_ours, message));
                }
                recent.wrote(have);
            }
            Err(error) => return Err(refused(&error)),
        }
        Ok(())
    }

    /// # Errors
    /// The API server's.
    pub async fn update(&self, child: &Child) -> Result<(), kube::Error> {
        let recent = &self.sight.recent;
        match child {
            Child::Service(service) => {
                recent.services.wrote(
                    self.merge::<Service>(&service.metadata.name, &**service)
                        .await?,
                );
            }
            Child::EndpointSlice(slice) => {
                recent.slices.wrote(
                    self.merge::<EndpointSlice>(&slice.metadata.name, &**slice)
                        .await?,
                );
            }
            Child::ConnectionSecret(held) => {
                let secret = connection_secret(self.cluster, held);
                recent
                    .connections
                    .wrote(self.merge::<Secret>(&secret.metadata.name, &secret).await?);
            }
        }
        Ok(())
    }

    async fn merge<K: Written>(&self, name: &Option<String>, object: &K) -> Result<K, kube::Error> {
        let params = PatchParams {
            field_manager: Some(MANAGER.into()),
            ..PatchParams::default()
        };
        self.api::<K>()
            .patch(
                name.as_deref().unwrap_or_default(),
                &params,
                &Patch::Merge(object),
            )
            .await
    }

    /// # Errors
    /// The API server's; one that is gone is as wanted.
    pub async fn delete_slice(&self, name: &str) -> Result<(), kube::Error> {
        self.sight
            .recent
            .slices
            .forget(&self.cluster.namespace, name);
        match self
            .api::<EndpointSlice>()
            .delete(name, &DeleteParams::default())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// 404, or what the API server says to an apply whose UID is not that of the object: 409 "uid mismatch: … no existing
/// object was found" when there is none, 422 "metadata.uid: … field is immutable" when there is another.
fn is_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    match status.code {
        404 => true,
        409 => status.message.to_lowercase().contains("uid"),
        422 => status.message.contains("metadata.uid"),
        _ => false,
    }
}

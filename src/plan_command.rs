//! `plan`: what would be done for a manifest. Asks Azure, and the Kubernetes cluster of the kubeconfig where there is
//! one; changes nothing in either.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::access::{AccessSettings, own_access};
use crate::api::DaskCluster;
use crate::azure::{
    Budgets, HttpClientError, TokenSources, Unobserved, WithoutKubernetes, http_client,
};
use crate::clock::Clock;
use crate::controller::instance;
use crate::kubernetes_children::{connection_secret_name, service_name};
use crate::leadership::Lead;
use crate::lookup::Lookup;
use crate::names::ClusterIdentity;
use crate::reconcile::{Children, Defaults, Forecast, Preview, identity, trouble};
use crate::settings::PlanSettings;

/// Stands for the UID that an object is given when it is made.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";
/// Who asks the API server whether it would take the manifest.
const ASKS_AS: &str = "dask-azureml-operator-plan";

/// Where the manifest may live already.
pub struct Kubernetes {
    client: Option<Client>,
    namespace: String,
}

/// What would be done, and what is to be known of how it was found.
pub struct Planned {
    pub forecast: Forecast,
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the manifest is invalid: {0}")]
    Invalid(String),
    #[error(
        "there is no identity to ask Azure with: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    )]
    NoIdentity,
    #[error("no HTTPS client for Azure could be made")]
    AzureHttp(#[from] HttpClientError),
    #[error("Azure could not be asked: {0}")]
    Azure(String),
}

/// The cluster of the kubeconfig, or none.
pub async fn kubernetes(namespace: Option<String>) -> Kubernetes {
    let config = kube::Config::infer().await.ok();
    let default = config
        .as_ref()
        .map(|config| config.default_namespace.clone());
    Kubernetes {
        namespace: namespace
            .or(default)
            .unwrap_or_else(|| "default".to_owned()),
        client: config.and_then(|config| Client::try_from(config).ok()),
    }
}

/// # Errors
/// See [`PlanError`].
pub async fn plan(
    settings: PlanSettings,
    manifest: &str,
    kubernetes: Kubernetes,
    clock: Clock,
) -> Result<Planned, PlanError> {
    let mut cluster = read(manifest)?;
    let namespace = cluster
        .metadata
        .namespace
        .get_or_insert(kubernetes.namespace);
    let mut notes = Vec::new();
    let living = match &kubernetes.client {
        None => None,
        Some(client) => {
            let api = Api::namespaced(client.clone(), namespace);
            living(&api, &cluster, &mut notes).await?
        }
    };
    match &living {
        Some(living) => {
            // What was told of drift and replacements counts.
            cluster.status.clone_from(&living.status);
            cluster.metadata.uid.clone_from(&living.metadata.uid);
            cluster
                .metadata
                .finalizers
                .clone_from(&living.metadata.finalizers);
        }
        None => {
            cluster.metadata.uid = Some(NO_UID.to_owned());
            notes.push(format!(
                "the DaskCluster is not in Kubernetes yet: names that follow from its UID are given as for {NO_UID}"
            ));
        }
    }
    let instance = match kubernetes.client.as_ref().filter(|_| living.is_some()) {
        None => settings.instance,
        Some(client) => match instance(client, &settings.instance).await {
            Ok(instance) => instance,
            Err(error) => {
                notes.push(format!(
                    "{error}: the tags of what is there may seem to differ"
                ));
                settings.instance
            }
        },
    };
    let children = match kubernetes.client.filter(|_| living.is_some()) {
        Some(client) => children(&client, &identity(&cluster)).await,
        None => Children {
            service: Lookup::Absent,
            endpoint_slice: Lookup::Absent,
            connection: Lookup::Absent,
        },
    };
    let http = http_client(&settings.azure_http)?;
    let access = AccessSettings {
        endpoint: settings.endpoint,
        tokens: TokenSources::new(
            http.clone(),
            settings.metadata_host,
            Arc::new(WithoutKubernetes),
        )?,
        http,
        own: settings.identity,
        lends_own: true,
        observer: Arc::new(Unobserved),
        budgets: Budgets::new(clock.clone(), Arc::new(Unobserved)),
        lead: Lead::always(clock.clone()),
    };
    let preview = Preview {
        access: own_access(&access, &clock).ok_or(PlanError::NoIdentity)?,
        clock,
        defaults: Defaults {
            instance,
            environment: settings.environment,
        },
        worker_submission: settings.worker_submission,
    };
    match preview.of(&cluster, children).await {
        Err(errors) => Err(PlanError::Invalid(errors.to_string())),
        Ok((_, Some(trouble))) => Err(PlanError::Azure(trouble.message)),
        Ok((forecast, None)) => Ok(Planned { forecast, notes }),
    }
}

fn read(manifest: &str) -> Result<DaskCluster, PlanError> {
    let invalid = |problem: &dyn std::fmt::Display| {
        // The lines after the first draw the place.
        let problem = problem.to_string();
        PlanError::Invalid(problem.lines().next().unwrap_or_default().to_owned())
    };
    let value: serde_json::Value =
        serde_saphyr::from_str(manifest).map_err(|error| invalid(&error))?;
    let kind = (value["apiVersion"].as_str(), value["kind"].as_str());
    let wanted = (DaskCluster::api_version(&()), DaskCluster::kind(&()));
    if kind != (Some(&*wanted.0), Some(&*wanted.1)) {
        return Err(invalid(&format!("it is no {} of {}", wanted.1, wanted.0)));
    }
    let cluster: DaskCluster = serde_json::from_value(value).map_err(|error| invalid(&error))?;
    if cluster.metadata.name.is_none() {
        return Err(invalid(&"metadata.name is missing"));
    }
    Ok(cluster)
}

/// The object of this name as it is now. Has the API server look at the manifest, too: most rules are held by it.
async fn living(
    api: &Api<DaskCluster>,
    cluster: &DaskCluster,
    notes: &mut Vec<String>,
) -> Result<Option<DaskCluster>, PlanError> {
    let name = cluster.name_any();
    let living = match api.get_opt(&name).await {
        Ok(living) => living,
        Err(error) => {
            notes.push(format!(
                "the Kubernetes cluster could not be asked: {error}"
            ));
            return Ok(None);
        }
    };
    let parameters = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(ASKS_AS).force()
    };
    let mut asked = cluster.clone();
    asked.metadata.uid = None;
    asked.status = None;
    match api.patch(&name, &parameters, &Patch::Apply(&asked)).await {
        Ok(_) => {}
        Err(kube::Error::Api(refused)) if refused.code == 422 || refused.code == 400 => {
            return Err(PlanError::Invalid(refused.message.clone()));
        }
        Err(error) => notes.push(format!(
            "the API server could not be asked whether it would take the manifest: {error}"
        )),
    }
    Ok(living)
}

async fn children(client: &Client, cluster: &ClusterIdentity) -> Children {
    let service = service_name(cluster);
    Children {
        service: child(client, cluster, &service).await,
        endpoint_slice: child(client, cluster, &service).await,
        connection: child(client, cluster, &connection_secret_name(cluster)).await,
    }
}

async fn child<K>(client: &Client, cluster: &ClusterIdentity, name: &str) -> Lookup<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &cluster.namespace);
    match api.get_opt(name).await {
        Ok(found) => found.map_or(Lookup::Absent, Lookup::Present),
        Err(error) => {
            let doing = format!("reading {} {name}", K::kind(&()));
            Lookup::Unavailable(trouble::of_kubernetes(&doing, &error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(manifest: &str) -> String {
        match read(manifest) {
            Err(PlanError::Invalid(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_manifest_of_ours_is_refused_in_a_line() {
        assert_eq!(
            refusal("apiVersion: v1\nkind: Pod\n"),
            "it is no DaskCluster of azureml.dask.dev/v1alpha1"
        );
        assert!(!refusal("a: [").contains('\n'));
        let nameless =
            "apiVersion: azureml.dask.dev/v1alpha1\nkind: DaskCluster\nmetadata: {}\nspec: {}\n";
        assert!(
            refusal(nameless).contains("missing field"),
            "{}",
            refusal(nameless)
        );
    }
}

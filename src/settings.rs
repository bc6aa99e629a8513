//! What was typed, and what it means: checked once, passed down, never global.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::azure::{Endpoint, HttpSettings, Identity, InvalidEndpoint, InvalidIdentity};
use crate::cli::{AzureArgs, ClusterArgs, Orphans, RunArgs, Submission};
use crate::reconcile::{EnvironmentDefinition, WorkerSubmission};
use crate::sweep::{OrphanPolicy, SweepSettings};

/// The environment of clusters that name none: built once by Azure ML.
const DEFAULT_CONDA_FILE: &str = include_str!("default_environment.yaml");

pub struct Settings {
    pub metrics_listen: SocketAddr,
    pub metrics_address_file: Option<PathBuf>,
    /// Whether each cluster has series of its own.
    pub cluster_metrics: bool,
    pub instance: String,
    pub resync: Duration,
    pub sweep: SweepSettings,
    pub worker_submission: WorkerSubmission,
    pub environment: EnvironmentDefinition,
    pub endpoint: Endpoint,
    /// Of the client that everything about Azure goes through.
    pub azure_http: HttpSettings,
    /// Where the metadata service of virtual machines is, if not where Azure has it.
    pub metadata_host: Option<Url>,
    pub own_identity: Option<Identity>,
    /// Whether DaskClusters act as the operator where they and their namespace have no credentials.
    pub lends_own_identity: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the operator's own identity is incomplete")]
    Identity(#[from] InvalidIdentity),
    #[error(
        "AZURE_POD_IDENTITY_AUTHORITY_HOST '{0}' is not an address such as http://127.0.0.1:8080"
    )]
    MetadataHost(String),
    #[error("the cloud's addresses are not usable")]
    Endpoint(#[from] InvalidEndpoint),
    #[error("the default conda file {path} cannot be read")]
    CondaFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Settings {
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(args: RunArgs) -> Result<Self, SettingsError> {
        let RunArgs {
            metrics_listen,
            metrics_address_file,
            cluster_metrics,
            resync_seconds,
            sweep_seconds,
            orphans,
            orphan_grace_seconds,
            clusters,
            log: _,
            log_filter_file: _,
            log_format: _,
            azure,
        } = args;
        Ok(Self {
            metrics_listen,
            metrics_address_file,
            cluster_metrics,
            instance: clusters.instance.clone(),
            resync: Duration::from_secs(resync_seconds),
            sweep: SweepSettings {
                interval: Duration::from_secs(sweep_seconds),
                orphans: match orphans {
                    Orphans::Report => OrphanPolicy::Report,
                    Orphans::Remove => OrphanPolicy::Remove,
                },
                grace: Duration::from_secs(orphan_grace_seconds),
            },
            worker_submission: worker_submission(clusters.worker_submission),
            environment: environment(clusters)?,
            endpoint: endpoint(&azure)?,
            azure_http: HttpSettings::default(),
            metadata_host: azure
                .azure_pod_identity_authority_host
                .as_deref()
                .map(metadata_host)
                .transpose()?,
            lends_own_identity: azure.allow_operator_identity,
            own_identity: own_identity(&azure)?,
        })
    }
}

/// What `plan` needs of the settings.
pub struct PlanSettings {
    pub instance: String,
    pub worker_submission: WorkerSubmission,
    pub environment: EnvironmentDefinition,
    pub endpoint: Endpoint,
    pub azure_http: HttpSettings,
    pub metadata_host: Option<Url>,
    pub identity: Option<Identity>,
}

impl PlanSettings {
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(clusters: ClusterArgs, azure: &AzureArgs) -> Result<Self, SettingsError> {
        Ok(Self {
            instance: clusters.instance.clone(),
            worker_submission: worker_submission(clusters.worker_submission),
            environment: environment(clusters)?,
            endpoint: endpoint(azure)?,
            azure_http: HttpSettings::default(),
            metadata_host: azure
                .azure_pod_identity_authority_host
                .as_deref()
                .map(metadata_host)
                .transpose()?,
            identity: own_identity(azure)?,
        })
    }
}

fn worker_submission(typed: Submission) -> WorkerSubmission {
    match typed {
        Submission::BesideHead => WorkerSubmission::BesideHead,
        Submission::AfterHead => WorkerSubmission::AfterHead,
    }
}

fn environment(typed: ClusterArgs) -> Result<EnvironmentDefinition, SettingsError> {
    let conda_file = match typed.default_conda_file {
        None => DEFAULT_CONDA_FILE.to_owned(),
        Some(path) => std::fs::read_to_string(&path)
            .map_err(|source| SettingsError::CondaFile { path, source })?,
    };
    Ok(EnvironmentDefinition {
        image: typed.default_image,
        conda_file: Some(conda_file),
    })
}

fn endpoint(azure: &AzureArgs) -> Result<Endpoint, InvalidEndpoint> {
    Endpoint::new(
        azure.azure_authority_host.as_deref(),
        azure.azure_resource_manager_endpoint.as_deref(),
        azure.azure_resource_manager_audience.as_deref(),
    )
}

/// Only the host is wanted: the path is Azure's.
fn metadata_host(address: &str) -> Result<Url, SettingsError> {
    let refused = || SettingsError::MetadataHost(address.to_owned());
    let host: Url = address.parse().map_err(|_| refused())?;
    let is_host = host.has_host() && host.path() == "/" && host.query().is_none();
    if is_host && ["http", "https"].contains(&host.scheme()) && host.username().is_empty() {
        Ok(host)
    } else {
        Err(refused())
    }
}

fn own_identity(azure: &AzureArgs) -> Result<Option<Identity>, InvalidIdentity> {
    Identity::from_environment(|name| match name {
        "AZURE_TENANT_ID" => azure.azure_tenant_id.clone(),
        "AZURE_CLIENT_ID" => azure.azure_client_id.clone(),
        "AZURE_CLIENT_SECRET" => azure.azure_client_secret.clone(),
        "AZURE_FEDERATED_TOKEN_FILE" => azure.azure_federated_token_file.clone(),
        "AZURE_CLIENT_CERTIFICATE_PATH" => azure.azure_client_certificate_path.clone(),
        "AZURE_MANAGED_IDENTITY" => Some(azure.azure_managed_identity.to_string()),
        _ => None,
    })
}

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
    /// Reconciles at once; 0 is no limit.
    pub concurrent_reconciles: u16,
    /// Between two looks at a scheduler where nobody comes or goes.
    pub scheduler_poll: Duration,
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

/// Everything that is wrong.
#[derive(Debug)]
pub struct SettingsErrors(pub Vec<SettingsError>);

impl SettingsErrors {
    /// What is right; the error of what is not is kept.
    fn keep<T, E: Into<SettingsError>>(&mut self, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.0.push(error.into())).ok()
    }
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
    /// All that is wrong; see [`SettingsError`].
    pub fn new(args: RunArgs) -> Result<Self, SettingsErrors> {
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
            concurrent_reconciles,
            azure_timeout_seconds,
            scheduler_poll_seconds,
        } = args;
        let instance = clusters.instance.clone();
        let worker_submission = worker_submission(clusters.worker_submission);
        let mut errors = SettingsErrors(Vec::new());
        let environment = errors.keep(environment(clusters));
        let cloud = Cloud::of(&azure, &mut errors);
        let (Some(environment), Some(cloud)) = (environment, cloud) else {
            return Err(errors);
        };
        Ok(Self {
            metrics_listen,
            metrics_address_file,
            cluster_metrics,
            instance,
            concurrent_reconciles,
            scheduler_poll: Duration::from_secs(scheduler_poll_seconds),
            resync: Duration::from_secs(resync_seconds),
            sweep: SweepSettings {
                interval: Duration::from_secs(sweep_seconds),
                orphans: match orphans {
                    Orphans::Report => OrphanPolicy::Report,
                    Orphans::Remove => OrphanPolicy::Remove,
                },
                grace: Duration::from_secs(orphan_grace_seconds),
            },
            worker_submission,
            environment,
            endpoint: cloud.endpoint,
            azure_http: HttpSettings {
                timeout: Duration::from_secs(azure_timeout_seconds),
                ..HttpSettings::default()
            },
            metadata_host: cloud.metadata_host,
            lends_own_identity: azure.allow_operator_identity,
            own_identity: cloud.identity,
        })
    }
}

/// Where Azure is, and who the operator is there.
struct Cloud {
    endpoint: Endpoint,
    metadata_host: Option<Url>,
    identity: Option<Identity>,
}

impl Cloud {
    fn of(azure: &AzureArgs, errors: &mut SettingsErrors) -> Option<Self> {
        let host = azure.azure_pod_identity_authority_host.as_deref();
        let endpoint = errors.keep(endpoint(azure));
        let metadata_host = errors.keep(host.map(metadata_host).transpose());
        let identity = errors.keep(own_identity(azure));
        Some(Self {
            endpoint: endpoint?,
            metadata_host: metadata_host?,
            identity: identity?,
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
    /// All that is wrong; see [`SettingsError`].
    pub fn new(clusters: ClusterArgs, azure: &AzureArgs) -> Result<Self, SettingsErrors> {
        let instance = clusters.instance.clone();
        let worker_submission = worker_submission(clusters.worker_submission);
        let mut errors = SettingsErrors(Vec::new());
        let environment = errors.keep(environment(clusters));
        let cloud = Cloud::of(azure, &mut errors);
        let (Some(environment), Some(cloud)) = (environment, cloud) else {
            return Err(errors);
        };
        Ok(Self {
            instance,
            worker_submission,
            environment,
            endpoint: cloud.endpoint,
            azure_http: HttpSettings::default(),
            metadata_host: cloud.metadata_host,
            identity: cloud.identity,
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn settings(typed: &[&str]) -> Result<Settings, SettingsErrors> {
        let typed = ["dask-azureml-operator", "run"].iter().chain(typed);
        let Command::Run(args) = Cli::parse_from(typed).command else {
            panic!("it is the command run");
        };
        Settings::new(*args)
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let refused = settings(&[
            "--default-conda-file=/nowhere/conda.yaml",
            "--azure-resource-manager-endpoint=no url",
            "--azure-pod-identity-authority-host=nowhere",
            "--azure-client-secret=alone",
        ]);
        let SettingsErrors(errors) = refused.err().unwrap();
        assert!(
            matches!(
                errors.as_slice(),
                [
                    SettingsError::CondaFile { .. },
                    SettingsError::Endpoint(_),
                    SettingsError::MetadataHost(_),
                    SettingsError::Identity(_),
                ]
            ),
            "{errors:?}"
        );
    }

    #[test]
    fn what_is_typed_reaches_whom_it_concerns() {
        let settings = settings(&[
            "--azure-timeout-seconds=7",
            "--scheduler-poll-seconds=9",
            "--concurrent-reconciles=3",
        ]);
        let settings = settings.ok().unwrap();
        assert_eq!(settings.azure_http.timeout, Duration::from_secs(7));
        assert_eq!(settings.scheduler_poll, Duration::from_secs(9));
        assert_eq!(settings.concurrent_reconciles, 3);
    }
}

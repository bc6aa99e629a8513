//! What was typed, and what it means: checked once, passed down, never global.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use uuid::Uuid;

use crate::azure::{Endpoint, HttpSettings, Identity, InvalidEndpoint, InvalidIdentity};
use crate::cli::{AzureArgs, ClusterArgs, LeaseArgs, Orphans, RunArgs, Submission};
use crate::leadership::{LeaseSettings, Timing};
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
    /// `None` where this operator is alone.
    pub lease: Option<LeaseSettings>,
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
    #[error(
        "'{0}' is no name for a Lease (lower case letters, digits and dashes, at most 63): give --lease-name"
    )]
    LeaseName(String),
    #[error(
        "--lease-renew-seconds={renew} is more than half of --lease-duration-seconds={duration}: a renewal that fails could not be tried again in time"
    )]
    LeaseRenew { renew: u64, duration: u64 },
    #[error(
        "--lease-retry-seconds={retry} is more than --lease-renew-seconds={renew}: a renewal that fails could not be tried again in time"
    )]
    LeaseRetry { retry: u64, renew: u64 },
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
            lease,
            clusters,
            log: _,
            log_filter_file: _,
            log_format: _,
            azure,
            concurrent_reconciles,
            azure_timeout_seconds,
            scheduler_poll_seconds,
        } = args;
        let pod = lease.pod_name.clone();
        let instance = clusters.instance.clone();
        let worker_submission = worker_submission(clusters.worker_submission);
        let mut errors = SettingsErrors(Vec::new());
        let environment = errors.keep(environment(clusters));
        let cloud = Cloud::of(&azure, &mut errors);
        let lease = errors.keep(lease_settings(lease, &instance));
        let (Some(environment), Some(cloud), Some(lease)) = (environment, cloud, lease) else {
            return Err(errors);
        };
        Ok(Self {
            metrics_listen,
            metrics_address_file,
            cluster_metrics,
            instance,
            lease,
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
                pod,
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

/// The name of this machine, as Linux tells it: a pod's is its own.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

fn lease_settings(
    typed: LeaseArgs,
    instance: &str,
) -> Result<Option<LeaseSettings>, SettingsError> {
    let LeaseArgs {
        leader_election,
        lease_namespace,
        lease_name,
        pod_name,
        lease_duration_seconds: duration,
        lease_renew_seconds: renew,
        lease_retry_seconds: retry,
    } = typed;
    if renew > duration / 2 {
        return Err(SettingsError::LeaseRenew { renew, duration });
    }
    if retry > renew {
        return Err(SettingsError::LeaseRetry { retry, renew });
    }
    if !leader_election.unwrap_or(lease_namespace.is_some()) {
        return Ok(None);
    }
    let release = instance.rsplit('/').next().unwrap_or_default();
    let name = lease_name.unwrap_or_else(|| release.to_owned());
    if !is_label(&name) {
        return Err(SettingsError::LeaseName(name));
    }
    let machine = pod_name
        .or_else(|| std::fs::read_to_string(HOSTNAME).ok())
        .unwrap_or_default();
    Ok(Some(LeaseSettings {
        namespace: lease_namespace,
        name,
        holder: format!("{}_{}", machine.trim(), Uuid::new_v4()),
        instance: instance.to_owned(),
        timing: Timing {
            duration: Duration::from_secs(duration),
            renew: Duration::from_secs(renew),
            retry: Duration::from_secs(retry),
        },
    }))
}

/// Whether it is a label of DNS, as names of Kubernetes are.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
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

    /// What the flags of `run` mean for the lease, or what is wrong with them.
    fn lease(flags: &[&str]) -> Result<Option<LeaseSettings>, String> {
        let words = ["dask-azureml-operator", "run"].iter().chain(flags);
        let typed = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Run(args) = typed.command else {
            return Err("another command".to_owned());
        };
        lease_settings(args.lease, &args.clusters.instance).map_err(|error| error.to_string())
    }

    fn taken(flags: &[&str]) -> LeaseSettings {
        lease(flags).unwrap().unwrap()
    }

    #[test]
    fn there_is_an_election_where_it_is_asked_for_or_the_namespace_of_its_lease_is_known() {
        for (flags, is_held) in [
            (vec![], false),
            (vec!["--leader-election=true"], true),
            (vec!["--lease-namespace=dask"], true),
            (
                vec!["--lease-namespace=dask", "--leader-election=false"],
                false,
            ),
        ] {
            assert_eq!(lease(&flags).unwrap().is_some(), is_held, "{flags:?}");
        }
    }

    #[test]
    fn a_lease_is_named_after_the_instance_and_its_holder_is_like_no_other() {
        let on = "--leader-election=true";
        assert_eq!(taken(&[on]).name, "dask-azureml-operator");
        assert_eq!(taken(&[on, "--instance=dask/weather"]).name, "weather");
        assert_eq!(taken(&[on, "--lease-name=mine"]).name, "mine");
        let holder = taken(&[on, "--pod-name=pod-1"]).holder;
        assert!(holder.starts_with("pod-1_"), "{holder}");
        assert_ne!(taken(&[on, "--pod-name=pod-1"]).holder, holder);
        assert!(!taken(&[on]).holder.starts_with('_'));
    }

    #[test]
    fn settings_of_the_lease_outside_their_ranges_are_refused_with_the_range() {
        let on = "--leader-election=true";
        for (flags, words) in [
            (vec!["--lease-duration-seconds=4"], "5..=300"),
            (vec!["--lease-duration-seconds=301"], "5..=300"),
            (vec!["--lease-renew-seconds=0"], "1..=150"),
            (vec!["--lease-renew-seconds=151"], "1..=150"),
            (vec!["--lease-retry-seconds=0"], "1..=60"),
            (vec!["--lease-retry-seconds=61"], "1..=60"),
            (
                vec!["--lease-renew-seconds=8"],
                "more than half of --lease-duration-seconds=15",
            ),
            (
                vec!["--lease-retry-seconds=6"],
                "more than --lease-renew-seconds=5",
            ),
            (
                vec![on, "--lease-name=My_Lease"],
                "'My_Lease' is no name for a Lease",
            ),
            (vec![on, "--instance=dask/"], "'' is no name for a Lease"),
            (vec![on, "--lease-name=-a"], "'-a' is no name"),
        ] {
            let refused = lease(&flags).unwrap_err();
            assert!(refused.contains(words), "{flags:?}: {refused}");
        }
        for flags in [
            vec![on, "--lease-duration-seconds=5", "--lease-renew-seconds=2"],
            vec![
                on,
                "--lease-duration-seconds=300",
                "--lease-renew-seconds=150",
                "--lease-retry-seconds=60",
            ],
        ] {
            let timing = taken(&flags).timing;
            assert!(timing.renew < timing.good_for(), "{flags:?}");
        }
    }

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

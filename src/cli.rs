//! What was typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::{LogFormat, check_filter};

#[derive(Debug, Parser)]
#[command(
    name = "dask-azureml-operator",
    version,
    about = "Makes DaskCluster manifests true on Azure Machine Learning"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch DaskClusters and make them true
    Run(Box<RunArgs>),
    /// Print what would be done for a manifest and what it would cost, and change nothing
    Plan(Box<PlanArgs>),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print the page that says what each metric means
    Metrics,
    /// Print the page that says what each flag of `run` means
    Settings,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where /metrics, /livez and /readyz are served: an address with its port
    #[arg(long, env = "METRICS_LISTEN", default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,
    /// Write the address of the metrics server to this file once it listens
    #[arg(long)]
    pub metrics_address_file: Option<PathBuf>,
    /// Whether /metrics tells of each DaskCluster, at most 40 series each
    #[arg(long, env = "CLUSTER_METRICS", default_value_t = true, action = clap::ArgAction::Set)]
    pub cluster_metrics: bool,
    /// Seconds that a cluster at rest goes unlooked at (5 to 3600)
    #[arg(long, env = "RESYNC_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub resync_seconds: u64,
    /// Seconds between two sweeps for what no DaskCluster owns any more (60 to 86400)
    #[arg(long, env = "SWEEP_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(60..=86400))]
    pub sweep_seconds: u64,
    /// What becomes of pools and jobs that no DaskCluster owns any more
    #[arg(long, env = "ORPHANS", value_enum, default_value_t)]
    pub orphans: Orphans,
    /// Seconds that an orphan is only told before it is removed (60 to 604800)
    #[arg(long, env = "ORPHAN_GRACE_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(60..=604_800))]
    pub orphan_grace_seconds: u64,
    /// Reconciles at once; 0 is no limit (0 to 1000)
    #[arg(long, env = "CONCURRENT_RECONCILES", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub concurrent_reconciles: u16,
    /// Seconds that a request to Azure may take, from its first byte to the last of its answer (5 to 300)
    #[arg(long, env = "AZURE_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=300))]
    pub azure_timeout_seconds: u64,
    /// Seconds between two looks at a scheduler where no worker comes or goes (1 to 60)
    #[arg(long, env = "SCHEDULER_POLL_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub scheduler_poll_seconds: u64,
    #[command(flatten)]
    pub lease: LeaseArgs,
    #[command(flatten)]
    pub clusters: ClusterArgs,
    /// What is logged: a level, or levels by module, as 'info,dask_azureml_operator=debug'
    #[arg(long, env = "LOG", default_value = "info", value_parser = check_filter)]
    pub log: String,
    /// File with a log filter that takes the place of --log while it is there; it is read again every 2 s
    #[arg(long, env = "LOG_FILTER_FILE")]
    pub log_filter_file: Option<PathBuf>,
    /// Log format
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub azure: AzureArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// File with the manifest of one DaskCluster; - is the standard input
    #[arg(short, long)]
    pub filename: PathBuf,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value_t)]
    pub output: PlanOutput,
    /// Namespace of a manifest that names none [default: the one of the kubeconfig]
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub clusters: ClusterArgs,
    #[command(flatten)]
    pub azure: AzureArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    #[default]
    Text,
    Json,
}

/// Which of several operators works.
#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// Whether only the operator works that holds a Lease, of all that share it [default: where --lease-namespace is given]
    #[arg(long, env = "LEADER_ELECTION")]
    pub leader_election: Option<bool>,
    /// Namespace of the Lease [default with --leader-election=true: the pod's own, or the one of the kubeconfig]
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the Lease [default: what follows the last / of --instance]
    #[arg(long, env = "LEASE_NAME")]
    pub lease_name: Option<String>,
    /// What the Lease's holder is called, before what makes it unique [default: the name of the machine, which is the pod's]
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Seconds after its last renewal that a lease is taken by another operator; a killed one is succeeded so late (5 to 300)
    #[arg(long, env = "LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=300))]
    pub lease_duration_seconds: u64,
    /// Seconds between two renewals, at most half of the lease's duration (1 to 150)
    #[arg(long, env = "LEASE_RENEW_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=150))]
    pub lease_renew_seconds: u64,
    /// Seconds between two looks of a standby at the lease, at most those between renewals; one that was let go is taken so late (1 to 60)
    #[arg(long, env = "LEASE_RETRY_SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub lease_retry_seconds: u64,
}

/// What the operator's settings contribute to the meaning of manifests.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Release namespace and name: tells this operator from others on the same workspace
    #[arg(
        long,
        env = "OPERATOR_INSTANCE",
        default_value = "dask-azureml-operator/dask-azureml-operator"
    )]
    pub instance: String,
    /// When worker jobs are submitted: with the head's, or once it runs
    #[arg(long, env = "WORKER_SUBMISSION", value_enum, default_value_t)]
    pub worker_submission: Submission,
    /// Image of clusters that name no environment, and base image of those that give a conda file alone
    #[arg(
        long,
        env = "DEFAULT_IMAGE",
        default_value = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250915.v1"
    )]
    pub default_image: String,
    /// Conda file of clusters that name no environment [default: a pinned one with distributed]
    #[arg(long, env = "DEFAULT_CONDA_FILE")]
    pub default_conda_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Submission {
    #[default]
    BesideHead,
    AfterHead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Orphans {
    /// They are told in log, metrics and events
    #[default]
    Report,
    /// They are removed once their grace has passed
    Remove,
}

/// The operator's own identity and cloud; the variables are those of Microsoft's SDKs.
#[derive(Args)]
pub struct AzureArgs {
    /// Address of Entra [default: https://login.microsoftonline.com]
    #[arg(long, env = "AZURE_AUTHORITY_HOST", hide_env_values = true)]
    pub azure_authority_host: Option<String>,
    /// Address of Azure Resource Manager [default: https://management.azure.com]
    #[arg(long, env = "AZURE_RESOURCE_MANAGER_ENDPOINT", hide_env_values = true)]
    pub azure_resource_manager_endpoint: Option<String>,
    /// What tokens for Azure Resource Manager are for [default: its address]
    #[arg(long, env = "AZURE_RESOURCE_MANAGER_AUDIENCE", hide_env_values = true)]
    pub azure_resource_manager_audience: Option<String>,
    /// Tenant of the operator's own identity
    #[arg(long, env = "AZURE_TENANT_ID", hide = true)]
    pub azure_tenant_id: Option<String>,
    /// Client id of the operator's own identity
    #[arg(long, env = "AZURE_CLIENT_ID", hide = true)]
    pub azure_client_id: Option<String>,
    /// Client secret of the operator's own identity; give it as a variable, not as a flag
    #[arg(long, env = "AZURE_CLIENT_SECRET", hide = true, hide_env_values = true)]
    pub azure_client_secret: Option<String>,
    /// File with the token that stands for a secret: workload identity sets it
    #[arg(long, env = "AZURE_FEDERATED_TOKEN_FILE", hide = true)]
    pub azure_federated_token_file: Option<String>,
    /// File with the certificate and key of the operator's own identity
    #[arg(long, env = "AZURE_CLIENT_CERTIFICATE_PATH", hide = true)]
    pub azure_client_certificate_path: Option<String>,
    /// The operator is a managed identity of its machine: the user-assigned one of AZURE_CLIENT_ID, or else the machine's own
    #[arg(long, env = "AZURE_MANAGED_IDENTITY")]
    pub azure_managed_identity: bool,
    /// Where the metadata service of virtual machines is [default: http://169.254.169.254]
    #[arg(
        long,
        env = "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        hide_env_values = true
    )]
    pub azure_pod_identity_authority_host: Option<String>,
    /// DaskClusters act as the operator where neither they nor their namespace have credentials
    #[arg(long, env = "ALLOW_OPERATOR_IDENTITY")]
    pub allow_operator_identity: bool,
}

impl std::fmt::Debug for AzureArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureArgs")
            .field("azure_authority_host", &self.azure_authority_host)
            .field(
                "azure_resource_manager_endpoint",
                &self.azure_resource_manager_endpoint,
            )
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// `5` and `3600` of a help that ends in `(5 to 3600)`.
    fn range(help: &str) -> Option<(u64, u64)> {
        let (_, range) = help.strip_suffix(')')?.rsplit_once('(')?;
        let (least, most) = range.split_once(" to ")?;
        Some((least.parse().ok()?, most.parse().ok()?))
    }

    #[test]
    fn what_was_typed_is_shown_without_its_secret() {
        let secret = "--azure-client-secret=hush-hush";
        let typed = Cli::try_parse_from(["dask-azureml-operator", "run", secret]);
        let shown = format!("{:?}", typed.unwrap());
        assert!(
            shown.contains("AzureArgs") && !shown.contains("hush"),
            "{shown}"
        );
    }

    #[test]
    fn every_number_has_a_range_that_its_help_tells_and_that_is_held() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let mut numbers = 0;
        for option in run.get_arguments() {
            let help = option
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(!help.is_empty(), "{}", option.get_id());
            let default = option.get_default_values().first();
            let default = default.and_then(|default| default.to_str()?.parse::<u64>().ok());
            let Some(default) = default else {
                assert_eq!(range(&help), None, "{}", option.get_id());
                continue;
            };
            numbers += 1;
            let (least, most) =
                range(&help).unwrap_or_else(|| panic!("{} {help}", option.get_id()));
            assert!((least..=most).contains(&default));
            let takes = |value: String| {
                let flag = format!("--{}={value}", option.get_long().unwrap());
                Cli::try_parse_from(["dask-azureml-operator", "run", &flag]).is_ok()
            };
            assert!(
                takes(least.to_string()) && takes(most.to_string()),
                "{help}"
            );
            assert!(!takes((most + 1).to_string()), "{help}");
            assert!(!takes(format!("{}", i128::from(least) - 1)), "{help}");
        }
        assert!(numbers >= 6, "{numbers}");
    }
}

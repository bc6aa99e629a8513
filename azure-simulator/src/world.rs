//! The world file: what exists before the first request, and how this Azure behaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

pub use crate::behaviour::{
    AfterLoss, Cancel, EndOfJobs, LongRunning, NetworkConflict, PoolNodeLimits, Unproven,
};
use crate::clock::Pace;
use crate::entra::JsonWebKeySet;
use crate::timings::Timings;

const TENANT: &str = "72f988bf-0000-4000-8000-00000000a001";
const CLIENT: &str = "c11e0000-0000-4000-8000-00000000a002";
const SUBSCRIPTION: &str = "5b500000-0000-4000-8000-00000000a003";

/// What a simulator starts with. Every field has a default, so `{}` is a whole world: one tenant,
/// one client, one subscription, resource group `rg-dask` and workspace `ws-dask` in `eastus`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// The region of the workspaces.
    pub location: String,
    /// Entra tenant that issues tokens.
    pub tenant_id: String,
    /// The only subscription.
    pub subscription_id: String,
    /// Service principals that may ask for a token.
    pub clients: Vec<Client>,
    /// Tokens of other issuers that stand for a client's secret.
    pub federated_credentials: Vec<FederatedCredential>,
    /// Resource groups that exist.
    pub resource_groups: Vec<String>,
    /// Workspaces that exist.
    pub workspaces: Vec<Workspace>,
    /// Storage URIs and the local folders that stand for them; the longest prefix wins.
    pub data: Vec<DataMapping>,
    /// What is on the `PATH` of jobs that run in an environment.
    pub environments: Vec<EnvironmentMapping>,
    /// Replaces the built-in list of VM sizes; entries as `GET locations/{loc}/vmSizes` has them.
    pub vm_sizes: Option<Vec<Value>>,
    /// Dedicated core limits by VM family (`standardDSv2Family`), told by `usages`; 500 where
    /// absent.
    pub family_core_limits: BTreeMap<String, u64>,
    /// Dedicated cores of all families; the sum of their limits where absent.
    pub total_core_limit: Option<u64>,
    /// Low-priority cores of all families; no limit where absent.
    pub low_priority_core_limit: Option<u64>,
    /// Computes of the subscription in the region.
    pub cluster_limit: u64,
    /// Nodes of one pool at most.
    pub pool_node_limits: PoolNodeLimits,
    /// How long things take, in seconds at pace 1.
    pub timings: Timings,
    /// How much faster than Azure the time runs, `"instant"`, or `"manual"`.
    pub time_scale: Pace,
    /// Whether jobs run.
    pub jobs: Jobs,
    /// Where nodes are found.
    pub node_addresses: NodeAddressing,
    /// How a job is ended.
    pub cancel: Cancel,
    /// What becomes of a job whose low-priority node is preempted.
    pub preemption: AfterLoss,
    /// What becomes of a job whose node is found unusable.
    pub node_failure: AfterLoss,
    /// How long-running operations are told of.
    pub operations: LongRunning,
    /// What Azure answers where it could not be found out.
    pub unproven: Unproven,
    /// Entries on one page of a LIST.
    pub page_size: usize,
    /// Whether a request that finds ARM's token bucket empty is answered with 429; the headers count
    /// either way.
    pub throttling: bool,
    /// Seconds of real time that an access token is good for.
    pub token_lifetime_seconds: u64,
    /// Whether the control port tells the tokens and signatures that were given out: for tests that look for them in
    /// what a client shows.
    pub tells_secrets: bool,
}

/// A service principal with a client secret.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Application (client) id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A federated identity credential of a client: whose tokens it may sign in with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedCredential {
    /// The client that signs in.
    pub client_id: String,
    /// `iss` of the token, such as the issuer of a Kubernetes cluster's service accounts.
    pub issuer: String,
    /// `sub` of the token, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// One of the token's `aud`.
    #[serde(default = "token_exchange")]
    pub audience: String,
    /// The issuer's public keys, which Azure would fetch from it. Where they are given, a token must be
    /// signed by one of them; where not, no signature is checked.
    #[serde(default)]
    pub jwks: Option<JsonWebKeySet>,
}

fn token_exchange() -> String {
    "api://AzureADTokenExchange".to_owned()
}

/// An Azure ML workspace that exists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// Its resource group; the first of the world where absent.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// `managedNetwork.isolationMode`: `Disabled`, `AllowInternetOutbound` or
    /// `AllowOnlyApprovedOutbound`.
    #[serde(default = "disabled")]
    pub managed_network: String,
}

fn disabled() -> String {
    "Disabled".to_owned()
}

/// Maps everything under a storage URI to a local folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMapping {
    /// URI prefix, as data versions and job inputs name it.
    pub uri: String,
    /// The folder (or file) that stands for it.
    pub path: PathBuf,
}

/// Chooses what is on the `PATH` of a job by the environment that it names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentMapping {
    /// Environments with exactly this image.
    pub image: Option<String>,
    /// Environments of this name, any version.
    pub name: Option<String>,
    /// Folder put first in the `PATH`.
    pub path: Option<PathBuf>,
    /// `false`: an image without Python.
    pub python: Option<bool>,
}

/// Where nodes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum NodeAddressing {
    /// On loopback addresses of their own.
    #[default]
    Loopback,
    /// On addresses of their pool's subnet, in a network namespace in which that range is local, and
    /// with it the instance metadata service. Nodes of pools without a subnet stay on loopback ones.
    Subnet,
}

/// Whether jobs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Jobs {
    /// Jobs are processes.
    #[default]
    Real,
    /// Jobs only pretend: no process is started, and stand-ins answer for Dask. For load tests.
    Pretend,
}

impl Jobs {
    /// `real` or `pretend`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Pretend => "pretend",
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            location: "eastus".to_owned(),
            tenant_id: TENANT.to_owned(),
            subscription_id: SUBSCRIPTION.to_owned(),
            clients: vec![Client {
                client_id: CLIENT.to_owned(),
                client_secret: "simulated-client-secret".to_owned(),
            }],
            federated_credentials: Vec::new(),
            resource_groups: vec!["rg-dask".to_owned()],
            workspaces: vec![Workspace {
                name: "ws-dask".to_owned(),
                resource_group: None,
                managed_network: disabled(),
            }],
            data: Vec::new(),
            environments: Vec::new(),
            vm_sizes: None,
            family_core_limits: BTreeMap::new(),
            total_core_limit: None,
            low_priority_core_limit: None,
            cluster_limit: 500,
            pool_node_limits: PoolNodeLimits::default(),
            timings: Timings::default(),
            time_scale: Pace::default(),
            jobs: Jobs::Real,
            node_addresses: NodeAddressing::Loopback,
            cancel: Cancel::default(),
            preemption: AfterLoss::Requeue,
            node_failure: AfterLoss::Fail,
            operations: LongRunning::default(),
            unproven: Unproven::default(),
            page_size: 100,
            throttling: false,
            token_lifetime_seconds: 3599,
            tells_secrets: false,
        }
    }
}

impl World {
    /// Reads a world file.
    pub fn from_file(path: &Path) -> Result<Self, WorldError> {
        let text = std::fs::read_to_string(path).map_err(|source| WorldError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let world: Self = serde_json::from_str(&text).map_err(|source| WorldError::NotAWorld {
            path: path.to_owned(),
            source,
        })?;
        world.checked()
    }

    /// Everything that takes time in Azure happens at once.
    #[must_use]
    pub fn without_delays(mut self) -> Self {
        self.time_scale = Pace::Instant;
        self
    }

    /// Time runs `scale` times faster than in Azure.
    #[must_use]
    pub fn with_time_scale(mut self, scale: f64) -> Self {
        self.time_scale = Pace::Scaled(scale);
        self
    }

    /// Time stands still until it is advanced.
    #[must_use]
    pub fn with_manual_time(mut self) -> Self {
        self.time_scale = Pace::Manual;
        self
    }

    /// Things take as long as `timings` says.
    #[must_use]
    pub fn with_timings(mut self, timings: Timings) -> Self {
        self.timings = timings;
        self
    }

    /// Jobs only pretend to run: for load tests.
    #[must_use]
    pub fn with_pretended_jobs(mut self) -> Self {
        self.jobs = Jobs::Pretend;
        self
    }

    /// Lets `path` stand for everything under the storage URI `uri`.
    #[must_use]
    pub fn with_data(mut self, uri: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.data.push(DataMapping {
            uri: uri.into(),
            path: path.into(),
        });
        self
    }

    pub(crate) fn checked(self) -> Result<Self, WorldError> {
        let absent = |what| Err(WorldError::Incomplete(what));
        if self.clients.is_empty() {
            return absent("at least one of `clients` is needed to sign in");
        }
        if self.resource_groups.is_empty() {
            return absent("at least one of `resource_groups` is needed");
        }
        if !(400..500).contains(&self.unproven.immutable_job_status) {
            return absent("`unproven.immutable_job_status` must be one of 400 to 499");
        }
        if !(400..500).contains(&self.unproven.immutable_asset_status) {
            return absent("`unproven.immutable_asset_status` must be one of 400 to 499");
        }
        if self.page_size == 0 {
            return absent("`page_size` must be at least 1");
        }
        for workspace in &self.workspaces {
            if let Some(group) = &workspace.resource_group
                && !self.resource_groups.contains(group)
            {
                return Err(WorldError::NoSuchResourceGroup {
                    workspace: workspace.name.clone(),
                    group: group.clone(),
                });
            }
        }
        let mut jwks = self
            .federated_credentials
            .iter()
            .filter_map(|one| one.jwks.as_ref());
        if !jwks.all(JsonWebKeySet::is_of_use) {
            return absent("the `jwks` of each of `federated_credentials` needs an RSA key");
        }
        for mapping in &self.environments {
            if mapping.image.is_none() && mapping.name.is_none() {
                return absent("an entry of `environments` needs `image` or `name`");
            }
            if mapping.path.is_some() == (mapping.python == Some(false)) {
                return absent(
                    "an entry of `environments` needs either `path` or `\"python\": false`",
                );
            }
        }
        Ok(self)
    }

    /// Resource group of a workspace of the world.
    pub(crate) fn resource_group_of<'a>(&'a self, workspace: &'a Workspace) -> &'a str {
        workspace
            .resource_group
            .as_deref()
            .unwrap_or(&self.resource_groups[0])
    }
}

/// A world that cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// The file cannot be read.
    #[error("cannot read the world file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a world in JSON.
    #[error("{} is not a world file", path.display())]
    NotAWorld {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something that every world needs is missing.
    #[error("the world is not complete: {0}")]
    Incomplete(&'static str),
    /// A workspace stands in a resource group that is not there.
    #[error("workspace {workspace} is in resource group {group}, which `resource_groups` lacks")]
    NoSuchResourceGroup {
        /// The workspace.
        workspace: String,
        /// The missing group.
        group: String,
    },
}

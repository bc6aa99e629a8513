//! What a look found: facts only, from Kubernetes, Azure and the scheduler.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde_json::Value;

use super::preflight::Preflight;
use super::region::{Usage, VmSize};
use super::setbacks::Setback;
use super::told::Told;
use super::validate::ValidCluster;
use crate::api::{Annotations, Reason};
use crate::azure::{ErrorBody, ResourceId};
use crate::azure_resources::PoolNode;
use crate::azure_resources::job::{Closing, JobFacts, Lineup, Updates};
use crate::cluster::Place;
use crate::dask::SchedulerSight;
use crate::kubernetes_children::HeldConnection;
use crate::lookup::{Lookup, Trouble};
use crate::names::JobName;
use crate::scaling::{self, Aim, Recommendations};
use crate::token::Token;

/// Everything that a plan is made from, besides the manifest.
#[derive(Clone, Debug)]
pub struct Observed {
    pub seen_at: Timestamp,
    /// Of the spec.
    pub generation: i64,
    /// How many workers were of use lately.
    pub recommendations: Recommendations,
    /// What the annotations of the DaskCluster ask for.
    pub annotations: Annotations,
    /// The operator's setting: whether worker jobs may go out beside the head's.
    pub worker_submission: WorkerSubmission,
    pub namespace_is_going: bool,
    /// Our finalizer stands on the DaskCluster.
    pub has_finalizer: bool,
    /// The annotation `azureml.dask.dev/abandon` is `"true"`.
    pub is_abandoned: bool,
    pub credentials: Credentials,
    pub workspace: Lookup<Workspace>,
    pub vm_sizes: Lookup<Arc<[VmSize]>>,
    /// The quotas of the subscription in the workspace's region.
    pub usages: Lookup<Arc<[Usage]>>,
    /// What was found before the first spend, once this generation of the spec has passed.
    pub passed: Option<Preflight>,
    /// Bodies by id: what the kinds asked to look at, and every job of the cluster.
    pub resources: BTreeMap<ResourceId, Lookup<Value>>,
    /// Whether the jobs of the workspace were listed; then a job that is not among the resources is absent.
    pub jobs_listed: Lookup<()>,
    pub job_failures: BTreeMap<String, JobFailure>,
    /// Nodes of the pool, asked for when the head's address does not lie in the subnet.
    pub pool_nodes: Lookup<Vec<PoolNode>>,
    pub service: Lookup<Service>,
    pub endpoint_slice: Lookup<EndpointSlice>,
    pub connection: Lookup<HeldConnection>,
    pub scheduler: SchedulerSight,
    /// What the DaskCluster's own status and annotations say.
    pub told: Told,
    /// What failed before and is not tried again before its time, by step.
    pub setbacks: BTreeMap<String, Setback>,
    /// Since when each resource that is on its way has been seen in the state that it is in.
    pub since: BTreeMap<ResourceId, Timestamp>,
    /// The operations that Azure named for writes of ours, by resource.
    pub operations: BTreeMap<ResourceId, OperationFacts>,
    /// A drawn token, should one be needed: a drawing is a fact, not a decision.
    pub fresh_token: Token,
}

/// An operation of Azure, without its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationFacts {
    /// What Azure's support finds it by.
    pub id: String,
    /// Why it failed, where it did.
    pub error: Option<ErrorBody>,
}

/// Whether worker jobs are submitted with the head's or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum WorkerSubmission {
    /// All at once, so that the pool resizes once.
    #[default]
    BesideHead,
    /// For workspaces in which a job may not read the tags of another: workers go out when the head runs.
    AfterHead,
}

/// The Secret that says who we are to Azure, and our hold on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The Secret that the manifest names or that the namespace has, if it exists; `None` for the operator's own
    /// identity.
    pub secret: Option<SecretReference>,
    /// Our in-use finalizer stands on it.
    pub held: bool,
    /// Somebody deletes it.
    pub going: bool,
    /// Nobody could be made out of them, or Azure refused them.
    pub trouble: Option<Trouble>,
    /// No other cluster of the namespace uses the same Secret.
    pub last_user: bool,
    /// Secrets of this namespace that carry our in-use finalizer and that no cluster uses.
    pub releasable: Vec<SecretReference>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    pub name: String,
    /// Keeps a write from making a Secret that is gone.
    pub uid: String,
}

/// What we read of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub location: String,
    /// `Disabled` when the pool may lie in a network of ours.
    pub isolation_mode: String,
    pub discovery_url: Option<String>,
}

impl Workspace {
    pub fn read(body: &Value) -> Option<Self> {
        Some(Self {
            location: body.get("location")?.as_str()?.to_owned(),
            isolation_mode: body
                .pointer("/properties/managedNetwork/isolationMode")
                .and_then(Value::as_str)
                .unwrap_or("Disabled")
                .to_owned(),
            discovery_url: body
                .pointer("/properties/discoveryUrl")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

/// Why a job ended, in Azure's and its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// Azure's error text, if it gave one.
    pub error: Option<String>,
    /// The last lines of the job's log.
    pub log_tail: Option<String>,
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, &self.log_tail) {
            (None, None) => f.write_str("Azure tells no cause"),
            (Some(error), None) => f.write_str(error),
            (None, Some(tail)) => write!(f, "its log ends with: {tail}"),
            // Azure's text of a failed command ends in a piece of the same log.
            (Some(error), Some(tail)) => {
                let error = error
                    .split(" Please check log file")
                    .next()
                    .unwrap_or_default();
                write!(f, "{error} Its log ends with: {tail}")
            }
        }
    }
}

impl Observed {
    pub fn resource(&self, id: &ResourceId) -> Lookup<&Value> {
        match self.resources.get(id) {
            Some(Lookup::Present(body)) => Lookup::Present(body),
            Some(Lookup::Absent) => Lookup::Absent,
            Some(Lookup::Unavailable(trouble)) => Lookup::Unavailable(trouble.clone()),
            Some(Lookup::NotAsked) => Lookup::NotAsked,
            None if id.resource_type().eq_ignore_ascii_case(JOB_TYPE) => match &self.jobs_listed {
                Lookup::Present(()) => Lookup::Absent,
                Lookup::Unavailable(trouble) => Lookup::Unavailable(trouble.clone()),
                Lookup::Absent | Lookup::NotAsked => Lookup::NotAsked,
            },
            None => Lookup::NotAsked,
        }
    }

    /// How long it has been in the state that it is in, as far as this process has seen.
    pub fn age(&self, id: &ResourceId) -> Option<(Timestamp, SignedDuration)> {
        let since = *self.since.get(id)?;
        Some((since, self.seen_at.duration_since(since)))
    }

    pub fn location(&self) -> Option<&str> {
        self.workspace
            .present()
            .map(|workspace| workspace.location.as_str())
    }

    /// The address range that the nodes lie in, as far as it is known.
    pub fn subnet_prefix(&self, cluster: &ValidCluster) -> Option<Ipv4Net> {
        if let Some(prefix) = cluster
            .network
            .as_ref()
            .and_then(|network| network.subnet_address_prefix)
        {
            return Some(prefix);
        }
        let subnet = match &cluster.place.network {
            Some(network) => network.subnet.clone(),
            None => self.pool_subnet(&cluster.place)?,
        };
        let Lookup::Present(body) = self.resource(&subnet) else {
            return None;
        };
        let one = body.pointer("/properties/addressPrefix");
        let many = body.pointer("/properties/addressPrefixes/0");
        one.or(many)?.as_str()?.parse().ok()
    }

    /// The subnet that an existing pool lies in.
    pub fn pool_subnet(&self, place: &Place) -> Option<ResourceId> {
        let Lookup::Present(pool) = self.resource(&place.compute) else {
            return None;
        };
        pool.pointer("/properties/properties/subnet/id")?
            .as_str()?
            .parse()
            .ok()
    }

    /// The jobs of this cluster, put in order for what it is to have now.
    ///
    /// # Errors
    /// As [`Self::lineup`].
    pub fn lineup_of(&self, cluster: &ValidCluster) -> Result<Lineup, Trouble> {
        let jobs = self.jobs(&cluster.place)?;
        let aim = scaling::aim(cluster, self, &jobs);
        let updates = scaling::updates(cluster, self, &aim, &jobs);
        let closing = scaling::closing(cluster, self);
        Ok(in_order(jobs, aim, updates, &closing, &cluster.place))
    }

    /// The jobs of this cluster, put in order for a head and `workers`.
    ///
    /// # Errors
    /// The LIST's own trouble, that it has not been made, or that a job in it cannot be read.
    pub fn lineup(&self, place: &Place, workers: u32) -> Result<Lineup, Trouble> {
        Ok(in_order(
            self.jobs(place)?,
            Aim::of(workers),
            Updates::default(),
            &Closing::default(),
            place,
        ))
    }

    fn jobs(&self, place: &Place) -> Result<BTreeMap<JobName, JobFacts>, Trouble> {
        match &self.jobs_listed {
            Lookup::Present(()) => {}
            Lookup::Unavailable(trouble) => return Err(trouble.clone()),
            Lookup::Absent | Lookup::NotAsked => {
                return Err(Trouble::passing(
                    Reason::Pending,
                    "the jobs of the workspace have not been listed yet",
                ));
            }
        }
        let bodies = self.resources.iter().filter_map(|(id, body)| {
            let name = place.identity.parse_job_id(id.name())?;
            (id == &place.job(name)).then_some((name, body.present()?))
        });
        let read = |(name, body)| match JobFacts::read(body) {
            Some(facts) => Ok((name, facts)),
            None => Err(Trouble::passing(
                Reason::AzureError,
                format!(
                    "Azure's answer for job {} cannot be read",
                    place.identity.job_id(name)
                ),
            )),
        };
        bodies.map(read).collect()
    }
}

fn in_order(
    jobs: BTreeMap<JobName, JobFacts>,
    aim: Aim,
    updates: Updates,
    closing: &Closing,
    place: &Place,
) -> Lineup {
    Lineup::of(jobs, aim, updates, closing, |name| {
        place.identity.job_id(name)
    })
}

const JOB_TYPE: &str = "Microsoft.MachineLearningServices/workspaces/jobs";

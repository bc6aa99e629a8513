//! What the operator reports: `status`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::quantity;
use super::{IdleAction, conditions};

/// What the operator last saw of a DaskCluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling and Stalled sum up; the others speak of one stage each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// Where the cluster is in its life, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// How to reach the Dask scheduler, once it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerStatus>,

    /// The run of the head in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,

    /// The pool of virtual machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeStatus>,

    /// The head's pool, where `spec.scheduler.compute` gives it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_compute: Option<ComputeStatus>,

    /// The nodes of the pool, and of the head's where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,

    /// The Dask workers, the head's own included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerCounts>,

    /// The data assets that the jobs read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub datasets: Vec<DatasetStatus>,

    /// The Azure resources of the cluster's own, and what each was last found to hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    #[schemars(length(max = 40))]
    pub resources: Vec<ResourceStatus>,

    /// How many worker jobs there are, the head's job not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,

    /// The labels that the scale subresource asks for. Nothing carries them, as the workers are no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub selector: Option<String>,

    /// What the autoscaler has decided last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,

    /// When the number of wanted workers last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,

    /// Since when the scheduler has had no task that runs, waits for a worker or for a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<Time>,

    /// Why the cluster rests, or is coming to rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestStatus>,

    /// The rests that come by themselves if all goes on as it does, which are warned of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["reason".into()]))]
    #[schemars(length(max = 4))]
    pub coming_rests: Vec<ComingRest>,

    /// The newest head job that ended with a rest: that it did is no failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub rested_head: Option<String>,

    /// Changes of the spec that jobs which run do not have yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["component".into()]))]
    #[schemars(length(max = 4))]
    pub pending_changes: Vec<PendingChange>,

    /// What the nodes cost: an estimate from Azure's list prices and the nodes as they were observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostStatus>,

    /// What would be done, while the annotation azureml.dask.dev/dry-run keeps it from being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub planned_changes: Option<String>,

    /// The value of the annotation azureml.dask.dev/reconcile-requested-at that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_reconcile_at: Option<String>,
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Seen, and nothing done yet.
    Pending,
    /// Network, pool, data assets or environment are being made.
    Provisioning,
    /// The jobs are submitted; the scheduler or workers are still missing.
    Starting,
    /// The scheduler answers and the wanted workers have registered.
    Running,
    /// Workers and head are being let go, and the manifest stays.
    Suspending,
    /// No job is left: a change of the spec or the annotation azureml.dask.dev/wake brings them back.
    Suspended,
    /// Something needs the user: see the condition `Stalled`.
    Stalled,
    /// The cluster is being taken apart.
    Deleting,
}

/// How to reach the Dask scheduler.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulerStatus {
    /// What a Dask client connects to, such as tcp://10.20.0.8:8786.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub address: Option<String>,

    /// The URL of the dashboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub dashboard: Option<String>,

    /// The URL of JupyterLab, when the spec asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub jupyter: Option<String>,

    /// The IP address of the head node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub head_node: Option<String>,

    /// The DNS name of the Service in front of the scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub service: Option<String>,
}

/// The run of the head in the workspace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The id of the head's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub name: Option<String>,

    /// The experiment it is listed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub experiment: Option<String>,

    /// Its status in Azure's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub status: Option<String>,

    /// Its page in Azure Machine Learning studio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub studio_url: Option<String>,

    /// When it started to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When it ends at the latest: Azure's own limit, or `maxLifetimeSeconds` where that comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}

/// The pool of virtual machines, in Azure's own words.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComputeStatus {
    /// Its ARM id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 360))]
    pub id: Option<String>,

    /// How far Azure is with making or changing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub provisioning_state: Option<String>,

    /// Steady, or Resizing while nodes come and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allocation_state: Option<String>,
}

/// The nodes of the cluster's pools, as Azure counts them.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// How many Azure is working towards.
    #[serde(default)]
    pub target: u32,
    /// How many there are.
    #[serde(default)]
    pub current: u32,
    /// How many wait for a job.
    #[serde(default)]
    pub idle: u32,
    /// How many run a job.
    #[serde(default)]
    pub running: u32,
    /// How many are being prepared.
    #[serde(default)]
    pub preparing: u32,
    /// How many cannot be used.
    #[serde(default)]
    pub unusable: u32,
    /// How many are being given back.
    #[serde(default)]
    pub leaving: u32,
    /// How many Azure has taken back.
    #[serde(default)]
    pub preempted: u32,
    /// How many the pools may grow to.
    #[serde(default)]
    pub max: u32,
    /// How many run jobs of this cluster; the others of a shared pool are somebody else's.
    #[serde(default)]
    pub own: u32,
}

/// What the autoscaler has decided.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// How many worker nodes it wants now.
    pub desired_replicas: u32,
    /// Why, in one line.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub decision: String,
}

/// Why a cluster rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestReason {
    /// `spec.suspend` says so.
    Suspended,
    /// It was idle for `idleTimeoutSeconds`.
    Idle,
    /// It has reached `maxLifetimeSeconds`.
    LifetimeReached,
    /// Its budget is used up.
    OverBudget,
}

/// A rest, and what ends it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestStatus {
    /// Why.
    pub reason: RestReason,
    /// What it takes away.
    pub action: IdleAction,
    /// Since when.
    pub since: Time,
    /// The generation of the spec at which it began: a later one wakes the cluster.
    pub generation: i64,
    /// What the annotation azureml.dask.dev/wake said at that time: another text wakes the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub wake: Option<String>,
}

/// A rest that is warned of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComingRest {
    /// Why.
    pub reason: RestReason,
    /// It begins then, and no sooner.
    pub at: Time,
}

/// A change of the spec that some jobs do not have yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingChange {
    /// Whose jobs: head or workers.
    #[schemars(length(max = 16))]
    pub component: String,
    /// The fields of the spec.
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub fields: Vec<String>,
    /// How many jobs run without it.
    pub jobs: u32,
    /// What it waits for.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub waits_for: String,
}

/// What the nodes of a cluster cost, as an estimate: Azure's list price for the size and priority, times the nodes that
/// were observed. Discounts, disks, addresses and traffic are not in it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CostStatus {
    /// What the present nodes cost in an hour.
    #[schemars(schema_with = "quantity")]
    pub hourly: Quantity,
    /// What has come together so far.
    pub accrued: AccruedCost,
    /// The currency of both, such as USD.
    #[schemars(length(max = 8))]
    pub currency: String,
}

/// An amount at a time: it is written together with other changes only, as a status does not tick.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccruedCost {
    /// How much.
    #[schemars(schema_with = "quantity")]
    pub amount: Quantity,
    /// Up to when.
    pub as_of: Time,
}

/// The Dask workers, the head's own included.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerCounts {
    /// How many the spec asks for.
    #[serde(default)]
    pub desired: u32,
    /// How many are wanted and have not registered with the scheduler.
    #[serde(default)]
    pub pending: u32,
    /// How many have registered with the scheduler.
    #[serde(default)]
    pub ready: u32,
    /// Their threads, all together.
    #[serde(default)]
    pub cores: u32,
    /// Their memory limits, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    pub memory: Option<Quantity>,
}

/// A data asset that the jobs read.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetStatus {
    /// The name of the dataset in the spec.
    #[schemars(length(max = 255))]
    pub name: String,
    /// The version of the data asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub version: Option<String>,
    /// The ARM id of that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub id: Option<String>,
}

/// An Azure resource of the cluster's own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Its ARM id.
    #[schemars(length(max = 1024))]
    pub id: String,
    /// A hash of what the spec asked of it when Azure last had it so: with the same spec, a
    /// difference was made in Azure. Absent while the resource is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub applied_spec: Option<String>,
    /// Since when it is gone, while it is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Time>,
}

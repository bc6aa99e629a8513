//! The custom resource itself and the fields that stand directly in its spec.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{
    asset_name, forbidden, immutable, immutable_network, invalid, required, resource_group_name,
};
use super::{
    Autoscaling, Budget, Compute, DaskClusterStatus, Dataset, Environment, IdleAction, Network,
    Scheduler, UpdatePolicy, Worker, tags,
};

/// What a DaskCluster asks for. `workspace`, `network`, `scheduler.compute`, and of `compute` its name, size, priority and
/// identity cannot be changed later; `creationPolicy` can between Create and Adopt.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "azureml.dask.dev",
    version = "v1alpha1",
    kind = "DaskCluster",
    plural = "daskclusters",
    shortname = "adsk",
    category = "all",
    namespaced,
    status = "DaskClusterStatus",
    scale(
        spec_replicas_path = ".spec.worker.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    derive = "PartialEq",
    validation = (
        "self.metadata.name.matches(r'^[a-z]([-a-z0-9]{0,51}[a-z0-9])?$')",
        "metadata.name must be at most 53 lower-case letters, digits and -, start with a letter and not end in -: a Service is named after it",
    ),
    doc = "A Dask cluster on Azure Machine Learning: a scheduler on a head node and one worker on each further node of a pool of virtual machines.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Workers",
        type_ = "integer",
        json_path = ".status.workers.ready",
        description = "Dask workers registered with the scheduler"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.workers.desired",
        description = "Dask workers wanted"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "integer",
        json_path = ".status.nodes.current",
        description = "Virtual machines in the pool"
    ),
    printcolumn(
        name = "Cores",
        type_ = "integer",
        json_path = ".status.workers.cores",
        description = "Threads of all registered workers"
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.workers.memory",
        description = "Memory limits of all registered workers together"
    ),
    printcolumn(
        name = "Scheduler",
        type_ = "string",
        json_path = ".status.scheduler.address"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Dashboard",
        type_ = "string",
        json_path = ".status.scheduler.dashboard",
        priority = 1
    ),
    printcolumn(
        name = "Run",
        type_ = "string",
        json_path = ".status.run.name",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Rest",
        type_ = "string",
        json_path = ".status.rest.reason",
        description = "Why the cluster rests",
        priority = 1
    ),
    printcolumn(
        name = "Cost/h",
        type_ = "string",
        json_path = ".status.cost.hourly",
        description = "What the present nodes cost in an hour, as an estimate",
        priority = 1
    )
)]
#[x_kube(
    validation = required(
        ".network",
        "self.compute.creationPolicy == 'UseExisting' || has(self.network)",
        "network is required: name the virtual network and subnet that the nodes live in, or use an existing pool by compute.creationPolicy UseExisting",
    ),
    validation = forbidden(
        ".network",
        "self.compute.creationPolicy != 'UseExisting' || !has(self.network)",
        "network must be left out with compute.creationPolicy UseExisting: the pool's own subnet counts",
    ),
    validation = invalid(
        ".network.creationPolicy",
        "self.compute.creationPolicy != 'Adopt' || !has(self.network) || self.network.creationPolicy != 'Create'",
        "network.creationPolicy must be UseExisting or Adopt with compute.creationPolicy Adopt: a pool that exists lies in a network that exists",
    ),
    validation = invalid(
        ".network.peerings",
        "!has(self.network) || !has(self.network.peerings) || self.network.peerings.all(peering, peering.remoteVirtualNetworkId.lowerAscii() != ('/subscriptions/' + self.workspace.subscriptionId + '/resourceGroups/' + (has(self.network.virtualNetwork.resourceGroup) ? self.network.virtualNetwork.resourceGroup : self.workspace.resourceGroup) + '/providers/Microsoft.Network/virtualNetworks/' + self.network.virtualNetwork.name).lowerAscii())",
        "network.peerings must name other networks than network.virtualNetwork: a network cannot be peered with itself",
    ),
    validation = invalid(
        ".worker.replicas",
        "has(self.scheduler.compute) || 1 + self.worker.replicas <= self.compute.maxNodes",
        "worker.replicas and the head take 1 + replicas nodes, which is more than compute.maxNodes: lower worker.replicas or raise compute.maxNodes",
    ),
    validation = invalid(
        ".worker.replicas",
        "!has(self.scheduler.compute) || self.worker.replicas <= self.compute.maxNodes",
        "worker.replicas takes more nodes than compute.maxNodes allows, the head's own pool not counted: lower worker.replicas or raise compute.maxNodes",
    ),
    validation = invalid(
        ".network.subnet.addressPrefix",
        "!has(self.network) || !has(self.network.subnet.addressPrefix) || !isCIDR(self.network.subnet.addressPrefix) || cidr(self.network.subnet.addressPrefix).ip().family() != 4 || self.compute.maxNodes <= (cidr(self.network.subnet.addressPrefix).prefixLength() <= 25 ? 100 : {26: 59, 27: 27, 28: 11, 29: 3}[?cidr(self.network.subnet.addressPrefix).prefixLength()].orValue(0))",
        "network.subnet.addressPrefix is too small for compute.maxNodes, as Azure keeps five addresses: /29 holds 3 nodes, /28 11, /27 27, /26 59, /25 and larger 100",
    ),
    validation = invalid(
        ".network.subnet.addressPrefix",
        "!has(self.scheduler.compute) || !has(self.network) || !has(self.network.subnet.addressPrefix) || !isCIDR(self.network.subnet.addressPrefix) || cidr(self.network.subnet.addressPrefix).ip().family() != 4 || cidr(self.network.subnet.addressPrefix).prefixLength() <= 25 || self.compute.maxNodes < {26: 59, 27: 27, 28: 11, 29: 3}[?cidr(self.network.subnet.addressPrefix).prefixLength()].orValue(0)",
        "network.subnet.addressPrefix is too small for compute.maxNodes and the head's node, which scheduler.compute adds: /29 holds 3 nodes, /28 11, /27 27, /26 59, /25 and larger enough",
    ),
    validation = invalid(
        ".autoscaling.maxReplicas",
        "has(self.scheduler.compute) || !has(self.autoscaling) || 1 + self.autoscaling.maxReplicas <= self.compute.maxNodes",
        "autoscaling.maxReplicas and the head take 1 + maxReplicas nodes, which is more than compute.maxNodes: lower autoscaling.maxReplicas or raise compute.maxNodes",
    ),
    validation = invalid(
        ".autoscaling.maxReplicas",
        "!has(self.scheduler.compute) || !has(self.autoscaling) || self.autoscaling.maxReplicas <= self.compute.maxNodes",
        "autoscaling.maxReplicas takes more nodes than compute.maxNodes allows, the head's own pool not counted: lower autoscaling.maxReplicas or raise compute.maxNodes",
    ),
    validation = required(
        ".scheduler.compute.vmSize",
        "!has(self.scheduler.compute) || self.scheduler.compute.creationPolicy != 'Create' || has(self.scheduler.compute.vmSize) || has(self.compute.vmSize)",
        "scheduler.compute.vmSize is required where compute.vmSize is left out: give the size of the head's node",
    ),
    validation = invalid(
        ".scheduler.compute.creationPolicy",
        "!has(self.scheduler.compute) || self.compute.creationPolicy != 'UseExisting' || self.scheduler.compute.creationPolicy == 'UseExisting'",
        "scheduler.compute.creationPolicy must be UseExisting with compute.creationPolicy UseExisting, as no network is named to make a pool in: name a Dedicated pool of the same subnet",
    ),
    validation = invalid(
        ".scheduler.compute.name",
        "!has(self.scheduler.compute) || !has(self.scheduler.compute.name) || !has(self.compute.name) || self.scheduler.compute.name.lowerAscii() != self.compute.name.lowerAscii()",
        "scheduler.compute.name must be another pool than compute.name: leave scheduler.compute out to run the head beside the workers",
    ),
    validation = invalid(
        ".worker.replicas",
        "!has(self.autoscaling) || self.worker.replicas == 1 || (self.autoscaling.minReplicas <= self.worker.replicas && self.worker.replicas <= self.autoscaling.maxReplicas)",
        "worker.replicas is the size to start with, and must lie between autoscaling.minReplicas and maxReplicas: change it, or leave it out",
    ),
    validation = forbidden(
        ".worker.replicas",
        "!has(self.autoscaling) || !has(oldSelf.autoscaling) || self.autoscaling != oldSelf.autoscaling || self.worker.replicas == oldSelf.worker.replicas",
        "worker.replicas does nothing while autoscaling is set, as it is the size to start with: change autoscaling.minReplicas and maxReplicas, or remove autoscaling to set the number by hand",
    ),
    validation = forbidden(
        ".idleAction",
        "!has(self.idleAction) || self.idleTimeoutSeconds > 0",
        "idleAction does nothing without idleTimeoutSeconds: give both, or leave idleAction out",
    ),
    validation = immutable("workspace"),
    validation = immutable_network(),
)]
pub struct DaskClusterSpec {
    /// The Azure Machine Learning workspace in which pool, jobs and data assets are made.
    pub workspace: WorkspaceRef,

    /// Name of a Secret of this namespace with the keys AZURE_TENANT_ID, AZURE_CLIENT_ID and
    /// AZURE_CLIENT_SECRET. Left out, the operator's own identity is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "credentialsSecretName must be the name of a Secret: lower-case letters, digits, - and ., up to 253 characters",
    ))]
    pub credentials_secret_name: Option<String>,

    /// The virtual network and subnet that the nodes live in. Required unless
    /// `compute.creationPolicy` is UseExisting: then the pool's own subnet counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,

    /// The pool of virtual machines (AmlCompute) that the workers run on, and the head where scheduler.compute gives it
    /// none of its own.
    pub compute: Compute,

    /// What the containers of head and workers run in: either an image and a conda file, or a
    /// registered environment. Left out, the operator's default environment is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,

    /// Data that every node can read, each under a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Dataset::distinct_variables(),
        validation = Dataset::distinct_paths(),
    )]
    pub datasets: Vec<Dataset>,

    /// The experiment under which the jobs are listed in the workspace.
    #[serde(default = "DaskClusterSpec::default_experiment_name")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = asset_name("experimentName"))]
    pub experiment_name: String,

    /// The head node, which runs the Dask scheduler.
    #[serde(default)]
    pub scheduler: Scheduler,

    /// The worker nodes beside the head.
    #[serde(default)]
    pub worker: Worker,

    /// Lets the number of workers follow the work. Left out, there are `worker.replicas` of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// Lets the workers go, ends the head and empties a pool of the cluster's own, and keeps everything else. What the
    /// workers held is lost. false brings head and workers back.
    #[serde(default)]
    pub suspend: bool,

    /// After how many seconds without a task the cluster does what `idleAction` says; 0 is never. It wakes by any change
    /// of the spec and by a new value of the annotation azureml.dask.dev/wake.
    #[serde(default)]
    #[schemars(range(max = 31_536_000))]
    #[x_kube(validation = (
        "self == 0 || self >= 60",
        "idleTimeoutSeconds must be 0, which is never, or at least 60",
    ))]
    pub idle_timeout_seconds: u32,

    /// Suspend, the default, ends workers and head; ScaleToZero ends the workers and keeps the scheduler,
    /// so that work brings them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_action: Option<IdleAction>,

    /// After how many seconds from the start of its head a cluster is suspended, whatever it does. Azure's own limit, 21
    /// days or 7 on low-priority nodes, stands in `status.run.deadline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 300, max = 31_536_000))]
    pub max_lifetime_seconds: Option<u32>,

    /// What the nodes may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,

    /// What a change of environment, datasets, tags, experiment, or of the settings of scheduler and workers does to jobs
    /// that run: RollingUpdate replaces workers one by one, and the head when it ends; Recreate replaces the head too.
    #[serde(default)]
    pub update_policy: UpdatePolicy,

    /// What happens in Azure when the DaskCluster is deleted. Delete ends the jobs and removes
    /// the pool and the network that were made for it; Retain ends the jobs and leaves both.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// What happens when somebody changes in Azure what this spec speaks of. Correct sets it back;
    /// Report says so in a condition and writes nothing.
    #[serde(default)]
    pub drift_policy: DriftPolicy,

    /// Tags of every Azure resource that is made for this cluster; versions of data assets and
    /// environments, which are shared, do not carry them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags::schema")]
    #[x_kube(
        validation = tags::key_length(),
        validation = tags::key_characters(),
        validation = tags::distinct_keys(),
        validation = tags::reserved_keys(),
        validation = tags::no_expressions(),
    )]
    pub tags: BTreeMap<String, String>,
}

impl DaskClusterSpec {
    fn default_experiment_name() -> String {
        "dask".to_owned()
    }
}

/// An Azure Machine Learning workspace, by the three parts of its ARM id.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRef {
    /// The subscription's id, a GUID.
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        "self.matches(r'^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')",
        "subscriptionId must be a GUID, such as 00000000-0000-0000-0000-000000000000: `az account show --query id` prints it",
    ))]
    pub subscription_id: String,
    /// The resource group of the workspace.
    #[schemars(length(max = 90))]
    #[x_kube(validation = resource_group_name())]
    pub resource_group: String,
    /// The name of the workspace.
    #[schemars(length(max = 33))]
    #[x_kube(validation = (
        "self.matches(r'^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$')",
        "workspace.name must be 3 to 33 letters, digits, - and _, and start with a letter or digit",
    ))]
    pub name: String,
}

/// Whether a network or pool is made by the operator or used as it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CreationPolicy {
    /// Made by the operator, and removed with the DaskCluster. One of that name that somebody
    /// else made is refused.
    #[default]
    Create,
    /// Must exist; it is never changed and never removed.
    UseExisting,
    /// Must exist, and no other DaskCluster may have it. It is taken over: tagged, changed to what
    /// the spec asks for, and removed with the DaskCluster.
    Adopt,
}

/// What happens to fields of the spec that somebody changed in Azure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// They are set back, and that is told.
    #[default]
    Correct,
    /// They are told, and nothing is written.
    Report,
}

/// What the deletion of a DaskCluster leaves behind in Azure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Nothing that was made for the cluster, except versions of data assets and environments.
    #[default]
    Delete,
    /// The pool and the network; the jobs end.
    Retain,
}

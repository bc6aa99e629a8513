//! Worlds for tests: the story's manifest, and what looks at Azure, Kubernetes and the scheduler found.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Credentials, Defaults, EnvironmentDefinition, Observed, OperationFacts, Plan, PlannedAction,
    SecretReference, Told, Usage, ValidCluster, VmSize, Wanted, WorkerSubmission, Workspace, plan,
    validate,
};
use crate::api::{Annotations, DaskCluster};
use crate::azure::ResourceId;
use crate::azure_resources::job::Lineup;
use crate::azure_resources::{AzureKind as _, Job, KINDS, Scene};
use crate::cluster::Place;
use crate::dask::{Load, SchedulerSight, Silence, State, Target, Worker};
use crate::kubernetes_children::{HeldConnection, endpoint_slice, service};
use crate::lookup::Lookup;
use crate::scaling::Recommendations;
use crate::token::Token;

pub(crate) const UID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
const ADDRESS: &str = "tcp://10.20.0.4:8786";
const DASHBOARD: &str = "http://10.20.0.4:8787";

/// Noon, from which the other times are counted.
pub(crate) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn seconds_after_noon(seconds: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_secs(seconds)
}

/// The network that the Kubernetes cluster lives in.
pub(crate) const REMOTE: &str = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg-aks/providers/Microsoft.Network/virtualNetworks/aks-vnet";

/// The token of the present head.
pub(crate) fn token() -> Token {
    Token::read(&"a1".repeat(32)).unwrap()
}

/// The token that a look drew.
pub(crate) fn fresh_token() -> Token {
    Token::read(&"f0".repeat(32)).unwrap()
}

pub(crate) fn defaults() -> Defaults {
    Defaults {
        instance: "i1".into(),
        environment: EnvironmentDefinition {
            image: "mcr.microsoft.com/azureml/base:1".into(),
            conda_file: Some("dependencies: [python]".into()),
        },
    }
}

/// The story's manifest with two workers instead of 39, so that plans stay short.
pub(crate) fn manifest() -> Value {
    let story = include_str!("../../examples/noaa-isd/cluster.yaml");
    let mut manifest: Value = serde_saphyr::from_str(story).unwrap();
    manifest["metadata"] =
        json!({"name": "noaa-isd", "namespace": "weather", "uid": UID, "generation": 1});
    manifest["spec"]["worker"]["replicas"] = json!(2);
    manifest
}

pub(crate) fn dask_cluster(change: impl FnOnce(&mut Value)) -> DaskCluster {
    let mut manifest = manifest();
    change(&mut manifest["spec"]);
    serde_json::from_value(manifest).unwrap()
}

pub(crate) fn valid_cluster(change: impl FnOnce(&mut Value)) -> ValidCluster {
    validate(&dask_cluster(change), &defaults()).unwrap()
}

/// A manifest and what was found for it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) wanted: Wanted,
    pub(crate) observed: Observed,
}

impl World {
    /// A workspace, and nothing else in Azure. `change` is done to the spec.
    pub(crate) fn empty(change: impl FnOnce(&mut Value)) -> Self {
        let cluster = valid_cluster(change);
        let observed = Observed {
            seen_at: noon(),
            generation: 1,
            recommendations: Recommendations::default(),
            annotations: Annotations::default(),
            worker_submission: WorkerSubmission::BesideHead,
            namespace_is_going: false,
            has_finalizer: true,
            is_abandoned: false,
            credentials: Credentials {
                secret: Some(secret("azure-credentials")),
                held: true,
                going: false,
                trouble: None,
                last_user: true,
                releasable: Vec::new(),
            },
            workspace: Lookup::Present(Workspace {
                location: "eastus".into(),
                isolation_mode: "Disabled".into(),
                discovery_url: None,
            }),
            vm_sizes: Lookup::Present([ds13()].into()),
            usages: Lookup::Present(usages(800, 800).into()),
            passed: None,
            resources: BTreeMap::new(),
            jobs_listed: Lookup::Present(()),
            job_failures: BTreeMap::new(),
            pool_nodes: Lookup::NotAsked,
            service: Lookup::Absent,
            endpoint_slice: Lookup::Absent,
            connection: Lookup::Absent,
            scheduler: SchedulerSight::default(),
            told: Told::default(),
            setbacks: BTreeMap::new(),
            since: BTreeMap::new(),
            operations: BTreeMap::new(),
            fresh_token: fresh_token(),
        };
        let scene = Scene {
            cluster: &cluster,
            observed: &observed,
            lineup: None,
        };
        let ids = KINDS.iter().flat_map(|kind| (kind.look_at)(&scene));
        let resources = ids.map(|id| (id, Lookup::Absent)).collect();
        Self {
            wanted: Wanted::Cluster(Box::new(cluster)),
            observed: Observed {
                resources,
                ..observed
            },
        }
    }

    /// Everything that jobs need is there.
    pub(crate) fn provisioned(change: impl FnOnce(&mut Value)) -> Self {
        Self::empty(change)
            .network("Succeeded")
            .pool("Succeeded", |_| {})
            .versions()
            .and_the_rest()
    }

    /// What else is wanted, of kinds that no other fixture speaks of, is there as it was asked for.
    fn and_the_rest(self) -> Self {
        // Some of it comes only after some other.
        (0..4).fold(self, |world, _| world.and_more_of_the_rest())
    }

    fn and_more_of_the_rest(self) -> Self {
        let all: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let shares = self.scene(|scene, _| {
            let provisioned = KINDS.iter().filter(|kind| kind.name != Job::NAME);
            provisioned
                .map(|kind| (kind.plan)(scene, &all))
                .collect::<Vec<_>>()
        });
        let steps = shares.into_iter().flat_map(|share| share.steps);
        steps.fold(self, |world, step| match step.action {
            PlannedAction::PutAzure { id, mut body, .. } => {
                body["properties"]["provisioningState"] = json!("Succeeded");
                body["properties"]["peeringState"] = json!("Connected");
                world.found(id, body)
            }
            // The pool of the fixtures has the limits of the story's manifest, whatever the spec says.
            PlannedAction::PatchAzure { .. } => world,
            other => panic!("{other} in a world that is only lacking something"),
        })
    }

    /// The head has published its address, is being asked, and answers with these workers' jobs.
    pub(crate) fn answering(replicas: u32, workers: &[&str]) -> Self {
        Self::provisioned(|spec| spec["worker"]["replicas"] = json!(replicas))
            .head("head-1")
            .published()
            .registered(workers)
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Observed)) -> Self {
        change(&mut self.observed);
        self
    }

    /// The DaskCluster is being deleted.
    pub(crate) fn deleted(mut self) -> Self {
        self.wanted = Wanted::Nothing(Box::new(self.place().clone()));
        self
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.wanted, &self.observed)
    }

    pub(crate) fn place(&self) -> &Place {
        match &self.wanted {
            Wanted::Cluster(cluster) => &cluster.place,
            Wanted::Nothing(place) => place,
            Wanted::Unknown(errors) => panic!("a fixture is valid: {errors}"),
        }
    }

    pub(crate) fn cluster(&self) -> &ValidCluster {
        match &self.wanted {
            Wanted::Cluster(cluster) => cluster,
            other => panic!("{other:?} holds no cluster"),
        }
    }

    /// Asks something of what the kinds plan from.
    pub(crate) fn scene<T>(&self, ask: impl FnOnce(&Scene<'_>, &Lineup) -> T) -> T {
        let cluster = self.cluster();
        let lineup = self.observed.lineup_of(cluster).unwrap();
        let scene = Scene {
            cluster,
            observed: &self.observed,
            lineup: Some(&lineup),
        };
        ask(&scene, &lineup)
    }

    pub(crate) fn job_id(&self, job: &str) -> String {
        format!("noaa-isd-6f9619ff-{job}")
    }

    pub(crate) fn found(mut self, id: ResourceId, body: Value) -> Self {
        self.observed.resources.insert(id, Lookup::Present(body));
        self
    }

    pub(crate) fn network(self, state: &str) -> Self {
        let network = self.place().network.clone().unwrap();
        let body = json!({
            "location": "eastus",
            "tags": our_tags(),
            "properties": {"addressSpace": {"addressPrefixes": ["10.20.0.0/16"]}, "provisioningState": state},
        });
        let subnet =
            json!({"properties": {"addressPrefix": "10.20.0.0/22", "provisioningState": state}});
        self.found(network.virtual_network, body)
            .found(network.subnet, subnet)
    }

    pub(crate) fn pool(self, state: &str, change: impl FnOnce(&mut Value)) -> Self {
        let id = self.place().compute.clone();
        self.pool_at(id, state, change)
    }

    /// The head's own pool, of one node at most.
    pub(crate) fn head_pool(self, state: &str, change: impl FnOnce(&mut Value)) -> Self {
        let head = self.place().head_compute.clone();
        self.pool_at(head.unwrap().id, state, |body| {
            body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(1);
            change(body);
        })
    }

    fn pool_at(self, id: ResourceId, state: &str, change: impl FnOnce(&mut Value)) -> Self {
        let subnet = self.place().network.as_ref().map_or_else(
            || {
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/theirs".into()
            },
            |network| network.subnet.to_string(),
        );
        let mut body = json!({
            "location": "eastus",
            "tags": our_tags(),
            "properties": {
                "computeType": "AmlCompute",
                "provisioningState": state,
                "properties": {
                    "vmSize": "STANDARD_DS13_V2",
                    "vmPriority": "Dedicated",
                    "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 100, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                    "subnet": {"id": subnet},
                    "errors": null,
                },
            },
        });
        change(&mut body);
        self.found(id, body)
    }

    fn versions(self) -> Self {
        let cluster = self.cluster().clone();
        let world = self.found(cluster.environment.id, json!({"properties": {}}));
        cluster.datasets.into_iter().fold(world, |world, dataset| {
            world.found(dataset.id, json!({"properties": {"dataUri": dataset.uri}}))
        })
    }

    /// A job of ours, e.g. `head-1`; workers serve `head-1`. `change` is done to its body.
    pub(crate) fn job(self, job: &str, status: &str, change: impl FnOnce(&mut Value)) -> Self {
        let name = self.job_id(job);
        let mut tags = our_tags();
        if job.starts_with('w') {
            tags["dask-azureml-head"] = json!(self.job_id("head-1"));
        }
        let ended = ["Completed", "Failed", "Canceled"].contains(&status);
        let begun = ended || ["Running", "CancelRequested", "Finalizing"].contains(&status);
        let mut body = json!({
            "name": name,
            "properties": {
                "jobType": "Command",
                "status": status,
                "tags": tags,
                "properties": {
                    "StartTimeUtc": begun.then_some("2026-01-01 11:50:00"),
                    "EndTimeUtc": ended.then_some("2026-01-01 11:59:55"),
                },
            },
            "systemData": {"createdAt": "2026-01-01T11:45:00.1234567+00:00"},
        });
        change(&mut body);
        let id = self.place().workspace.child("jobs", &name).unwrap();
        self.found(id, body)
    }

    /// A running head of this name, and a Secret that holds its token.
    pub(crate) fn head(self, job: &str) -> Self {
        self.job(job, "Running", |_| {}).connected(job)
    }

    /// Service and Secret are there; the Secret holds the token of this head, and no address.
    pub(crate) fn connected(self, head: &str) -> Self {
        let head_run = self.job_id(head);
        let identity = self.place().identity.clone();
        self.with(|observed| {
            observed.service = Lookup::Present(service(&identity));
            observed.connection = Lookup::Present(HeldConnection {
                uid: Some("connection".into()),
                ours: true,
                head_run: Some(head_run),
                token: Some(token()),
                address: None,
                dashboard: None,
            });
        })
    }

    /// `head-1` has published its address, and the children in Kubernetes hold it.
    pub(crate) fn published(self) -> Self {
        let identity = self.place().identity.clone();
        let target = Target {
            head_run: self.job_id("head-1"),
            dashboard: DASHBOARD.into(),
            token: token(),
            watches_load: false,
        };
        self.job("head-1", "Running", |body| {
            body["properties"]["tags"]["scheduler"] = json!(ADDRESS);
            body["properties"]["tags"]["dashboard"] = json!(DASHBOARD);
        })
        .with(|observed| {
            let ports = [("tcp-comm", 8786), ("http-dashboard", 8787)];
            let slice = endpoint_slice(&identity, "10.20.0.4".parse().unwrap(), &ports);
            observed.endpoint_slice = Lookup::Present(slice);
            if let Lookup::Present(held) = &mut observed.connection {
                held.address = Some(ADDRESS.into());
                held.dashboard = Some(DASHBOARD.into());
            }
            observed.scheduler.target = Some(target);
        })
    }

    /// The scheduler answers that these jobs' workers run, the head's own among them where it is named; each
    /// worker's job runs.
    pub(crate) fn registered(self, jobs: &[&str]) -> Self {
        let workers = jobs.iter().map(|job| Worker {
            name: format!("{}.0a", self.job_id(job)),
            status: "running".into(),
            threads: 8,
            memory_limit: 56 << 30,
            ..Worker::default()
        });
        let state = State {
            load: Load::default(),
            id: "s1".into(),
            total_threads: 8 * jobs.len() as u64,
            total_memory: (56 << 30) * jobs.len() as u64,
            workers: workers.collect(),
        };
        jobs.iter()
            .filter(|job| job.starts_with('w'))
            .fold(self, |world, job| world.job(job, "Running", |_| {}))
            .with(|observed| observed.scheduler.state = Some(state))
    }

    pub(crate) fn silent(self, category: &'static str) -> Self {
        self.with(|observed| {
            observed.scheduler.silence = Some(Silence {
                since: noon(),
                category,
                message: "no answer from 10.20.0.4:8787".into(),
            });
        })
    }
}

/// The size of the story's manifest: eight cores.
pub(crate) fn ds13() -> VmSize {
    serde_json::from_value(json!({
        "name": "Standard_DS13_v2", "family": "standardDSv2Family", "vCPUs": 8,
        "lowPriorityCapable": true, "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        "estimatedVMPrices": {"billingCurrency": "USD", "unitOfMeasure": "OneHour", "values": [
            {"retailPrice": 0.741, "osType": "Linux", "vmTier": "Standard"},
            {"retailPrice": 0.148, "osType": "Linux", "vmTier": "LowPriority"},
        ]},
    }))
    .unwrap()
}

/// Nothing is used, and so many cores of the family and in all may be.
pub(crate) fn usages(of_family: i64, in_all: i64) -> Vec<Usage> {
    let row = |kind: &str, name: &str, limit: i64| {
        let row = json!({
            "type": format!("Microsoft.MachineLearningServices/{kind}/usages"),
            "currentValue": 0, "limit": limit, "name": {"value": name, "localizedValue": name},
        });
        serde_json::from_value(row).unwrap()
    };
    vec![
        row("totalCores", "Clusters", 500),
        row(
            "dedicatedCores",
            "Total Cluster Dedicated Regional vCPUs",
            in_all,
        ),
        row(
            "lowPriorityCores",
            "Total Cluster LowPriority Regional vCPUs",
            in_all,
        ),
        row(
            "vmFamily",
            "Standard DSv2 Family Cluster Dedicated vCPUs",
            of_family,
        ),
    ]
}

pub(crate) fn secret(name: &str) -> SecretReference {
    SecretReference {
        name: name.into(),
        uid: format!("uid-of-{name}"),
    }
}

pub(crate) fn our_tags() -> Value {
    json!({"dask-azureml-owner": UID, "dask-azureml-instance": "i1", "dask-azureml-cluster": "weather/noaa-isd"})
}

/// An operation that nothing is known of but its id.
pub(crate) fn operation(id: &str) -> OperationFacts {
    OperationFacts {
        id: id.into(),
        error: None,
    }
}

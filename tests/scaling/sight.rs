//! An autoscaled cluster whose scheduler runs, as the operator sees it: what the tests and the bench put into it, and
//! the decision that follows.

use std::collections::BTreeMap;

use dask_azureml_operator::api::Annotations;
use dask_azureml_operator::azure_resources::{KINDS, Scene};
use dask_azureml_operator::dask::{Load, SchedulerSight, Silence, State, Target, Worker};
use dask_azureml_operator::lookup::Lookup;
use dask_azureml_operator::reconcile::{
    Credentials, Defaults, EnvironmentDefinition, Observed, Told, ValidCluster, VmSize,
    WorkerSubmission, Workspace, validate,
};
use dask_azureml_operator::scaling::{Decision, Recommendations};
use dask_azureml_operator::token::Token;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const UID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
const HEAD: &str = "noaa-isd-6f9619ff-head-1";
const DASHBOARD: &str = "http://10.20.0.4:8787";

/// What the operator knows of one cluster.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) cluster: ValidCluster,
    pub(crate) observed: Observed,
    begins_at: Timestamp,
}

impl Sight {
    /// A cluster with a head and no worker. `autoscaling` is that of the spec.
    pub(crate) fn of(autoscaling: &Value, head_runs_a_worker: bool) -> Self {
        let story = include_str!("../../examples/noaa-isd/cluster.yaml");
        let mut manifest: Value = serde_saphyr::from_str(story).expect("the story is YAML");
        manifest["metadata"] =
            json!({"name": "noaa-isd", "namespace": "weather", "uid": UID, "generation": 1});
        manifest["spec"]["worker"] = json!({});
        manifest["spec"]["autoscaling"] = autoscaling.clone();
        manifest["spec"]["scheduler"]["runWorker"] = json!(head_runs_a_worker);
        let defaults = Defaults {
            instance: "i1".into(),
            environment: EnvironmentDefinition {
                image: "mcr.microsoft.com/azureml/base:1".into(),
                conda_file: None,
            },
        };
        let manifest = serde_json::from_value(manifest).expect("the manifest fits the schema");
        let cluster = validate(&manifest, &defaults).expect("the manifest is valid");
        let begins_at = "2026-01-01T00:00:00Z".parse().expect("a time");
        let observed = observed(&cluster, begins_at);
        let sight = Self {
            cluster,
            observed,
            begins_at,
        };
        let mut sight = sight.with_head();
        sight.refuse_nodes(false);
        sight
    }

    fn with_head(mut self) -> Self {
        let tags = json!({
            "dask-azureml-owner": UID,
            "scheduler": "tcp://10.20.0.4:8786",
            "dashboard": DASHBOARD,
        });
        self.put_job("head-1", "Running", tags);
        self
    }

    fn put_job(&mut self, name: &str, status: &str, tags: Value) {
        let id = format!("noaa-isd-6f9619ff-{name}");
        let body = json!({"name": id, "properties": {"status": status, "tags": tags}});
        let id = self.cluster.place.workspace.child("jobs", &id);
        let id = id.expect("a job's id");
        self.observed.resources.insert(id, Lookup::Present(body));
    }

    /// These worker jobs, and no others: slot and status.
    pub(crate) fn set_jobs(&mut self, jobs: impl Iterator<Item = (usize, &'static str)>) {
        self.observed.resources.retain(|id, _| {
            let is_worker = id.name().starts_with("noaa-isd-6f9619ff-w");
            !is_worker
        });
        for (slot, status) in jobs {
            let tags = json!({"dask-azureml-owner": UID, "dask-azureml-head": HEAD});
            self.put_job(&format!("w{slot:02}-1"), status, tags);
        }
    }

    /// What the scheduler answers.
    pub(crate) fn set_answer(&mut self, load: Load, workers: Vec<Worker>) {
        self.observed.scheduler.silence = None;
        self.observed.scheduler.state = Some(State {
            id: "s1".into(),
            total_threads: workers.iter().map(|worker| u64::from(worker.threads)).sum(),
            total_memory: workers.iter().map(|worker| worker.memory_limit).sum(),
            workers,
            load,
        });
    }

    pub(crate) fn set_silent(&mut self) {
        self.observed.scheduler.silence = Some(Silence {
            since: self.observed.seen_at,
            category: "Unreachable",
            message: "no answer".into(),
        });
    }

    pub(crate) fn refuse_nodes(&mut self, refuses: bool) {
        let errors = match refuses {
            true => json!([{"error": {"code": "ClusterCoreQuotaReached", "message": "no cores"}}]),
            false => Value::Null,
        };
        let body = json!({
            "tags": {"dask-azureml-owner": UID},
            "properties": {
                "computeType": "AmlCompute",
                "provisioningState": "Succeeded",
                "properties": {"vmSize": "STANDARD_DS13_V2", "errors": errors},
            },
        });
        let id = self.cluster.place.compute.clone();
        self.observed.resources.insert(id, Lookup::Present(body));
    }

    /// Seconds since the series began, by the operator's clock.
    pub(crate) fn set_time(&mut self, seconds: f64) {
        let since = SignedDuration::from_millis((seconds * 1000.0) as i64);
        self.observed.seen_at = self.begins_at + since;
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.observed.told.desired_replicas.unwrap_or(0)
    }

    /// Decides, and tells it as the operator does. Says whether the number is another one.
    pub(crate) fn decide(&mut self) -> (Decision, bool) {
        let lineup = self.observed.lineup_of(&self.cluster);
        let decision = lineup.expect("the jobs can be read").aim.decision;
        let decision = decision.expect("the cluster is autoscaled");
        let now = self.observed.seen_at;
        self.observed.recommendations.see(&decision, now);
        let told = self.observed.told.desired_replicas;
        let changed = told != Some(decision.replicas);
        if changed {
            self.observed.told.desired_replicas = Some(decision.replicas);
            self.observed.told.last_scale_time = Some(now);
        }
        (decision, changed)
    }
}

/// A worker of the job in a slot; `None` is the head's own.
pub(crate) fn worker(slot: Option<usize>, threads: u32, processing: u32) -> Worker {
    let name = match slot {
        None => format!("{HEAD}.0a"),
        Some(slot) => format!("noaa-isd-6f9619ff-w{slot:02}-1.0a"),
    };
    Worker {
        name,
        status: "running".into(),
        threads,
        memory_limit: 56 << 30,
        processing,
        ..Worker::default()
    }
}

fn observed(cluster: &ValidCluster, begins_at: Timestamp) -> Observed {
    let token = || Token::read(&"a1".repeat(32)).expect("a token");
    let size: VmSize =
        serde_json::from_value(json!({"name": "Standard_DS13_v2", "vCPUs": 8})).expect("a size");
    let mut observed = Observed {
        seen_at: begins_at,
        generation: 1,
        recommendations: Recommendations::default(),
        annotations: Annotations::default(),
        worker_submission: WorkerSubmission::BesideHead,
        namespace_is_going: false,
        has_finalizer: true,
        is_abandoned: false,
        credentials: Credentials {
            secret: None,
            held: false,
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
        vm_sizes: Lookup::Present([size].into()),
        usages: Lookup::NotAsked,
        passed: None,
        resources: BTreeMap::new(),
        jobs_listed: Lookup::Present(()),
        job_failures: BTreeMap::new(),
        pool_nodes: Lookup::NotAsked,
        service: Lookup::Absent,
        endpoint_slice: Lookup::Absent,
        connection: Lookup::Absent,
        scheduler: SchedulerSight {
            target: Some(Target {
                watches_load: true,
                head_run: HEAD.into(),
                dashboard: DASHBOARD.into(),
                token: token(),
            }),
            ..SchedulerSight::default()
        },
        told: Told {
            desired_replicas: Some(0),
            ..Told::default()
        },
        setbacks: BTreeMap::new(),
        since: BTreeMap::new(),
        operations: BTreeMap::new(),
        fresh_token: token(),
    };
    let scene = Scene {
        cluster,
        observed: &observed,
        lineup: None,
    };
    let ids: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| (kind.look_at)(&scene))
        .collect();
    observed
        .resources
        .extend(ids.into_iter().map(|id| (id, Lookup::Absent)));
    if let Some(network) = &cluster.place.network {
        let subnet = json!({"properties": {"addressPrefix": "10.20.0.0/22"}});
        observed
            .resources
            .insert(network.subnet.clone(), Lookup::Present(subnet));
    }
    observed
}

//! Worlds as they are drawn: a manifest, and what a look found for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dask_azureml_operator::api::{Annotations, Reason};
use dask_azureml_operator::azure::ResourceId;
use dask_azureml_operator::azure_resources::{KINDS, Scene};
use dask_azureml_operator::dask::{
    Load, Retirement, RetirementOutcome, SchedulerSight, Silence, State, Target, Worker,
};
use dask_azureml_operator::kubernetes_children::{HeldConnection, endpoint_slice, service};
use dask_azureml_operator::lookup::{Lookup, Trouble};
use dask_azureml_operator::reconcile::{
    Credentials, Defaults, EnvironmentDefinition, Observed, PlannedAction, SecretReference, Told,
    Usage, ValidCluster, VmSize, Wanted, WorkerSubmission, Workspace, validate,
};
use dask_azureml_operator::scaling::Recommendations;
use dask_azureml_operator::token::Token;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

pub(crate) const UID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
const DASHBOARD: &str = "http://10.20.0.4:8787";

/// A manifest and what was found for it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) wanted: Wanted,
    pub(crate) observed: Observed,
}

/// What a look at something in Azure found.
#[derive(Clone, Copy, Debug)]
enum Found {
    AsWanted,
    Absent,
    Drifted,
    Foreign,
    Untagged,
    Moving(&'static str),
    Unavailable,
    NotAsked,
}

#[derive(Clone, Copy, Debug)]
enum Child {
    AsWanted,
    Absent,
    Foreign,
    Changed,
    Unavailable,
    NotAsked,
}

#[derive(Clone, Copy, Debug)]
enum Terms {
    EverythingIsOurs,
    NetworkIsTheirs,
    PoolIsTheirs,
    HeadHasAPool,
}

#[derive(Clone, Debug)]
struct Spec {
    terms: Terms,
    replicas: u32,
    policy: &'static str,
    leaves: bool,
}

#[derive(Clone, Debug)]
struct Job {
    name: &'static str,
    status: &'static str,
    ours: bool,
    has_started: bool,
    serves: &'static str,
    has_published: bool,
}

#[derive(Clone, Debug)]
struct Cluster {
    has_finalizer: bool,
    is_abandoned: bool,
    namespace_is_going: bool,
    holds_credentials: bool,
    credentials_are_going: bool,
    last_user: bool,
    credentials_are_refused: bool,
    worker_submission: WorkerSubmission,
}

#[derive(Clone, Debug)]
struct Dask {
    follows: Option<&'static str>,
    answers: Option<Vec<&'static str>>,
    is_silent: bool,
    retirement: Option<bool>,
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        6 => Just(Found::AsWanted),
        3 => Just(Found::Absent),
        1 => Just(Found::Drifted),
        1 => Just(Found::Foreign),
        1 => Just(Found::Untagged),
        1 => select(vec!["Updating", "Deleting", "Failed", "Creating"]).prop_map(Found::Moving),
        1 => Just(Found::Unavailable),
        1 => Just(Found::NotAsked),
    ]
}

fn child() -> impl Strategy<Value = Child> {
    prop_oneof![
        5 => Just(Child::AsWanted),
        3 => Just(Child::Absent),
        1 => Just(Child::Foreign),
        1 => Just(Child::Changed),
        1 => Just(Child::Unavailable),
        1 => Just(Child::NotAsked),
    ]
}

fn often() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.85)
}

fn seldom() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

const JOBS: [&str; 8] = [
    "head-1", "head-2", "w00-1", "w00-2", "w01-1", "w02-1", "w03-1", "w10-4",
];

fn job(name: &'static str) -> impl Strategy<Value = Option<Job>> {
    let statuses = [
        "Running",
        "Running",
        "Queued",
        "NotStarted",
        "Preparing",
        "CancelRequested",
        "Finalizing",
        "Completed",
        "Failed",
        "Canceled",
        "NotResponding",
        "Paused",
    ];
    let job = (
        select(statuses.to_vec()),
        often(),
        any::<bool>(),
        select(vec!["head-1", "head-1", "head-2"]),
        any::<bool>(),
    )
        .prop_map(
            move |(status, ours, has_started, serves, has_published)| Job {
                name,
                status,
                ours,
                has_started,
                serves,
                has_published,
            },
        );
    prop::option::weighted(0.45, job)
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    JOBS.map(job)
        .prop_map(|jobs| jobs.into_iter().flatten().collect())
}

fn spec() -> impl Strategy<Value = Spec> {
    let terms = prop_oneof![
        4 => Just(Terms::EverythingIsOurs),
        1 => Just(Terms::NetworkIsTheirs),
        1 => Just(Terms::PoolIsTheirs),
        2 => Just(Terms::HeadHasAPool),
    ];
    (
        terms,
        0..4_u32,
        select(vec!["Delete", "Delete", "Retain"]),
        any::<bool>(),
    )
        .prop_map(|(terms, replicas, policy, leaves)| Spec {
            terms,
            replicas,
            policy,
            leaves,
        })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let submission = select(vec![
        WorkerSubmission::BesideHead,
        WorkerSubmission::AfterHead,
    ]);
    (
        often(),
        seldom(),
        seldom(),
        often(),
        seldom(),
        any::<bool>(),
        seldom(),
        submission,
    )
        .prop_map(
            |(
                has_finalizer,
                is_abandoned,
                namespace_is_going,
                holds_credentials,
                credentials_are_going,
                last_user,
                credentials_are_refused,
                worker_submission,
            )| Cluster {
                has_finalizer,
                is_abandoned,
                namespace_is_going,
                holds_credentials,
                credentials_are_going,
                last_user,
                credentials_are_refused,
                worker_submission,
            },
        )
}

fn dask() -> impl Strategy<Value = Dask> {
    let workers = prop::sample::subsequence(JOBS.to_vec(), 0..=JOBS.len());
    (
        prop::option::weighted(0.7, select(vec!["head-1", "head-1", "head-2"])),
        prop::option::weighted(0.8, workers),
        seldom(),
        prop::option::weighted(0.3, any::<bool>()),
    )
        .prop_map(|(follows, answers, is_silent, retirement)| Dask {
            follows,
            answers,
            is_silent,
            retirement,
        })
}

/// Nothing is used of a family that may have so many cores.
fn usages(limit: i64) -> Arc<[Usage]> {
    let row = json!({
        "type": "Microsoft.MachineLearningServices/vmFamily/usages",
        "currentValue": 0, "limit": limit,
        "name": {"value": "Standard DSv2 Family Cluster Dedicated vCPUs"},
    });
    Arc::from([serde_json::from_value(row).unwrap()])
}

fn unavailable<T>() -> Lookup<T> {
    Lookup::Unavailable(Trouble::passing(Reason::Throttled, "azure is busy"))
}

fn looked_at<T: Clone + std::fmt::Debug>(value: T) -> impl Strategy<Value = Lookup<T>> {
    prop_oneof![
        10 => Just(Lookup::Present(value)),
        1 => Just(Lookup::Absent),
        1 => Just(unavailable()),
        1 => Just(Lookup::NotAsked),
    ]
}

pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let workspace = looked_at(Workspace {
        location: "eastus".into(),
        isolation_mode: "Disabled".into(),
        discovery_url: None,
    });
    let vm_sizes = looked_at(Arc::from([VmSize {
        name: "Standard_DS13_v2".into(),
        family: Some("standardDSv2Family".into()),
        cores: Some(8),
        ..VmSize::default()
    }]));
    let usages = select(vec![0, 8, 800]).prop_flat_map(|limit| looked_at(usages(limit)));
    (
        spec(),
        cluster(),
        (workspace, vm_sizes, usages, looked_at(())),
        prop::collection::vec(found(), 6),
        jobs(),
        [child(), child(), child()],
        dask(),
    )
        .prop_map(
            |(
                spec,
                cluster,
                (workspace, vm_sizes, usages, jobs_listed),
                found,
                jobs,
                children,
                dask,
            )| {
                let valid = valid_cluster(&spec);
                let mut observed = observed(&valid, &cluster);
                observed.workspace = workspace;
                observed.vm_sizes = vm_sizes;
                observed.usages = usages;
                observed.jobs_listed = jobs_listed;
                put_resources(&valid, &found, &mut observed);
                if observed.jobs_listed == Lookup::Present(()) {
                    put_jobs(&valid, &jobs, &mut observed);
                }
                put_children(&valid, children, &mut observed);
                observed.scheduler = sight(&dask);
                World {
                    wanted: if spec.leaves {
                        Wanted::Nothing(Box::new(valid.place))
                    } else {
                        Wanted::Cluster(Box::new(valid))
                    },
                    observed,
                }
            },
        )
}

/// A cluster that has everything, whose head runs and whose scheduler answers; it has no worker yet.
pub(crate) fn ready(replicas: u32) -> World {
    let spec = Spec {
        terms: Terms::EverythingIsOurs,
        replicas,
        policy: "Delete",
        leaves: false,
    };
    let mut valid = valid_cluster(&spec);
    valid.scheduler.run_worker = false;
    let drawn = Cluster {
        has_finalizer: true,
        is_abandoned: false,
        namespace_is_going: false,
        holds_credentials: true,
        credentials_are_going: false,
        last_user: true,
        credentials_are_refused: false,
        worker_submission: WorkerSubmission::BesideHead,
    };
    let mut observed = observed(&valid, &drawn);
    observed.passed = Some(Default::default());
    put_resources(&valid, &[Found::AsWanted; 16], &mut observed);
    let head = Job {
        name: "head-1",
        status: "Running",
        ours: true,
        has_started: true,
        serves: "head-1",
        has_published: true,
    };
    put_jobs(&valid, &[head], &mut observed);
    put_children(&valid, [Child::AsWanted; 3], &mut observed);
    observed.scheduler = sight(&Dask {
        follows: Some("head-1"),
        answers: Some(Vec::new()),
        is_silent: false,
        retirement: None,
    });
    World {
        wanted: Wanted::Cluster(Box::new(valid)),
        observed,
    }
}

fn valid_cluster(spec: &Spec) -> ValidCluster {
    let story = include_str!("../../examples/noaa-isd/cluster.yaml");
    let mut manifest: Value = serde_saphyr::from_str(story).unwrap();
    manifest["metadata"] =
        json!({"name": "noaa-isd", "namespace": "weather", "uid": UID, "generation": 1});
    let fields = manifest["spec"].as_object_mut().unwrap();
    fields["worker"] = json!({"replicas": spec.replicas});
    fields.insert("deletionPolicy".into(), json!(spec.policy));
    match spec.terms {
        Terms::EverythingIsOurs => {}
        Terms::NetworkIsTheirs => {
            fields["network"] = json!({
                "virtualNetwork": {"name": "their-vnet"}, "subnet": {"name": "nodes"}, "creationPolicy": "UseExisting",
            });
        }
        Terms::PoolIsTheirs => {
            fields.remove("network");
            fields["compute"] = json!({"name": "their-pool", "creationPolicy": "UseExisting"});
        }
        Terms::HeadHasAPool => {
            let scheduler = fields.entry("scheduler").or_insert_with(|| json!({}));
            scheduler["compute"] = json!({});
        }
    }
    let defaults = Defaults {
        instance: "i1".into(),
        environment: EnvironmentDefinition {
            image: "mcr.microsoft.com/azureml/base:1".into(),
            conda_file: None,
        },
    };
    validate(&serde_json::from_value(manifest).unwrap(), &defaults).unwrap()
}

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn token(digits: &str) -> Token {
    Token::read(&digits.repeat(32)).unwrap()
}

fn observed(cluster: &ValidCluster, drawn: &Cluster) -> Observed {
    let secret = |name: &str| SecretReference {
        name: name.into(),
        uid: format!("uid-of-{name}"),
    };
    let trouble = drawn
        .credentials_are_refused
        .then(|| Trouble::lasting(Reason::CredentialsRefused, "Entra refused the credentials"));
    let mut observed = Observed {
        seen_at: noon(),
        generation: 1,
        recommendations: Recommendations::default(),
        annotations: Annotations::default(),
        worker_submission: drawn.worker_submission,
        namespace_is_going: drawn.namespace_is_going,
        has_finalizer: drawn.has_finalizer,
        is_abandoned: drawn.is_abandoned,
        credentials: Credentials {
            secret: Some(secret("azure-credentials")),
            held: drawn.holds_credentials,
            going: drawn.credentials_are_going,
            trouble,
            last_user: drawn.last_user,
            releasable: vec![secret("old-credentials")],
        },
        workspace: Lookup::Present(Workspace {
            location: "eastus".into(),
            isolation_mode: "Disabled".into(),
            discovery_url: None,
        }),
        vm_sizes: Lookup::NotAsked,
        usages: Lookup::NotAsked,
        passed: None,
        resources: BTreeMap::new(),
        jobs_listed: Lookup::Present(()),
        job_failures: BTreeMap::new(),
        pool_nodes: Lookup::Present(Vec::new()),
        service: Lookup::Absent,
        endpoint_slice: Lookup::Absent,
        connection: Lookup::Absent,
        scheduler: SchedulerSight::default(),
        told: Told::default(),
        setbacks: BTreeMap::new(),
        since: BTreeMap::new(),
        operations: BTreeMap::new(),
        fresh_token: token("f0"),
    };
    let scene = Scene {
        cluster,
        observed: &observed,
        lineup: None,
    };
    let ids: Vec<ResourceId> = KINDS
        .iter()
        .flat_map(|kind| (kind.look_at)(&scene))
        .collect();
    observed
        .resources
        .extend(ids.into_iter().map(|id| (id, Lookup::Absent)));
    observed
}

/// What the manifest asks for of each kind, by id: the bodies of a plan that has everything before it.
fn wanted_bodies(cluster: &ValidCluster, observed: &Observed) -> BTreeMap<ResourceId, Value> {
    let scene = Scene {
        cluster,
        observed,
        lineup: None,
    };
    let all: BTreeSet<&str> = KINDS
        .iter()
        .flat_map(|kind| kind.after.iter().chain([&kind.name]))
        .copied()
        .collect();
    KINDS
        .iter()
        .flat_map(|kind| (kind.plan)(&scene, &all).steps)
        .filter_map(|step| match step.action {
            PlannedAction::PutAzure { id, body, .. } => Some((id, body)),
            _ => None,
        })
        .collect()
}

/// The one in `found` for network, subnet, pools, dataset and environment, as far as the manifest names them.
fn put_resources(cluster: &ValidCluster, found: &[Found], observed: &mut Observed) {
    let ids: Vec<ResourceId> = observed.resources.keys().cloned().collect();
    let absent = Observed {
        workspace: Lookup::Present(Workspace {
            location: "eastus".into(),
            isolation_mode: "Disabled".into(),
            discovery_url: None,
        }),
        ..observed.clone()
    };
    let bodies = wanted_bodies(cluster, &absent);
    for (id, found) in ids.into_iter().zip(found) {
        let body = || {
            let wanted = bodies.get(&id).cloned();
            let mut body = wanted.unwrap_or_else(|| somebody_elses(&id));
            body["properties"]["provisioningState"] = json!("Succeeded");
            body
        };
        let lookup = match found {
            Found::AsWanted => Lookup::Present(body()),
            Found::Absent => Lookup::Absent,
            Found::Drifted => Lookup::Present(drifted(body())),
            Found::Foreign => Lookup::Present(tagged(body(), json!({"dask-azureml-owner": "u2"}))),
            Found::Untagged => Lookup::Present(tagged(body(), Value::Null)),
            Found::Moving(state) => {
                let mut body = body();
                body["properties"]["provisioningState"] = json!(state);
                Lookup::Present(body)
            }
            Found::Unavailable => unavailable(),
            Found::NotAsked => Lookup::NotAsked,
        };
        observed.resources.insert(id, lookup);
    }
}

/// A resource that `UseExisting` names.
fn somebody_elses(id: &ResourceId) -> Value {
    let kind = id.resource_type().to_lowercase();
    if kind.ends_with("/computes") {
        let subnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n";
        json!({"tags": {}, "properties": {"computeType": "AmlCompute", "properties": {"subnet": {"id": subnet}}}})
    } else if kind.ends_with("/subnets") {
        json!({"properties": {"addressPrefix": "10.20.0.0/22"}})
    } else {
        json!({"tags": {}, "properties": {}})
    }
}

fn tagged(mut body: Value, tags: Value) -> Value {
    if body.get("tags").is_some() {
        body["tags"] = tags;
    }
    body
}

/// Something of ours was changed by hand: a limit, a range, or a tag that is not the owner's.
fn drifted(mut body: Value) -> Value {
    if let Some(limit) = body.pointer_mut("/properties/properties/scaleSettings/maxNodeCount") {
        *limit = json!(3);
    }
    if let Some(prefixes) = body.pointer_mut("/properties/addressSpace/addressPrefixes") {
        *prefixes = json!(["10.99.0.0/16"]);
    }
    if let Some(tags) = body.get_mut("tags").and_then(Value::as_object_mut) {
        tags.remove("dask-azureml-cluster");
    }
    if let Some(uri) = body.pointer_mut("/properties/dataUri") {
        *uri = json!("https://elsewhere/");
    }
    body
}

fn job_id(name: &str) -> String {
    format!("noaa-isd-6f9619ff-{name}")
}

fn put_jobs(cluster: &ValidCluster, jobs: &[Job], observed: &mut Observed) {
    for job in jobs {
        let owner = if job.ours { UID } else { "u2" };
        let mut tags = json!({"dask-azureml-owner": owner});
        if job.name.starts_with('w') {
            tags["dask-azureml-head"] = json!(job_id(job.serves));
        } else if job.has_published {
            tags["scheduler"] = json!("tcp://10.20.0.4:8786");
            tags["dashboard"] = json!(DASHBOARD);
        }
        let ended = ["Completed", "Failed", "Canceled"].contains(&job.status);
        let body = json!({
            "name": job_id(job.name),
            "properties": {
                "status": job.status,
                "tags": tags,
                "properties": {
                    "StartTimeUtc": job.has_started.then_some("2026-01-01 10:00:00"),
                    "EndTimeUtc": ended.then_some("2026-01-01 11:59:55"),
                },
            },
        });
        let id = cluster.place.workspace.child("jobs", &job_id(job.name));
        observed
            .resources
            .insert(id.unwrap(), Lookup::Present(body));
    }
}

fn child_found<T>(drawn: Child, as_wanted: T, change: fn(&mut T), disown: fn(&mut T)) -> Lookup<T> {
    let mut child = as_wanted;
    match drawn {
        Child::AsWanted => {}
        Child::Changed => change(&mut child),
        Child::Foreign => disown(&mut child),
        Child::Absent => return Lookup::Absent,
        Child::Unavailable => return unavailable(),
        Child::NotAsked => return Lookup::NotAsked,
    }
    Lookup::Present(child)
}

fn put_children(cluster: &ValidCluster, drawn: [Child; 3], observed: &mut Observed) {
    let identity = &cluster.place.identity;
    let ports = [("tcp-comm", 8786), ("http-dashboard", 8787)];
    let address = "10.20.0.4".parse().unwrap();
    observed.service = child_found(
        drawn[0],
        service(identity),
        |service| service.spec.as_mut().unwrap().ports = None,
        |service| service.metadata.owner_references = None,
    );
    observed.endpoint_slice = child_found(
        drawn[1],
        endpoint_slice(identity, address, &ports),
        |slice| slice.ports = None,
        |slice| slice.metadata.owner_references = None,
    );
    let held = HeldConnection {
        uid: Some("connection".into()),
        ours: true,
        head_run: Some(job_id("head-1")),
        token: Some(token("a1")),
        address: Some("tcp://10.20.0.4:8786".into()),
        dashboard: Some(DASHBOARD.into()),
    };
    observed.connection = child_found(
        drawn[2],
        held,
        |held| held.token = None,
        |held| held.ours = false,
    );
}

fn sight(drawn: &Dask) -> SchedulerSight {
    let Some(head) = drawn.follows else {
        return SchedulerSight::default();
    };
    let state = drawn.answers.as_ref().map(|jobs| State {
        id: "s1".into(),
        total_threads: 8,
        total_memory: 1 << 30,
        load: Load::default(),
        workers: jobs
            .iter()
            .map(|job| Worker {
                name: format!("{}.0a", job_id(job)),
                status: "running".into(),
                ..Worker::default()
            })
            .collect(),
    });
    SchedulerSight {
        target: Some(Target {
            head_run: job_id(head),
            dashboard: DASHBOARD.into(),
            token: token("a1"),
            watches_load: false,
        }),
        state,
        silence: drawn.is_silent.then(|| Silence {
            since: noon(),
            category: "Unreachable",
            message: "no answer".into(),
        }),
        retirement: drawn.retirement.map(|is_under_way| Retirement {
            asked_at: noon() - SignedDuration::from_secs(60),
            outcome: if is_under_way {
                RetirementOutcome::UnderWay
            } else {
                RetirementOutcome::Failed {
                    at: noon() - SignedDuration::from_secs(3),
                    message: "the scheduler answered 500".into(),
                }
            },
        }),
        ..SchedulerSight::default()
    }
}

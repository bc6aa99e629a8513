//! One line from a manifest to Dask processes, for one test: a simulated Azure and an operator of its
//! own, a namespace with credentials, all on the one API server of this binary.
//!
//! An operator watches all namespaces, so no two tests share an API server at a time: there are as many as
//! tests that run side by side.

#![allow(dead_code, reason = "what only some scenarios need stays in one place")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use azure_simulator::{Simulator, World};
use dask_azureml_operator::api::{DaskCluster, DaskClusterStatus};
use dask_azureml_operator::azure::{Endpoint, HttpSettings, Identity, Roots};
use dask_azureml_operator::clock::{Clock, ManualClock};
use dask_azureml_operator::controller;
use dask_azureml_operator::reconcile::{EnvironmentDefinition, WorkerSubmission};
use dask_azureml_operator::settings::Settings;
use dask_azureml_operator::sweep::{OrphanPolicy, SweepSettings};
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use crate::control_plane::{self, ControlPlane};
use crate::kubernetes_calls::{KubernetesCall, KubernetesCalls};

/// Name of the Secret with the credentials of the simulated Azure.
pub(crate) const CREDENTIALS: &str = "azure-credentials";

/// Within this, every state that a test waits for is reached, also on a busy machine: the longest
/// takes 15 s alone on two cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Who has the API server of that number.
static TURNS: [Mutex<()>; control_plane::MOST] =
    [const { Mutex::const_new(()) }; control_plane::MOST];

/// Whichever API server is free first.
async fn turn() -> (usize, MutexGuard<'static, ()>) {
    let turns = TURNS.iter().enumerate();
    let turns = turns.map(|(number, turn)| async move { (number, turn.lock().await) }.boxed());
    futures::future::select_all(turns).await.0
}

/// A running line. Dropping it ends the operator, the simulator and every job.
pub(crate) struct Line {
    // Dropped in this order: nobody writes to an Azure that is gone.
    operator: Option<Operator>,
    pub(crate) azure: Simulator,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    resync: Duration,
    clock: Clock,
    hurry: Option<Hurry>,
    sweep: SweepSettings,
    operator_identity: Option<Identity>,
    operator_lends_itself: bool,
    calls: KubernetesCalls,
    pub(crate) control_plane: &'static ControlPlane,
    _turn: MutexGuard<'static, ()>,
}

/// Has a runtime of its own, so that its end is as sudden as that of a killed process.
struct Operator {
    runtime: Option<Runtime>,
    running: JoinHandle<()>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Moves a clock on, in steps that are small against what is waited for.
struct Hurry {
    hand: ManualClock,
    times: Arc<AtomicU32>,
    moving: JoinHandle<()>,
}

impl Hurry {
    fn with(hand: ManualClock) -> Self {
        let times = Arc::new(AtomicU32::new(1));
        let own = Arc::clone(&times);
        let moved = hand.clone();
        let moving = tokio::spawn(async move {
            let real = Clock::system();
            let mut seen = real.elapsed();
            loop {
                real.sleep(Duration::from_millis(5)).await;
                let now = real.elapsed();
                moved.advance((now - seen) * own.load(Ordering::Relaxed));
                seen = now;
            }
        });
        Self {
            hand,
            times,
            moving,
        }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.moving.abort();
    }
}

impl Line {
    /// On an Azure in which everything happens at once.
    pub(crate) async fn start() -> Self {
        Self::start_in(World::default().without_delays()).await
    }

    pub(crate) async fn start_in(world: World) -> Self {
        let mut line = Self::without_operator(world).await;
        line.start_operator();
        line
    }

    /// The operator's time is ours to [hurry](Self::hurry).
    pub(crate) async fn start_with_time_in_our_hands(world: World) -> Self {
        let mut line = Self::without_operator(world).await;
        line.take_time_into_our_hands();
        line.start_operator();
        line
    }

    /// For what has to be there before the operator is.
    pub(crate) async fn without_operator(world: World) -> Self {
        Self::without_operator_in(|_| world).await
    }

    /// The same, in a world that knows the test's namespace.
    pub(crate) async fn without_operator_in(world: impl FnOnce(&str) -> World) -> Self {
        let (number, turn) = turn().await;
        let control_plane = ControlPlane::one_of_many(number).await;
        control_plane.install_crd().await;
        let client = control_plane.client();
        remove_what_earlier_tests_left(&client).await;
        let namespace = control_plane.namespace("scenario").await;
        let azure = Simulator::start(world(&namespace))
            .await
            .expect("the simulator starts on free ports");
        let line = Self {
            operator: None,
            azure,
            client,
            namespace,
            resync: Duration::from_secs(60),
            clock: Clock::system(),
            hurry: None,
            sweep: SweepSettings {
                interval: Duration::from_secs(600),
                orphans: OrphanPolicy::Report,
                grace: Duration::from_secs(600),
            },
            operator_identity: None,
            operator_lends_itself: false,
            calls: KubernetesCalls::default(),
            control_plane,
            _turn: turn,
        };
        line.create_credentials().await;
        line
    }

    async fn create_credentials(&self) {
        let env = self.azure.env();
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": CREDENTIALS},
            "stringData": {
                "AZURE_TENANT_ID": env["AZURE_TENANT_ID"],
                "AZURE_CLIENT_ID": env["AZURE_CLIENT_ID"],
                "AZURE_CLIENT_SECRET": env["AZURE_CLIENT_SECRET"],
            },
        }))
        .expect("a Secret");
        Api::<Secret>::namespaced(self.client.clone(), &self.namespace)
            .create(&PostParams::default(), &secret)
            .await
            .expect("the API server takes a Secret");
    }

    /// How long a settled cluster goes unlooked at by operators that are started from now on; 60 s
    /// otherwise.
    pub(crate) fn set_resync(&mut self, resync: Duration) {
        self.resync = resync;
    }

    /// The time of operators that are started from now on is ours to [hurry](Self::hurry).
    pub(crate) fn take_time_into_our_hands(&mut self) {
        let hand = ManualClock::starting_at(Clock::system().now());
        self.clock = hand.clock();
        self.hurry = Some(Hurry::with(hand));
    }

    /// The operator's time runs so many times as fast as Azure's; 1 time at first.
    pub(crate) fn hurry(&self, times: u32) {
        let hurry = self.hurry.as_ref().expect("time is in our hands");
        hurry.times.store(times, Ordering::Relaxed);
    }

    /// So much time passes at once, in Azure and for the operator.
    pub(crate) async fn pass(&self, time: Duration) {
        let hurry = self.hurry.as_ref().expect("time is in our hands");
        self.azure.advance(time).await;
        hurry.hand.advance(time);
    }

    /// Waits until so much of the operator's time has passed since the line began.
    pub(crate) async fn wait_until_elapsed(&self, time: Duration) {
        wait_for("time has passed", async || {
            let elapsed = self.clock.elapsed();
            (elapsed >= time)
                .then_some(())
                .ok_or(format!("{elapsed:?}"))
        })
        .await;
    }

    /// The operator's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Whether an event with this reason was told of anything in the namespace.
    pub(crate) async fn was_told(&self, reason: &str) -> bool {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let events = events
            .list(&ListParams::default())
            .await
            .expect("events are served");
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some(reason))
    }

    /// How operators that are started from now on sweep.
    pub(crate) fn set_sweep(&mut self, sweep: SweepSettings) {
        self.sweep = sweep;
    }

    /// Who operators are that are started from now on, and whether clusters without credentials are that too.
    pub(crate) fn operator_is(&mut self, identity: Identity, lends_itself: bool) {
        self.operator_identity = Some(identity);
        self.operator_lends_itself = lends_itself;
    }

    pub(crate) fn start_operator(&mut self) {
        // An operator that was killed left its address behind; where there was none, there is no file.
        let _ = std::fs::remove_file(self.metrics_address_file());
        let settings = self.settings();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("operator")
            .enable_all()
            .build()
            .expect("a runtime");
        let calls = self.calls.clone();
        let clock = self.clock.clone();
        let config = self.control_plane.config();
        let running = runtime.spawn(async move {
            let client = calls.client(config);
            controller::run(settings, client, clock, std::future::pending())
                .await
                .expect("the operator runs until it is killed");
        });
        self.operator = Some(Operator {
            runtime: Some(runtime),
            running,
        });
    }

    /// Until the caches of the operator are filled.
    pub(crate) async fn until_operator_is_ready(&self) {
        wait_for("the operator is ready", async || {
            self.assert_operator_runs();
            let refused = |problem: &dyn std::fmt::Display| problem.to_string();
            let address = std::fs::read_to_string(self.metrics_address_file())
                .map_err(|error| refused(&error))?;
            let answer = reqwest::get(format!("http://{address}/readyz"))
                .await
                .and_then(reqwest::Response::error_for_status);
            answer.map(drop).map_err(|error| refused(&error))
        })
        .await;
    }

    /// Whether the operator that wrote its address last answers so, once it does.
    pub(crate) async fn operator_says_it_is_ready(&self) -> bool {
        let file = self.metrics_address_file();
        let address = std::fs::read_to_string(file).expect("it serves");
        let answer = reqwest::get(format!("http://{address}/readyz")).await;
        answer.expect("it serves").status().is_success()
    }

    /// Nobody waits for what an operator does that has ended by itself.
    fn assert_operator_runs(&self) {
        let ended = self
            .operator
            .as_ref()
            .is_some_and(|operator| operator.running.is_finished());
        assert!(!ended, "the operator has ended by itself");
    }

    /// As SIGKILL would: nothing is finished, nothing is told.
    pub(crate) fn kill_operator(&mut self) {
        self.operator = None;
    }

    pub(crate) fn restart_operator(&mut self) {
        self.kill_operator();
        self.start_operator();
    }

    pub(crate) fn settings(&self) -> Settings {
        let arm = self.azure.arm_url();
        Settings {
            cluster_metrics: true,
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_address_file: Some(self.metrics_address_file()),
            instance: "tests/scenarios".to_owned(),
            // Its time may run faster than that of others.
            lease: None,
            concurrent_reconciles: 0,
            scheduler_poll: Duration::from_secs(5),
            resync: self.resync,
            sweep: self.sweep,
            worker_submission: WorkerSubmission::BesideHead,
            environment: EnvironmentDefinition {
                image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250915.v1".to_owned(),
                conda_file: None,
            },
            endpoint: Endpoint::new(Some(&arm), Some(&arm), None).expect("the simulator's address"),
            azure_http: HttpSettings {
                roots: Roots::File(self.azure.directory().join("ca.crt")),
                ..HttpSettings::default()
            },
            metadata_host: Some(self.azure.control_url().parse().expect("a URL")),
            own_identity: self.operator_identity.clone(),
            lends_own_identity: self.operator_lends_itself,
        }
    }

    pub(crate) fn clusters(&self) -> Api<DaskCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A manifest with a network and a pool of its own, in the simulator's workspace.
    pub(crate) fn manifest(&self, name: &str, worker_replicas: u32) -> Value {
        let env = self.azure.env();
        json!({
            "apiVersion": "azureml.dask.dev/v1alpha1",
            "kind": "DaskCluster",
            "metadata": {"name": name},
            "spec": {
                "workspace": {
                    "subscriptionId": env["AZURE_SUBSCRIPTION_ID"],
                    "resourceGroup": env["AZURE_RESOURCE_GROUP"],
                    "name": env["AZURE_ML_WORKSPACE"],
                },
                "credentialsSecretName": CREDENTIALS,
                "network": {
                    "virtualNetwork": {"name": "dask-vnet", "addressPrefix": "10.20.0.0/16"},
                    "subnet": {"name": "default", "addressPrefix": "10.20.0.0/22"},
                },
                "compute": {"name": "ds13-cluster", "vmSize": "STANDARD_DS13_V2", "maxNodes": 10},
                "scheduler": {"runWorker": false},
                "worker": {"replicas": worker_replicas, "threads": 1},
            },
        })
    }

    /// Server-side apply, as `kubectl apply --server-side` does.
    pub(crate) async fn apply(&self, manifest: &Value) -> DaskCluster {
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("tests").force()
        };
        self.clusters()
            .patch(name, &parameters, &Patch::Apply(manifest))
            .await
            .expect("the API server takes the manifest")
    }

    /// As `kubectl annotate --overwrite` does; without a value the annotation goes.
    pub(crate) async fn annotate(&self, name: &str, annotation: &str, value: Option<&str>) {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.clusters()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the API server takes an annotation");
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.clusters()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the API server takes the deletion");
    }

    /// Waits until the cluster is as `holds` wants it.
    ///
    /// # Panics
    /// After [`DEADLINE`], saying what the cluster was like at last.
    pub(crate) async fn wait_for(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&DaskCluster) -> bool,
    ) -> DaskCluster {
        let clusters = self.clusters();
        wait_for(what, async || {
            self.assert_operator_runs();
            let cluster = clusters
                .get_opt(name)
                .await
                .expect("the API server answers");
            match cluster {
                Some(cluster) if holds(&cluster) => Ok(cluster),
                other => Err(told(other.and_then(|cluster| cluster.status).as_ref())),
            }
        })
        .await
    }

    pub(crate) async fn wait_until_ready(&self, name: &str) -> DaskCluster {
        self.wait_for(name, "the cluster is Ready", is_ready).await
    }

    pub(crate) async fn wait_until_gone(&self, name: &str) {
        let clusters = self.clusters();
        wait_for("the cluster is gone", async || {
            let cluster = clusters
                .get_opt(name)
                .await
                .expect("the API server answers");
            match cluster {
                None => Ok(()),
                Some(cluster) => Err(told(cluster.status.as_ref())),
            }
        })
        .await;
    }

    /// Every request to Azure and its answer, oldest first.
    pub(crate) fn exchanges(&self) -> Vec<Value> {
        self.azure.exchanges()
    }

    /// `METHOD path` of every write to ARM, oldest first.
    pub(crate) fn azure_writes(&self) -> Vec<String> {
        let exchanges = self.exchanges();
        let requests = exchanges.iter().map(|exchange| &exchange["request"]);
        requests
            .filter_map(|request| Some((request["method"].as_str()?, request["path"].as_str()?)))
            .filter(|(method, path)| *method != "GET" && path.starts_with("/subscriptions/"))
            // A POST that only reads.
            .filter(|(_, path)| !path.ends_with("/listNodes"))
            .map(|(method, path)| format!("{method} {path}"))
            .collect()
    }

    /// The operator's requests to the API server, oldest first; see [`KubernetesCalls`].
    pub(crate) fn kube_calls(&self) -> Vec<KubernetesCall> {
        self.calls.all()
    }

    /// Waits for an event of the namespace that says so, as `reason: note`: events are told after what they tell of.
    pub(crate) async fn wait_for_event(&self, says_so: impl Fn(&str) -> bool) -> String {
        wait_for("an event tells it", async || {
            let events = self.events().await;
            let told = events.iter().find(|event| says_so(event));
            told.cloned().ok_or(format!("{events:#?}"))
        })
        .await
    }

    /// `reason: note` of every event of the namespace.
    pub(crate) async fn events(&self) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let listed = events
            .list(&ListParams::default())
            .await
            .expect("events are served");
        let told = listed.into_iter().map(|event| {
            format!(
                "{}: {}",
                event.reason.unwrap_or_default(),
                event.note.unwrap_or_default()
            )
        });
        told.collect()
    }

    /// Ids of the jobs in a state, in Azure's word.
    pub(crate) fn jobs_with_status(&self, status: &str) -> Vec<String> {
        let world = self.azure.world();
        let jobs = world["jobs"].as_array().into_iter().flatten();
        jobs.filter(|job| job["status"] == status)
            .filter_map(|job| Some(job["name"].as_str()?.to_owned()))
            .collect()
    }

    /// Jobs that have not ended, each with its status.
    pub(crate) fn alive_jobs(&self) -> Vec<String> {
        let ended = ["Completed", "Canceled", "Failed"];
        let world = self.azure.world();
        let jobs = world["jobs"].as_array().cloned().unwrap_or_default();
        jobs.into_iter()
            .filter(|job| !ended.contains(&job["status"].as_str().unwrap_or_default()))
            .map(|job| format!("{} {}", job["name"], job["status"]))
            .collect()
    }

    pub(crate) fn worker_jobs_that_have_not_ended(&self) -> usize {
        let world = self.azure.world();
        let jobs = world["jobs"].as_array().into_iter().flatten();
        let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
        jobs.filter(|job| !text(job, "name").contains("-head-"))
            .filter(|job| {
                !["Completed", "Failed", "Canceled"].contains(&text(job, "status").as_str())
            })
            .count()
    }

    /// SIGKILL to every process of the job whose id ends in `id`.
    pub(crate) async fn kill_job(&self, id: &str) {
        let world = self.azure.world();
        let mut jobs = world["jobs"].as_array().into_iter().flatten();
        let job = jobs
            .find(|job| job["name"].as_str().is_some_and(|name| name.ends_with(id)))
            .expect("the job exists");
        let pids = job["pids"].as_array().into_iter().flatten();
        let killed = tokio::process::Command::new("kill")
            .arg("-KILL")
            .args(pids.map(Value::to_string))
            .status()
            .await;
        assert!(killed.is_ok_and(|status| status.success()), "{job}");
    }

    /// Ids of the jobs that were asked to be cancelled, oldest first.
    pub(crate) fn cancelled_jobs(&self) -> Vec<String> {
        let writes = self.azure_writes();
        let cancels = writes
            .iter()
            .filter_map(|write| write.strip_suffix("/cancel"));
        cancels
            .filter_map(|job| Some(job.rsplit_once('/')?.1.to_owned()))
            .collect()
    }

    /// Wakes the operator so many times by an annotation, each after it has dealt with the one before.
    pub(crate) async fn have_reconciled(&self, name: &str, times: u64) {
        for _ in 0..times {
            let before = self.reconciles().await;
            // What is written again is no change, and wakes nobody.
            let now = Clock::system().now().to_string();
            self.annotate(name, "tests/poke", Some(&now)).await;
            wait_for("the operator has reconciled", async || {
                let now = self.reconciles().await;
                (now > before)
                    .then_some(())
                    .ok_or(format!("{now} reconciles"))
            })
            .await;
        }
    }

    /// Neither to Azure nor to Kubernetes, since the requests were [forgotten](Self::forget_requests).
    pub(crate) fn assert_nothing_was_written(&self, by: &str) {
        let azure = self.azure_writes();
        assert!(azure.is_empty(), "written to Azure {by}: {azure:#?}");
        let calls = self.kube_calls();
        let kubernetes: Vec<_> = calls.iter().filter(|call| call.is_write()).collect();
        assert!(
            kubernetes.is_empty(),
            "written to Kubernetes {by}: {kubernetes:#?}"
        );
    }

    /// Reconciles that the operator has finished, by its own count.
    pub(crate) async fn reconciles(&self) -> u64 {
        let counts = self.metric("dask_azureml_reconciles_total").await;
        counts.into_iter().map(|(_, count)| count).sum()
    }

    /// A counter of the operator: its labels as they are written, and how much each counts.
    pub(crate) async fn metric(&self, name: &str) -> Vec<(String, u64)> {
        let page = self.metrics_page().await;
        let counts = page.lines().filter_map(|line| {
            let labels = line.strip_prefix(name)?.strip_prefix('{')?;
            let (labels, count) = labels.rsplit_once("} ")?;
            Some((labels.to_owned(), count.parse().ok()?))
        });
        counts.collect()
    }

    /// What Prometheus would read from the operator.
    pub(crate) async fn metrics_page(&self) -> String {
        wait_for("the operator tells its metrics", async || {
            let refused = |problem: &dyn std::fmt::Display| problem.to_string();
            let address = std::fs::read_to_string(self.metrics_address_file())
                .map_err(|error| refused(&error))?;
            let answer = reqwest::get(format!("http://{address}/metrics"))
                .await
                .map_err(|error| refused(&error))?;
            answer.text().await.map_err(|error| refused(&error))
        })
        .await
    }

    fn metrics_address_file(&self) -> PathBuf {
        self.azure.directory().join("operator-metrics-address")
    }

    /// Counts Azure's and Kubernetes' requests from 0 again.
    pub(crate) fn forget_requests(&self) {
        self.azure.forget_exchanges();
        self.calls.forget();
    }
}

/// Status, reason and message of a condition: `True Drifted: …`.
pub(crate) fn condition(cluster: &DaskCluster, kind: &str) -> String {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|condition| {
            format!(
                "{} {}: {}",
                condition.status, condition.reason, condition.message
            )
        })
        .collect()
}

/// Whether `Ready` is true of the newest spec.
pub(crate) fn is_ready(cluster: &DaskCluster) -> bool {
    let generation = cluster.metadata.generation;
    cluster.status.as_ref().is_some_and(|status| {
        status.observed_generation == generation
            && status.conditions.iter().any(|condition| {
                condition.type_ == "Ready"
                    && condition.status == "True"
                    && condition.observed_generation == generation
            })
    })
}

/// Asks again and again, until there is something.
///
/// # Panics
/// After [`DEADLINE`], saying what was found at last.
#[expect(clippy::panic, reason = "a test says what it waited for in vain")]
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let clock = Clock::system();
    let started = clock.elapsed();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(found) if clock.elapsed().saturating_sub(started) > DEADLINE => {
                panic!("waited in vain until {what}; at last: {found}")
            }
            Err(_) => clock.sleep(Duration::from_millis(50)).await,
        }
    }
}

fn told(status: Option<&DaskClusterStatus>) -> String {
    status.map_or_else(
        || "no status".to_owned(),
        |status| json!(status).to_string(),
    )
}

async fn remove_what_earlier_tests_left(client: &Client) {
    let left = Api::<DaskCluster>::all(client.clone())
        .list(&ListParams::default())
        .await
        .expect("DaskClusters are served");
    for cluster in left {
        let clusters = Api::<DaskCluster>::namespaced(
            client.clone(),
            &cluster.namespace().unwrap_or_default(),
        );
        let name = cluster.name_any();
        let _ = clusters.delete(&name, &DeleteParams::default()).await;
        // Whoever would have taken the finalizer off is gone with the earlier test.
        let _ = clusters
            .patch(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": {"finalizers": null}})),
            )
            .await;
    }
}

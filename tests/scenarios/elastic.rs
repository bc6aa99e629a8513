//! Up and down with a client at work: no key is lost, no result wrong, nothing computed twice by our doing.

use azure_simulator::World;
use dask_azureml_operator::api::DaskCluster;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::computing::Computing;
use crate::harness::{Line, is_ready};
use crate::waiting_work::WaitingWork;

/// The sizes that it goes through.
const FIRST: u32 = 8;
const THEN: [u32; 4] = [2, 6, 0, 3];

/// Threads of each worker where the number of workers follows the work: as many as the client has tasks in a round, so
/// that they keep no worker beside the head's own.
const THREADS: u32 = 8;

/// The head has a worker of its own, which keeps the data while there is no other.
fn manifest(line: &Line) -> Value {
    let mut manifest = line.manifest("breath", FIRST);
    manifest["spec"]["scheduler"] = json!({"runWorker": true});
    manifest
}

/// The number follows the work, between this one and eight.
fn autoscaled(line: &Line, min_replicas: u32) -> Value {
    let mut manifest = manifest(line);
    let spec = &mut manifest["spec"];
    spec["autoscaling"] = json!({
        "minReplicas": min_replicas, "maxReplicas": FIRST, "targetDurationSeconds": 60,
        "scaleUpStabilizationSeconds": 10, "scaleDownStabilizationSeconds": 5,
        "maxScaleDownPercent": 100,
    });
    spec["worker"] = json!({"threads": THREADS, "env": WaitingWork::worker_env()});
    manifest
}

async fn start_computing(line: &Line) -> Computing {
    let scheduler = scheduler(line).await;
    Computing::start(&scheduler, line.azure.directory()).await
}

async fn scheduler(line: &Line) -> String {
    let cluster = line.wait_until_ready("breath").await;
    let scheduler = cluster.status.and_then(|status| status.scheduler);
    let scheduler = scheduler.and_then(|scheduler| scheduler.address);
    scheduler.expect("an address")
}

/// Nobody was cancelled, and the client has noticed nothing.
async fn assert_undisturbed(line: &Line, client: Computing) {
    let rounds = client.end().await;
    assert!(rounds > 20, "the client came to {rounds} rounds only");
    assert_eq!(line.cancelled_jobs(), [""; 0]);
}

fn ready(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

fn desired(cluster: &DaskCluster) -> Option<u32> {
    let autoscaling = cluster.status.as_ref()?.autoscaling.as_ref()?;
    Some(autoscaling.desired_replicas)
}

async fn scale(line: &Line, replicas: u32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    line.clusters()
        .patch_scale("breath", &PatchParams::default(), &patch)
        .await
        .expect("the scale subresource takes it");
}

/// The operator is killed before the first worker comes or goes, and after it.
async fn kill_the_operator_twice_on_the_way(line: &mut Line, before: u32, replicas: u32) {
    line.restart_operator();
    line.wait_for("breath", "a first worker has come or gone", |cluster| {
        ready(cluster).is_some_and(|ready| ready != before + 1)
    })
    .await;
    line.restart_operator();
    until_scaled(line, replicas).await;
}

/// All of the worker jobs are there that are wanted, and no other, and their workers have registered.
async fn until_scaled(line: &Line, replicas: u32) {
    line.wait_for("breath", "it has its size", |cluster| {
        let status = cluster.status.as_ref();
        is_ready(cluster)
            && status.and_then(|status| status.replicas) == Some(replicas)
            // The head's own worker stays.
            && ready(cluster) == Some(replicas + 1)
    })
    .await;
    let scale = line.clusters().get_scale("breath").await;
    let status = scale.expect("it is served").status.expect("a status");
    assert_eq!(u32::try_from(status.replicas), Ok(replicas));
    let selector = status.selector.unwrap_or_default();
    let cluster = line.clusters().get("breath").await.expect("it is there");
    let uid = cluster.metadata.uid.expect("a UID");
    assert_eq!(selector, format!("azureml.dask.dev/cluster-uid={uid}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_computes_on_while_its_cluster_breathes_and_its_operator_is_killed_twice_a_step() {
    let mut line = Line::start().await;
    line.apply(&manifest(&line)).await;
    let client = start_computing(&line).await;

    let mut before = FIRST;
    for replicas in THEN {
        scale(&line, replicas).await;
        line.wait_for("breath", "the new size has been seen", |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.observed_generation == cluster.metadata.generation)
        })
        .await;
        kill_the_operator_twice_on_the_way(&mut line, before, replicas).await;
        before = replicas;
    }
    assert_undisturbed(&line, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_client_notices_nothing_where_the_autoscaler_says_the_sizes() {
    let mut line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    line.apply(&autoscaled(&line, FIRST)).await;
    let client = start_computing(&line).await;
    let scheduler = scheduler(&line).await;
    until_scaled(&line, FIRST).await;
    line.hurry(20);

    let mut before = FIRST;
    let mut work: Option<WaitingWork> = None;
    // What stays without work, and for how many workers there is some.
    for (replicas, (least, workers)) in THEN.into_iter().zip([(2, 0), (2, 6), (0, 0), (0, 3)]) {
        line.apply(&autoscaled(&line, least)).await;
        if let Some(done) = work.take() {
            done.release().await;
        }
        if workers > 0 {
            work = Some(WaitingWork::for_workers(
                &line, &scheduler, workers, THREADS,
            ));
        }
        line.wait_for("breath", "the new size is told", |cluster| {
            desired(cluster) == Some(replicas)
        })
        .await;
        kill_the_operator_twice_on_the_way(&mut line, before, replicas).await;
        before = replicas;
    }
    if let Some(done) = work {
        done.release().await;
    }
    assert_undisturbed(&line, client).await;
}

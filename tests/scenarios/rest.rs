use azure_simulator::{Pace, Timings, World};
use dask_azureml_operator::api::{DaskCluster, DaskClusterStatus};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use dask_azureml_operator::kubernetes_children::MANAGER;

use crate::dask_client;
use crate::harness::{Line, condition, is_ready, wait_for};

/// Everything happens at once, but that a node idles for its three seconds before it goes.
pub(crate) fn quick() -> World {
    World {
        timings: Timings::none(),
        time_scale: Pace::Scaled(20.0),
        ..World::default()
    }
}

pub(crate) fn manifest(
    line: &Line,
    name: &str,
    workers: u32,
    change: impl FnOnce(&mut Value),
) -> Value {
    let mut manifest = line.manifest(name, workers);
    manifest["spec"]["compute"]["minNodes"] = json!(1);
    manifest["spec"]["compute"]["idleSecondsBeforeScaleDown"] = json!(60);
    change(&mut manifest["spec"]);
    manifest
}

fn suspended(spec: &mut Value) {
    spec["suspend"] = json!(true);
}

pub(crate) fn status(cluster: &DaskCluster) -> DaskClusterStatus {
    cluster.status.clone().unwrap_or_default()
}

/// As `flux` and `argocd` read it: what the manifest asks for holds, and that is that nothing runs.
pub(crate) fn is_at_rest(cluster: &DaskCluster) -> bool {
    is_ready(cluster)
        && condition(cluster, "Ready").starts_with("True Suspended")
        && condition(cluster, "Reconciling").starts_with("False")
        && json!(status(cluster).phase) == "Suspended"
}

pub(crate) fn runs(cluster: &DaskCluster) -> bool {
    is_ready(cluster) && json!(status(cluster).phase) == "Running"
}

pub(crate) fn has_no_node(cluster: &DaskCluster) -> bool {
    let nodes = status(cluster).nodes.unwrap_or_default();
    let compute = status(cluster).compute.unwrap_or_default();
    (nodes.target, nodes.current, nodes.own) == (0, 0, 0)
        && compute.allocation_state.as_deref() == Some("Steady")
}

pub(crate) fn scheduler(cluster: &DaskCluster) -> String {
    let scheduler = status(cluster).scheduler.unwrap_or_default();
    scheduler.address.expect("an address")
}

pub(crate) fn assert_nothing_is_connected_to(cluster: &DaskCluster) {
    let status = status(cluster);
    assert_eq!((status.scheduler, status.run), (None, None));
    assert_eq!(status.replicas, Some(0));
    for stage in ["SchedulerReady", "WorkersReady"] {
        let told = condition(cluster, stage);
        assert!(told.starts_with("False Suspended"), "{stage} is {told}");
    }
    let told = condition(cluster, "Suspended");
    assert!(told.starts_with("True "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_cluster_comes_to_rest_without_a_node_and_computes_again_once_it_is_resumed() {
    let mut line = Line::start_in(quick()).await;
    line.apply(&manifest(&line, "sleeper", 2, |_| {})).await;
    let cluster = line.wait_until_ready("sleeper").await;
    dask_client::run(
        &scheduler(&cluster),
        "assert client.submit(sum, [1, 2]).result() == 3",
    )
    .await;

    line.apply(&manifest(&line, "sleeper", 2, suspended)).await;
    let cluster = line.wait_for("sleeper", "it rests", is_at_rest).await;
    assert_nothing_is_connected_to(&cluster);
    assert_eq!(line.alive_jobs(), Vec::<String>::new());
    let retired = line.jobs_with_status("Completed");
    assert_eq!(retired.len(), 2, "workers go in peace: {retired:?}");
    line.wait_for("sleeper", "the pool has no node", |cluster| {
        is_at_rest(cluster) && has_no_node(cluster)
    })
    .await;

    line.forget_requests();
    line.have_reconciled("sleeper", 5).await;
    line.assert_nothing_was_written("by the operator that suspended the cluster");
    line.restart_operator();
    line.have_reconciled("sleeper", 5).await;
    line.assert_nothing_was_written("by the operator that found the cluster at rest");

    line.apply(&manifest(&line, "sleeper", 2, |_| {})).await;
    let cluster = line.wait_for("sleeper", "it works again", runs).await;
    assert_eq!(condition(&cluster, "Suspended"), "");
    let run = status(&cluster).run.and_then(|run| run.name);
    assert!(run.is_some_and(|run| run.ends_with("-head-2")));
    dask_client::run(
        &scheduler(&cluster),
        "assert client.submit(sum, [3, 4]).result() == 7",
    )
    .await;
    let least = line.azure.world()["computes"][0].to_string();
    assert!(least.contains("\"minNodeCount\":1"), "{least}");
    let events = line.events().await;
    let failed = events
        .iter()
        .filter(|event| event.starts_with("HeadFailed"));
    assert_eq!(failed.count(), 0, "nothing has failed: {events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_during_its_start_a_cluster_never_starts_and_keeps_its_children() {
    let world = World {
        timings: Timings {
            node_boot_seconds: 600.0,
            ..Timings::none()
        },
        ..quick()
    };
    let line = Line::start_in(world).await;
    line.apply(&manifest(&line, "hasty", 2, |_| {})).await;
    wait_for("all jobs wait for nodes", async || {
        let queued = line.jobs_with_status("Queued");
        (queued.len() == 3)
            .then_some(())
            .ok_or(format!("{queued:?}"))
    })
    .await;

    line.apply(&manifest(&line, "hasty", 2, suspended)).await;
    let cluster = line.wait_for("hasty", "it rests", is_at_rest).await;
    assert_nothing_is_connected_to(&cluster);
    assert_eq!(line.jobs_with_status("Canceled").len(), 3);
    let services = Api::<Service>::namespaced(line.client.clone(), &line.namespace);
    let secrets = Api::<Secret>::namespaced(line.client.clone(), &line.namespace);
    let services = services.list(&Default::default()).await.expect("a list");
    let secrets = secrets.list(&Default::default()).await.expect("a list");
    assert_eq!(services.items.len(), 1, "the Service stays");
    assert_eq!(secrets.items.len(), 2, "and the connection Secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_begins_suspended_makes_everything_but_jobs_and_nodes() {
    let line = Line::start_in(quick()).await;
    line.apply(&manifest(&line, "dormant", 1, suspended)).await;
    let cluster = line.wait_for("dormant", "it rests", is_at_rest).await;
    assert_nothing_is_connected_to(&cluster);
    let world = line.azure.world();
    assert_eq!(world["jobs"], json!([]));
    assert_eq!(world["computes"].as_array().map(Vec::len), Some(1));
    assert!(has_no_node(&cluster), "{:?}", status(&cluster).nodes);
}

/// What fits nowhere else keeps a worker, as long as it may.
async fn with_data(line: &Line, name: &str) {
    let cluster = line.wait_until_ready(name).await;
    dask_client::run(
        &scheduler(&cluster),
        "kept = client.scatter([bytes(100_000)])
client.publish_dataset(kept, name='kept')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_fits_nowhere_keeps_a_cluster_from_its_rest_no_longer_than_it_may() {
    let line = Line::start_in(quick()).await;
    let grace = |spec: &mut Value| spec["worker"]["scaleDownGraceSeconds"] = json!(3);
    line.apply(&manifest(&line, "laden", 1, grace)).await;
    with_data(&line, "laden").await;

    let change = |spec: &mut Value| {
        grace(spec);
        suspended(spec);
    };
    line.apply(&manifest(&line, "laden", 1, change)).await;
    line.wait_for("laden", "it rests", is_at_rest).await;
    assert_eq!(line.jobs_with_status("Canceled").len(), 2);
    let events = line.events().await;
    let told = events
        .iter()
        .find(|event| event.contains("was cancelled, as the cluster rests"));
    assert!(told.is_some(), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_deleted_while_it_comes_to_rest_leaves_nothing() {
    let line = Line::start_in(quick()).await;
    line.apply(&manifest(&line, "weary", 1, |_| {})).await;
    with_data(&line, "weary").await;
    line.apply(&manifest(&line, "weary", 1, suspended)).await;
    line.wait_for("weary", "it comes to rest", |cluster| {
        json!(status(cluster).phase) == "Suspending"
    })
    .await;

    line.delete("weary").await;
    line.wait_until_gone("weary").await;
    let world = line.azure.world();
    assert_eq!(
        (&world["networks"], &world["computes"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(line.alive_jobs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_that_the_status_names_is_entered_by_whatever_operator_comes_and_ends_with_a_wake() {
    let mut line = Line::start_in(quick()).await;
    line.apply(&manifest(&line, "napper", 1, |_| {})).await;
    let cluster = line.wait_until_ready("napper").await;
    line.kill_operator();
    // As an operator leaves it that is killed between its decision and the first step.
    let mut left = json!(status(&cluster));
    left["rest"] = json!({
        "reason": "Idle",
        "action": "Suspend",
        "since": status(&cluster).run.and_then(|run| run.start_time),
        "generation": cluster.metadata.generation,
    });
    line.clusters()
        .patch_status(
            "napper",
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(json!({
                "apiVersion": "azureml.dask.dev/v1alpha1",
                "kind": "DaskCluster",
                "status": left,
            })),
        )
        .await
        .expect("the API server takes a status");
    line.start_operator();
    let cluster = line.wait_for("napper", "it rests", is_at_rest).await;
    let told = condition(&cluster, "Suspended");
    assert!(told.starts_with("True Idle"), "{told}");
    assert_nothing_is_connected_to(&cluster);

    line.annotate("napper", "azureml.dask.dev/wake", Some("now"))
        .await;
    let cluster = line.wait_for("napper", "it works again", runs).await;
    assert_eq!(status(&cluster).rest, None);
    dask_client::run(
        &scheduler(&cluster),
        "assert client.submit(sum, [1, 2]).result() == 3",
    )
    .await;
}

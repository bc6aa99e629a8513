use std::time::Duration;

use azure_simulator::World;
use dask_azureml_operator::api::DaskCluster;
use serde_json::{Value, json};

use crate::dask_client;
use crate::harness::{Line, condition, is_ready, wait_for};

/// Workers that hold data which is published; the head has none that could take it.
async fn laden(line: &Line, grace: Option<u32>) -> (Value, String) {
    let mut manifest = line.manifest("laden", 2);
    if let Some(seconds) = grace {
        manifest["spec"]["worker"]["scaleDownGraceSeconds"] = json!(seconds);
    }
    line.apply(&manifest).await;
    let cluster = line.wait_until_ready("laden").await;
    let scheduler = cluster.status.and_then(|status| status.scheduler);
    let scheduler = scheduler.and_then(|scheduler| scheduler.address);
    let scheduler = scheduler.expect("an address");
    dask_client::run(
        &scheduler,
        "parts = client.scatter([bytes([n]) * 100_000 for n in range(12)])
client.publish_dataset(parts, name='kept')",
    )
    .await;
    (manifest, scheduler)
}

/// All workers are to go, and one of them cannot.
async fn scale_to_nothing(line: &Line, manifest: &mut Value) -> DaskCluster {
    manifest["spec"]["worker"]["replicas"] = json!(0);
    line.apply(manifest).await;
    // What is refused is tried again after ten seconds.
    line.hurry(20);
    let cluster = line
        .wait_for("laden", "data is held by the last worker", |cluster| {
            holds_data(cluster) && replicas(cluster) == Some(1)
        })
        .await;
    line.hurry(1);
    cluster
}

fn holds_data(cluster: &DaskCluster) -> bool {
    let told = condition(cluster, "WorkersReady");
    told.starts_with("False DataHeld: 1 worker is to go, and ")
}

fn replicas(cluster: &DaskCluster) -> Option<u32> {
    cluster.status.as_ref()?.replicas
}

fn registered(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

fn has_no_worker(cluster: &DaskCluster) -> bool {
    is_ready(cluster) && replicas(cluster) == Some(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_worker_stays_with_data_that_fits_nowhere_until_the_data_is_freed() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    let (mut manifest, scheduler) = laden(&line, None).await;
    let cluster = scale_to_nothing(&line, &mut manifest).await;
    let told = condition(&cluster, "WorkersReady");
    assert!(
        told.ends_with("kept until it does, as worker.scaleDownGraceSeconds is not set"),
        "{told}"
    );
    assert_eq!(line.jobs_with_status("Completed").len(), 1);

    // It is tried again and again meanwhile.
    line.hurry(20);
    line.wait_until_elapsed(line.elapsed() + Duration::from_secs(60))
        .await;
    let cluster = line.clusters().get("laden").await.expect("it is there");
    assert!(
        holds_data(&cluster),
        "{}",
        condition(&cluster, "WorkersReady")
    );
    assert_eq!(replicas(&cluster), Some(1));
    let events = line.events().await;
    let told = events.iter().filter(|event| event.starts_with("DataHeld"));
    assert_eq!(told.count(), 1, "{events:#?}");

    dask_client::run(
        &scheduler,
        "found = client.gather(client.get_dataset('kept'))
assert found == [bytes([n]) * 100_000 for n in range(12)]
client.unpublish_dataset('kept')",
    )
    .await;
    line.wait_for("laden", "the last worker is gone", has_no_worker)
        .await;
    assert_eq!(line.jobs_with_status("Completed").len(), 2);
    assert_eq!(line.cancelled_jobs(), [""; 0]);
    assert!(!line.was_told("DataLost").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_fits_nowhere_is_lost_after_the_grace_and_an_event_says_what_it_was() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    let (mut manifest, _) = laden(&line, Some(600)).await;
    let cluster = scale_to_nothing(&line, &mut manifest).await;
    let told = condition(&cluster, "WorkersReady");
    let scaled = cluster.status.and_then(|status| status.last_scale_time);
    let ends = scaled.expect("the number has changed").0 + Duration::from_secs(600);
    let at = ends.strftime("%Y-%m-%d %H:%M:%S UTC");
    assert!(
        told.ends_with(&format!("kept until {at}, then they go all the same")),
        "{told}"
    );

    let most_of_it = ends - Duration::from_secs(60);
    line.pass(Duration::try_from(most_of_it.duration_since(line.now())).expect("to come"))
        .await;
    line.hurry(10);
    line.wait_until_elapsed(line.elapsed() + Duration::from_secs(20))
        .await;
    line.hurry(1);
    let cluster = line.clusters().get("laden").await.expect("it is there");
    assert_eq!(replicas(&cluster), Some(1), "its grace has not passed");
    assert_eq!(line.cancelled_jobs(), [""; 0]);

    line.hurry(20);
    line.wait_for("laden", "the last worker is gone", has_no_worker)
        .await;
    let cancelled = line.cancelled_jobs();
    let [lost] = cancelled.as_slice() else {
        panic!("{cancelled:?}");
    };
    let told = line
        .wait_for_event(|event| event.starts_with("DataLost: "))
        .await;
    assert!(
        told.contains(&format!("the worker of job {lost} held 1.1 MiB: ")),
        "{told}"
    );
}

/// The first worker of the second slot never comes to the scheduler: its Python hangs before it begins.
const HANGS: &str = "
import os, time

if os.environ.get('AZUREML_RUN_ID', '').endswith('-w01-1'):
    time.sleep(3600)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_register_in_time_is_replaced_and_no_other() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    let modules = line.azure.directory();
    std::fs::write(modules.join("sitecustomize.py"), HANGS).expect("the directory can be written");
    let mut manifest = line.manifest("punctual", 2);
    let worker = &mut manifest["spec"]["worker"];
    worker["startTimeoutSeconds"] = json!(600);
    worker["env"] = json!([{"name": "PYTHONPATH", "value": modules}]);
    line.apply(&manifest).await;
    line.wait_for("punctual", "the other worker has registered", |cluster| {
        registered(cluster) == Some(1) && line.jobs_with_status("Running").len() == 3
    })
    .await;
    line.pass(Duration::from_secs(540)).await;
    line.have_reconciled("punctual", 3).await;
    assert_eq!(line.cancelled_jobs(), [""; 0], "it still has time");

    line.pass(Duration::from_secs(65)).await;
    wait_for("it is ended", async || {
        let cancelled = line.cancelled_jobs();
        (cancelled.len() == 1)
            .then_some(())
            .ok_or(format!("{cancelled:?}"))
    })
    .await;
    line.hurry(20);
    line.wait_for("punctual", "two workers are there", |cluster| {
        is_ready(cluster) && registered(cluster) == Some(2)
    })
    .await;
    let cancelled = line.cancelled_jobs();
    assert!(
        matches!(cancelled.as_slice(), [only] if only.ends_with("-w01-1")),
        "{cancelled:?}"
    );
    line.wait_for_event(|event| event.starts_with("StartTimeout: ") && event.contains("-w01-1"))
        .await;
    let running = line.jobs_with_status("Running");
    let runs = |job: &str| running.iter().any(|running| running.ends_with(job));
    assert!(
        running.len() == 3 && runs("-head-1") && runs("-w00-1") && !runs("-w01-1"),
        "{running:?}"
    );
}

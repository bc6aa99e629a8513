use dask_azureml_operator::api::DaskCluster;
use serde_json::json;

use crate::dask_client;
use crate::harness::{Line, condition};
use crate::rest::{
    assert_nothing_is_connected_to, has_no_node, is_at_rest, manifest, quick, runs, scheduler,
    status,
};

/// What the warning before an end says of it: `… end at 2026-11-25 10:35:06 UTC; …`.
fn end_in(warning: &str) -> String {
    let (_, end) = warning.split_once(" end at ").expect("when it ends");
    let (end, _) = end.split_once(" UTC").expect("a time");
    end.to_owned()
}

fn rests_since(cluster: &DaskCluster) -> String {
    let rest = status(cluster).rest.expect("it rests");
    rest.since.0.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_nobody_uses_is_warned_then_rests_and_is_woken_by_its_annotation() {
    let line = Line::start_with_time_in_our_hands(quick()).await;
    line.apply(&manifest(&line, "drowsy", 1, |spec| {
        spec["idleTimeoutSeconds"] = json!(60);
        spec["worker"]["scaleDownGraceSeconds"] = json!(10);
    }))
    .await;
    let cluster = line.wait_until_ready("drowsy").await;
    dask_client::run(
        &scheduler(&cluster),
        "kept = client.submit(bytes, 100_000)
kept.result()
client.publish_dataset(kept, name='kept')",
    )
    .await;

    line.hurry(20);
    let warning = line
        .wait_for_event(|event| event.starts_with("IdleSoon: "))
        .await;
    assert!(
        warning.contains("97.7 KiB of results are held, and no client is connected"),
        "{warning}"
    );
    let cluster = line.wait_for("drowsy", "it rests", is_at_rest).await;
    assert!(
        rests_since(&cluster) >= end_in(&warning),
        "not before the end that was told: {warning}"
    );
    let told = condition(&cluster, "Suspended");
    assert!(told.starts_with("True Idle: "), "{told}");
    assert_nothing_is_connected_to(&cluster);
    assert_eq!(line.alive_jobs(), [""; 0]);
    line.wait_for("drowsy", "the pool has no node", has_no_node)
        .await;
    line.forget_requests();
    line.have_reconciled("drowsy", 3).await;
    line.assert_nothing_was_written("for a cluster that rests");

    line.hurry(1);
    line.annotate("drowsy", "azureml.dask.dev/wake", Some("good morning"))
        .await;
    let cluster = line.wait_for("drowsy", "it works again", runs).await;
    assert_eq!(status(&cluster).rest, None);
    assert_eq!(condition(&cluster, "Suspended"), "");
    dask_client::run(
        &scheduler(&cluster),
        "assert client.submit(sum, [1, 2]).result() == 3",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_nobody_uses_goes_to_zero_workers_and_work_brings_them_back() {
    let line = Line::start_with_time_in_our_hands(quick()).await;
    line.apply(&manifest(&line, "dozing", 2, |spec| {
        spec["idleTimeoutSeconds"] = json!(60);
        spec["idleAction"] = json!("ScaleToZero");
    }))
    .await;
    let awake = line.wait_until_ready("dozing").await;

    line.hurry(20);
    let cluster = line
        .wait_for("dozing", "no worker is left", |cluster| {
            let workers = status(cluster).workers.unwrap_or_default();
            status(cluster).replicas == Some(0) && workers.ready == 0
        })
        .await;
    line.hurry(1);
    let warning = line
        .wait_for_event(|event| event.starts_with("IdleSoon: "))
        .await;
    assert!(warning.contains("the workers end at "), "{warning}");
    assert!(
        rests_since(&cluster) >= end_in(&warning),
        "not before the end that was told: {warning}"
    );
    let told = condition(&cluster, "Suspended");
    assert!(told.starts_with("False Idle: "), "{told}");
    let told = condition(&cluster, "SchedulerReady");
    assert!(told.starts_with("True "), "{told}");
    assert_eq!(status(&cluster).run, status(&awake).run, "the head stays");
    assert_eq!(line.jobs_with_status("Completed").len(), 2);
    assert_eq!(line.cancelled_jobs(), [""; 0], "workers go in peace");

    // Nobody is there who could run it.
    dask_client::run(
        &scheduler(&awake),
        "assert client.submit(sum, [1, 2]).result() == 3",
    )
    .await;
    let cluster = line
        .wait_for("dozing", "both workers are there again", |cluster| {
            runs(cluster) && status(cluster).workers.unwrap_or_default().ready == 2
        })
        .await;
    assert_eq!(status(&cluster).rest, None);
    assert_eq!(status(&cluster).run, status(&awake).run, "the head stays");
}

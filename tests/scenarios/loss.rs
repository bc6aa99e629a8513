use azure_simulator::{Fault, FaultAnswer};
use dask_azureml_operator::api::DaskCluster;

use crate::harness::{Line, is_ready, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_job_that_dies_is_replaced_by_its_next_incarnation() {
    let line = Line::start().await;
    let uid = line.apply(&line.manifest("hardy", 2)).await.metadata.uid;
    line.wait_until_ready("hardy").await;
    let victim = job_of(&uid, "w01-1");
    line.kill_job(&victim).await;

    let successor = job_of(&uid, "w01-2");
    wait_for("the next incarnation runs", async || {
        runs(&line, &successor)
    })
    .await;
    line.wait_for("hardy", "both workers are there again", |cluster| {
        is_ready(cluster) && ready_workers(cluster) == Some(2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_dies_is_replaced_together_with_its_workers() {
    let line = Line::start().await;
    let uid = line.apply(&line.manifest("hydra", 2)).await.metadata.uid;
    line.wait_until_ready("hydra").await;
    line.kill_job(&job_of(&uid, "head-1")).await;

    let successor = job_of(&uid, "head-2");
    wait_for("the next head runs", async || runs(&line, &successor)).await;
    let cluster = line
        .wait_for("hydra", "the new head has both workers", |cluster| {
            let run = cluster
                .status
                .as_ref()
                .and_then(|status| status.run.as_ref()?.name.clone());
            is_ready(cluster)
                && run.is_some_and(|run| run.ends_with(&successor))
                && ready_workers(cluster) == Some(2)
        })
        .await;
    let replicas = cluster.status.and_then(|status| status.replicas);
    assert_eq!(replicas, Some(2), "the workers of the lost head are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_whose_tags_never_arrive_is_found_on_the_node_of_its_job() {
    let line = Line::start().await;
    line.azure.fault(Fault {
        count: None,
        ..Fault::answer(
            "POST",
            "/runs/log-batch",
            FaultAnswer::error(503, "ServiceUnavailable"),
        )
    });
    line.apply(&line.manifest("mute", 0)).await;
    let found = line.wait_until_ready("mute").await;
    let address = found
        .status
        .and_then(|status| status.scheduler?.address)
        .expect("an address");
    assert!(address.ends_with(":8786"), "{address}");
}

/// The id of a job of a cluster: see `names.rs`.
fn job_of(uid: &Option<String>, name: &str) -> String {
    let uid: String = uid
        .iter()
        .flat_map(|uid| uid.chars())
        .filter(char::is_ascii_alphanumeric)
        .take(8)
        .collect();
    format!("{uid}-{name}")
}

fn runs(line: &Line, job: &str) -> Result<(), String> {
    let running = line.jobs_with_status("Running");
    if running.iter().any(|running| running.ends_with(job)) {
        Ok(())
    } else {
        Err(format!("{running:?}"))
    }
}

fn ready_workers(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

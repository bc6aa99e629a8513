use crate::dask_client;
use crate::harness::{Line, is_ready, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn fewer_replicas_retire_workers_with_their_data_and_more_let_workers_join() {
    let line = Line::start().await;
    line.apply(&line.manifest("breathing", 3)).await;
    let cluster = line.wait_until_ready("breathing").await;
    let status = cluster.status.expect("a status");
    let scheduler = status.scheduler.expect("the scheduler's addresses");
    let scheduler = scheduler.address.expect("an address");
    dask_client::run(
        &scheduler,
        "parts = client.scatter([bytes([n]) * 100_000 for n in range(12)])
client.publish_dataset(parts, name='kept')",
    )
    .await;

    line.apply(&line.manifest("breathing", 1)).await;
    line.wait_for("breathing", "one worker is left", |cluster| {
        is_ready(cluster) && workers(cluster) == Some(1)
    })
    .await;
    wait_for("two worker jobs have ended by themselves", async || {
        let ended = line.jobs_with_status("Completed");
        (ended.len() == 2).then_some(()).ok_or(format!("{ended:?}"))
    })
    .await;

    line.apply(&line.manifest("breathing", 2)).await;
    line.wait_for("breathing", "a worker has joined", |cluster| {
        is_ready(cluster) && workers(cluster) == Some(2)
    })
    .await;
    assert_eq!(line.cancelled_jobs(), [""; 0], "workers go by retirement");
    dask_client::run(
        &scheduler,
        "found = client.gather(client.get_dataset('kept'))
assert found == [bytes([n]) * 100_000 for n in range(12)]",
    )
    .await;
}

fn workers(cluster: &dask_azureml_operator::api::DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

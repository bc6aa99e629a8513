use dask_azureml_operator::api::DaskCluster;

use crate::harness::{Line, is_ready};

const RECONCILES: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn reconciles_after_ready_write_nothing_and_neither_do_those_of_a_new_operator() {
    let mut line = Line::start().await;
    line.apply(&line.manifest("quiet", 2)).await;
    line.wait_for(
        "quiet",
        "everything that Azure counts has settled",
        |cluster| is_ready(cluster) && is_settled(cluster, 3),
    )
    .await;

    line.forget_requests();
    line.have_reconciled("quiet", RECONCILES).await;
    line.assert_nothing_was_written("by the operator that made the cluster");

    line.restart_operator();
    line.have_reconciled("quiet", RECONCILES).await;
    line.assert_nothing_was_written("by the operator that found the cluster");
}

fn is_settled(cluster: &DaskCluster, jobs: u32) -> bool {
    let status = cluster.status.clone().unwrap_or_default();
    let nodes = status.nodes.unwrap_or_default();
    let steady = status.compute.and_then(|compute| compute.allocation_state);
    (nodes.target, nodes.current, nodes.running) == (jobs, jobs, jobs)
        && steady.as_deref() == Some("Steady")
}

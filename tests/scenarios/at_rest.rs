use dask_azureml_operator::api::DaskCluster;

use crate::harness::{Line, is_ready, wait_for};

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
    poke(&line, RECONCILES).await;
    assert_nothing_was_written(&line, "by the operator that made the cluster");

    line.restart_operator();
    poke(&line, RECONCILES).await;
    assert_nothing_was_written(&line, "by the operator that found the cluster");
}

fn is_settled(cluster: &DaskCluster, jobs: u32) -> bool {
    let status = cluster.status.clone().unwrap_or_default();
    let nodes = status.nodes.unwrap_or_default();
    let steady = status.compute.and_then(|compute| compute.allocation_state);
    (nodes.target, nodes.current, nodes.running) == (jobs, jobs, jobs)
        && steady.as_deref() == Some("Steady")
}

/// Wakes the operator by an annotation, `times` times, each after it has dealt with the one before.
async fn poke(line: &Line, times: u64) {
    for round in 0..times {
        let before = line.reconciles().await;
        line.annotate("quiet", "tests/poke", Some(&round.to_string()))
            .await;
        wait_for("the operator has reconciled", async || {
            let now = line.reconciles().await;
            (now > before)
                .then_some(())
                .ok_or(format!("{now} reconciles"))
        })
        .await;
    }
}

fn assert_nothing_was_written(line: &Line, by: &str) {
    let azure = line.azure_writes();
    assert!(azure.is_empty(), "written to Azure {by}: {azure:#?}");
    let calls = line.kube_calls();
    let kubernetes: Vec<_> = calls.iter().filter(|call| call.is_write()).collect();
    assert!(
        kubernetes.is_empty(),
        "written to Kubernetes {by}: {kubernetes:#?}"
    );
}

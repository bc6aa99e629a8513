//! Users who change their mind before what they asked for last has come about.

use dask_azureml_operator::api::DaskCluster;
use serde_json::json;

use crate::dask_client;
use crate::harness::{Line, condition, is_ready, wait_for};

fn replicas(cluster: &DaskCluster) -> Option<u32> {
    cluster.status.as_ref()?.replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_scaled_to_nothing_while_it_starts_keeps_its_head_alone() {
    let line = Line::start().await;
    line.apply(&line.manifest("hasty", 3)).await;
    wait_for("its jobs are submitted", async || {
        let alive = line.alive_jobs();
        (alive.len() == 4).then_some(()).ok_or(format!("{alive:?}"))
    })
    .await;

    line.apply(&line.manifest("hasty", 0)).await;
    line.wait_for("hasty", "only the head is there", |cluster| {
        is_ready(cluster) && replicas(cluster) == Some(0)
    })
    .await;
    let alive = line.alive_jobs();
    assert!(
        alive.len() == 1 && alive[0].contains("-head-1"),
        "{alive:?}"
    );
    assert_eq!(line.jobs_with_status("Failed"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_deleted_while_workers_retire_leaves_nothing() {
    let line = Line::start().await;
    line.apply(&line.manifest("torn", 2)).await;
    let cluster = line.wait_until_ready("torn").await;
    let scheduler = cluster.status.and_then(|status| status.scheduler);
    let scheduler = scheduler.and_then(|scheduler| scheduler.address);
    // A worker that is to go finishes what it has begun.
    dask_client::run(
        &scheduler.expect("an address"),
        "import time
from distributed import fire_and_forget
for n in range(12):
    fire_and_forget(client.submit(time.sleep, 60 + n, pure=False))",
    )
    .await;

    line.apply(&line.manifest("torn", 0)).await;
    line.wait_for("torn", "workers retire", |cluster| {
        condition(cluster, "WorkersReady").starts_with("False Retiring")
    })
    .await;
    line.delete("torn").await;
    line.wait_until_gone("torn").await;
    let world = line.azure.world();
    assert_eq!(
        (&world["networks"], &world["computes"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(line.alive_jobs(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaling_is_switched_on_and_off_while_the_cluster_runs() {
    let line = Line::start().await;
    let fixed = line.manifest("fickle", 1);
    line.apply(&fixed).await;
    let before = line.wait_until_ready("fickle").await;
    let head = |cluster: &DaskCluster| {
        let status = cluster.status.as_ref()?;
        status.run.as_ref()?.name.clone()
    };

    let mut scaled = line.manifest("fickle", 1);
    scaled["spec"]["worker"] = json!({});
    scaled["spec"]["autoscaling"] = json!({"minReplicas": 2, "maxReplicas": 3});
    line.apply(&scaled).await;
    let on = line
        .wait_for("fickle", "it has its fewest", |cluster| {
            is_ready(cluster) && replicas(cluster) == Some(2)
        })
        .await;
    let desired = on.status.as_ref().and_then(|status| {
        let autoscaling = status.autoscaling.as_ref()?;
        Some(autoscaling.desired_replicas)
    });
    assert_eq!(desired, Some(2));

    line.apply(&fixed).await;
    let off = line
        .wait_for("fickle", "the spec counts again", |cluster| {
            is_ready(cluster) && replicas(cluster) == Some(1)
        })
        .await;
    assert!(
        off.status
            .as_ref()
            .is_some_and(|status| status.autoscaling.is_none())
    );
    assert_eq!(head(&off), head(&before), "its head stays all the while");
    assert_eq!(
        line.jobs_with_status("Canceled"),
        [""; 0],
        "workers go in peace"
    );
}

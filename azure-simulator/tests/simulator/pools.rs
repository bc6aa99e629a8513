//! The life of nodes: they come with jobs and go when they idle.

use std::collections::BTreeSet;

use azure_simulator::{EndOfJobs, Pace, Timings, World};
use serde_json::json;

use crate::client::{Azure, until};
use crate::fixtures::pool_body;

/// Only what `timings` names takes time, and idle nodes stay for two minutes.
async fn start(timings: Timings) -> Azure {
    let world = World::default().with_timings(timings);
    Azure::start(world).await.with_pool(2).await
}

fn counts(compute: &serde_json::Value, state: &str) -> u64 {
    let counts = &compute["properties"]["properties"]["nodeStateCounts"];
    counts[format!("{state}NodeCount")].as_u64().unwrap()
}

#[tokio::test]
async fn nodes_boot_when_jobs_queue_and_no_more_than_the_pool_may_have() {
    let azure = start(Timings {
        node_boot_seconds: 3600.0,
        ..Timings::none()
    })
    .await;
    assert_eq!(
        azure.compute("pool").await["properties"]["properties"]["currentNodeCount"],
        0
    );
    for id in ["j1", "j2", "j3"] {
        azure.submit(id, "sleep 1000").await;
    }
    let compute = azure.compute("pool").await;
    let inner = &compute["properties"]["properties"];
    assert_eq!(counts(&compute, "preparing"), 2);
    assert_eq!(
        (&inner["targetNodeCount"], &inner["allocationState"]),
        (&json!(2), &json!("Resizing"))
    );
    assert_eq!(azure.job("j1").await["properties"]["status"], "Queued");
    azure.simulator.set_pace(Pace::Instant);
    azure.job_is("j1", "Running").await;
    azure.job_is("j2", "Running").await;
    assert_eq!(azure.job("j3").await["properties"]["status"], "Queued");
    let compute = azure.compute("pool").await;
    assert_eq!(counts(&compute, "running"), 2);
    assert_eq!(
        compute["properties"]["properties"]["allocationState"],
        "Steady"
    );
}

#[tokio::test]
async fn a_node_that_a_job_leaves_takes_the_next_one_and_idles_when_there_is_none() {
    let azure = start(Timings::none()).await;
    azure.submit("j1", "sleep 1000").await;
    let first = azure.job_is("j1", "Running").await;
    let node = azure.nodes()[0].clone();
    assert_eq!(
        (&node["state"], &node["job"]),
        (&json!("running"), &json!("j1"))
    );
    assert_eq!(first["properties"]["status"], "Running");
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.job_is("j1", "Canceled").await;
    assert_eq!(azure.nodes()[0]["state"], "idle");
    azure.submit("j2", "true").await;
    azure.job_is("j2", "Completed").await;
    assert_eq!(azure.nodes().len(), 1, "the idle node was taken");
    assert_eq!(azure.nodes()[0]["id"], node["id"]);
    azure.simulator.set_pace(Pace::Instant);
    assert!(azure.nodes().is_empty(), "its idle time is over");
}

#[tokio::test]
async fn a_leaving_node_is_shown_until_it_is_gone() {
    let azure = start(Timings {
        node_leave_seconds: 3600.0,
        ..Timings::none()
    })
    .await;
    let scale =
        json!({"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT0S"});
    let patch = json!({"properties": {"properties": {"scaleSettings": scale}}});
    azure
        .patch(&azure.ml("computes/pool"), patch)
        .await
        .expect(202);
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    let compute = until("the node leaves", async || {
        let compute = azure.compute("pool").await;
        (counts(&compute, "leaving") == 1).then_some(compute)
    })
    .await;
    let inner = &compute["properties"]["properties"];
    assert_eq!(
        (&inner["currentNodeCount"], &inner["targetNodeCount"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(inner["allocationState"], "Resizing");
    azure.simulator.set_pace(Pace::Instant);
    assert!(azure.nodes().is_empty());
    assert_eq!(
        azure.compute("pool").await["properties"]["properties"]["allocationState"],
        "Steady"
    );
}

#[tokio::test]
async fn a_pool_keeps_its_least_nodes_and_follows_new_limits() {
    let azure = Azure::without_delays().await.with_pool(3).await;
    let scale = |least: u64, most: u64| {
        let settings = json!({"minNodeCount": least, "maxNodeCount": most});
        json!({"properties": {"properties": {"scaleSettings": settings}}})
    };
    let path = azure.ml("computes/pool");
    azure.patch(&path, scale(2, 3)).await.expect(202);
    assert_eq!(azure.nodes().len(), 2);
    azure.patch(&path, scale(0, 3)).await.expect(202);
    assert_eq!(azure.nodes().len(), 0, "nothing keeps them");
    azure.patch(&path, scale(3, 3)).await.expect(202);
    azure.patch(&path, scale(1, 1)).await.expect(202);
    assert_eq!(azure.nodes().len(), 1);
}

#[tokio::test]
async fn list_nodes_tells_which_node_has_which_run() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let nodes = azure
        .post(&azure.ml("computes/pool/listNodes"))
        .await
        .expect(200)
        .body;
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(
        (&nodes[0]["runId"], &nodes[0]["nodeState"]),
        (&json!("j1"), &json!("running"))
    );
    let address = nodes[0]["privateIpAddress"].as_str().unwrap();
    assert!(address.starts_with("127."), "{address}");
    azure
        .post(&azure.ml("computes/none/listNodes"))
        .await
        .expect(404);
}

#[tokio::test]
async fn every_node_has_an_address_of_its_own_in_every_simulator() {
    let one = Azure::without_delays().await.with_pool(20).await;
    let other = Azure::without_delays().await.with_pool(20).await;
    let mut body = pool_body(20);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(20);
    let mut seen = BTreeSet::new();
    for azure in [&one, &other] {
        azure
            .put(&azure.ml("computes/pool"), body.clone())
            .await
            .expect(201);
        for node in azure.nodes() {
            seen.insert(node["address"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen.len(), 40);
}

#[tokio::test]
async fn deleting_a_pool_ends_its_jobs_and_waits_for_their_processes() {
    let mut world = World::default().without_delays();
    world.unproven.jobs_of_deleted_compute = EndOfJobs::Failed;
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("running", "sleep 1000").await;
    azure.job_is("running", "Running").await;
    azure.submit("waiting", "sleep 1000").await;
    let path = azure.ml("computes/pool?underlyingResourceAction=Delete");
    azure.delete(&path).await.expect(202);
    azure.job_is("waiting", "Failed").await;
    azure.job_is("running", "Failed").await;
    azure.get(&azure.ml("computes/pool")).await.expect(404);
    assert_eq!(azure.job_in_world("running")["pids"], json!([]));
    let error = azure.run("running").await["error"]["error"]["message"].clone();
    assert!(error.as_str().unwrap().contains("deleted"), "{error}");
    let late = azure
        .put(&azure.ml("jobs/late"), azure.job_body("true"))
        .await
        .expect(400);
    assert_eq!(late.code(), "UserError");
}

#[tokio::test]
async fn a_world_can_have_the_jobs_of_a_deleted_pool_canceled() {
    let mut world = World::default().without_delays();
    world.unproven.jobs_of_deleted_compute = EndOfJobs::Canceled;
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("running", "sleep 1000").await;
    azure.job_is("running", "Running").await;
    azure.submit("waiting", "sleep 1000").await;
    let path = azure.ml("computes/pool?underlyingResourceAction=Delete");
    azure.delete(&path).await.expect(202);
    azure.job_is("waiting", "Canceled").await;
    azure.job_is("running", "Canceled").await;
}

//! What clients and nodes cost, and a world that begins anew.

use azure_simulator::{Fault, FaultAction, World};
use reqwest::Method;
use serde_json::json;

use crate::client::Azure;
use crate::fixtures::pool_body;

async fn by_hand() -> Azure {
    let azure = Azure::start(World::default().with_manual_time()).await;
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    let image = json!({"properties": {"image": "i"}});
    azure
        .put(&azure.ml("environments/plain/versions/1"), image)
        .await
        .expect(201);
    azure
}

#[tokio::test]
async fn every_second_of_a_node_is_on_the_bill() {
    let azure = by_hand().await;
    azure.submit("j1", "sleep 1000").await;
    // 10 s until it is queued, 240 s of boot, then 100 s with the job.
    azure.advance(350).await;
    let nodes = azure.simulator.meter()["nodes"].clone();
    let pool = &nodes["pools"][0];
    assert_eq!(
        pool["compute"],
        format!("{}/computes/pool", azure.workspace)
    );
    // 0.293 USD an hour.
    assert_eq!(
        pool["states"]["preparing"],
        json!({"seconds": 240.0, "usd": 0.019_533})
    );
    assert_eq!(pool["states"]["running"]["seconds"], 100.0);
    assert_eq!(nodes["by_tag"]["owner"]["me"], nodes["total"]);
    azure.simulator.reset_meter();
    azure.advance(36).await;
    let total = azure.simulator.meter()["nodes"]["total"].clone();
    assert_eq!(total, json!({"seconds": 36.0, "usd": 0.002_93}));
    let delete = azure.ml("computes/pool?underlyingResourceAction=Delete");
    azure.delete(&delete).await.expect(202);
    azure.advance(3600).await;
    let total = azure.simulator.meter()["nodes"]["total"].clone();
    assert_eq!(total["seconds"], 36.0 + 120.0, "and not a second longer");
}

#[tokio::test]
async fn what_a_pool_has_cost_stays_with_the_tags_that_it_had() {
    let azure = by_hand().await;
    azure.submit("j1", "sleep 1000").await;
    azure.advance(350).await;
    let before = azure.simulator.meter()["nodes"]["total"].clone();
    assert_eq!(before["seconds"], 340.0);
    let mut body = pool_body(1);
    body["tags"] = json!({"owner": "you"});
    azure
        .put(&azure.ml("computes/pool"), body)
        .await
        .expect(201);
    azure.advance(10).await;
    let changed = azure.simulator.meter()["nodes"]["total"]["seconds"].clone();
    azure.advance(100).await;
    let nodes = azure.simulator.meter()["nodes"].clone();
    let owners = &nodes["by_tag"]["owner"];
    assert_eq!(owners["me"]["seconds"], changed);
    assert_eq!(owners["you"]["seconds"], 100.0);
    assert_eq!(nodes["pools"].as_array().unwrap().len(), 2);
    // Nothing of it is another account's for being the same pool's.
    azure
        .patch(
            &azure.ml("computes/pool"),
            json!({"properties": {"properties": {"scaleSettings": {"maxNodeCount": 2}}}}),
        )
        .await
        .expect(202);
    azure.advance(10).await;
    let pools = azure.simulator.meter()["nodes"]["pools"].clone();
    assert_eq!(pools.as_array().unwrap().len(), 2, "the tags are the same");
}

#[tokio::test]
async fn the_meter_knows_how_low_the_buckets_were() {
    let azure = Azure::without_delays().await;
    azure.simulator.reset_meter();
    for _ in 0..20 {
        azure.get(&azure.ml("computes")).await.expect(200);
    }
    let meter = azure.simulator.meter();
    let low = meter["bucket_low_water"]["reads"].as_u64().unwrap();
    assert!(low < 249, "{low}");
    assert_eq!(meter["requests"]["reads"], 20);
}

#[tokio::test]
async fn a_reset_world_is_as_it_was_at_the_start() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let fault = Fault::once("PUT", "/nothing", FaultAction::LoseAnswer);
    azure.simulator.fault(fault);
    azure
        .tell("/quota", json!({"clusters": 1}))
        .await
        .expect(200);
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let pids = azure.processes_of("j1").await;
    azure
        .control(Method::POST, "/reset", None)
        .await
        .expect(204);
    for pid in pids.as_array().unwrap() {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(azure.simulator.exchanges().is_empty());
    let world = azure.simulator.world();
    assert_eq!(
        (&world["jobs"], &world["computes"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(world["workspaces"].as_array().unwrap().len(), 1);
    let faults = azure.control(Method::GET, "/faults", None).await;
    assert_eq!(faults.body, json!([]));
    let quota = azure.control(Method::GET, "/quota", None).await;
    assert_eq!(quota.body["clusters"], json!({"limit": 500, "used": 0}));
    assert!(!azure.simulator.directory().join("jobs").exists());
    // The token is good, and so is the id that was spent.
    let azure = azure.with_pool(1).await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
}

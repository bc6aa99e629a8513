//! Nodes that go without being asked, and what becomes of their jobs.

use azure_simulator::{AfterLoss, Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, Reply, until};
use crate::fixtures::{low_priority_body, pool_body};

/// Writes what it does to its log: a line for each time it is started.
const COMMAND: &str = "echo begun; sleep 1000";

/// Time by hand; a low-priority pool of two nodes, and a job that runs on one.
async fn running(world: World) -> Azure {
    let mut world = world.with_manual_time();
    world.token_lifetime_seconds = 1_000_000;
    let azure = Azure::start(world).await;
    let image = json!({"properties": {"image": "i"}});
    azure
        .put(&azure.ml("environments/plain/versions/1"), image)
        .await
        .expect(201);
    azure
        .put(&azure.ml("computes/pool"), low_priority_body(2))
        .await
        .expect(201);
    azure.submit("j1", COMMAND).await;
    azure.advance(300).await;
    azure.job_says("j1", "begun").await;
    azure
}

fn status(job: &Value) -> &str {
    job["properties"]["status"].as_str().unwrap()
}

impl Azure {
    async fn lose(&self, how: &str, body: Value) -> Reply {
        let node = self.nodes()[0]["id"].as_str().unwrap().to_owned();
        self.tell(&format!("/nodes/{node}/{how}"), body).await
    }

    async fn counts(&self) -> Value {
        self.compute("pool").await["properties"]["properties"]["nodeStateCounts"].clone()
    }
}

#[tokio::test]
async fn a_preempted_nodes_job_waits_and_runs_again_under_its_id() {
    let azure = running(World::default()).await;
    let first = azure.nodes()[0].clone();
    azure.lose("preempt", json!({})).await.expect(204);
    azure.advance(0).await;
    assert_eq!(status(&azure.job("j1").await), "Queued");
    assert_eq!(azure.job_in_world("j1")["pids"], json!([]));
    assert_eq!(azure.run("j1").await["startTimeUtc"], Value::Null);
    assert_eq!(azure.counts().await["preemptedNodeCount"], 1);
    assert_eq!(azure.counts().await["preparingNodeCount"], 1);
    assert_eq!(azure.nodes()[0]["state"], "preempted");
    azure.advance(260).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    until("it has begun twice", async || {
        (azure.log("j1").lines().count() == 2).then_some(())
    })
    .await;
    let nodes = azure.nodes();
    assert_eq!(nodes.len(), 1, "the preempted one is gone");
    assert_ne!(nodes[0]["id"], first["id"]);
    assert_ne!(nodes[0]["address"], first["address"]);
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.advance(30).await;
    assert_eq!(status(&azure.job("j1").await), "Canceled");
}

#[tokio::test]
async fn a_job_that_runs_again_goes_before_those_that_have_waited_longer() {
    let azure = running(World::default()).await;
    for id in ["j2", "j3"] {
        azure.submit(id, COMMAND).await;
    }
    azure.advance(300).await;
    assert_eq!(status(&azure.job("j2").await), "Running");
    assert_eq!(status(&azure.job("j3").await), "Queued");
    azure.lose("preempt", json!({})).await.expect(204);
    azure.advance(260).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    assert_eq!(status(&azure.job("j3").await), "Queued");
}

#[tokio::test]
async fn a_preempted_nodes_job_fails_in_a_world_that_says_so() {
    let world = World {
        preemption: AfterLoss::Fail,
        ..World::default()
    };
    let azure = running(world).await;
    azure.lose("preempt", json!({})).await.expect(204);
    azure.advance(0).await;
    assert_eq!(status(&azure.job("j1").await), "Failed");
    let error = azure.run("j1").await["error"]["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("preempted"));
}

#[tokio::test]
async fn a_scheduled_event_tells_of_a_preemption_before_it_comes() {
    let azure = running(World::default()).await;
    let body = json!({"notice_seconds": 30});
    azure.lose("preempt", body).await.expect(204);
    let events = async || {
        let reply = azure.control(Method::GET, "/scheduledevents", None).await;
        let body = reply.expect(200).body;
        (body["Events"].clone(), body["DocumentIncarnation"].clone())
    };
    let (told, incarnation) = events().await;
    assert_eq!(events().await.1, incarnation, "nothing is new");
    assert_eq!(told[0]["EventType"], "Preempt");
    assert_eq!(told[0]["Resources"], json!([azure.nodes()[0]["id"]]));
    let not_before = jiff::fmt::rfc2822::parse(told[0]["NotBefore"].as_str().unwrap()).unwrap();
    azure.get(&azure.ml("computes")).await.expect(200);
    let asked = azure.simulator.exchanges().pop().unwrap();
    let asked: jiff::Timestamp = asked["time"].as_str().unwrap().parse().unwrap();
    let notice = not_before.timestamp().duration_since(asked).as_secs();
    assert!((20..=30).contains(&notice), "{notice} s");
    azure.advance(29).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    azure.advance(1).await;
    assert_eq!(status(&azure.job("j1").await), "Queued");
    // Another one in its place is told to who compares the incarnations alone.
    azure.advance(1000).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    let body = json!({"notice_seconds": 30});
    azure.lose("preempt", body).await.expect(204);
    let (another, later) = events().await;
    assert_ne!(another[0]["Resources"], told[0]["Resources"]);
    assert_ne!(later, incarnation);
    azure.advance(30).await;
    assert_eq!(events().await.0, json!([]));
}

#[tokio::test]
async fn dedicated_nodes_and_those_that_are_gone_are_not_preempted() {
    let azure = running(World::default()).await;
    azure.lose("preempt", json!({})).await.expect(204);
    azure.lose("preempt", json!({})).await.expect(409);
    azure
        .tell("/nodes/none/preempt", json!({}))
        .await
        .expect(404);
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let refused = azure.lose("preempt", json!({})).await.expect(409);
    assert!(refused.text.contains("dedicated"), "{}", refused.text);
}

#[tokio::test]
async fn a_broken_nodes_job_stops_responding_and_fails() {
    let azure = running(World::default()).await;
    azure.lose("fail", json!({})).await.expect(204);
    azure.advance(0).await;
    assert_eq!(status(&azure.job("j1").await), "NotResponding");
    assert_eq!(azure.job_in_world("j1")["pids"], json!([]));
    assert_eq!(azure.counts().await["unusableNodeCount"], 1);
    azure.advance(179).await;
    assert_eq!(status(&azure.job("j1").await), "NotResponding");
    azure.advance(1).await;
    assert_eq!(status(&azure.job("j1").await), "Failed");
    let world = World {
        node_failure: AfterLoss::Requeue,
        ..World::default()
    };
    let azure = running(world).await;
    azure.lose("fail", json!({})).await.expect(204);
    azure.advance(180).await;
    assert_eq!(status(&azure.job("j1").await), "Queued");
    azure.advance(260).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
}

#[tokio::test]
async fn a_silent_nodes_job_comes_back_with_its_processes() {
    let azure = running(World::default()).await;
    // The first one; what it starts itself may come at any moment.
    let first = azure.processes_of("j1").await[0].clone();
    let body = json!({"returns_after_seconds": 60});
    azure.lose("fail", body).await.expect(204);
    assert_eq!(status(&azure.job("j1").await), "NotResponding");
    azure.advance(60).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    assert!(first.is_u64(), "{first}");
    assert_eq!(azure.job_in_world("j1")["pids"][0], first);
}

#[tokio::test]
async fn a_cancel_ends_a_job_that_does_not_respond() {
    let azure = running(World::default()).await;
    azure.lose("fail", json!({})).await.expect(204);
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.advance(30).await;
    assert_eq!(status(&azure.job("j1").await), "Canceled");
    azure.advance(3600).await;
    assert_eq!(status(&azure.job("j1").await), "Canceled");
}

#[tokio::test]
async fn nodes_that_wait_or_boot_can_be_lost_as_well() {
    let timings = Timings {
        node_boot_seconds: 100.0,
        ..Timings::none()
    };
    let world = World::default().with_manual_time().with_timings(timings);
    let azure = Azure::start(world).await;
    let mut body = pool_body(2);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(1);
    azure
        .put(&azure.ml("computes/pool"), body)
        .await
        .expect(201);
    azure.advance(0).await;
    for _ in 0..2 {
        let node = azure.nodes()[0].clone();
        let path = format!("/nodes/{}/fail", node["id"].as_str().unwrap());
        azure.tell(&path, json!({})).await.expect(204);
        azure.advance(0).await;
        assert_ne!(azure.nodes()[0]["id"], node["id"], "another took its place");
        azure.advance(100).await;
        assert_eq!(azure.nodes()[0]["state"], "idle");
    }
}

//! Time by hand: it stands still until it is advanced, and then everything due happens.

use std::time::Duration;

use azure_simulator::{Pace, World};
use reqwest::Method;
use serde_json::json;

use crate::client::Azure;
use crate::fixtures::pool_body;

async fn by_hand() -> Azure {
    let azure = Azure::start(World::default().with_manual_time()).await;
    azure
        .put(&azure.ml("computes/pool"), pool_body(2))
        .await
        .expect(201);
    let image = json!({"properties": {"image": "ghcr.io/dask/dask:latest"}});
    azure
        .put(&azure.ml("environments/plain/versions/1"), image)
        .await
        .expect(201);
    azure
}

impl Azure {
    pub(crate) async fn advance(&self, seconds: u64) {
        self.simulator.advance(Duration::from_secs(seconds)).await;
    }
}

fn status(job: &serde_json::Value) -> &str {
    job["properties"]["status"].as_str().unwrap()
}

#[tokio::test]
async fn the_profile_of_azure_happens_second_by_second() {
    let azure = by_hand().await;
    let state = async || {
        azure.compute("pool").await["properties"]["provisioningState"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(state().await, "Creating");
    azure.advance(9).await;
    assert_eq!(state().await, "Creating");
    azure.advance(1).await;
    assert_eq!(state().await, "Succeeded");
    azure.submit("j1", "sleep 1000").await;
    assert_eq!(status(&azure.job("j1").await), "Starting");
    azure.advance(10).await;
    assert_eq!(status(&azure.job("j1").await), "Queued");
    assert_eq!(azure.nodes()[0]["state"], "preparing");
    azure.advance(239).await;
    assert_eq!(azure.nodes()[0]["state"], "preparing");
    azure.advance(1).await;
    assert_eq!(azure.nodes()[0]["state"], "running");
    azure.advance(19).await;
    assert_eq!(status(&azure.job("j1").await), "Queued");
    azure.advance(1).await;
    assert_eq!(status(&azure.job("j1").await), "Running");
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.advance(29).await;
    assert_eq!(status(&azure.job("j1").await), "CancelRequested");
    azure.advance(1).await;
    assert_eq!(status(&azure.job("j1").await), "Canceled");
    azure.advance(119).await;
    assert_eq!(azure.nodes()[0]["state"], "idle");
    azure.advance(1).await;
    assert_eq!(azure.nodes()[0]["state"], "leaving");
}

#[tokio::test]
async fn one_great_step_ends_where_many_small_ones_do() {
    let (at_once, in_steps) = (by_hand().await, by_hand().await);
    for azure in [&at_once, &in_steps] {
        azure.submit("j1", "sleep 1000").await;
    }
    at_once.advance(600).await;
    for _ in 0..60 {
        in_steps.advance(10).await;
    }
    for azure in [&at_once, &in_steps] {
        let job = azure.job("j1").await;
        assert_eq!(status(&job), "Running");
        let created = job["systemData"]["createdAt"].as_str().unwrap();
        let created: jiff::Timestamp = created.parse().unwrap();
        let started = job["properties"]["properties"]["StartTimeUtc"].as_str();
        let started: jiff::civil::DateTime = started.unwrap().parse().unwrap();
        let started = started.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        // 10 s to start, 240 s for the node, 20 s to launch; both are cut to whole seconds.
        let waited = started.timestamp().duration_since(created).as_secs();
        assert!((269..=270).contains(&waited), "{waited}");
    }
}

#[tokio::test]
async fn the_control_port_advances_time_and_answers_when_it_has_settled() {
    let azure = by_hand().await;
    azure.submit("j1", "sleep 1000").await;
    let clock = azure
        .control(
            Method::POST,
            "/clock",
            Some(json!({"advance_seconds": 280})),
        )
        .await
        .expect(200)
        .body;
    assert_eq!(clock, json!({"scale": "manual", "elapsed_seconds": 280.0}));
    assert_eq!(status(&azure.job("j1").await), "Running");
    for wrong in [json!({}), json!({"advance_seconds": -1})] {
        azure
            .control(Method::POST, "/clock", Some(wrong))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn a_token_expires_when_its_time_was_advanced() {
    let azure = by_hand().await;
    azure.advance(3598).await;
    azure.get(&azure.ml("computes/pool")).await.expect(200);
    azure.advance(1).await;
    let refused = azure.get(&azure.ml("computes/pool")).await.expect(401);
    assert_eq!(refused.code(), "ExpiredAuthenticationToken");
}

#[tokio::test]
async fn time_can_be_advanced_at_any_pace() {
    let azure = Azure::start(World::default()).await;
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    azure.advance(10).await;
    assert_eq!(
        azure.compute("pool").await["properties"]["provisioningState"],
        "Succeeded"
    );
    azure.simulator.set_pace(Pace::Instant);
    azure.advance(10).await;
}

//! ARM's token buckets: what the headers count, and what is refused where the world wants it so.

use azure_simulator::{Client, Fault, FaultAction, FaultAnswer, Simulator, World};
use reqwest::Method;
use serde_json::json;

use crate::client::Azure;

/// So slow that no bucket refills during a test.
const STANDSTILL: f64 = 1e-6;

const READS: &str = "x-ms-ratelimit-remaining-subscription-reads";
const ALL_READS: &str = "x-ms-ratelimit-remaining-subscription-global-reads";
const WRITES: &str = "x-ms-ratelimit-remaining-subscription-writes";

fn world() -> World {
    let mut world = World {
        throttling: true,
        ..World::default().with_time_scale(STANDSTILL)
    };
    world.timings.request_seconds = 0.0;
    world.clients.push(Client {
        client_id: "second".to_owned(),
        client_secret: "of the second".to_owned(),
    });
    world
}

fn throttled(simulator: &Simulator) -> u64 {
    simulator.meter()["throttled"]["reads"].as_u64().unwrap()
}

#[tokio::test]
async fn reads_beyond_the_bucket_are_refused_until_it_has_refilled() {
    let mut azure = Azure::start(world()).await;
    let path = azure.ml("computes");
    for left in (0..250).rev() {
        let reply = azure.get(&path).await.expect(200);
        assert_eq!(reply.header(READS), left.to_string());
    }
    let reply = azure.get(&path).await.expect(429);
    assert_eq!(reply.code(), "SubscriptionRequestsThrottled");
    assert_eq!(
        (reply.header("retry-after"), reply.header(READS)),
        ("1", "0")
    );
    assert_eq!(throttled(&azure.simulator), 1);
    // Deletes and other principals have buckets of their own; the one of all is shared.
    azure
        .delete(&azure.ml("computes/none?underlyingResourceAction=Delete"))
        .await
        .expect(204);
    let second = [("client_id", "second"), ("client_secret", "of the second")];
    let reply = azure.sign_in(&second).await.expect(200);
    azure.token = reply.body["access_token"].as_str().unwrap().to_owned();
    let reply = azure.get(&path).await.expect(200);
    assert_eq!(
        (reply.header(READS), reply.header(ALL_READS)),
        ("249", "3499")
    );
}

#[tokio::test]
async fn the_answer_of_a_fault_takes_a_token_like_any_other() {
    let azure = Azure::start(world()).await;
    let path = azure.ml("computes");
    assert_eq!(azure.get(&path).await.expect(200).header(READS), "249");
    let answer = FaultAction::Answer(FaultAnswer::error(503, "ServiceUnavailable"));
    azure.simulator.fault(Fault::once("GET", "", answer));
    assert_eq!(azure.get(&path).await.expect(503).header(READS), "248");
    let meter = azure.simulator.meter();
    assert_eq!(
        (&meter["requests"]["reads"], &meter["bucket_left"]["reads"]),
        (&json!(2), &json!(248))
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_and_recorded_as_any_other() {
    let azure = Azure::start(world()).await;
    let path = azure.ml("computes/pool");
    let body = json!({"properties": "x".repeat(5 << 20)});
    let reply = azure.send(Method::PUT, &path, Some(body)).await.expect(413);
    assert_eq!(reply.code(), "RequestContentTooLarge");
    assert_eq!(reply.header(WRITES), "199");
    assert_ne!(reply.header("x-ms-request-id"), "");
    assert_eq!(azure.simulator.meter()["requests"]["writes"], 1);
    let last = azure.simulator.exchanges().pop().unwrap();
    assert_eq!(last["response"]["status"], 413);
}

#[tokio::test]
async fn without_the_switch_nothing_is_refused_and_the_headers_count_on() {
    let azure = Azure::start(World {
        throttling: false,
        ..world()
    })
    .await;
    let path = azure.ml("computes");
    for _ in 0..251 {
        azure.get(&path).await.expect(200);
    }
    assert_eq!(azure.get(&path).await.header(READS), "0");
    assert_eq!(throttled(&azure.simulator), 0);
}

//! Faults: what strikes which request, and what becomes of it.

use azure_simulator::{Fault, FaultAction, FaultAnswer, RetryAfterForm, Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Azure;
use crate::fixtures::{network_body, pool_body, running};

/// Time by hand, and nothing takes any but the named durations.
async fn by_hand(timings: Timings) -> Azure {
    let mut world = World::default().with_manual_time().with_timings(timings);
    world.token_lifetime_seconds = 1_000_000;
    Azure::start(world).await
}

fn fail(code: &str) -> FaultAction {
    FaultAction::FailOperation {
        code: code.to_owned(),
        message: "as told".to_owned(),
    }
}

/// The status that the operation of an answer has.
async fn operation(azure: &Azure, reply: &crate::client::Reply) -> Value {
    azure
        .get(reply.header("azure-asyncoperation"))
        .await
        .expect(200)
        .body
}

#[tokio::test]
async fn throttling_asks_for_patience_in_seconds_or_by_a_date() {
    let azure = Azure::without_delays().await;
    let throttle = |form| FaultAction::Throttle {
        retry_after_seconds: 60,
        form,
    };
    let path = azure.ml("computes");
    azure
        .simulator
        .fault(Fault::once("GET", "", throttle(RetryAfterForm::Seconds)));
    let reply = azure.get(&path).await.expect(429);
    assert_eq!(reply.header("retry-after"), "60");
    azure
        .simulator
        .fault(Fault::once("GET", "", throttle(RetryAfterForm::Date)));
    let reply = azure.get(&path).await.expect(429);
    let at = jiff::fmt::rfc2822::parse(reply.header("retry-after")).unwrap();
    let answered = jiff::fmt::rfc2822::parse(reply.header("date")).unwrap();
    let wait = at.timestamp().duration_since(answered.timestamp());
    assert!((60..=61).contains(&wait.as_secs()), "{wait:?}");
    azure.get(&path).await.expect(200);
    assert_eq!(azure.simulator.meter()["throttled"]["reads"], 2);
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a delay is of real time, whatever the world's pace"
)]
async fn a_delayed_request_is_looked_at_later_and_answered_as_any_other() {
    let azure = by_hand(Timings::none()).await;
    let delay = FaultAction::Delay { seconds: 0.3 };
    azure
        .simulator
        .fault(Fault::once("PUT", "/computes/", delay));
    let begun = std::time::Instant::now();
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));
    let struck = azure.simulator.exchanges().pop().unwrap();
    assert_eq!(struck["fault_action"], "delay");
    azure.get(&azure.ml("computes/pool")).await.expect(200);
}

#[tokio::test]
async fn an_answer_that_a_fault_gives_for_arm_has_its_headers_and_those_that_it_was_told() {
    let azure = Azure::without_delays().await;
    let answer = FaultAnswer::error(503, "ServiceUnavailable")
        .with_header("x-ms-request-id", "told")
        .with_header("Retry-After", "5");
    let fault = Fault::once("GET", "", FaultAction::Answer(answer)).times(2);
    azure.simulator.fault(fault);
    let reply = azure.get(&azure.ml("computes")).await.expect(503);
    assert_eq!(reply.header("x-ms-response-type"), "error");
    assert_eq!(reply.header("x-ms-request-id"), "told");
    assert_eq!(reply.header("retry-after"), "5");
    for name in [
        "x-ms-correlation-request-id",
        "x-ms-routing-request-id",
        "azureml-served-by-cluster",
        "strict-transport-security",
    ] {
        assert!(!reply.header(name).is_empty(), "{name}");
    }
    let run = format!("/history/v1.0{}/runs/j1", azure.workspace);
    let reply = azure.get(&run).await.expect(503);
    assert!(!reply.headers.contains_key("x-ms-response-type"));
}

#[tokio::test]
async fn a_fault_finds_its_requests_by_kind_and_by_a_path_with_gaps() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let fault = json!({"kind": "jobs", "path": "/jobs/*/cancel", "method": "POST",
        "action": {"answer": {"status": 500, "code": "ServiceError"}}});
    azure
        .control(Method::POST, "/faults", Some(fault))
        .await
        .expect(200);
    azure.submit("j1", "sleep 1000").await;
    azure.job("j1").await;
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(500);
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    let computes = Fault::once("GET", "", FaultAction::LoseAnswer).on("computes");
    azure.simulator.fault(computes);
    azure.get(&azure.ml("jobs")).await.expect(200);
    let path = azure.ml("computes/pool");
    assert!(azure.try_send(Method::GET, &path, None).await.is_err());
}

#[tokio::test]
async fn an_answer_can_end_in_its_middle_with_its_connection_or_without() {
    let azure = Azure::without_delays().await;
    let path = azure.ml("computes/pool");
    azure
        .simulator
        .fault(Fault::once("PUT", "/computes/", FaultAction::CutAnswer));
    let url = format!("{}{path}", azure.simulator.arm_url());
    let request = azure.http.put(url).bearer_auth(&azure.token);
    let answer = request.json(&pool_body(1)).send().await.unwrap();
    assert_eq!(answer.status(), 201, "the head of the answer has come");
    assert!(answer.text().await.is_err(), "the rest has not");
    azure.simulator.fault(Fault::once(
        "GET",
        "/computes/",
        FaultAction::TruncateAnswer,
    ));
    let reply = azure.get(&path).await.expect(200);
    assert!(reply.text.starts_with('{') && reply.body.is_null());
    let nulls = FaultAction::NullFields { fields: Vec::new() };
    azure
        .simulator
        .fault(Fault::once("GET", "/computes/", nulls));
    let reply = azure.get(&path).await.expect(200);
    assert_eq!(reply.body["name"], "pool");
    assert_eq!(reply.body["location"], Value::Null);
    let nulls = FaultAction::NullFields {
        fields: vec!["provisioningState".to_owned()],
    };
    azure
        .simulator
        .fault(Fault::once("GET", "/computes/", nulls));
    let reply = azure.get(&path).await.expect(200);
    assert_eq!(reply.body["properties"]["provisioningState"], Value::Null);
    assert_eq!(reply.body["location"], "eastus");
}

#[tokio::test]
async fn a_new_resource_can_be_not_found_for_a_while() {
    let azure = by_hand(Timings::none()).await;
    let lag = FaultAction::NotFoundFor { seconds: 30.0 };
    azure
        .simulator
        .fault(Fault::once("PUT", "/computes/", lag.clone()));
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    let path = azure.ml("computes/POOL");
    let reply = azure.get(&path).await.expect(404);
    assert_eq!(reply.code(), "ResourceNotFound");
    azure.advance(29).await;
    azure.get(&path).await.expect(404);
    azure.advance(1).await;
    azure.get(&path).await.expect(200);
}

#[tokio::test]
async fn a_list_can_be_stale_for_a_while() {
    let azure = by_hand(Timings::none()).await;
    let lag = FaultAction::StaleFor { seconds: 30.0 };
    azure.simulator.fault(Fault::once("GET", "/computes", lag));
    let count = async || {
        let list = azure.get(&azure.ml("computes")).await.expect(200).body;
        list["value"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 0);
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    azure.get(&azure.ml("computes/pool")).await.expect(200);
    azure.advance(29).await;
    assert_eq!(count().await, 0);
    azure.advance(1).await;
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn a_token_can_expire_as_it_arrives() {
    let mut azure = Azure::without_delays().await;
    azure
        .simulator
        .fault(Fault::once("GET", "/computes", FaultAction::ExpireToken));
    let path = azure.ml("computes");
    let refused = azure.get(&path).await.expect(401);
    assert_eq!(refused.code(), "ExpiredAuthenticationToken");
    azure.get(&path).await.expect(401);
    let reply = azure.sign_in(&[]).await.expect(200);
    azure.token = reply.body["access_token"].as_str().unwrap().to_owned();
    azure.get(&path).await.expect(200);
}

#[tokio::test]
async fn an_operation_can_fail_and_the_resource_says_why() {
    let azure = Azure::without_delays().await;
    let path = azure.ml("computes/pool");
    let put = async || azure.put(&path, pool_body(1)).await.expect(201);
    azure.simulator.fault(Fault::once(
        "PUT",
        "/computes/",
        fail("InternalServerError"),
    ));
    let reply = put().await;
    let error = json!({"code": "InternalServerError", "message": "as told"});
    assert_eq!(
        operation(&azure, &reply).await,
        json!({"status": "Failed", "error": error})
    );
    let compute = azure.compute("pool").await;
    assert_eq!(compute["properties"]["provisioningState"], "Failed");
    assert_eq!(
        compute["properties"]["provisioningErrors"],
        json!([{"error": error}])
    );
    let reply = put().await;
    assert_eq!(operation(&azure, &reply).await["status"], "Succeeded");
    let compute = azure.compute("pool").await;
    assert_eq!(compute["properties"]["provisioningErrors"], Value::Null);
    azure
        .simulator
        .fault(Fault::once("DELETE", "/computes/", fail("ScopeLocked")));
    let delete = azure.ml("computes/pool?underlyingResourceAction=Delete");
    let reply = azure.delete(&delete).await.expect(202);
    assert_eq!(
        operation(&azure, &reply).await["error"]["code"],
        "ScopeLocked"
    );
    azure.compute("pool").await;
    azure.delete(&delete).await.expect(202);
    azure.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_write_to_a_network_can_fail_and_be_tried_again() {
    let azure = Azure::without_delays().await;
    let path = azure.network("virtualNetworks/v1");
    let body = || network_body(&[("default", "10.20.0.0/22")]);
    azure.simulator.fault(Fault::once(
        "PUT",
        "/virtualNetworks/",
        fail("InternalServerError"),
    ));
    let reply = azure.put(&path, body()).await.expect(201);
    assert_eq!(operation(&azure, &reply).await["status"], "Failed");
    let state =
        async || azure.get(&path).await.expect(200).body["properties"]["provisioningState"].clone();
    assert_eq!(state().await, "Failed");
    azure.put(&path, body()).await.expect(200);
    assert_eq!(state().await, "Succeeded");
}

#[tokio::test]
async fn an_operation_can_go_on_for_ever_or_be_hard_to_ask() {
    let azure = by_hand(Timings::none()).await;
    azure
        .simulator
        .fault(Fault::once("PUT", "/computes/", FaultAction::HangOperation));
    let reply = azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    azure.advance(100_000).await;
    assert_eq!(operation(&azure, &reply).await["status"], running());
    let state = azure.compute("pool").await["properties"]["provisioningState"].clone();
    assert_eq!(state, "Creating");
    let unavailable = FaultAction::UnavailableOperation { polls: 2 };
    azure
        .simulator
        .fault(Fault::once("PUT", "/computes/", unavailable));
    let reply = azure
        .put(&azure.ml("computes/other"), pool_body(1))
        .await
        .expect(201);
    let url = reply.header("azure-asyncoperation").to_owned();
    azure.get(&url).await.expect(503);
    azure.get(&url).await.expect(503);
    assert_eq!(operation(&azure, &reply).await["status"], "Succeeded");
}

#[tokio::test]
async fn a_cancel_can_hang_until_the_compute_goes() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let fault = Fault::once("POST", "/cancel", FaultAction::HangOperation);
    azure.simulator.fault(fault);
    let cancel = azure.ml("jobs/j1/cancel");
    let reply = azure.post(&cancel).await.expect(202);
    azure.post(&cancel).await.expect(202);
    azure
        .simulator
        .advance(std::time::Duration::from_secs(3000))
        .await;
    let job = azure.job("j1").await;
    assert_eq!(job["properties"]["status"], "CancelRequested");
    azure.get(reply.header("location")).await.expect(202);
    let delete = azure.ml("computes/pool?underlyingResourceAction=Delete");
    azure.delete(&delete).await.expect(202);
    azure.job_is("j1", "Canceled").await;
}

#[tokio::test]
async fn a_cancel_can_be_hard_to_ask() {
    let azure = by_hand(Timings::none()).await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    let unavailable = FaultAction::UnavailableOperation { polls: 2 };
    let fault = Fault::once("POST", "/cancel", unavailable);
    azure.simulator.fault(fault);
    let reply = azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.advance(0).await;
    let url = reply.header("location");
    azure.get(url).await.expect(503);
    azure.get(url).await.expect(503);
    azure.get(url).await.expect(200);
}

#[tokio::test]
async fn a_fault_that_strikes_and_changes_nothing_is_told() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let run = format!("/history/v1.0{}/runs/none", azure.workspace);
    for (method, path) in [
        (Method::PUT, azure.ml("jobs/j1")),
        (Method::GET, azure.ml("computes/pool")),
        (Method::GET, run),
    ] {
        let body = (method == Method::PUT).then(|| azure.job_body("true"));
        let fault = Fault::once(method.as_str(), "", FaultAction::HangOperation);
        azure.simulator.fault(fault);
        azure.send(method, &path, body).await;
    }
    let fault = Fault::once("PUT", "/computes/", FaultAction::HangOperation);
    azure.simulator.fault(fault);
    azure
        .put(&azure.ml("computes/other"), pool_body(1))
        .await
        .expect(201);
    let faults = azure.control(Method::GET, "/faults", None).await.body;
    let told = |field: &str| -> Vec<Value> {
        let faults = faults.as_array().unwrap().iter();
        faults.map(|fault| fault[field].clone()).collect()
    };
    assert_eq!(told("struck"), [1, 1, 1, 1]);
    assert_eq!(told("unused"), [1, 1, 1, 0]);
}

#[tokio::test]
async fn every_cancel_hangs_in_a_world_that_says_so() {
    let mut world = World::default().without_delays();
    world.cancel.hangs = true;
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let first = azure.processes_of("j1").await[0].clone();
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    // Every process that was to be killed would be gone after this.
    azure.advance(3000).await;
    assert_eq!(
        azure.job("j1").await["properties"]["status"],
        "CancelRequested"
    );
    assert_eq!(azure.job_in_world("j1")["pids"][0], first, "it runs on");
}

#[tokio::test]
async fn a_job_can_wait_for_ever_with_an_error_of_its_compute() {
    let azure = by_hand(Timings::none()).await.with_pool(1).await;
    let fault = FaultAction::HoldInQueue {
        code: "ClusterCoreQuotaReached".to_owned(),
        message: "no cores".to_owned(),
    };
    azure.simulator.fault(Fault::once("PUT", "/jobs/", fault));
    azure.submit("j1", "true").await;
    azure.advance(100_000).await;
    assert_eq!(azure.job("j1").await["properties"]["status"], "Queued");
    assert!(azure.nodes().is_empty());
    let inner = azure.compute("pool").await["properties"]["properties"].clone();
    assert_eq!(
        (&inner["currentNodeCount"], &inner["targetNodeCount"]),
        (&json!(0), &json!(1))
    );
    let errors = &inner["errors"];
    assert_eq!(errors[0]["error"]["code"], "ClusterCoreQuotaReached");
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.advance(0).await;
    assert_eq!(azure.job("j1").await["properties"]["status"], "Canceled");
    let errors = azure.compute("pool").await["properties"]["properties"]["errors"].clone();
    assert_eq!(errors, Value::Null);
}

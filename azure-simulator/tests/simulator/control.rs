//! The control port: what exists, what was asked, faults, the pace of time.

use azure_simulator::{Fault, FaultAction, FaultAnswer, Place, Simulator, StartError, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, Reply, until};
use crate::fixtures::{network_body, pool_body};

impl Azure {
    pub(crate) async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let url = format!("{}{path}", self.simulator.control_url());
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Reply::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn the_world_shows_everything_that_exists() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let network = azure.network("virtualNetworks/v1");
    azure
        .put(&network, network_body(&[("default", "10.20.0.0/22")]))
        .await
        .expect(201);
    let asset = json!({"properties": {"dataType": "uri_folder", "dataUri": "https://x/y"}});
    azure
        .put(&azure.ml("data/d/versions/1"), asset)
        .await
        .expect(201);
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    assert_eq!(
        azure
            .control(Method::GET, "/healthz", None)
            .await
            .expect(200)
            .text,
        "ok"
    );
    // A job is Running before its first process is there, as in Azure.
    let world = until("the job's process is there", async || {
        let world = azure.control(Method::GET, "/world", None).await;
        let world = world.expect(200).body;
        let pids = world["jobs"][0]["pids"].as_array();
        let is_there = pids.is_some_and(|pids| !pids.is_empty());
        is_there.then_some(world)
    })
    .await;
    assert_eq!(world["networks"][0]["subnets"][0]["name"], "default");
    assert_eq!(world["computes"][0]["tags"], json!({"owner": "me"}));
    assert_eq!(world["computes"][0]["nodes"][0]["job"], "j1");
    assert_eq!(
        world["jobs"][0]["id"],
        format!("{}/jobs/j1", azure.workspace)
    );
    assert_eq!(
        world["data"][0]["id"],
        format!("{}/data/d/versions/1", azure.workspace)
    );
    assert_eq!(world["environments"].as_array().unwrap().len(), 1);
    let log = azure
        .control(Method::GET, "/jobs/j1/log", None)
        .await
        .expect(200);
    assert_eq!(log.text, "");
}

#[tokio::test]
async fn exchanges_hold_requests_and_answers_but_no_secret() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("true");
    body["properties"]["environmentVariables"] = json!({"DASK_AZUREML_BOOTSTRAP": "hush-hush"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let reply = azure
        .control(Method::GET, "/exchanges", None)
        .await
        .expect(200);
    let secret = azure.simulator.env()["AZURE_CLIENT_SECRET"].clone();
    for hidden in [azure.token.as_str(), secret.as_str(), "hush-hush"] {
        assert!(!reply.text.contains(hidden), "{hidden}");
    }
    let exchanges: Vec<Value> = reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let put = exchanges.iter().find(|one| {
        one["request"]["method"] == "PUT"
            && one["request"]["path"]
                .as_str()
                .unwrap()
                .ends_with("/jobs/j1")
    });
    let put = put.unwrap();
    assert_eq!(put["request"]["query"], "api-version=2025-12-01");
    assert_eq!(put["request"]["body"]["properties"]["command"], "true");
    assert_eq!(put["response"]["status"], 201);
    assert_eq!(put["response"]["body"]["properties"]["status"], "Starting");
    azure
        .control(Method::DELETE, "/exchanges", None)
        .await
        .expect(204);
    assert!(azure.simulator.exchanges().is_empty());
}

#[tokio::test]
async fn the_meter_counts_requests_and_writes_that_change_nothing() {
    let azure = Azure::without_delays().await;
    let network = azure.network("virtualNetworks/v1");
    azure.simulator.reset_meter();
    for status in [201, 200] {
        azure
            .put(&network, network_body(&[("a", "10.20.0.0/24")]))
            .await
            .expect(status);
    }
    azure
        .put(&network, network_body(&[("b", "10.20.0.0/24")]))
        .await
        .expect(200);
    for _ in 0..3 {
        azure
            .put(&azure.ml("computes/pool"), pool_body(1))
            .await
            .expect(201);
    }
    azure.get(&network).await.expect(200);
    azure.delete(&network).await.expect(202);
    let meter = azure
        .control(Method::GET, "/meter", None)
        .await
        .expect(200)
        .body;
    assert_eq!(
        meter["requests"],
        json!({"reads": 1, "writes": 6, "deletes": 1})
    );
    assert_eq!(meter["unchanged_writes"], 3);
    assert_eq!(
        meter["throttled"],
        json!({"reads": 0, "writes": 0, "deletes": 0})
    );
}

#[tokio::test]
async fn a_fault_answers_in_azures_place_as_often_as_it_is_told() {
    let azure = Azure::without_delays().await;
    let answer = FaultAnswer::error(429, "TooManyRequests").with_header("Retry-After", "7");
    azure
        .simulator
        .fault(Fault::answer("PUT", "/computes/", answer).times(2));
    let path = azure.ml("computes/pool");
    for _ in 0..2 {
        let reply = azure.put(&path, pool_body(1)).await.expect(429);
        assert_eq!(
            (reply.code(), reply.header("retry-after")),
            ("TooManyRequests", "7")
        );
    }
    azure.get(&path).await.expect(404);
    azure.put(&path, pool_body(1)).await.expect(201);
    let exchanges = azure.simulator.exchanges();
    assert_eq!(
        exchanges
            .iter()
            .filter(|one| !one["fault"].is_null())
            .count(),
        2
    );
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_change_was_made() {
    let azure = Azure::without_delays().await;
    let path = azure.ml("computes/pool");
    let fault = json!({"method": "PUT", "path": "/computes/", "action": "lose_answer"});
    azure
        .control(Method::POST, "/faults", Some(fault))
        .await
        .expect(200);
    let lost = azure.try_send(Method::PUT, &path, Some(pool_body(1))).await;
    assert!(lost.is_err(), "{lost:?}");
    azure.get(&path).await.expect(200);
    let shown = azure
        .control(Method::GET, "/faults", None)
        .await
        .expect(200)
        .body;
    assert_eq!(shown[0]["struck"], 1);
    let before = Fault::once("DELETE", "/computes/", FaultAction::LoseRequest);
    azure.simulator.fault(before);
    let delete = azure.ml("computes/pool?underlyingResourceAction=Delete");
    assert!(azure.try_send(Method::DELETE, &delete, None).await.is_err());
    azure.get(&path).await.expect(200);
    azure
        .control(Method::DELETE, "/faults", None)
        .await
        .expect(204);
    let wrong = json!({"path": "/", "action": "explode"});
    azure
        .control(Method::POST, "/faults", Some(wrong))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_pace_can_be_changed_while_it_runs() {
    let azure = Azure::start(World::default().with_time_scale(1000.0)).await;
    azure
        .simulator
        .set_pace(azure_simulator::Pace::Scaled(0.001));
    let pace = json!({"scale": "instant"});
    let clock = azure
        .control(Method::POST, "/clock", Some(pace))
        .await
        .expect(200)
        .body;
    assert_eq!(clock["scale"], "instant");
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    assert_eq!(
        azure.compute("pool").await["properties"]["provisioningState"],
        "Succeeded"
    );
    azure
        .control(Method::POST, "/clock", Some(json!({"scale": 0})))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_scaled_world_goes_through_every_state_by_itself() {
    let azure = Azure::start(World::default().with_time_scale(1000.0)).await;
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    let image = json!({"properties": {"image": "i"}});
    azure
        .put(&azure.ml("environments/plain/versions/1"), image)
        .await
        .expect(201);
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    crate::client::until("the node has left", async || {
        azure.nodes().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_listens_on_loopback_addresses_only() {
    let place = Place {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Place::default()
    };
    let refused = Simulator::start_at(World::default(), place).await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))));
}

#[tokio::test]
async fn a_world_file_with_a_mistake_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.json");
    for text in [
        "{",
        "{\"no_such_field\": 1}",
        "{\"time_scale\": -1}",
        "{\"workspaces\": [{\"name\": \"w\", \"resource_group\": \"none\"}]}",
        "{\"environments\": [{\"image\": \"i\"}]}",
    ] {
        std::fs::write(&file, text).unwrap();
        assert!(World::from_file(&file).is_err(), "{text}");
    }
    std::fs::write(
        &file,
        "{\"time_scale\": \"instant\", \"location\": \"westus\"}",
    )
    .unwrap();
    assert_eq!(World::from_file(&file).unwrap().location, "westus");
}

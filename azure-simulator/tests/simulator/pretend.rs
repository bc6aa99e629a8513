//! Jobs that only pretend: stand-ins for Dask that publish, answer and end as the real ones do.

use std::time::Duration;

use azure_simulator::{Timings, Workspace, World};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Azure, Reply};
use crate::fixtures::pool_body;

const TOKEN: &str = "token-of-this-incarnation";

async fn start(timings: Timings) -> Azure {
    let mut world = World::default()
        .with_manual_time()
        .with_pretended_jobs()
        .with_timings(timings);
    world.token_lifetime_seconds = 1_000_000;
    let azure = Azure::start(world).await.with_pool(8).await;
    azure.advance(20).await;
    azure
}

fn token_sha256() -> String {
    let digest = Sha256::digest(TOKEN.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Azure {
    async fn submit_with(&self, id: &str, variables: Value) {
        let mut body = self.job_body("python bootstrap.py");
        body["properties"]["environmentVariables"] = variables;
        let path = self.ml(&format!("jobs/{id}"));
        self.put(&path, body).await.expect(201);
    }

    async fn head(&self, run_worker: bool) {
        let variables = json!({
            "DASK_AZUREML_ROLE": "head",
            "DASK_AZUREML_TOKEN_SHA256": token_sha256(),
            "DASK_AZUREML_RUN_WORKER": run_worker.to_string(),
            "DASK_AZUREML_WORKER_THREADS": "2",
        });
        self.submit_with("head", variables).await;
    }

    async fn worker(&self, id: &str) {
        let variables = json!({
            "DASK_AZUREML_ROLE": "worker",
            "DASK_AZUREML_HEAD_RUN": "head",
            "DASK_AZUREML_WORKER_MEMORY_LIMIT": "1000000000",
        });
        self.submit_with(id, variables).await;
    }

    /// Asks the scheduler that the head has published.
    async fn ask(&self, method: Method, route: &str, body: Option<Value>) -> Reply {
        self.try_ask(method, route, body, Some(TOKEN))
            .await
            .unwrap()
    }

    async fn try_ask(
        &self,
        method: Method,
        route: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> reqwest::Result<Reply> {
        let job = self.job("head").await;
        let dashboard = job["properties"]["tags"]["dashboard"].as_str().unwrap();
        let url = format!("{dashboard}/dask-azureml/v1/{route}");
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(Reply::of(request.send().await?).await)
    }

    async fn state(&self) -> Value {
        self.ask(Method::GET, "state", None).await.expect(200).body
    }

    /// Names and statuses of the scheduler's workers.
    async fn workers(&self) -> Vec<(String, String)> {
        let state = self.state().await;
        let workers = state["workers"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        workers
            .map(|worker| (text(&worker["name"]), text(&worker["status"])))
            .collect()
    }

    async fn status_of(&self, job: &str) -> String {
        let job = self.job(job).await;
        job["properties"]["status"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_head_publishes_itself_and_workers_join_it_whoever_comes_first() {
    let azure = start(Timings::none()).await;
    azure.head(true).await;
    azure.worker("w1").await;
    azure.advance(0).await;
    assert_eq!(azure.status_of("head").await, "Running");
    assert_eq!(azure.job_in_world("head")["pids"], json!([]));
    assert_eq!(azure.simulator.world()["jobs_are"], "pretend");
    let tags = azure.job("head").await["properties"]["tags"].clone();
    let address = tags["headnode"].as_str().unwrap();
    assert_eq!(tags["scheduler"], format!("tcp://{address}:8786"));
    let names: Vec<String> = azure.workers().await.into_iter().map(|w| w.0).collect();
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("head.") && names[1].starts_with("w1."));
    azure.worker("w2").await;
    azure.advance(0).await;
    let state = azure.state().await;
    assert_eq!(state["workers"].as_array().unwrap().len(), 3);
    // Two of the head's own worker, and four of each node.
    assert_eq!(state["total_threads"], 10);
    assert_eq!(state["workers"][1]["memory_limit"], 1_000_000_000);
}

#[tokio::test]
async fn a_worker_that_is_there_before_its_head_waits_for_it() {
    let azure = start(Timings {
        job_launch_seconds: 10.0,
        ..Timings::none()
    })
    .await;
    azure.head(false).await;
    azure.advance(5).await;
    azure.worker("w1").await;
    azure.advance(5).await;
    assert!(azure.workers().await.is_empty());
    azure.advance(5).await;
    assert_eq!(azure.workers().await.len(), 1);
}

#[tokio::test]
async fn who_brings_no_valid_token_is_refused_and_what_is_malformed_too() {
    let azure = start(Timings::none()).await;
    azure.head(false).await;
    azure.advance(0).await;
    for token in [None, Some(""), Some("wrong-token")] {
        let reply = azure
            .try_ask(Method::GET, "state", None, token)
            .await
            .unwrap();
        assert_eq!(reply.status, 401);
        assert_eq!(reply.body, json!({"error": "unauthorized"}));
    }
    for (route, body) in [
        ("retire", json!([])),
        ("retire", json!({"names": []})),
        ("retire", json!({"names": [1]})),
        ("to-close", json!({"count": -1})),
        ("to-close", json!({})),
        ("to-close", json!({"count": 1, "first": "w1"})),
    ] {
        azure.ask(Method::POST, route, Some(body)).await.expect(400);
    }
}

#[tokio::test]
async fn a_retired_workers_job_completes_and_its_data_is_elsewhere() {
    let azure = start(Timings::none()).await;
    azure.head(true).await;
    for worker in ["w1", "w2"] {
        azure.worker(worker).await;
    }
    azure.advance(0).await;
    let told = json!({"keys": 3, "nbytes": 1000});
    azure.tell("/pretend/w1", told).await.expect(204);
    let body = json!({"count": 1});
    let names = azure.ask(Method::POST, "to-close", Some(body)).await.body;
    let name = names["names"][0].as_str().unwrap().to_owned();
    assert!(
        name.starts_with("w2."),
        "the one that holds nothing: {name}"
    );
    let w1 = azure.workers().await[1].0.clone();
    let body = json!({"names": [w1]});
    let answer = azure.ask(Method::POST, "retire", Some(body)).await.body;
    assert_eq!(answer["retired"], json!([w1]));
    assert_eq!(azure.state().await["load"]["nbytes"], 1000);
    assert_eq!(azure.workers().await.len(), 2);
    azure.advance(2).await;
    assert_eq!(azure.status_of("w1").await, "Running");
    azure.advance(1).await;
    assert_eq!(azure.status_of("w1").await, "Completed");
}

#[tokio::test]
async fn a_load_that_a_head_is_told_is_what_its_scheduler_tells() {
    let azure = start(Timings::none()).await;
    azure.head(true).await;
    azure.worker("w1").await;
    azure.advance(0).await;
    let told = json!({"clients": 2, "queued": 50, "unrunnable": 3, "work_seconds": 1500.5});
    azure.tell("/pretend/head", told).await.expect(204);
    let busy = json!({"processing": 4, "nbytes": 1000});
    azure.tell("/pretend/w1", busy).await.expect(204);
    assert_eq!(
        azure.state().await["load"],
        json!({"idle_since": null, "clients": 2, "processing": 4, "queued": 50, "unrunnable": 3,
               "work_seconds": 1500.5, "nbytes": 1000})
    );
    // A worker has no load of its own to tell, and nothing that is misspelled is told.
    for (job, told) in [
        ("w1", json!({"work_seconds": 1.0})),
        ("head", json!({"workseconds": 1.0})),
    ] {
        let reply = azure.tell(&format!("/pretend/{job}"), told).await;
        assert!(reply.status.is_client_error(), "{job}: {}", reply.status);
    }
    let done = json!({"queued": 0, "unrunnable": 0});
    azure.tell("/pretend/head", done).await.expect(204);
    azure
        .tell("/pretend/w1", json!({"processing": 0}))
        .await
        .expect(204);
    let load = azure.state().await["load"].clone();
    assert!(load["idle_since"].is_number(), "{load}");
    assert_eq!(load["work_seconds"], 0.0);
}

#[tokio::test]
async fn the_workers_of_a_job_that_is_named_go_first() {
    let azure = start(Timings::none()).await;
    azure.head(true).await;
    for worker in ["w1", "w2"] {
        azure.worker(worker).await;
    }
    azure.advance(0).await;
    for first in ["w1", "w2"] {
        let body = json!({"count": 1, "first": ["gone", first]});
        let answer = azure.ask(Method::POST, "to-close", Some(body)).await.body;
        let name = answer["names"][0].as_str().unwrap();
        assert!(name.starts_with(&format!("{first}.")), "{name}");
    }
    let paused = json!({"status": "paused"});
    azure.tell("/pretend/w1", paused).await.expect(204);
    let body = json!({"count": 1, "first": ["w1"]});
    let answer = azure.ask(Method::POST, "to-close", Some(body)).await.body;
    assert_eq!(answer["names"], json!([]), "nobody goes in its place");
    let reasons = answer["reasons"].as_object().unwrap();
    assert_eq!(
        reasons.values().collect::<Vec<_>>(),
        [&json!("it is paused")]
    );
}

#[tokio::test]
async fn a_busy_worker_leaves_when_it_is_told_that_its_tasks_have_ended() {
    let azure = start(Timings::none()).await;
    azure.head(false).await;
    azure.worker("w1").await;
    azure.advance(0).await;
    let busy = json!({"processing": 2});
    azure.tell("/pretend/w1", busy).await.expect(204);
    assert_eq!(azure.state().await["load"]["idle_since"], Value::Null);
    let w1 = azure.workers().await[0].0.clone();
    let retire = || Some(json!({"names": [w1]}));
    let answer = azure.ask(Method::POST, "retire", retire()).await.body;
    assert_eq!(answer["leaving"], json!([w1]));
    assert_eq!(azure.workers().await[0].1, "closing_gracefully");
    let again = azure
        .ask(Method::POST, "retire", retire())
        .await
        .expect(409);
    assert_eq!(again.body["error"], "already leaving");
    let done = json!({"processing": 0});
    azure.tell("/pretend/w1", done).await.expect(204);
    azure.advance(3).await;
    assert_eq!(azure.status_of("w1").await, "Completed");
}

#[tokio::test]
async fn a_worker_dies_as_told_and_a_head_takes_its_workers_with_it() {
    let azure = start(Timings::none()).await;
    azure.head(false).await;
    for worker in ["w1", "w2"] {
        azure.worker(worker).await;
    }
    azure.advance(0).await;
    azure
        .tell("/pretend/w1", json!({"exit": 1}))
        .await
        .expect(204);
    azure.advance(0).await;
    assert_eq!(azure.status_of("w1").await, "Failed");
    assert_eq!(azure.workers().await.len(), 1);
    azure
        .tell("/pretend/head", json!({"exit": 0}))
        .await
        .expect(204);
    azure.advance(3).await;
    assert_eq!(azure.status_of("head").await, "Completed");
    assert_eq!(azure.status_of("w2").await, "Failed");
    let error = azure.run("w2").await["error"]["error"]["message"].clone();
    assert!(error.as_str().unwrap().contains("status code 3"), "{error}");
    let silent = azure.try_ask(Method::GET, "state", None, Some(TOKEN)).await;
    assert!(silent.unwrap_err().is_connect());
    azure
        .tell("/pretend/head", json!({"keys": 1}))
        .await
        .expect(409);
}

#[tokio::test]
async fn a_cancel_ends_a_pretended_worker_for_its_scheduler_too() {
    let azure = start(Timings::none()).await;
    azure.head(false).await;
    azure.worker("w1").await;
    azure.advance(0).await;
    assert_eq!(azure.workers().await.len(), 1);
    azure.post(&azure.ml("jobs/w1/cancel")).await.expect(202);
    azure.advance(0).await;
    assert_eq!(azure.status_of("w1").await, "Canceled");
    assert!(azure.workers().await.is_empty());
}

#[tokio::test]
async fn a_preempted_head_is_another_scheduler_when_it_runs_again() {
    let mut body = pool_body(8);
    body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
    let mut world = World::default()
        .with_manual_time()
        .with_pretended_jobs()
        .with_timings(Timings::none());
    world.token_lifetime_seconds = 1_000_000;
    let azure = Azure::start(world).await;
    azure
        .put(&azure.ml("computes/pool"), body)
        .await
        .expect(201);
    let image = json!({"properties": {"image": "i"}});
    let path = azure.ml("environments/plain/versions/1");
    azure.put(&path, image).await.expect(201);
    azure.head(false).await;
    azure.worker("w1").await;
    azure.advance(0).await;
    let before = azure.state().await["id"].clone();
    let nodes = azure.nodes();
    let node = nodes.iter().find(|node| node["job"] == "head").unwrap();
    let path = format!("/nodes/{}/preempt", node["id"].as_str().unwrap());
    azure.tell(&path, json!({})).await.expect(204);
    azure.advance(3).await;
    assert_eq!(azure.status_of("w1").await, "Failed");
    assert_eq!(azure.status_of("head").await, "Running");
    assert_ne!(azure.state().await["id"], before);
    azure
        .control(Method::POST, "/reset", None)
        .await
        .expect(204);
    assert_eq!(azure.simulator.world()["jobs"], json!([]));
}

#[tokio::test]
async fn in_a_managed_network_nobody_answers_at_a_heads_address() {
    let workspace = Workspace {
        name: "ws-dask".to_owned(),
        resource_group: None,
        managed_network: "AllowInternetOutbound".to_owned(),
    };
    let world = World {
        workspaces: vec![workspace],
        ..World::default()
    };
    let world = world.with_pretended_jobs().with_manual_time();
    let azure = Azure::start(world.with_timings(Timings::none())).await;
    let azure = azure.with_pool(1).await;
    azure.head(false).await;
    azure.simulator.advance(Duration::from_secs(1)).await;
    assert_eq!(azure.status_of("head").await, "Running");
    let silent = azure.try_ask(Method::GET, "state", None, Some(TOKEN)).await;
    assert!(silent.unwrap_err().is_connect());
}

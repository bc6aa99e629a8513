//! The data plane: MLflow, run history, artifacts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Azure;

impl Azure {
    async fn mlflow(&self, call: &str, mut body: Value) -> Value {
        body["run_id"] = json!("j1");
        self.mlflow_reply(call, body).await.expect(200).body
    }

    async fn mlflow_reply(&self, call: &str, body: Value) -> crate::client::Reply {
        let path = format!("/mlflow/v2.0{}/api/2.0/mlflow/{call}", self.workspace);
        self.send(Method::POST, &path, Some(body)).await
    }

    async fn mlflow_run(&self) -> Value {
        let path = format!("/mlflow/v1.0{}/api/2.0/mlflow/runs/get", self.workspace);
        self.get(&format!("{path}?run_id=j1&run_uuid=j1"))
            .await
            .expect(200)
            .body["run"]
            .clone()
    }
}

async fn with_a_run() -> Azure {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "echo a line").await;
    azure.job_is("j1", "Completed").await;
    azure
}

#[tokio::test]
async fn tags_of_mlflow_are_the_tags_of_the_job() {
    let azure = with_a_run().await;
    azure
        .mlflow(
            "runs/set-tag",
            json!({"key": "scheduler", "value": "tcp://10.0.0.4:8786"}),
        )
        .await;
    assert_eq!(
        azure.job("j1").await["properties"]["tags"]["scheduler"],
        "tcp://10.0.0.4:8786"
    );
    let tags = azure.mlflow_run().await["data"]["tags"].clone();
    let tag = json!({"key": "scheduler", "value": "tcp://10.0.0.4:8786"});
    assert!(tags.as_array().unwrap().contains(&tag), "{tags}");
    azure
        .mlflow("runs/delete-tag", json!({"key": "scheduler"}))
        .await;
    assert_eq!(
        azure.job("j1").await["properties"]["tags"]["scheduler"],
        Value::Null
    );
    let gone = azure.mlflow_reply(
        "runs/delete-tag",
        json!({"run_id": "j1", "key": "scheduler"}),
    );
    assert_eq!(
        gone.await.expect(404).body["error_code"],
        "RESOURCE_DOES_NOT_EXIST"
    );
    let long = json!({"run_id": "j1", "key": "k", "value": "x".repeat(1001)});
    azure.mlflow_reply("runs/set-tag", long).await.expect(400);
}

#[tokio::test]
async fn metrics_and_parameters_are_kept() {
    let azure = with_a_run().await;
    let batch = json!({
        "metrics": [
            {"key": "loss", "value": 2.0, "timestamp": 1, "step": 0},
            {"key": "loss", "value": 1.0, "timestamp": 2, "step": 1},
        ],
        "params": [{"key": "rate", "value": "0.1"}],
        "tags": [{"key": "stage", "value": "one"}],
    });
    azure.mlflow("runs/log-batch", batch).await;
    azure
        .mlflow(
            "runs/log-metric",
            json!({"key": "rows", "value": 26115.0, "timestamp": 3}),
        )
        .await;
    azure
        .mlflow("runs/log-parameter", json!({"key": "rate", "value": "0.1"}))
        .await;
    let changed = json!({"run_id": "j1", "key": "rate", "value": "0.2"});
    let changed = azure
        .mlflow_reply("runs/log-parameter", changed)
        .await
        .expect(400);
    assert_eq!(changed.body["error_code"], "INVALID_PARAMETER_VALUE");
    let run = azure.mlflow_run().await;
    assert_eq!(run["info"]["status"], "FINISHED");
    assert_eq!(
        run["data"]["params"],
        json!([{"key": "rate", "value": "0.1"}])
    );
    let loss = run["data"]["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["key"] == "loss");
    assert_eq!(loss.unwrap()["value"], 1.0);
    let path = format!(
        "/mlflow/v2.0{}/api/2.0/mlflow/metrics/get-history",
        azure.workspace
    );
    let history = azure
        .get(&format!("{path}?run_id=j1&metric_key=loss"))
        .await
        .expect(200)
        .body;
    assert_eq!(history["metrics"].as_array().unwrap().len(), 2);
    let text = json!({"run_id": "j1", "key": "m", "value": "text"});
    azure
        .mlflow_reply("runs/log-metric", text)
        .await
        .expect(400);
}

#[tokio::test]
async fn runs_are_found_by_experiment_and_tag() {
    let azure = with_a_run().await;
    azure
        .mlflow("runs/set-tag", json!({"key": "stage", "value": "one"}))
        .await;
    azure.submit("j2", "true").await;
    let path = format!(
        "/mlflow/v2.0{}/api/2.0/mlflow/experiments/get-by-name",
        azure.workspace
    );
    let experiment = azure
        .get(&format!("{path}?experiment_name=dask"))
        .await
        .expect(200)
        .body;
    let id = experiment["experiment"]["experiment_id"].clone();
    azure
        .get(&format!("{path}?experiment_name=none"))
        .await
        .expect(404);
    let search =
        |filter: &str| json!({"experiment_ids": [id], "filter": filter, "max_results": 10});
    let found = azure
        .mlflow_reply("runs/search", search("tags.stage = 'one'"))
        .await
        .expect(200);
    let runs = found.body["runs"].as_array().unwrap().clone();
    assert_eq!((runs.len(), &runs[0]["info"]["run_id"]), (1, &json!("j1")));
    let found = azure
        .mlflow_reply("runs/search", search(""))
        .await
        .expect(200);
    assert_eq!(found.body["runs"].as_array().unwrap().len(), 2);
    azure
        .mlflow_reply("runs/search", search("metrics.m > 1"))
        .await
        .expect(400);
}

#[tokio::test]
async fn the_status_of_a_submitted_run_is_the_systems_own() {
    let azure = with_a_run().await;
    let update = |status: &str| json!({"run_id": "j1", "status": status});
    azure
        .mlflow_reply("runs/update", update("FAILED"))
        .await
        .expect(400);
    azure
        .mlflow_reply("runs/update", update("FINISHED"))
        .await
        .expect(200);
}

#[tokio::test]
async fn artifacts_go_up_and_come_back_by_a_link_without_a_token() {
    let azure = with_a_run().await;
    let base = format!(
        "/artifact/v2.0{}/artifacts/ExperimentRun/dcid.j1",
        azure.workspace
    );
    let upload = async |path: &str| {
        let url = format!("{}{base}/content?path={path}", azure.simulator.arm_url());
        let request = azure
            .http
            .post(url)
            .bearer_auth(&azure.token)
            .body(vec![0x89, b'P', 0xff]);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(upload("plots/daily%20means.png").await, 200);
    assert_eq!(upload("../../escaped").await, 400);
    let info = azure
        .get(&format!("{base}/contentinfo?path=plots/daily%20means.png"))
        .await;
    let link = info.expect(200).body["contentUri"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = azure
        .http
        .get(&link)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(bytes.as_ref(), [0x89, b'P', 0xff]);
    let forged = link.replace("sig=", "sig=x");
    assert_eq!(azure.http.get(forged).send().await.unwrap().status(), 403);
    let other = link.replace("daily", "weekly");
    assert_eq!(azure.http.get(other).send().await.unwrap().status(), 403);
    let list = format!(
        "/mlflow/v2.0{}/api/2.0/mlflow/artifacts/list?run_id=j1",
        azure.workspace
    );
    let list = azure.get(&list).await.expect(200).body;
    let folder = json!({"path": "plots", "is_dir": true});
    assert!(
        list["files"].as_array().unwrap().contains(&folder),
        "{list}"
    );
    azure
        .get(&format!("{base}/contentinfo?path=none"))
        .await
        .expect(404);
}

#[tokio::test]
async fn run_history_links_to_the_logs() {
    let azure = with_a_run().await;
    let path = format!("/history/v1.0{}/runs/j1/details", azure.workspace);
    let details = azure.get(&path).await.expect(200).body;
    let link = details["logFiles"]["user_logs/std_log_process_00.txt"]
        .as_str()
        .unwrap();
    let whole = azure.http.get(link).send().await.unwrap();
    assert_eq!(whole.text().await.unwrap(), "a line\n");
    let end = azure
        .http
        .get(link)
        .header("Range", "bytes=2-")
        .send()
        .await
        .unwrap();
    assert_eq!(end.status(), 206);
    assert_eq!(end.headers()["content-range"], "bytes 2-6/7");
    assert_eq!(end.text().await.unwrap(), "line\n");
    let beyond = azure
        .http
        .get(link)
        .header("Range", "bytes=100-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), 416);
    let logged = azure.simulator.exchanges();
    assert!(!format!("{logged:?}").contains(link.split("sig=").nth(1).unwrap()));
}

#[tokio::test]
async fn run_history_changes_what_may_change() {
    let azure = with_a_run().await;
    let path = format!("/history/v1.0{}/experiments/dask/runs/j1", azure.workspace);
    let change = json!({"tags": {"a": "1"}, "properties": {"p": "1"}, "hidden": true});
    azure.patch(&path, change).await.expect(200);
    let job = azure.job("j1").await;
    assert_eq!(
        (
            &job["properties"]["tags"]["a"],
            &job["properties"]["isArchived"]
        ),
        (&json!("1"), &json!(true))
    );
    azure
        .patch(&path, json!({"properties": {"p": "2"}}))
        .await
        .expect(400);
    azure
        .send(Method::DELETE, &format!("{path}/tags"), Some(json!(["a"])))
        .await
        .expect(200);
    assert_eq!(
        azure.job("j1").await["properties"]["tags"]["a"],
        Value::Null
    );
    let other = path.replace("/dask/", "/other/");
    azure.get(&other).await.expect(404);
    azure.get(&path).await.expect(200);
}

#[tokio::test]
async fn a_jobs_token_is_good_for_the_data_plane_alone() {
    let mut azure = Azure::without_delays().await.with_pool(1).await;
    azure
        .submit("j1", "echo $MLFLOW_TRACKING_TOKEN; sleep 1000")
        .await;
    let log = azure.job_says("j1", "\n").await;
    let own = std::mem::replace(&mut azure.token, log.trim().to_owned());
    azure
        .mlflow(
            "runs/set-tag",
            json!({"key": "headnode", "value": "127.0.0.1"}),
        )
        .await;
    let refused = azure.get(&azure.ml("jobs")).await.expect(401);
    assert_eq!(refused.code(), "InvalidAuthenticationToken");
    azure.token = "made.up".to_owned();
    let call = json!({"run_id": "j1", "key": "a", "value": "b"});
    azure.mlflow_reply("runs/set-tag", call).await.expect(401);
    azure.token = own;
    assert_eq!(
        azure.job("j1").await["properties"]["tags"]["headnode"],
        "127.0.0.1"
    );
}

#[tokio::test]
async fn discovery_needs_no_token_and_leads_to_the_data_plane() {
    let azure = Azure::without_delays().await;
    let workspace = azure
        .get(&format!("{}?{}", azure.workspace, crate::client::ML))
        .await
        .body;
    let url = workspace["properties"]["discoveryUrl"].as_str().unwrap();
    let map: Value = azure
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(map["api"], azure.simulator.arm_url().as_str());
}

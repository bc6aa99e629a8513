//! What the code of a run asks of run history: a later token, and to be heard.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, Reply};

impl Azure {
    async fn event(&self, name: &str, data: Value) -> Reply {
        let path = format!("/history/v1.0{}/runs/j1/events", self.workspace);
        let event = json!({
            "timestamp": "2026-01-01T00:00:00Z",
            "name": format!("Microsoft.MachineLearning.Run.{name}"),
            "data": data,
        });
        self.send(Method::POST, &path, Some(event)).await
    }
}

#[tokio::test]
async fn the_token_of_a_run_is_renewed_and_no_log_has_it() {
    let mut azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "true").await;
    let history = format!("/history/v1.0{}", azure.workspace);
    let run = azure.run("j1").await;
    let id = run["experimentId"].as_str().unwrap();
    let mut last = String::new();
    for path in [
        format!("{history}/runs/j1/token"),
        format!("{history}/experiments/dask/runs/j1/token"),
        format!("{history}/experimentids/{id}/runs/j1/token"),
    ] {
        let answer = azure.get(&path).await.expect(200).body;
        let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(time(&answer["expiryTimeUtc"]) > time(&run["createdUtc"]));
        let token = answer["token"].as_str().unwrap().to_owned();
        assert_ne!(token, last);
        last = token;
    }
    azure
        .get(&format!("{history}/runs/none/token"))
        .await
        .expect(404);
    let log = serde_json::to_string(&azure.simulator.exchanges()).unwrap();
    assert!(!log.contains(&last));
    // The data plane takes it, and ARM does not.
    azure.token = last;
    azure.get(&format!("{history}/runs/j1")).await.expect(200);
    azure.get(&azure.ml("jobs/j1")).await.expect(401);
}

#[tokio::test]
async fn a_run_warns_and_says_what_went_wrong_but_does_not_set_its_own_status() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    let heartbeat = json!({"RunId": "j1", "TimeToLiveSeconds": 60});
    azure.event("Heartbeat", heartbeat).await.expect(204);
    let warning = json!({"RunId": "j1", "Source": "loader", "Message": "rows are missing"});
    azure.event("Warning", warning.clone()).await.expect(204);
    let text = json!(warning.to_string());
    azure.event("Warning", text).await.expect(204);
    let error = json!({"error": {"code": "UserError", "message": "no rows"}});
    let data = json!({"RunId": "j1", "ErrorResponse": error});
    azure.event("Error", data).await.expect(204);
    let run = azure.run("j1").await;
    let shown = json!({"source": "loader", "message": "rows are missing"});
    assert_eq!(run["warnings"], json!([shown, shown]));
    assert_eq!(run["error"]["error"]["message"], "no rows");
    let refused = azure.event("Completed", json!({"RunId": "j1"})).await;
    assert!(refused.expect(400).message().contains("not simulated"));
    assert_eq!(azure.run("j1").await["status"], "Running");
    azure.event("Warning", json!("{")).await.expect(400);
}

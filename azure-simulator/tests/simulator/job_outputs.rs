//! What a job leaves behind: folders, files, and data assets that other jobs read.

use serde_json::{Value, json};

use crate::client::Azure;

impl Azure {
    /// Runs a command with outputs and inputs to its end.
    async fn runs(&self, id: &str, command: &str, inputs: Value, outputs: Value) -> String {
        let mut body = self.job_body(command);
        body["properties"]["inputs"] = inputs;
        body["properties"]["outputs"] = outputs;
        self.put(&self.ml(&format!("jobs/{id}")), body)
            .await
            .expect(201);
        self.job_is(id, "Completed").await;
        self.log(id)
    }
}

#[tokio::test]
async fn an_output_is_a_data_asset_once_its_job_has_completed_and_an_input_of_others() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let outputs = json!({
        "table": {"jobOutputType": "uri_folder", "assetName": "table", "description": "rows"},
        "total": {"jobOutputType": "uri_file", "assetName": "total", "assetVersion": "v-7"},
    });
    let command = "echo one > ${{outputs.table}}/part; echo 42 > ${{outputs.total}}";
    let mut body = azure.job_body(&format!("{command}; sleep 1000"));
    body["properties"]["outputs"] = outputs.clone();
    azure.put(&azure.ml("jobs/j0"), body).await.expect(201);
    azure.job_is("j0", "Running").await;
    azure.get(&azure.ml("data/table")).await.expect(404);
    azure.post(&azure.ml("jobs/j0/cancel")).await;
    azure.job_is("j0", "Canceled").await;
    azure.get(&azure.ml("data/table")).await.expect(404);
    azure.runs("j1", command, json!({}), outputs).await;
    let table = azure.get(&azure.ml("data/table/versions/1")).await;
    let table = table.expect(200).body;
    let uri = table["properties"]["dataUri"].as_str().unwrap();
    assert!(uri.starts_with("azureml://subscriptions/"), "{uri}");
    assert!(
        uri.ends_with("/datastores/workspaceblobstore/paths/azureml/j1/table/"),
        "{uri}"
    );
    assert_eq!(table["properties"]["dataType"], "uri_folder");
    assert_eq!(table["properties"]["description"], "rows");
    assert_eq!(
        table["systemData"]["createdBy"],
        azure.job("j1").await["systemData"]["createdBy"]
    );
    let inputs = json!({
        "table": {"jobInputType": "uri_folder", "uri": table["id"]},
        "total": {"jobInputType": "uri_file", "uri": "azureml:total:v-7", "mode": "Download"},
    });
    let read = "cat ${{inputs.table}}/part ${{inputs.total}}";
    let log = azure.runs("j2", read, inputs, json!({})).await;
    assert_eq!(log, "one\n42\n");
    // Without a version it is the next one.
    let again = json!({"table": {"jobOutputType": "uri_folder", "assetName": "table"}});
    azure.runs("j3", "true", json!({}), again).await;
    let container = azure.get(&azure.ml("data/table")).await.expect(200).body;
    assert_eq!(container["properties"]["latestVersion"], "2");
}

#[tokio::test]
async fn a_version_that_is_there_is_not_written_over_by_an_output() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mine = json!({"properties": {"dataType": "uri_folder", "dataUri": "https://x/mine"}});
    let path = azure.ml("data/table/versions/1");
    azure.put(&path, mine).await.expect(201);
    let mut body = azure.job_body("true");
    body["properties"]["outputs"] = json!({
        "table": {"jobOutputType": "uri_folder", "assetName": "table", "assetVersion": "1"},
    });
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Failed").await;
    let error = azure.run("j1").await["error"]["error"]["message"].clone();
    assert!(
        error
            .as_str()
            .unwrap()
            .contains("'table' has a version '1'"),
        "{error}"
    );
    let kept = azure.get(&path).await.expect(200).body;
    assert_eq!(kept["properties"]["dataUri"], "https://x/mine");
}

#[tokio::test]
async fn the_name_of_an_asset_that_cannot_be_one_is_refused_with_the_job() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    for output in [
        json!({"jobOutputType": "uri_folder", "assetName": "../x"}),
        json!({"jobOutputType": "uri_file", "assetName": ""}),
        json!({"jobOutputType": "uri_folder", "assetName": "x", "assetVersion": "1/2"}),
        json!({"jobOutputType": "uri_folder", "assetVersion": "1"}),
        json!({"jobOutputType": "mlflow_model", "assetName": "x"}),
    ] {
        let mut body = azure.job_body("true");
        body["properties"]["outputs"] = json!({"o": output});
        azure.put(&azure.ml("jobs/j1"), body).await.expect(400);
    }
}

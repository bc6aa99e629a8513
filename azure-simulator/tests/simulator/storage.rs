//! The storage account of a workspace: uploads by signed URLs, code and outputs of jobs, files of runs.

use azure_simulator::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Azure, Reply};

impl Azure {
    /// Sends to a blob by a URL that needs no token.
    pub(crate) async fn blob(&self, method: Method, url: &str, body: &str) -> Reply {
        let request = self
            .http
            .request(method, url)
            .header("x-ms-blob-type", "BlockBlob")
            .body(body.to_owned());
        Reply::of(request.send().await.unwrap()).await
    }

    /// The signed URL of a container for an upload, and its URL without the signature.
    pub(crate) async fn upload(&self, code: &str) -> (String, String) {
        let path = self.ml(&format!("codes/{code}/versions/1/startPendingUpload"));
        let body = json!({"pendingUploadType": "TemporaryBlobReference"});
        let reply = self.send(Method::POST, &path, Some(body)).await.expect(200);
        let reference = &reply.body["blobReferenceForConsumption"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&reference["credential"]["sasUri"]),
            text(&reference["blobUri"]),
        )
    }
}

/// A URL of a blob in the container that a signed URL is of.
pub(crate) fn within(container: &str, blob: &str) -> String {
    container.replacen('?', &format!("/{blob}?"), 1)
}

#[tokio::test]
async fn a_signature_is_good_for_an_hour() {
    let azure = Azure::start(World::default().with_manual_time()).await;
    let (signed, _) = azure.upload("one").await;
    let blob = within(&signed, "a.txt");
    azure.blob(Method::PUT, &blob, "hello").await.expect(201);
    azure.advance(3500).await;
    azure.blob(Method::GET, &blob, "").await.expect(200);
    azure.advance(101).await;
    azure.blob(Method::GET, &blob, "").await.expect(403);
}

#[tokio::test]
async fn a_signed_url_lets_at_its_container_and_at_nothing_else() {
    let azure = Azure::without_delays().await;
    let (signed, plain) = azure.upload("one").await;
    let (_, other) = azure.upload("two").await;
    let blob = within(&signed, "a/b.txt");
    azure.blob(Method::PUT, &blob, "hello").await.expect(201);
    assert_eq!(azure.blob(Method::GET, &blob, "").await.text, "hello");
    let unsigned = format!("{plain}/a/b.txt");
    let reply = azure.blob(Method::GET, &unsigned, "").await.expect(403);
    assert_eq!(reply.header("x-ms-error-code"), "AuthenticationFailed");
    // The signature is of one container, for what it says and as long as it says.
    let query = signed.split_once('?').unwrap().1;
    for url in [
        format!("{other}/a/b.txt?{query}"),
        blob.replace("sp=rcwl", "sp=rcwld"),
        blob.replace("se=2", "se=3"),
    ] {
        assert_eq!(
            azure.blob(Method::GET, &url, "").await.status,
            StatusCode::FORBIDDEN,
            "{url}"
        );
    }
    azure.blob(Method::DELETE, &blob, "").await.expect(403);
    let outside = within(&signed, "..%2F..%2F..%2Fescaped");
    azure.blob(Method::PUT, &outside, "x").await.expect(400);
    azure
        .blob(Method::GET, &within(&signed, "none"), "")
        .await
        .expect(404);
}

#[tokio::test]
async fn a_blob_is_made_of_blocks_in_the_order_of_their_list() {
    let azure = Azure::without_delays().await;
    let (signed, _) = azure.upload("one").await;
    let blob = within(&signed, "large.bin");
    let block = |id: &str| format!("{blob}&comp=block&blockid={id}");
    for (id, content) in [
        ("QQ==", "old"),
        ("Qg==", "two "),
        ("QQ==", "one "),
        ("Qw==", "x"),
    ] {
        azure
            .blob(Method::PUT, &block(id), content)
            .await
            .expect(201);
    }
    azure.blob(Method::GET, &blob, "").await.expect(404);
    azure
        .blob(Method::PUT, &block("%21"), "x")
        .await
        .expect(400);
    let commit = format!("{blob}&comp=blocklist");
    let list = async |entries: &str| {
        let text = format!("<?xml version=\"1.0\"?><BlockList>{entries}</BlockList>");
        azure.blob(Method::PUT, &commit, &text).await
    };
    let unknown = list("<Latest>Wg==</Latest>").await.expect(400);
    assert_eq!(unknown.header("x-ms-error-code"), "InvalidBlockList");
    let wrong = list("<Latest>Wg==").await.expect(400);
    assert_eq!(wrong.header("x-ms-error-code"), "InvalidXmlDocument");
    let both = "<Latest>QQ==</Latest><Uncommitted>Qg==</Uncommitted>";
    assert!(!list(both).await.expect(201).header("etag").is_empty());
    let read = azure.blob(Method::GET, &blob, "").await.expect(200);
    assert_eq!(read.text, "one two ");
    // Who has not had the answer sends the list again; what was not in it is gone.
    list("<Latest>QQ==</Latest><Latest>Qg==</Latest>")
        .await
        .expect(201);
    list("<Latest>Qw==</Latest>").await.expect(400);
    list(both).await.expect(400);
    azure
        .blob(Method::PUT, &block("Qw=="), "three")
        .await
        .expect(201);
    list("<Committed>Qg==</Committed><Latest>Qw==</Latest>")
        .await
        .expect(201);
    let read = azure.blob(Method::GET, &blob, "").await.expect(200);
    assert_eq!(read.text, "two three");
    azure.blob(Method::PUT, &blob, "whole").await.expect(201);
    list("<Committed>Qg==</Committed>").await.expect(400);
    let part = azure.http.get(&blob).header("x-ms-range", "bytes=1-3");
    let part = Reply::of(part.send().await.unwrap()).await.expect(206);
    assert_eq!(
        (part.text.as_str(), part.header("content-range")),
        ("hol", "bytes 1-3/5")
    );
    let head = azure.blob(Method::HEAD, &blob, "").await.expect(200);
    assert_eq!(head.header("content-length"), "5");
}

#[tokio::test]
async fn a_job_starts_in_its_code_and_leaves_its_outputs_in_the_default_datastore() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let (signed, plain) = azure.upload("code").await;
    let script = "cat words.txt > $1/said; mkdir outputs; echo kept > outputs/o";
    for (name, content) in [("main.sh", script), ("words.txt", "from the code")] {
        azure
            .blob(Method::PUT, &within(&signed, name), content)
            .await
            .expect(201);
    }
    let code = azure.ml("codes/code/versions/1");
    let body = json!({"properties": {"codeUri": plain, "properties": {"hash_version": "202208"}}});
    let stored = azure.put(&code, body).await.expect(201).body;
    assert_eq!(stored["properties"]["properties"]["hash_version"], "202208");
    let mut job = azure.job_body("sh main.sh ${{outputs.result}}");
    job["properties"]["codeId"] = stored["id"].clone();
    job["properties"]["outputs"] = json!({"result": {"jobOutputType": "uri_folder"}});
    azure.put(&azure.ml("jobs/j1"), job).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let folder = azure.simulator.directory().join("storage");
    let account = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let said = std::fs::read_dir(account.path())
        .unwrap()
        .map(|container| container.unwrap().path().join("azureml/j1/result/said"))
        .find(|file| file.exists());
    assert_eq!(
        std::fs::read_to_string(said.unwrap()).unwrap(),
        "from the code"
    );
    let artifact = format!(
        "/artifact/v2.0{}/artifacts/ExperimentRun/dcid.j1",
        azure.workspace
    );
    let note = azure
        .get(&format!("{artifact}/content?path=outputs/o"))
        .await;
    assert_eq!(note.expect(200).text, "kept\n");
}

#[tokio::test]
async fn code_is_found_by_its_hash_under_every_name() {
    let azure = Azure::without_delays().await;
    let body = json!({"properties": {
        "codeUri": "https://store.example/c", "properties": {"hash_sha256": "abc"},
    }});
    azure
        .put(&azure.ml("codes/one/versions/1"), body)
        .await
        .expect(201);
    let found = |query: &str| azure.ml(&format!("codes/two/versions?{query}"));
    let list = azure
        .get(&found("hash=abc&hashVersion=202208"))
        .await
        .expect(200)
        .body;
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
    let list = azure.get(&found("hash=other")).await.expect(200).body;
    assert_eq!(list["value"], json!([]));
}

#[tokio::test]
async fn the_secrets_of_a_datastore_are_told_to_who_asks_for_them_and_no_get_shows_them() {
    let azure = Azure::without_delays().await;
    let path = azure.ml("datastores/mine");
    let body = json!({"properties": {
        "datastoreType": "AzureBlob", "accountName": "store", "containerName": "c",
        "credentials": {
            "credentialsType": "AccountKey",
            "secrets": {"secretsType": "AccountKey", "key": "hush"},
        },
    }});
    let reply = azure.put(&path, body).await.expect(201);
    assert!(!reply.text.contains("hush"), "{}", reply.text);
    assert!(!azure.get(&path).await.expect(200).text.contains("hush"));
    let secrets = azure.post(&azure.ml("datastores/mine/listSecrets")).await;
    assert_eq!(secrets.expect(200).body["key"], "hush");
    let log = azure.simulator.exchanges();
    assert!(!serde_json::to_string(&log).unwrap().contains("hush"));
}

#[tokio::test]
async fn metrics_of_version_1_may_be_strings() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "true").await;
    let runs = format!("/history/v1.0{}/experiments/dask", azure.workspace);
    for address in ["10.0.0.4:8786", "10.0.0.5:8786"] {
        let metric = json!({
            "name": "scheduler", "metricType": "azureml.v1.scalar",
            "cells": [{"scheduler": address}],
        });
        let path = format!("{runs}/runs/j1/metrics");
        azure
            .send(Method::POST, &path, Some(metric))
            .await
            .expect(200);
    }
    let path = format!("{runs}/metrics?%24filter=RunId%20eq%20j1");
    let metrics = azure.get(&path).await.expect(200).body;
    assert_eq!(metrics["value"][0]["numCells"], 2);
    assert_eq!(
        metrics["value"][0]["cells"][1]["scheduler"],
        "10.0.0.5:8786"
    );
}

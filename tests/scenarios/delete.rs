use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::{CREDENTIALS, Line, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_cluster_leaves_no_network_no_pool_and_no_process() {
    let line = Line::start().await;
    line.apply(&line.manifest("passing", 2)).await;
    line.wait_until_ready("passing").await;
    assert_eq!(finalizers_of_credentials(&line).await.len(), 1);

    line.delete("passing").await;
    line.wait_until_gone("passing").await;
    let world = line.azure.world();
    assert_eq!(world["networks"], json!([]));
    assert_eq!(world["computes"], json!([]));
    assert_no_job_is_alive(&line);
    assert_eq!(finalizers_of_credentials(&line).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_deleted_while_it_is_still_being_made() {
    let line = Line::start().await;
    line.apply(&line.manifest("regretted", 2)).await;
    wait_for("the first thing stands in Azure", async || {
        let writes = line.azure_writes();
        (!writes.is_empty())
            .then_some(())
            .ok_or("nothing is written".to_owned())
    })
    .await;
    line.delete("regretted").await;
    line.wait_until_gone("regretted").await;
    let world = line.azure.world();
    assert_eq!(world["networks"], json!([]));
    assert_eq!(world["computes"], json!([]));
    assert_no_job_is_alive(&line);
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_leaves_network_and_pool_with_a_tag_and_ends_the_jobs() {
    let line = Line::start().await;
    let mut manifest = line.manifest("remembered", 1);
    manifest["spec"]["deletionPolicy"] = json!("Retain");
    line.apply(&manifest).await;
    line.wait_until_ready("remembered").await;

    line.delete("remembered").await;
    line.wait_until_gone("remembered").await;
    let world = line.azure.world();
    assert!(
        !world["networks"][0]["tags"]["dask-azureml-retained"].is_null(),
        "{}",
        world["networks"]
    );
    assert!(
        !world["computes"][0]["tags"]["dask-azureml-retained"].is_null(),
        "{}",
        world["computes"]
    );
    assert_no_job_is_alive(&line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_a_cluster_in_it_can_be_deleted() {
    let line = Line::start().await;
    line.apply(&line.manifest("homeless", 1)).await;
    line.wait_until_ready("homeless").await;

    let namespaces = Api::<Namespace>::all(line.client.clone());
    let deleted = namespaces
        .delete(&line.namespace, &DeleteParams::default())
        .await;
    deleted.expect("the API server takes the deletion");
    wait_for("the namespace is gone", async || {
        let found = namespaces
            .get_opt(&line.namespace)
            .await
            .expect("the API server answers");
        found.map_or(Ok(()), |namespace| Err(json!(namespace.status).to_string()))
    })
    .await;
    let world = line.azure.world();
    assert_eq!(world["networks"], json!([]));
    assert_eq!(world["computes"], json!([]));
    assert_no_job_is_alive(&line);
}

async fn finalizers_of_credentials(line: &Line) -> Vec<String> {
    let secrets = Api::<Secret>::namespaced(line.client.clone(), &line.namespace);
    let secret = secrets.get(CREDENTIALS).await.expect("the Secret is there");
    secret.metadata.finalizers.unwrap_or_default()
}

fn assert_no_job_is_alive(line: &Line) {
    let world = line.azure.world();
    for job in world["jobs"].as_array().expect("jobs") {
        let ended = ["Completed", "Failed", "Canceled"]
            .contains(&job["status"].as_str().unwrap_or_default());
        assert!(ended && job["pids"] == json!([]), "{job}");
    }
}

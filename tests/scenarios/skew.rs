//! Objects of another release of the operator, and a CRD of one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use dask_azureml_operator::api::{self, DaskCluster};

use crate::harness::{Line, wait_for};

fn untyped(line: &Line) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<DaskCluster>(&());
    Api::namespaced_with(line.client.clone(), &line.namespace, &resource)
}

/// The CRD as `change` makes it of this release's, once the API server goes by it: then it takes `manifest`.
async fn install_crd_that_takes(line: &Line, change: impl FnOnce(&mut Value), manifest: &Value) {
    let mut crd = serde_json::to_value(api::crd()).expect("it is JSON");
    change(&mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    let name = crd["metadata"]["name"].as_str().expect("a name");
    let definitions = Api::<CustomResourceDefinition>::all(line.client.clone());
    let parameters = PatchParams::apply("tests").force();
    definitions
        .patch(name, &parameters, &Patch::Apply(&crd))
        .await
        .expect("the API server takes the CustomResourceDefinition");
    let name = manifest["metadata"]["name"].as_str().expect("a name");
    let (clusters, applied) = (untyped(line), Patch::Apply(manifest));
    wait_for("the API server goes by the new CRD", async || {
        let taken = clusters.patch(name, &parameters, &applied).await;
        taken.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_of_a_later_release_is_told_and_keeps_nobody_from_being_looked_at() {
    let mut line = Line::start().await;
    line.apply(&line.manifest("ours", 1)).await;
    line.wait_until_ready("ours").await;
    let mut strange = line.manifest("strange", 1);
    strange["spec"]["driftPolicy"] = json!("Ask");
    strange["spec"]["compute"]["name"] = json!("strange-pool");
    strange["spec"]["network"]["virtualNetwork"]["name"] = json!("strange-vnet");
    let later = |schema: &mut Value| {
        let policies = &mut schema["properties"]["spec"]["properties"]["driftPolicy"]["enum"];
        *policies = json!(["Correct", "Report", "Ask"]);
    };
    install_crd_that_takes(&line, later, &strange).await;
    wait_for("it is told", async || {
        let told = line.was_told("InvalidSpec").await;
        told.then_some(()).ok_or("no event".to_owned())
    })
    .await;

    // An operator that finds it there when it starts works for all others.
    line.restart_operator();
    line.until_operator_is_ready().await;
    line.apply(&line.manifest("ours", 2)).await;
    line.wait_for("ours", "it has grown", |cluster| {
        let status = cluster.status.as_ref();
        let workers = status.and_then(|status| status.workers.as_ref());
        workers.is_some_and(|workers| workers.ready == 2)
    })
    .await;
    let made = line.azure.world().to_string();
    assert!(
        !made.contains("strange"),
        "nothing is made for a spec that is not understood"
    );

    // Corrected, it is a cluster as any other, and the CRD is this release's again.
    strange["spec"]["driftPolicy"] = json!("Report");
    install_crd_that_takes(&line, |_| {}, &strange).await;
    line.wait_until_ready("strange").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_a_later_release_is_worked_on_from() {
    let mut line = Line::start().await;
    let manifest = line.manifest("rolled-back", 1);
    line.apply(&manifest).await;
    line.wait_until_ready("rolled-back").await;
    line.kill_operator();
    let later = |schema: &mut Value| {
        let phase = &mut schema["properties"]["status"]["properties"]["phase"];
        phase.as_object_mut().expect("a schema").remove("enum");
    };
    install_crd_that_takes(&line, later, &manifest).await;
    let status = json!({"status": {"phase": "Hibernating"}});
    let (clusters, merged) = (untyped(&line), Patch::Merge(&status));
    let parameters = PatchParams::default();
    wait_for("the status is taken", async || {
        let taken = clusters
            .patch_status("rolled-back", &parameters, &merged)
            .await;
        taken.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let phase = async || {
        let object = clusters.get("rolled-back").await.expect("it is there");
        object.data["status"]["phase"].as_str().map(str::to_owned)
    };
    assert_eq!(phase().await.as_deref(), Some("Hibernating"));
    line.start_operator();
    wait_for("the phase is one of ours", async || {
        let phase = phase().await;
        (phase.as_deref() == Some("Running"))
            .then_some(())
            .ok_or(format!("{phase:?}"))
    })
    .await;
    install_crd_that_takes(&line, |_| {}, &manifest).await;
    let cluster = line.wait_until_ready("rolled-back").await;
    let conditions = cluster.status.expect("a status").conditions;
    assert!(
        conditions.len() > 5,
        "the rest of the status was kept: {conditions:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crd_of_an_earlier_release_keeps_what_it_knows_of_the_status() {
    let line = Line::start().await;
    let manifest = line.manifest("early", 1);
    let earlier = |schema: &mut Value| {
        let status = &mut schema["properties"]["status"]["properties"];
        let status = status.as_object_mut().expect("a schema");
        status.remove("cost");
        let workers = status["workers"]["properties"]
            .as_object_mut()
            .expect("a schema");
        workers.remove("cores");
    };
    install_crd_that_takes(&line, earlier, &manifest).await;
    let cluster = line.wait_until_ready("early").await;
    let status = cluster.status.expect("a status");
    assert!(status.cost.is_none() && status.workers.is_none_or(|workers| workers.ready == 1));
    line.delete("early").await;
    line.wait_until_gone("early").await;
    let manifest = line.manifest("now", 0);
    install_crd_that_takes(&line, |_| {}, &manifest).await;
    line.wait_for("now", "the CRD is this release's again", |cluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| status.cost.is_some())
    })
    .await;
}

//! Workspaces that clients make, change and delete.

use std::time::Duration;

use azure_simulator::{Fault, FaultAction, Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, Reply};

const VERSION: &str = "2025-12-01";

impl Azure {
    fn workspace_named(&self, name: &str) -> String {
        format!(
            "{}/providers/Microsoft.MachineLearningServices/workspaces/{name}?api-version={VERSION}",
            self.group
        )
    }

    /// The one of the world.
    fn own_workspace(&self) -> String {
        format!("{}?api-version={VERSION}", self.workspace)
    }

    async fn patch_workspace(&self, body: Value) -> Reply {
        self.send(Method::PATCH, &self.own_workspace(), Some(body))
            .await
    }
}

fn body() -> Value {
    json!({"location": "eastus", "tags": {"team": "a"}, "properties": {"description": "mine"}})
}

#[tokio::test]
async fn a_workspace_is_made_and_takes_computes_of_its_own() {
    let azure = Azure::without_delays().await;
    let path = azure.workspace_named("ws-two");
    let made = azure.put(&path, body()).await.expect(202);
    assert_eq!(made.text, "");
    let result = azure.get(made.header("location")).await.expect(200).body;
    assert_eq!(result["properties"]["provisioningState"], "Succeeded");
    let shown = azure.get(&path).await.expect(200).body;
    assert_eq!(shown, result);
    assert_eq!(shown["properties"]["description"], "mine");
    assert_eq!(shown["tags"], json!({"team": "a"}));
    let names = |listed: Value| -> Vec<String> {
        let listed = listed["value"].as_array().unwrap().iter();
        listed
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let list = azure
        .workspace_named("")
        .replace("workspaces/", "workspaces");
    let listed = azure.get(&list).await.expect(200).body;
    assert_eq!(names(listed), ["ws-dask", "ws-two"]);
    let below = |rest: &str| path.replace("ws-two?", &format!("ws-two/{rest}?"));
    let stores = azure.get(&below("datastores")).await.expect(200).body;
    assert_eq!(names(stores).len(), 4);
    azure
        .put(&below("computes/pool"), crate::fixtures::pool_body(1))
        .await
        .expect(201);
    let pool = azure.get(&below("computes/pool")).await.expect(200).body;
    assert_eq!(pool["properties"]["provisioningState"], "Succeeded");
}

#[tokio::test]
async fn a_workspace_is_changed_by_what_a_patch_names_and_nothing_else() {
    let azure = Azure::without_delays().await;
    let before = azure.get(&azure.own_workspace()).await.expect(200).body;
    let changes = json!({"properties": {"friendlyName": "New", "publicNetworkAccess": "Disabled"}});
    let reply = azure.patch_workspace(changes).await.expect(202);
    let after = azure.get(reply.header("location")).await.expect(200).body;
    assert_eq!(after["properties"]["friendlyName"], "New");
    assert_eq!(after["properties"]["publicNetworkAccess"], "Disabled");
    for field in ["keyVault", "storageAccount", "description", "workspaceId"] {
        assert_eq!(after["properties"][field], before["properties"][field]);
    }
    assert_eq!(after["identity"], before["identity"]);
    for wrong in [
        json!({"properties": {"keyVault": "/another"}}),
        json!({"properties": {"nickname": "x"}}),
        json!({"location": "eastus"}),
        json!({"properties": {"publicNetworkAccess": "Sometimes"}}),
    ] {
        azure.patch_workspace(wrong).await.expect(400);
    }
    let path = azure.workspace_named("none");
    azure
        .send(Method::PATCH, &path, Some(json!({"tags": {}})))
        .await
        .expect(404);
}

#[tokio::test]
async fn what_a_put_of_a_workspace_may_not_say_is_refused() {
    let azure = Azure::without_delays().await;
    let path = azure.workspace_named("ws-two");
    for wrong in [
        json!({"properties": {}}),
        json!({"location": "mars"}),
        json!({"location": "eastus", "kind": "Hub"}),
        json!({"location": "eastus", "properties": {"nickname": "x"}}),
        json!({"location": "eastus", "properties": {"managedNetwork": {"isolationMode": "Some"}}}),
    ] {
        azure.put(&path, wrong).await.expect(400);
    }
    azure
        .put(&azure.workspace_named("a"), body())
        .await
        .expect(400);
    azure.get(&path).await.expect(404);
    let mut moved = body();
    moved["properties"]["storageAccount"] = json!("/another");
    azure.put(&azure.own_workspace(), moved).await.expect(400);
}

#[tokio::test]
async fn one_write_at_a_time_goes_to_a_workspace() {
    let world = World::default().with_timings(Timings {
        workspace_write_seconds: 600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let path = azure.workspace_named("ws-two");
    let made = azure.put(&path, body()).await.expect(202);
    azure.get(made.header("location")).await.expect(202);
    let shown = azure.get(&path).await.expect(200).body;
    assert_eq!(shown["properties"]["provisioningState"], "Creating");
    azure.put(&path, body()).await.expect(409);
    azure.simulator.advance(Duration::from_secs(600)).await;
    azure.get(made.header("location")).await.expect(200);
    azure.put(&path, body()).await.expect(202);
}

#[tokio::test]
async fn a_workspace_takes_along_what_is_in_it_and_its_name_is_free_again() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "sleep 1000").await;
    azure.job_is("j1", "Running").await;
    azure.submit("j2", "true").await;
    let pids = azure.processes_of("j1").await;
    let gone = azure.delete(&azure.own_workspace()).await.expect(202);
    crate::client::until("it is gone", async || {
        let status = azure.get(&azure.own_workspace()).await.status;
        (status == 404).then_some(())
    })
    .await;
    azure.get(gone.header("location")).await.expect(204);
    azure.delete(&azure.own_workspace()).await.expect(204);
    let refused = azure.get(&azure.ml("jobs/j1")).await.expect(404);
    assert_eq!(refused.code(), "ResourceNotFound");
    for pid in pids.as_array().unwrap() {
        assert!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} runs"
        );
    }
    azure.put(&azure.own_workspace(), body()).await.expect(202);
    for what in ["computes", "jobs", "environments"] {
        let listed = azure.get(&azure.ml(what)).await.expect(200).body;
        assert_eq!(listed["value"], json!([]), "{what}");
    }
    let azure = azure.with_pool(1).await;
    azure.submit("j1", "echo anew").await;
    azure.job_is("j1", "Completed").await;
    assert_eq!(azure.log("j1"), "anew\n");
}

#[tokio::test]
async fn a_workspace_that_is_going_takes_nothing_new_and_goes_with_its_last_compute() {
    let world = World::default().with_timings(Timings {
        compute_delete_seconds: 600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.delete(&azure.own_workspace()).await.expect(202);
    let again = azure.delete(&azure.own_workspace()).await.expect(202);
    let shown = azure.get(&azure.own_workspace()).await.expect(200).body;
    assert_eq!(shown["properties"]["provisioningState"], "Deleting");
    let other = azure.ml("computes/other");
    azure
        .put(&other, crate::fixtures::pool_body(1))
        .await
        .expect(409);
    azure.get(again.header("location")).await.expect(202);
    azure.simulator.advance(Duration::from_secs(600)).await;
    azure.get(again.header("location")).await.expect(204);
    azure.get(&azure.own_workspace()).await.expect(404);
}

#[tokio::test]
async fn a_deletion_of_a_workspace_that_fails_leaves_it_and_can_be_tried_again() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let fails = FaultAction::FailOperation {
        code: "InternalServerError".to_owned(),
        message: "no".to_owned(),
    };
    azure
        .simulator
        .fault(Fault::once("DELETE", "/workspaces/", fails));
    let failed = azure.delete(&azure.own_workspace()).await.expect(202);
    azure.get(failed.header("location")).await.expect(409);
    let shown = azure.get(&azure.own_workspace()).await.expect(200).body;
    assert_eq!(shown["properties"]["provisioningState"], "Failed");
    azure.delete(&azure.own_workspace()).await.expect(202);
    azure.get(&azure.own_workspace()).await.expect(404);
}

//! AmlCompute as a resource: its bodies and its long-running writes.

use azure_simulator::{Pace, Timings, World};
use serde_json::{Value, json};

use crate::client::Azure;
use crate::fixtures::{network_body, pool_body, running};

/// The bodies of contract section 6, which real ones were the model of.
fn recorded(name: &str) -> Value {
    let text = include_str!("testdata/compute.json");
    serde_json::from_str::<Value>(text).unwrap()[name].clone()
}

/// Without what differs from run to run.
fn comparable(mut body: Value) -> Value {
    let outer = &mut body["properties"];
    for time in ["createdOn", "modifiedOn"] {
        assert!(outer[time].is_string(), "{time}");
        outer[time] = json!("<time>");
    }
    let changed = &mut outer["properties"]["allocationStateTransitionTime"];
    if !changed.is_null() {
        *changed = json!("<time>");
    } else if let Some(inner) = outer["properties"].as_object_mut() {
        inner.remove("allocationStateTransitionTime");
    }
    body["id"] = json!("<id>");
    body
}

fn slow_writes() -> World {
    World::default().with_timings(Timings {
        compute_write_seconds: 3600.0,
        ..Timings::none()
    })
}

fn create_body() -> Value {
    json!({
        "location": "eastus",
        "properties": {"computeType": "AmlCompute", "properties": {
            "vmSize": "STANDARD_DS3_V2",
            "osType": "Linux",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 8},
            "remoteLoginPortPublicAccess": "NotSpecified",
            "enableNodePublicIp": true,
        }},
    })
}

#[tokio::test]
async fn a_compute_is_created_updated_and_shown_as_recorded() {
    let azure = Azure::start(slow_writes()).await;
    let path = azure.ml("computes/aml03");
    let reply = azure.put(&path, create_body()).await.expect(201);
    assert_eq!(comparable(reply.body), recorded("creating"));
    let operation = reply.headers["azure-asyncoperation"].to_str().unwrap();
    assert_eq!(
        azure.get(operation).await.expect(200).body["status"],
        running()
    );
    assert_eq!(
        azure.put(&path, create_body()).await.expect(409).code(),
        "Conflict"
    );
    azure.simulator.set_pace(Pace::Instant);
    assert_eq!(
        azure.get(operation).await.expect(200).body["status"],
        "Succeeded"
    );
    assert_eq!(
        comparable(azure.compute("aml03").await),
        recorded("succeeded")
    );
    azure.simulator.set_pace(Pace::Scaled(1.0));
    let scale = json!({"properties": {"properties": {"scaleSettings": {"maxNodeCount": 8}}}});
    let reply = azure.patch(&path, scale).await.expect(202);
    assert!(reply.headers.contains_key("azure-asyncoperation"));
    let mut updating = comparable(reply.body);
    updating["properties"]["resourceId"] = json!("<id>");
    assert_eq!(updating, recorded("updating"));
}

#[tokio::test]
async fn overwriting_a_compute_answers_201_again_and_changes_its_limits() {
    let azure = Azure::without_delays().await;
    let path = azure.ml("computes/pool");
    azure.put(&path, pool_body(3)).await.expect(201);
    let created = azure.compute("pool").await;
    azure.put(&path, pool_body(5)).await.expect(201);
    let changed = azure.compute("pool").await;
    assert_eq!(
        changed["properties"]["properties"]["scaleSettings"]["maxNodeCount"],
        5
    );
    assert_eq!(
        changed["properties"]["createdOn"],
        created["properties"]["createdOn"]
    );
    assert_ne!(
        changed["properties"]["modifiedOn"],
        created["properties"]["modifiedOn"]
    );
    assert_eq!(changed["tags"], json!({"owner": "me"}));
}

#[tokio::test]
async fn a_patch_without_the_doubled_nesting_is_refused() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let flat = json!({"properties": {"scaleSettings": {"maxNodeCount": 4}}});
    azure
        .patch(&azure.ml("computes/pool"), flat)
        .await
        .expect(400);
    let other = json!({"properties": {"properties": {"vmSize": "STANDARD_DS4_V2"}}});
    azure
        .patch(&azure.ml("computes/pool"), other)
        .await
        .expect(400);
}

#[tokio::test]
async fn a_delete_must_say_what_becomes_of_the_machines() {
    let world = World::default().with_timings(Timings {
        compute_delete_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await.with_pool(2).await;
    azure.delete(&azure.ml("computes/pool")).await.expect(400);
    let path = azure.ml("computes/pool?underlyingResourceAction=Delete");
    let reply = azure.delete(&path).await.expect(202);
    assert!(reply.text.is_empty() && !reply.headers.contains_key("location"));
    let operation = reply.header("azure-asyncoperation");
    assert_eq!(
        azure.get(operation).await.expect(200).body["status"],
        running()
    );
    assert_eq!(
        azure.compute("pool").await["properties"]["provisioningState"],
        "Deleting"
    );
    azure.delete(&path).await.expect(202);
    azure.simulator.set_pace(Pace::Instant);
    assert_eq!(
        azure.get(operation).await.expect(200).body["status"],
        "Succeeded"
    );
    azure.get(&azure.ml("computes/pool")).await.expect(404);
    azure.delete(&path).await.expect(204);
}

#[tokio::test]
async fn what_a_compute_cannot_be_is_refused() {
    let azure = Azure::without_delays().await;
    let refused = async |name: &str, change: &dyn Fn(&mut Value)| {
        let mut body = pool_body(2);
        change(&mut body);
        let reply = azure
            .put(&azure.ml(&format!("computes/{name}")), body)
            .await;
        assert_eq!(reply.status.as_u16(), 400, "{}", reply.text);
        reply.message().to_owned()
    };
    refused("dask-1", &|_| ()).await;
    let message = refused("pool", &|body| {
        body["properties"]["properties"]["vmSize"] = json!("Standard_None");
    })
    .await;
    assert!(
        message.contains("Standard_None") && message.contains("eastus"),
        "{message}"
    );
    refused("pool", &|body| {
        body["properties"]["computeType"] = json!("ComputeInstance")
    })
    .await;
    refused("pool", &|body| body["location"] = json!("westus")).await;
    refused("pool", &|body| body["tags"] = json!({"a?": "b"})).await;
    refused("pool", &|body| {
        body["properties"]["properties"]["scaleSettings"] = json!({"maxNodeCount": 301});
    })
    .await;
    refused("pool", &|body| {
        body["properties"]["properties"]["scaleSettings"] =
            json!({"minNodeCount": 3, "maxNodeCount": 2});
    })
    .await;
    refused("pool", &|body| {
        body["properties"]["properties"]["subnet"] = json!({"id": "/subscriptions/s"});
    })
    .await;
    azure.get(&azure.ml("computes/pool")).await.expect(404);
    azure
        .put(&azure.ml("computes/pool"), pool_body(2))
        .await
        .expect(201);
    let message = refused("pool", &|body| {
        body["properties"]["properties"]["vmSize"] = json!("Standard_DS4_v2");
    })
    .await;
    assert!(message.contains("vmSize"), "{message}");
    let message = refused("pool", &|body| {
        body["properties"]["disableLocalAuth"] = json!(true);
    })
    .await;
    assert!(message.contains("disableLocalAuth"), "{message}");
    let message = refused("pool", &|body| {
        body["properties"]["properties"]["remoteLoginPortPublicAccess"] = json!("Disabled");
    })
    .await;
    assert!(message.contains("remoteLogin"), "{message}");
}

#[tokio::test]
async fn a_compute_may_be_put_as_it_was_read() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let read = azure.compute("pool").await;
    let path = azure.ml("computes/pool");
    azure.put(&path, read.clone()).await.expect(201);
    let again = azure.compute("pool").await;
    let pool = |compute: &Value| {
        let mut pool = compute["properties"]["properties"].clone();
        pool["allocationStateTransitionTime"] = Value::Null;
        pool
    };
    assert_eq!(pool(&again), pool(&read));
}

#[tokio::test]
async fn a_workspace_with_a_managed_network_takes_no_subnet() {
    let mut world = World::default().without_delays();
    world.workspaces[0].managed_network = "AllowInternetOutbound".to_owned();
    let azure = Azure::start(world).await;
    let network = azure.network("virtualNetworks/v1");
    azure
        .put(&network, network_body(&[("default", "10.20.0.0/22")]))
        .await
        .expect(201);
    let subnet = azure.network("virtualNetworks/v1/subnets/default");
    let mut body = pool_body(2);
    body["properties"]["properties"]["subnet"] = json!({"id": subnet.split('?').next().unwrap()});
    let reply = azure
        .put(&azure.ml("computes/pool"), body)
        .await
        .expect(400);
    assert!(
        reply.message().contains("managed virtual network"),
        "{}",
        reply.message()
    );
    let workspace = azure
        .get(&format!("{}?{}", azure.workspace, crate::client::ML))
        .await
        .body;
    let managed = &workspace["properties"]["managedNetwork"];
    assert_eq!(managed["isolationMode"], "AllowInternetOutbound");
}

#[tokio::test]
async fn identities_of_a_compute_get_their_ids() {
    let azure = Azure::without_delays().await;
    let id = format!(
        "{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader",
        azure.group
    );
    let mut body = pool_body(1);
    body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {&id: {}}});
    azure
        .put(&azure.ml("computes/pool"), body)
        .await
        .expect(201);
    let identity = &azure.compute("pool").await["identity"];
    assert!(
        identity["userAssignedIdentities"][&id]["clientId"].is_string(),
        "{identity}"
    );
}

#[tokio::test]
async fn a_pool_takes_no_subnet_that_is_delegated() {
    let azure = Azure::without_delays().await;
    let mut network = network_body(&[("free", "10.20.0.0/24"), ("sql", "10.20.1.0/24")]);
    network["properties"]["subnets"][1]["properties"]["delegations"] = json!([
        {"name": "sql", "properties": {"serviceName": "Microsoft.Sql/managedInstances"}}
    ]);
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network).await.expect(201);
    for (subnet, status) in [("sql", 400), ("free", 201)] {
        let mut body = pool_body(1);
        let id = format!(
            "{}/providers/Microsoft.Network/virtualNetworks/v1/subnets/{subnet}",
            azure.group
        );
        body["properties"]["properties"]["subnet"] = json!({"id": id});
        azure
            .put(&azure.ml("computes/pool"), body)
            .await
            .expect(status);
    } // Nor can the one that it took be delegated afterwards.
    let path = azure.network("virtualNetworks/v1/subnets/free");
    let mut subnet = azure.get(&path).await.expect(200).body;
    azure.put(&path, subnet.clone()).await.expect(200);
    subnet["properties"]["delegations"] = json!([
        {"name": "sql", "properties": {"serviceName": "Microsoft.Sql/managedInstances"}}
    ]);
    let reply = azure.put(&path, subnet).await.expect(400);
    assert_eq!(
        reply.code(),
        "SubnetDelegationsCannotChangeWhenSubnetUsedByResource"
    );
}

#[tokio::test]
async fn a_pool_of_windows_is_kept_and_takes_no_job() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let image = json!({"id": "/subscriptions/s/images/mine"});
    let mut body = pool_body(1);
    body["properties"]["properties"]["virtualMachineImage"] = image.clone();
    let path = azure.ml("computes/other");
    azure.put(&path, body.clone()).await.expect(400);
    body["properties"]["properties"]["osType"] = json!("Windows");
    azure.put(&path, body).await.expect(201);
    let inner = azure.compute("other").await["properties"]["properties"].clone();
    assert_eq!(
        (&inner["osType"], &inner["virtualMachineImage"]),
        (&json!("Windows"), &image)
    );
    let mut job = azure.job_body("echo");
    job["properties"]["computeId"] = json!(format!("{}/computes/other", azure.workspace));
    let reply = azure.put(&azure.ml("jobs/j1"), job).await.expect(400);
    assert!(reply.message().contains("Windows"), "{}", reply.text);
}

//! Quotas and subnets: how much there may be, and where it shows when there may be no more.

use azure_simulator::{Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Azure;
use crate::fixtures::{low_priority_body, network_body, pool_body};

/// Cores of a node of the tests' pools, and their family.
const CORES: u64 = 4;
const FAMILY: &str = "standardDSv2Family";

async fn by_hand() -> Azure {
    let mut world = World::default()
        .with_manual_time()
        .with_timings(Timings::none());
    world.unproven.core_quota_in_errors = true;
    Azure::start(world).await.with_pool(4).await
}

async fn family_quota(azure: &Azure, cores: u64) {
    let limits = json!({"family_cores": {FAMILY: cores}});
    azure.tell("/quota", limits).await.expect(200);
}

/// Sends the compute's PUT and gives what its operation ends with.
async fn put(azure: &Azure, name: &str, body: Value) -> Value {
    let path = azure.ml(&format!("computes/{name}"));
    let reply = azure.put(&path, body).await.expect(201);
    azure.advance(0).await;
    let url = reply.header("azure-asyncoperation");
    azure.get(url).await.expect(200).body
}

#[tokio::test]
async fn a_pool_that_the_quota_has_no_room_for_fails_to_be_written() {
    let azure = by_hand().await;
    family_quota(&azure, 2 * CORES).await;
    let mut body = pool_body(4);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(3);
    let operation = put(&azure, "big", body).await;
    assert_eq!(operation["status"], "Failed");
    assert_eq!(
        operation["error"],
        json!({
            "code": "ClusterMinNodesExceedCoreQuota",
            "message": "The specified subscription has a Standard DSv2 family vCPU quota of 8 and \
                        cannot accomodate for at least 3 requested managed compute nodes which maps \
                        to 12 vCPUs.",
        })
    );
    let compute = azure.compute("big").await;
    assert_eq!(compute["properties"]["provisioningState"], "Failed");
    assert_eq!(
        compute["properties"]["provisioningErrors"][0]["error"]["code"],
        "ClusterMinNodesExceedCoreQuota"
    );
    let limits = json!({"family_cores": {FAMILY: 100}, "total_cores": 2});
    azure.tell("/quota", limits).await.expect(200);
    let operation = put(&azure, "any", pool_body(1)).await;
    let message = operation["error"]["message"].as_str().unwrap();
    assert!(message.contains("total vCPU quota of 2"), "{message}");
}

#[tokio::test]
async fn a_pool_that_cannot_grow_says_why_and_its_job_waits_until_it_can() {
    let azure = by_hand().await;
    family_quota(&azure, 2 * CORES).await;
    for id in ["j1", "j2", "j3"] {
        azure.submit(id, "sleep 1000").await;
    }
    azure.advance(0).await;
    assert_eq!(azure.job("j3").await["properties"]["status"], "Queued");
    assert_eq!(azure.nodes().len(), 2);
    assert_eq!(azure.errors_of("pool").await, ["ClusterCoreQuotaReached"]);
    let pool = azure.get(&azure.ml("computes/pool")).await.expect(200).body;
    let counts = ["targetNodeCount", "currentNodeCount"]
        .map(|name| pool["properties"]["properties"][name].clone());
    assert_eq!(counts, [3, 2], "what jobs want, and what there is");
    let waits = azure.run("j3").await["queueingInfo"].clone();
    assert_eq!(waits["code"], "ClusterCoreQuotaReached");
    azure
        .tell("/quota", json!({"clusters": 3}))
        .await
        .expect(200);
    assert_eq!(azure.nodes().len(), 2, "nothing to do with cores");
    family_quota(&azure, 3 * CORES).await;
    azure.advance(0).await;
    assert_eq!(azure.job("j3").await["properties"]["status"], "Running");
    assert!(azure.errors_of("pool").await.is_empty());
}

#[tokio::test]
async fn cores_that_one_pool_gives_back_go_to_another() {
    let azure = by_hand().await;
    put(&azure, "other", pool_body(1)).await;
    family_quota(&azure, CORES).await;
    azure.submit("j1", "sleep 1000").await;
    azure.advance(0).await;
    let mut body = azure.job_body("sleep 1000");
    body["properties"]["computeId"] = json!(format!("{}/computes/other", azure.workspace));
    azure.put(&azure.ml("jobs/j2"), body).await.expect(201);
    azure.advance(0).await;
    assert_eq!(azure.errors_of("other").await, ["ClusterCoreQuotaReached"]);
    let delete = azure.ml("computes/pool?underlyingResourceAction=Delete");
    azure.delete(&delete).await.expect(202);
    azure.advance(0).await;
    azure.advance(0).await;
    assert_eq!(azure.job("j2").await["properties"]["status"], "Running");
}

#[tokio::test]
async fn a_world_can_leave_the_quota_out_of_a_computes_errors() {
    let mut world = World::default().without_delays();
    world.unproven.core_quota_in_errors = false;
    let azure = Azure::start(world).await.with_pool(4).await;
    family_quota(&azure, CORES).await;
    for id in ["j1", "j2"] {
        azure.submit(id, "sleep 1000").await;
    }
    let waits = azure.run("j2").await["queueingInfo"].clone();
    assert_eq!(waits["code"], "ClusterCoreQuotaReached");
    assert_eq!(azure.errors_of("pool").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_job_that_no_quota_can_hold_fails() {
    let azure = by_hand().await;
    family_quota(&azure, CORES - 1).await;
    azure.submit("j1", "true").await;
    azure.advance(0).await;
    assert_eq!(azure.job("j1").await["properties"]["status"], "Failed");
    let error = azure.run("j1").await["error"]["error"].clone();
    assert_eq!(error["code"], "JobNodeCountExceedsCoreQuota");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("quota of 3 and is less than the requested job node count of 1"),
        "{message}"
    );
}

#[tokio::test]
async fn low_priority_cores_and_clusters_have_limits_of_their_own() {
    let mut world = World::default().without_delays();
    world.low_priority_core_limit = Some(2 * CORES);
    world.cluster_limit = 2;
    let azure = Azure::start(world).await;
    let mut body = low_priority_body(4);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(3);
    let operation = put(&azure, "spot", body).await;
    let message = operation["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("total low-priority vCPU quota of 8"),
        "{message}"
    );
    let one = put(&azure, "one", pool_body(1)).await;
    assert_eq!(one["status"], "Succeeded");
    let two = put(&azure, "two", pool_body(1)).await;
    let message = two["error"]["message"].as_str().unwrap();
    assert!(message.contains("Microsoft.Batchlusters"), "{message}");
}

#[tokio::test]
async fn usages_tell_the_limits_and_what_is_used() {
    let azure = by_hand().await;
    azure.submit("j1", "sleep 1000").await;
    azure.advance(0).await;
    let limits = json!({"family_cores": {FAMILY: 40}, "total_cores": 80, "clusters": 7});
    let quota = azure.tell("/quota", limits).await.expect(200).body;
    assert_eq!(
        quota["family_cores"][FAMILY],
        json!({"limit": 40, "used": 4})
    );
    assert_eq!(azure.control(Method::GET, "/quota", None).await.body, quota);
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/eastus/usages\
         ?api-version=2025-12-01",
        azure.simulator.env()["AZURE_SUBSCRIPTION_ID"]
    );
    let usages = azure.get(&path).await.expect(200).body;
    let row = |name: &str| {
        let rows = usages["value"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"]["value"] == name);
        let row = row.unwrap_or_else(|| panic!("no row {name}"));
        (row["currentValue"].as_u64(), row["limit"].as_u64())
    };
    assert_eq!(row("Clusters"), (Some(1), Some(7)));
    assert_eq!(
        row("Total Cluster Dedicated Regional vCPUs"),
        (Some(4), Some(80))
    );
    assert_eq!(
        row("Standard DSv2 Family Cluster Dedicated vCPUs"),
        (Some(4), Some(40))
    );
    for (kind, home) in [
        ("workspaces", azure.workspace.clone()),
        (
            "workspaces/computes",
            format!("{}/computes/pool", azure.workspace),
        ),
    ] {
        let kind = format!("Microsoft.MachineLearningServices/{kind}/usages");
        let rows = usages["value"].as_array().unwrap();
        let rows: Vec<&Value> = rows.iter().filter(|row| row["type"] == kind).collect();
        assert_eq!(rows.len(), 1, "{kind}");
        let id = format!("{home}/usages/Standard_DSv2_Family_Cluster_Dedicated_vCPUs");
        assert_eq!(rows[0]["id"], id);
        let used = (&rows[0]["currentValue"], &rows[0]["limit"]);
        assert_eq!(used, (&json!(4), &json!(40)));
    }
    for wrong in [json!({"cores": 1}), json!({"clusters": -1})] {
        azure.tell("/quota", wrong).await.expect(400);
    }
}

#[tokio::test]
async fn a_subnet_runs_out_of_addresses() {
    let azure = by_hand().await;
    let network = azure.network("virtualNetworks/v1");
    // Eight addresses, of which Azure keeps five.
    let body = network_body(&[("small", "10.20.0.0/29")]);
    azure.put(&network, body).await.expect(201);
    azure.advance(0).await;
    let subnet = format!(
        "{}/providers/Microsoft.Network/virtualNetworks/v1/subnets/small",
        azure.group
    );
    let mut body = pool_body(5);
    body["properties"]["properties"]["subnet"] = json!({"id": subnet});
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(5);
    put(&azure, "narrow", body).await;
    azure.advance(0).await;
    assert_eq!(azure.nodes().len(), 3);
    assert_eq!(azure.errors_of("narrow").await, ["SubnetIsFull"]);
}

#[tokio::test]
async fn a_workspace_can_be_given_less_of_a_family_than_the_region_has() {
    let azure = by_hand().await;
    let location = azure.workspace.split("/resourceGroups/").next().unwrap();
    let location =
        format!("{location}/providers/Microsoft.MachineLearningServices/locations/eastus");
    let quota = |family: &str, cores: u64| {
        json!({
            "id": format!("{}/quotas/Standard_{family}_Family_Cluster_Dedicated_vCPUs", azure.workspace),
            "type": "Microsoft.MachineLearningServices/workspaces/quotas",
            "limit": cores,
            "unit": "Count",
        })
    };
    let mut body = pool_body(4);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(1);
    assert_eq!(
        put(&azure, "busy", body.clone()).await["status"],
        "Succeeded"
    );
    let wanted = [
        quota("DSv2", CORES),
        quota("DSv2", CORES - 1),
        quota("DSv2", 100_000),
        quota("None", CORES),
    ];
    let path = format!("{location}/updateQuotas?api-version=2025-12-01");
    let answer = azure
        .send(Method::POST, &path, Some(json!({"value": wanted})))
        .await
        .expect(200)
        .body;
    let statuses: Vec<&str> = answer["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        [
            "Success",
            "InvalidQuotaBelowClusterMinimum",
            "InvalidQuotaExceedsSubscriptionLimit",
            "InvalidVMFamilyName",
        ]
    );
    let path = format!("{location}/quotas?api-version=2025-12-01");
    let quotas = azure.get(&path).await.expect(200).body;
    let row = quotas["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == wanted[0]["id"] && row["type"] == wanted[0]["type"]);
    assert_eq!(row.unwrap()["limit"], CORES);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(2);
    let operation = put(&azure, "busy", body).await;
    assert_eq!(operation["error"]["code"], "ClusterMinNodesExceedCoreQuota");
}

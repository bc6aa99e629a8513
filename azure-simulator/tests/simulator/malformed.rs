//! Bodies whose values have another form than their field: a clean answer, and nothing breaks that reads
//! what they have left.

use azure_simulator::{Place, Simulator, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Azure;
use crate::fixtures::{network_body, pool_body};

/// Bodies of every kind, with what they may hold.
fn whole_bodies(azure: &Azure) -> Vec<(String, Value)> {
    let mut pool = pool_body(1);
    pool["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {"/i": {}}});
    pool["properties"]["description"] = json!("d");
    pool["properties"]["properties"]["userAccountCredentials"] = json!({"adminUserName": "me"});
    pool["properties"]["properties"]["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] =
        json!("PT2M");
    let mut network = network_body(&[("default", "10.20.0.0/22")]);
    network["tags"] = json!({"owner": "me"});
    network["properties"]["subnets"][0]["properties"]["serviceEndpoints"] =
        json!([{"service": "Microsoft.Storage", "locations": ["eastus"]}]);
    network["properties"]["subnets"][0]["properties"]["delegations"] =
        json!([{"name": "d", "properties": {"serviceName": "Microsoft.Web/serverFarms"}}]);
    let subnet = network["properties"]["subnets"][0].clone();
    let mut job = azure.job_body("true");
    for (field, value) in [
        ("tags", json!({"a": "b"})),
        ("environmentVariables", json!({"A": "b"})),
        (
            "limits",
            json!({"jobLimitsType": "Command", "timeout": "PT5M"}),
        ),
        ("resources", json!({"instanceCount": 1, "shmSize": "2g"})),
        (
            "distribution",
            json!({"distributionType": "Mpi", "processCountPerInstance": 1}),
        ),
        (
            "inputs",
            json!({"i": {"jobInputType": "literal", "value": "1"}}),
        ),
        (
            "outputs",
            json!({"o": {"jobOutputType": "uri_folder", "mode": "Upload"}}),
        ),
        (
            "services",
            json!({"s": {"jobServiceType": "Custom", "port": 80, "nodes": {"nodesValueType": "All"}}}),
        ),
        ("queueSettings", json!({"jobTier": "Null"})),
        ("identity", json!({"identityType": "Managed"})),
    ] {
        job["properties"][field] = value;
    }
    let asset = json!({"description": "d", "tags": {"a": "b"}, "properties": {"a": "b"}});
    let version = |own: Value| {
        let mut properties = asset.clone();
        for (field, value) in own.as_object().unwrap() {
            properties[field] = value.clone();
        }
        json!({"properties": properties})
    };
    let store = json!({"properties": {
        "datastoreType": "AzureBlob",
        "accountName": "account",
        "containerName": "box",
        "credentials": {"credentialsType": "None"},
    }});
    vec![
        (azure.network("virtualNetworks/v1"), network),
        (azure.network("virtualNetworks/v1/subnets/other"), subnet),
        (azure.ml("computes/other"), pool),
        (azure.ml("jobs/{}"), job),
        (azure.ml("data/d"), version(json!({"dataType": "uri_file"}))),
        (
            azure.ml("data/d/versions/{}"),
            version(json!({"dataType": "uri_file", "dataUri": "https://x/y"})),
        ),
        (
            azure.ml("environments/e/versions/{}"),
            version(json!({"image": "i", "condaFile": "c", "autoRebuild": "Disabled"})),
        ),
        (
            azure.ml("codes/c/versions/{}"),
            version(json!({"codeUri": "https://x/y"})),
        ),
        (azure.ml("datastores/s"), store),
    ]
}

/// JSON pointers of everything in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_value_in_a_body_breaks_what_reads_it_afterwards() {
    // What is sent here is wrong on purpose, and some of it is taken: it is held against no schema.
    let place = Place {
        exchanges: None,
        ..Place::default()
    };
    let simulator = Simulator::start_at(World::default().without_delays(), place).await;
    let azure = Azure::of(simulator.unwrap()).await.with_pool(1).await;
    let values = [
        json!("x"),
        json!(5),
        json!([]),
        json!({}),
        json!(null),
        json!(["x"]),
        json!(-1),
        json!(1e300),
        json!(true),
        json!(u64::MAX),
    ];
    let mut number = 0;
    for (path, body) in whole_bodies(&azure) {
        let mut places = Vec::new();
        pointers(&body, "", &mut places);
        for place in &places {
            for value in &values {
                let mut changed = body.clone();
                *changed.pointer_mut(place).unwrap() = value.clone();
                number += 1;
                let path = path.replace("{}", &format!("n{number}"));
                let told = format!("PUT {path} with {value} at {place:?}");
                let put = azure.try_send(Method::PUT, &path, Some(changed)).await;
                let put = put.unwrap_or_else(|cut| panic!("{told}: {cut}"));
                let clean = put.status.is_success() || put.status.is_client_error();
                assert!(clean, "{told}: {}", put.text);
                if put.status.is_success() {
                    let get = azure.try_send(Method::GET, &path, None).await;
                    let get = get.unwrap_or_else(|cut| panic!("{told}, then GET: {cut}"));
                    assert_eq!(get.status, 200, "{told}, then GET: {}", get.text);
                }
            }
        }
    }
    for list in ["computes", "jobs", "data", "environments", "datastores"] {
        azure.get(&azure.ml(list)).await.expect(200);
    }
    azure
        .get(&azure.network("virtualNetworks"))
        .await
        .expect(200);
    for page in ["/", "/world", "/meter"] {
        azure.control(Method::GET, page, None).await.expect(200);
    }
}

#[tokio::test]
async fn a_value_of_another_form_than_its_field_has_is_refused() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let with = |body: &Value, pointer: &str, value: Value| {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut body = body.clone();
        body.pointer_mut(parent).unwrap()[field] = value;
        body
    };
    azure.submit("good", "true").await;
    let job = azure.job_body("true");
    for (field, value) in [
        ("environmentVariables", json!(["A=b"])),
        ("inputs", json!("x")),
        ("outputs", json!([1])),
        ("services", json!([1])),
        ("limits", json!({"timeout": "PT5M"})),
        ("identity", json!({"identityType": 5})),
        (
            "outputs",
            json!({"o": {"jobOutputType": "uri_folder", "mode": 5}}),
        ),
        (
            "services",
            json!({"s": {"jobServiceType": "Custom", "port": 80, "nodes": {"nodesValueType": "Some"}}}),
        ),
        ("queueSettings", json!({"jobTier": "Null", "frobnicate": 1})),
        (
            "identity",
            json!({"identityType": "Managed", "frobnicate": 1}),
        ),
        ("displayName", json!(5)),
        ("description", json!(7)),
        ("isArchived", json!("yes")),
        ("codeId", json!(5)),
        ("resources", json!({"shmSize": 5})),
        (
            "limits",
            json!({"jobLimitsType": "Command", "timeout": 3600}),
        ),
        (
            "limits",
            json!({"jobLimitsType": "Command", "timeout": "-PT5M"}),
        ),
    ] {
        let body = with(&job, &format!("/properties/{field}"), value);
        azure.put(&azure.ml("jobs/bad"), body).await.expect(400);
    }
    let body = with(&job, "/frobnicate", json!(1));
    azure.put(&azure.ml("jobs/bad"), body).await.expect(400);
    let pool = pool_body(1);
    for (pointer, value) in [
        ("/identity", json!("x")),
        ("/identity", json!({"type": "Nonsense"})),
        ("/identity", json!({"type": "None", "frobnicate": 1})),
        ("/sku", json!({"name": "s"})),
        ("/properties/computeLocation", json!("westus")),
        ("/properties/resourceId", json!("/subscriptions/s")),
        ("/properties/properties/propertyBag", json!({"a": 1})),
        (
            "/properties/properties/userAccountCredentials",
            json!({"adminUserName": "me", "frobnicate": 1}),
        ),
        ("/properties/description", json!(5)),
        ("/properties/disableLocalAuth", json!("true")),
        ("/properties/properties/enableNodePublicIp", json!("no")),
        ("/properties/properties/isolatedNetwork", json!("yes")),
        (
            "/properties/properties/scaleSettings/nodeIdleTimeBeforeScaleDown",
            json!(120),
        ),
        (
            "/properties/properties/scaleSettings/nodeIdleTimeBeforeScaleDown",
            json!("-PT2M"),
        ),
    ] {
        let body = with(&pool, pointer, value);
        azure.put(&azure.ml("computes/bad"), body).await.expect(400);
    }
    let network = azure.network("virtualNetworks/v1");
    let good = network_body(&[("default", "10.20.0.0/22")]);
    azure.put(&network, good.clone()).await.expect(201);
    for (pointer, value) in [
        ("/properties/subnets", json!({"a": 1})),
        ("/properties/subnets/0/frobnicate", json!(1)),
        (
            "/properties/subnets/0/properties/serviceEndpoints",
            json!([{"service": 5}]),
        ),
        ("/properties/addressSpace/frobnicate", json!(1)),
        ("/location", json!("nowhere")),
    ] {
        let body = with(&good, pointer, value);
        azure.put(&network, body).await.expect(400);
    }
    let group = azure.network("networkSecurityGroups/g1");
    azure
        .put(&group, json!({"location": "nowhere"}))
        .await
        .expect(400);
    for (asset, properties) in [
        ("environments/e", json!({"image": "i", "autoRebuild": 5})),
        ("environments/e", json!({"image": "i", "condaFile": 5})),
        (
            "data/d",
            json!({"dataType": "uri_file", "dataUri": "https://x/y", "tags": {"a": {}}}),
        ),
    ] {
        let path = azure.ml(&format!("{asset}/versions/1"));
        let body = json!({"properties": properties});
        azure.put(&path, body).await.expect(400);
    }
    let untyped = json!({"properties": {}});
    azure.put(&azure.ml("data/d"), untyped).await.expect(400);
    let container = json!({"frobnicate": 1, "properties": {"dataType": "uri_file"}});
    azure.put(&azure.ml("data/d"), container).await.expect(400);
    let kept = azure.get(&network).await.expect(200).body;
    assert_eq!(kept["properties"]["subnets"].as_array().unwrap().len(), 1);
}

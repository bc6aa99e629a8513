//! What is the same for every type: routing, api-versions, paging, headers, refusals.

use azure_simulator::{NetworkConflict, Timings, World};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::client::{Azure, ML};
use crate::fixtures::{network_body, pool_body};

#[tokio::test]
async fn an_api_version_is_required_and_must_be_known() {
    let azure = Azure::without_delays().await;
    let reply = azure.get(&azure.workspace).await.expect(400);
    assert_eq!(reply.code(), "MissingApiVersionParameter");
    let path = format!("{}?api-version=1999-01-01", azure.workspace);
    let reply = azure.get(&path).await.expect(400);
    assert_eq!(reply.code(), "NoRegisteredProviderFound");
    assert!(
        reply.message().contains("2025-12-01"),
        "{}",
        reply.message()
    );
}

#[tokio::test]
async fn what_is_not_simulated_is_refused_and_told() {
    let azure = Azure::without_delays().await;
    let unknown = [
        (
            Method::GET,
            azure.ml("onlineEndpoints"),
            400,
            "InvalidResourceType",
        ),
        (
            Method::GET,
            azure.network("natGateways/n"),
            400,
            "InvalidResourceType",
        ),
        (
            Method::GET,
            format!("{}/providers/Microsoft.Compute/disks/d?{ML}", azure.group),
            404,
            "InvalidResourceNamespace",
        ),
        (
            Method::POST,
            azure.ml("computes/pool/restart"),
            405,
            "MethodNotAllowed",
        ),
        (
            Method::GET,
            azure.ml("jobs?orderBy=name"),
            400,
            "BadRequest",
        ),
        (
            Method::DELETE,
            azure.group.clone() + "?api-version=2021-04-01",
            405,
            "MethodNotAllowed",
        ),
        (
            Method::GET,
            "/providers/Microsoft.Network".to_owned(),
            404,
            "NotFound",
        ),
    ];
    let count = unknown.len();
    for (method, path, status, code) in unknown {
        let reply = azure.send(method, &path, None).await.expect(status);
        assert_eq!(reply.code(), code, "{path}");
    }
    assert_eq!(azure.simulator.meter()["refused"], count);
    let exchanges = azure.simulator.exchanges();
    let refused = exchanges.iter().filter(|one| !one["refused"].is_null());
    assert_eq!(refused.count(), count);
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let azure = Azure::without_delays().await;
    let reply = azure.get(&azure.ml("computes/none")).await.expect(404);
    assert_eq!(reply.code(), "ResourceNotFound");
    let name = "Microsoft.MachineLearningServices/workspaces/computes/ws-dask/none";
    assert!(reply.message().contains(name), "{}", reply.message());
    let other = azure.ml("computes").replace("ws-dask", "other");
    assert_eq!(
        azure.get(&other).await.expect(404).code(),
        "ResourceNotFound"
    );
    let other = azure.ml("computes").replace("rg-dask", "other");
    assert_eq!(
        azure.get(&other).await.expect(404).code(),
        "ResourceGroupNotFound"
    );
    let subscription = azure.simulator.env()["AZURE_SUBSCRIPTION_ID"].clone();
    let other = azure.ml("computes").replace(&subscription, "other");
    assert_eq!(
        azure.get(&other).await.expect(404).code(),
        "SubscriptionNotFound"
    );
}

#[tokio::test]
async fn ids_are_found_in_any_casing_and_shown_as_they_were_stored() {
    let azure = Azure::without_delays().await;
    azure
        .put(&azure.ml("computes/Pool"), pool_body(1))
        .await
        .expect(201);
    let shouted = azure.workspace.to_uppercase() + "/COMPUTES/POOL?" + ML;
    let body = azure.get(&shouted).await.expect(200).body;
    assert_eq!(body["id"], format!("{}/computes/Pool", azure.workspace));
    assert_eq!(body["name"], "Pool");
}

#[tokio::test]
async fn a_list_comes_in_pages_whose_links_are_followed_as_they_are() {
    let mut world = World::default().without_delays();
    world.page_size = 2;
    let azure = Azure::start(world).await;
    for name in ["a01", "b02", "c03", "d04", "e05"] {
        azure
            .put(&azure.ml(&format!("computes/{name}")), pool_body(1))
            .await
            .expect(201);
    }
    let mut names = Vec::new();
    let mut next = Some(azure.ml("computes"));
    let mut pages = 0;
    while let Some(path) = next {
        let page = azure.get(&path).await.expect(200).body;
        pages += 1;
        for item in page["value"].as_array().unwrap() {
            names.push(item["name"].as_str().unwrap().to_owned());
        }
        next = page["nextLink"].as_str().map(str::to_owned);
        assert!(
            page.get("nextLink").is_some(),
            "the last link is null, not absent"
        );
    }
    assert_eq!(
        (names.join(" ").as_str(), pages),
        ("a01 b02 c03 d04 e05", 3)
    );
}

#[tokio::test]
async fn every_answer_has_arms_headers() {
    let mut world = World::default().without_delays();
    world.unproven.client_request_id_returned = true;
    let azure = Azure::start(world).await;
    let request = azure
        .http
        .get(format!(
            "{}{}",
            azure.simulator.arm_url(),
            azure.ml("computes")
        ))
        .bearer_auth(&azure.token)
        .header("x-ms-client-request-id", "mine")
        .header("x-ms-return-client-request-id", "true");
    let response = request.send().await.unwrap();
    let headers = response.headers();
    for name in [
        "x-ms-request-id",
        "x-ms-correlation-request-id",
        "x-ms-routing-request-id",
        "x-ms-operation-identifier",
        "x-ms-ratelimit-remaining-subscription-reads",
        "x-ms-ratelimit-remaining-subscription-global-reads",
        "strict-transport-security",
        "azureml-served-by-cluster",
        "x-request-time",
    ] {
        assert!(headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["x-ms-client-request-id"], "mine");
    assert_eq!(headers["x-ms-response-type"], "standard");
    let reply = azure.get(&azure.ml("computes/none")).await;
    assert_eq!(reply.header("x-ms-response-type"), "error");
    let reply = azure
        .delete(&azure.ml("computes/none?underlyingResourceAction=Delete"))
        .await;
    let left = reply.header("x-ms-ratelimit-remaining-subscription-deletes");
    assert_eq!((reply.status, left), (StatusCode::NO_CONTENT, "199"));
}

#[tokio::test]
async fn nonsense_gets_a_clean_answer_and_the_next_call_is_served() {
    let azure = Azure::without_delays().await;
    let url = format!("{}{}", azure.simulator.arm_url(), azure.ml("computes/pool"));
    let send = |body: Vec<u8>| {
        let request = azure.http.put(&url).bearer_auth(&azure.token).body(body);
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(send(b"{\"location\":".to_vec()).await, 400);
    assert_eq!(send(b"[1, 2]".to_vec()).await, 400);
    assert_eq!(send(vec![0xff; 100]).await, 400);
    assert_eq!(send(Vec::new()).await, 400);
    assert_eq!(send(vec![b' '; 5 << 20]).await, 413);
    azure
        .get("/subscriptions/../../etc/passwd?api-version=1")
        .await
        .expect(404);
    azure.get("/%ff%fe?api-version=1").await.expect(404);
    azure.get(&azure.ml("computes")).await.expect(200);
}

#[tokio::test]
async fn an_operation_is_polled_at_the_url_that_was_given_and_no_other() {
    let azure = Azure::without_delays().await;
    let reply = azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
    let url = reply.header("azure-asyncoperation").to_owned();
    assert!(url.len() > 3000, "{}", url.len());
    let body = azure.get(&url).await.expect(200).body;
    assert_eq!(
        body,
        json!({"status": "Succeeded", "percentComplete": 100.0})
    );
    let (base, _) = url.split_once("&t=").unwrap();
    azure.get(base).await.expect(400);
}

#[tokio::test]
async fn sizes_and_usages_tell_what_a_pool_may_be_made_of() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let subscription = azure.simulator.env()["AZURE_SUBSCRIPTION_ID"].clone();
    let location = format!(
        "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/eastus"
    );
    let sizes = azure
        .get(&format!("{location}/vmSizes?{ML}"))
        .await
        .expect(200)
        .body;
    let sizes = sizes["value"].as_array().unwrap();
    let size = sizes
        .iter()
        .find(|size| size["name"] == "Standard_DS13_v2")
        .unwrap();
    assert_eq!(
        (&size["vCPUs"], &size["memoryGB"]),
        (&json!(8), &json!(56.0))
    );
    azure.submit("busy", "sleep 1000").await;
    azure.job_is("busy", "Running").await;
    let usages = azure
        .get(&format!("{location}/usages?{ML}"))
        .await
        .expect(200)
        .body;
    let family = usages["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"]["value"] == "Standard DSv2 Family Cluster Dedicated vCPUs");
    assert_eq!(family.unwrap()["currentValue"], 4);
}

#[tokio::test]
async fn an_operation_is_told_as_the_world_wants_it() {
    let timings = Timings {
        network_write_seconds: 3600.0,
        ..Timings::none()
    };
    let mut world = World::default().with_timings(timings);
    world.operations.running_status = "Accepted".to_owned();
    world.operations.retry_after_seconds = Some(7);
    world.operations.network_conflict = NetworkConflict::RetryableErrorDueToAnotherOperation;
    world.unproven.network_retry_after_seconds = 14;
    let azure = Azure::start(world).await;
    let network = azure.network("virtualNetworks/v1");
    let reply = azure.put(&network, network_body(&[])).await.expect(201);
    assert_eq!(reply.header("retry-after"), "7");
    let url = reply.header("azure-asyncoperation").to_owned();
    assert_eq!(azure.get(&url).await.body["status"], "Accepted");
    let reply = azure.put(&network, network_body(&[])).await.expect(429);
    assert_eq!(reply.code(), "RetryableError");
    let detail = &reply.body["error"]["details"][0];
    assert_eq!(detail["code"], "RetryableErrorDueToAnotherOperation");
    assert_eq!(reply.header("retry-after"), "14");
    let throttled = azure.simulator.meter()["throttled"].clone();
    assert_eq!(throttled["writes"], 0, "that was no throttling");
}

//! Virtual networks and subnets.

use std::time::Duration;

use azure_simulator::{Pace, Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Azure;
use crate::fixtures::{network_body, pool_body, running};

const TEN_MINUTES: Duration = Duration::from_secs(600);
const ONE: [(&str, &str); 1] = [("default", "10.20.0.0/22")];

#[tokio::test]
async fn a_network_is_made_with_its_subnets_and_an_etag() {
    let azure = Azure::without_delays().await;
    let path = azure.network("virtualNetworks/dask-vnet");
    let reply = azure.put(&path, network_body(&ONE)).await.expect(201);
    assert_eq!(reply.body["properties"]["provisioningState"], "Updating");
    let status = azure
        .get(reply.header("azure-asyncoperation"))
        .await
        .expect(200);
    assert_eq!(status.body["status"], "Succeeded");
    let body = azure.get(&path).await.expect(200).body;
    assert_eq!(body["properties"]["provisioningState"], "Succeeded");
    assert!(body["etag"].as_str().unwrap().starts_with("W/\""));
    let subnet = &body["properties"]["subnets"][0];
    assert_eq!(subnet["properties"]["addressPrefix"], "10.20.0.0/22");
    let alone = azure.network("virtualNetworks/dask-vnet/subnets/default");
    assert_eq!(azure.get(&alone).await.expect(200).body, *subnet);
    azure.put(&path, network_body(&ONE)).await.expect(200);
}

#[tokio::test]
async fn put_of_a_network_replaces_its_subnets() {
    let azure = Azure::without_delays().await;
    let path = azure.network("virtualNetworks/v1");
    let two = [("a", "10.20.0.0/24"), ("b", "10.20.1.0/24")];
    azure.put(&path, network_body(&two)).await.expect(201);
    azure.put(&path, network_body(&two[1..])).await.expect(200);
    azure
        .get(&azure.network("virtualNetworks/v1/subnets/a"))
        .await
        .expect(404);
    azure
        .get(&azure.network("virtualNetworks/v1/subnets/b"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_subnet_is_managed_beside_its_neighbours() {
    let azure = Azure::without_delays().await;
    let network = azure.network("virtualNetworks/v1");
    azure.put(&network, network_body(&ONE)).await.expect(201);
    let body = |prefix: &str| json!({"properties": {"addressPrefix": prefix}});
    let path = azure.network("virtualNetworks/v1/subnets/more");
    azure.put(&path, body("10.20.4.0/24")).await.expect(201);
    azure.put(&path, body("10.20.5.0/24")).await.expect(200);
    let outside = azure.put(&path, body("10.99.0.0/24")).await.expect(400);
    assert_eq!(outside.code(), "NetcfgSubnetRangeOutsideVnet");
    let overlapping = azure.put(&path, body("10.20.1.0/24")).await.expect(400);
    assert_eq!(overlapping.code(), "NetcfgSubnetRangesOverlap");
    let crooked = azure.put(&path, body("10.20.5.1/24")).await.expect(400);
    assert_eq!(crooked.code(), "InvalidCIDRNotation");
    let none = azure.put(&path, body("10.20.5.0")).await.expect(400);
    assert_eq!(none.code(), "InvalidAddressPrefixFormat");
    azure.delete(&path).await.expect(202);
    azure.delete(&path).await.expect(204);
    let left = azure.get(&network).await.expect(200).body;
    assert_eq!(left["properties"]["subnets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_against_an_old_etag_is_refused() {
    let azure = Azure::without_delays().await;
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network_body(&ONE)).await.expect(201);
    let old = azure.get(&path).await.body["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let write_if = |header: &str, value: &str, method: Method, body: Value| {
        let request = azure
            .http
            .request(method, format!("{}{path}", azure.simulator.arm_url()))
            .bearer_auth(&azure.token)
            .header(header, value)
            .json(&body);
        async { request.send().await.unwrap().status().as_u16() }
    };
    let write = |method: Method, body: Value| write_if("If-Match", &old, method, body);
    assert_eq!(write(Method::PUT, network_body(&ONE)).await, 200);
    assert_eq!(write(Method::PUT, network_body(&ONE)).await, 412);
    assert_eq!(write(Method::PATCH, json!({"tags": {}})).await, 412);
    // Nobody has told what Azure makes of it: it is not passed over.
    let unless_there = write_if("If-None-Match", "*", Method::PUT, network_body(&ONE));
    assert_eq!(unless_there.await, 400);
}

#[tokio::test]
async fn writes_to_a_network_go_one_at_a_time() {
    let world = World::default().with_timings(Timings {
        network_write_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let path = azure.network("virtualNetworks/v1");
    let reply = azure.put(&path, network_body(&ONE)).await.expect(201);
    let status = azure
        .get(reply.header("azure-asyncoperation"))
        .await
        .expect(200);
    assert_eq!(status.body["status"], running());
    let tags = azure.patch(&path, json!({"tags": {}})).await.expect(409);
    assert_eq!(tags.code(), "AnotherOperationInProgress");
    let second = azure.put(&path, network_body(&ONE)).await.expect(409);
    assert_eq!(second.code(), "AnotherOperationInProgress");
    assert_eq!(
        azure.delete(&path).await.expect(409).code(),
        "AnotherOperationInProgress"
    );
    azure.simulator.set_pace(Pace::Instant);
    azure.put(&path, network_body(&ONE)).await.expect(200);
}

#[tokio::test]
async fn deleting_a_network_takes_its_time_and_then_it_is_gone() {
    let world = World::default().with_timings(Timings {
        network_delete_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network_body(&ONE)).await.expect(201);
    let reply = azure.delete(&path).await.expect(202);
    let location = reply.header("location").to_owned();
    azure.get(&location).await.expect(202);
    let state = azure.get(&path).await.expect(200).body;
    assert_eq!(state["properties"]["provisioningState"], "Deleting");
    azure.delete(&path).await.expect(202);
    azure.simulator.set_pace(Pace::Instant);
    azure.get(&location).await.expect(204);
    azure.get(&path).await.expect(404);
    azure.delete(&path).await.expect(204);
}

#[tokio::test]
async fn a_network_that_a_pool_is_in_stays_until_the_pool_has_been_gone_for_a_while() {
    let world = World::default().with_timings(Timings {
        subnet_release_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network_body(&ONE)).await.expect(201);
    let subnet = azure.network("virtualNetworks/v1/subnets/default");
    let mut pool = pool_body(1);
    let id = subnet.split('?').next().unwrap();
    pool["properties"]["properties"]["subnet"] = json!({"id": id});
    azure
        .put(&azure.ml("computes/pool"), pool)
        .await
        .expect(201);
    for path in [&path, &subnet] {
        let reply = azure.delete(path).await.expect(400);
        assert_eq!(reply.code(), "InUseSubnetCannotBeDeleted");
    }
    let without = azure.put(&path, network_body(&[])).await.expect(400);
    assert_eq!(without.code(), "InUseSubnetCannotBeDeleted");
    let elsewhere = json!({"properties": {"addressPrefix": "10.20.9.0/24"}});
    azure.put(&subnet, elsewhere).await.expect(400);
    let moved = network_body(&[("default", "10.20.9.0/24")]);
    azure.put(&path, moved).await.expect(400);
    azure
        .delete(&azure.ml("computes/pool?underlyingResourceAction=Delete"))
        .await
        .expect(202);
    azure.get(&azure.ml("computes/pool")).await.expect(404);
    azure.delete(&path).await.expect(400);
    azure.simulator.set_pace(Pace::Instant);
    azure.delete(&path).await.expect(202);
    azure.get(&path).await.expect(404);
}

#[tokio::test]
async fn networks_are_listed_by_group_and_by_subscription() {
    let azure = Azure::without_delays().await;
    for name in ["v1", "v2"] {
        let path = azure.network(&format!("virtualNetworks/{name}"));
        azure.put(&path, network_body(&ONE)).await.expect(201);
    }
    let here = azure
        .get(&azure.network("virtualNetworks"))
        .await
        .expect(200)
        .body;
    assert_eq!(here["value"].as_array().unwrap().len(), 2);
    let everywhere = azure
        .network("virtualNetworks")
        .replace("/resourceGroups/rg-dask", "");
    assert_eq!(azure.get(&everywhere).await.expect(200).body, here);
}

#[tokio::test]
async fn tags_of_a_network_can_be_patched() {
    let azure = Azure::without_delays().await;
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network_body(&ONE)).await.expect(201);
    azure
        .patch(&path, json!({"tags": {"dask-azureml-owner": "u1"}}))
        .await
        .expect(200);
    let body = azure.get(&path).await.expect(200).body;
    assert_eq!(body["tags"], json!({"dask-azureml-owner": "u1"}));
    let reply = azure
        .patch(&path, json!({"tags": {"a/b": "c"}}))
        .await
        .expect(400);
    assert_eq!(reply.code(), "InvalidTagNameCharacters");
}

#[tokio::test]
async fn a_security_group_is_not_deleted_while_it_is_written_and_goes_once() {
    let world = World::default().with_timings(Timings {
        network_write_seconds: 600.0,
        network_delete_seconds: 600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let path = azure.network("networkSecurityGroups/g1");
    azure
        .put(&path, json!({"location": "eastus"}))
        .await
        .expect(201);
    let refused = azure.delete(&path).await.expect(409);
    assert_eq!(refused.code(), "AnotherOperationInProgress");
    azure.simulator.advance(TEN_MINUTES).await;
    azure.delete(&path).await.expect(202);
    let again = azure.delete(&path).await.expect(202);
    azure.simulator.advance(TEN_MINUTES).await;
    azure.get(&path).await.expect(404);
    azure.get(again.header("location")).await.expect(204);
}

#[tokio::test]
async fn a_peering_goes_once_and_takes_no_other_along() {
    let world = World::default().with_timings(Timings {
        network_delete_seconds: 600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    let space = |third: u8| json!({"addressPrefixes": [format!("10.{third}.0.0/16")]});
    let id = |name: &str| azure.network(&format!("virtualNetworks/{name}"));
    for (number, name) in (20..).zip(["hub", "one", "two"]) {
        let properties = json!({"addressSpace": space(number), "subnets": []});
        let body = json!({"location": "eastus", "properties": properties});
        azure.put(&id(name), body).await.expect(201);
    }
    let side = |from: &str, to: &str| {
        azure.network(&format!(
            "virtualNetworks/{from}/virtualNetworkPeerings/{to}"
        ))
    };
    for (from, to) in [
        ("hub", "one"),
        ("one", "hub"),
        ("hub", "two"),
        ("two", "hub"),
    ] {
        let remote = id(to);
        let remote = remote.split('?').next().unwrap();
        let body = json!({"properties": {"remoteVirtualNetwork": {"id": remote}}});
        azure.put(&side(from, to), body).await.expect(201);
    }
    azure.delete(&side("hub", "one")).await.expect(202);
    azure.delete(&side("hub", "one")).await.expect(202);
    let other = azure.delete(&side("hub", "two")).await.expect(409);
    assert_eq!(other.code(), "AnotherOperationInProgress");
    azure.simulator.advance(TEN_MINUTES).await;
    azure.get(&side("hub", "one")).await.expect(404);
    let state = async |from: &str| {
        let body = azure.get(&side(from, "hub")).await.expect(200).body;
        body["properties"]["peeringState"].clone()
    };
    assert_eq!(state("one").await, "Disconnected");
    assert_eq!(state("two").await, "Connected");
    azure
        .put(
            &id("hub"),
            json!({"location": "eastus", "properties": {"addressSpace": space(20)}}),
        )
        .await
        .expect(200);
}

#[tokio::test]
async fn a_peering_takes_its_own_other_side_along_and_that_must_be_made_again_first() {
    let azure = Azure::without_delays().await;
    let names = ["hub", "one", "two"];
    for (name, prefix) in names
        .into_iter()
        .zip(["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"])
    {
        let body = json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": [prefix]}}});
        let path = azure.network(&format!("virtualNetworks/{name}"));
        azure.put(&path, body).await.expect(201);
    }
    let side = |from: &str, to: &str| {
        azure.network(&format!(
            "virtualNetworks/{from}/virtualNetworkPeerings/to-{to}"
        ))
    };
    let body = |to: &str| {
        let id = azure.network(&format!("virtualNetworks/{to}"));
        json!({"properties": {"remoteVirtualNetwork": {"id": id.split('?').next().unwrap()}}})
    };
    for (from, to) in [
        ("hub", "one"),
        ("one", "hub"),
        ("hub", "two"),
        ("two", "hub"),
    ] {
        azure.put(&side(from, to), body(to)).await.expect(201);
    }
    azure.delete(&side("hub", "one")).await.expect(202);
    let state = async |from: &str, to: &str| {
        let body = azure.get(&side(from, to)).await.expect(200).body;
        body["properties"]["peeringState"].clone()
    };
    assert_eq!(state("one", "hub").await, "Disconnected");
    assert_eq!(
        state("two", "hub").await,
        "Connected",
        "another peering stays"
    );
    assert_eq!(state("hub", "two").await, "Connected");

    let refused = azure
        .put(&side("hub", "one"), body("one"))
        .await
        .expect(400);
    assert_eq!(refused.code(), "RemotePeeringIsDisconnected");
    azure.delete(&side("one", "hub")).await.expect(202);
    azure
        .put(&side("hub", "one"), body("one"))
        .await
        .expect(201);
    assert_eq!(state("hub", "one").await, "Initiated");
    azure
        .put(&side("one", "hub"), body("hub"))
        .await
        .expect(201);
    assert_eq!(state("hub", "one").await, "Connected");
}

#[tokio::test]
async fn a_peering_says_that_it_goes_while_it_does() {
    let world = World::default().with_timings(Timings {
        network_delete_seconds: 3600.0,
        ..Timings::none()
    });
    let azure = Azure::start(world).await;
    for (name, prefix) in [("one", "10.2.0.0/16"), ("two", "10.3.0.0/16")] {
        let body = json!({"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": [prefix]}}});
        let path = azure.network(&format!("virtualNetworks/{name}"));
        azure.put(&path, body).await.expect(201);
    }
    let id = azure.network("virtualNetworks/two");
    let body =
        json!({"properties": {"remoteVirtualNetwork": {"id": id.split('?').next().unwrap()}}});
    let path = azure.network("virtualNetworks/one/virtualNetworkPeerings/to-two");
    azure.put(&path, body).await.expect(201);
    azure.delete(&path).await.expect(202);
    let going = azure.get(&path).await.expect(200).body;
    assert_eq!(going["properties"]["provisioningState"], "Deleting");
    azure.delete(&path).await.expect(202);
}

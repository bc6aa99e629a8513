use serde_json::json;

use super::*;
use crate::azure::Class;

fn want() -> Want {
    Want {
        location: "eastus".into(),
        tags: Tags::from([("dask-azureml-owner".into(), "u1".into())]),
        properties: WantProperties {
            address_space: AddressSpace {
                address_prefixes: Some(vec!["10.20.0.0/16".into()]),
            },
        },
    }
}

fn have(body: Value) -> Have {
    serde_json::from_value(body).unwrap()
}

#[test]
fn a_network_that_is_as_wanted_shows_no_drift() {
    let have = have(json!({
        "location": "eastus",
        "tags": {"dask-azureml-owner": "u1", "theirs": "1"},
        "properties": {"addressSpace": {"addressPrefixes": ["10.20.0.0/16", "10.30.0.0/16"]}, "provisioningState": "Succeeded"},
    }));
    assert_eq!(VirtualNetwork::drift(&want(), &have), Drift::None);
}

#[test]
fn mending_a_tag_carries_subnets_and_prefixes_of_others_along() {
    let have = have(json!({
        "location": "eastus",
        "tags": {"theirs": "1"},
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.20.0.0/16", "10.30.0.0/16"]},
            "subnets": [{"name": "theirs", "properties": {"addressPrefix": "10.30.0.0/24"}}],
            "dhcpOptions": {"dnsServers": ["10.0.0.4"]},
            "resourceGuid": "00000000-0000-0000-0000-000000000001",
            "provisioningState": "Succeeded",
        },
    }));
    let Drift::Update {
        fields,
        change: Change::Put(body),
    } = VirtualNetwork::drift(&want(), &have)
    else {
        unreachable!("a missing owner's tag is a drift")
    };
    assert_eq!(fields, ["tags.dask-azureml-owner"]);
    assert_eq!(
        body,
        json!({
            "location": "eastus",
            "tags": {"theirs": "1", "dask-azureml-owner": "u1"},
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.20.0.0/16", "10.30.0.0/16"]},
                "subnets": [{"name": "theirs", "properties": {"addressPrefix": "10.30.0.0/24"}}],
                "dhcpOptions": {"dnsServers": ["10.0.0.4"]},
            },
        })
    );
}

#[test]
fn health_follows_the_provisioning_state() {
    for (state, expected) in [
        (json!("Succeeded"), Health::Ready),
        (json!(null), Health::Ready),
        (
            json!("Updating"),
            Health::Settling("the virtual network is Updating".into()),
        ),
    ] {
        assert_eq!(
            VirtualNetwork::health(&have(json!({"properties": {"provisioningState": state}}))),
            expected
        );
    }
    assert!(matches!(
        VirtualNetwork::health(&have(
            json!({"properties": {"provisioningState": "Failed"}})
        )),
        Health::Failed { verdict, .. } if verdict.class == Class::Unavailable
    ));
}

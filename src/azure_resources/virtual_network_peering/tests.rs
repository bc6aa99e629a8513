use serde_json::json;

use super::*;

const REMOTE: &str =
    "/subscriptions/s/resourceGroups/rg-aks/providers/Microsoft.Network/virtualNetworks/aks-vnet";

fn want() -> Want {
    Want {
        properties: WantProperties {
            remote_virtual_network: Reference { id: REMOTE.into() },
            allow_virtual_network_access: true,
        },
    }
}

/// As Azure answers it, with a setting of its network's owner.
fn have(change: impl FnOnce(&mut Value)) -> Have {
    let mut body = json!({
        "properties": {
            "peeringState": "Connected", "peeringSyncLevel": "FullyInSync", "provisioningState": "Succeeded",
            "remoteVirtualNetwork": {"id": REMOTE.to_lowercase()}, "allowVirtualNetworkAccess": true,
            "allowForwardedTraffic": true, "allowGatewayTransit": false, "useRemoteGateways": false,
            "remoteAddressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "remoteVirtualNetworkAddressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "remoteGateways": null,
        },
    });
    change(&mut body["properties"]);
    serde_json::from_value(body).unwrap()
}

#[test]
fn a_peering_as_azure_answers_it_shows_no_drift() {
    assert_eq!(
        VirtualNetworkPeering::drift(&want(), &have(|_| {})),
        Drift::None
    );
    let silent = have(|peering| peering["allowVirtualNetworkAccess"] = Value::Null);
    assert_eq!(VirtualNetworkPeering::drift(&want(), &silent), Drift::None);
}

#[test]
fn access_that_was_taken_is_given_back_and_the_other_settings_stay() {
    let closed = have(|peering| peering["allowVirtualNetworkAccess"] = json!(false));
    let expected = Drift::Update {
        fields: vec!["properties.allowVirtualNetworkAccess".into()],
        change: Change::Put(json!({"properties": {
            "remoteVirtualNetwork": {"id": REMOTE}, "allowVirtualNetworkAccess": true,
            "allowForwardedTraffic": true, "allowGatewayTransit": false, "useRemoteGateways": false,
        }})),
    };
    assert_eq!(VirtualNetworkPeering::drift(&want(), &closed), expected);
}

#[test]
fn a_peering_of_our_name_that_leads_elsewhere_cannot_be_mended() {
    let elsewhere = have(|peering| peering["remoteVirtualNetwork"]["id"] = json!("/x"));
    let expected = Drift::Replace {
        fields: vec!["properties.remoteVirtualNetwork.id".into()],
    };
    assert_eq!(VirtualNetworkPeering::drift(&want(), &elsewhere), expected);
}

#[test]
fn health_follows_both_states() {
    let health = |field: &str, state: Value| {
        VirtualNetworkPeering::health(&have(|peering| peering[field] = state))
    };
    for state in [
        json!("Connected"),
        json!("Initiated"),
        json!("Unheard"),
        Value::Null,
    ] {
        assert_eq!(health("peeringState", state), Health::Ready);
    }
    assert!(matches!(
        health("peeringState", json!("Disconnected")),
        Health::Spent(_)
    ));
    assert!(matches!(
        health("provisioningState", json!("Updating")),
        Health::Settling(_)
    ));
    assert!(matches!(
        health("provisioningState", json!("Failed")),
        Health::Failed { .. }
    ));
}

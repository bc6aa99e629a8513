//! Virtual network and subnet.

use serde_json::json;

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{REMOTE, existing_network, existing_pool, least, remove, set, story};

pub(super) fn network() -> Vec<Refusal> {
    let mut refusals = vec![
        refusal(
            story(),
            &[remove("/spec/network")],
            "spec.network",
            "network is required",
        ),
        refusal(
            existing_pool(),
            &[set("/spec/network", story()["spec"]["network"].clone())],
            "spec.network",
            "must be left out with compute.creationPolicy UseExisting",
        ),
        refusal(
            story(),
            &[remove("/spec/network/virtualNetwork/addressPrefix")],
            "spec.network.virtualNetwork.addressPrefix",
            "is required with creationPolicy Create",
        ),
        refusal(
            story(),
            &[remove("/spec/network/subnet")],
            "spec.network.subnet.addressPrefix",
            "is required with creationPolicy Create",
        ),
        refusal(
            existing_network(),
            &[set(
                "/spec/network/virtualNetwork/addressPrefix",
                "10.20.0.0/16",
            )],
            "spec.network.virtualNetwork.addressPrefix",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            existing_network(),
            &[set(
                "/spec/network/subnet",
                json!({"addressPrefix": "10.20.0.0/22"}),
            )],
            "spec.network.subnet.addressPrefix",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            story(),
            &[remove("/spec/network/virtualNetwork/name")],
            "spec.network.virtualNetwork.name",
            "Required value",
        ),
    ];
    refusals.extend(peerings());
    refusals.extend(values(
        "/spec/network/creationPolicy",
        ["Take", "create", ""],
        "spec.network.creationPolicy",
        "supported values: \"Create\", \"UseExisting\", \"Adopt\"",
    ));
    refusals.extend(values(
        "/spec/network/virtualNetwork/name",
        ["", "v", "-vnet", "vnet-", "my vnet"],
        "spec.network.virtualNetwork.name",
        "virtualNetwork.name must be 2 to 64",
    ));
    refusals.extend(values(
        "/spec/network/virtualNetwork/resourceGroup",
        ["rg."],
        "spec.network.virtualNetwork.resourceGroup",
        "must be the name of a resource group",
    ));
    refusals.extend(values(
        "/spec/network/subnet/name",
        ["", "_nodes", "nodes.", "my nodes"],
        "spec.network.subnet.name",
        "subnet.name must be 1 to 80",
    ));
    for (pointer, field) in [
        (
            "/spec/network/virtualNetwork/addressPrefix",
            "spec.network.virtualNetwork.addressPrefix",
        ),
        (
            "/spec/network/subnet/addressPrefix",
            "spec.network.subnet.addressPrefix",
        ),
    ] {
        refusals.extend(values(
            pointer,
            [
                "",
                "10.20.0.0",
                "10.20.0.0/33",
                "10.20.0/16",
                "fd00::/48",
                "::ffff:10.20.0.0/112",
            ],
            field,
            "must be an IPv4 range",
        ));
        refusals.extend(values(
            pointer,
            ["10.20.0.1/16", "10.20.1.0/22"],
            field,
            "must not have bits set behind its prefix length",
        ));
        refusals.extend(values(
            pointer,
            [
                "0.0.0.0/0",
                "0.0.0.0/8",
                "127.0.0.0/16",
                "169.254.169.0/24",
                "172.17.4.0/22",
                "172.16.0.0/12",
                "224.0.0.0/24",
                "240.0.0.0/8",
                "168.63.0.0/16",
            ],
            field,
            "must not overlap 0.0.0.0/8",
        ));
    }
    refusals.extend(values(
        "/spec/network/subnet/addressPrefix",
        ["10.21.0.0/22", "10.0.0.0/8"],
        "spec.network.subnet.addressPrefix",
        "must lie inside virtualNetwork.addressPrefix",
    ));
    for (prefix, nodes) in [
        ("10.20.0.0/26", 60),
        ("10.20.0.0/27", 28),
        ("10.20.0.0/28", 12),
        ("10.20.0.0/29", 4),
        ("10.20.0.0/30", 1),
        ("10.20.0.0/32", 1),
    ] {
        refusals.push(refusal(
            least(),
            &[
                set("/spec/network/subnet/addressPrefix", prefix),
                set("/spec/compute/maxNodes", nodes),
                set("/spec/worker/replicas", 0),
            ],
            "spec.network.subnet.addressPrefix",
            "is too small for compute.maxNodes",
        ));
    }
    refusals
}

fn peerings() -> Vec<Refusal> {
    let to = |ids: &[&str]| {
        let peerings: Vec<_> = ids
            .iter()
            .map(|id| json!({"remoteVirtualNetworkId": id}))
            .collect();
        [set("/spec/network/peerings", json!(peerings))]
    };
    let own = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/RG-dask/providers/Microsoft.Network/virtualNetworks/DASK-vnet";
    let mut refusals = vec![
        refusal(
            existing_network(),
            &to(&[REMOTE]),
            "spec.network.peerings",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            least(),
            &to(&[REMOTE, &REMOTE.replace("aks-vnet", "AKS-vnet")]),
            "spec.network.peerings",
            "must name each network once",
        ),
        refusal(
            least(),
            &to(&[own]),
            "spec.network.peerings",
            "a network cannot be peered with itself",
        ),
    ];
    for id in [
        "",
        "aks-vnet",
        &REMOTE.replace("/virtualNetworks/", "/loadBalancers/"),
        &REMOTE.replace("99999999-", ""),
        &format!("{REMOTE}/subnets/default"),
    ] {
        refusals.push(refusal(
            least(),
            &to(&[id]),
            "spec.network.peerings[0].remoteVirtualNetworkId",
            "must be the ARM id of a virtual network",
        ));
    }
    refusals
}

#[tokio::test]
async fn networks_that_cannot_hold_the_nodes_are_refused() {
    all_refused(network()).await;
}

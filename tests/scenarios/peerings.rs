use serde_json::{Value, json};

use crate::harness::{Line, condition, wait_for};
use crate::owner::{Owner, Resource};

/// The network of the Kubernetes cluster, which is not ours.
async fn remote(owner: &Owner) -> Resource<'_> {
    let network = owner.network("aks-vnet");
    let body = json!({
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": ["10.60.0.0/16"]}},
    });
    network.put(body).await;
    network
}

async fn peering_of(network: &Resource<'_>) -> Option<Value> {
    let body = network.get().await?;
    body["properties"]["virtualNetworkPeerings"].get(0).cloned()
}

async fn until_connected(networks: &[&Resource<'_>]) {
    wait_for("both sides are Connected", async || {
        for network in networks {
            let peering = peering_of(network).await;
            let state = peering
                .as_ref()
                .map(|peering| &peering["properties"]["peeringState"]);
            if state != Some(&json!("Connected")) {
                return Err(format!("{state:?}"));
            }
        }
        Ok(())
    })
    .await;
}

fn peering_writes(line: &Line) -> Vec<String> {
    let writes = line.azure_writes().into_iter();
    writes
        .filter(|write| write.contains("/virtualNetworkPeerings/"))
        .map(|write| {
            let network = if write.contains("aks-vnet") {
                "far"
            } else {
                "near"
            };
            format!("{} {network}", write.split(' ').next().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_made_made_again_when_one_was_deleted_and_gone_with_the_cluster() {
    let mut line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    let far = remote(&owner).await;
    let near = owner.network("dask-vnet");
    let mut manifest = line.manifest("bridge", 0);
    manifest["spec"]["network"]["peerings"] = json!([{"remoteVirtualNetworkId": far.id()}]);
    line.forget_requests();
    line.apply(&manifest).await;
    line.wait_until_ready("bridge").await;
    until_connected(&[&near, &far]).await;
    assert_eq!(peering_writes(&line), ["PUT near", "PUT far"]);

    line.kill_operator();
    let name = peering_of(&far).await.unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    far.child("virtualNetworkPeerings", &name).delete().await;
    wait_for("the far side is gone", async || {
        peering_of(&far)
            .await
            .map_or(Ok(()), |peering| Err(peering.to_string()))
    })
    .await;
    line.forget_requests();
    line.start_operator();
    until_connected(&[&near, &far]).await;
    assert_eq!(
        peering_writes(&line),
        ["DELETE near", "PUT near", "PUT far"]
    );

    line.delete("bridge").await;
    line.wait_until_gone("bridge").await;
    assert!(near.get().await.is_none());
    assert!(far.get().await.is_some());
    assert_eq!(peering_of(&far).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_is_left_to_its_owner_is_asked_for_and_never_written() {
    let mut line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    let far = remote(&owner).await;
    let near = owner.network("dask-vnet");
    let mut manifest = line.manifest("guest", 0);
    manifest["spec"]["network"]["peerings"] =
        json!([{"remoteVirtualNetworkId": far.id(), "remote": "Leave"}]);
    line.forget_requests();
    line.apply(&manifest).await;
    let told = line
        .wait_for("guest", "the owner is asked", |cluster| {
            condition(cluster, "NetworkReady").starts_with("False PeeringPending: ")
        })
        .await;
    assert!(condition(&told, "NetworkReady").contains("az network vnet peering create"));
    assert_eq!(peering_writes(&line), ["PUT near"]);

    let body = json!({"properties": {
        "remoteVirtualNetwork": {"id": near.id()}, "allowVirtualNetworkAccess": true,
    }});
    far.child("virtualNetworkPeerings", "to-dask")
        .put(body)
        .await;
    line.restart_operator();
    line.wait_for("guest", "the peering is there", |cluster| {
        condition(cluster, "NetworkReady").starts_with("True Ready")
    })
    .await;
    line.delete("guest").await;
    line.wait_until_gone("guest").await;
    assert_eq!(
        peering_of(&far).await.unwrap()["name"],
        "to-dask",
        "it is theirs"
    );
}

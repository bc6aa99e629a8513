use serde_json::json;

use crate::harness::Line;
use crate::owner::Owner;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_and_network_of_somebody_else_are_used_and_never_written_or_deleted() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let before = line.azure.world();
    line.forget_requests();

    let mut manifest = line.manifest("guest", 1);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.remove("network");
    spec.insert(
        "compute".to_owned(),
        json!({"name": "shared-pool", "creationPolicy": "UseExisting"}),
    );
    line.apply(&manifest).await;
    line.wait_until_ready("guest").await;
    line.delete("guest").await;
    line.wait_until_gone("guest").await;

    let touched: Vec<_> = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.contains("/virtualNetworks/") || write.contains("/computes/"))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    let after = line.azure.world();
    assert_eq!(before["networks"], after["networks"]);
    assert_eq!(before["computes"][0]["tags"], after["computes"][0]["tags"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_made_in_a_network_of_somebody_else_and_goes_alone() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    let before = line.azure.world();
    line.forget_requests();

    let mut manifest = line.manifest("tenant", 1);
    manifest["spec"]["network"] = json!({
        "virtualNetwork": {"name": "shared-vnet"},
        "subnet": {"name": "default"},
        "creationPolicy": "UseExisting",
    });
    line.apply(&manifest).await;
    line.wait_until_ready("tenant").await;
    line.delete("tenant").await;
    line.wait_until_gone("tenant").await;

    let after = line.azure.world();
    assert_eq!(before["networks"], after["networks"]);
    assert_eq!(after["computes"], json!([]));
    let touched = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.contains("/virtualNetworks/"));
    assert_eq!(touched.count(), 0);
}

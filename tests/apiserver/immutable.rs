//! What may change later and what may not: each field changed, removed, set to null and, where
//! it is optional, added.

use serde_json::{Value, json};

use crate::manifest::{
    Edit, READER, REMOTE, edited, everything, existing_network, existing_pool, remove, set, story,
};
use crate::server::Server;

/// A change of the manifest with every field given, and the field that its refusal names.
pub(crate) struct Change {
    pub(crate) edit: Edit,
    field: &'static str,
}

/// Every field that must not change, with another value that is as good.
fn other_values() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "/spec/workspace/subscriptionId",
            "spec.workspace",
            json!("99999999-2222-3333-4444-555555555555"),
        ),
        (
            "/spec/workspace/resourceGroup",
            "spec.workspace",
            json!("rg-other"),
        ),
        ("/spec/workspace/name", "spec.workspace", json!("ws-other")),
        (
            "/spec/network/virtualNetwork/name",
            "spec.network",
            json!("other-vnet"),
        ),
        (
            "/spec/network/virtualNetwork/resourceGroup",
            "spec.network",
            json!("rg-other"),
        ),
        (
            "/spec/network/virtualNetwork/addressPrefix",
            "spec.network",
            json!("10.0.0.0/8"),
        ),
        ("/spec/network/subnet/name", "spec.network", json!("other")),
        (
            "/spec/network/subnet/addressPrefix",
            "spec.network",
            json!("10.20.5.0/24"),
        ),
        ("/spec/network/nodePublicIp", "spec.network", json!(true)),
        (
            "/spec/network/peerings/0/remote",
            "spec.network",
            json!("Create"),
        ),
        (
            "/spec/network/peerings",
            "spec.network",
            json!([{"remoteVirtualNetworkId": REMOTE.replace("aks-vnet", "hub"), "remote": "Leave"}]),
        ),
        (
            "/spec/network",
            "spec.network",
            json!({"virtualNetwork": {"name": "dask-vnet"}, "creationPolicy": "UseExisting"}),
        ),
        (
            "/spec/compute/name",
            "spec.compute.name",
            json!("other-cluster"),
        ),
        (
            "/spec/compute/vmSize",
            "spec.compute.vmSize",
            json!("STANDARD_D2_V2"),
        ),
        (
            "/spec/compute/identity",
            "spec.compute.identity",
            json!({"userAssigned": [READER.replace("reader", "writer")]}),
        ),
        (
            "/spec/compute/priority",
            "spec.compute.priority",
            json!("Dedicated"),
        ),
        (
            "/spec/scheduler/compute",
            "spec.scheduler.compute",
            json!({}),
        ),
        (
            "/spec/scheduler/compute/name",
            "spec.scheduler.compute",
            json!("other-head"),
        ),
        (
            "/spec/scheduler/compute/vmSize",
            "spec.scheduler.compute",
            json!("STANDARD_D2_V2"),
        ),
        (
            "/spec/compute",
            "spec.compute.creationPolicy",
            json!({"name": "ds13-cluster", "creationPolicy": "UseExisting"}),
        ),
        (
            "/spec/network/subnet",
            "spec.network",
            json!({"addressPrefix": "10.20.4.0/24"}),
        ),
    ]
}

/// Every change that is refused: each field another, removed and null. What is required is
/// refused as missing instead, and has no removal here.
pub(crate) fn changes() -> Vec<Change> {
    let required = ["/spec/workspace", "/spec/compute"];
    let mut changes = Vec::new();
    for (pointer, field, value) in other_values() {
        changes.push(Change {
            edit: set(pointer, value),
            field,
        });
        let is_required = required.contains(&pointer)
            || pointer.starts_with("/spec/workspace/")
            || pointer == "/spec/network/virtualNetwork/name";
        if !is_required {
            changes.push(Change {
                edit: remove(pointer),
                field,
            });
            changes.push(Change {
                edit: set(pointer, Value::Null),
                field,
            });
        }
    }
    changes
}

#[tokio::test]
async fn what_must_not_change_can_be_neither_changed_nor_removed_nor_set_to_null() {
    let server = Server::new().await;
    let stored = server.create(&everything()).await;
    let mut wrong = Vec::new();
    for Change { edit, field } in changes() {
        match server
            .try_replace(&edited(stored.clone(), std::slice::from_ref(&edit)))
            .await
        {
            Ok(_) => wrong.push(format!("taken: {edit:?}")),
            Err(words) => {
                let name = field.rsplit('.').next().unwrap_or_default();
                let says = format!("{field}: Forbidden: {name} cannot be changed: delete this");
                if !words.contains(&says) {
                    wrong.push(format!("{edit:?} does not say {says:?}:\n  {words}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_must_not_change_cannot_be_added_later() {
    let server = Server::new().await;
    let stored = server
        .create(&edited(
            story(),
            &[remove("/spec/datasets"), remove("/spec/compute/name")],
        ))
        .await;
    for (pointer, field, value) in [
        (
            "/spec/network/virtualNetwork/resourceGroup",
            "spec.network",
            json!("rg-other"),
        ),
        (
            "/spec/compute/name",
            "spec.compute.name",
            json!("ds13-cluster"),
        ),
        (
            "/spec/compute/identity",
            "spec.compute.identity",
            json!({"userAssigned": [READER]}),
        ),
        (
            "/spec/scheduler/compute",
            "spec.scheduler.compute",
            json!({}),
        ),
    ] {
        let words = server
            .try_replace(&edited(stored.clone(), &[set(pointer, value)]))
            .await
            .expect_err(pointer);
        assert!(
            words.contains(&format!("{field}: Forbidden")),
            "{pointer}: {words}"
        );
        assert!(words.contains("cannot be changed"), "{pointer}: {words}");
    }

    let on_existing = server.create(&existing_pool_named("existing")).await;
    let in_existing = server
        .create(&edited(
            existing_network(),
            &[set("/metadata/name", "network")],
        ))
        .await;
    for (stored, pointer, field) in [
        (&on_existing, "/spec/compute/creationPolicy", "spec.compute"),
        (&in_existing, "/spec/network/creationPolicy", "spec"),
    ] {
        for edit in [remove(pointer), set(pointer, Value::Null)] {
            let words = server
                .try_replace(&edited(stored.clone(), std::slice::from_ref(&edit)))
                .await
                .expect_err("the default is another value");
            let says = "cannot be changed: delete this DaskCluster";
            assert!(
                words.contains(field) && words.contains(says),
                "{edit:?}: {words}"
            );
        }
    }
    let words = server
        .try_replace(&edited(
            on_existing,
            &[set("/spec/network", story()["spec"]["network"].clone())],
        ))
        .await
        .expect_err("a network cannot be added");
    assert!(
        words.contains("spec.network: Forbidden: network cannot be changed"),
        "{words}"
    );
}

fn existing_pool_named(name: &str) -> Value {
    edited(existing_pool(), &[set("/metadata/name", name)])
}

#[tokio::test]
async fn what_may_change_can_be_changed_added_removed_and_set_to_null() {
    let server = Server::new().await;
    let fixed = edited(
        everything(),
        &[
            remove("/spec/autoscaling"),
            remove("/spec/scheduler/compute"),
        ],
    );
    let stored = server.create(&fixed).await;
    for edit in [
        set("/spec/worker/replicas", 0),
        set("/spec/worker/replicas", 49),
        remove("/spec/worker/replicas"),
        set("/spec/worker/replicas", Value::Null),
        set("/spec/compute/minNodes", 0),
        remove("/spec/compute/minNodes"),
        set("/spec/compute/maxNodes", 100),
        set("/spec/compute/maxNodes", Value::Null),
        set("/spec/compute/idleSecondsBeforeScaleDown", 60),
        remove("/spec/compute/idleSecondsBeforeScaleDown"),
        set("/spec/credentialsSecretName", "other"),
        remove("/spec/credentialsSecretName"),
        set("/spec/credentialsSecretName", Value::Null),
        set("/spec/environment/image", "ghcr.io/dask/dask:2025.2.0"),
        set("/spec/environment", json!({"name": "dask", "version": "1"})),
        remove("/spec/environment"),
        set("/spec/datasets/0/version", "2"),
        set("/spec/datasets/0/path", "/mnt/other"),
        set("/spec/datasets", json!([])),
        remove("/spec/datasets"),
        set("/spec/experimentName", "other"),
        set("/spec/scheduler/runWorker", true),
        set("/spec/scheduler/jupyter", false),
        set("/spec/scheduler/startTimeoutSeconds", 901),
        set("/spec/scheduler/env/0/value", "2000"),
        remove("/spec/scheduler/env"),
        remove("/spec/scheduler"),
        set("/spec/worker/threads", 9),
        remove("/spec/worker/threads"),
        set("/spec/worker/memoryLimit", "49Gi"),
        set("/spec/worker/env/0/value", "2"),
        set("/spec/worker/startTimeoutSeconds", 60),
        set("/spec/worker/scaleDownGraceSeconds", 0),
        set("/spec/tags/team", "other"),
        set("/spec/tags", json!({})),
        set(
            "/spec/autoscaling",
            json!({"minReplicas": 2, "maxReplicas": 40}),
        ),
        set("/spec/suspend", false),
        remove("/spec/idleAction"),
        set("/spec/maxLifetimeSeconds", 300),
        set("/spec/budget/maxPerHour", 13),
        remove("/spec/budget"),
        remove("/spec/updatePolicy"),
        set("/spec/deletionPolicy", "Delete"),
        set("/spec/driftPolicy", "Correct"),
        remove("/spec/driftPolicy"),
        set("/spec/network/creationPolicy", "Adopt"),
        remove("/spec/deletionPolicy"),
    ] {
        if let Err(words) = server
            .try_replace(&edited(stored.clone(), std::slice::from_ref(&edit)))
            .await
        {
            panic!("{edit:?} is refused: {words}");
        }
    }
    let both_taken_over = edited(
        stored,
        &[
            set("/spec/network/creationPolicy", "Adopt"),
            set("/spec/compute/creationPolicy", "Adopt"),
        ],
    );
    let stored = server
        .try_replace(&both_taken_over)
        .await
        .expect("what was to be made can be taken over");
    server
        .try_replace(&edited(
            stored,
            &[set("/spec/compute/creationPolicy", "Create")],
        ))
        .await
        .expect("and the other way round");
    let without_secret = edited(
        story(),
        &[
            set("/metadata/name", "without-secret"),
            remove("/spec/credentialsSecretName"),
        ],
    );
    let stored = server.create(&without_secret).await;
    server
        .try_replace(&edited(
            stored,
            &[set("/spec/credentialsSecretName", "azure-credentials")],
        ))
        .await
        .expect("a Secret can be named later");
}

#[tokio::test]
async fn an_empty_list_or_map_is_the_same_as_none() {
    let server = Server::new().await;
    let bare = edited(story(), &[remove("/spec/datasets")]);
    let empty = [
        set("/spec/network/peerings", json!([])),
        set("/spec/datasets", json!([])),
        set("/spec/scheduler/env", json!([])),
        set("/spec/worker/env", json!([])),
        set("/spec/tags", json!({})),
    ];
    let stored = server.create(&bare).await;
    server
        .try_replace(&edited(stored, &empty))
        .await
        .expect("empty lists can be added");
    let with_empty = edited(edited(bare, &empty), &[set("/metadata/name", "with-empty")]);
    let mut stored = server.create(&with_empty).await;
    for pointer in [
        "/spec/network/peerings",
        "/spec/datasets",
        "/spec/scheduler/env",
        "/spec/worker/env",
        "/spec/tags",
    ] {
        stored = edited(stored, &[remove(pointer)]);
    }
    server
        .try_replace(&stored)
        .await
        .expect("empty lists can be removed");
}

#[tokio::test]
async fn limits_and_replicas_stay_within_each_other_when_they_change() {
    let server = Server::new().await;
    let beside = edited(everything(), &[remove("/spec/scheduler/compute")]);
    let stored = server.create(&beside).await;
    for (edit, says) in [
        (
            set("/spec/worker/replicas", 50),
            "lower worker.replicas or raise compute.maxNodes",
        ),
        (
            set("/spec/compute/maxNodes", 39),
            "lower worker.replicas or raise compute.maxNodes",
        ),
        (
            set("/spec/compute/minNodes", 51),
            "minNodes must not be greater than maxNodes",
        ),
    ] {
        let words = server
            .try_replace(&edited(stored.clone(), std::slice::from_ref(&edit)))
            .await
            .expect_err("out of the limits");
        assert!(words.contains(says), "{edit:?}: {words}");
    }
}

#[tokio::test]
async fn the_order_of_a_keyed_list_is_no_change() {
    let server = Server::new().await;
    let datasets = json!([
        {"name": "one", "version": "1", "type": "UriFolder", "mode": "Mount"},
        {"name": "two", "version": "1", "type": "UriFolder", "mode": "Mount"},
    ]);
    let turned = json!([datasets[1], datasets[0]]);
    let stored = server
        .create(&edited(story(), &[set("/spec/datasets", datasets)]))
        .await;
    server
        .try_replace(&edited(stored, &[set("/spec/datasets", turned)]))
        .await
        .expect("the order says nothing");
}

#[tokio::test]
async fn an_autoscaled_cluster_is_not_scaled_by_hand_until_its_autoscaling_is_changed_or_removed() {
    let server = Server::new().await;
    let stored = server.create(&everything()).await;
    let by_hand = set("/spec/worker/replicas", 20);
    let words = server
        .try_replace(&edited(stored.clone(), std::slice::from_ref(&by_hand)))
        .await
        .expect_err("the autoscaler says how many");
    assert!(
        words.contains(
            "spec.worker.replicas: Forbidden: worker.replicas does nothing while autoscaling is set"
        ),
        "{words}"
    );
    for change in [
        set("/spec/autoscaling/minReplicas", 20),
        remove("/spec/autoscaling"),
    ] {
        let edits = [change, by_hand.clone()];
        if let Err(words) = server.try_replace(&edited(stored.clone(), &edits)).await {
            panic!("{edits:?} is refused: {words}");
        }
    }
}

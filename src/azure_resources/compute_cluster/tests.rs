use serde_json::{Value, json};

use super::*;

fn want() -> Want {
    Want {
        location: "eastus".into(),
        tags: Tags::from([("dask-azureml-owner".into(), "u1".into())]),
        identity: None,
        properties: OuterWant {
            compute_type: "AmlCompute",
            description: "Dask cluster weather/noaa-isd".into(),
            properties: InnerWant {
                vm_size: "STANDARD_DS13_V2".into(),
                vm_priority: "Dedicated",
                os_type: "Linux",
                scale_settings: ScaleSettings {
                    min_node_count: Some(0),
                    max_node_count: Some(100),
                    node_idle_time_before_scale_down: Some("PT120S".into()),
                },
                subnet: SubnetReference {
                    id: "/subscriptions/s/x/subnets/default".into(),
                },
                enable_node_public_ip: true,
                remote_login_port_public_access: "Disabled",
            },
        },
    }
}

/// The shape of the recorded GET, a pool in its network.
fn have(change: impl FnOnce(&mut Value)) -> Have {
    let mut body = json!({
        "tags": {"dask-azureml-owner": "u1"},
        "properties": {
            "computeType": "AmlCompute",
            "provisioningState": "Succeeded",
            "provisioningErrors": null,
            "provisioningWarnings": {},
            "properties": {
                "vmSize": "STANDARD_DS13_V2",
                "vmPriority": "Dedicated",
                "scaleSettings": {"maxNodeCount": 100, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                "subnet": {"id": "/subscriptions/s/X/subnets/default"},
                "currentNodeCount": 0,
                "targetNodeCount": 0,
                "nodeStateCounts": {"preparingNodeCount": 0, "runningNodeCount": 0, "idleNodeCount": 0, "unusableNodeCount": 0, "leavingNodeCount": 0, "preemptedNodeCount": 0},
                "allocationState": "Steady",
                "errors": null,
                "remoteLoginPortPublicAccess": "Disabled",
                "propertyBag": {}
            }
        }
    });
    change(&mut body);
    serde_json::from_value(body).unwrap()
}

fn set(pointer: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |body| *body.pointer_mut(pointer).unwrap() = value
}

#[test]
fn a_pool_as_azure_echoes_it_shows_no_drift() {
    assert_eq!(ComputeCluster::drift(&want(), &have(|_| {})), Drift::None);
}

#[test]
fn changed_limits_are_patched_with_the_doubled_nesting() {
    let have = have(set(
        "/properties/properties/scaleSettings/maxNodeCount",
        json!(8),
    ));
    assert_eq!(
        ComputeCluster::drift(&want(), &have),
        Drift::Update {
            fields: vec!["properties.properties.scaleSettings.maxNodeCount".into()],
            change: Change::Patch(json!({"properties": {"properties": {"scaleSettings": {
                "minNodeCount": 0, "maxNodeCount": 100, "nodeIdleTimeBeforeScaleDown": "PT120S"}}}})),
        }
    );
}

#[test]
fn a_tag_is_mended_by_put_which_keeps_the_tags_of_others() {
    let have = have(set("/tags", json!({"cost": "7"})));
    let Drift::Update {
        fields,
        change: Change::Put(body),
    } = ComputeCluster::drift(&want(), &have)
    else {
        unreachable!("a missing tag is a drift")
    };
    assert_eq!(fields, ["tags.dask-azureml-owner"]);
    assert_eq!(
        body["tags"],
        json!({"cost": "7", "dask-azureml-owner": "u1"})
    );
}

const READER: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader";
const OTHER: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other";

fn reading() -> Want {
    Want {
        identity: Identities::of([READER.to_owned()], false),
        ..want()
    }
}

fn identified(identity: Value) -> Have {
    have(|body| body["identity"] = identity)
}

#[test]
fn an_identity_as_azure_echoes_it_shows_no_drift_and_neither_do_those_of_others() {
    let ids = json!({"principalId": "p", "clientId": "c"});
    let echoed = READER.replace("resourceGroups", "resourcegroups");
    let one = json!({"type": "UserAssigned", "userAssignedIdentities": {echoed: ids}});
    let mut both = one.clone();
    both["type"] = json!("SystemAssigned, UserAssigned");
    both["userAssignedIdentities"][OTHER] = ids;
    for (want, identity) in [
        (reading(), one.clone()),
        (reading(), both),
        (want(), one),
        (want(), json!({"type": "None"})),
        (want(), Value::Null),
    ] {
        assert_eq!(
            ComputeCluster::drift(&want, &identified(identity)),
            Drift::None
        );
    }
}

#[test]
fn an_identity_that_was_taken_from_the_pool_is_put_back_beside_those_of_others() {
    let nothing = json!({"type": "UserAssigned", "userAssignedIdentities": {READER: {}}});
    for (identity, expected) in [
        (Value::Null, nothing),
        (
            json!({"type": "SystemAssigned,UserAssigned", "principalId": "p", "userAssignedIdentities": {OTHER: {"clientId": "c"}}}),
            json!({"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {READER: {}, OTHER: {}}}),
        ),
    ] {
        let Drift::Update {
            fields,
            change: Change::Put(body),
        } = ComputeCluster::drift(&reading(), &identified(identity))
        else {
            unreachable!("a missing identity is a drift")
        };
        assert_eq!(fields, ["identity.userAssignedIdentities"]);
        assert_eq!(body["identity"], expected);
    }
    let theirs = json!({"type": "SystemAssigned", "principalId": "p"});
    let Drift::Update {
        change: Change::Put(body),
        ..
    } = ComputeCluster::drift(
        &want(),
        &have(|body| {
            body["identity"] = theirs;
            body["tags"] = Value::Null;
        }),
    )
    else {
        unreachable!("a missing tag is a drift")
    };
    assert_eq!(body["identity"], json!({"type": "SystemAssigned"}));
}

#[test]
fn what_azure_cannot_change_is_told_and_not_written() {
    let have = have(set(
        "/properties/properties/vmSize",
        json!("STANDARD_DS3_V2"),
    ));
    assert_eq!(
        ComputeCluster::drift(&want(), &have),
        Drift::Replace {
            fields: vec!["properties.properties.vmSize".into()]
        }
    );
}

#[test]
fn health_names_the_cause_in_azures_own_words() {
    for (pool, expected) in [
        (have(|_| {}), Health::Ready),
        (
            have(set("/properties/provisioningState", json!("Creating"))),
            Health::Settling("the pool is Creating".into()),
        ),
        (
            have(|body| {
                body["properties"]["provisioningState"] = json!("Failed");
                body["properties"]["provisioningErrors"] = json!([{"error": {"code": "ClusterMinNodesExceedCoreQuota", "message": "quota of 6"}}]);
            }),
            Health::Failed {
                reason: Reason::QuotaExceeded,
                message: "the pool failed to provision: ClusterMinNodesExceedCoreQuota: quota of 6"
                    .into(),
            },
        ),
    ] {
        assert_eq!(ComputeCluster::health(&pool), expected);
    }
    for (pool, expected) in [
        (
            have(set("/properties/properties/subnet", Value::Null)),
            Reason::NoSubnet,
        ),
        (
            have(set("/properties/computeType", json!("ComputeInstance"))),
            Reason::PoolNotFound,
        ),
    ] {
        assert!(
            matches!(ComputeCluster::health(&pool), Health::Unfit { reason, .. } if reason == expected)
        );
    }
}

#[test]
fn what_stays_behind_is_written_back_without_what_is_read_only() {
    let mut properties = json!({
        "computeType": "AmlCompute", "provisioningState": "Succeeded", "createdOn": "x", "description": null,
        "properties": {"vmSize": "A", "currentNodeCount": 0, "errors": null, "subnet": null},
    });
    ComputeCluster::writable(&mut properties);
    assert_eq!(
        properties,
        json!({"computeType": "AmlCompute", "properties": {"vmSize": "A"}})
    );
}

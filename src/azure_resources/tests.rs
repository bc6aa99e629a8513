//! What every row of [`KINDS`] is held to, a new one as well.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::lookup::Lookup;
use crate::reconcile::CONNECTION;
use crate::reconcile::fixtures::{REMOTE, World};

/// A cluster that has everything there is to ask for, before any of it is made.
fn demanding() -> World {
    World::empty(|spec| {
        spec["tags"] = json!({"team": "climate"});
        spec["scheduler"]["compute"] = json!({});
        spec["network"]["peerings"] = json!([{"remoteVirtualNetworkId": REMOTE}]);
        spec["datasets"] = json!([
            {"name": "folder", "type": "UriFolder", "uri": "abfss://c@a.dfs.core.windows.net/x/"},
            {"name": "file", "type": "UriFile", "uri": "azureml://datastores/d/paths/f", "mode": "Download"},
            {"name": "table", "type": "MLTable", "uri": "https://a.blob.core.windows.net/t/", "version": "2"},
        ]);
        spec["environment"] =
            json!({"image": "ghcr.io/dask/dask:2026.8.0", "condaFile": "dependencies: []"});
    })
}

/// Changes every object of a body but those whose keys are the user's own.
fn every_object(value: &mut Value, change: fn(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter_mut() {
                if !["tags", "environmentVariables", "inputs"].contains(&name.as_str()) {
                    every_object(inner, change);
                }
            }
            change(fields);
        }
        Value::Array(items) => {
            for item in items {
                every_object(item, change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn every_text(value: &mut Value, change: fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for inner in fields.values_mut() {
                every_text(inner, change);
            }
        }
        Value::Array(items) => {
            for item in items {
                every_text(item, change);
            }
        }
        Value::String(text) => *text = change(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn as_it_was_sent(body: Value) -> Value {
    body
}

/// What ARM puts around a body, what the services add to it, and their nulls for what was left out (contract sections
/// 6, 7, 8 and 11).
fn with_additions_and_nulls(mut body: Value) -> Value {
    every_object(&mut body, |fields| {
        for name in [
            "description",
            "errors",
            "provisioningErrors",
            "addressPrefixes",
            "identity",
        ] {
            fields.entry(name).or_insert(Value::Null);
        }
        fields.insert("aFieldThatIsNew".into(), json!({"deep": [1, null]}));
    });
    let around = json!({
        "id": "/subscriptions/s/resourceGroups/g/providers/x/y/z",
        "name": "z",
        "type": "Microsoft.X/y",
        "etag": "W/\"1\"",
        "sku": null,
        "systemData": {"createdAt": "2026-01-01T11:45:00.1234567+00:00", "createdByType": "Application"},
    });
    for (name, value) in around.as_object().unwrap() {
        body[name] = value.clone();
    }
    body["properties"]["provisioningState"] = json!("Succeeded");
    body["properties"]["resourceGuid"] = json!("00000000-0000-0000-0000-000000000001");
    body["properties"]["subnets"] =
        json!([{"name": "default", "properties": {"addressPrefix": "10.20.0.0/22"}}]);
    body
}

/// Azure compares ids, sizes and names of tags without case, and answers in one of its own.
fn in_another_case(mut body: Value) -> Value {
    every_text(&mut body, |text| {
        let is_id_or_size = text.starts_with("/subscriptions/") || text.starts_with("STANDARD_");
        if is_id_or_size {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    });
    if let Some(tags) = body.get_mut("tags").and_then(Value::as_object_mut) {
        let held = std::mem::take(tags);
        tags.extend(
            held.into_iter()
                .map(|(name, value)| (name.to_uppercase(), value)),
        );
    }
    body
}

/// The same length of time in other units.
fn with_durations_rewritten(mut body: Value) -> Value {
    every_text(&mut body, |text| {
        if text == "PT120S" { "PT2M" } else { text }.to_owned()
    });
    body
}

/// A subnet that was made with one prefix may be answered with a list of one.
fn with_prefixes_as_a_list(mut body: Value) -> Value {
    if let Some(prefix) = body["properties"]
        .as_object_mut()
        .and_then(|properties| properties.remove("addressPrefix"))
    {
        body["properties"]["addressPrefixes"] = json!([prefix]);
    }
    body
}

fn with_tags_of_others(mut body: Value) -> Value {
    if let Some(tags) = body.get_mut("tags").and_then(Value::as_object_mut) {
        tags.insert("hidden-link:/x".into(), json!("Resource"));
    }
    body
}

fn with_nothing(_: Value) -> Value {
    json!({})
}

fn with_everything_changed(mut body: Value) -> Value {
    every_text(&mut body, |text| format!("{text}x"));
    body
}

fn drifts(world: &World, kind: &Registration, echo: Echo) -> Vec<String> {
    world.scene(|scene, _| (kind.drift_of_echo)(scene, echo))
}

#[test]
fn what_we_ask_for_shows_no_drift_against_what_azure_answers_to_it() {
    let echoes: [(&str, Echo); 6] = [
        ("as it was sent", as_it_was_sent),
        ("additions and nulls", with_additions_and_nulls),
        ("another case", in_another_case),
        ("durations", with_durations_rewritten),
        ("prefixes as a list", with_prefixes_as_a_list),
        ("tags of others", with_tags_of_others),
    ];
    for world in [demanding(), World::empty(|_| {})] {
        for kind in KINDS {
            for (what, echo) in echoes {
                let drift = drifts(&world, kind, echo);
                assert_eq!(drift, [""; 0], "{} {what}", kind.name);
            }
        }
    }
}

#[test]
fn an_answer_that_lacks_everything_cannot_be_read_for_any_kind() {
    for kind in KINDS {
        let told = drifts(&demanding(), kind, with_nothing);
        assert!(
            told.iter().any(|drift| drift.contains("properties")),
            "{} is compared with nothing: {told:?}",
            kind.name
        );
    }
}

#[test]
fn an_answer_in_which_every_text_differs_is_a_drift_for_every_kind_but_jobs() {
    for kind in KINDS {
        let told = drifts(&demanding(), kind, with_everything_changed);
        assert_eq!(told.is_empty(), kind.name == "Job", "{}", kind.name);
    }
}

/// What Azure answers for what the running cluster has, recorded shapes with the values of the fixtures.
fn answers(world: &World) -> Vec<(&'static str, ResourceId, Value)> {
    let cluster = world.cluster();
    let place = &cluster.place;
    let network = place.network.clone().unwrap();
    let tags = crate::reconcile::fixtures::our_tags();
    let system_data = json!({
        "createdAt": "2026-01-01T11:40:51.9013157+00:00", "createdBy": "op", "createdByType": "Application",
        "lastModifiedAt": "2026-01-01T11:40:51.9013157+00:00",
    });
    let job = place
        .workspace
        .child("jobs", &world.job_id("head-1"))
        .unwrap();
    vec![
        (
            "VirtualNetwork",
            network.virtual_network.clone(),
            json!({
                "id": network.virtual_network.to_string(), "name": "dask-vnet",
                "type": "Microsoft.Network/virtualNetworks", "etag": "W/\"2\"", "location": "eastus", "tags": tags,
                "properties": {
                    "provisioningState": "Succeeded", "resourceGuid": "00000000-0000-0000-0000-000000000001",
                    "addressSpace": {"addressPrefixes": ["10.20.0.0/16"]}, "enableDdosProtection": false,
                    "subnets": [{"id": network.subnet.to_string(), "name": "default", "etag": "W/\"2\"",
                        "properties": {"provisioningState": "Succeeded", "addressPrefix": "10.20.0.0/22"}}],
                    "virtualNetworkPeerings": [], "dhcpOptions": null,
                },
            }),
        ),
        (
            "Subnet",
            network.subnet.clone(),
            json!({
                "id": network.subnet.to_string(), "name": "default", "etag": "W/\"2\"",
                "type": "Microsoft.Network/virtualNetworks/subnets",
                "properties": {
                    "provisioningState": "Succeeded", "addressPrefix": "10.20.0.0/22",
                    "ipConfigurations": [{"id": "/subscriptions/s/x"}], "delegations": [],
                    "privateEndpointNetworkPolicies": "Disabled", "networkSecurityGroup": null,
                },
            }),
        ),
        (
            "VirtualNetworkPeering",
            network.peerings[0].near.clone(),
            json!({
                "id": network.peerings[0].near.to_string(), "name": network.peerings[0].near.name(),
                "type": "Microsoft.Network/virtualNetworks/virtualNetworkPeerings", "etag": "W/\"2\"",
                "properties": {
                    "provisioningState": "Succeeded", "peeringState": "Connected", "peeringSyncLevel": "FullyInSync",
                    "resourceGuid": "00000000-0000-0000-0000-000000000003",
                    "remoteVirtualNetwork": {"id": REMOTE.to_uppercase()}, "allowVirtualNetworkAccess": true,
                    "allowForwardedTraffic": false, "allowGatewayTransit": false, "useRemoteGateways": false,
                    "remoteAddressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
                    "remoteVirtualNetworkAddressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "remoteGateways": null,
                },
            }),
        ),
        (
            "ComputeCluster",
            place.compute.clone(),
            json!({
                "id": place.compute.to_string(), "name": "ds13-cluster", "location": "eastus", "tags": tags,
                "type": "Microsoft.MachineLearningServices/workspaces/computes", "identity": null, "sku": null,
                "systemData": system_data,
                "properties": {
                    "createdOn": "2026-01-01T11:40:51.9013157+00:00", "modifiedOn": null, "disableLocalAuth": false,
                    "description": null, "resourceId": null, "computeType": "AmlCompute", "computeLocation": "eastus",
                    "provisioningState": "Succeeded", "provisioningErrors": null, "provisioningWarnings": {},
                    "isAttachedCompute": false,
                    "properties": {
                        "vmSize": "STANDARD_DS13_V2", "vmPriority": "Dedicated", "osType": "Linux",
                        "scaleSettings": {"maxNodeCount": 100, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                        "subnet": {"id": network.subnet.to_string().to_lowercase()}, "currentNodeCount": 3,
                        "targetNodeCount": 3, "nodeStateCounts": {"preparingNodeCount": 0, "runningNodeCount": 3,
                            "idleNodeCount": 0, "unusableNodeCount": 0, "leavingNodeCount": 0, "preemptedNodeCount": 0},
                        "allocationState": "Steady", "allocationStateTransitionTime": "2026-01-01T11:45:00+00:00",
                        "errors": null, "remoteLoginPortPublicAccess": "Disabled", "userAccountCredentials": null,
                        "virtualMachineImage": null, "propertyBag": {}, "enableNodePublicIp": null,
                    },
                },
            }),
        ),
        (
            "DataAsset",
            cluster.datasets[0].id.clone(),
            json!({
                "id": cluster.datasets[0].id.to_string(), "name": "1", "systemData": system_data,
                "type": "Microsoft.MachineLearningServices/workspaces/data/versions",
                "properties": {
                    "description": null, "tags": {}, "properties": {}, "isArchived": false, "isAnonymous": false,
                    "dataType": "uri_folder", "dataUri": cluster.datasets[0].uri, "referencedUris": null,
                },
            }),
        ),
        (
            "Environment",
            cluster.environment.id.clone(),
            json!({
                "id": cluster.environment.id.to_string(), "name": "1", "systemData": system_data,
                "type": "Microsoft.MachineLearningServices/workspaces/environments/versions",
                "properties": {
                    "description": null, "tags": {}, "properties": {"azureml.labels": "latest"}, "isArchived": false,
                    "isAnonymous": false, "environmentType": "UserCreated", "build": null,
                    "image": "mcr.microsoft.com/azureml/base:1", "condaFile": "{\n  \"dependencies\": []\n}",
                    "osType": "Linux", "inferenceConfig": null, "autoRebuild": null,
                },
            }),
        ),
        (
            "Job",
            job.clone(),
            json!({
                "id": job.to_string(), "name": world.job_id("head-1"), "systemData": system_data,
                "type": "Microsoft.MachineLearningServices/workspaces/jobs",
                "properties": {
                    "description": null, "status": "Running", "jobType": "Command", "displayName": "noaa-isd head",
                    "experimentName": "dask", "isArchived": false, "identity": null, "componentId": null,
                    "tags": {"dask-azureml-owner": crate::reconcile::fixtures::UID, "scheduler": "tcp://10.20.0.4:8786",
                        "dashboard": "http://10.20.0.4:8787",
                        "_aml_system_ComputeTargetStatus": "{\"AllocationState\":\"steady\"}"},
                    "properties": {"_azureml.ComputeTargetType": "amlctrain", "StartTimeUtc": "2026-01-01 11:50:00",
                        "EndTimeUtc": null, "ContentSnapshotId": null},
                    "services": {
                        "Tracking": {"jobServiceType": "Tracking", "endpoint": "azureml://eastus.api.azureml.ms/x?",
                            "port": null, "status": null, "errorMessage": null, "properties": null},
                        "Studio": {"jobServiceType": "Studio", "endpoint": "https://ml.azure.com/runs/x"},
                        "Gone": null,
                    },
                    "computeId": place.compute.to_string(), "codeId": null, "command": "x", "parameters": {},
                    "environmentId": cluster.environment.id.to_string(), "environmentVariables": {}, "limits": null,
                    "distribution": null, "resources": {"instanceCount": 1, "shmSize": "2g", "properties": {}},
                    "outputs": {"default": {"uri": null, "mode": "ReadWriteMount", "jobOutputType": "uri_folder"}},
                },
            }),
        ),
    ]
}

#[test]
fn a_running_cluster_stays_settled_whatever_azure_adds_to_its_answers() {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        spec["network"]["peerings"] =
            json!([{"remoteVirtualNetworkId": REMOTE, "remote": "Leave"}]);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"]);
    assert!(world.plan().is_settled(), "{}", world.plan());
    let answers = answers(&world);
    let kinds: Vec<_> = answers.iter().map(|(kind, ..)| *kind).collect();
    let named: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(kinds, named, "a body for every kind");
    let answered = answers
        .into_iter()
        .fold(world, |world, (_, id, body)| world.found(id, body));
    assert!(answered.plan().is_settled(), "{}", answered.plan());
    let facts = &answered.observed.lineup(answered.place(), 1).unwrap().jobs;
    let head = facts.values().next().unwrap();
    assert_eq!(
        head.studio_url.as_deref(),
        Some("https://ml.azure.com/runs/x")
    );
    assert!(head.started_at.is_some() && head.created_at.is_some());
}

#[test]
fn a_body_that_cannot_be_read_is_told_and_nothing_is_written_over_it() {
    let world = World::provisioned(|_| {});
    for (kind, id) in [
        (
            "VirtualNetwork",
            world.place().network.clone().unwrap().virtual_network,
        ),
        ("ComputeCluster", world.place().compute.clone()),
        ("Environment", world.cluster().environment.id.clone()),
    ] {
        let body = json!({"tags": crate::reconcile::fixtures::our_tags(), "properties": "none"});
        let plan = world.clone().found(id, body).plan().to_string();
        assert!(plan.contains("cannot be read"), "{kind}: {plan}");
        assert!(!plan.contains(&format!("PUT {kind}")), "{kind}: {plan}");
    }
}

#[test]
fn each_kind_has_a_name_and_a_type_of_its_own() {
    let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
    let types: BTreeSet<_> = KINDS
        .iter()
        .map(|kind| kind.resource_type.to_lowercase())
        .collect();
    assert_eq!((names.len(), types.len()), (KINDS.len(), KINDS.len()));
}

#[test]
fn each_kind_comes_after_what_it_waits_for() {
    let mut earlier = BTreeSet::from([CONNECTION]);
    for kind in KINDS {
        for before in kind.after {
            assert!(earlier.contains(before), "{} waits for {before}", kind.name);
        }
        earlier.insert(kind.name);
    }
}

#[test]
fn the_ids_that_are_looked_at_and_left_are_of_the_kinds_own_type() {
    let world = demanding();
    for kind in KINDS {
        let looked_at = world.scene(|scene, _| (kind.look_at)(scene));
        for id in looked_at.iter().chain(&(kind.places)(world.place())) {
            let type_ = id.resource_type();
            assert!(type_.eq_ignore_ascii_case(kind.resource_type), "{id}");
        }
        let leaves = matches!(
            kind.leaving,
            LeavingRule::Delete | LeavingRule::DeleteWithParent | LeavingRule::DeleteByName
        );
        let places = (kind.places)(world.place());
        assert_eq!(!places.is_empty(), leaves, "{}", kind.name);
        assert!(
            places.iter().all(|id| looked_at.contains(id)),
            "what is left is what was made: {}",
            kind.name
        );
    }
}

#[test]
fn nothing_is_written_that_was_not_looked_at() {
    let world = demanding();
    let blind = world.clone().with(|observed| {
        for found in observed.resources.values_mut() {
            *found = Lookup::NotAsked;
        }
    });
    let plan = blind.plan();
    assert!(
        plan.steps.iter().all(|step| !step.action.writes_azure()),
        "{plan}"
    );
}

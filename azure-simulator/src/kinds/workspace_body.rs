//! The body of a workspace: what a PUT or PATCH may say, and what the server makes of it (contract
//! section 5; fields by the OpenAPI).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::arm::error::ArmError;
use crate::azure::Settings;
use crate::kinds::body_checks::{checked_tags, location_of, only_known};
use crate::kinds::workspace::{TYPE, guid_of};
use crate::resource_id::ResourceId;
use crate::storage::account::Account;

/// What a PATCH may change.
const CHANGEABLE: [&str; 10] = [
    "description",
    "friendlyName",
    "imageBuildCompute",
    "publicNetworkAccess",
    "applicationInsights",
    "containerRegistry",
    "managedNetwork",
    "enableDataIsolation",
    "v1LegacyMode",
    "systemDatastoresAuthMode",
];
/// What is chosen when a workspace is made, by a PUT alone.
const CHOSEN: [&str; 6] = [
    "keyVault",
    "storageAccount",
    "hbiWorkspace",
    "allowPublicAccessWhenBehindVnet",
    "encryption",
    "sharedPrivateLinkResources",
];
/// By the OpenAPI they "cannot be changed once the workspace has been created".
const IMMUTABLE: [&str; 2] = ["keyVault", "storageAccount"];
/// What stays where a PUT leaves it out.
const KEPT: [&str; 5] = [
    "keyVault",
    "storageAccount",
    "applicationInsights",
    "containerRegistry",
    "managedNetwork",
];
/// What a GET shows and nobody sets; it may come back.
const READ_ONLY: [&str; 10] = [
    "workspaceId",
    "discoveryUrl",
    "provisioningState",
    "serviceProvisionedResourceGroup",
    "privateLinkCount",
    "privateEndpointConnections",
    "notebookInfo",
    "tenantId",
    "storageHnsEnabled",
    "mlFlowTrackingUri",
];
const WORDS: [(&str, &[&str]); 2] = [
    ("publicNetworkAccess", &["Enabled", "Disabled"]),
    (
        "systemDatastoresAuthMode",
        &["AccessKey", "Identity", "UserDelegationSAS"],
    ),
];
const ISOLATION_MODES: [&str; 3] = [
    "Disabled",
    "AllowInternetOutbound",
    "AllowOnlyApprovedOutbound",
];

/// A new workspace that nobody has said anything about.
pub(super) fn initial(settings: &Settings, id: &ResourceId) -> Value {
    let world = &settings.world;
    let guid = guid_of(id);
    let short = &guid.simple().to_string()[..10];
    let group = format!(
        "/subscriptions/{}/resourceGroups/{}/providers",
        world.subscription_id,
        id.resource_group.as_deref().unwrap_or_default(),
    );
    json!({
        "id": id.to_string(),
        "name": id.name(),
        "type": TYPE,
        "location": world.location,
        "tags": {},
        "etag": null,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {
            "type": "SystemAssigned",
            "principalId": Uuid::new_v5(&guid, b"principal"),
            "tenantId": world.tenant_id,
        },
        "properties": {
            "workspaceId": guid,
            "friendlyName": id.name(),
            "description": "",
            "storageAccount": Account::of(id).arm_id(),
            "keyVault": format!("{group}/Microsoft.KeyVault/vaults/kv{short}"),
            "applicationInsights": format!("{group}/microsoft.insights/components/ai{short}"),
            "containerRegistry": null,
            "discoveryUrl": format!("{}/discovery", settings.base_url()),
            "mlFlowTrackingUri": format!("azureml://{}/mlflow/v1.0{id}", settings.authority),
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": false,
            "imageBuildCompute": null,
            "tenantId": world.tenant_id,
            "v1LegacyMode": false,
            "privateLinkCount": 0,
            "allowPublicAccessWhenBehindVnet": false,
            "managedNetwork": managed_network(id, "Disabled"),
            "systemDatastoresAuthMode": "AccessKey",
        },
    })
}

pub(super) fn managed_network(id: &ResourceId, mode: &str) -> Value {
    let managed = mode != "Disabled";
    json!({
        "isolationMode": mode,
        "status": {"status": if managed { "Active" } else { "Inactive" }, "sparkReady": false},
        "networkId": if managed { Some(Uuid::new_v5(&guid_of(id), b"network")) } else { None },
        "outboundRules": {},
    })
}

/// The body of a workspace that a PUT makes.
pub(super) fn made(settings: &Settings, id: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    check_name(id.name())?;
    check_put(settings, given)?;
    let mut body = initial(settings, id);
    set(settings, id, &mut body, given)?;
    Ok(body)
}

/// The body of a workspace that a PUT overwrites.
pub(super) fn overwritten(
    settings: &Settings,
    id: &ResourceId,
    given: &Value,
    stored: &Value,
) -> Result<Value, ArmError> {
    check_put(settings, given)?;
    for field in IMMUTABLE {
        let (wanted, own) = (&given["properties"][field], &stored["properties"][field]);
        if !wanted.is_null() && wanted != own {
            return Err(ArmError::bad_request(format!(
                "The {field} of the workspace '{}' cannot be changed once the workspace has been \
                 created.",
                id.name()
            )));
        }
    }
    let mut body = initial(settings, id);
    for field in KEPT {
        body["properties"][field] = stored["properties"][field].clone();
    }
    body["identity"] = stored["identity"].clone();
    set(settings, id, &mut body, given)?;
    Ok(body)
}

/// The body of a workspace that a PATCH changes.
pub(super) fn patched(
    settings: &Settings,
    id: &ResourceId,
    given: &Value,
    stored: &Value,
) -> Result<Value, ArmError> {
    only_known(
        given,
        &["tags", "sku", "identity", "properties"],
        "a patch of a workspace",
    )?;
    only_known(
        &given["properties"],
        &CHANGEABLE,
        "a patch of a workspace's properties",
    )?;
    let mut body = stored.clone();
    set(settings, id, &mut body, given)?;
    Ok(body)
}

fn check_put(settings: &Settings, given: &Value) -> Result<(), ArmError> {
    only_known(
        given,
        &[
            "id",
            "name",
            "type",
            "etag",
            "systemData",
            "location",
            "tags",
            "kind",
            "sku",
            "identity",
            "properties",
        ],
        "a workspace",
    )?;
    let known = [&CHANGEABLE[..], &CHOSEN, &READ_ONLY].concat();
    only_known(&given["properties"], &known, "a workspace's properties")?;
    if let Some(kind) = given["kind"].as_str()
        && !kind.eq_ignore_ascii_case("Default")
    {
        return Err(ArmError::refused(format!(
            "A workspace of the kind '{kind}'"
        )));
    }
    location_of(&settings.world, given, TYPE)?;
    Ok(())
}

/// Puts what was given into a body; `null` says nothing.
fn set(
    settings: &Settings,
    id: &ResourceId,
    body: &mut Value,
    given: &Value,
) -> Result<(), ArmError> {
    if !given["tags"].is_null() {
        body["tags"] = checked_tags(given)?;
    }
    if !given["sku"].is_null() {
        body["sku"] = given["sku"].clone();
    }
    if !given["identity"].is_null() {
        body["identity"] = identity(settings, id, &given["identity"])?;
    }
    let properties = &given["properties"];
    for (field, words) in WORDS {
        word(&properties[field], field, words)?;
    }
    for field in CHANGEABLE.iter().chain(&CHOSEN).copied() {
        let value = &properties[field];
        if value.is_null() {
            continue;
        }
        body["properties"][field] = match field {
            "managedNetwork" => isolated(id, value)?,
            _ => value.clone(),
        };
    }
    Ok(())
}

/// One of a few words, where it is given.
fn word(value: &Value, field: &str, words: &[&str]) -> Result<(), ArmError> {
    if value.is_null() || value.as_str().is_some_and(|text| words.contains(&text)) {
        return Ok(());
    }
    Err(ArmError::bad_request(format!(
        "The {field} {value} of a workspace is not one of {}.",
        words.join(", ")
    )))
}

fn isolated(id: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &["isolationMode", "networkId", "outboundRules", "status"],
        "a workspace's managedNetwork",
    )?;
    if given["outboundRules"]
        .as_object()
        .is_some_and(|rules| !rules.is_empty())
    {
        return Err(ArmError::refused(
            "An outbound rule of a workspace's managedNetwork",
        ));
    }
    word(&given["isolationMode"], "isolationMode", &ISOLATION_MODES)?;
    let mode = given["isolationMode"].as_str().unwrap_or("Disabled");
    Ok(managed_network(id, mode))
}

/// The identities of a workspace, with the principals that they have.
fn identity(settings: &Settings, id: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &["type", "principalId", "tenantId", "userAssignedIdentities"],
        "a workspace's identity",
    )?;
    let kind = given["type"].as_str().unwrap_or_default();
    let mut identity = json!({"type": kind});
    if kind.contains("SystemAssigned") {
        identity["principalId"] = json!(Uuid::new_v5(&guid_of(id), b"principal"));
        identity["tenantId"] = json!(settings.world.tenant_id);
    }
    if kind.contains("UserAssigned") {
        let named = given["userAssignedIdentities"].as_object();
        let shown: Map<String, Value> = named
            .into_iter()
            .flatten()
            .map(|(name, _)| {
                let of = |what: &str| {
                    let text = format!("{}/{what}", name.to_lowercase());
                    Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes())
                };
                let principal = json!({"principalId": of("principal"), "clientId": of("client")});
                (name.clone(), principal)
            })
            .collect();
        identity["userAssignedIdentities"] = Value::Object(shown);
    }
    Ok(identity)
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$` (the OpenAPI).
fn check_name(name: &str) -> Result<(), ArmError> {
    let bytes = name.as_bytes();
    let fits = (3..=33).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    if fits {
        return Ok(());
    }
    Err(ArmError::bad_request(format!(
        "The workspace name '{name}' is invalid. It must match ^[a-zA-Z0-9][a-zA-Z0-9_-]{{2,32}}$."
    )))
}

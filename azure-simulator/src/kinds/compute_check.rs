//! What a compute's PUT and PATCH may say, and what an existing compute keeps.

use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::{checked_tags, only_known};
use crate::kinds::{vm_sizes, workspace};
use crate::resource_id::ResourceId;

/// Most nodes of one pool without asking Azure for more (contract section 6).
const MOST_NODES: u64 = 100;

/// Properties that a compute keeps for ever.
const FIXED: [&str; 5] = [
    "vmSize",
    "subnet",
    "enableNodePublicIp",
    "isolatedNetwork",
    "userAccountCredentials",
];

/// A PUT body, checked and normalised.
pub(crate) struct Wanted {
    location: String,
    tags: Value,
    identity: Option<Value>,
    outer: Value,
    inner: Value,
}

impl Wanted {
    pub(crate) fn read(
        transaction: &Transaction<'_>,
        id: &ResourceId,
        body: &Value,
    ) -> Result<Self, ArmError> {
        check_name(id.name())?;
        only_known(
            body,
            &[
                "id",
                "name",
                "type",
                "location",
                "tags",
                "identity",
                "sku",
                "properties",
                "systemData",
            ],
            "a compute",
        )?;
        let outer = &body["properties"];
        match outer["computeType"].as_str() {
            Some("AmlCompute") => {}
            Some(other) => return Err(ArmError::refused(format!("The compute type '{other}'"))),
            None => return Err(ArmError::bad_request("'computeType' is required.")),
        }
        only_known(
            outer,
            &[
                "computeType",
                "computeLocation",
                "description",
                "disableLocalAuth",
                "resourceId",
                "properties",
                "provisioningState",
                "provisioningErrors",
                "provisioningWarnings",
                "createdOn",
                "modifiedOn",
                "isAttachedCompute",
            ],
            "a compute's properties",
        )?;
        let location = body["location"].as_str().unwrap_or_default();
        let home = &transaction.settings.world.location;
        if !location.eq_ignore_ascii_case(home) {
            return Err(ArmError::new(
                StatusCode::BAD_REQUEST,
                "LocationNotAvailableForResourceType",
                format!(
                    "The provided location '{location}' is not available for resource type \
                     'Microsoft.MachineLearningServices/workspaces/computes'. List of available \
                     regions for the resource type is '{home}'."
                ),
            ));
        }
        Ok(Self {
            location: location.to_owned(),
            tags: match body.get("tags") {
                None | Some(Value::Null) => Value::Null,
                Some(_) => checked_tags(body)?,
            },
            identity: body.get("identity").filter(|i| !i.is_null()).cloned(),
            outer: outer.clone(),
            inner: checked_inner(transaction, id, &outer["properties"])?,
        })
    }

    /// The document that is stored; timestamps and state are the caller's.
    pub(crate) fn into_body(self, id: &ResourceId) -> Value {
        let mut body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": "Microsoft.MachineLearningServices/workspaces/computes",
            "location": self.location,
            "tags": self.tags,
            "properties": {
                "computeType": "AmlCompute",
                "description": self.outer["description"],
                "disableLocalAuth": self.outer["disableLocalAuth"] == true,
                "resourceId": null,
                "isAttachedCompute": false,
                "provisioningErrors": null,
                "provisioningWarnings": null,
                "properties": self.inner,
            },
        });
        if let Some(identity) = self.identity {
            body["identity"] = identity;
        }
        body
    }
}

/// 3 to 24 characters, a letter first, no `-<digits>` at the end (contract section 6).
fn check_name(name: &str) -> Result<(), ArmError> {
    let bytes = name.as_bytes();
    let plain = (3..=24).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let numbered = name
        .rsplit_once('-')
        .is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()));
    if plain && !numbered {
        return Ok(());
    }
    Err(ArmError::bad_request(format!(
        "The compute name '{name}' is invalid. It must match \
         ^[a-zA-Z](?![a-zA-Z0-9-]*-\\d+$)[a-zA-Z0-9\\-]{{2,23}}$."
    )))
}

fn checked_inner(
    transaction: &Transaction<'_>,
    id: &ResourceId,
    given: &Value,
) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "vmSize",
            "vmPriority",
            "osType",
            "scaleSettings",
            "subnet",
            "enableNodePublicIp",
            "isolatedNetwork",
            "remoteLoginPortPublicAccess",
            "userAccountCredentials",
            "virtualMachineImage",
            "propertyBag",
            // Read-only: a body that was read may be sent back.
            "allocationState",
            "allocationStateTransitionTime",
            "errors",
            "currentNodeCount",
            "targetNodeCount",
            "nodeStateCounts",
            "enableBatchPrivateLink",
        ],
        "an AmlCompute's properties",
    )?;
    if !given["virtualMachineImage"].is_null() {
        return Err(ArmError::refused("A custom virtual machine image"));
    }
    let size = given["vmSize"].as_str().unwrap_or_default();
    if vm_sizes::find(&transaction.settings.world, size).is_none() {
        return Err(ArmError::bad_request(format!(
            "The specified VM size '{size}' is not supported in the region '{}'.",
            transaction.settings.world.location
        )));
    }
    let one_of = |field: &str, allowed: &[&str]| match &given[field] {
        Value::Null => Ok(Value::Null),
        Value::String(word) if allowed.contains(&word.as_str()) => Ok(json!(word)),
        other => Err(ArmError::bad_request(format!(
            "The value {other} of '{field}' is not one of {}.",
            allowed.join(", ")
        ))),
    };
    if given["osType"] == "Windows" {
        return Err(ArmError::refused("An AmlCompute of Windows nodes"));
    }
    check_subnet(transaction, id, &given["subnet"])?;
    let mut inner = json!({
        "vmSize": size.to_uppercase(),
        "vmPriority": one_of("vmPriority", &["Dedicated", "LowPriority"])?,
        "osType": "Linux",
        "scaleSettings": scale_settings(&given["scaleSettings"], &Value::Null)?,
        "subnet": given["subnet"],
        "remoteLoginPortPublicAccess": match one_of(
            "remoteLoginPortPublicAccess",
            &["Enabled", "Disabled", "NotSpecified"],
        )? {
            Value::Null => json!("NotSpecified"),
            given => given,
        },
        "enableNodePublicIp": given["enableNodePublicIp"] != false,
        "isolatedNetwork": given["isolatedNetwork"] == true,
        "virtualMachineImage": null,
        "enableBatchPrivateLink": false,
    });
    let account = &given["userAccountCredentials"];
    if !account.is_null() {
        if account["adminUserName"].as_str().is_none_or(str::is_empty) {
            return Err(ArmError::bad_request(
                "'adminUserName' is required in 'userAccountCredentials'.",
            ));
        }
        inner["userAccountCredentials"] = json!({
            "adminUserName": account["adminUserName"],
            "adminUserSshPublicKey": account["adminUserSshPublicKey"],
            "adminUserPassword": null,
        });
    }
    Ok(inner)
}

fn check_subnet(
    transaction: &Transaction<'_>,
    id: &ResourceId,
    subnet: &Value,
) -> Result<(), ArmError> {
    if subnet.is_null() {
        return Ok(());
    }
    let text = subnet["id"].as_str().unwrap_or_default();
    if workspace::has_managed_network(transaction, id) {
        return Err(ArmError::bad_request(format!(
            "The workspace '{}' has a managed virtual network: a compute in it cannot take the \
             subnet '{text}'.",
            id.root_name(),
        )));
    }
    let known = ResourceId::parse(text).is_some_and(|subnet| {
        subnet
            .resource_type()
            .eq_ignore_ascii_case("Microsoft.Network/virtualNetworks/subnets")
            && transaction
                .state
                .documents
                .get(&subnet)
                .is_some_and(|found| found.body["properties"]["provisioningState"] != "Deleting")
    });
    if known {
        return Ok(());
    }
    Err(ArmError::bad_request(format!(
        "The specified subnet '{text}' cannot be found."
    )))
}

/// Checked scale settings; what is not given is taken from `before`.
fn scale_settings(given: &Value, before: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "minNodeCount",
            "maxNodeCount",
            "nodeIdleTimeBeforeScaleDown",
        ],
        "scaleSettings",
    )?;
    let Some(most) = given["maxNodeCount"].as_u64() else {
        return Err(ArmError::bad_request(
            "'maxNodeCount' is required in 'scaleSettings' and must not be negative.",
        ));
    };
    let least = match (&given["minNodeCount"], &before["minNodeCount"]) {
        (Value::Null, Value::Null) => 0,
        (Value::Null, before) => before.as_u64().unwrap_or_default(),
        (given, _) => given.as_u64().ok_or_else(|| {
            ArmError::bad_request("'minNodeCount' must be a number that is not negative.")
        })?,
    };
    if most > MOST_NODES {
        return Err(ArmError::bad_request(format!(
            "'maxNodeCount' {most} is above the limit of {MOST_NODES} nodes of a cluster."
        )));
    }
    if least > most {
        return Err(ArmError::bad_request(format!(
            "'minNodeCount' {least} is above 'maxNodeCount' {most}."
        )));
    }
    let idle = match &given["nodeIdleTimeBeforeScaleDown"] {
        Value::Null => before["nodeIdleTimeBeforeScaleDown"].clone(),
        given => given.clone(),
    };
    if let Some(text) = idle.as_str()
        && text.parse::<SignedDuration>().is_err()
    {
        return Err(ArmError::bad_request(format!(
            "'nodeIdleTimeBeforeScaleDown' is no ISO 8601 duration: '{text}'."
        )));
    }
    Ok(json!({
        "minNodeCount": least,
        "maxNodeCount": most,
        "nodeIdleTimeBeforeScaleDown": idle,
    }))
}

/// The scale settings of a PATCH body (doubled nesting, contract section 0.4).
pub(crate) fn patched_scale_settings(body: &Value, before: &Value) -> Result<Value, ArmError> {
    only_known(body, &["properties"], "a patch of a compute")?;
    only_known(&body["properties"], &["properties"], "a patch's properties")?;
    let inner = &body["properties"]["properties"];
    only_known(inner, &["scaleSettings"], "a patch's inner properties")?;
    if inner["scaleSettings"].is_null() {
        return Err(ArmError::bad_request("'scaleSettings' is required."));
    }
    scale_settings(&inner["scaleSettings"], before)
}

/// A PUT body; one that overwrites may leave out what cannot change (the specification's example
/// "Update a AML Compute" does).
pub(crate) fn completed(given: &Value, existing: Option<&Document>) -> Value {
    let mut body = given.clone();
    let Some(existing) = existing else {
        return body;
    };
    let before = &existing.body["properties"]["properties"];
    if let Some(inner) = body
        .pointer_mut("/properties/properties")
        .and_then(Value::as_object_mut)
    {
        for field in FIXED.into_iter().chain(["vmPriority", "osType"]) {
            if !inner.contains_key(field) && !before[field].is_null() {
                inner.insert(field.to_owned(), before[field].clone());
            }
        }
    }
    body
}

/// Overwriting cannot change the machines of a pool (contract section 6).
pub(crate) fn check_unchanged(existing: &Value, wanted: &Wanted) -> Result<(), ArmError> {
    let before = &existing["properties"]["properties"];
    let text = |value: &Value| value.to_string().to_lowercase();
    for field in FIXED {
        if text(&before[field]) != text(&wanted.inner[field]) {
            return Err(ArmError::bad_request(format!(
                "The property '{field}' of compute '{}' cannot be changed after creation.",
                existing["name"].as_str().unwrap_or_default(),
            )));
        }
    }
    let priority = |inner: &Value| inner["vmPriority"] == "LowPriority";
    if priority(before) != priority(&wanted.inner) {
        return Err(ArmError::bad_request(format!(
            "The property 'vmPriority' of compute '{}' cannot be changed after creation.",
            existing["name"].as_str().unwrap_or_default(),
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compute_name_cannot_end_in_a_dash_and_digits() {
        for (name, fits) in [
            ("dask-w1", true),
            ("ds13-cluster", true),
            ("dask-1", false),
            ("dask-", true),
            ("1dask", false),
            ("ab", false),
            ("abcdefghijklmnopqrstuvwxy", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fits, "{name}");
        }
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let before =
            json!({"minNodeCount": 2, "maxNodeCount": 8, "nodeIdleTimeBeforeScaleDown": "PT5M"});
        let body = json!({"properties": {"properties": {"scaleSettings": {"maxNodeCount": 4}}}});
        let after = patched_scale_settings(&body, &before).unwrap();
        assert_eq!(
            after,
            json!({"minNodeCount": 2, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT5M"})
        );
        let flat = json!({"properties": {"scaleSettings": {"maxNodeCount": 4}}});
        assert!(patched_scale_settings(&flat, &before).is_err());
    }
}

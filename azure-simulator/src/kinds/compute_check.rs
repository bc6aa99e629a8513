//! What a compute's PUT may say, and what an existing compute keeps (contract section 6).

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::{Form, check_forms, checked_tags, only_known};
use crate::kinds::{compute_view, pool_properties};
use crate::resource_id::ResourceId;

/// Properties that a compute keeps for ever.
const FIXED: [&str; 7] = [
    "vmSize",
    "osType",
    "virtualMachineImage",
    "subnet",
    "enableNodePublicIp",
    "isolatedNetwork",
    "userAccountCredentials",
];

const LOGIN_PORT: &str = "remoteLoginPortPublicAccess";

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
        check_forms(body, &[("identity", Form::Object)], "a compute")?;
        check_forms(
            outer,
            &[
                ("description", Form::Text),
                ("disableLocalAuth", Form::Flag),
                ("computeLocation", Form::Text),
                ("resourceId", Form::Text),
            ],
            "a compute's properties",
        )?;
        if !body["sku"].is_null() {
            return Err(ArmError::refused("The sku of a compute"));
        }
        check_identity(&body["identity"])?;
        let location = body["location"].as_str().unwrap_or_default();
        let home = &transaction.settings.world.location;
        // The nodes' own may be left out.
        for location in [Some(location), outer["computeLocation"].as_str()] {
            if let Some(location) = location.filter(|named| !named.eq_ignore_ascii_case(home)) {
                return Err(ArmError::location_not_available(
                    location,
                    "Microsoft.MachineLearningServices/workspaces/computes",
                    home,
                ));
            }
        }
        // That of the nodes below, which a GET has shown, may come back.
        let below = compute_view::batch_id(id);
        if let Some(other) = outer["resourceId"].as_str().filter(|other| *other != below) {
            return Err(ArmError::refused(format!(
                "The resourceId '{other}' of an AmlCompute"
            )));
        }
        Ok(Self {
            location: location.to_owned(),
            tags: match body.get("tags") {
                None | Some(Value::Null) => Value::Null,
                Some(_) => checked_tags(body)?,
            },
            identity: body.get("identity").filter(|i| !i.is_null()).cloned(),
            outer: outer.clone(),
            inner: pool_properties::checked(transaction, id, &outer["properties"])?,
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

fn check_identity(identity: &Value) -> Result<(), ArmError> {
    if identity.is_null() {
        return Ok(());
    }
    let place = "an identity";
    only_known(
        identity,
        &["type", "userAssignedIdentities", "principalId", "tenantId"],
        place,
    )?;
    check_forms(identity, &[("userAssignedIdentities", Form::Object)], place)?;
    let assigned = identity["userAssignedIdentities"].as_object();
    for (id, ids) in assigned.into_iter().flatten() {
        only_known(
            ids,
            &["principalId", "clientId"],
            &format!("the identity {id}"),
        )?;
    }
    // The OpenAPI of Azure ML has no space after the comma, that of others has.
    let kind = identity["type"]
        .as_str()
        .unwrap_or_default()
        .replace(' ', "");
    let known = [
        "None",
        "SystemAssigned",
        "UserAssigned",
        "SystemAssigned,UserAssigned",
    ];
    if known.iter().any(|known| known.eq_ignore_ascii_case(&kind)) {
        return Ok(());
    }
    Err(ArmError::bad_request(format!(
        "The type {} of an identity is not one of {}.",
        identity["type"],
        known.join("; ")
    )))
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

/// A PUT body; one that overwrites may leave out what cannot change (the specification's example
/// "Update a AML Compute" does).
pub(crate) fn completed(given: &Value, existing: Option<&Document>) -> Value {
    let mut body = given.clone();
    let Some(existing) = existing else {
        return body;
    };
    let outer = &existing.body["properties"];
    let before = &outer["properties"];
    if let Some(given) = body["properties"].as_object_mut()
        && given.get("disableLocalAuth").is_none_or(Value::is_null)
    {
        given.insert(
            "disableLocalAuth".to_owned(),
            outer["disableLocalAuth"].clone(),
        );
    }
    if let Some(inner) = body
        .pointer_mut("/properties/properties")
        .and_then(Value::as_object_mut)
    {
        for field in FIXED.into_iter().chain(["vmPriority", LOGIN_PORT]) {
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
    let priority = |inner: &Value| inner["vmPriority"] == "LowPriority";
    let local_auth = |outer: &Value| outer["disableLocalAuth"] == true;
    let port = compute_view::login_port;
    let changed = if let Some(field) = FIXED
        .into_iter()
        .find(|field| text(&before[*field]) != text(&wanted.inner[*field]))
    {
        field
    } else if priority(before) != priority(&wanted.inner) {
        "vmPriority"
    } else if port(before) != port(&wanted.inner) {
        LOGIN_PORT
    } else if local_auth(&existing["properties"]) != local_auth(&wanted.outer) {
        "disableLocalAuth"
    } else {
        return Ok(());
    };
    Err(ArmError::bad_request(format!(
        "The property '{changed}' of compute '{}' cannot be changed after creation.",
        existing["name"].as_str().unwrap_or_default(),
    )))
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
}

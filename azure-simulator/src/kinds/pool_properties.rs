//! The machines of an AmlCompute, as a PUT may ask for them (contract section 6).

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::kinds::{scale_settings, vm_sizes, workspace};
use crate::resource_id::ResourceId;

/// The inner properties of an AmlCompute, checked, with what the server fills in.
pub(crate) fn checked(
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
    check_forms(
        given,
        &[
            ("enableNodePublicIp", Form::Flag),
            ("isolatedNetwork", Form::Flag),
            ("subnet", Form::Object),
            ("userAccountCredentials", Form::Object),
            ("propertyBag", Form::Object),
        ],
        "an AmlCompute's properties",
    )?;
    only_known(&given["propertyBag"], &[], "a property bag")?;
    only_known(&given["subnet"], &["id"], "a compute's subnet")?;
    let size = given["vmSize"].as_str().unwrap_or_default();
    let world = &transaction.settings.world;
    let Some(known) = vm_sizes::find(world, size) else {
        return Err(ArmError::bad_request(format!(
            "The specified VM size '{size}' is not supported in the region '{}'.",
            world.location
        )));
    };
    let one_of = |field: &str, allowed: &[&str]| match &given[field] {
        Value::Null => Ok(Value::Null),
        Value::String(word) if allowed.contains(&word.as_str()) => Ok(json!(word)),
        other => Err(ArmError::bad_request(format!(
            "The value {other} of '{field}' is not one of {}.",
            allowed.join(", ")
        ))),
    };
    let system = match one_of("osType", &["Linux", "Windows"])? {
        Value::Null => json!("Linux"),
        system => system,
    };
    check_image(&given["virtualMachineImage"], &system)?;
    check_subnet(transaction, id, &given["subnet"])?;
    let mut inner = json!({
        "vmSize": size.to_uppercase(),
        "vmPriority": one_of("vmPriority", &["Dedicated", "LowPriority"])?,
        "osType": system,
        "scaleSettings": scale_settings::checked(
            &given["scaleSettings"],
            &Value::Null,
            world.pool_node_limits.of_size(&known),
        )?,
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
        "virtualMachineImage": given["virtualMachineImage"],
        "enableBatchPrivateLink": false,
    });
    let account = &given["userAccountCredentials"];
    if !account.is_null() {
        let place = "the user account of a compute";
        let fields = [
            "adminUserName",
            "adminUserSshPublicKey",
            "adminUserPassword",
        ];
        only_known(account, &fields, place)?;
        check_forms(account, &fields.map(|field| (field, Form::Text)), place)?;
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

/// An image of one's own is for Windows alone, by the OpenAPI's words.
fn check_image(image: &Value, system: &Value) -> Result<(), ArmError> {
    if image.is_null() {
        return Ok(());
    }
    only_known(image, &["id"], "a virtual machine image")?;
    if image["id"].as_str().is_none_or(str::is_empty) || system != "Windows" {
        return Err(ArmError::bad_request(
            "A 'virtualMachineImage' needs an 'id', and the 'osType' Windows.",
        ));
    }
    Ok(())
}

/// The subnet must be there, and must not be delegated to anybody (contract section 11).
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
    let found = ResourceId::parse(text)
        .filter(|subnet| {
            subnet
                .resource_type()
                .eq_ignore_ascii_case("Microsoft.Network/virtualNetworks/subnets")
        })
        .and_then(|subnet| transaction.state.documents.get(&subnet))
        .filter(|found| found.body["properties"]["provisioningState"] != "Deleting");
    let Some(found) = found else {
        return Err(ArmError::bad_request(format!(
            "The specified subnet '{text}' cannot be found."
        )));
    };
    let delegations = found.body["properties"]["delegations"].as_array();
    if delegations.is_some_and(|all| !all.is_empty()) {
        return Err(ArmError::bad_request(format!(
            "The specified subnet '{text}' is delegated to another service: a compute cannot take \
             it."
        )));
    }
    Ok(())
}

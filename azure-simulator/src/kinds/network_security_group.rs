//! Network security groups, as far as a subnet names one: rules are kept and shown, and nothing is
//! filtered by them.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::{checked_tags, location_of, only_known};
use crate::kinds::network_operation::{begin_deletion, begin_write, patch_tags};
use crate::kinds::network_request::{is_going, overwritten, reference_not_found, to_be_deleted};
use crate::kinds::network_state::{check_idle, new_etag, set_state};
use crate::kinds::{Kind, NETWORK_VERSIONS};
use crate::physics::Event;
use crate::resource_id::ResourceId;

pub(crate) const TYPE: &str = "Microsoft.Network/networkSecurityGroups";

pub(crate) struct NetworkSecurityGroup;

/// The rules that every group has: name, description, source, destination, access, priority,
/// direction.
const DEFAULT_RULES: [(&str, &str, &str, &str, &str, u16, &str); 6] = [
    (
        "AllowVnetInBound",
        "Allow inbound traffic from all VMs in VNET",
        "VirtualNetwork",
        "VirtualNetwork",
        "Allow",
        65000,
        "Inbound",
    ),
    (
        "AllowAzureLoadBalancerInBound",
        "Allow inbound traffic from azure load balancer",
        "AzureLoadBalancer",
        "*",
        "Allow",
        65001,
        "Inbound",
    ),
    (
        "DenyAllInBound",
        "Deny all inbound traffic",
        "*",
        "*",
        "Deny",
        65500,
        "Inbound",
    ),
    (
        "AllowVnetOutBound",
        "Allow outbound traffic from all VMs to all VMs in VNET",
        "VirtualNetwork",
        "VirtualNetwork",
        "Allow",
        65000,
        "Outbound",
    ),
    (
        "AllowInternetOutBound",
        "Allow outbound traffic from all VMs to Internet",
        "*",
        "Internet",
        "Allow",
        65001,
        "Outbound",
    ),
    (
        "DenyAllOutBound",
        "Deny all outbound traffic",
        "*",
        "*",
        "Deny",
        65500,
        "Outbound",
    ),
];

impl Kind for NetworkSecurityGroup {
    fn resource_type(&self) -> &'static str {
        TYPE
    }

    fn api_versions(&self) -> &'static [&'static str] {
        NETWORK_VERSIONS
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip"],
            _ => &[],
        }
    }

    /// With the subnets that name it.
    fn view(&self, transaction: &Transaction<'_>, document: &Document) -> Value {
        let mut body = document.body.clone();
        let users: Vec<Value> = users(transaction, &document.id)
            .iter()
            .map(|id| json!({"id": id.to_string()}))
            .collect();
        if !users.is_empty() {
            body["properties"]["subnets"] = Value::Array(users);
        }
        body
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let given = request.object()?;
        only_known(
            given,
            &[
                "id",
                "name",
                "type",
                "etag",
                "location",
                "tags",
                "properties",
            ],
            "a network security group",
        )?;
        let location = location_of(&transaction.settings.world, given, TYPE)?;
        only_known(
            &given["properties"],
            &[
                "securityRules",
                "defaultSecurityRules",
                "subnets",
                "flushConnection",
                "provisioningState",
                "resourceGuid",
            ],
            "a network security group's properties",
        )?;
        let existing = overwritten(transaction, request, &request.id)?;
        let id = existing
            .as_ref()
            .map_or(&request.id, |found| &found.id)
            .clone();
        let guid = match &existing {
            Some(found) => found.body["properties"]["resourceGuid"].clone(),
            None => json!(Uuid::new_v4()),
        };
        let body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": TYPE,
            "etag": new_etag(),
            "location": location,
            "tags": checked_tags(given)?,
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": guid,
                "securityRules": rules(&id, &given["properties"]["securityRules"])?,
                "defaultSecurityRules": default_rules(&id),
            },
        });
        transaction.state.documents.store(id.clone(), body);
        let existed = existing.is_some();
        let shown = |transaction: &Transaction<'_>| {
            let document = transaction.state.documents.get(&request.id)?;
            Some(self.view(transaction, document))
        };
        Ok(begin_write(transaction, request, id, existed, shown))
    }

    /// Only tags can be patched.
    fn patch(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        patch_tags(transaction, request, "a network security group")?;
        self.get(transaction, request)
    }

    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let Some(found) = to_be_deleted(transaction, request)? else {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        };
        let going = is_going(&found);
        let id = found.id;
        if !going {
            check_idle(transaction, &id, request)?;
            check_unused(transaction, &id)?;
            set_state(transaction, &id, "Deleting");
        }
        Ok(begin_deletion(transaction, request, |operation| {
            Event::NetworkDeleted {
                network: id,
                operation,
            }
        }))
    }
}

/// Subnets that name a group.
fn users(transaction: &Transaction<'_>, group: &ResourceId) -> Vec<ResourceId> {
    transaction
        .state
        .documents
        .of_type("Microsoft.Network/virtualNetworks/subnets")
        .into_iter()
        .filter(|subnet| {
            let named = subnet.body["properties"]["networkSecurityGroup"]["id"].as_str();
            named
                .and_then(ResourceId::parse)
                .is_some_and(|id| id.key() == group.key())
        })
        .map(|subnet| subnet.id.clone())
        .collect()
}

/// A group that a subnet names stays: reported in pulumi/pulumi-azure-native#3051.
fn check_unused(transaction: &Transaction<'_>, group: &ResourceId) -> Result<(), ArmError> {
    match users(transaction, group).first() {
        None => Ok(()),
        Some(user) => Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "InUseNetworkSecurityGroupCannotBeDeleted",
            format!(
                "Network security group {group} cannot be deleted because it is in use by the \
                 following resources: {user}."
            ),
        )),
    }
}

/// Refuses a subnet whose group is not there.
pub(crate) fn check_named(
    transaction: &Transaction<'_>,
    subnet: &ResourceId,
    properties: &Value,
) -> Result<(), ArmError> {
    let group = &properties["networkSecurityGroup"];
    if group.is_null() {
        return Ok(());
    }
    let text = group["id"].as_str().unwrap_or_default();
    let known = ResourceId::parse(text).is_some_and(|id| {
        id.resource_type().eq_ignore_ascii_case(TYPE)
            && transaction.state.documents.get(&id).is_some()
    });
    if known {
        return Ok(());
    }
    Err(reference_not_found(text, subnet))
}

fn rules(group: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    let mut rules = Vec::new();
    for rule in given.as_array().into_iter().flatten() {
        let name = rule["name"].as_str().unwrap_or_default();
        let properties = &rule["properties"];
        for field in ["protocol", "access", "priority", "direction"] {
            if properties[field].is_null() {
                return Err(ArmError::new(
                    StatusCode::BAD_REQUEST,
                    "InvalidRequestFormat",
                    format!("The security rule '{name}' of {group} needs {field}."),
                ));
            }
        }
        let mut properties = properties.clone();
        properties["provisioningState"] = json!("Succeeded");
        rules.push(shown_rule(group, ("securityRules", name), properties));
    }
    Ok(Value::Array(rules))
}

fn default_rules(group: &ResourceId) -> Value {
    DEFAULT_RULES
        .iter()
        .map(
            |(name, description, from, to, access, priority, direction)| {
                let properties = json!({
                    "provisioningState": "Succeeded",
                    "description": description,
                    "protocol": "*",
                    "sourcePortRange": "*",
                    "destinationPortRange": "*",
                    "sourceAddressPrefix": from,
                    "destinationAddressPrefix": to,
                    "access": access,
                    "priority": priority,
                    "direction": direction,
                });
                shown_rule(group, ("defaultSecurityRules", name), properties)
            },
        )
        .collect()
}

fn shown_rule(group: &ResourceId, (kind, name): (&str, &str), properties: Value) -> Value {
    json!({
        "name": name,
        "id": group.child(kind, Some(name)).to_string(),
        "type": format!("{TYPE}/{kind}"),
        "etag": new_etag(),
        "properties": properties,
    })
}

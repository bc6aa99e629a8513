//! Subnets (contract section 11): children of a virtual network, each with an etag of its own.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::kinds::network_operation::{begin_deletion, begin_write};
use crate::kinds::network_request::{
    invalid_name, is_going, network_of, overwritten, to_be_deleted,
};
use crate::kinds::network_state::{
    check_idle, check_prefixes_stay, check_ranges, check_unused, new_etag, prefixes, set_state,
    subnet_prefixes, subnets_of,
};
use crate::kinds::{Kind, NETWORK_VERSIONS, network_security_group};
use crate::physics::Event;
use crate::resource_id::ResourceId;

pub(crate) struct Subnet;

impl Kind for Subnet {
    fn resource_type(&self) -> &'static str {
        "Microsoft.Network/virtualNetworks/subnets"
    }

    fn api_versions(&self) -> &'static [&'static str] {
        NETWORK_VERSIONS
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let body = request.object()?;
        only_known(
            body,
            &["id", "name", "type", "etag", "properties"],
            "a subnet",
        )?;
        let properties = &body["properties"];
        let name = request.id.name();
        check_name(name)?;
        check_properties(properties)?;
        let network = network_of(transaction, request)?;
        network_security_group::check_named(transaction, &request.id, properties)?;
        let existing = overwritten(transaction, request, &network)?;
        check_delegations(transaction, &request.id, properties)?;
        check_prefixes_stay(transaction, &request.id, properties)?;
        let own = subnet_prefixes(properties, name)?;
        let space = transaction
            .state
            .documents
            .get(&network)
            .map(|found| {
                let space = &found.body["properties"]["addressSpace"]["addressPrefixes"];
                prefixes(space, network.name())
            })
            .transpose()?
            .unwrap_or_default();
        let mut neighbours = Vec::new();
        for other in subnets_of(transaction, &network) {
            if !other.id.name().eq_ignore_ascii_case(name) {
                neighbours.extend(subnet_prefixes(&other.body["properties"], other.id.name())?);
            }
        }
        check_ranges(network.name(), &space, name, &own, &neighbours)?;
        let id = store(transaction, &network, name, properties);
        let existed = existing.is_some();
        let shown = |transaction: &Transaction<'_>| self.stored(transaction, &id);
        Ok(begin_write(transaction, request, network, existed, shown))
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
        let subnet = found.id;
        let network = network_of(transaction, request)?;
        if !going {
            check_idle(transaction, &network, request)?;
            check_unused(transaction, &subnet)?;
            set_state(transaction, &network, "Updating");
            if let Some(body) = transaction.state.documents.body_mut(&subnet.key()) {
                body["properties"]["provisioningState"] = json!("Deleting");
            }
        }
        Ok(begin_deletion(transaction, request, |operation| {
            Event::SubnetDeleted {
                network,
                subnet,
                operation,
            }
        }))
    }
}

/// 1 to 80 characters (contract section 11).
pub(crate) fn check_name(name: &str) -> Result<(), ArmError> {
    let bytes = name.as_bytes();
    let fits = (1..=80).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
    if fits {
        return Ok(());
    }
    Err(invalid_name(name))
}

/// The services that a subnet is delegated to change only while nobody sits in it; reported in
/// MicrosoftDocs/azure-docs#39112.
pub(crate) fn check_delegations(
    transaction: &Transaction<'_>,
    subnet: &ResourceId,
    properties: &Value,
) -> Result<(), ArmError> {
    let Some(found) = transaction.state.documents.get(subnet) else {
        return Ok(());
    };
    let (before, after) = (
        delegations(&found.body["properties"]),
        delegations(properties),
    );
    if before == after || !transaction.state.physics.uses_subnet(&subnet.key()) {
        return Ok(());
    }
    Err(ArmError::new(
        StatusCode::BAD_REQUEST,
        "SubnetDelegationsCannotChangeWhenSubnetUsedByResource",
        format!(
            "Delegations of subnet {} cannot be changed from [{}] to [{}] because it is being used \
             by compute nodes of Azure Machine Learning.",
            found.id,
            before.join(", "),
            after.join(", "),
        ),
    ))
}

fn delegations(properties: &Value) -> Vec<&str> {
    let all = properties["delegations"].as_array().into_iter().flatten();
    all.filter_map(|one| one["properties"]["serviceName"].as_str())
        .collect()
}

pub(crate) fn check_properties(properties: &Value) -> Result<(), ArmError> {
    only_known(
        properties,
        &[
            "addressPrefix",
            "addressPrefixes",
            "serviceEndpoints",
            "delegations",
            "networkSecurityGroup",
            "privateEndpointNetworkPolicies",
            "privateLinkServiceNetworkPolicies",
            "defaultOutboundAccess",
            "provisioningState",
        ],
        "a subnet's properties",
    )?;
    check_forms(
        properties,
        &[
            ("addressPrefix", Form::Text),
            ("addressPrefixes", Form::TextList),
            ("serviceEndpoints", Form::Objects),
            ("delegations", Form::Objects),
            ("networkSecurityGroup", Form::Object),
            ("privateEndpointNetworkPolicies", Form::Text),
            ("privateLinkServiceNetworkPolicies", Form::Text),
            ("defaultOutboundAccess", Form::Flag),
        ],
        "a subnet's properties",
    )?;
    let items = |field: &str| properties[field].as_array().into_iter().flatten();
    for endpoint in items("serviceEndpoints") {
        let fields = [("service", Form::Text), ("locations", Form::TextList)];
        check_forms(endpoint, &fields, "a service endpoint")?;
    }
    for delegation in items("delegations") {
        let fields = [("name", Form::Text), ("properties", Form::Object)];
        check_forms(delegation, &fields, "a delegation")?;
        let service = [("serviceName", Form::Text)];
        check_forms(&delegation["properties"], &service, "a delegation")?;
    }
    Ok(())
}

/// Creates or replaces a subnet, and gives its id.
pub(crate) fn store(
    transaction: &mut Transaction<'_>,
    network: &ResourceId,
    name: &str,
    properties: &Value,
) -> ResourceId {
    let mut id = network.child("subnets", Some(name));
    if let Some(found) = transaction.state.documents.get(&id) {
        id = found.id.clone();
    }
    let mut stored = json!({
        "delegations": [],
        "privateEndpointNetworkPolicies": "Disabled",
        "privateLinkServiceNetworkPolicies": "Enabled",
    });
    let location = transaction.settings.world.location.clone();
    if let (Some(stored), Some(given)) = (stored.as_object_mut(), properties.as_object()) {
        for (field, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            stored.insert(field.clone(), value.clone());
        }
        stored.insert("provisioningState".to_owned(), json!("Succeeded"));
    }
    let endpoints = stored
        .get_mut("serviceEndpoints")
        .and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        endpoint["provisioningState"] = json!("Succeeded");
        if endpoint["locations"].is_null() {
            endpoint["locations"] = json!([location]);
        }
    }
    let body = json!({
        "id": id.to_string(),
        "name": id.name(),
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "etag": new_etag(),
        "properties": stored,
    });
    transaction.state.documents.store(id.clone(), body);
    id
}

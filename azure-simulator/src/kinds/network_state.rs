//! What virtual networks and their subnets share: etags, one write at a time, who is in them.

use http::StatusCode;
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::problem::Problem;
use crate::resource_id::ResourceId;
use crate::world::NetworkConflict;

pub(crate) fn new_etag() -> String {
    format!("W/\"{}\"", Uuid::new_v4())
}

/// Subnets of a network, oldest first.
pub(crate) fn subnets_of<'a>(
    transaction: &'a Transaction<'_>,
    network: &ResourceId,
) -> impl Iterator<Item = &'a Document> + use<'a> {
    let collection = network.child("subnets", None);
    transaction
        .state
        .documents
        .members(&collection, Order::OldestFirst, None)
}

/// Honours `If-Match` against the etag of what exists. What `If-None-Match` does there is not documented.
pub(crate) fn check_precondition(
    request: &ArmRequest,
    existing: Option<&Value>,
) -> Result<(), ArmError> {
    if request.headers.contains_key(http::header::IF_NONE_MATCH) {
        return Err(ArmError::refused("If-None-Match of a write to a network"));
    }
    let Some(wanted) = request.headers.get(http::header::IF_MATCH) else {
        return Ok(());
    };
    let etag = existing.and_then(|body| body["etag"].as_str());
    match (wanted.to_str().ok(), etag) {
        (Some("*"), Some(_)) => Ok(()),
        (Some(wanted), Some(etag)) if wanted == etag => Ok(()),
        _ => Err(ArmError::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            format!(
                "Precondition failed: the etag of resource {} does not match If-Match.",
                request.id
            ),
        )),
    }
}

/// Writes to a network and its subnets go one at a time.
pub(crate) fn check_idle(
    transaction: &Transaction<'_>,
    network: &ResourceId,
    request: &ArmRequest,
) -> Result<(), ArmError> {
    let busy = transaction
        .state
        .documents
        .get(network)
        .is_some_and(|found| {
            let state = found.body["properties"]["provisioningState"].as_str();
            !matches!(state, Some("Succeeded" | "Failed"))
        });
    if !busy {
        return Ok(());
    }
    let world = &transaction.settings.world;
    if world.operations.network_conflict == NetworkConflict::RetryableErrorDueToAnotherOperation {
        let seconds = world.unproven.network_retry_after_seconds;
        return Err(ArmError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RetryableError",
            "A retryable error occurred.",
        )
        .detail(Problem::new(
            "RetryableErrorDueToAnotherOperation",
            format!(
                "Operation PutVirtualNetworkOperation ({}) is updating resource {network}. The call \
                 can be retried in {seconds} seconds.",
                Uuid::new_v4()
            ),
        ))
        .header("retry-after", seconds.to_string()));
    }
    Err(ArmError::new(
        StatusCode::CONFLICT,
        "AnotherOperationInProgress",
        format!(
            "Another operation on this or dependent resource is in progress. To retrieve status of \
             the operation use uri: {}/subscriptions/{}/providers/Microsoft.Network/locations/{}/\
             operations/{}?api-version={}",
            transaction.settings.base_url(),
            world.subscription_id,
            world.location,
            Uuid::new_v4(),
            request.api_version(),
        ),
    ))
}

/// Refuses to take away a subnet that compute nodes sit in: code and status are those of a subnet that
/// other resources sit in (kubernetes-sigs/cluster-api-provider-azure#172, the words in
/// microsoft/nav-arm-templates#161).
pub(crate) fn check_unused(
    transaction: &Transaction<'_>,
    subnet: &ResourceId,
) -> Result<(), ArmError> {
    if !transaction.state.physics.uses_subnet(&subnet.key()) {
        return Ok(());
    }
    Err(ArmError::new(
        StatusCode::BAD_REQUEST,
        "InUseSubnetCannotBeDeleted",
        format!(
            "Subnet {} is in use by compute nodes of Azure Machine Learning and cannot be deleted. \
             In order to delete the subnet, delete all the resources within the subnet. See \
             aka.ms/deletesubnet.",
            subnet.name()
        ),
    ))
}

/// Refuses to move a subnet away under the nodes that sit in it: what Azure answers was not recorded.
pub(crate) fn check_prefixes_stay(
    transaction: &Transaction<'_>,
    subnet: &ResourceId,
    properties: &Value,
) -> Result<(), ArmError> {
    let Some(found) = transaction.state.documents.get(subnet) else {
        return Ok(());
    };
    let before = subnet_prefixes(&found.body["properties"], subnet.name())?;
    let after = subnet_prefixes(properties, subnet.name())?;
    let stay = before.iter().all(|prefix| after.contains(prefix));
    if stay || !transaction.state.physics.uses_subnet(&subnet.key()) {
        return Ok(());
    }
    Err(ArmError::refused(format!(
        "Taking away a prefix of the subnet {}, which compute nodes sit in",
        subnet.name()
    )))
}

/// The prefixes of a subnet or address space, parsed. What is no prefix at all is told otherwise than
/// one with bits beyond its length (the former in Azure/azure-service-operator#997).
pub(crate) fn prefixes(value: &Value, place: &str) -> Result<Vec<IpNet>, ArmError> {
    let refused = |code, message| Err(ArmError::new(StatusCode::BAD_REQUEST, code, message));
    let texts = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(items) => items.as_slice(),
        _ => &[],
    };
    texts
        .iter()
        .map(|text| {
            let text = text.as_str().unwrap_or_default();
            let Ok(prefix) = text.parse::<IpNet>() else {
                return refused(
                    "InvalidAddressPrefixFormat",
                    format!(
                        "Address prefix {text} of resource {place} is not formatted correctly. It \
                         should follow CIDR notation, for example 10.0.0.0/24."
                    ),
                );
            };
            let wanted = prefix.trunc();
            if wanted != prefix {
                return refused(
                    "InvalidCIDRNotation",
                    format!(
                        "The address prefix {text} in resource {place} has an invalid CIDR \
                         notation. For the given prefix length, the address prefix should be \
                         {wanted}."
                    ),
                );
            }
            Ok(prefix)
        })
        .collect()
}

/// The prefixes of a subnet's properties; one at least.
pub(crate) fn subnet_prefixes(properties: &Value, name: &str) -> Result<Vec<IpNet>, ArmError> {
    let mut found = prefixes(&properties["addressPrefix"], name)?;
    found.extend(prefixes(&properties["addressPrefixes"], name)?);
    if found.is_empty() {
        return Err(ArmError::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestFormat",
            format!("Subnet {name} has neither addressPrefix nor addressPrefixes."),
        ));
    }
    Ok(found)
}

/// The name of a subnet, by its key, and where its nodes' addresses come from.
pub(crate) fn subnet_ranges(transaction: &Transaction<'_>, key: &str) -> (String, Vec<Ipv4Net>) {
    let Some(found) = transaction.state.documents.by_key(key) else {
        return (String::new(), Vec::new());
    };
    let name = found.id.name().to_owned();
    let prefixes = subnet_prefixes(&found.body["properties"], &name).unwrap_or_default();
    let fourth = prefixes.into_iter().filter_map(|prefix| match prefix {
        IpNet::V4(prefix) => Some(prefix),
        IpNet::V6(_) => None,
    });
    (name, fourth.collect())
}

/// A subnet must lie in its network and must not overlap its neighbours.
pub(crate) fn check_ranges(
    network: &str,
    space: &[IpNet],
    name: &str,
    prefixes: &[IpNet],
    neighbours: &[IpNet],
) -> Result<(), ArmError> {
    let refused = |code, message| Err(ArmError::new(StatusCode::BAD_REQUEST, code, message));
    for prefix in prefixes {
        if !space.iter().any(|space| space.contains(prefix)) {
            return refused(
                "NetcfgSubnetRangeOutsideVnet",
                format!(
                    "Subnet '{name}' is not valid because its IP address range is outside the IP \
                     address range of virtual network '{network}'."
                ),
            );
        }
        let overlaps =
            |other: &&IpNet| other.contains(&prefix.network()) || prefix.contains(&other.network());
        if neighbours.iter().find(overlaps).is_some() {
            return refused(
                "NetcfgSubnetRangesOverlap",
                format!(
                    "Subnet '{name}' is not valid because its IP address range overlaps with that \
                     of an existing subnet in virtual network '{network}'."
                ),
            );
        }
    }
    Ok(())
}

/// Marks a network, its subnets and its peerings.
pub(crate) fn set_state(transaction: &mut Transaction<'_>, network: &ResourceId, state: &str) {
    let mut keys = vec![network.key()];
    for children in ["subnets", "virtualNetworkPeerings"] {
        let collection = network.child(children, None);
        let members = transaction
            .state
            .documents
            .members(&collection, Order::OldestFirst, None);
        keys.extend(members.map(|child| child.id.key()));
    }
    for key in keys {
        if let Some(body) = transaction.state.documents.body_mut(&key) {
            body["properties"]["provisioningState"] = json!(state);
        }
    }
}

/// A new etag for the network, as every change of it or of a subnet brings.
pub(crate) fn renew_etag(transaction: &mut Transaction<'_>, key: &str) {
    if let Some(body) = transaction.state.documents.body_mut(key) {
        body["etag"] = json!(new_etag());
    }
}

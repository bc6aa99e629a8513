//! How requests to Microsoft.Network begin: what they are about is found, and nothing else may be
//! under way there (contract sections 4 and 11).

use http::StatusCode;

use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::network_state::{check_idle, check_precondition};
use crate::resource_id::ResourceId;

/// What a PUT overwrites, if anything. `network` is the resource of its own that is written: the one
/// of the request, or that which it is a child of.
pub(crate) fn overwritten(
    transaction: &Transaction<'_>,
    request: &ArmRequest,
    network: &ResourceId,
) -> Result<Option<Document>, ArmError> {
    let found = transaction.state.documents.get(&request.id).cloned();
    check_precondition(request, found.as_ref().map(|found| &found.body))?;
    check_idle(transaction, network, request)?;
    Ok(found)
}

/// What a DELETE is about; `None` where nothing is there.
pub(crate) fn to_be_deleted(
    transaction: &Transaction<'_>,
    request: &ArmRequest,
) -> Result<Option<Document>, ArmError> {
    let Some(found) = transaction.state.documents.get(&request.id) else {
        return Ok(None);
    };
    check_precondition(request, Some(&found.body))?;
    Ok(Some(found.clone()))
}

/// Whether a deletion is under way already: another one joins it.
pub(crate) fn is_going(found: &Document) -> bool {
    found.body["properties"]["provisioningState"] == "Deleting"
}

/// The virtual network that a request's resource is a child of.
pub(crate) fn network_of(
    transaction: &Transaction<'_>,
    request: &ArmRequest,
) -> Result<ResourceId, ArmError> {
    request
        .id
        .parent()
        .and_then(|network| transaction.state.documents.get(&network))
        .map(|found| found.id.clone())
        .ok_or_else(|| ArmError::resource_not_found(&request.id))
}

pub(crate) fn invalid_name(name: &str) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidResourceName",
        format!("Resource name {name} is invalid."),
    )
}

/// `text` names what is not there. Reported of a network interface whose subnet was not
/// (microsoft/MCW-Building-a-resilient-IaaS-architecture#35).
pub(crate) fn reference_not_found(text: &str, resource: &ResourceId) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidResourceReference",
        format!(
            "Resource {text} referenced by resource {resource} was not found. Please make sure that \
             the referenced resource exists, and that both resources are in the same region."
        ),
    )
}

//! What writes and deletions of Microsoft.Network have in common: they take their time as operations, which they
//! name in their answers (contract section 4).

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::operation::{self, OperationId};
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::kinds::body_checks::{checked_tags, only_known};
use crate::kinds::network_request::overwritten;
use crate::kinds::network_state::{new_etag, set_state};
use crate::physics::Event;
use crate::resource_id::ResourceId;

/// Begins the write of a resource of its own or of a child of `resource`; answers with its body as it is
/// `shown` now.
pub(crate) fn begin_write(
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
    resource: ResourceId,
    existed: bool,
    shown: impl FnOnce(&Transaction<'_>) -> Option<Value>,
) -> Answer {
    set_state(transaction, &resource, "Updating");
    let (operation, url, _) =
        operation::begin_network_operation(transaction, request.api_version());
    let seconds = transaction.settings.world.timings.network_write_seconds;
    transaction.schedule(
        seconds,
        Event::NetworkWritten {
            network: resource,
            operation,
        },
    );
    let status = if existed {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let body = shown(transaction).unwrap_or_default();
    Answer::json(status, body).header("azure-asyncoperation", url)
}

/// Begins a deletion, which `end` brings about.
pub(crate) fn begin_deletion(
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
    end: impl FnOnce(OperationId) -> Event,
) -> Answer {
    let (operation, status, result) =
        operation::begin_network_operation(transaction, request.api_version());
    let seconds = transaction.settings.world.timings.network_delete_seconds;
    transaction.schedule(seconds, end(operation));
    Answer::empty(StatusCode::ACCEPTED)
        .header("location", result)
        .header("azure-asyncoperation", status)
}

/// Only tags can be patched. `what` names the resource in a refusal.
pub(crate) fn patch_tags(
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
    what: &str,
) -> Result<(), ArmError> {
    let body = request.object()?;
    only_known(body, &["tags"], &format!("a patch of {what}"))?;
    let tags = checked_tags(body)?;
    overwritten(transaction, request, &request.id)?;
    let Some(stored) = transaction.state.documents.body_mut(&request.id.key()) else {
        return Err(ArmError::resource_not_found(&request.id));
    };
    stored["tags"] = tags;
    stored["etag"] = json!(new_etag());
    Ok(())
}

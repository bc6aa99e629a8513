//! Code assets: a folder of a blob container under a name and version, uploaded by whoever makes it
//! (contract section 8).

use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::kinds::asset_version::{AssetType, with_stored_workspace};
use crate::kinds::body_checks::only_known;
use crate::kinds::data_version::texts;
use crate::kinds::not_allowed;
use crate::resource_id::ResourceId;
use crate::storage::account::{self, Account};
use crate::storage::sas;

pub(crate) static CODE: AssetType = AssetType {
    container_type: "Microsoft.MachineLearningServices/workspaces/codes",
    version_type: "Microsoft.MachineLearningServices/workspaces/codes/versions",
    noun: "code",
    normalise,
    immutable: &["codeUri"],
    shown_by_container: &[],
    act: Some(start_pending_upload),
};

fn normalise(_: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "codeUri",
            "description",
            "tags",
            "properties",
            "isAnonymous",
            "isArchived",
            "provisioningState",
        ],
        "a code version's properties",
    )?;
    if given["codeUri"].as_str().is_none_or(str::is_empty) {
        return Err(ArmError::user("A code version needs a codeUri."));
    }
    Ok(json!({
        "codeUri": given["codeUri"],
        "description": given["description"],
        "tags": texts(&given["tags"]),
        "properties": texts(&given["properties"]),
        "isAnonymous": given["isAnonymous"] == true,
        "isArchived": given["isArchived"] == true,
    }))
}

/// A container of its own for an upload, and a signature that lets the caller write to it.
fn start_pending_upload(
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
    action: &str,
) -> Result<Answer, ArmError> {
    if !action.eq_ignore_ascii_case("startPendingUpload") {
        return Err(not_allowed(&format!("POST {action} of a code version")));
    }
    let body = request.object()?;
    only_known(
        body,
        &["pendingUploadId", "pendingUploadType"],
        "a pending upload",
    )?;
    match body["pendingUploadType"].as_str() {
        None | Some("None" | "TemporaryBlobReference") => {}
        Some(other) => {
            return Err(ArmError::refused(format!(
                "A pending upload of the type '{other}'"
            )));
        }
    }
    let mut workspace = with_stored_workspace(transaction, &request.id);
    workspace.segments.truncate(1);
    let account = Account::of(&workspace);
    let settings = transaction.settings;
    let container = account::new_upload_container();
    let uri = format!("{}/{container}", account.url(settings));
    let now = transaction.now.timestamp;
    let query = sas::issue(&account, settings, (&container, None), "rcwl", now);
    let id = body["pendingUploadId"]
        .as_str()
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    Ok(Answer::ok(json!({
        "blobReferenceForConsumption": {
            "blobUri": uri,
            "storageAccountArmId": account.arm_id(),
            "credential": {"credentialType": "SAS", "sasUri": format!("{uri}?{query}")},
        },
        "pendingUploadId": id,
        "pendingUploadType": "TemporaryBlobReference",
    })))
}

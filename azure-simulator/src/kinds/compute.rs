//! AmlCompute pools (contract section 6).

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::operation::{self, OperationId};
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::documents::Document;
use crate::kinds::compute_check::{self, Wanted};
use crate::kinds::{Kind, check_settled, compute_view, scale_settings, vm_sizes};
use crate::physics::Event;
use crate::resource_id::ResourceId;

pub(crate) struct AmlCompute;

impl Kind for AmlCompute {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/workspaces/computes"
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip"],
            Verb::Delete => &["underlyingResourceAction"],
            _ => &[],
        }
    }

    fn view(&self, transaction: &Transaction<'_>, document: &Document) -> Value {
        compute_view::view(transaction, document)
    }

    /// Creates or overwrites; 201 either way (contract section 4).
    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let existing = transaction.state.documents.get(&request.id).cloned();
        let given = compute_check::completed(request.object()?, existing.as_ref());
        let wanted = Wanted::read(transaction, &request.id, &given)?;
        let id = match &existing {
            Some(found) => {
                check_settled(found, "compute")?;
                compute_check::check_unchanged(&found.body, &wanted)?;
                found.id.clone()
            }
            None => stored_id(transaction, &request.id),
        };
        let now = json!(timestamp_text(transaction.now.timestamp));
        let mut body = wanted.into_body(&id);
        body["properties"]["modifiedOn"] = now.clone();
        match existing {
            Some(found) => {
                body["properties"]["createdOn"] = found.body["properties"]["createdOn"].clone();
                body["properties"]["provisioningState"] = json!("Updating");
                if let Some(stored) = transaction.state.documents.body_mut(&id.key()) {
                    *stored = body;
                }
            }
            None => {
                body["properties"]["createdOn"] = now;
                body["properties"]["provisioningState"] = json!("Creating");
                let subnet = body["properties"]["properties"]["subnet"]["id"]
                    .as_str()
                    .and_then(ResourceId::parse);
                transaction.state.documents.insert(id.clone(), body);
                transaction.create_pool(&id, subnet.as_ref());
            }
        }
        let url = begin_write(transaction, &id, request);
        Ok(
            Answer::json(StatusCode::CREATED, shown(self, transaction, &id))
                .header("azure-asyncoperation", url),
        )
    }

    /// Changes `scaleSettings` and nothing else; 202 (contract section 0.3).
    fn patch(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let body = request.object()?;
        let Some(found) = transaction.state.documents.get(&request.id).cloned() else {
            return Err(ArmError::resource_not_found(&request.id));
        };
        check_settled(&found, "compute")?;
        let stored = &found.body["properties"]["properties"]["scaleSettings"];
        let size = found.body["properties"]["properties"]["vmSize"].as_str();
        let world = &transaction.settings.world;
        let size = vm_sizes::find(world, size.unwrap_or_default()).unwrap_or_default();
        let limit = world.pool_node_limits.of_size(&size);
        let settings = scale_settings::patched(body, stored, limit)?;
        let now = json!(timestamp_text(transaction.now.timestamp));
        if let Some(stored) = transaction.state.documents.body_mut(&found.id.key()) {
            stored["properties"]["properties"]["scaleSettings"] = settings;
            stored["properties"]["provisioningState"] = json!("Updating");
            stored["properties"]["modifiedOn"] = now;
        }
        let url = begin_write(transaction, &found.id, request);
        Ok(
            Answer::json(StatusCode::ACCEPTED, shown(self, transaction, &found.id))
                .header("azure-asyncoperation", url),
        )
    }

    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        match request.query.get("underlyingResourceAction") {
            Some(action) if action.eq_ignore_ascii_case("Delete") => {}
            Some(action) if action.eq_ignore_ascii_case("Detach") => {
                return Err(ArmError::refused("Detach of an AmlCompute"));
            }
            _ => {
                return Err(ArmError::bad_request(
                    "The query parameter 'underlyingResourceAction' is required and must be 'Delete' \
                     or 'Detach'.",
                ));
            }
        }
        let Some(found) = transaction.state.documents.get(&request.id) else {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        };
        let id = found.id.clone();
        set_state(transaction, &id.key(), "Deleting");
        let (operation, url) =
            operation::begin_compute_operation(transaction, request.api_version());
        transaction.delete_pool(&id.key(), operation);
        Ok(Answer::empty(StatusCode::ACCEPTED).header("azure-asyncoperation", url))
    }

    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        if !action.eq_ignore_ascii_case("listNodes") {
            return Err(super::not_allowed(&format!(
                "POST {action} of an AmlCompute"
            )));
        }
        if transaction.state.documents.get(&request.id).is_none() {
            return Err(ArmError::resource_not_found(&request.id));
        }
        let nodes = compute_view::nodes(transaction, &request.id.key());
        Ok(Answer::ok(json!({"nodes": nodes, "nextLink": null})))
    }
}

pub(crate) fn set_state(transaction: &mut Transaction<'_>, key: &str, state: &str) {
    if let Some(stored) = transaction.state.documents.body_mut(key) {
        stored["properties"]["provisioningState"] = json!(state);
    }
}

/// The casing that the workspace was stored with, and the name as given.
fn stored_id(transaction: &Transaction<'_>, id: &ResourceId) -> ResourceId {
    id.parent()
        .and_then(|parent| transaction.state.documents.get(&parent))
        .map_or_else(
            || id.clone(),
            |workspace| workspace.id.child("computes", Some(id.name())),
        )
}

fn begin_write(transaction: &mut Transaction<'_>, id: &ResourceId, request: &ArmRequest) -> String {
    let (operation, url): (OperationId, String) =
        operation::begin_compute_operation(transaction, request.api_version());
    let seconds = transaction.settings.world.timings.compute_write_seconds;
    let pool = id.key();
    transaction.schedule(seconds, Event::ComputeWritten { pool, operation });
    url
}

fn shown(kind: &AmlCompute, transaction: &Transaction<'_>, id: &ResourceId) -> Value {
    transaction
        .state
        .documents
        .get(id)
        .map(|document| kind.view(transaction, document))
        .unwrap_or_default()
}

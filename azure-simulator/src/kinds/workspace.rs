//! Workspaces (contract section 5): those of the world, and those that clients make.
//!
//! Which writes are long-running and how they answer is the OpenAPI's: 202 with a `Location`. Only
//! the kind `Default` is there: no hubs, projects or feature stores.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::operation;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::{Settings, Transaction};
use crate::clock::timestamp_text;
use crate::kinds::{Kind, ML, check_settled, datastore, system_data, workspace_body};
use crate::physics::Event;
use crate::resource_id::ResourceId;
use crate::world;

pub(crate) const TYPE: &str = "Microsoft.MachineLearningServices/workspaces";

pub(crate) struct Workspace;

impl Kind for Workspace {
    fn resource_type(&self) -> &'static str {
        TYPE
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip"],
            Verb::Delete => &["forceToPurge"],
            _ => &[],
        }
    }

    /// Creates or overwrites.
    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let given = request.object()?;
        let settings = transaction.settings;
        let existing = transaction.state.documents.get(&request.id).cloned();
        let mut body = match &existing {
            Some(found) => {
                check_settled(found, "workspace")?;
                workspace_body::overwritten(settings, &found.id, given, &found.body)?
            }
            None => workspace_body::made(settings, &request.id, given)?,
        };
        let before = existing.as_ref().map(|found| &found.body["systemData"]);
        body["systemData"] = system_data(transaction, request, before);
        let (id, state) = match existing {
            Some(found) => (found.id, "Updating"),
            None => (request.id.clone(), "Creating"),
        };
        body["properties"]["provisioningState"] = json!(state);
        transaction.state.documents.store(id.clone(), body);
        if state == "Creating" {
            datastore::create_defaults(transaction, &id);
        }
        Ok(begin_write(transaction, request, id))
    }

    fn patch(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let given = request.object()?;
        let Some(found) = transaction.state.documents.get(&request.id).cloned() else {
            return Err(ArmError::resource_not_found(&request.id));
        };
        check_settled(&found, "workspace")?;
        let mut body =
            workspace_body::patched(transaction.settings, &found.id, given, &found.body)?;
        body["systemData"] = system_data(transaction, request, Some(&found.body["systemData"]));
        body["properties"]["provisioningState"] = json!("Updating");
        transaction.state.documents.store(found.id.clone(), body);
        Ok(begin_write(transaction, request, found.id))
    }

    /// Takes along what is in the workspace.
    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let Some(found) = transaction.state.documents.get(&request.id) else {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        };
        let id = found.id.clone();
        set_state(transaction, &id, "Deleting");
        let (operation, url) =
            operation::begin_workspace_operation(transaction, request.api_version(), &id);
        transaction.delete_workspace(&id, operation);
        Ok(Answer::empty(StatusCode::ACCEPTED).header("location", url))
    }
}

fn begin_write(
    transaction: &mut Transaction<'_>,
    request: &ArmRequest,
    workspace: ResourceId,
) -> Answer {
    let (operation, url) =
        operation::begin_workspace_operation(transaction, request.api_version(), &workspace);
    let seconds = transaction.settings.world.timings.workspace_write_seconds;
    transaction.schedule(
        seconds,
        Event::WorkspaceWritten {
            workspace,
            operation,
        },
    );
    Answer::empty(StatusCode::ACCEPTED).header("location", url)
}

pub(crate) fn set_state(transaction: &mut Transaction<'_>, workspace: &ResourceId, state: &str) {
    if let Some(body) = transaction.state.documents.body_mut(&workspace.key()) {
        body["properties"]["provisioningState"] = json!(state);
    }
}

/// Whether a workspace's time has come: nothing is made in it any more.
pub(crate) fn is_going(body: &Value) -> bool {
    body["properties"]["provisioningState"] == "Deleting"
}

/// Several workspaces are there, so that a name alone does not say which thing is meant.
pub(crate) fn are_several(transaction: &Transaction<'_>) -> bool {
    transaction.state.documents.of_type(TYPE).len() > 1
}

/// The ARM id of a workspace of the world.
pub(crate) fn id_of(settings: &Settings, workspace: &world::Workspace) -> ResourceId {
    let world = &settings.world;
    ResourceId {
        subscription: world.subscription_id.clone(),
        resource_group: Some(world.resource_group_of(workspace).to_owned()),
        provider: ML.to_owned(),
        segments: vec![("workspaces".to_owned(), Some(workspace.name.clone()))],
    }
}

/// The stable `workspaceId` guid of a workspace.
pub(crate) fn guid_of(id: &ResourceId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, id.key().as_bytes())
}

/// `managedNetwork.isolationMode` is not `Disabled`.
pub(crate) fn has_managed_network(transaction: &Transaction<'_>, id: &ResourceId) -> bool {
    let root = id.root();
    transaction.state.documents.get(&root).is_some_and(|found| {
        let mode = &found.body["properties"]["managedNetwork"]["isolationMode"];
        mode.as_str().is_some_and(|mode| mode != "Disabled")
    })
}

/// Puts a workspace of the world in place.
pub(crate) fn create(transaction: &mut Transaction<'_>, workspace: &world::Workspace) {
    let settings = transaction.settings;
    let id = id_of(settings, workspace);
    let mut body = workspace_body::initial(settings, &id);
    body["properties"]["managedNetwork"] =
        workspace_body::managed_network(&id, &workspace.managed_network);
    let created = timestamp_text(transaction.now.timestamp);
    body["systemData"] = json!({
        "createdAt": created, "createdBy": "azure-simulator",
        "createdByType": "Application", "lastModifiedAt": created,
        "lastModifiedBy": "azure-simulator", "lastModifiedByType": "Application",
    });
    transaction.state.documents.insert(id.clone(), body);
    datastore::create_defaults(transaction, &id);
}

//! What a compute shows: its document, and what its pool is doing right now.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::documents::Document;
use crate::physics::pool::{NodeState, Pool};
use crate::problem::Problem;
use crate::resource_id::ResourceId;
use crate::world::Unproven;

/// While a write is under way Azure echoes the input and leaves out everything computed
/// (contract section 6, recorded).
pub(crate) fn view(transaction: &Transaction<'_>, document: &Document) -> Value {
    let mut body = document.body.clone();
    let pool = transaction.state.physics.pools.get(&document.id.key());
    let state = body["properties"]["provisioningState"].clone();
    let location = body["location"].clone();
    let outer = &mut body["properties"];
    if state == "Creating" {
        without_counts(&mut outer["properties"]);
        return body;
    }
    outer["computeLocation"] = location;
    outer["provisioningWarnings"] = json!({});
    let inner = &mut outer["properties"];
    if inner["vmPriority"].is_null() {
        inner["vmPriority"] = json!("Dedicated");
    }
    match (pool, state == "Updating") {
        (Some(pool), false) => {
            settled(inner, pool, &transaction.settings.world.unproven);
        }
        _ => without_counts(inner),
    }
    if state == "Updating" {
        outer["resourceId"] = json!(batch_id(&document.id));
    }
    if body["tags"].is_null() {
        body["tags"] = json!({});
    }
    with_identities(&mut body);
    body
}

fn without_counts(inner: &mut Value) {
    for field in [
        "currentNodeCount",
        "targetNodeCount",
        "nodeStateCounts",
        "allocationState",
        "errors",
    ] {
        inner[field] = Value::Null;
    }
}

fn settled(inner: &mut Value, pool: &Pool, unproven: &Unproven) {
    let idle = &mut inner["scaleSettings"]["nodeIdleTimeBeforeScaleDown"];
    if idle.is_null() {
        *idle = json!("PT2M");
    }
    inner["remoteLoginPortPublicAccess"] = json!(login_port(inner));
    inner["currentNodeCount"] = json!(pool.nodes.len());
    inner["targetNodeCount"] = json!(pool.target());
    inner["nodeStateCounts"] = node_counts(pool);
    inner["allocationState"] = json!(pool.allocation());
    inner["allocationStateTransitionTime"] = json!(timestamp_text(pool.allocation_changed));
    let errors = pool.errors(unproven);
    inner["errors"] = if errors.is_empty() {
        Value::Null
    } else {
        errors.into_iter().map(Problem::response).collect()
    };
    inner["propertyBag"] = json!({});
}

/// Whether nodes take logins from outside: what is not said depends on the subnet (contract section 6).
pub(crate) fn login_port(inner: &Value) -> &'static str {
    match inner["remoteLoginPortPublicAccess"].as_str() {
        Some("Enabled") => "Enabled",
        Some("Disabled") => "Disabled",
        _ if inner["subnet"].is_null() => "Enabled",
        _ => "Disabled",
    }
}

/// `nodeStateCounts`.
pub(crate) fn node_counts(pool: &Pool) -> Value {
    let count = |state| pool.count(state);
    json!({
        "idleNodeCount": count(NodeState::Idle),
        "runningNodeCount": count(NodeState::Running),
        "preparingNodeCount": count(NodeState::Preparing),
        "leavingNodeCount": count(NodeState::Leaving),
        "unusableNodeCount": count(NodeState::Unusable),
        "preemptedNodeCount": count(NodeState::Preempted),
    })
}

/// The pool of machines below, by its ARM id.
pub(crate) fn batch_id(id: &ResourceId) -> String {
    format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.BatchAI/workspaces/{}/clusters/{}",
        id.subscription,
        id.resource_group.as_deref().unwrap_or_default(),
        id.root_name(),
        id.name(),
    )
}

/// Identities get the ids that Entra would have given them.
fn with_identities(body: &mut Value) {
    let seed = Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        body["id"].as_str().unwrap_or_default().as_bytes(),
    );
    let Some(identity) = body.get_mut("identity") else {
        return;
    };
    if identity["type"]
        .as_str()
        .is_some_and(|kind| kind.contains("SystemAssigned"))
    {
        identity["principalId"] = json!(Uuid::new_v5(&seed, b"principal"));
        identity["tenantId"] = json!(Uuid::new_v5(&seed, b"tenant"));
    }
    if let Some(assigned) = identity["userAssignedIdentities"].as_object_mut() {
        for (id, ids) in assigned {
            let own = Uuid::new_v5(&Uuid::NAMESPACE_URL, id.to_lowercase().as_bytes());
            *ids = json!({
                "principalId": Uuid::new_v5(&own, b"principal"),
                "clientId": Uuid::new_v5(&own, b"client"),
            });
        }
    }
}

/// What `listNodes` tells (contract section 6).
pub(crate) fn nodes(transaction: &Transaction<'_>, pool: &str) -> Vec<Value> {
    let physics = &transaction.state.physics;
    let nodes = physics.pools.get(pool).map(|pool| pool.nodes.as_slice());
    nodes
        .unwrap_or_default()
        .iter()
        .map(|node| {
            json!({
                "nodeId": node.id,
                "privateIpAddress": node.address,
                "publicIpAddress": null,
                "port": node.port,
                "nodeState": node.state.word(),
                "runId": node.run.as_deref().and_then(|run| physics.runs.get(run)).map(|run| &run.id),
            })
        })
        .collect()
}

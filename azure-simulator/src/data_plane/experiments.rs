//! Experiments: the names that jobs give, with the ids that MLflow wants.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::Transaction;
use crate::documents::Order;
use crate::kinds;
use crate::resource_id::ResourceId;

pub(crate) fn id_of(workspace: &ResourceId, name: &str) -> String {
    Uuid::new_v5(&kinds::workspace_guid(workspace), name.as_bytes()).to_string()
}

/// Names that jobs of a workspace have used.
pub(crate) fn names(transaction: &Transaction<'_>, workspace: &ResourceId) -> BTreeSet<String> {
    transaction
        .state
        .documents
        .members(&workspace.child("jobs", None), Order::OldestFirst, None)
        .filter_map(|job| job.body["properties"]["experimentName"].as_str())
        .map(str::to_owned)
        .collect()
}

/// What MLflow shows of an experiment.
pub(crate) fn shown(workspace: &ResourceId, name: &str) -> Value {
    json!({
        "experiment_id": id_of(workspace, name),
        "name": name,
        "artifact_location": "",
        "lifecycle_stage": "active",
        "tags": [],
    })
}

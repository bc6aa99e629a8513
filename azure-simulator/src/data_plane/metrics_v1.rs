//! Metrics of version 1: rows of any JSON, so that they can be strings (contract sections 0.9 and 10).

use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{DataPlaneRequest, find};
use crate::documents::Order;

/// Adds metrics to a run; one of a name that is there gets more rows.
pub(crate) fn log(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    run: &str,
    metrics: &[Value],
) -> Result<Value, DataPlaneError> {
    let id = request.job_id(run);
    find(transaction, &id)?;
    let created = timestamp_text(transaction.now.timestamp);
    let mut answers = Vec::new();
    for metric in metrics {
        let name = metric["name"].as_str().filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(DataPlaneError::bad_request("A metric needs a name."));
        };
        let Some(cells) = metric["cells"].as_array() else {
            return Err(DataPlaneError::bad_request(format!(
                "The metric '{name}' needs cells."
            )));
        };
        let Some(state) = transaction.state.physics.runs.get_mut(&id.key()) else {
            continue;
        };
        let known = state
            .metrics_v1
            .iter()
            .position(|known| known["name"] == name);
        let at = known.unwrap_or_else(|| {
            state.metrics_v1.push(json!({
                "runId": run,
                "metricId": Uuid::new_v4(),
                "dataContainerId": format!("dcid.{run}"),
                "metricType": metric["metricType"],
                "createdUtc": created,
                "name": name,
                "description": metric["description"],
                "label": metric["label"],
                "numCells": 0,
                "cells": [],
                "schema": metric["schema"],
            }));
            state.metrics_v1.len() - 1
        });
        let stored = &mut state.metrics_v1[at];
        let mut rows = stored["cells"].as_array().cloned().unwrap_or_default();
        rows.extend(cells.iter().cloned());
        stored["numCells"] = json!(rows.len());
        stored["cells"] = Value::Array(rows);
        answers.push(stored.clone());
    }
    Ok(match answers.as_slice() {
        [only] => only.clone(),
        _ => json!({"values": answers}),
    })
}

/// The metrics of an experiment, of one run where the filter names one.
pub(crate) fn list(
    transaction: &Transaction<'_>,
    request: &DataPlaneRequest,
    experiment: &str,
) -> Result<Value, DataPlaneError> {
    let filter = request.query.get("$filter").unwrap_or_default();
    let run = match filter.trim_matches(['(', ')']).split_once(" eq ") {
        Some((field, run)) if field.eq_ignore_ascii_case("RunId") => Some(run.trim_matches('\'')),
        None if filter.is_empty() => None,
        _ => {
            return Err(DataPlaneError::refused(format!(
                "The metric filter '{filter}'"
            )));
        }
    };
    let jobs = request.workspace.child("jobs", None);
    let value: Vec<Value> = transaction
        .state
        .documents
        .members(&jobs, Order::OldestFirst, None)
        .filter_map(|job| find(transaction, &job.id).ok())
        .filter(|tracked| tracked.experiment() == experiment)
        .filter(|tracked| run.is_none_or(|run| tracked.run.id == run))
        .flat_map(|tracked| tracked.run.metrics_v1.clone())
        .collect();
    Ok(json!({"value": value, "continuationToken": null, "nextLink": null}))
}

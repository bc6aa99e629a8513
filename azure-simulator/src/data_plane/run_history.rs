//! Run history: the run behind a job, its error text and its logs (contract section 10).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::azure::{Azure, Transaction};
use crate::clock::timestamp_text;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{
    DataPlaneRequest, Tracked, artifacts, experiments, find, metrics_v1, mlflow, run_artifacts,
    run_events, run_files,
};
use crate::documents::Order;
use crate::entra::run_token;
use crate::kinds;
use crate::physics::run::JobStatus;
use crate::resource_id::ResourceId;

/// Serves `/history/{version}{WS}/…`.
pub(crate) async fn serve(
    State(azure): State<Arc<Azure>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let location = &azure.settings.world.location;
    match answer(&azure, &method, &uri, &headers, &body).await {
        Ok(Value::Null) => Answer::empty(StatusCode::NO_CONTENT),
        Ok(body) => Answer::ok(body),
        Err(error) => error.service_answer(location),
    }
}

/// What there is to say; `null` where that it is done is all.
async fn answer(
    azure: &Azure,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Value, DataPlaneError> {
    let mut request = DataPlaneRequest::read(azure, method, uri, headers)?;
    by_name(azure, &mut request)?;
    let route = request.route();
    match (method, route.as_slice()) {
        (&Method::GET, ["runs", run]) => read(azure, &request, run, |tracked| {
            shown(tracked, &request.workspace)
        }),
        (&Method::GET, ["experiments", experiment, "runs", run]) => {
            check_experiment(azure, &request, experiment, run)?;
            read(azure, &request, run, |tracked| {
                shown(tracked, &request.workspace)
            })
        }
        (&Method::GET, ["runs", run, "details"])
        | (&Method::GET, ["experiments", _, "runs", run, "details"]) => {
            details(azure, &request, run).await
        }
        (&Method::GET, ["runs", run, "children"])
        | (&Method::GET, ["experiments", _, "runs", run, "children"]) => {
            // Runs of jobs of one command have none.
            read(
                azure,
                &request,
                run,
                |_| json!({"value": [], "continuationToken": null, "nextLink": null}),
            )
        }
        (&Method::GET, ["runs", run, "token"])
        | (&Method::GET, ["experiments", _, "runs", run, "token"]) => {
            another_token(azure, &request, run)
        }
        (&Method::POST, ["runs", run, "events"])
        | (&Method::POST, ["experiments", _, "runs", run, "events"]) => {
            let event = parsed(body)?;
            azure.transact(|transaction| run_events::post(transaction, &request, run, &event))?;
            Ok(Value::Null)
        }
        (&Method::POST, ["rundata"]) => {
            let asked = parsed(body)?;
            let run = asked["runId"].as_str().unwrap_or_default();
            read(azure, &request, run, |tracked| {
                json!({
                    "runMetadata": shown(tracked, &request.workspace),
                    "runDefinition": null,
                    "jobSpecification": null,
                })
            })
        }
        (&Method::GET, ["runs", run, "serviceinstances", node]) => azure.transact(|transaction| {
            let tracked = find(transaction, &request.job_id(run))?;
            let number = node.parse().ok();
            let Some(node) = number.filter(|node| *node < tracked.run.instances) else {
                return Err(DataPlaneError::bad_request(format!(
                    "The run {run} has no node '{node}'."
                )));
            };
            Ok(kinds::service_instances(
                transaction,
                tracked.document,
                node,
            ))
        }),
        (_, ["experiments", _, "runs", run, "artifacts", rest @ ..]) => {
            run_artifacts::serve(azure, &request, (method, run, rest), body).await
        }
        (&Method::POST, ["experiments", _, "runs", run, "metrics"]) => {
            let metric = parsed(body)?;
            azure.transact(|transaction| metrics_v1::log(transaction, &request, run, &[metric]))
        }
        (&Method::POST, ["experiments", _, "runs", run, "batch", "metrics"]) => {
            let metrics = parsed(body)?["values"].as_array().cloned();
            azure.transact(|transaction| {
                metrics_v1::log(transaction, &request, run, &metrics.unwrap_or_default())
            })
        }
        (&Method::GET, ["experiments", experiment, "metrics"]) => {
            azure.transact(|transaction| metrics_v1::list(transaction, &request, experiment))
        }
        (&Method::POST, ["experiments", experiment, "runs:query"]) => {
            let query = parsed(body)?;
            azure.transact(|transaction| query_runs(transaction, &request, experiment, &query))
        }
        (&Method::PATCH, ["experiments", experiment, "runs", run]) => {
            check_experiment(azure, &request, experiment, run)?;
            let change = parsed(body)?;
            azure.transact(|transaction| patch(transaction, &request, run, &change))
        }
        (&Method::PATCH, ["experiments", experiment, "runs", run, "tags"]) => {
            check_experiment(azure, &request, experiment, run)?;
            let change = parsed(body)?;
            azure.transact(|transaction| {
                let added = json!({"tags": change["tagsToModify"]});
                patch(transaction, &request, run, &added)?;
                match &change["tagsToDelete"] {
                    Value::Null => delete_tags(transaction, &request, run, &json!([])),
                    keys => delete_tags(transaction, &request, run, keys),
                }
            })
        }
        (&Method::DELETE, ["experiments", experiment, "runs", run, "tags"]) => {
            check_experiment(azure, &request, experiment, run)?;
            let keys = parsed(body)?;
            azure.transact(|transaction| delete_tags(transaction, &request, run, &keys))
        }
        _ => Err(DataPlaneError::refused(format!("{method} {}", uri.path()))),
    }
}

/// What names an experiment by its id is routed as if it had named it.
fn by_name(azure: &Azure, request: &mut DataPlaneRequest) -> Result<(), DataPlaneError> {
    if let [word, id, ..] = request.rest.as_mut_slice()
        && word == "experimentids"
    {
        let workspace = request.workspace.clone();
        let names = azure.transact(|transaction| experiments::names(transaction, &workspace));
        let name = names
            .into_iter()
            .find(|name| experiments::id_of(&workspace, name) == *id)
            .ok_or_else(|| {
                DataPlaneError::not_found(format!("Could not find experiment '{id}'."))
            })?;
        "experiments".clone_into(word);
        *id = name;
    }
    Ok(())
}

/// Runs of an experiment, the newest first and on one page.
fn query_runs(
    transaction: &Transaction<'_>,
    request: &DataPlaneRequest,
    experiment: &str,
    query: &Value,
) -> Result<Value, DataPlaneError> {
    if query["filter"]
        .as_str()
        .is_some_and(|filter| !filter.is_empty())
    {
        return Err(DataPlaneError::refused("A filter of runs:query"));
    }
    let most = query["top"].as_u64().unwrap_or(u64::MAX);
    let jobs = request.workspace.child("jobs", None);
    let runs: Vec<Value> = transaction
        .state
        .documents
        .members(&jobs, Order::NewestFirst, None)
        .filter_map(|job| find(transaction, &job.id).ok())
        .filter(|tracked| tracked.experiment() == experiment)
        .take(usize::try_from(most).unwrap_or(usize::MAX))
        .map(|tracked| shown(&tracked, &request.workspace))
        .collect();
    Ok(json!({"value": runs, "continuationToken": null, "nextLink": null}))
}

pub(crate) fn parsed(body: &Bytes) -> Result<Value, DataPlaneError> {
    serde_json::from_slice(body)
        .map_err(|problem| DataPlaneError::bad_request(format!("The body is no JSON: {problem}")))
}

fn read(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
    show: impl FnOnce(&Tracked<'_>) -> Value,
) -> Result<Value, DataPlaneError> {
    azure.transact(|transaction| Ok(show(&find(transaction, &request.job_id(run))?)))
}

/// For clients that run longer than the token they began with.
fn another_token(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
) -> Result<Value, DataPlaneError> {
    azure.transact(|transaction| find(transaction, &request.job_id(run)).map(|_| ()))?;
    let issued = run_token::issue(azure, &request.workspace.key(), run);
    Ok(json!({"token": issued.token, "expiryTimeUtc": timestamp_text(issued.expires)}))
}

fn check_experiment(
    azure: &Azure,
    request: &DataPlaneRequest,
    experiment: &str,
    run: &str,
) -> Result<(), DataPlaneError> {
    azure.transact(|transaction| {
        let tracked = find(transaction, &request.job_id(run))?;
        if tracked.experiment() == experiment {
            return Ok(());
        }
        Err(DataPlaneError::not_found(format!(
            "Run with id {run} was not found in experiment {experiment}."
        )))
    })
}

/// A run, as run history shows it.
fn shown(tracked: &Tracked<'_>, workspace: &ResourceId) -> Value {
    let (run, properties) = (tracked.run, tracked.properties());
    let at = |time: Option<jiff::Timestamp>| time.map(timestamp_text);
    let ended = run.ended.filter(|_| run.status.is_terminal());
    let mut queueing = Value::Null;
    if run.status == JobStatus::Queued {
        let (code, message) = match tracked.shortage {
            Some(problem) => (problem.code.as_str(), problem.message.as_str()),
            None => (
                "WaitingForNodes",
                "The job waits for a node of its compute.",
            ),
        };
        queueing = json!({
            "code": code,
            "message": message,
            "lastRefreshTimestamp": timestamp_text(run.created),
        });
    }
    let target = properties["computeId"].as_str().unwrap_or_default();
    json!({
        "runId": run.id,
        "rootRunId": run.id,
        "dataContainerId": format!("dcid.{}", run.id),
        "experimentId": experiments::id_of(workspace, tracked.experiment()),
        "experimentName": tracked.experiment(),
        "runType": "azureml.CommandJob",
        "displayName": properties["displayName"],
        "description": properties["description"],
        "status": run.status.word(),
        "createdUtc": at(Some(run.created)),
        "startTimeUtc": at(run.started),
        "endTimeUtc": at(ended),
        "error": run.error,
        "warnings": run.warnings,
        "tags": properties["tags"],
        "properties": properties["properties"],
        "hidden": properties["isArchived"],
        "compute": {
            "target": target.rsplit('/').next(),
            "targetType": "amlctrain",
            "instanceCount": run.instances,
        },
        "computeRequest": {"nodeCount": run.instances},
        "queueingInfo": queueing,
    })
}

async fn details(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
) -> Result<Value, DataPlaneError> {
    let (mut shown, directory) = azure.transact(|transaction| {
        let tracked = find(transaction, &request.job_id(run))?;
        let shown = shown(&tracked, &request.workspace);
        Ok((shown, tracked.run.directory.clone()))
    })?;
    let mut logs = Map::new();
    for file in run_files::list(directory).await? {
        if file.path.starts_with("user_logs/") {
            let link = artifacts::link(azure, &request.workspace, run, &file.path);
            logs.insert(file.path, json!(link));
        }
    }
    shown["logFiles"] = Value::Object(logs);
    shown["target"] = shown["compute"]["target"].clone();
    Ok(shown)
}

/// Tags merge, properties gain keys, `hidden` is the job's `isArchived` (contract section 7).
fn patch(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    run: &str,
    change: &Value,
) -> Result<Value, DataPlaneError> {
    let id = request.job_id(run);
    let mut properties = find(transaction, &id)?.properties().clone();
    for (field, value) in change.as_object().into_iter().flatten() {
        match (field.as_str(), value) {
            (_, Value::Null) | ("runId", _) => {}
            ("tags", Value::Object(tags)) => {
                for (name, value) in tags {
                    properties["tags"][name] = value.clone();
                }
            }
            ("properties", Value::Object(given)) => {
                for (name, value) in given {
                    let kept = properties["properties"].get(name);
                    if kept.is_some_and(|kept| kept != value) {
                        return Err(DataPlaneError::bad_request(format!(
                            "The property '{name}' of a run cannot be changed."
                        )));
                    }
                    properties["properties"][name] = value.clone();
                }
            }
            ("displayName" | "description", Value::String(_)) => {
                properties[field] = value.clone();
            }
            ("hidden", Value::Bool(_)) => properties["isArchived"] = value.clone(),
            (other, _) => {
                return Err(DataPlaneError::refused(format!(
                    "A change of a run's '{other}'"
                )));
            }
        }
    }
    mlflow::replace_tags(transaction, &id, properties["tags"].clone())?;
    if let Some(body) = transaction.state.documents.body_mut(&id.key()) {
        body["properties"] = properties;
    }
    Ok(shown(&find(transaction, &id)?, &request.workspace))
}

fn delete_tags(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    run: &str,
    keys: &Value,
) -> Result<Value, DataPlaneError> {
    let id = request.job_id(run);
    let mut tags = find(transaction, &id)?.properties()["tags"].clone();
    let Some(keys) = keys.as_array() else {
        return Err(DataPlaneError::bad_request(
            "A list of tag names is expected.",
        ));
    };
    if let Some(tags) = tags.as_object_mut() {
        for key in keys.iter().filter_map(Value::as_str) {
            tags.remove(key);
        }
    }
    mlflow::replace_tags(transaction, &id, tags)?;
    Ok(shown(&find(transaction, &id)?, &request.workspace))
}

//! MLflow's tracking API, versions 1 and 2 of Azure's paths (contract section 10).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::azure::{Azure, Transaction};
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{DataPlaneRequest, Tracked, experiments, find, run_files, run_search};
use crate::kinds;
use crate::physics::run::{Metric, Run};
use crate::resource_id::ResourceId;

const LONGEST_PARAMETER: usize = 500;

/// Serves `/mlflow/{version}{WS}/api/2.0/mlflow/…`.
pub(crate) async fn serve(
    State(azure): State<Arc<Azure>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    match answer(&azure, &method, &uri, &headers, &body).await {
        Ok(body) => Answer::ok(body),
        Err(error) => error.mlflow_answer(),
    }
}

async fn answer(
    azure: &Azure,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Value, DataPlaneError> {
    let request = DataPlaneRequest::read(azure, method, uri, headers)?;
    let route = request.route();
    let (family, operation) = match route.as_slice() {
        ["api", "2.0", "mlflow", family, operation]
        | ["api", "2.0", "preview", "mlflow", family, operation] => (family, operation),
        _ => return Err(DataPlaneError::refused(format!("{method} {}", uri.path()))),
    };
    let arguments = arguments(&request, body)?;
    match (*family, *operation) {
        ("artifacts", "list") => list_artifacts(azure, &request, &arguments).await,
        (family, operation) => azure
            .transact(|transaction| call(transaction, &request, (family, operation), &arguments)),
    }
}

/// The body of a POST, or the query of a GET as if it were one.
fn arguments(request: &DataPlaneRequest, body: &Bytes) -> Result<Value, DataPlaneError> {
    if request.method == Method::GET {
        let mut arguments = json!({});
        for name in request.query.names() {
            arguments[name] = json!(request.query.get(name));
        }
        return Ok(arguments);
    }
    if body.is_empty() {
        return Ok(json!({}));
    }
    let arguments: Value = serde_json::from_slice(body).map_err(|problem| {
        DataPlaneError::bad_request(format!("The body is no JSON: {problem}"))
    })?;
    if !arguments.is_object() {
        return Err(DataPlaneError::bad_request("The body is no JSON object."));
    }
    Ok(arguments)
}

fn call(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    operation: (&str, &str),
    arguments: &Value,
) -> Result<Value, DataPlaneError> {
    let workspace = &request.workspace;
    match operation {
        ("runs", "get") => {
            let tracked = find(transaction, &run_of(request, arguments)?)?;
            Ok(json!({"run": shown(&tracked, workspace)}))
        }
        ("runs", "set-tag") => {
            let tag = json!([{"key": arguments["key"], "value": arguments["value"]}]);
            set_tags(transaction, &run_of(request, arguments)?, &tag)
        }
        ("runs", "delete-tag") => delete_tag(
            transaction,
            &run_of(request, arguments)?,
            text(arguments, "key")?,
        ),
        ("runs", "log-metric") => {
            let id = run_of(request, arguments)?;
            log_metrics(transaction, &id, std::slice::from_ref(arguments))
        }
        ("runs", "log-parameter") => {
            let id = run_of(request, arguments)?;
            log_parameters(transaction, &id, std::slice::from_ref(arguments))
        }
        // Of Azure's own: the batch is logged at once, and that it was is asked for afterwards.
        ("runs", "get-run-data-status") => {
            find(transaction, &run_of(request, arguments)?)?;
            Ok(json!({"start_time": "", "is_complete": true}))
        }
        ("runs", "log-batch" | "log-batch-async") => {
            let id = run_of(request, arguments)?;
            find(transaction, &id)?;
            let list = |name: &str| arguments[name].as_array().cloned().unwrap_or_default();
            log_parameters(transaction, &id, &list("params"))?;
            log_metrics(transaction, &id, &list("metrics"))?;
            set_tags(transaction, &id, &json!(list("tags")))?;
            Ok(match operation.1 {
                "log-batch-async" => json!({"batch_tracking_id": Uuid::new_v4()}),
                _ => json!({}),
            })
        }
        ("runs", "update") => update(transaction, request, arguments),
        ("runs", "search") => run_search::search(transaction, workspace, arguments),
        ("metrics", "get-history") => history(transaction, request, arguments),
        ("experiments", "get-by-name") => {
            let name = text(arguments, "experiment_name")?;
            if !experiments::names(transaction, workspace).contains(name) {
                return Err(DataPlaneError::not_found(format!(
                    "Could not find experiment with name '{name}'."
                )));
            }
            Ok(json!({"experiment": experiments::shown(workspace, name)}))
        }
        ("experiments", "get") => {
            let wanted = text(arguments, "experiment_id")?;
            let names = experiments::names(transaction, workspace);
            let named = names
                .iter()
                .find(|name| experiments::id_of(workspace, name) == wanted);
            named
                .map(|name| json!({"experiment": experiments::shown(workspace, name)}))
                .ok_or_else(|| {
                    DataPlaneError::not_found(format!("Could not find experiment '{wanted}'."))
                })
        }
        ("experiments", "search") => {
            let all: Vec<Value> = experiments::names(transaction, workspace)
                .iter()
                .map(|name| experiments::shown(workspace, name))
                .collect();
            Ok(json!({"experiments": all}))
        }
        (family, operation) => Err(DataPlaneError::refused(format!(
            "MLflow {family}/{operation}"
        ))),
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, DataPlaneError> {
    arguments[name]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            DataPlaneError::bad_request(format!("Missing value for parameter '{name}'."))
        })
}

fn run_of(request: &DataPlaneRequest, arguments: &Value) -> Result<ResourceId, DataPlaneError> {
    let run = text(arguments, "run_id").or_else(|_| text(arguments, "run_uuid"))?;
    Ok(request.job_id(run))
}

/// A run, as MLflow shows it.
pub(crate) fn shown(tracked: &Tracked<'_>, workspace: &ResourceId) -> Value {
    let (run, properties) = (tracked.run, tracked.properties());
    let experiment_id = experiments::id_of(workspace, tracked.experiment());
    let mut latest: Vec<Value> = Vec::new();
    for metric in &run.metrics {
        latest.retain(|shown| shown["key"] != metric.key.as_str());
        latest.push(metric_shown(metric));
    }
    let pairs = |pairs: &mut dyn Iterator<Item = (&String, &str)>| -> Vec<Value> {
        pairs
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect()
    };
    let tags = properties["tags"].as_object().into_iter().flatten();
    let mut info = json!({
        "run_id": run.id,
        "run_uuid": run.id,
        "run_name": properties["displayName"],
        "experiment_id": experiment_id,
        "user_id": "",
        "status": run.status.mlflow_word(),
        "start_time": run.started.unwrap_or(run.created).as_millisecond(),
        "lifecycle_stage": "active",
        "artifact_uri": format!(
            "azureml://experiments/{}/runs/{}/artifacts", tracked.experiment(), run.id
        ),
    });
    if let Some(ended) = run.ended.filter(|_| run.status.is_terminal()) {
        info["end_time"] = json!(ended.as_millisecond());
    }
    json!({
        "info": info,
        "data": {
            "metrics": latest,
            "params": pairs(&mut run.parameters.iter().map(|(key, value)| (key, value.as_str()))),
            "tags": pairs(&mut tags.map(|(key, value)| (key, value.as_str().unwrap_or_default()))),
        },
        "inputs": {},
    })
}

fn metric_shown(metric: &Metric) -> Value {
    json!({
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.timestamp,
        "step": metric.step,
    })
}

/// Sets tags, which overwrite; given as MLflow has them, a list of keys and values.
fn set_tags(
    transaction: &mut Transaction<'_>,
    id: &ResourceId,
    tags: &Value,
) -> Result<Value, DataPlaneError> {
    let mut merged = find(transaction, id)?.properties()["tags"].clone();
    for tag in tags.as_array().into_iter().flatten() {
        let key = text(tag, "key")?;
        let value = tag["value"]
            .as_str()
            .map_or_else(|| tag["value"].to_string(), str::to_owned);
        merged[key] = json!(value);
    }
    replace_tags(transaction, id, merged)
}

/// Stores the tags of a run, if Azure would.
pub(crate) fn replace_tags(
    transaction: &mut Transaction<'_>,
    id: &ResourceId,
    tags: Value,
) -> Result<Value, DataPlaneError> {
    kinds::check_job_tags(&tags).map_err(|error| DataPlaneError::bad_request(error.message))?;
    if let Some(body) = transaction.state.documents.body_mut(&id.key()) {
        body["properties"]["tags"] = tags;
    }
    Ok(json!({}))
}

fn delete_tag(
    transaction: &mut Transaction<'_>,
    id: &ResourceId,
    key: &str,
) -> Result<Value, DataPlaneError> {
    let mut tags = find(transaction, id)?.properties()["tags"].clone();
    let removed = tags.as_object_mut().and_then(|tags| tags.remove(key));
    if removed.is_none() {
        return Err(DataPlaneError::not_found(format!(
            "No tag with name: {key} in run with id {}",
            id.name()
        )));
    }
    replace_tags(transaction, id, tags)
}

fn run_mut<'a>(
    transaction: &'a mut Transaction<'_>,
    id: &ResourceId,
) -> Result<&'a mut Run, DataPlaneError> {
    transaction
        .state
        .physics
        .runs
        .get_mut(&id.key())
        .ok_or_else(|| {
            DataPlaneError::not_found(format!("Run with id {} was not found.", id.name()))
        })
}

fn log_metrics(
    transaction: &mut Transaction<'_>,
    id: &ResourceId,
    metrics: &[Value],
) -> Result<Value, DataPlaneError> {
    let now = transaction.now.timestamp.as_millisecond();
    let run = run_mut(transaction, id)?;
    for metric in metrics {
        let key = text(metric, "key")?.to_owned();
        let Some(value) = metric["value"].as_f64() else {
            return Err(DataPlaneError::bad_request(format!(
                "Got invalid value {} for metric '{key}': metrics are numbers.",
                metric["value"]
            )));
        };
        run.metrics.push(Metric {
            key,
            value,
            timestamp: metric["timestamp"].as_i64().unwrap_or(now),
            step: metric["step"].as_i64().unwrap_or_default(),
        });
    }
    Ok(json!({}))
}

/// Parameters are written once.
fn log_parameters(
    transaction: &mut Transaction<'_>,
    id: &ResourceId,
    parameters: &[Value],
) -> Result<Value, DataPlaneError> {
    let run = run_mut(transaction, id)?;
    for parameter in parameters {
        let key = text(parameter, "key")?;
        let value = parameter["value"].as_str().unwrap_or_default();
        if value.chars().count() > LONGEST_PARAMETER {
            return Err(DataPlaneError::bad_request(format!(
                "The value of parameter '{key}' is longer than {LONGEST_PARAMETER} characters."
            )));
        }
        match run.parameters.get(key) {
            Some(before) if before != value => {
                return Err(DataPlaneError::bad_request(format!(
                    "Changing param values is not allowed. Param with key='{key}' was already \
                     logged with value='{before}'."
                )));
            }
            Some(_) => {}
            None => {
                run.parameters.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    Ok(json!({}))
}

/// A submitted run's status is the system's own; its name can change.
fn update(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    arguments: &Value,
) -> Result<Value, DataPlaneError> {
    let id = run_of(request, arguments)?;
    let status = find(transaction, &id)?.run.status.mlflow_word();
    if let Some(wanted) = arguments["status"].as_str()
        && wanted != status
    {
        return Err(DataPlaneError::bad_request(
            "The status for this run is system managed and cannot be changed.",
        ));
    }
    if let Some(name) = arguments["run_name"].as_str()
        && let Some(body) = transaction.state.documents.body_mut(&id.key())
    {
        body["properties"]["displayName"] = json!(name);
    }
    let tracked = find(transaction, &id)?;
    Ok(json!({"run_info": shown(&tracked, &request.workspace)["info"]}))
}

fn history(
    transaction: &Transaction<'_>,
    request: &DataPlaneRequest,
    arguments: &Value,
) -> Result<Value, DataPlaneError> {
    let tracked = find(transaction, &run_of(request, arguments)?)?;
    let key = text(arguments, "metric_key")?;
    let metrics: Vec<Value> = tracked
        .run
        .metrics
        .iter()
        .filter(|metric| metric.key == key)
        .map(metric_shown)
        .collect();
    Ok(json!({"metrics": metrics}))
}

async fn list_artifacts(
    azure: &Azure,
    request: &DataPlaneRequest,
    arguments: &Value,
) -> Result<Value, DataPlaneError> {
    let id = run_of(request, arguments)?;
    let (directory, root) = azure.transact(|transaction| {
        let tracked = find(transaction, &id)?;
        let root = shown(&tracked, &request.workspace)["info"]["artifact_uri"].clone();
        Ok((tracked.run.directory.clone(), root))
    })?;
    let below = arguments["path"].as_str().unwrap_or_default().to_owned();
    let files = run_files::list(directory).await?;
    Ok(json!({"root_uri": root, "files": run_files::one_level(&files, &below)}))
}

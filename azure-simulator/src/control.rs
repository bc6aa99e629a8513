//! The control port: what exists, what was asked, and the knobs that Azure has not.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::azure::{Azure, Transaction};
use crate::clock::Pace;
use crate::entra;
use crate::faults::Fault;
use crate::kinds;
use crate::physics::node_loss::{Failure, NotLost, Preemption};
use crate::physics::quota::QuotaChange;
use crate::physics::run::Process;
use crate::pretend::Told;
use crate::processes::tree::ProcessTree;
use crate::storage::blobs::ROOT as STORAGE;

pub(crate) fn router(azure: Arc<Azure>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route(
            "/world",
            get(async |State(azure): State<Arc<Azure>>| Json(world(&azure))),
        )
        .route("/exchanges", get(exchanges).delete(forget_exchanges))
        .route("/meter", get(meter).delete(reset_meter))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/clock", get(clock).post(set_clock))
        .route("/tokens", axum::routing::delete(expire_tokens))
        .route("/tokens/revoke", post(revoke_tokens))
        .route(
            "/metadata/identity/oauth2/token",
            get(entra::managed_identity::token),
        )
        .route("/nodes/{node}/preempt", post(preempt))
        .route("/nodes/{node}/fail", post(fail))
        .route("/quota", get(quota).post(change_quota))
        .route("/scheduledevents", get(scheduled_events))
        .route("/reset", post(reset))
        .route("/pretend/{job}", post(tell_pretended))
        .route("/jobs/{job}/log", get(log))
        .with_state(azure)
}

async fn exchanges(
    State(azure): State<Arc<Azure>>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    (
        [(header::CONTENT_TYPE, "application/jsonl")],
        azure.exchanges.lines(),
    )
}

async fn forget_exchanges(State(azure): State<Arc<Azure>>) -> StatusCode {
    azure.exchanges.clear();
    StatusCode::NO_CONTENT
}

async fn meter(State(azure): State<Arc<Azure>>) -> Json<Value> {
    Json(metered(&azure))
}

async fn reset_meter(State(azure): State<Arc<Azure>>) -> StatusCode {
    reset_meters(&azure);
    StatusCode::NO_CONTENT
}

async fn faults(State(azure): State<Arc<Azure>>) -> Json<Value> {
    Json(azure.faults.shown())
}

async fn add_fault(
    State(azure): State<Arc<Azure>>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, String)> {
    let fault: Fault = parsed(&body)?;
    if fault
        .probability
        .is_some_and(|share| !(0.0..=1.0).contains(&share))
    {
        return Err(bad("`probability` is a number from 0 to 1"));
    }
    Ok(Json(json!({"number": azure.faults.add(fault)})))
}

async fn clear_faults(State(azure): State<Arc<Azure>>) -> StatusCode {
    azure.faults.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    scale: Option<Pace>,
    advance_seconds: Option<f64>,
}

async fn clock(State(azure): State<Arc<Azure>>) -> Json<Value> {
    Json(json!({
        "scale": azure.clock.pace(),
        "elapsed_seconds": azure.clock.now().elapsed.as_secs_f64(),
    }))
}

async fn set_clock(
    State(azure): State<Arc<Azure>>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, String)> {
    let change: ClockChange = parsed(&body)?;
    if change.scale.is_none() && change.advance_seconds.is_none() {
        return Err(bad("`scale` or `advance_seconds` is needed"));
    }
    let advance = change
        .advance_seconds
        .map(Duration::try_from_secs_f64)
        .transpose()
        .map_err(|problem| bad(format!("advance_seconds: {problem}")))?;
    if let Some(pace) = change.scale {
        azure.clock.set_pace(pace);
        // What is due at the new pace happens before the answer.
        azure.transact(|_| ());
    }
    if let Some(by) = advance {
        azure.advance(by).await;
    }
    Ok(clock(State(azure)).await)
}

async fn revoke_tokens(State(azure): State<Arc<Azure>>) -> StatusCode {
    azure.tokens.revoke_all(azure.clock.now().timestamp);
    StatusCode::NO_CONTENT
}

async fn expire_tokens(State(azure): State<Arc<Azure>>) -> StatusCode {
    azure.tokens.expire_all(azure.clock.now().timestamp);
    StatusCode::NO_CONTENT
}

async fn preempt(
    State(azure): State<Arc<Azure>>,
    Path(node): Path<String>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let how: Preemption = parsed_or_default(&body)?;
    azure
        .transact(|transaction| transaction.preempt(&node, &how))
        .map_err(not_lost)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn fail(
    State(azure): State<Arc<Azure>>,
    Path(node): Path<String>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let how: Failure = parsed_or_default(&body)?;
    azure
        .transact(|transaction| transaction.fail_node(&node, &how))
        .map_err(not_lost)?;
    Ok(StatusCode::NO_CONTENT)
}

fn not_lost(problem: NotLost) -> (StatusCode, String) {
    let status = match problem {
        NotLost::Unknown => StatusCode::NOT_FOUND,
        NotLost::Dedicated | NotLost::Gone(_) => StatusCode::CONFLICT,
    };
    (status, format!("{problem}\n"))
}

async fn quota(State(azure): State<Arc<Azure>>) -> Json<Value> {
    Json(azure.transact(|transaction| {
        let physics = &transaction.state.physics;
        physics.quota.shown(physics.clusters())
    }))
}

async fn change_quota(
    State(azure): State<Arc<Azure>>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, String)> {
    let change: QuotaChange = parsed(&body)?;
    azure.transact(|transaction| {
        transaction.state.physics.quota.change(change);
        transaction.retry_short_pools();
    });
    Ok(quota(State(azure)).await)
}

async fn tell_pretended(
    State(azure): State<Arc<Azure>>,
    Path(job): Path<String>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let told: Told = parsed(&body)?;
    azure
        .transact(|transaction| transaction.tell_pretended(&job, &told))
        .map_err(|problem| (StatusCode::CONFLICT, format!("{problem}\n")))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn scheduled_events(State(azure): State<Arc<Azure>>) -> Json<Value> {
    Json(azure.transact(|transaction| transaction.scheduled_events()))
}

async fn reset(State(azure): State<Arc<Azure>>) -> StatusCode {
    begin_anew(&azure).await;
    StatusCode::NO_CONTENT
}

/// The world as it was at the start, and empty folders of jobs and of storage accounts.
pub(crate) async fn begin_anew(azure: &Azure) {
    azure.reset().await;
    for folder in ["jobs", STORAGE] {
        match tokio::fs::remove_dir_all(azure.settings.directory.join(folder)).await {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%problem, folder, "a folder cannot be removed");
            }
            _ => {}
        }
    }
}

async fn log(
    State(azure): State<Arc<Azure>>,
    Path(job): Path<String>,
) -> Result<Vec<u8>, StatusCode> {
    let directory = azure.transact(|transaction| {
        let mut runs = transaction.state.physics.runs.values();
        runs.find(|run| run.id == job)
            .map(|run| run.directory.clone())
    });
    let log = directory
        .ok_or(StatusCode::NOT_FOUND)?
        .join(crate::processes::LOG);
    tokio::fs::read(log)
        .await
        .map_err(|_| StatusCode::NOT_FOUND)
}

fn bad(problem: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{problem}\n"))
}

fn parsed<T: for<'a> Deserialize<'a>>(body: &Bytes) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(bad)
}

fn parsed_or_default<T: Default + for<'a> Deserialize<'a>>(
    body: &Bytes,
) -> Result<T, (StatusCode, String)> {
    if body.is_empty() {
        return Ok(T::default());
    }
    parsed(body)
}

/// What clients and nodes have cost.
pub(crate) fn metered(azure: &Azure) -> Value {
    let mut shown = azure.meter.shown();
    shown["nodes"] = azure.transact(|transaction| {
        let now = transaction.now.elapsed;
        transaction.state.physics.costs(now)
    });
    shown
}

/// All counting begins at 0 again.
pub(crate) fn reset_meters(azure: &Azure) {
    azure.meter.reset();
    azure.transact(|transaction| {
        let now = transaction.now.elapsed;
        transaction.state.physics.reset_costs(now);
    });
}

/// Everything that exists.
pub(crate) fn world(azure: &Azure) -> Value {
    let tree = ProcessTree::read();
    azure.transact(|transaction| {
        json!({
            "jobs_are": azure.settings.world.jobs.word(),
            "resource_groups": plain(transaction, ""),
            "workspaces": plain(transaction, "Microsoft.MachineLearningServices/workspaces"),
            "networks": networks(transaction),
            "computes": computes(transaction),
            "jobs": jobs(transaction, &tree),
            "data": plain(transaction, "Microsoft.MachineLearningServices/workspaces/data/versions"),
            "environments": plain(
                transaction,
                "Microsoft.MachineLearningServices/workspaces/environments/versions",
            ),
        })
    })
}

/// Id, name and tags of everything of a type, and its properties.
fn plain(transaction: &Transaction<'_>, resource_type: &str) -> Vec<Value> {
    let found = transaction.state.documents.of_type(resource_type);
    found
        .into_iter()
        .map(|document| {
            let properties = &document.body["properties"];
            let tags = document.body.get("tags").or_else(|| properties.get("tags"));
            json!({
                "id": document.body["id"],
                "name": document.body["name"],
                "tags": tags,
                "properties": properties,
            })
        })
        .collect()
}

fn networks(transaction: &Transaction<'_>) -> Vec<Value> {
    transaction
        .state
        .documents
        .of_type("Microsoft.Network/virtualNetworks")
        .into_iter()
        .map(|network| {
            let subnets: Vec<Value> = kinds::subnets_of(transaction, &network.id)
                .map(|subnet| {
                    json!({
                        "id": subnet.body["id"],
                        "name": subnet.body["name"],
                        "addressPrefix": subnet.body["properties"]["addressPrefix"],
                    })
                })
                .collect();
            json!({
                "id": network.body["id"],
                "name": network.body["name"],
                "tags": network.body["tags"],
                "provisioningState": network.body["properties"]["provisioningState"],
                "addressSpace": network.body["properties"]["addressSpace"],
                "subnets": subnets,
            })
        })
        .collect()
}

fn computes(transaction: &Transaction<'_>) -> Vec<Value> {
    let physics = &transaction.state.physics;
    transaction
        .state
        .documents
        .of_type("Microsoft.MachineLearningServices/workspaces/computes")
        .into_iter()
        .map(|compute| {
            let body = kinds::shown::compute(transaction, compute);
            let pool = physics.pools.get(&compute.id.key());
            let nodes: Vec<Value> = pool
                .into_iter()
                .flat_map(|pool| &pool.nodes)
                .map(|node| {
                    let run = node.run.as_deref().and_then(|run| physics.runs.get(run));
                    json!({
                        "id": node.id,
                        "address": node.address,
                        "state": node.state.word(),
                        "job": run.map(|run| &run.id),
                    })
                })
                .collect();
            let inner = &body["properties"]["properties"];
            json!({
                "id": body["id"],
                "name": body["name"],
                "tags": body["tags"],
                "provisioningState": body["properties"]["provisioningState"],
                "allocationState": pool.map(|pool| pool.allocation()),
                "vmSize": inner["vmSize"],
                "vmPriority": inner["vmPriority"],
                "scaleSettings": inner["scaleSettings"],
                "subnet": inner["subnet"]["id"],
                "queued": pool.map_or(0, |pool| pool.queue.len()),
                "nodes": nodes,
            })
        })
        .collect()
}

fn jobs(transaction: &Transaction<'_>, tree: &ProcessTree) -> Vec<Value> {
    let physics = &transaction.state.physics;
    transaction
        .state
        .documents
        .of_type("Microsoft.MachineLearningServices/workspaces/jobs")
        .into_iter()
        .map(|job| {
            let body = kinds::shown::job(transaction, job);
            let run = physics.runs.get(&job.id.key());
            let pids = match run.map(|run| run.process) {
                Some(Process::Keeper(keeper)) => tree.below(keeper),
                _ => Vec::new(),
            };
            json!({
                "id": body["id"],
                "name": body["name"],
                "status": body["properties"]["status"],
                "tags": body["properties"]["tags"],
                "experiment": body["properties"]["experimentName"],
                "compute": body["properties"]["computeId"],
                "archived": body["properties"]["isArchived"],
                "node": run.and_then(|run| run.node.as_ref()),
                "directory": run.map(|run| &run.directory),
                "error": run.and_then(|run| run.error.as_ref()),
                "pids": pids,
            })
        })
        .collect()
}

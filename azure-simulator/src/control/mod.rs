//! The control port: what exists, what was asked, and the knobs that Azure has not.

pub(crate) mod visitors;
pub(crate) mod world;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::azure::Azure;
use crate::clock::{Pace, bounded, seconds_if_given};
use crate::faults::Fault;
use crate::faults::action::Action as FaultAction;
use crate::metadata;
use crate::physics::node_loss::{Failure, NotLost, Preemption};
use crate::physics::quota::QuotaChange;
use crate::pretend::Told;
use crate::storage::blobs::ROOT as STORAGE;

pub(crate) fn router(azure: Arc<Azure>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route(
            "/world",
            get(async |State(azure): State<Arc<Azure>>| Json(world::shown(&azure))),
        )
        .route("/exchanges", get(exchanges).delete(forget_exchanges))
        .route("/secrets", get(secrets))
        .route("/meter", get(meter).delete(reset_meter))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/clock", get(clock).post(set_clock))
        .route("/tokens", axum::routing::delete(expire_tokens))
        .route("/tokens/revoke", post(revoke_tokens))
        .route("/metadata/identity/oauth2/token", get(metadata::token))
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

async fn secrets(
    State(azure): State<Arc<Azure>>,
) -> Result<Json<Vec<String>>, (StatusCode, &'static str)> {
    let untold = (
        StatusCode::NOT_FOUND,
        "`tells_secrets` is off in this world",
    );
    azure.given_out.all().map(Json).ok_or(untold)
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
    if let FaultAction::Answer(answer) = &fault.action {
        answer.check().map_err(bad)?;
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
    #[serde(default)]
    scale: Option<Pace>,
    #[serde(default, deserialize_with = "seconds_if_given")]
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
    if let Some(pace) = change.scale {
        azure.clock.set_pace(pace);
        // What is due at the new pace happens before the answer.
        azure.transact(|_| ());
    }
    if let Some(seconds) = change.advance_seconds {
        azure.advance(bounded(seconds)).await;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The rank of the process.
    #[serde(default)]
    process: usize,
}

async fn log(
    State(azure): State<Arc<Azure>>,
    Path(job): Path<String>,
    Query(which): Query<Which>,
) -> Result<Vec<u8>, StatusCode> {
    let directory = azure.transact(|transaction| {
        let mut runs = transaction.state.physics.runs.values();
        runs.find(|run| run.id == job)
            .map(|run| run.directory.clone())
    });
    let log = directory
        .ok_or(StatusCode::NOT_FOUND)?
        .join(crate::processes::log_of(which.process));
    tokio::fs::read(log)
        .await
        .map_err(|_| StatusCode::NOT_FOUND)
}

fn bad(problem: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{problem}\n"))
}

fn parsed<T: for<'a> Deserialize<'a>>(body: &Bytes) -> Result<T, (StatusCode, String)> {
    let value: Value = serde_json::from_slice(body).map_err(bad)?;
    if !value.is_object() {
        return Err(bad("a JSON object is needed"));
    }
    serde_json::from_value(value).map_err(bad)
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

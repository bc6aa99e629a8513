//! Artifacts of runs, up and down, and the links that lead to them (contract section 10).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::azure::Azure;
use crate::clock::timestamp_text;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{DataPlaneRequest, find, run_files};
use crate::resource_id::ResourceId;
use crate::storage::account::{ARTIFACTS, Account};
use crate::storage::sas;

/// Serves `/artifact/{version}{WS}/artifacts/ExperimentRun/dcid.{id}/…`.
pub(crate) async fn serve(
    State(azure): State<Arc<Azure>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let location = &azure.settings.world.location;
    answer(&azure, &method, &uri, &headers, body)
        .await
        .unwrap_or_else(|error| error.service_answer(location))
}

async fn answer(
    azure: &Azure,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Answer, DataPlaneError> {
    let request = DataPlaneRequest::read(azure, method, uri, headers)?;
    let route = request.route();
    let refused = || DataPlaneError::refused(format!("{method} {}", uri.path()));
    let ["artifacts", "ExperimentRun", container, operation] = route.as_slice() else {
        return Err(refused());
    };
    let run = container.strip_prefix("dcid.").ok_or_else(refused)?;
    let id = request.job_id(run);
    let directory = directory_of(azure, &id)?;
    let path = request.query.get("path").unwrap_or_default();
    let file = run_files::locate(&directory, path)?;
    match (method, *operation) {
        (&Method::POST, "content") => {
            if path.starts_with("user_logs/") {
                return Err(DataPlaneError::bad_request(
                    "Logs are written by the system.",
                ));
            }
            write(&file, path, &body).await?;
            Ok(Answer::ok(described(azure, run, path, body.len() as u64)))
        }
        (&Method::GET, "content") => Ok(Answer::bytes(read(&file, path).await?)),
        (&Method::GET, "contentinfo") => {
            let size = read(&file, path).await?.len() as u64;
            let mut shown = described(azure, run, path, size);
            shown["contentUri"] = json!(link(azure, &request.workspace, run, path));
            Ok(Answer::ok(shown))
        }
        _ => Err(refused()),
    }
}

fn directory_of(azure: &Azure, id: &ResourceId) -> Result<PathBuf, DataPlaneError> {
    azure.transact(|transaction| Ok(find(transaction, id)?.run.directory.clone()))
}

async fn write(file: &Path, path: &str, body: &Bytes) -> Result<(), DataPlaneError> {
    let failed = |problem: std::io::Error| match problem.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            DataPlaneError::refused(format!(
                "The artifact '{path}' whose name is also that of a folder"
            ))
        }
        _ => DataPlaneError::failed(&problem),
    };
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    tokio::fs::write(file, body).await.map_err(failed)
}

async fn read(file: &Path, path: &str) -> Result<Vec<u8>, DataPlaneError> {
    tokio::fs::read(file)
        .await
        .map_err(|problem| match problem.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                DataPlaneError::not_found(format!("Could not find artifact '{path}'."))
            }
            _ => DataPlaneError::failed(&problem),
        })
}

pub(crate) fn described(azure: &Azure, run: &str, path: &str, size: u64) -> Value {
    json!({
        "artifactId": format!("ExperimentRun/dcid.{run}/{path}"),
        "origin": "ExperimentRun",
        "container": format!("dcid.{run}"),
        "path": path,
        "contentLength": size,
        "etag": null,
        "createdTime": timestamp_text(azure.clock.now().timestamp),
        "dataPath": null,
        "tags": {},
    })
}

/// A link that reads a file of a run and needs no token for an hour.
pub(crate) fn link(azure: &Azure, workspace: &ResourceId, run: &str, path: &str) -> String {
    link_for(azure, workspace, (run, path), "r")
}

/// A link that writes a file of a run.
pub(crate) fn upload_link(azure: &Azure, workspace: &ResourceId, run: &str, path: &str) -> String {
    link_for(azure, workspace, (run, path), "rcw")
}

fn link_for(
    azure: &Azure,
    workspace: &ResourceId,
    (run, path): (&str, &str),
    permissions: &str,
) -> String {
    let settings = &azure.settings;
    let account = Account::of(workspace);
    let blob = format!("ExperimentRun/dcid.{run}/{path}");
    let encoded: Vec<String> = blob
        .split('/')
        .map(|part| {
            percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        })
        .collect();
    let now = azure.clock.now().timestamp;
    let query = sas::issue(
        &account,
        settings,
        (ARTIFACTS, Some(&blob)),
        permissions,
        now,
    );
    format!(
        "{}/{ARTIFACTS}/{}?{query}",
        account.url(settings),
        encoded.join("/")
    )
}

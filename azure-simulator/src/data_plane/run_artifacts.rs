//! Artifacts of a run as run history has them: what there is, and the links that read and write it
//! (contract section 10).

use axum::body::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use crate::azure::Azure;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::run_files::{self, RunFile};
use crate::data_plane::run_history::parsed;
use crate::data_plane::{DataPlaneRequest, artifacts, find};

/// Serves what follows `…/runs/{run}/artifacts`.
pub(crate) async fn serve(
    azure: &Azure,
    request: &DataPlaneRequest,
    (method, run, rest): (&Method, &str, &[&str]),
    body: &Bytes,
) -> Result<Value, DataPlaneError> {
    let path = request.query.get("path").unwrap_or_default();
    match (method, rest) {
        (&Method::GET, []) => Ok(list(azure, &below(azure, request, run, "").await?, run)),
        (&Method::GET, ["path"]) => Ok(list(azure, &below(azure, request, run, path).await?, run)),
        (&Method::GET, ["prefix", "contentinfo"]) => {
            let files = below(azure, request, run, path).await?;
            let value: Vec<Value> = files
                .iter()
                .map(|file| content(azure, request, run, &file.path))
                .collect();
            Ok(json!({"value": value, "continuationToken": null, "nextLink": null}))
        }
        (&Method::GET, ["metadata"]) => {
            let file = one(azure, request, run, path).await?;
            Ok(artifacts::described(azure, run, path, file.size))
        }
        (&Method::GET, ["contentinfo"]) => {
            one(azure, request, run, path).await?;
            Ok(content(azure, request, run, path))
        }
        (&Method::POST, ["batch", "metadata"]) => {
            begin_uploads(azure, request, run, &parsed(body)?)
        }
        _ => Err(DataPlaneError::refused(format!(
            "{method} artifacts/{}",
            rest.join("/")
        ))),
    }
}

/// Names artifacts before their content is uploaded by the links in the answer.
fn begin_uploads(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
    asked: &Value,
) -> Result<Value, DataPlaneError> {
    let directory = directory_of(azure, request, run)?;
    let (mut described, mut contents) = (Map::new(), Map::new());
    for entry in asked["paths"].as_array().into_iter().flatten() {
        let path = entry["path"].as_str().unwrap_or_default();
        run_files::locate(&directory, path)?;
        let mut content = content(azure, request, run, path);
        content["contentUri"] = json!(artifacts::upload_link(azure, &request.workspace, run, path));
        described.insert(path.to_owned(), artifacts::described(azure, run, path, 0));
        contents.insert(path.to_owned(), content);
    }
    Ok(json!({
        "artifacts": described,
        "artifactContentInformation": contents,
        "errors": {},
    }))
}

fn directory_of(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
) -> Result<std::path::PathBuf, DataPlaneError> {
    azure.transact(|transaction| {
        let tracked = find(transaction, &request.job_id(run))?;
        Ok(tracked.run.directory.clone())
    })
}

/// Files whose path is `path` or below it; all of them where it is empty.
async fn below(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
    path: &str,
) -> Result<Vec<RunFile>, DataPlaneError> {
    let path = path.trim_matches('/');
    let mut files = run_files::list(directory_of(azure, request, run)?).await?;
    files.retain(|file| match file.path.strip_prefix(path) {
        Some(rest) => path.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    });
    Ok(files)
}

async fn one(
    azure: &Azure,
    request: &DataPlaneRequest,
    run: &str,
    path: &str,
) -> Result<RunFile, DataPlaneError> {
    let files = below(azure, request, run, path).await?;
    files
        .into_iter()
        .find(|file| file.path == path)
        .ok_or_else(|| DataPlaneError::not_found(format!("Could not find artifact '{path}'.")))
}

fn list(azure: &Azure, files: &[RunFile], run: &str) -> Value {
    let value: Vec<Value> = files
        .iter()
        .map(|file| artifacts::described(azure, run, &file.path, file.size))
        .collect();
    json!({"value": value, "continuationToken": null, "nextLink": null})
}

fn content(azure: &Azure, request: &DataPlaneRequest, run: &str, path: &str) -> Value {
    json!({
        "contentUri": artifacts::link(azure, &request.workspace, run, path),
        "origin": "ExperimentRun",
        "container": format!("dcid.{run}"),
        "path": path,
        "tags": {},
    })
}

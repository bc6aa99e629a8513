//! A job's outputs: where they go to, and how a job finds that (contract sections 7 and 9).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds;
use crate::processes::launch::Problem;
use crate::storage::uri;

/// What stands in `jobOutputType` for one file.
const FILE: &str = "uri_file";

/// A folder or file that a job writes.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) name: String,
    path: PathBuf,
    is_file: bool,
}

/// The outputs that a job names, but for the one that the server makes.
pub(crate) fn of(transaction: &Transaction<'_>, job: &Document) -> Result<Vec<Output>, Problem> {
    let workspace = job.id.root();
    let outputs = job.body["properties"]["outputs"].as_object();
    let named = outputs.into_iter().flatten();
    named
        .filter(|(name, _)| *name != kinds::DEFAULT_OUTPUT)
        .map(|(name, output)| {
            let uri = uri_of(job, name, output);
            let path = uri::local_path(transaction, &workspace, &uri);
            let path = path.ok_or_else(|| Problem::Mount {
                input: name.clone(),
                uri,
                reason: "NotFound",
            })?;
            Ok(Output {
                name: name.clone(),
                path,
                is_file: output["jobOutputType"] == FILE,
            })
        })
        .collect()
}

/// Where an output goes to: where its URI says, else to the default datastore of the job's workspace.
pub(crate) fn uri_of(job: &Document, name: &str, output: &Value) -> String {
    if let Some(uri) = output["uri"].as_str() {
        return uri.to_owned();
    }
    let home = job.id.root();
    let end = if output["jobOutputType"] == FILE {
        ""
    } else {
        "/"
    };
    format!(
        "azureml://subscriptions/{}/resourcegroups/{}/workspaces/{}/datastores/workspaceblobstore/\
         paths/azureml/{}/{name}{end}",
        home.subscription,
        home.resource_group.as_deref().unwrap_or_default(),
        home.name(),
        job.id.name(),
    )
}

impl Output {
    /// What the job may write to: an output that is a file is not there yet.
    pub(crate) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if self.is_file => parent,
            _ => &self.path,
        }
    }

    /// Makes the folder, and gives what stands for the output in the command.
    pub(crate) fn provide(&self) -> std::io::Result<String> {
        std::fs::create_dir_all(self.folder())?;
        Ok(self.path.to_string_lossy().into_owned())
    }
}

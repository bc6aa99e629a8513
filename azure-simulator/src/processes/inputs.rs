//! A job's inputs and its code: which local folder stands for a URI, and how a job finds it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds;
use crate::processes::launch::Problem;
use crate::resource_id::ResourceId;
use crate::storage::uri;
use crate::world::DataMapping;

/// How an input reaches a job.
/// Has no `Debug`: a URI may be signed.
#[derive(Clone)]
pub(crate) enum Source {
    /// The text itself: a literal, or a URI that the job reads by itself.
    Text(String),
    /// A local path that stands for a URI, linked.
    Mounted {
        uri: String,
        path: Option<PathBuf>,
        read_only: bool,
    },
    /// A local path that stands for a URI, copied.
    Downloaded { uri: String, path: Option<PathBuf> },
}

#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) source: Source,
}

/// The local path that stands for a URI: the longest mapped prefix, and the rest below it.
pub(crate) fn local_path(uri: &str, mappings: &[DataMapping]) -> Option<PathBuf> {
    let uri = short_form(uri);
    let mut best: Option<(usize, PathBuf)> = None;
    for mapping in mappings {
        let prefix = short_form(&mapping.uri);
        let prefix = prefix.trim_end_matches('/');
        let Some(rest) = uri.strip_prefix(prefix) else {
            continue;
        };
        if !rest.is_empty() && !rest.starts_with('/') {
            continue;
        }
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| matches!(*part, "." | "..")) {
            continue;
        }
        if best
            .as_ref()
            .is_none_or(|(length, _)| prefix.len() > *length)
        {
            let mut path = mapping.path.clone();
            path.extend(parts);
            best = Some((prefix.len(), path));
        }
    }
    best.map(|(_, path)| path)
}

/// `azureml://subscriptions/…/datastores/d/paths/p` is `azureml://datastores/d/paths/p`.
fn short_form(uri: &str) -> String {
    match (
        uri.strip_prefix("azureml://subscriptions/"),
        uri.find("/datastores/"),
    ) {
        (Some(_), Some(at)) => format!("azureml:/{}", &uri[at..]),
        _ => uri.to_owned(),
    }
}

impl Input {
    /// Where a job may read and not write.
    pub(crate) fn read_only(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Mounted {
                path,
                read_only: true,
                ..
            } => path.as_ref()?.canonicalize().ok(),
            _ => None,
        }
    }

    /// Puts the input in place below `folder`, and gives what stands for it in the command.
    pub(crate) fn provide(&self, folder: &Path) -> Result<String, Problem> {
        let place = folder.join(format!("INPUT_{}", self.name));
        let (uri, path, copied) = match &self.source {
            Source::Text(text) => return Ok(text.clone()),
            Source::Mounted { uri, path, .. } => (uri, path, false),
            Source::Downloaded { uri, path } => (uri, path, true),
        };
        let failed = |reason: &'static str| Problem::Mount {
            input: self.name.clone(),
            uri: uri.clone(),
            reason,
        };
        let path = path.as_ref().ok_or_else(|| failed("NotFound"))?;
        let found = path.canonicalize().map_err(|_| failed("NotFound"))?;
        let target = if found.is_dir() {
            place
        } else {
            std::fs::create_dir_all(&place)?;
            place.join(found.file_name().unwrap_or_default())
        };
        if copied {
            copy(&found, &target)?;
        } else {
            std::os::unix::fs::symlink(&found, &target)?;
        }
        Ok(target.to_string_lossy().into_owned())
    }
}

/// Copies a file, or what is in a folder.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        std::fs::copy(from, to)?;
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The inputs that a job names.
pub(crate) fn of(transaction: &Transaction<'_>, job: &Document) -> Vec<Input> {
    let workspace = job.id.root();
    let mut inputs = Vec::new();
    for (name, input) in job.body["properties"]["inputs"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let source = if input["jobInputType"] == "literal" {
            Source::Text(input["value"].as_str().unwrap_or_default().to_owned())
        } else {
            let uri = resolved(
                transaction,
                &job.id,
                input["uri"].as_str().unwrap_or_default(),
            );
            let path = uri::local_path(transaction, &workspace, &uri);
            match input["mode"].as_str() {
                Some("Direct") => Source::Text(uri),
                Some("Download") => Source::Downloaded { uri, path },
                mode => Source::Mounted {
                    uri,
                    path,
                    read_only: mode != Some("ReadWriteMount"),
                },
            }
        };
        let name = name.clone();
        inputs.push(Input { name, source });
    }
    inputs
}

/// The folder that a job's code asset was uploaded to.
pub(crate) fn code(
    transaction: &Transaction<'_>,
    properties: &Value,
) -> Result<Option<PathBuf>, Problem> {
    let Some(id) = properties["codeId"].as_str().and_then(ResourceId::parse) else {
        return Ok(None);
    };
    let stored = transaction.state.documents.get(&id);
    let uri = stored
        .and_then(|code| code.body["properties"]["codeUri"].as_str())
        .map(uri::plain);
    let workspace = id.root();
    let path = uri
        .as_ref()
        .and_then(|uri| uri::local_path(transaction, &workspace, uri));
    path.map(Some).ok_or_else(|| Problem::Mount {
        input: "code".to_owned(),
        uri: uri.unwrap_or_default(),
        reason: "NotFound",
    })
}

/// The URI that a data asset stands for, or the URI itself.
fn resolved(transaction: &Transaction<'_>, job: &ResourceId, uri: &str) -> String {
    kinds::data_asset(uri, job)
        .and_then(|asset| transaction.state.documents.get(&asset))
        .and_then(|found| found.body["properties"]["dataUri"].as_str())
        .unwrap_or(uri)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(uri: &str, path: &str) -> DataMapping {
        DataMapping {
            uri: uri.to_owned(),
            path: path.into(),
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_segment() {
        let mappings = [
            mapping("wasbs://c@a.blob.core.windows.net/isd", "/data/isd"),
            mapping(
                "wasbs://c@a.blob.core.windows.net/isd/year=2013/",
                "/data/2013",
            ),
        ];
        let path = |rest: &str| {
            local_path(
                &format!("wasbs://c@a.blob.core.windows.net/{rest}"),
                &mappings,
            )
        };
        assert_eq!(path("isd/"), Some("/data/isd".into()));
        assert_eq!(path("isd/year=2012"), Some("/data/isd/year=2012".into()));
        assert_eq!(
            path("isd/year=2013/month=1"),
            Some("/data/2013/month=1".into())
        );
        assert_eq!(path("isdlite/"), None);
    }

    #[test]
    fn a_uri_cannot_climb_out_of_its_folder() {
        let mappings = [mapping("https://x/y", "/data")];
        assert_eq!(local_path("https://x/y/../../etc", &mappings), None);
    }

    #[test]
    fn long_and_short_datastore_uris_are_the_same() {
        let mappings = [mapping("azureml://datastores/d/paths/p", "/data")];
        let long = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/p/q";
        assert_eq!(local_path(long, &mappings), Some("/data/q".into()));
    }
}

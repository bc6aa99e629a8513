//! Where blobs are on this machine: files below the simulator's directory, and those of runs.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

use crate::azure::Azure;
use crate::data_plane::run_files;
use crate::files::{has_link, is_plain};
use crate::lock;
use crate::storage::account::{ARTIFACTS, Account};
use crate::storage::error::StorageError;

/// Folder of the simulator's directory with a folder an account.
pub(crate) const ROOT: &str = "storage";
/// Begins the path of a run's files in the container of artifacts.
const RUN_PREFIX: &str = "ExperimentRun/dcid.";

/// A container.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    /// The account, where this is the container of its artifacts: runs have folders of their own.
    pub(crate) artifacts_of: Option<RunFolders>,
}

/// Folders of the runs of a workspace, by run id.
#[derive(Debug)]
pub(crate) struct RunFolders(HashMap<String, PathBuf>);

/// A blob, as its properties show it.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) last_modified: String,
    pub(crate) metadata: Vec<(String, String)>,
}

/// Metadata of blobs, which files have no place for.
#[derive(Debug, Default)]
pub(crate) struct BlobMetadata {
    by_file: Mutex<HashMap<PathBuf, Vec<(String, String)>>>,
}

impl BlobMetadata {
    pub(crate) fn set(&self, file: &Path, metadata: Vec<(String, String)>) {
        lock(&self.by_file).insert(file.to_owned(), metadata);
    }

    pub(crate) fn forget(&self, file: &Path) {
        lock(&self.by_file).remove(file);
    }

    pub(crate) fn clear(&self) {
        lock(&self.by_file).clear();
    }

    fn of(&self, file: &Path) -> Vec<(String, String)> {
        lock(&self.by_file).get(file).cloned().unwrap_or_default()
    }
}

/// The folder of an account.
pub(crate) fn account_root(directory: &Path, account: &Account) -> PathBuf {
    directory.join(ROOT).join(&account.name)
}

/// The folder of a container; `None` where its name is none.
pub(crate) fn container_root(
    directory: &Path,
    account: &Account,
    container: &str,
) -> Option<PathBuf> {
    let plain = !container.is_empty()
        && container
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| account_root(directory, account).join(container))
}

/// A container of an account. Containers need not be made first.
pub(crate) fn place(
    azure: &Azure,
    account: &Account,
    container: &str,
) -> Result<Place, StorageError> {
    let root = container_root(&azure.settings.directory, account, container).ok_or_else(|| {
        StorageError::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidResourceName",
            format!("The container name '{container}' is invalid."),
        )
    })?;
    let artifacts_of = (container == ARTIFACTS).then(|| run_folders(azure, account));
    Ok(Place { root, artifacts_of })
}

fn run_folders(azure: &Azure, account: &Account) -> RunFolders {
    let workspace = account.workspace.key();
    azure.transact(|transaction| {
        let runs = transaction.state.physics.runs.values();
        let own = runs.filter(|run| run.workspace == workspace);
        RunFolders(
            own.map(|run| (run.id.clone(), run.directory.clone()))
                .collect(),
        )
    })
}

/// The file of a blob, whether it is there or not; none that a link leads to.
pub(crate) fn locate(place: &Place, blob: &str) -> Result<PathBuf, StorageError> {
    let invalid = || {
        StorageError::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidResourceName",
            format!("The blob name '{blob}' is invalid."),
        )
    };
    if let Some(runs) = &place.artifacts_of {
        let (run, path) = blob
            .strip_prefix(RUN_PREFIX)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(StorageError::blob_not_found)?;
        let folder = runs.0.get(run).ok_or_else(StorageError::blob_not_found)?;
        return run_files::locate(folder, path).map_err(|_| invalid());
    }
    below(&place.root, blob)
        .filter(|file| !has_link(&place.root, file))
        .ok_or_else(invalid)
}

/// A path below a folder that does not lead out of it.
pub(crate) fn below(root: &Path, path: &str) -> Option<PathBuf> {
    is_plain(path).then(|| root.join(path))
}

pub(crate) async fn write(file: &Path, body: &[u8]) -> Result<(), StorageError> {
    let failed = |problem: std::io::Error| match problem.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            StorageError::refused("A blob whose name is also that of a folder")
        }
        _ => StorageError::failed(&problem),
    };
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    tokio::fs::write(file, body).await.map_err(failed)
}

/// A blob that is there.
pub(crate) async fn find(azure: &Azure, place: &Place, name: &str) -> Result<Blob, StorageError> {
    let file = locate(place, name)?;
    let found = tokio::fs::metadata(&file).await;
    match found {
        Ok(found) if found.is_file() => Ok(described(azure, name, file, &found)),
        _ => Err(StorageError::blob_not_found()),
    }
}

fn described(azure: &Azure, name: &str, file: PathBuf, found: &std::fs::Metadata) -> Blob {
    let changed = found
        .modified()
        .ok()
        .and_then(|at| Timestamp::try_from(at).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    Blob {
        name: name.to_owned(),
        metadata: azure.blob_metadata.of(&file),
        file,
        size: found.len(),
        etag: format!("\"0x{:X}{:X}\"", changed.as_microsecond(), found.len()),
        last_modified: changed.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    }
}

/// Every blob of a container whose name begins with `prefix`, sorted by name.
pub(crate) async fn all(
    azure: &Azure,
    place: &Place,
    prefix: &str,
) -> Result<Vec<Blob>, StorageError> {
    let mut names = Vec::new();
    if let Some(runs) = &place.artifacts_of {
        for (run, folder) in &runs.0 {
            let own = format!("{RUN_PREFIX}{run}/");
            if own.starts_with(prefix) || prefix.starts_with(&own) {
                let files = run_files::list(folder.clone()).await.unwrap_or_default();
                names.extend(files.into_iter().map(|file| format!("{own}{}", file.path)));
            }
        }
    } else {
        let root = place.root.clone();
        let walked = tokio::task::spawn_blocking(move || {
            let mut files = Vec::new();
            run_files::walk(&root, "", &mut files).map(|()| files)
        })
        .await
        .unwrap_or_else(|interrupted| Err(std::io::Error::other(interrupted)));
        let files = walked.map_err(|problem| StorageError::failed(&problem))?;
        names.extend(files.into_iter().map(|file| file.path));
    }
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    let mut blobs = Vec::new();
    for name in names {
        // One that has gone meanwhile is not listed.
        if let Ok(blob) = find(azure, place, &name).await {
            blobs.push(blob);
        }
    }
    Ok(blobs)
}

//! The files of a run: artifacts that were uploaded, and the logs of its processes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::data_plane::error::DataPlaneError;
use crate::files::{has_link, is_plain};

/// Folder of a run's directory with what was uploaded.
const UPLOADED: &str = "artifacts";
/// Folder of a run's directory that a job starts in.
pub(crate) const WORK: &str = "exe/wd";
/// Folder of the one that a job starts in with what becomes artifacts by itself.
pub(crate) const OUTPUTS: &str = "outputs";
/// Folder of a run's directory that the job's output goes to.
const LOGS: &str = "user_logs";

/// A file of a run, by the path that clients know it by.
#[derive(Debug)]
pub(crate) struct RunFile {
    pub(crate) path: String,
    pub(crate) size: u64,
}

/// Where a file of a run is on this machine, whether it is there or not; none that a link leads to, for
/// a job may leave links that lead out of its folder.
pub(crate) fn locate(directory: &Path, path: &str) -> Result<PathBuf, DataPlaneError> {
    let relative = Path::new(path);
    let invalid = || DataPlaneError::bad_request(format!("The artifact path '{path}' is invalid."));
    if !is_plain(path) || [Path::new(""), Path::new(LOGS), Path::new(OUTPUTS)].contains(&relative) {
        return Err(invalid());
    }
    let root = if relative.starts_with(LOGS) {
        directory.to_owned()
    } else if relative.starts_with(OUTPUTS) {
        directory.join(WORK)
    } else {
        directory.join(UPLOADED)
    };
    let file = root.join(relative);
    if has_link(directory, &file) {
        return Err(invalid());
    }
    Ok(file)
}

/// Every file of a run, sorted by path.
pub(crate) async fn list(directory: PathBuf) -> Result<Vec<RunFile>, DataPlaneError> {
    let walked = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        for (folder, prefix) in [
            (directory.join(UPLOADED), ""),
            (directory.join(LOGS), LOGS),
            (directory.join(WORK).join(OUTPUTS), OUTPUTS),
        ] {
            // A job may put a link in the place of any of them.
            if !has_link(&directory, &folder) {
                walk(&folder, prefix, &mut files)?;
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok::<_, std::io::Error>(files)
    })
    .await;
    match walked {
        Ok(files) => files.map_err(|problem| DataPlaneError::failed(&problem)),
        Err(interrupted) => Err(DataPlaneError::failed(&std::io::Error::other(interrupted))),
    }
}

pub(crate) fn walk(folder: &Path, prefix: &str, files: &mut Vec<RunFile>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(problem) => return Err(problem),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            files.push(RunFile { path, size });
        }
    }
    Ok(())
}

/// Files and folders right below `folder`, as MLflow lists them.
pub(crate) fn one_level(files: &[RunFile], folder: &str) -> Vec<Value> {
    let folder = folder.trim_matches('/');
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let mut shown: Vec<Value> = Vec::new();
    for file in files {
        let Some(rest) = file.path.strip_prefix(&prefix) else {
            continue;
        };
        let entry = match rest.split_once('/') {
            Some((name, _)) => json!({"path": format!("{prefix}{name}"), "is_dir": true}),
            None => json!({"path": file.path, "is_dir": false, "file_size": file.size}),
        };
        if shown.last() != Some(&entry) {
            shown.push(entry);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_path_stays_in_its_run() {
        for path in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            "",
            "outputs",
            "user_logs/",
        ] {
            assert!(locate(Path::new("/run"), path).is_err(), "{path}");
        }
        let log = locate(Path::new("/run"), "user_logs/std_log_process_00.txt").unwrap();
        assert_eq!(log, Path::new("/run/user_logs/std_log_process_00.txt"));
        let plot = locate(Path::new("/run"), "plots/a.png").unwrap();
        assert_eq!(plot, Path::new("/run/artifacts/plots/a.png"));
        let model = locate(Path::new("/run"), "outputs/model.bin").unwrap();
        assert_eq!(model, Path::new("/run/exe/wd/outputs/model.bin"));
    }

    #[test]
    fn a_listing_shows_one_level() {
        let file = |path: &str| RunFile {
            path: path.to_owned(),
            size: 1,
        };
        let files = [file("a.txt"), file("plots/a.png"), file("plots/b.png")];
        assert_eq!(one_level(&files, "").len(), 2);
        assert_eq!(one_level(&files, "plots/").len(), 2);
        assert_eq!(one_level(&files, "none").len(), 0);
    }
}

//! What the routes of `src/bootstrap/dask_azureml.py` answer.

use serde::Deserialize;

/// `GET /dask-azureml/v1/state`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct State {
    /// Names one life of a scheduler: another id at the same address is another scheduler.
    pub id: String,
    /// Threads of all workers.
    pub total_threads: u64,
    /// Bytes: the memory limits of all workers together.
    pub total_memory: u64,
    pub workers: Vec<Worker>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Worker {
    /// `<job id>.<attempt>` for workers of ours.
    pub name: String,
    /// `running`, `paused`, `closing_gracefully`, …
    pub status: String,
}

impl Worker {
    /// The id of the job that this worker runs in: job ids hold no dot.
    pub fn job_id(&self) -> &str {
        self.name
            .split_once('.')
            .map_or(self.name.as_str(), |(job, _)| job)
    }

    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}

/// `POST /dask-azureml/v1/to-close`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ToClose {
    pub names: Vec<String>,
}

/// `POST /dask-azureml/v1/retire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Retired {
    pub retired: Vec<String>,
    /// Stayed, since nobody can take their data.
    #[serde(default)]
    pub refused: Vec<String>,
    #[serde(default)]
    pub unknown: Vec<String>,
}

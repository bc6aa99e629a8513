//! What the routes of `src/bootstrap/dask_azureml.py` answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

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
    #[serde(default)]
    pub load: Load,
}

/// What the scheduler has to do, and holds. Seconds are Dask's own estimates, of one thread.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Unix seconds since when no task runs, waits for a thread or for a resource; `None` while one does.
    pub idle_since: Option<f64>,
    /// Clients that are connected.
    pub clients: u32,
    /// Tasks that a worker has been given.
    pub processing: u32,
    /// Tasks that could run and have no worker yet: no thread is free, or there is no worker.
    pub queued: u32,
    /// Tasks that no present worker may run: they ask for a host, a worker or a resource.
    pub unrunnable: u32,
    /// What the tasks of `processing` and `queued` still take.
    pub work_seconds: f64,
    /// Bytes of all results, copies included.
    pub nbytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Worker {
    /// `<job id>.<attempt>` for workers of ours.
    pub name: String,
    /// `running`, `paused`, `closing_gracefully`, …
    pub status: String,
    #[serde(default)]
    pub threads: u32,
    /// Bytes; 0 is no limit.
    #[serde(default)]
    pub memory_limit: u64,
    /// Bytes of the results that it holds.
    #[serde(default)]
    pub nbytes: u64,
    /// Tasks that it has been given.
    #[serde(default)]
    pub processing: u32,
    /// When its last heartbeat came, in milliseconds of the scheduler's clock; `None` where an older bootstrap does not
    /// tell.
    #[serde(default, deserialize_with = "milliseconds")]
    pub last_seen: Option<u64>,
}

fn milliseconds<'de, D: Deserializer<'de>>(told: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<f64>::deserialize(told)?;
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(seconds.and_then(|seconds| u64::try_from(seconds.as_millis()).ok()))
}

impl Worker {
    /// The id of the job that this worker runs in: job ids hold no dot.
    pub fn job_id(&self) -> &str {
        job_of(&self.name)
    }

    pub fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// It takes work, or will again: Dask pauses a worker whose memory is nearly full until it has freed some.
    pub fn is_registered(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused")
    }

    /// It has been told to go and takes no new task.
    pub fn is_leaving(&self) -> bool {
        self.status.starts_with("clos")
    }
}

/// `POST /dask-azureml/v1/to-close`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ToClose {
    pub names: Vec<String>,
    /// Why others stay that would have gone.
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
}

/// The id of the job that a worker of this name runs in: job ids hold no dot.
pub(crate) fn job_of(worker: &str) -> &str {
    worker.split_once('.').map_or(worker, |(job, _)| job)
}

/// The reasons of the bootstrap that speak of data which no other worker has room for.
pub(crate) const HOLDS_DATA: [&str; 3] = [
    "the other workers cannot hold the data twice over",
    "the other workers cannot hold its data",
    "no other worker takes its data",
];

impl Retired {
    /// Somebody stays because of its data. An old bootstrap gives no reasons, and data is the first that comes to mind.
    pub fn data_is_held(&self) -> bool {
        let speaks_of_data = |why: &String| HOLDS_DATA.contains(&why.as_str());
        self.reasons.is_empty() && self.unknown.is_empty()
            || self.reasons.values().any(speaks_of_data)
    }

    /// Whether this job's worker stays for another reason than its data.
    pub fn stays_without_data(&self, job: &str) -> bool {
        self.reasons
            .iter()
            .any(|(worker, why)| job_of(worker) == job && !HOLDS_DATA.contains(&why.as_str()))
    }

    /// Why those stay that do, each reason once: `it is paused, it holds actors`.
    pub fn why(&self) -> String {
        let reasons: BTreeSet<&str> = self.reasons.values().map(String::as_str).collect();
        reasons.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// `POST /dask-azureml/v1/retire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Retired {
    pub retired: Vec<String>,
    /// Stayed; `reasons` says why.
    #[serde(default)]
    pub refused: Vec<String>,
    #[serde(default)]
    pub unknown: Vec<String>,
    /// Take no new task, and go when those have ended that run.
    #[serde(default)]
    pub leaving: Vec<String>,
    /// Why a worker stays, by its name: one that was refused, or one that would have gone and was not even asked.
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
}

//! What is known of a job beside its document: where it is in its life and what it tracked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::world::{EndOfJobs, Unproven};

/// Status words of a job (contract section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobStatus {
    Starting,
    Preparing,
    Queued,
    Running,
    Finalizing,
    /// Its heartbeat is missing.
    NotResponding,
    CancelRequested,
    Completed,
    Failed,
    Canceled,
}

impl JobStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Preparing => "Preparing",
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Finalizing => "Finalizing",
            Self::NotResponding => "NotResponding",
            Self::CancelRequested => "CancelRequested",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }

    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// MLflow's word for it.
    pub(crate) fn mlflow_word(self) -> &'static str {
        match self {
            Self::Starting | Self::Preparing | Self::Queued => "SCHEDULED",
            Self::Running | Self::Finalizing | Self::NotResponding | Self::CancelRequested => {
                "RUNNING"
            }
            Self::Completed => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "KILLED",
        }
    }
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Completed,
    /// With the error that run history shows.
    Failed(Value),
    Canceled,
    /// Not at all: its node was lost, and the same job runs again.
    QueuedAgain,
}

impl Run {
    /// Id of the node that its first process is on.
    pub(crate) fn node(&self) -> Option<&String> {
        self.nodes.first()
    }
}

impl Outcome {
    pub(crate) fn compute_deleted(unproven: &Unproven) -> Self {
        match unproven.jobs_of_deleted_compute {
            EndOfJobs::Canceled => Self::Canceled,
            EndOfJobs::Failed => Self::Failed(run_error(
                "UserError",
                "The compute target of the job was deleted while the job was on it.",
            )),
        }
    }

    /// What an exit code means; `tail` is the end of `log`.
    pub(crate) fn of_exit(code: i64, log: &str, tail: &str) -> Self {
        if code == 0 {
            return Self::Completed;
        }
        Self::Failed(run_error(
            "UserError",
            &format!(
                "Execution failed. User process '/bin/sh' exited with status code {code}. Please \
                 check log file '{log}' for error details. Error: {tail}"
            ),
        ))
    }

    pub(crate) fn status(&self) -> JobStatus {
        match self {
            Self::Completed => JobStatus::Completed,
            Self::Failed(_) => JobStatus::Failed,
            Self::Canceled => JobStatus::Canceled,
            Self::QueuedAgain => JobStatus::Queued,
        }
    }
}

/// The `error` of a run in run history; messages end at 3000 characters (contract section 10).
pub(crate) fn run_error(code: &str, message: &str) -> Value {
    let message: String = message.chars().take(3000).collect();
    json!({
        "error": {"code": code, "message": message, "details": [], "innerError": null},
        "correlation": null, "environment": null, "location": null, "componentName": null,
    })
}

/// A run's process, as far as the state knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    None,
    /// Ordered, and neither started nor failed yet.
    Launching,
    /// The process that keeps all others of the run.
    Keeper(u32),
    /// None, and the run goes on as if there were one.
    Pretended,
}

#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) key: String,
    pub(crate) value: f64,
    pub(crate) timestamp: i64,
    pub(crate) step: i64,
}

#[derive(Debug)]
pub(crate) struct Run {
    /// The job's name, which is the run id.
    pub(crate) id: String,
    /// Key of the workspace.
    pub(crate) workspace: String,
    /// Key of the compute.
    pub(crate) pool: String,
    /// Key of the environment version.
    pub(crate) environment: String,
    pub(crate) status: JobStatus,
    /// How many nodes it needs, all at once.
    pub(crate) instances: usize,
    /// Ids of the nodes that it has, that of rank 0 first.
    pub(crate) nodes: Vec<String>,
    pub(crate) process: Process,
    /// Counts how often it was queued again.
    pub(crate) attempt: u32,
    /// Its node is gone, and Azure does not know yet.
    pub(crate) lost: bool,
    /// Decided while a process is still there.
    pub(crate) ending: Option<Outcome>,
    pub(crate) timeout_seconds: Option<f64>,
    /// It never gets a node, because of this: a fault wants it so.
    pub(crate) held: Option<Problem>,
    /// How often polling its cancel is still answered 503.
    pub(crate) unavailable_polls: u32,
    pub(crate) error: Option<Value>,
    /// What its own code warned of, as run history shows it.
    pub(crate) warnings: Vec<Value>,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// What its processes write, and its logs.
    pub(crate) directory: PathBuf,
    pub(crate) metrics: Vec<Metric>,
    /// Metrics of version 1, as run history shows them.
    pub(crate) metrics_v1: Vec<Value>,
    pub(crate) parameters: BTreeMap<String, String>,
}

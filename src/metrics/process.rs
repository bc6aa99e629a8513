//! The process itself, and what it was built from.

use prometheus::{Error, IntGaugeVec};

use super::definition::{Defined, Definition};

const BUILD: Definition = Definition {
    name: "dask_azureml_build_info",
    help: "What the operator was built from; always 1. The revision is empty where the build did not name it",
    labels: &["version", "revision"],
    what_to_do: "Two versions for long: a rollout of the operator hangs.",
};

/// What the build says with `DASK_AZUREML_REVISION`.
const REVISION: Option<&str> = option_env!("DASK_AZUREML_REVISION");

#[derive(Clone)]
pub(super) struct Process {
    build: IntGaugeVec,
}

impl Process {
    pub(super) fn new() -> Result<Self, Error> {
        let build = BUILD.int_gauge()?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION.unwrap_or_default()])
            .set(1);
        Ok(Self { build })
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![BUILD.with(self.build.clone())]
    }
}

/// What the library tells of the process, and what that is good for.
pub(super) const WHAT_TO_DO: [(&str, &str); 7] = [
    (
        "process_cpu_seconds_total",
        "Near the limit of the pod: give it more, or the operator falls behind.",
    ),
    ("process_max_fds", "Compare with process_open_fds."),
    (
        "process_open_fds",
        "Grows without end: connections leak; restart it and report it.",
    ),
    (
        "process_resident_memory_bytes",
        "Near the limit of the pod: give it more before it is killed.",
    ),
    (
        "process_start_time_seconds",
        "Young again and again: the operator restarts; its last log line says why.",
    ),
    ("process_threads", ""),
    ("process_virtual_memory_bytes", ""),
];

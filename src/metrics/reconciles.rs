//! Reconciles: how many, how long, how they ended, and who waits for one.

use std::time::Duration;

use prometheus::{Error, HistogramVec, IntCounterVec};

use super::definition::{Defined, Definition, OF_A_REQUEST};
use super::now::Now;
use crate::api::Reason;
use crate::azure_resources::KINDS;
use crate::backlog::Backlog;
use crate::reconcile::{Error as ReconcileError, Finding, Response, TimedStep};

const RECONCILES: Definition = Definition {
    name: "dask_azureml_reconciles_total",
    help: "Reconciles by result (ok, or an error's category) and by the reason that the condition Ready had then",
    labels: &["result", "reason"],
    what_to_do: "Results other than `ok`: the log has the error.",
};

const DURATION: Definition = Definition {
    name: "dask_azureml_reconcile_duration_seconds",
    help: "Duration of a reconcile",
    labels: &[],
    what_to_do: "What a look at a cluster takes, waiting for Azure included.",
};

const STEP_DURATION: Definition = Definition {
    name: "dask_azureml_reconcile_step_duration_seconds",
    help: "Duration of the steps of a reconcile that wait for somebody: observe, act and report",
    labels: &["step"],
    what_to_do: "observe and act wait for Azure, report for the API server.",
};

const QUEUE: Definition = Definition {
    name: "dask_azureml_reconcile_queue",
    help: "Clusters that wait for a reconcile, and those in one (running)",
    labels: &["state"],
    what_to_do: "Many that wait: dask_azureml_oldest_unreconciled_seconds says for how long.",
};

const OLDEST: Definition = Definition {
    name: "dask_azureml_oldest_unreconciled_seconds",
    help: "How long the cluster that waits longest for a reconcile has been waiting; 0 when none does",
    labels: &[],
    what_to_do: "More than a minute: the operator is short of processor time, or a reconcile hangs.",
};

const STATUS_WRITES: Definition = Definition {
    name: "dask_azureml_status_writes_total",
    help: "Writes of a DaskCluster's status",
    labels: &[],
    what_to_do: "A cluster at rest writes none.",
};

const SETBACKS: Definition = Definition {
    name: "dask_azureml_setbacks_total",
    help: "Steps that failed, by the reason that the condition gives",
    labels: &["reason"],
    what_to_do: "The page of conditions says what each reason asks for.",
};

const DRIFT: Definition = Definition {
    name: "dask_azureml_drift_total",
    help: "Fields of our resources that somebody changed in Azure, and resources that somebody deleted there",
    labels: &["kind", "field", "response"],
    what_to_do: "Somebody changes our resources in Azure; the event on the cluster names the field.",
};

#[derive(Clone)]
pub(super) struct Reconciles {
    total: IntCounterVec,
    seconds: HistogramVec,
    step_seconds: HistogramVec,
    status_writes: IntCounterVec,
    setbacks: IntCounterVec,
    drift: IntCounterVec,
}

impl Reconciles {
    pub(super) fn new() -> Result<Self, Error> {
        let made = Self {
            total: RECONCILES.counter()?,
            seconds: DURATION.histogram(&OF_A_REQUEST)?,
            step_seconds: STEP_DURATION.histogram(&OF_A_REQUEST)?,
            status_writes: STATUS_WRITES.counter()?,
            setbacks: SETBACKS.counter()?,
            drift: DRIFT.counter()?,
        };
        for reason in [Reason::Pending, Reason::Ready] {
            made.total.with_label_values(&[OK, reason.as_str()]);
        }
        for category in ReconcileError::CATEGORIES {
            made.total.with_label_values(&[category, ""]);
        }
        made.seconds.with_label_values::<&str>(&[]);
        for step in TimedStep::ALL {
            made.step_seconds.with_label_values(&[step.as_str()]);
        }
        made.status_writes.with_label_values::<&str>(&[]);
        for reason in Reason::ALL.into_iter().filter(|reason| reason.is_warning()) {
            made.setbacks.with_label_values(&[reason.as_str()]);
        }
        for kind in KINDS {
            let made_again = Response::MadeAgain.as_str();
            made.drift.with_label_values(&[kind.name, "", made_again]);
        }
        Ok(made)
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![
            RECONCILES.with(self.total.clone()),
            DURATION.with(self.seconds.clone()),
            STEP_DURATION.with(self.step_seconds.clone()),
            STATUS_WRITES.with(self.status_writes.clone()),
            SETBACKS.with(self.setbacks.clone()),
            DRIFT.with(self.drift.clone()),
        ]
    }

    /// `reason`: that of `Ready`, where a conclusion was come to.
    pub(super) fn ended(&self, result: &str, reason: Option<Reason>, took: Duration) {
        let reason = reason.map_or("", Reason::as_str);
        self.total.with_label_values(&[result, reason]).inc();
        self.seconds
            .with_label_values::<&str>(&[])
            .observe(took.as_secs_f64());
    }

    pub(super) fn step_ended(&self, step: TimedStep, took: Duration) {
        self.step_seconds
            .with_label_values(&[step.as_str()])
            .observe(took.as_secs_f64());
    }

    pub(super) fn status_written(&self) {
        self.status_writes.with_label_values::<&str>(&[]).inc();
    }

    pub(super) fn set_back(&self, reasons: &[Reason]) {
        for reason in reasons {
            self.setbacks.with_label_values(&[reason.as_str()]).inc();
        }
    }

    /// Field by field. Tags have names of users' own, so they are one field.
    pub(super) fn found(&self, finding: &Finding) {
        let response = finding.response.as_str();
        let whole = String::new();
        let fields = match finding.fields.as_slice() {
            [] => std::slice::from_ref(&whole),
            fields => fields,
        };
        for field in fields {
            let field = if field.starts_with("tags.") {
                "tags"
            } else {
                field
            };
            self.drift
                .with_label_values(&[finding.kind, field, response])
                .inc();
        }
    }
}

/// The result of a reconcile that came to its end.
pub(super) const OK: &str = "ok";

pub(super) fn of_backlog(backlog: &Backlog) -> Result<Vec<(&'static Definition, Now)>, Error> {
    let (queue, oldest) = (backlog.clone(), backlog.clone());
    let queue = Now::new(&QUEUE, move || {
        let counts = queue.counts();
        vec![
            (vec!["waiting"], counts.waiting as f64),
            (vec!["running"], counts.running as f64),
        ]
    })?;
    let oldest = Now::new(&OLDEST, move || {
        vec![(Vec::new(), oldest.longest_wait().as_secs_f64())]
    })?;
    Ok(vec![(&QUEUE, queue), (&OLDEST, oldest)])
}

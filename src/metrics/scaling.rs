//! Clusters on their way: how long each stage of a start takes, which numbers of workers are decided, and how workers
//! go.

use prometheus::{Error, HistogramVec, IntCounterVec};

use super::Metrics;
use super::definition::{Defined, Definition, UP_TO_AN_HOUR};
use crate::dask::{ANSWERED, Error as DaskError, Retired, SchedulerObserver};
use crate::reconcile::{LetGo, StageReached, StartStage};

const STAGES: Definition = Definition {
    name: "dask_azureml_stage_duration_seconds",
    help: "How long the stages of a cluster's start took: network, pool, scheduler and workers each from the stage before (the first from when the spec was seen), ready from when the spec was seen",
    labels: &["stage"],
    what_to_do: "A start that is slower than others: the stage says whether Azure's network, its nodes, the image or the workers were slow.",
};

const DECISIONS: Definition = Definition {
    name: "dask_azureml_scale_decisions_total",
    help: "Changes of the number of workers that is wanted, by direction (up, down): of users, of the autoscaler, and by rest",
    labels: &["direction"],
    what_to_do: "Many of both on an autoscaled cluster: longer windows in spec.autoscaling.",
};

const RETIREMENTS: Definition = Definition {
    name: "dask_azureml_retirements_total",
    help: "Workers that went or were to go: told to go by the scheduler, verified by it to have handed over their data, refused, cancelled without data before they began or after they had left, and lost with data",
    labels: &["outcome"],
    what_to_do: "lost: a grace has passed with data that fitted nowhere; the event DataLost names the worker. refused for long: the condition says why.",
};

const POLLS: Definition = Definition {
    name: "dask_azureml_scheduler_polls_total",
    help: "Looks at schedulers by result: ok, or an error's category",
    labels: &["result"],
    what_to_do: "Unreachable: is the network of the pods peered with the workers'? Untrusted: somebody changed the connection Secret.",
};

#[derive(Clone)]
pub(super) struct Scaling {
    stages: HistogramVec,
    decisions: IntCounterVec,
    retirements: IntCounterVec,
    polls: IntCounterVec,
}

const UP: &str = "up";
const DOWN: &str = "down";

impl Scaling {
    pub(super) fn new() -> Result<Self, Error> {
        let made = Self {
            stages: STAGES.histogram(&UP_TO_AN_HOUR)?,
            decisions: DECISIONS.counter()?,
            retirements: RETIREMENTS.counter()?,
            polls: POLLS.counter()?,
        };
        for stage in StartStage::ALL {
            made.stages.with_label_values(&[stage.as_str()]);
        }
        for direction in [UP, DOWN] {
            made.decisions.with_label_values(&[direction]);
        }
        for outcome in ["told", "verified", "refused", "cancelled", "lost"] {
            made.retirements.with_label_values(&[outcome]);
        }
        made.polls.with_label_values(&[ANSWERED]);
        for category in DaskError::CATEGORIES {
            made.polls.with_label_values(&[category]);
        }
        Ok(made)
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![
            STAGES.with(self.stages.clone()),
            DECISIONS.with(self.decisions.clone()),
            RETIREMENTS.with(self.retirements.clone()),
            POLLS.with(self.polls.clone()),
        ]
    }

    pub(super) fn stage_reached(&self, reached: &StageReached) {
        self.stages
            .with_label_values(&[reached.stage.as_str()])
            .observe(reached.after.as_secs_f64());
    }

    pub(super) fn scaled(&self, had: u32, has: u32) {
        let direction = if has > had { UP } else { DOWN };
        self.decisions.with_label_values(&[direction]).inc();
    }

    pub(super) fn let_go(&self, gone: LetGo) {
        self.count_retirements("cancelled", gone.cancelled as usize);
        self.count_retirements("lost", gone.lost as usize);
    }

    fn count_retirements(&self, outcome: &str, workers: usize) {
        self.retirements
            .with_label_values(&[outcome])
            .inc_by(workers as u64);
    }
}

impl SchedulerObserver for Metrics {
    fn polled(&self, result: &'static str) {
        self.scaling.polls.with_label_values(&[result]).inc();
    }

    fn retired(&self, answer: &Retired) {
        let Retired {
            retired,
            refused,
            leaving,
            ..
        } = answer;
        let told = retired.len().saturating_add(leaving.len());
        self.scaling.count_retirements("told", told);
        self.scaling.count_retirements("verified", retired.len());
        self.scaling.count_retirements("refused", refused.len());
    }
}

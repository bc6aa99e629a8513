//! What is asked of Azure, how it answers, how long it takes for what it accepted, and what it holds that nobody owns.

use std::time::Duration;

use prometheus::{Error, GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::Metrics;
use super::definition::{Defined, Definition, OF_A_REQUEST, OF_A_TURN, UP_TO_AN_HOUR};
use super::now::Now;
use crate::azure::{AdmittedRequest, Budgets, EndedRequest, Lane, OperationType, RequestObserver};
use crate::azure_resources::{AzureKind as _, ComputeCluster, Job, KINDS};
use crate::reconcile::{EndedOperation, OperationResult, OperationVerb};

const REQUESTS: Definition = Definition {
    name: "dask_azureml_azure_requests_total",
    help: "Requests to Azure by verb, resource type and HTTP status",
    labels: &["verb", "target", "status"],
    what_to_do: "Status 401 and 403: credentials and roles. `none`: no answer came.",
};

const REQUEST_DURATION: Definition = Definition {
    name: "dask_azureml_azure_request_duration_seconds",
    help: "Duration of a request to Azure",
    labels: &["verb", "target"],
    what_to_do: "Slow reads make every change slow to be seen.",
};

const OPERATION_DURATION: Definition = Definition {
    name: "dask_azureml_azure_operation_duration_seconds",
    help: "How long Azure worked on what it had accepted, by kind of resource, verb and result (succeeded, failed); as precise as the operator looks",
    labels: &["kind", "verb", "result"],
    what_to_do: "Failed ones: the condition of the stage says why. Slow ones are Azure's doing.",
};

const TURNS: Definition = Definition {
    name: "dask_azureml_azure_budget_turns_total",
    help: "Requests to Azure Resource Manager by lane, type of operation and whether their turn came (taken) or they were sent away to come again (postponed)",
    labels: &["lane", "operation", "turn"],
    what_to_do: "Many `postponed`: as above.",
};

const TURN_WAIT: Definition = Definition {
    name: "dask_azureml_azure_budget_wait_seconds",
    help: "How long a request waited for its turn within Azure's rate limit",
    labels: &["lane"],
    what_to_do: "The time that clusters lose to Azure's limits.",
};

const THROTTLES: Definition = Definition {
    name: "dask_azureml_azure_throttles_total",
    help: "Requests that Azure refused because there were too many, by type of operation",
    labels: &["operation"],
    what_to_do: "Another program uses the same principal, or its limits are lower than documented.",
};

const REMAINING: Definition = Definition {
    name: "dask_azureml_azure_budget_remaining",
    help: "Requests that Azure would take now, by type of operation; of the principal and subscription with the fewest",
    labels: &["operation"],
    what_to_do: "Near 0 for long: fewer clusters on one principal, or more principals.",
};

const INVENTORY_AGE: Definition = Definition {
    name: "dask_azureml_inventory_age_seconds",
    help: "How old the oldest list of Azure's resources is that clusters depend on; 0 when none is in use",
    labels: &[],
    what_to_do: "More than minutes: Azure does not answer or the budget is spent, and what others do in Azure is not seen.",
};

const ORPHANS: Definition = Definition {
    name: "dask_azureml_orphans",
    help: "Resources in Azure that carry our tag and that no DaskCluster owns, by kind",
    labels: &["kind"],
    what_to_do: "Look at the log for the ids; `--orphans=remove` removes them.",
};

const ORPHANS_COST: Definition = Definition {
    name: "dask_azureml_orphans_hourly_cost",
    help: "What orphans cost in an hour by Azure's list prices, in the currency of the subscription's prices, by kind",
    labels: &["kind"],
    what_to_do: "As above: this is what waiting costs.",
};

#[derive(Clone)]
pub(super) struct Azure {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    operation_seconds: HistogramVec,
    turns: IntCounterVec,
    turn_seconds: HistogramVec,
    throttles: IntCounterVec,
    orphans: IntGaugeVec,
    orphans_cost: GaugeVec,
}

impl Azure {
    pub(super) fn new() -> Result<Self, Error> {
        let made = Self {
            requests: REQUESTS.counter()?,
            request_seconds: REQUEST_DURATION.histogram(&OF_A_REQUEST)?,
            operation_seconds: OPERATION_DURATION.histogram(&UP_TO_AN_HOUR)?,
            turns: TURNS.counter()?,
            turn_seconds: TURN_WAIT.histogram(&OF_A_TURN)?,
            throttles: THROTTLES.counter()?,
            orphans: ORPHANS.int_gauge()?,
            orphans_cost: ORPHANS_COST.gauge()?,
        };
        for operation in OperationType::ALL {
            made.throttles.with_label_values(&[operation.as_str()]);
            for lane in Lane::ALL {
                for turn in [TAKEN, POSTPONED] {
                    let labels = [lane.as_str(), operation.as_str(), turn];
                    made.turns.with_label_values(&labels);
                }
            }
        }
        for lane in Lane::ALL {
            made.turn_seconds.with_label_values(&[lane.as_str()]);
        }
        for kind in [ComputeCluster::NAME, Job::NAME] {
            made.orphans.with_label_values(&[kind]);
            made.orphans_cost.with_label_values(&[kind]);
        }
        for kind in KINDS {
            for verb in OperationVerb::of(kind.name) {
                for result in OperationResult::ALL {
                    let labels = [kind.name, verb.as_str(), result.as_str()];
                    made.operation_seconds.with_label_values(&labels);
                }
            }
        }
        Ok(made)
    }

    pub(super) fn defined(&self) -> Vec<Defined> {
        vec![
            REQUESTS.with(self.requests.clone()),
            REQUEST_DURATION.with(self.request_seconds.clone()),
            OPERATION_DURATION.with(self.operation_seconds.clone()),
            TURNS.with(self.turns.clone()),
            TURN_WAIT.with(self.turn_seconds.clone()),
            THROTTLES.with(self.throttles.clone()),
            ORPHANS.with(self.orphans.clone()),
            ORPHANS_COST.with(self.orphans_cost.clone()),
        ]
    }

    pub(super) fn operation_ended(&self, ended: &EndedOperation) {
        self.operation_seconds
            .with_label_values(&[ended.kind, ended.verb.as_str(), ended.result.as_str()])
            .observe(ended.took.as_secs_f64());
    }

    pub(super) fn tell_orphans(&self, orphans: &[(&'static str, Option<f64>)]) {
        for kind in [ComputeCluster::NAME, Job::NAME] {
            self.orphans.with_label_values(&[kind]).set(0);
            self.orphans_cost.with_label_values(&[kind]).set(0.0);
        }
        for (kind, hourly) in orphans {
            self.orphans.with_label_values(&[kind]).inc();
            if let Some(hourly) = hourly {
                self.orphans_cost.with_label_values(&[kind]).add(*hourly);
            }
        }
    }
}

const TAKEN: &str = "taken";
const POSTPONED: &str = "postponed";

impl RequestObserver for Metrics {
    fn request_ended(&self, request: &EndedRequest<'_>) {
        let status = request
            .status
            .map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.azure
            .requests
            .with_label_values(&[request.verb, request.target, status.as_str()])
            .inc();
        self.azure
            .request_seconds
            .with_label_values(&[request.verb, request.target])
            .observe(request.duration.as_secs_f64());
    }

    fn request_admitted(&self, request: &AdmittedRequest) {
        let lane = request.lane.as_str();
        self.azure
            .turns
            .with_label_values(&[lane, request.operation.as_str(), TAKEN])
            .inc();
        self.azure
            .turn_seconds
            .with_label_values(&[lane])
            .observe(request.waited.as_secs_f64());
    }

    fn request_postponed(&self, lane: Lane, operation: OperationType) {
        self.azure
            .turns
            .with_label_values(&[lane.as_str(), operation.as_str(), POSTPONED])
            .inc();
    }

    fn request_throttled(&self, operation: OperationType) {
        self.azure
            .throttles
            .with_label_values(&[operation.as_str()])
            .inc();
    }
}

pub(super) fn of_budgets(budgets: Budgets) -> Result<(&'static Definition, Now), Error> {
    let remaining = Now::new(&REMAINING, move || {
        let left = |operation: OperationType| {
            let left = budgets.least_left(operation)?;
            Some((vec![operation.as_str()], left.floor()))
        };
        OperationType::ALL.into_iter().filter_map(left).collect()
    })?;
    Ok((&REMAINING, remaining))
}

/// `age`: of the oldest list that is in use, if one is.
pub(super) fn of_inventory(
    age: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) -> Result<(&'static Definition, Now), Error> {
    let shown = Now::new(&INVENTORY_AGE, move || {
        vec![(Vec::new(), age().unwrap_or_default().as_secs_f64())]
    })?;
    Ok((&INVENTORY_AGE, shown))
}

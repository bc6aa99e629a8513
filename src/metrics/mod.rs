//! What the operator counts. One struct on a registry that is passed down; labels are bounded.

mod clusters;
mod page;

pub use page::page;

use kube::runtime::reflector::Store;
use prometheus::core::Collector;
use prometheus::core::Desc;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::clusters::ClusterCollector;
use crate::api::{DaskCluster, Reason};
use crate::azure::{AdmittedRequest, Budgets, EndedRequest, Lane, OperationType, RequestObserver};
use crate::clock::Clock;
use crate::leadership::Lead;
use crate::reconcile::Finding;

/// Every metric of the operator.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Reconciles by result: `ok` or an error's category.
    pub reconciles: IntCounterVec,
    pub reconcile_seconds: HistogramVec,
    pub status_writes: IntCounter,
    /// How often this process took the lead.
    pub leader_transitions: IntCounter,
    setbacks: IntCounterVec,
    orphans: IntGaugeVec,
    orphans_hourly_cost: GaugeVec,
    findings: IntCounterVec,
    azure_requests: IntCounterVec,
    azure_request_seconds: HistogramVec,
    azure_turns: IntCounterVec,
    azure_turn_seconds: HistogramVec,
    azure_throttles: IntCounterVec,
}

/// From a quick read to the longest call that has a deadline.
const SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// From no wait at all to the time in which a thousand clusters are made.
const TURN_SECONDS: [f64; 9] = [0.01, 0.1, 0.5, 2.0, 5.0, 15.0, 60.0, 300.0, 1200.0];

impl Metrics {
    /// # Errors
    /// When two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: IntCounterVec::new(
                Opts::new("dask_azureml_reconciles_total", "Reconciles by result"),
                &["result"],
            )?,
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "dask_azureml_reconcile_duration_seconds",
                    "Duration of a reconcile",
                )
                .buckets(SECONDS.to_vec()),
                &[],
            )?,
            status_writes: IntCounter::new(
                "dask_azureml_status_writes_total",
                "Writes of a DaskCluster's status",
            )?,
            leader_transitions: IntCounter::new(
                "dask_azureml_leader_transitions_total",
                "How often this process took the lead: 0 or 1, as one that loses it ends",
            )?,
            setbacks: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_setbacks_total",
                    "Steps that failed, by the reason that the condition gives",
                ),
                &["reason"],
            )?,
            orphans_hourly_cost: GaugeVec::new(
                Opts::new(
                    "dask_azureml_orphans_hourly_cost",
                    "What orphans cost in an hour by Azure's list prices, in the currency of the subscription's prices, by kind",
                ),
                &["kind"],
            )?,
            orphans: IntGaugeVec::new(
                Opts::new(
                    "dask_azureml_orphans",
                    "Resources in Azure that carry our tag and that no DaskCluster owns, by kind",
                ),
                &["kind"],
            )?,
            findings: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_drift_total",
                    "Fields of our resources that somebody changed in Azure, and resources that somebody deleted there",
                ),
                &["kind", "field", "response"],
            )?,
            azure_requests: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_azure_requests_total",
                    "Requests to Azure by verb, resource type and HTTP status",
                ),
                &["verb", "target", "status"],
            )?,
            azure_request_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "dask_azureml_azure_request_duration_seconds",
                    "Duration of a request to Azure",
                )
                .buckets(SECONDS.to_vec()),
                &["verb", "target"],
            )?,
            azure_turns: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_azure_budget_turns_total",
                    "Requests to Azure Resource Manager by lane, type of operation and whether their turn came (taken) or they were sent away to come again (postponed)",
                ),
                &["lane", "operation", "turn"],
            )?,
            azure_turn_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "dask_azureml_azure_budget_wait_seconds",
                    "How long a request waited for its turn within Azure's rate limit",
                )
                .buckets(TURN_SECONDS.to_vec()),
                &["lane"],
            )?,
            azure_throttles: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_azure_throttles_total",
                    "Requests that Azure refused because there were too many, by type of operation",
                ),
                &["operation"],
            )?,
            registry,
        };
        for collector in metrics.collectors() {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.findings.clone()),
            Box::new(self.reconciles.clone()),
            Box::new(self.reconcile_seconds.clone()),
            Box::new(self.status_writes.clone()),
            Box::new(self.leader_transitions.clone()),
            Box::new(self.setbacks.clone()),
            Box::new(self.orphans.clone()),
            Box::new(self.orphans_hourly_cost.clone()),
            Box::new(self.azure_requests.clone()),
            Box::new(self.azure_request_seconds.clone()),
            Box::new(self.azure_turns.clone()),
            Box::new(self.azure_turn_seconds.clone()),
            Box::new(self.azure_throttles.clone()),
        ]
    }

    /// Shows what the objects in this cache say, as they are whenever the page is read. Standbys say nothing of them:
    /// every series would be there twice.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_clusters(
        &self,
        clusters: Store<DaskCluster>,
        clock: Clock,
        lead: Lead,
    ) -> Result<(), prometheus::Error> {
        let collector = ClusterCollector::new(clusters, clock, lead)?;
        self.registry.register(Box::new(collector))
    }

    pub fn count_setbacks(&self, reasons: &[Reason]) {
        for reason in reasons {
            self.setbacks.with_label_values(&[reason.as_str()]).inc();
        }
    }

    /// Tells the orphans that the last sweep has found: the kind of each, and what it costs in an hour where that is
    /// known.
    pub fn tell_orphans(&self, orphans: &[(&'static str, Option<f64>)]) {
        self.orphans.reset();
        self.orphans_hourly_cost.reset();
        for (kind, hourly) in orphans {
            self.orphans.with_label_values(&[kind]).inc();
            if let Some(hourly) = hourly {
                self.orphans_hourly_cost
                    .with_label_values(&[kind])
                    .add(*hourly);
            }
        }
    }

    /// Shows what is left of `budgets`, as it is whenever the page is read.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_budgets(&self, budgets: Budgets) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(budget_gauge(budgets)?))
    }

    /// Shows whether this operator leads, as it is whenever the page is read.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_lead(&self, lead: Lead) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(lead_gauge(lead)?))
    }

    /// Counts what somebody did in Azure, field by field. Tags have names of users' own, so they are one field.
    pub fn count_finding(&self, finding: &Finding) {
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
            self.findings
                .with_label_values(&[finding.kind, field, response])
                .inc();
        }
    }

    /// The page that Prometheus reads.
    ///
    /// # Errors
    /// When the library cannot write what it holds.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn budget_gauge(budgets: Budgets) -> Result<BudgetGauge, prometheus::Error> {
    Ok(BudgetGauge {
        gauge: GaugeVec::new(
            Opts::new(
                "dask_azureml_azure_budget_remaining",
                "Requests that Azure would take now, by type of operation; of the principal and subscription with the fewest",
            ),
            &["operation"],
        )?,
        budgets,
    })
}

fn lead_gauge(lead: Lead) -> Result<LeadGauge, prometheus::Error> {
    Ok(LeadGauge {
        gauge: IntGauge::new(
            "dask_azureml_leader",
            "1 on the operator that works, 0 on a standby",
        )?,
        lead,
    })
}

struct LeadGauge {
    gauge: IntGauge,
    lead: Lead,
}

impl Collector for LeadGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.lead.is_current().into());
        self.gauge.collect()
    }
}

struct BudgetGauge {
    gauge: GaugeVec,
    budgets: Budgets,
}

impl Collector for BudgetGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for operation in OperationType::ALL {
            if let Some(left) = self.budgets.least_left(operation) {
                self.gauge
                    .with_label_values(&[operation.as_str()])
                    .set(left.floor());
            }
        }
        self.gauge.collect()
    }
}

impl RequestObserver for Metrics {
    fn request_ended(&self, request: &EndedRequest<'_>) {
        let status = request
            .status
            .map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.azure_requests
            .with_label_values(&[request.verb, request.target, status.as_str()])
            .inc();
        self.azure_request_seconds
            .with_label_values(&[request.verb, request.target])
            .observe(request.duration.as_secs_f64());
    }

    fn request_admitted(&self, request: &AdmittedRequest) {
        let lane = request.lane.as_str();
        self.azure_turns
            .with_label_values(&[lane, request.operation.as_str(), "taken"])
            .inc();
        self.azure_turn_seconds
            .with_label_values(&[lane])
            .observe(request.waited.as_secs_f64());
    }

    fn request_postponed(&self, lane: Lane, operation: OperationType) {
        self.azure_turns
            .with_label_values(&[lane.as_str(), operation.as_str(), "postponed"])
            .inc();
    }

    fn request_throttled(&self, operation: OperationType) {
        self.azure_throttles
            .with_label_values(&[operation.as_str()])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_tells_of_the_budget_by_lane_and_type_of_operation_alone() {
        let metrics = Metrics::new().unwrap();
        let budgets = Budgets::new(Clock::system(), Arc::new(metrics.clone()));
        metrics.show_budgets(budgets).unwrap();
        let (lane, operation) = (Lane::UserChange, OperationType::Write);
        metrics.request_admitted(&AdmittedRequest {
            lane,
            operation,
            waited: Duration::from_secs(3),
        });
        metrics.request_postponed(lane, operation);
        metrics.request_postponed(lane, operation);
        metrics.request_throttled(OperationType::Delete);
        let page = metrics.page().unwrap();
        for line in [
            r#"dask_azureml_azure_budget_turns_total{lane="user_change",operation="writes",turn="taken"} 1"#,
            r#"dask_azureml_azure_budget_turns_total{lane="user_change",operation="writes",turn="postponed"} 2"#,
            r#"dask_azureml_azure_budget_wait_seconds_bucket{lane="user_change",le="2"} 0"#,
            r#"dask_azureml_azure_budget_wait_seconds_bucket{lane="user_change",le="5"} 1"#,
            r#"dask_azureml_azure_throttles_total{operation="deletes"} 1"#,
        ] {
            assert!(page.lines().any(|told| told == line), "{line}\n{page}");
        }
    }

    #[tokio::test]
    async fn what_remains_is_shown_as_it_is_when_the_page_is_read() {
        let metrics = Metrics::new().unwrap();
        let hand = crate::clock::ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let budgets = Budgets::new(hand.clock(), Arc::new(metrics.clone()));
        metrics.show_budgets(budgets.clone()).unwrap();
        let remaining = |operation| {
            let page = metrics.page().unwrap();
            let name = format!("dask_azureml_azure_budget_remaining{{operation=\"{operation}\"}} ");
            page.lines()
                .find_map(|line| line.strip_prefix(&name).map(str::to_owned))
        };
        assert_eq!(remaining("reads"), None, "nobody has asked for anything");
        let slot = budgets
            .turn(&"one".into(), "0", OperationType::Read, &Default::default())
            .await
            .ok()
            .unwrap();
        assert_eq!(remaining("reads").as_deref(), Some("249"));
        assert_eq!(remaining("writes").as_deref(), Some("200"));
        drop(slot);
        hand.advance(Duration::from_secs(1));
        assert_eq!(remaining("reads").as_deref(), Some("250"));
    }

    #[test]
    fn whether_it_leads_is_shown_as_it_is_when_the_page_is_read() {
        let metrics = Metrics::new().unwrap();
        let hand = crate::clock::ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let end = Duration::from_secs(12);
        metrics.show_lead(Lead::until(hand.clock(), end)).unwrap();
        let tells = |line: &str| metrics.page().unwrap().lines().any(|told| told == line);
        assert!(tells("dask_azureml_leader 1"));
        assert!(tells("dask_azureml_leader_transitions_total 0"));
        hand.advance(end);
        assert!(tells("dask_azureml_leader 0"));
    }
}

//! What the operator counts. One struct on a registry that is passed down; labels are bounded.

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::api::Reason;
use crate::azure::{EndedRequest, RequestObserver};

/// Every metric of the operator.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Reconciles by result: `ok` or an error's category.
    pub reconciles: IntCounterVec,
    pub reconcile_seconds: HistogramVec,
    pub status_writes: IntCounter,
    setbacks: IntCounterVec,
    azure_requests: IntCounterVec,
    azure_request_seconds: HistogramVec,
}

/// From a quick read to the longest call that has a deadline.
const SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

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
            setbacks: IntCounterVec::new(
                Opts::new(
                    "dask_azureml_setbacks_total",
                    "Steps that failed, by the reason that the condition gives",
                ),
                &["reason"],
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
            registry,
        };
        let all: [Box<dyn Collector>; 6] = [
            Box::new(metrics.reconciles.clone()),
            Box::new(metrics.reconcile_seconds.clone()),
            Box::new(metrics.status_writes.clone()),
            Box::new(metrics.setbacks.clone()),
            Box::new(metrics.azure_requests.clone()),
            Box::new(metrics.azure_request_seconds.clone()),
        ];
        for collector in all {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    pub fn count_setbacks(&self, reasons: &[Reason]) {
        for reason in reasons {
            self.setbacks.with_label_values(&[reason.as_str()]).inc();
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
}

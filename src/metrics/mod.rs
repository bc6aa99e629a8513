//! What the operator counts: a struct a subject, each metric with one definition, on a registry that is passed down.
//! Labels are bounded, and counters start at 0 for every value of a label that is known beforehand.

mod azure;
mod clusters;
mod definition;
mod kubernetes;
mod leadership;
mod now;
mod page;
mod process;
mod reconciles;
mod scaling;

pub use page::page;

use std::time::Duration;

use kube::Client;
use kube::runtime::reflector::Store;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, Registry, TextEncoder};

use self::azure::Azure;
use self::clusters::ClusterCollector;
use self::definition::{Defined, Definition};
use self::kubernetes::Kubernetes;
use self::leadership::Leadership;
use self::now::Now;
use self::process::Process;
use self::reconciles::Reconciles;
use self::scaling::Scaling;
use crate::api::{DaskCluster, Reason};
use crate::azure::Budgets;
use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::leadership::Lead;
use crate::reconcile::{
    EndedOperation, Error as ReconcileError, Finding, LetGo, StageReached, TimedStep,
};

/// Every metric of the operator.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: Reconciles,
    scaling: Scaling,
    azure: Azure,
    kubernetes: Kubernetes,
    leadership: Leadership,
    process: Process,
}

impl Metrics {
    /// # Errors
    /// When two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            reconciles: Reconciles::new()?,
            scaling: Scaling::new()?,
            azure: Azure::new()?,
            kubernetes: Kubernetes::new()?,
            leadership: Leadership::new()?,
            process: Process::new()?,
        };
        for (_, collector) in metrics.defined() {
            metrics.registry.register(collector)?;
        }
        let process = ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        Ok(metrics)
    }

    /// All that count by themselves. The others are shown once there is something to look it up from.
    fn defined(&self) -> Vec<Defined> {
        let mut all = self.reconciles.defined();
        all.extend(self.scaling.defined());
        all.extend(self.azure.defined());
        all.extend(self.kubernetes.defined());
        all.extend(self.leadership.defined());
        all.extend(self.process.defined());
        all
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

    /// Shows what is left of `budgets`, as it is whenever the page is read.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_budgets(&self, budgets: Budgets) -> Result<(), prometheus::Error> {
        self.show(azure::of_budgets(budgets)?)
    }

    /// Shows how old the oldest list is that is in use, whenever the page is read; `None` is none in use.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_inventory_age(
        &self,
        age: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        self.show(azure::of_inventory(age)?)
    }

    /// Shows who waits for a reconcile, whenever the page is read.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_backlog(&self, backlog: &Backlog) -> Result<(), prometheus::Error> {
        let shown = reconciles::of_backlog(backlog)?;
        shown.into_iter().try_for_each(|shown| self.show(shown))
    }

    /// Shows whether this operator leads, as it is whenever the page is read.
    ///
    /// # Errors
    /// When that is shown already.
    pub fn show_lead(&self, lead: Lead) -> Result<(), prometheus::Error> {
        self.show(leadership::of_lead(lead)?)
    }

    /// How often this process took the lead.
    pub fn leader_transitions(&self) -> IntCounter {
        self.leadership.transitions()
    }

    fn show(&self, (_, gauge): (&'static Definition, Now)) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(gauge))
    }

    /// A client whose requests are counted.
    #[must_use]
    pub fn counted(&self, client: Client) -> Client {
        kubernetes::counted(client, self.kubernetes.clone())
    }

    /// Counts a reconcile by its outcome: the reason of `Ready`, or the error.
    pub fn count_reconcile(&self, outcome: Result<Reason, &ReconcileError>, took: Duration) {
        match outcome {
            Ok(reason) => self.reconciles.ended(reconciles::OK, Some(reason), took),
            Err(error) => self.reconciles.ended(error.category(), None, took),
        }
    }

    pub fn count_step(&self, step: TimedStep, took: Duration) {
        self.reconciles.step_ended(step, took);
    }

    pub fn count_status_write(&self) {
        self.reconciles.status_written();
    }

    pub fn count_setbacks(&self, reasons: &[Reason]) {
        self.reconciles.set_back(reasons);
    }

    /// Counts what somebody did in Azure, field by field.
    pub fn count_finding(&self, finding: &Finding) {
        self.reconciles.found(finding);
    }

    pub fn count_operation(&self, ended: &EndedOperation) {
        self.azure.operation_ended(ended);
    }

    /// Tells the orphans that the last sweep has found: the kind of each, and what it costs in an hour where that is
    /// known.
    pub fn tell_orphans(&self, orphans: &[(&'static str, Option<f64>)]) {
        self.azure.tell_orphans(orphans);
    }

    pub fn count_stage(&self, reached: &StageReached) {
        self.scaling.stage_reached(reached);
    }

    /// Counts another number of workers that is wanted.
    pub fn count_scaling(&self, had: u32, has: u32) {
        self.scaling.scaled(had, has);
    }

    pub fn count_let_go(&self, gone: LetGo) {
        self.scaling.let_go(gone);
    }

    /// The page that Prometheus reads.
    ///
    /// # Errors
    /// When the library cannot write what it holds.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests;

//! What the DaskClusters themselves say, read from the watch's cache whenever Prometheus asks: true after a restart, and
//! gone with the object.

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::api::{ConditionType, CostStatus, DaskCluster, DaskClusterStatus};
use crate::clock::Clock;
use crate::leadership::Lead;
use crate::quantity;

/// The labels of every series, before its own.
const OBJECT: [&str; 2] = ["namespace", "name"];

/// One metric: what it is called, what it tells, and what it is for one object.
pub(super) struct ClusterMetric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Beside `namespace` and `name`.
    pub(super) labels: &'static [&'static str],
    pub(super) what_to_do: &'static str,
    series: fn(&Seen<'_>) -> Vec<Series>,
}

/// Values of the metric's own labels, and the number.
type Series = (Vec<String>, f64);

/// An object at the time of a scrape.
struct Seen<'a> {
    cluster: &'a DaskCluster,
    status: &'a DaskClusterStatus,
    now: Timestamp,
}

impl Seen<'_> {
    fn seconds_since(&self, time: &Time) -> f64 {
        let since = self.now.duration_since(time.0);
        since.max(SignedDuration::ZERO).as_secs_f64()
    }
}

/// Conditions whose age is shown; all of them would be too many series.
const AGES: [ConditionType; 4] = [
    ConditionType::Ready,
    ConditionType::Stalled,
    ConditionType::SchedulerReady,
    ConditionType::WorkersReady,
];

/// One line a metric. At most 40 series an object.
pub(super) const CLUSTER_METRICS: [ClusterMetric; 14] = [
    ClusterMetric {
        name: "daskcluster_info",
        help: "What the cluster is; always 1",
        labels: &["uid", "workspace", "compute", "vm_size"],
        what_to_do: "Join it to others for the names.",
        series: |seen| {
            let spec = &seen.cluster.spec;
            let compute = seen.status.compute.as_ref();
            let id = compute.and_then(|compute| compute.id.as_deref());
            let pool = id.and_then(|id| id.rsplit('/').next()).unwrap_or_default();
            let labels = vec![
                seen.cluster.uid().unwrap_or_default(),
                spec.workspace.name.clone(),
                pool.to_owned(),
                spec.compute.vm_size.clone().unwrap_or_default(),
            ];
            vec![(labels, 1.0)]
        },
    },
    ClusterMetric {
        name: "daskcluster_status_condition",
        help: "The conditions of the cluster as they are now; always 1",
        labels: &["type", "status", "reason"],
        what_to_do: "The page of conditions says what each reason asks for.",
        series: |seen| {
            let conditions = seen.status.conditions.iter();
            let series = conditions.map(|condition| {
                let labels = vec![
                    condition.type_.clone(),
                    condition.status.clone(),
                    condition.reason.clone(),
                ];
                (labels, 1.0)
            });
            series.collect()
        },
    },
    ClusterMetric {
        name: "daskcluster_condition_age_seconds",
        help: "Seconds since the status of a condition last changed: Ready, Stalled, SchedulerReady and WorkersReady",
        labels: &["type"],
        what_to_do: "A cluster that is not Ready for long is told by the condition's reason.",
        series: |seen| {
            let is_shown = |kind: &str| AGES.iter().any(|age| age.as_str() == kind);
            let conditions = seen.status.conditions.iter();
            let shown = conditions.filter(|condition| is_shown(&condition.type_));
            let series = shown.map(|condition| {
                let age = seen.seconds_since(&condition.last_transition_time);
                (vec![condition.type_.clone()], age)
            });
            series.collect()
        },
    },
    ClusterMetric {
        name: "daskcluster_generation_lag",
        help: "Generations of the spec that the status does not speak of yet",
        labels: &[],
        what_to_do: "More than 0 for minutes: the operator is down or behind.",
        series: |seen| {
            let generation = seen.cluster.metadata.generation.unwrap_or_default();
            let observed = seen.status.observed_generation.unwrap_or_default();
            one(generation.saturating_sub(observed) as f64)
        },
    },
    ClusterMetric {
        name: "daskcluster_deletion_age_seconds",
        help: "Seconds since the deletion of the cluster was asked for; not there before",
        labels: &[],
        what_to_do: "The condition Ready says what is still there.",
        series: |seen| {
            let asked = seen.cluster.metadata.deletion_timestamp.as_ref();
            asked.map_or_else(Vec::new, |at| one(seen.seconds_since(at)))
        },
    },
    ClusterMetric {
        name: "daskcluster_nodes",
        help: "Nodes of the cluster's pools by state, and those that run jobs of this cluster (own)",
        labels: &["state"],
        what_to_do: "Unusable ones cost money and work for nobody; preempted ones are Azure's doing.",
        series: |seen| {
            let Some(nodes) = &seen.status.nodes else {
                return Vec::new();
            };
            let states = [
                ("idle", nodes.idle),
                ("running", nodes.running),
                ("preparing", nodes.preparing),
                ("unusable", nodes.unusable),
                ("leaving", nodes.leaving),
                ("preempted", nodes.preempted),
                ("own", nodes.own),
            ];
            by_state(&states)
        },
    },
    ClusterMetric {
        name: "daskcluster_workers",
        help: "Dask workers that are wanted (desired), missing (pending) and registered (ready), the head's own included",
        labels: &["state"],
        what_to_do: "Pending ones for long: the condition WorkersReady says why.",
        series: |seen| {
            let Some(workers) = &seen.status.workers else {
                return Vec::new();
            };
            let states = [
                ("desired", workers.desired),
                ("pending", workers.pending),
                ("ready", workers.ready),
            ];
            by_state(&states)
        },
    },
    ClusterMetric {
        name: "daskcluster_cores",
        help: "Threads of the registered workers",
        labels: &[],
        what_to_do: "",
        series: |seen| {
            let workers = seen.status.workers.as_ref();
            workers.map_or_else(Vec::new, |workers| one(workers.cores.into()))
        },
    },
    ClusterMetric {
        name: "daskcluster_memory_bytes",
        help: "Memory of the registered workers",
        labels: &[],
        what_to_do: "",
        series: |seen| {
            let workers = seen.status.workers.as_ref();
            let memory = workers.and_then(|workers| workers.memory.as_ref());
            let bytes = memory.and_then(|memory| quantity::number(&memory.0).ok());
            bytes.map_or_else(Vec::new, one)
        },
    },
    ClusterMetric {
        name: "daskcluster_idle_seconds",
        help: "Seconds since the scheduler had something to do; 0 while it has",
        labels: &[],
        what_to_do: "Set spec.idleTimeoutSeconds where idle clusters cost money.",
        series: |seen| {
            let idle = seen.status.idle_since.as_ref();
            one(idle.map_or(0.0, |since| seen.seconds_since(since)))
        },
    },
    ClusterMetric {
        name: "daskcluster_hourly_cost",
        help: "What the present nodes cost in an hour by Azure's list prices: an estimate",
        labels: &["currency"],
        what_to_do: "Give the cluster a spec.budget.",
        series: |seen| {
            let cost = seen.status.cost.as_ref();
            let hourly = cost.and_then(|cost| money(cost, hourly(cost)?));
            hourly.into_iter().collect()
        },
    },
    ClusterMetric {
        name: "daskcluster_accrued_cost",
        help: "What the nodes have cost so far by Azure's list prices, now: an estimate",
        labels: &["currency"],
        what_to_do: "Give the cluster a spec.budget.",
        series: |seen| {
            let cost = seen.status.cost.as_ref();
            let accrued = cost.and_then(|cost| {
                let counted = quantity::number(&cost.accrued.amount.0).ok()?;
                let hours = seen.seconds_since(&cost.accrued.as_of) / 3600.0;
                money(cost, hourly(cost)?.mul_add(hours, counted))
            });
            accrued.into_iter().collect()
        },
    },
    ClusterMetric {
        name: "daskcluster_budget_limit",
        help: "spec.budget.maxTotal; not there without one",
        labels: &[],
        what_to_do: "Compare it with daskcluster_accrued_cost.",
        series: |seen| {
            let budget = seen.cluster.spec.budget.as_ref();
            let most = budget.and_then(|budget| budget.max_total.as_ref());
            let most = most.and_then(|most| quantity::number(&most.0).ok());
            most.map_or_else(Vec::new, one)
        },
    },
    ClusterMetric {
        name: "daskcluster_pending_changes",
        help: "Jobs that run without a change of the spec, by component: head or workers",
        labels: &["component"],
        what_to_do: "status.pendingChanges says what each waits for.",
        series: |seen| {
            let changes = seen.status.pending_changes.iter();
            let series = changes.map(|change| (vec![change.component.clone()], change.jobs.into()));
            series.collect()
        },
    },
];

fn one(value: f64) -> Vec<Series> {
    vec![(Vec::new(), value)]
}

fn by_state(states: &[(&str, u32)]) -> Vec<Series> {
    let series = states.iter();
    series
        .map(|(state, count)| (vec![(*state).to_owned()], f64::from(*count)))
        .collect()
}

fn hourly(cost: &CostStatus) -> Option<f64> {
    quantity::number(&cost.hourly.0).ok()
}

fn money(cost: &CostStatus, amount: f64) -> Option<Series> {
    amount
        .is_finite()
        .then(|| (vec![cost.currency.clone()], amount))
}

/// Shows [`CLUSTER_METRICS`] of every object in the cache.
pub(super) struct ClusterCollector {
    clusters: Store<DaskCluster>,
    clock: Clock,
    lead: Lead,
    gauges: Vec<GaugeVec>,
    /// Two scrapes at once would take each other's series away.
    turn: Mutex<()>,
}

impl ClusterCollector {
    pub(super) fn new(
        clusters: Store<DaskCluster>,
        clock: Clock,
        lead: Lead,
    ) -> Result<Self, prometheus::Error> {
        let gauge = |metric: &ClusterMetric| {
            let labels: Vec<&str> = OBJECT.iter().chain(metric.labels).copied().collect();
            GaugeVec::new(Opts::new(metric.name, metric.help), &labels)
        };
        let gauges: Result<Vec<_>, _> = CLUSTER_METRICS.iter().map(gauge).collect();
        Ok(Self {
            clusters,
            clock,
            lead,
            gauges: gauges?,
            turn: Mutex::new(()),
        })
    }
}

impl Collector for ClusterCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if !self.lead.is_current() {
            return Vec::new();
        }
        let _turn = self.turn.lock();
        for gauge in &self.gauges {
            gauge.reset();
        }
        let now = self.clock.now();
        let nothing = DaskClusterStatus::default();
        for cluster in self.clusters.state() {
            let seen = Seen {
                cluster: &cluster,
                status: cluster.status.as_ref().unwrap_or(&nothing),
                now,
            };
            let object = [cluster.namespace().unwrap_or_default(), cluster.name_any()];
            for (metric, gauge) in CLUSTER_METRICS.iter().zip(&self.gauges) {
                for (own, value) in (metric.series)(&seen) {
                    let labels: Vec<&str> = object.iter().chain(&own).map(String::as_str).collect();
                    gauge.with_label_values(&labels).set(value);
                }
            }
        }
        self.gauges.iter().flat_map(Collector::collect).collect()
    }
}

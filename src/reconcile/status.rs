//! The numbers and addresses of a status, out of what was observed. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conclude::Outcome;
use super::observed::Observed;
use super::plan::{Action, Follow, SchedulerStage, registered_workers};
use super::validate::{ValidCluster, Wanted};
use crate::api::{
    AutoscalingStatus, ComputeStatus, ConditionType, DaskClusterStatus, DatasetStatus, GROUP,
    NodeCounts, ResourceStatus, RunStatus, SchedulerStatus, WorkerCounts,
};
use crate::azure_resources::job::{JobFacts, Lineup};
use crate::azure_resources::{ComputeHave, Gone, KINDS, Scene};
use crate::kubernetes_children::service_name;
use crate::lookup::Lookup;
use crate::quantity;
use crate::scaling::{Aim, pending_changes};

/// What the summary needs to know of scheduler and workers.
pub(super) struct Facts {
    pub desired_workers: u32,
    pub ready_workers: u32,
    /// The scheduler was there to be asked, or is known not to be.
    workers_were_seen: bool,
    lineup: Option<Lineup>,
}

impl Facts {
    pub(super) fn gather(outcome: &Outcome<'_>) -> Self {
        let Wanted::Cluster(cluster) = outcome.wanted else {
            return Self {
                desired_workers: 0,
                ready_workers: 0,
                workers_were_seen: false,
                lineup: None,
            };
        };
        let lineup = outcome.observed.lineup_of(cluster).ok();
        let state = lineup.as_ref().and_then(|lineup| {
            let scene = Scene {
                cluster,
                observed: outcome.observed,
                lineup: Some(lineup),
            };
            SchedulerStage::of(&scene, lineup)
                .answering(&scene)
                .map(|state| registered_workers(state, lineup))
        });
        let workers_were_seen = outcome.plan.follow != Follow::AsBefore
            && !outcome.plan.unseen.contains(&ConditionType::WorkersReady);
        let told_last = outcome
            .before
            .workers
            .as_ref()
            .map_or(0, |workers| workers.ready);
        Self {
            desired_workers: lineup.as_ref().map_or_else(
                || cluster.desired_dask_workers(),
                |lineup| lineup.aim.dask_workers(cluster),
            ),
            ready_workers: if workers_were_seen {
                state.unwrap_or(0)
            } else {
                told_last
            },
            workers_were_seen,
            lineup,
        }
    }
}

/// The status without its conditions. What could not be looked at stays as it was told last.
pub(super) fn details(outcome: &Outcome<'_>, facts: &Facts) -> DaskClusterStatus {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return outcome.before.clone();
    };
    let mut status = outcome.before.clone();
    if let Some((compute, nodes)) = compute(cluster, outcome.observed) {
        status.compute = Some(compute);
        status.nodes = Some(nodes);
    }
    status.datasets = cluster
        .datasets
        .iter()
        .map(|dataset| DatasetStatus {
            name: dataset.name.clone(),
            version: Some(dataset.version.clone()),
            id: Some(dataset.id.to_string()),
        })
        .collect();
    status.resources = resources(cluster, outcome);
    status.selector = Some(selector(cluster));
    if let Some(lineup) = &facts.lineup {
        let scene = Scene {
            cluster,
            observed: outcome.observed,
            lineup: Some(lineup),
        };
        let stage = SchedulerStage::of(&scene, lineup);
        status.run = lineup.head_facts().map(run);
        status.scheduler = scheduler(cluster, &stage);
        if facts.workers_were_seen || status.workers.is_none() {
            status.workers = Some(workers(&scene, &stage, facts));
        }
        status.replicas = u32::try_from(lineup.worker_jobs_that_have_not_ended()).ok();
        status.autoscaling = autoscaling(&lineup.aim, outcome.before);
        status.rest = lineup.aim.rest.clone();
        status.pending_changes = pending_changes(&scene, lineup, stage.answering(&scene));
        let desired = |status: &DaskClusterStatus| Some(status.workers.as_ref()?.desired);
        if desired(&status) != desired(outcome.before) {
            status.last_scale_time = Some(Time(outcome.now));
        }
    }
    status
}

/// What the scale subresource asks for: unique, so that nobody takes one cluster's numbers for another's.
fn selector(cluster: &ValidCluster) -> String {
    format!("{GROUP}/cluster-uid={}", cluster.place.identity.uid)
}

/// The line stays as long as the number does: what it tells moves on with every look.
fn autoscaling(aim: &Aim, before: &DaskClusterStatus) -> Option<AutoscalingStatus> {
    let decision = aim.decision.as_ref()?;
    let told = before.autoscaling.as_ref();
    let same = told.filter(|told| told.desired_replicas == decision.replicas);
    Some(same.cloned().unwrap_or_else(|| AutoscalingStatus {
        desired_replicas: decision.replicas,
        decision: decision.why.clone(),
    }))
}

/// What each resource of the cluster's own was last found to hold, and how far a replacement is.
fn resources(cluster: &ValidCluster, outcome: &Outcome<'_>) -> Vec<ResourceStatus> {
    let plan = outcome.plan;
    let own = KINDS.iter().flat_map(|kind| (kind.places)(&cluster.place));
    own.filter_map(|id| {
        let name = id.to_string();
        if let Some((_, fingerprint)) = plan.as_wanted.iter().find(|(other, _)| *other == id) {
            return Some(ResourceStatus {
                id: name,
                applied_spec: Some(fingerprint.clone()),
                gone_since: None,
            });
        }
        if let Some((_, gone)) = plan.replaced.iter().find(|(other, _)| *other == id) {
            return Some(ResourceStatus {
                id: name,
                applied_spec: None,
                gone_since: match gone {
                    Gone::NotYet => None,
                    Gone::Since(since) => Some(Time(*since)),
                },
            });
        }
        let we_deleted_it = outcome.acted.done().any(
            |step| matches!(&step.action, Action::DeleteAzure { id: gone, .. } if *gone == id),
        );
        let held = outcome.before.resources.iter();
        held.filter(|_| !we_deleted_it)
            .find(|held| held.id.eq_ignore_ascii_case(&name))
            .cloned()
    })
    .collect()
}

fn compute(cluster: &ValidCluster, observed: &Observed) -> Option<(ComputeStatus, NodeCounts)> {
    let Lookup::Present(body) = observed.resource(&cluster.place.compute) else {
        return None;
    };
    let have: ComputeHave = serde_json::from_value(body.clone()).ok()?;
    let inner = have.properties.properties;
    let compute = ComputeStatus {
        id: Some(cluster.place.compute.to_string()),
        provisioning_state: have.properties.provisioning_state,
        allocation_state: inner
            .as_ref()
            .and_then(|inner| inner.allocation_state.clone()),
    };
    let counts = inner
        .as_ref()
        .and_then(|inner| inner.node_state_counts)
        .unwrap_or_default();
    let nodes = NodeCounts {
        target: inner
            .as_ref()
            .and_then(|inner| inner.target_node_count)
            .unwrap_or(0),
        current: inner
            .as_ref()
            .and_then(|inner| inner.current_node_count)
            .unwrap_or(0),
        idle: counts.idle_node_count.unwrap_or(0),
        running: counts.running_node_count.unwrap_or(0),
        preparing: counts.preparing_node_count.unwrap_or(0),
        unusable: counts.unusable_node_count.unwrap_or(0),
        leaving: counts.leaving_node_count.unwrap_or(0),
        preempted: counts.preempted_node_count.unwrap_or(0),
        max: inner
            .as_ref()
            .and_then(|inner| inner.scale_settings.as_ref()?.max_node_count)
            .unwrap_or(0),
        own: 0,
    };
    Some((compute, nodes))
}

fn run(head: &JobFacts) -> RunStatus {
    RunStatus {
        name: Some(head.id.clone()),
        experiment: head.experiment.clone(),
        status: Some(head.status.to_string()),
        studio_url: head.studio_url.clone(),
        start_time: head.started_at.map(Time),
        deadline: None,
    }
}

fn scheduler(cluster: &ValidCluster, stage: &SchedulerStage) -> Option<SchedulerStatus> {
    let address = stage.believed()?;
    let identity = &cluster.place.identity;
    Some(SchedulerStatus {
        address: Some(address.scheduler.clone()),
        dashboard: Some(address.dashboard.clone()),
        jupyter: address
            .jupyter
            .clone()
            .filter(|_| cluster.scheduler.jupyter),
        head_node: Some(address.head_node.clone()),
        service: address
            .is_routable()
            .then(|| format!("{}.{}.svc", service_name(identity), identity.namespace)),
    })
}

fn workers(scene: &Scene<'_>, stage: &SchedulerStage, facts: &Facts) -> WorkerCounts {
    let state = stage.answering(scene);
    WorkerCounts {
        desired: facts.desired_workers,
        pending: facts.desired_workers.saturating_sub(facts.ready_workers),
        ready: facts.ready_workers,
        cores: state.map_or(0, |state| {
            u32::try_from(state.total_threads).unwrap_or(u32::MAX)
        }),
        memory: Some(Quantity(quantity::of_bytes(
            state.map_or(0, |state| state.total_memory),
        ))),
    }
}

//! The numbers and addresses of a status, out of what was observed. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conclude::{Outcome, deadline};
use super::observed::Observed;
use super::plan::{Action, Follow, Plan, SchedulerStage, registered_workers};
use super::validate::{ValidCluster, Wanted};
use crate::api::{
    Autoscaling, AutoscalingStatus, ComingRest, ComputeStatus, ConditionType, DaskClusterStatus,
    DatasetStatus, GROUP, NodeCounts, ResourceStatus, RunStatus, SchedulerStatus, WorkerCounts,
};
use crate::azure::ResourceId;
use crate::azure_resources::job::{JobFacts, Lineup};
use crate::azure_resources::{ComputeHave, Gone, KINDS, Scene};
use crate::kubernetes_children::service_name;
use crate::lookup::Lookup;
use crate::names::Slot;
use crate::quantity;
use crate::scaling::rest::{coming, idle_since};
use crate::scaling::{Aim, cost, is_under_way, pending_changes};

/// What the summary needs to know of scheduler and workers.
pub(super) struct Facts {
    pub desired_workers: u32,
    pub ready_workers: u32,
    /// What autoscaling moves the number of workers between, the head's own not counted.
    pub bounds: Option<Bounds>,
    /// Jobs lack a change of the spec and are being replaced.
    pub replaces_jobs: bool,
    /// The scheduler was there to be asked, or is known not to be.
    workers_were_seen: bool,
    pub(super) lineup: Option<Lineup>,
}

impl Facts {
    /// `None` while they cannot be listed.
    pub(super) fn jobs_that_have_not_ended(&self) -> Option<usize> {
        let jobs = &self.lineup.as_ref()?.jobs;
        Some(
            jobs.values()
                .filter(|job| !job.status.is_terminal())
                .count(),
        )
    }

    pub(super) fn gather(outcome: &Outcome<'_>) -> Self {
        let Wanted::Cluster(cluster) = outcome.wanted else {
            return Self {
                desired_workers: 0,
                ready_workers: 0,
                bounds: None,
                replaces_jobs: false,
                workers_were_seen: false,
                lineup: None,
            };
        };
        let planned = outcome.plan.lineup.clone();
        let lineup = planned.or_else(|| outcome.observed.lineup_of(cluster).ok());
        let scene = Scene {
            cluster,
            observed: outcome.observed,
            lineup: lineup.as_ref(),
        };
        let replaces_jobs = lineup
            .as_ref()
            .is_some_and(|lineup| is_under_way(&scene, lineup));
        let state = lineup.as_ref().and_then(|lineup| {
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
                || {
                    let told = outcome.before.workers.as_ref();
                    told.map_or_else(|| cluster.desired_dask_workers(), |told| told.desired)
                },
                |lineup| lineup.dask_workers(cluster),
            ),
            ready_workers: if workers_were_seen {
                state.unwrap_or(0)
            } else {
                told_last
            },
            bounds: cluster
                .autoscaling
                .map(|autoscaling| Bounds::of(cluster, &autoscaling, lineup.as_ref())),
            replaces_jobs,
            workers_were_seen,
            lineup,
        }
    }
}

/// How many workers an autoscaled cluster may have.
pub(super) struct Bounds {
    pub fewest: u32,
    pub most: u32,
    /// So many Dask workers, the head's own among them, are always there.
    pub always: u32,
    /// So many there are to be before work asks for others.
    pub at_first: u32,
}

impl Bounds {
    fn of(cluster: &ValidCluster, autoscaling: &Autoscaling, lineup: Option<&Lineup>) -> Self {
        let (fewest, most) = (autoscaling.min_replicas, autoscaling.max_replicas);
        let own = lineup.map_or(cluster.scheduler.run_worker, |lineup| {
            lineup.head_runs_worker(cluster)
        });
        let own = u32::from(own);
        Self {
            fewest,
            most,
            always: fewest + own,
            at_first: cluster.worker.replicas.max(fewest).min(most) + own,
        }
    }
}

/// The status without its conditions. What could not be looked at stays as it was told last.
pub(super) fn details(outcome: &Outcome<'_>, facts: &Facts) -> DaskClusterStatus {
    let Wanted::Cluster(cluster) = outcome.wanted else {
        return outcome.before.clone();
    };
    let mut status = outcome.before.clone();
    let place = &cluster.place;
    let (workers_pool, head_pool) = (
        compute(outcome.observed, &place.compute),
        place
            .head_compute
            .as_ref()
            .map(|head| compute(outcome.observed, &head.id)),
    );
    let nodes = match (&workers_pool, &head_pool) {
        (Some((_, nodes)), None) => Some(*nodes),
        (Some((_, nodes)), Some(Some((_, of_head)))) => Some(together(*nodes, *of_head)),
        _ => None,
    };
    status.nodes = nodes.or(status.nodes);
    if let Some((compute, _)) = workers_pool {
        status.compute = Some(compute);
    }
    if let Some(Some((compute, _))) = head_pool {
        status.head_compute = Some(compute);
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
        let deadline = deadline(cluster, outcome.observed, lineup);
        status.run = lineup.head_facts().map(|head| run(head, deadline));
        status.scheduler = scheduler(cluster, &stage);
        if facts.workers_were_seen || status.workers.is_none() {
            status.workers = Some(workers(&scene, &stage, facts));
        }
        status.replicas = u32::try_from(lineup.worker_jobs_that_have_not_ended()).ok();
        status.autoscaling = autoscaling(&lineup.aim, outcome.before);
        // What annotations keep from being done is no rest.
        if outcome.plan.withheld_by.is_none() {
            status.rest = lineup.aim.rest.clone();
            let resting = lineup.aim.rest.as_ref();
            let coming = coming(cluster, outcome.observed, &lineup.jobs, resting);
            let coming = coming.into_iter().map(|coming| ComingRest {
                reason: coming.reason,
                at: Time(coming.at),
            });
            status.coming_rests = coming.collect();
            if lineup.aim.suspends {
                let mut jobs = lineup.jobs.iter().rev();
                let newest = jobs.find(|(name, _)| name.slot == Slot::Head);
                status.rested_head = newest.map(|(_, head)| head.id.clone());
            }
        }
        status.pending_changes = pending_changes(&scene, lineup, stage.answering(&scene));
        status.idle_since = idle_since(cluster, outcome.observed, &lineup.jobs).map(Time);
        if let Some(nodes) = &mut status.nodes {
            nodes.own = cost::own_nodes(&lineup.jobs);
        }
        let was_told = outcome.before.workers.is_some();
        if !was_told || scaled(outcome.before, &status).is_some() {
            status.last_scale_time = Some(Time(outcome.now));
        }
    }
    status
}

/// How many workers were wanted before and are now, if that is another number.
pub(super) fn scaled(before: &DaskClusterStatus, status: &DaskClusterStatus) -> Option<(u32, u32)> {
    let desired = |status: &DaskClusterStatus| Some(status.workers.as_ref()?.desired);
    let wants = |status: &DaskClusterStatus| Some(status.autoscaling.as_ref()?.desired_replicas);
    let differ = |(had, has): &(u32, u32)| had != has;
    let by_autoscaler = wants(before).zip(wants(status));
    // A budget that is kept or given up changes what is wanted, and not what the autoscaler says.
    let by_all = || desired(before).zip(desired(status)).filter(differ);
    by_autoscaler.filter(differ).or_else(by_all)
}

/// What the scale subresource asks for: unique, so that nobody takes one cluster's numbers for another's.
fn selector(cluster: &ValidCluster) -> String {
    format!("{GROUP}/cluster-uid={}", cluster.place.identity.uid)
}

/// The status that tells what the autoscaler has just decided, and nothing else that is new. Written before anybody acts
/// on it: an operator that is killed in between is followed by one that knows.
pub(super) fn decided(
    before: &DaskClusterStatus,
    wanted: &Wanted,
    plan: &Plan,
    now: Timestamp,
) -> Option<DaskClusterStatus> {
    let Wanted::Cluster(cluster) = wanted else {
        return None;
    };
    let lineup = plan.lineup.as_ref();
    let lineup = lineup.filter(|_| plan.withheld_by.is_none())?;
    let autoscaling = autoscaling(&lineup.aim, before);
    let desired = lineup.dask_workers(cluster);
    let workers = before.workers.clone().map(|workers| WorkerCounts {
        desired,
        pending: desired.saturating_sub(workers.ready),
        ..workers
    });
    let status = DaskClusterStatus {
        autoscaling,
        workers,
        last_scale_time: Some(Time(now)),
        ..before.clone()
    };
    let was_told = before.autoscaling.is_some() && status.autoscaling.is_some();
    (was_told && scaled(before, &status).is_some()).then_some(status)
}

/// The line stays as long as the number and what keeps it there do: what else it tells moves on with every look.
fn autoscaling(aim: &Aim, before: &DaskClusterStatus) -> Option<AutoscalingStatus> {
    let decision = aim.decision.as_ref()?;
    let told = before.autoscaling.as_ref();
    let same = told.filter(|told| {
        told.desired_replicas == decision.replicas && decision.is_told_by(&told.decision)
    });
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

fn compute(observed: &Observed, pool: &ResourceId) -> Option<(ComputeStatus, NodeCounts)> {
    let Lookup::Present(body) = observed.resource(pool) else {
        return None;
    };
    let have: ComputeHave = serde_json::from_value(body.clone()).ok()?;
    let inner = have.properties.properties;
    let compute = ComputeStatus {
        id: Some(pool.to_string()),
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

fn together(one: NodeCounts, other: NodeCounts) -> NodeCounts {
    NodeCounts {
        target: one.target + other.target,
        current: one.current + other.current,
        idle: one.idle + other.idle,
        running: one.running + other.running,
        preparing: one.preparing + other.preparing,
        unusable: one.unusable + other.unusable,
        leaving: one.leaving + other.leaving,
        preempted: one.preempted + other.preempted,
        max: one.max + other.max,
        own: one.own + other.own,
    }
}

fn run(head: &JobFacts, deadline: Option<Timestamp>) -> RunStatus {
    RunStatus {
        name: Some(head.id.clone()),
        experiment: head.experiment.clone(),
        status: Some(head.status.to_string()),
        studio_url: head.studio_url.clone(),
        start_time: head.started_at.map(Time),
        deadline: deadline.map(Time),
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

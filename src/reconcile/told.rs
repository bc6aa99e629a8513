//! What was told and allowed last: facts out of the DaskCluster's own status and annotations. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::{
    ALLOW_REPLACE, ComingRest, ConditionType, CostStatus, DaskCluster, DaskClusterStatus, Reason,
    RestStatus,
};
use crate::azure::ResourceId;

/// Whether what a plan says of resources is news. A status that is lost makes a drift look like a change of the spec,
/// and tells an adoption once more; nothing is made or deleted for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The fingerprint of what each resource was last found to be as the spec asked for.
    pub as_wanted: BTreeMap<ResourceId, String>,
    /// What the operator deleted to make it again, and since when it is gone, once that was seen.
    pub replaced: BTreeMap<ResourceId, Option<Timestamp>>,
    /// Stages that say that a resource is about to be taken over.
    pub adopting: BTreeSet<ConditionType>,
    /// Which replacement the user allows.
    pub allowed_replacement: Option<String>,
    /// How many workers the autoscaler wanted last.
    pub desired_replicas: Option<u32>,
    /// How many Dask workers were wanted last.
    pub desired_workers: Option<u32>,
    pub last_scale_time: Option<Timestamp>,
    pub idle_since: Option<Timestamp>,
    pub rest: Option<RestStatus>,
    /// The rests that were warned of.
    pub coming_rests: Vec<ComingRest>,
    /// Where the scheduler is, if that was told.
    pub scheduler: Option<ToldScheduler>,
    /// The id of the newest head job that ended with a rest.
    pub rested_head: Option<String>,
    pub cost: Option<CostStatus>,
    /// `WorkersReady` says that data fits nowhere else.
    pub data_held: bool,
    /// What `WorkersReady` says while it is not True.
    pub why_workers_wait: Option<String>,
}

/// An address that was told: of this head job, and of the time that it ran since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldScheduler {
    pub head_run: String,
    pub address: String,
    pub started_at: Option<Timestamp>,
}

impl ToldScheduler {
    fn by(status: &DaskClusterStatus) -> Option<Self> {
        let run = status.run.as_ref()?;
        Some(Self {
            head_run: run.name.clone()?,
            address: status.scheduler.as_ref()?.address.clone()?,
            started_at: run.start_time.as_ref().map(|at| at.0),
        })
    }
}

impl Told {
    pub fn by(cluster: &DaskCluster) -> Self {
        let annotations = cluster.metadata.annotations.as_ref();
        let mut told = Self {
            allowed_replacement: annotations
                .and_then(|annotations| annotations.get(ALLOW_REPLACE))
                .cloned(),
            ..Self::default()
        };
        let Some(status) = &cluster.status else {
            return told;
        };
        for resource in &status.resources {
            let Ok(id) = resource.id.parse::<ResourceId>() else {
                continue;
            };
            match &resource.applied_spec {
                Some(fingerprint) => {
                    told.as_wanted.insert(id, fingerprint.clone());
                }
                None => {
                    let since = resource.gone_since.as_ref().map(|since| since.0);
                    told.replaced.insert(id, since);
                }
            }
        }
        let autoscaling = status.autoscaling.as_ref();
        told.desired_replicas = autoscaling.map(|autoscaling| autoscaling.desired_replicas);
        told.desired_workers = status.workers.as_ref().map(|workers| workers.desired);
        told.last_scale_time = status.last_scale_time.as_ref().map(|at| at.0);
        told.idle_since = status.idle_since.as_ref().map(|since| since.0);
        told.rest = status.rest.clone();
        told.coming_rests = status.coming_rests.clone();
        told.scheduler = ToldScheduler::by(status);
        told.rested_head = status.rested_head.clone();
        told.cost = status.cost.clone();
        let workers = status.conditions.iter().find(|condition| {
            condition.type_ == ConditionType::WorkersReady.as_str() && condition.status != "True"
        });
        told.data_held = workers.is_some_and(|it| it.reason == Reason::DataHeld.as_str());
        told.why_workers_wait = workers.map(|condition| condition.message.clone());
        told.adopting = ConditionType::ALL
            .into_iter()
            .filter(|stage| {
                status.conditions.iter().any(|condition| {
                    condition.type_ == stage.as_str()
                        && condition.reason == Reason::Adopting.as_str()
                })
            })
            .collect();
        told
    }
}

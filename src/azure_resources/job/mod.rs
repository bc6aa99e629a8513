//! The runs: `workspaces/jobs` (contract section 7). One job is the head, one each worker; a job id is spent once its
//! job has ended, so which id is wanted follows from the jobs that are there ([`lineup`]).

mod body;
mod failure;
mod lineup;
mod started_with;
mod trial;
mod wire;

pub use failure::lasting_failure;
pub use lineup::{Closing, Lineup, MAX_RESTART_DELAY, Occupant, Updates};
pub(crate) use started_with::{differ_in, outdated};
pub use wire::{JobFacts, JobStatus, tags, without_payload};

use jiff::SignedDuration;
use serde_json::Value;

use super::ownership::Tags;
use super::{AzureKind, Drift, Health, LeavingRule, Scene, Standing, Wanted};
use crate::api::{ConditionType, Reason};
use crate::azure::ResourceId;
use crate::lookup::Trouble;
use crate::names::{JobName, Slot};
use crate::reconcile::CONNECTION;

pub struct Job;

impl AzureKind for Job {
    const NAME: &'static str = "Job";
    const RESOURCE_TYPE: &'static str = "Microsoft.MachineLearningServices/workspaces/jobs";
    const API_VERSION: &'static str = super::MACHINE_LEARNING_API_VERSION;
    const STAGE: ConditionType = ConditionType::WorkersReady;
    const AFTER: &'static [&'static str] =
        &["ComputeCluster", "DataAsset", "Environment", CONNECTION];
    const LEAVING: LeavingRule = LeavingRule::End;
    // A cancel takes seconds, up to two minutes (contract section 7).
    const GOES_WITHIN: SignedDuration = SignedDuration::from_mins(15);
    type Want = wire::Want;
    type Have = wire::Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<wire::Want>> {
        // Without the LIST nobody knows which ids are wanted; its own trouble is told by the plan.
        let Some(lineup) = scene.lineup else {
            return Vec::new();
        };
        if !lineup.aim.head {
            return Vec::new();
        }
        let occupants = std::iter::once(&lineup.head).chain(&lineup.workers);
        occupants
            .map(|occupant| want_occupant(scene, lineup, occupant))
            .collect()
    }

    fn stage(id: &ResourceId) -> ConditionType {
        let is_head = id
            .name()
            .rsplit_once('-')
            .is_some_and(|(slot, _)| slot.ends_with("-head"));
        if is_head {
            ConditionType::SchedulerReady
        } else {
            ConditionType::WorkersReady
        }
    }

    fn tags(have: &Value) -> Tags {
        wire::tags(have)
    }

    /// Nothing of a job that was submitted can be changed but its tags, and those can only be added to.
    fn drift(_: &wire::Want, _: &wire::Have) -> Drift {
        Drift::None
    }

    /// A job that is there is as it should be: the next one for an ended job is the lineup's to say, and how far
    /// head and workers are is told by what the scheduler answers.
    fn health(_: &wire::Have) -> Health {
        Health::Ready
    }
}

fn want_occupant(scene: &Scene<'_>, lineup: &Lineup, occupant: &Occupant) -> Wanted<wire::Want> {
    let name = occupant.name();
    let id = scene.cluster.place.job(name);
    let standing = match occupant {
        Occupant::Alive(_) => Standing::Keep,
        Occupant::Vacant { .. } if let Some(trouble) = lasting_failure(scene, occupant) => {
            Standing::Later {
                reason: trouble.reason,
                message: trouble.message,
            }
        }
        // What another start in one slot would repeat it would in the others.
        Occupant::Vacant { failures: 1.., .. }
            if let Some(trouble) = lasting_failure_of_a_worker(scene, lineup, name) =>
        {
            Standing::Later {
                reason: trouble.reason,
                message: trouble.message,
            }
        }
        Occupant::Vacant {
            not_before: Some(at),
            last,
            ..
        } if *at > scene.observed.seen_at => Standing::Later {
            reason: later_reason(scene, name, last.as_deref()),
            message: lineup::delay_message(name, *at, last.as_deref(), scene),
        },
        Occupant::Vacant { last, .. }
            if let Some(other) = trial::waits_for(scene, lineup, occupant) =>
        {
            Standing::Later {
                reason: later_reason(scene, name, last.as_deref()),
                message: lineup::trial_message(name, other, last.as_deref(), scene),
            }
        }
        Occupant::Vacant { .. } if lineup.worker_must_wait(name, scene) => Standing::Later {
            reason: Reason::WorkersStarting,
            message: if lasting_failure(scene, &lineup.head).is_some() {
                "no worker job is submitted, as the head's cannot start".to_owned()
            } else {
                format!(
                    "worker jobs wait for the head job {}",
                    scene.cluster.place.job(lineup.head.name()).name()
                )
            },
        },
        Occupant::Vacant { .. } => Standing::Own(body::body(scene, lineup, name)),
    };
    Wanted { id, standing }
}

fn lasting_failure_of_a_worker(
    scene: &Scene<'_>,
    lineup: &Lineup,
    name: JobName,
) -> Option<Trouble> {
    let mut workers = lineup.workers.iter().filter(|_| name.slot != Slot::Head);
    workers.find_map(|worker| lasting_failure(scene, worker))
}

fn later_reason(scene: &Scene<'_>, name: JobName, last: Option<&JobFacts>) -> Reason {
    let did_not_register = |last: &JobFacts| {
        let ran = last.started_at.zip(last.ended_at);
        last.status == JobStatus::Canceled
            && ran.is_some_and(|(from, to)| {
                to.duration_since(from) >= scene.cluster.worker.start_timeout
                    && !scene.observed.scheduler.seen.contains_key(&last.id)
            })
    };
    match name.slot {
        Slot::Head => Reason::HeadFailed,
        Slot::Worker(_) if last.is_some_and(did_not_register) => Reason::StartTimeout,
        Slot::Worker(_) => Reason::WorkersFailing,
    }
}

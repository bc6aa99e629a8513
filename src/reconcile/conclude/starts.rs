//! How long the stages of a cluster's start took, out of the times of its conditions.

use std::time::Duration;

use jiff::Timestamp;

use super::conditions::held;
use crate::api::{ConditionType, DaskClusterStatus};

/// A stage of a start, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStage {
    Network,
    Pool,
    Scheduler,
    Workers,
    /// From the first look at the spec.
    Ready,
}

impl StartStage {
    pub const ALL: [Self; 5] = [
        Self::Network,
        Self::Pool,
        Self::Scheduler,
        Self::Workers,
        Self::Ready,
    ];

    /// A label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Pool => "pool",
            Self::Scheduler => "scheduler",
            Self::Workers => "workers",
            Self::Ready => "ready",
        }
    }

    fn condition(self) -> ConditionType {
        match self {
            Self::Network => ConditionType::NetworkReady,
            Self::Pool => ConditionType::ComputeReady,
            Self::Scheduler => ConditionType::SchedulerReady,
            Self::Workers => ConditionType::WorkersReady,
            Self::Ready => ConditionType::Ready,
        }
    }
}

/// A stage that holds now and did not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageReached {
    pub stage: StartStage,
    /// Since the stage before; since the start began for the first, and for `Ready`.
    pub after: Duration,
}

/// The stages that a start has come to with this status. What a cluster regains that was Ready all the time, and what a
/// change of the spec goes through while its scheduler stays, is no start.
pub(in crate::reconcile) fn reached(
    before: &DaskClusterStatus,
    status: &DaskClusterStatus,
) -> Vec<StageReached> {
    let Some(began) = since(before, ConditionType::Reconciling) else {
        return Vec::new();
    };
    let in_this_start =
        |stage: StartStage| since(status, stage.condition()).filter(|at| *at >= began);
    let mut last = began;
    let mut reached = Vec::new();
    for stage in StartStage::ALL {
        let Some(at) = in_this_start(stage) else {
            continue;
        };
        let needs_scheduler = matches!(stage, StartStage::Workers | StartStage::Ready);
        // One that was there in the second in which the change of the spec began was there before it.
        let came = in_this_start(StartStage::Scheduler).is_some_and(|at| at > began);
        let is_start = !needs_scheduler || came;
        let from = if stage == StartStage::Ready {
            began
        } else {
            last
        };
        last = last.max(at);
        if is_start && since(before, stage.condition()).is_none() {
            let after = Duration::try_from(at.duration_since(from)).unwrap_or_default();
            reached.push(StageReached { stage, after });
        }
    }
    reached
}

/// Since when this condition has been True, if it is.
fn since(status: &DaskClusterStatus, condition: ConditionType) -> Option<Timestamp> {
    held(status, condition)
        .filter(|held| held.status == "True")
        .map(|held| held.last_transition_time.0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;
    use crate::reconcile::fixtures::seconds_after_noon;

    /// Conditions by name: those that hold, and since when.
    fn status(holding: &[(ConditionType, i64)]) -> DaskClusterStatus {
        let conditions = holding.iter().map(|(kind, seconds)| Condition {
            type_: kind.as_str().to_owned(),
            status: "True".to_owned(),
            reason: "Ready".to_owned(),
            message: String::new(),
            observed_generation: Some(1),
            last_transition_time: Time(seconds_after_noon(*seconds)),
        });
        DaskClusterStatus {
            conditions: conditions.collect(),
            ..DaskClusterStatus::default()
        }
    }

    fn told(before: &DaskClusterStatus, after: &DaskClusterStatus) -> Vec<(StartStage, u64)> {
        let reached = reached(before, after).into_iter();
        reached
            .map(|reached| (reached.stage, reached.after.as_secs()))
            .collect()
    }

    use ConditionType::{
        ComputeReady, NetworkReady, Ready, Reconciling, SchedulerReady, WorkersReady,
    };

    #[test]
    fn each_stage_is_counted_from_the_one_before_and_the_whole_start_from_its_beginning() {
        let accepted = status(&[(Reconciling, 0)]);
        let network = status(&[(Reconciling, 0), (NetworkReady, 10)]);
        let pool = status(&[(Reconciling, 0), (NetworkReady, 10), (ComputeReady, 100)]);
        let all = status(&[
            (NetworkReady, 10),
            (ComputeReady, 100),
            (SchedulerReady, 160),
            (WorkersReady, 400),
            (Ready, 400),
        ]);
        assert_eq!(told(&accepted, &network), [(StartStage::Network, 10)]);
        assert_eq!(told(&network, &pool), [(StartStage::Pool, 90)]);
        assert_eq!(
            told(&pool, &all),
            [
                (StartStage::Scheduler, 60),
                (StartStage::Workers, 240),
                (StartStage::Ready, 400)
            ]
        );
        assert_eq!(told(&all, &all), []);
    }

    #[test]
    fn what_a_running_cluster_regains_is_no_start() {
        let lost_workers = status(&[(SchedulerReady, 1), (Ready, 1)]);
        let regained = status(&[(SchedulerReady, 1), (Ready, 1), (WorkersReady, 900)]);
        assert_eq!(told(&lost_workers, &regained), []);
        // A change of the spec, with the scheduler as it was.
        let changed = status(&[(Reconciling, 800), (SchedulerReady, 1)]);
        let ready = status(&[(SchedulerReady, 1), (WorkersReady, 900), (Ready, 900)]);
        assert_eq!(told(&changed, &ready), []);
        assert_eq!(told(&DaskClusterStatus::default(), &ready), []);
    }
}

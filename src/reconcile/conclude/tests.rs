//! Tables of what is told of a world, and when: what is planned for it is taken as done, but for the steps that a
//! test lets fail.

mod acknowledgement;
mod autoscaling;
mod conditions;
mod events;
mod findings;
mod head_pool;
mod next;
mod policy;
mod preflight;
mod rest;
mod spacing;
mod stages;
mod summary;
mod updates;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Conclusion, Outcome, acknowledge, conclude};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::azure::Retry;
use crate::lookup::Trouble;
use crate::reconcile::act::{Acted, Failure};
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};

const RESYNC: Duration = Duration::from_secs(600);

/// One reconcile of a world.
#[derive(Clone)]
struct Round {
    world: World,
    generation: i64,
    before: DaskClusterStatus,
    failing: Vec<(String, Trouble)>,
    now: Timestamp,
    changed_at: Timestamp,
    plan_is_new: bool,
}

impl Round {
    /// The first one of a generation: nothing was told but that it has been seen.
    fn of(world: World) -> Self {
        let unseen = DaskClusterStatus::default();
        Self {
            world,
            generation: 1,
            before: acknowledge(&unseen, 1, noon()).unwrap(),
            failing: Vec::new(),
            now: noon(),
            changed_at: noon(),
            plan_is_new: true,
        }
    }

    /// What was told before it.
    fn after(self, before: DaskClusterStatus) -> Self {
        Self { before, ..self }
    }

    /// The step of this key fails, and is tried again in seven seconds.
    fn failing(mut self, step: &str, trouble: Trouble) -> Self {
        self.failing.push((step.to_owned(), trouble));
        self
    }

    fn at(self, seconds: i64) -> Self {
        Self {
            now: seconds_after_noon(seconds),
            ..self
        }
    }

    fn conclude(&self) -> Conclusion {
        let plan = self.world.plan();
        let mut acted = Acted::default();
        for step in &plan.steps {
            let Some((_, trouble)) = self.failing.iter().find(|(key, _)| *key == step.key()) else {
                acted.done.push(step.clone());
                continue;
            };
            acted.failed.push(Failure {
                step: step.clone(),
                trouble: trouble.clone(),
                retry: Retry::Backoff,
                next_try: Some(self.now + jiff::SignedDuration::from_secs(7)),
            });
            if step.gates {
                break;
            }
        }
        let hoped_for = self.failing.iter().map(|(key, _)| key.as_str());
        let failed: Vec<_> = acted.failures().map(|(step, _)| step.key()).collect();
        assert!(
            hoped_for.eq(failed.iter().map(String::as_str)),
            "what is to fail is in the plan:\n{plan}"
        );
        conclude(&Outcome {
            generation: self.generation,
            wanted: &self.world.wanted,
            observed: &self.world.observed,
            plan: &plan,
            acted: &acted,
            before: &self.before,
            now: self.now,
            changed_at: self.changed_at,
            new_findings: &plan.findings,
            plan_is_new: self.plan_is_new,
            planned_changes: None,
            resync: RESYNC,
        })
    }

    fn status(&self) -> DaskClusterStatus {
        self.conclude().status
    }
}

/// Two workers and the head's own are wanted, and all answer.
fn running() -> World {
    World::answering(2, &["head-1", "w00-1", "w01-1"])
}

/// What is told of [`running`].
fn told_of_running() -> DaskClusterStatus {
    Round::of(running()).status()
}

fn condition(status: &DaskClusterStatus, kind: ConditionType) -> &Condition {
    let mut of_kind = status
        .conditions
        .iter()
        .filter(|condition| condition.type_ == kind.as_str());
    let found = of_kind.next().unwrap();
    assert!(of_kind.next().is_none(), "{kind} stands there once");
    found
}

/// Status and reason of a condition: `False NotOurs`.
fn told(status: &DaskClusterStatus, kind: ConditionType) -> String {
    let condition = condition(status, kind);
    format!("{} {}", condition.status, condition.reason)
}

fn throttled() -> Trouble {
    Trouble::passing(Reason::Throttled, "azure request 'PUT /x' failed")
}

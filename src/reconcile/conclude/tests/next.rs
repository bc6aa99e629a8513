//! When to look again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Round, running, throttled, told_of_running};
use crate::api::Reason;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::Setback;
use crate::reconcile::conclude::Next;
use crate::reconcile::fixtures::{World, seconds_after_noon};

fn seconds(seconds: f64) -> Next {
    Next::After(Duration::from_secs_f64(seconds))
}

/// Everything that can be done was done before; the pool is being made.
fn waiting() -> World {
    World::provisioned(|spec| spec["worker"]["replicas"] = 0.into())
        .connected("head-1")
        .job("head-1", "Queued", |_| {})
}

/// Nothing moves by itself, and nothing can be done.
fn refused() -> World {
    running().pool("Succeeded", |body| body["tags"] = Value::Null)
}

fn set_back(world: World, until: i64) -> World {
    world.with(|observed| {
        let setback = Setback {
            trouble: Trouble::passing(Reason::AzureError, "it failed"),
            failures: 1,
            not_before: seconds_after_noon(until),
        };
        observed
            .setbacks
            .insert("PUT Something else".into(), setback);
    })
}

#[test]
fn what_was_just_done_is_looked_at_at_once_and_only_once() {
    let new = Round::of(World::empty(|_| {}));
    assert_eq!(new.conclude().next, Next::After(Duration::ZERO));
    let again = Round {
        plan_is_new: false,
        ..new
    };
    assert_eq!(again.conclude().next, seconds(0.25));
}

#[test]
fn a_settled_cluster_is_at_rest_once_a_look_finds_what_was_told() {
    let first = Round::of(running());
    assert_eq!(first.conclude().next, seconds(0.25));
    let told = first.status();
    assert_eq!(first.after(told).conclude().next, Next::AtRest);
}

#[test]
fn a_settled_cluster_is_not_at_rest_while_its_pool_moves() {
    for (field, value) in [
        ("allocationState", Value::from("Resizing")),
        ("nodeStateCounts", json!({"preparingNodeCount": 1})),
        ("nodeStateCounts", json!({"leavingNodeCount": 1})),
    ] {
        let world = running().pool("Succeeded", |body| {
            body["properties"]["properties"][field] = value.clone();
        });
        let told = Round::of(world.clone()).status();
        let round = Round::of(world).after(told).at(20);
        assert_eq!(round.conclude().next, seconds(5.0), "{field} {value}");
    }
}

#[test]
fn what_waits_is_looked_at_after_a_quarter_of_the_time_since_the_last_change() {
    assert!(
        waiting()
            .plan()
            .steps
            .iter()
            .all(|step| !step.action.provisions())
    );
    for (age, expected) in [
        (0, 0.25),
        (1, 0.25),
        (2, 0.5),
        (20, 5.0),
        (60, 15.0),
        (3600, 15.0),
    ] {
        let round = Round {
            plan_is_new: false,
            ..Round::of(waiting()).at(age)
        };
        assert_eq!(round.conclude().next, seconds(expected), "{age}");
    }
}

#[test]
fn what_stands_in_the_way_alone_is_looked_at_every_fifteen_seconds() {
    for age in [0, 3600] {
        let round = Round::of(refused()).at(age);
        assert_eq!(round.conclude().next, seconds(15.0), "{age}");
    }
}

#[test]
fn a_setback_is_tried_again_when_it_is_due() {
    for (world, due, expected) in [
        (refused(), 40, 40.0),
        (refused(), 0, 15.0),
        (waiting(), 40, 5.0),
        (waiting(), 22, 2.0),
    ] {
        let at = if expected > 14.0 { 0 } else { 20 };
        let round = Round {
            plan_is_new: false,
            ..Round::of(set_back(world, due)).at(at)
        };
        assert_eq!(round.conclude().next, seconds(expected), "{due}");
    }
}

#[test]
fn a_look_that_waits_for_its_turn_is_made_when_that_comes() {
    for (turn, expected) in [(4.0, 4.0), (0.0, 0.25), (100.0, 100.0)] {
        let unseen = running().with(|observed| {
            observed.workspace = Lookup::Unavailable(Trouble {
                retry_after: Some(Duration::from_secs_f64(turn)),
                ..Trouble::passing(Reason::WaitingForBudget, "waits for Azure's rate limit")
            });
        });
        let round = Round::of(unseen).after(told_of_running());
        assert_eq!(round.conclude().next, seconds(expected), "{turn}");
    }
}

#[test]
fn what_just_failed_is_tried_again_when_its_time_has_come() {
    let failed = Round {
        changed_at: seconds_after_noon(-3600),
        ..Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", throttled())
    };
    assert_eq!(failed.conclude().next, seconds(7.0));
}

#[test]
fn a_cluster_whose_finalizer_was_taken_off_is_never_looked_at_again() {
    let gone = Round::of(World::empty(|_| {}).deleted());
    assert_eq!(gone.conclude().next, Next::Never);
    let kept = gone.failing("take our finalizer off the DaskCluster", throttled());
    assert_eq!(kept.conclude().next, seconds(7.0));
}

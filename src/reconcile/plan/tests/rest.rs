//! Going to rest and coming back, step by step.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::assert_plan;
use crate::api::{IdleAction, RestReason, RestStatus};
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};

fn suspended(spec: &mut Value) {
    spec["suspend"] = json!(true);
    spec["worker"]["replicas"] = json!(2);
    spec["compute"]["minNodes"] = json!(1);
}

fn least_nodes(world: World, nodes: u32) -> World {
    world.pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(nodes);
    })
}

fn running(change: impl FnOnce(&mut Value)) -> World {
    World::provisioned(change)
        .head("head-1")
        .published()
        .registered(&["head-1", "w00-1", "w01-1"])
}

fn ended(world: World) -> World {
    world
        .job("w00-1", "Completed", |_| {})
        .job("w01-1", "Canceled", |_| {})
        .job("head-1", "Canceled", |_| {})
}

fn resting(world: World, reason: RestReason, action: IdleAction) -> World {
    world.with(|observed| {
        observed.told.rest = Some(RestStatus {
            reason,
            action,
            since: Time(noon()),
            generation: 1,
            wake: None,
        });
        observed.told.rested_head = Some("noaa-isd-6f9619ff-head-1".into());
    })
}

#[test]
fn workers_hand_over_first_what_is_queued_goes_at_once_and_the_pool_keeps_no_node() {
    let world = least_nodes(running(suspended), 1).job("w02-1", "Queued", |_| {});
    assert_plan("suspend_1_workers", &world);
}

#[test]
fn the_head_is_cancelled_once_no_worker_is_left() {
    let world = least_nodes(running(suspended), 0)
        .job("w00-1", "Completed", |_| {})
        .job("w01-1", "Completed", |_| {});
    assert_plan("suspend_2_head", &world);
}

#[test]
fn workers_that_cannot_hand_over_are_cancelled_with_the_head_when_their_time_is_over() {
    let world = resting(
        least_nodes(running(suspended), 0),
        RestReason::Suspended,
        IdleAction::Suspend,
    );
    let world = world.with(|observed| observed.seen_at = seconds_after_noon(120));
    assert_plan("suspend_2_out_of_time", &world);
}

#[test]
fn what_is_on_its_way_out_is_waited_for_and_nobody_connects_to_it() {
    let world = least_nodes(running(suspended), 0)
        .job("w00-1", "CancelRequested", |_| {})
        .job("w01-1", "Completed", |_| {})
        .job("head-1", "CancelRequested", |_| {});
    assert_plan("suspend_3_ending", &world);
}

#[test]
fn at_rest_nothing_is_to_be_done() {
    let world = ended(least_nodes(World::provisioned(suspended), 0)).connected("head-2");
    assert_plan("suspend_4_at_rest", &world);
    assert!(world.plan().is_settled());
}

#[test]
fn a_cluster_that_is_suspended_while_it_starts_cancels_all_that_is_queued() {
    let world = least_nodes(World::provisioned(suspended), 0)
        .connected("head-1")
        .job("head-1", "Queued", |_| {})
        .job("w00-1", "Queued", |_| {});
    assert_plan("suspend_during_start", &world);
}

#[test]
fn a_cluster_that_is_resumed_submits_all_anew_without_a_delay() {
    let resumed = |spec: &mut Value| {
        suspended(spec);
        spec["suspend"] = json!(false);
    };
    let world = ended(least_nodes(World::provisioned(resumed), 0)).connected("head-2");
    let world = resting(world, RestReason::Suspended, IdleAction::Suspend)
        .with(|observed| observed.generation = 2);
    assert_plan("resume", &world);
}

#[test]
fn a_cluster_that_is_resumed_while_its_head_is_being_cancelled_waits_for_its_end() {
    let world = World::provisioned(|_| {})
        .head("head-1")
        .job("head-1", "CancelRequested", |_| {});
    let world = resting(world, RestReason::Suspended, IdleAction::Suspend);
    assert_plan("resume_too_soon", &world);
}

#[test]
fn an_idle_cluster_that_is_scaled_to_zero_retires_its_workers_and_keeps_the_rest() {
    let world = least_nodes(
        running(|spec| {
            spec["idleTimeoutSeconds"] = json!(60);
            spec["idleAction"] = json!("ScaleToZero");
        }),
        0,
    );
    let world = resting(world, RestReason::Idle, IdleAction::ScaleToZero);
    assert_plan("scale_to_zero", &world);
}

#[test]
fn a_dry_run_holds_back_what_a_suspended_cluster_would_do() {
    let world = running(suspended).with(|observed| observed.annotations.dry_run = true);
    assert!(world.plan().steps.is_empty());
    assert!(!world.plan().withheld.is_empty());
}

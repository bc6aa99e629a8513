//! Operations that Azure took and did not carry through, or never ends.

use serde_json::json;

use super::assert_plan;
use crate::azure::ErrorBody;
use crate::reconcile::fixtures::{World, noon, operation, seconds_after_noon};
use crate::reconcile::{Acted, OperationFacts, Setbacks};

const PUT_POOL: &str = "PUT ComputeCluster ds13-cluster";

fn failed_pool() -> World {
    World::empty(|_| {})
        .network("Succeeded")
        .pool("Failed", |body| {
            body["properties"]["provisioningErrors"] = json!([{"error": {
                "code": "ClusterMinNodesExceedCoreQuota",
                "message": "The specified subscription has a Standard DSv2 family vCPU quota of 6 and cannot accomodate for at least 1 requested managed compute nodes which maps to 8 vCPUs.",
            }}]);
        })
}

/// As after a reconcile in which every step of the plan was taken.
fn learned(world: World, setbacks: &mut Setbacks) -> World {
    let plan = world.plan();
    let mut acted = Acted::taken(plan.steps.clone());
    setbacks.learn(&plan.aftermaths, &mut acted, world.observed.seen_at, || 0.0);
    world.with(|observed| observed.setbacks = setbacks.by_step().clone())
}

#[test]
fn a_pool_of_ours_that_failed_is_written_again_later_each_time() {
    let mut setbacks = Setbacks::default();
    let mut puts = Vec::new();
    let mut world = failed_pool();
    assert_plan("pool_failed", &world);
    for second in 0..3600 {
        world = world.with(|observed| observed.seen_at = seconds_after_noon(second));
        let plan = world.plan();
        if plan.steps.iter().any(|step| step.key() == PUT_POOL) {
            puts.push(second);
        }
        world = learned(world, &mut setbacks);
    }
    // Failed at 0; the next failure is noticed a second after each try.
    assert_eq!(puts, [60, 181, 422, 903, 1504, 2105, 2706, 3307]);
}

#[test]
fn what_a_network_does_not_say_of_its_failure_its_operation_does() {
    let world = World::empty(|_| {}).network("Failed");
    let id = world.place().network.clone().unwrap().virtual_network;
    let failed = world.with(|observed| {
        let error = ErrorBody::read(
            &json!({"code": "NetcfgSubnetRangesOverlap", "message": "10.20.0.0/22"}),
        );
        let facts = OperationFacts {
            error,
            ..operation("0f0e")
        };
        observed.operations.insert(id, facts);
    });
    assert_plan("network_failed", &failed);
}

#[test]
fn a_pool_that_succeeds_forgets_that_it_failed() {
    let mut setbacks = Setbacks::default();
    let world = learned(failed_pool(), &mut setbacks);
    assert!(setbacks.by_step().contains_key(PUT_POOL));
    learned(world.pool("Succeeded", |_| {}), &mut setbacks);
    assert!(setbacks.by_step().is_empty(), "{setbacks:?}");
}

#[test]
fn somebody_elses_failed_pool_is_not_written() {
    let world = World::empty(|spec| {
        spec.as_object_mut().unwrap().remove("network");
        spec["compute"] = json!({"name": "theirs", "creationPolicy": "UseExisting"});
    });
    let plan = world.pool("Failed", |_| {}).plan();
    assert!(!plan.to_string().contains("PUT ComputeCluster"), "{plan}");
    assert!(plan.aftermaths.is_empty(), "{plan}");
}

#[test]
fn a_pool_that_never_comes_is_told_with_its_facts_and_not_written_again() {
    let world = World::empty(|_| {})
        .network("Succeeded")
        .pool("Creating", |_| {});
    let id = world.place().compute.clone();
    let waiting = world.with(|observed| {
        observed.since.insert(id.clone(), noon());
        observed.operations.insert(id, operation("0f0e"));
        observed.seen_at = seconds_after_noon(1800);
    });
    assert!(waiting.plan().blocked.is_empty());
    let stuck = waiting.with(|observed| observed.seen_at = seconds_after_noon(1801));
    assert_plan("pool_stuck", &stuck);
}

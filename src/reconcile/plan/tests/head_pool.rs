//! A pool for the head alone, its own or somebody else's.

use serde_json::{Value, json};

use super::assert_plan;
use crate::azure::ResourceId;
use crate::lookup::Lookup;
use crate::reconcile::fixtures::{UID, World, noon, seconds_after_noon};
use crate::reconcile::{Plan, PlannedAction};

const READER: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader";

fn own(spec: &mut Value) {
    spec["scheduler"]["compute"] = json!({});
}

fn theirs(spec: &mut Value) {
    spec["scheduler"]["compute"] = json!({"name": "heads", "creationPolicy": "UseExisting"});
}

fn head_pool(world: &World) -> ResourceId {
    world.place().head_compute.clone().unwrap().id
}

/// What is written to the head's pool.
fn written(world: &World, plan: &Plan) -> Vec<String> {
    let id = head_pool(world);
    let steps = plan.steps.iter().filter(|step| step.action.is_of(&id));
    steps.map(|step| step.action.to_string()).collect()
}

fn answering(spec: fn(&mut Value)) -> World {
    World::provisioned(|manifest| {
        manifest["worker"]["replicas"] = json!(1);
        spec(manifest);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"])
}

#[test]
fn both_pools_are_made_before_any_job_is_submitted() {
    assert_plan("head_pool_1_made", &World::empty(own).network("Succeeded"));
    let settling = World::provisioned(own).head_pool("Creating", |_| {});
    assert_plan("head_pool_2_settling", &settling);
    assert_plan("head_pool_3_jobs", &World::provisioned(own));
    let plan = answering(own).plan();
    assert!(plan.is_settled(), "{plan}");
}

#[test]
fn it_has_one_dedicated_node_at_most_and_all_else_from_the_pool_of_the_workers() {
    let world = World::empty(|spec| {
        own(spec);
        spec["compute"]["priority"] = json!("LowPriority");
        spec["compute"]["minNodes"] = json!(2);
        spec["compute"]["idleSecondsBeforeScaleDown"] = json!(300);
        spec["compute"]["identity"] = json!({"userAssigned": [READER]});
        spec["network"]["nodePublicIp"] = json!(false);
    })
    .network("Succeeded");
    let plan = world.plan();
    let bodies: Vec<Value> = world
        .place()
        .pools()
        .map(|pool| {
            let mut steps = plan.steps.iter();
            let body = steps.find_map(|step| match &step.action {
                PlannedAction::PutAzure { id, body, .. } if id == pool => Some(body.clone()),
                _ => None,
            });
            body.unwrap_or_else(|| panic!("{plan}"))
        })
        .collect();
    let [workers, head] = bodies.as_slice() else {
        panic!("{bodies:?}");
    };
    let mut expected = workers.clone();
    expected["properties"]["description"] = json!("Head of Dask cluster weather/noaa-isd");
    let inner = &mut expected["properties"]["properties"];
    assert_eq!(inner["vmPriority"], "LowPriority");
    inner["vmPriority"] = json!("Dedicated");
    inner["scaleSettings"]["minNodeCount"] = json!(0);
    inner["scaleSettings"]["maxNodeCount"] = json!(1);
    assert_eq!(*head, expected);
    assert_eq!(head["tags"]["dask-azureml-owner"], UID);
}

#[test]
fn what_somebody_changes_in_it_is_set_back_and_a_foreign_one_of_its_name_is_refused() {
    let grown = answering(own).head_pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(5);
    });
    assert_eq!(
        written(&grown, &grown.plan()),
        ["PATCH ComputeCluster daskhead6f9619ff8b86d011"]
    );
    let foreign = World::empty(own)
        .network("Succeeded")
        .head_pool("Succeeded", |body| body["tags"] = json!(null));
    let plan = foreign.plan();
    assert!(
        !plan.steps.iter().any(|step| step.action.writes_azure()),
        "{plan}"
    );
    assert!(plan.to_string().contains("NotOurs"), "{plan}");
}

#[test]
fn somebody_elses_that_fits_is_used_and_never_written() {
    let world = answering(theirs).head_pool("Succeeded", |body| {
        body["tags"] = json!({"team": "platform"});
        body["properties"]["properties"]["vmSize"] = json!("STANDARD_DS3_V2");
        body["properties"]["properties"]["scaleSettings"] =
            json!({"minNodeCount": 1, "maxNodeCount": 9, "nodeIdleTimeBeforeScaleDown": "PT1H"});
    });
    let plan = world.plan();
    assert!(plan.is_settled(), "{plan}");
}

#[test]
fn somebody_elses_that_does_not_fit_is_refused_before_anything_is_made() {
    let refused = |change: fn(&mut Value)| {
        let world = World::empty(|spec| {
            theirs(spec);
            spec["compute"]["identity"] = json!({"userAssigned": [READER]});
        });
        let world = world.head_pool("Succeeded", |body| {
            body["tags"] = json!(null);
            body["identity"] =
                json!({"type": "UserAssigned", "userAssignedIdentities": {READER: {}}});
            change(body);
        });
        let plan = world.plan();
        assert!(
            !plan.steps.iter().any(|step| step.action.writes_azure()),
            "{plan}"
        );
        plan.to_string()
    };
    for (change, says) in [
        (
            (|body| body["properties"]["properties"]["vmPriority"] = json!("LowPriority"))
                as fn(&mut Value),
            "PoolUnfit (until somebody mends it): ComputeCluster heads: the pool is LowPriority",
        ),
        (
            |body| body["properties"]["properties"]["subnet"]["id"] = json!("/s/x/subnets/other"),
            "PoolUnfit (until somebody mends it): ComputeCluster heads: the pool lies in /s/x/subnets/other",
        ),
        (
            |body| body["properties"]["properties"]["subnet"] = json!(null),
            "NoSubnet",
        ),
        (
            |body| body["identity"] = json!(null),
            "the pool lacks the identity",
        ),
    ] {
        let plan = refused(change);
        assert!(plan.contains(says), "{says}: {plan}");
    }
    assert_plan("head_pool_missing", &World::empty(theirs));
}

#[test]
fn beside_an_existing_pool_of_the_workers_it_lies_in_the_same_subnet() {
    let world = |subnet: &'static str| {
        World::empty(|spec| {
            theirs(spec);
            spec.as_object_mut().unwrap().remove("network");
            spec["compute"] = json!({"name": "workers", "creationPolicy": "UseExisting"});
        })
        .pool("Succeeded", |_| {})
        .head_pool("Succeeded", move |body| {
            if !subnet.is_empty() {
                body["properties"]["properties"]["subnet"]["id"] = json!(subnet);
            }
        })
    };
    let unfit = |world: &World| world.plan().to_string().contains("PoolUnfit");
    assert!(!unfit(&world("")));
    assert!(unfit(&world("/s/x/subnets/other")));
}

#[test]
fn what_a_pool_lacks_is_told_of_the_jobs_that_wait_for_it_and_of_no_others() {
    let short = |body: &mut Value| {
        body["properties"]["properties"]["errors"] =
            json!([{"code": "ClusterCoreQuotaReached", "message": "Quota of 100 cores"}]);
    };
    let starting = || {
        World::provisioned(|spec| {
            own(spec);
            spec["worker"]["replicas"] = json!(1);
        })
        .connected("head-1")
        .job("head-1", "Queued", |_| {})
        .job("w00-1", "Queued", |_| {})
    };
    let told = |world: World| {
        let plan = world.plan().to_string();
        let stage = |stage: &str| {
            let lines = plan.lines().filter(|line| line.contains(stage));
            lines.map(|line| line.contains("QuotaExceeded")).collect()
        };
        let (head, workers): (Vec<bool>, Vec<bool>) =
            (stage("SchedulerReady"), stage("WorkersReady"));
        (head, workers)
    };
    assert_eq!(told(starting()), (vec![false], vec![false]));
    assert_eq!(
        told(starting().pool("Succeeded", short)),
        (vec![false], vec![true])
    );
    assert_eq!(
        told(starting().head_pool("Succeeded", short)),
        (vec![true], vec![false])
    );
}

fn leaving(spec: fn(&mut Value)) -> World {
    World::provisioned(spec)
        .head_pool("Succeeded", |_| {})
        .job("head-1", "Canceled", |_| {})
        .job("w00-1", "Canceled", |_| {})
        .deleted()
}

#[test]
fn a_pool_of_its_own_goes_with_the_cluster_and_somebody_elses_stays() {
    assert_plan("head_pool_deleted", &leaving(own));
    let plan = leaving(theirs).plan();
    assert_eq!(written(&leaving(theirs), &plan), [""; 0], "{plan}");
    assert_eq!(plan.steps.len(), 1, "the pool of the workers: {plan}");
    let left = leaving(own).with(|observed| {
        let pools: Vec<_> = observed
            .resources
            .keys()
            .filter(|id| id.resource_type().ends_with("/computes"))
            .cloned()
            .collect();
        assert_eq!(pools.len(), 2);
        for pool in pools {
            observed.resources.insert(pool, Lookup::Absent);
        }
    });
    assert!(!left.plan().to_string().contains("ComputeCluster"));
}

#[test]
fn a_cancel_that_hangs_keeps_the_cluster_only_on_a_pool_that_stays() {
    let hangs = |world: World, job: &str| {
        let world = world.job(job, "CancelRequested", |_| {});
        let name = world.place().identity.parse_job_id(&world.job_id(job));
        let id = world.place().job(name.unwrap());
        world.with(|observed| {
            observed.since.insert(id, noon());
            observed.seen_at = seconds_after_noon(1800);
        })
    };
    let told = |world: World| world.plan().to_string();
    let on_theirs = told(hangs(leaving(theirs), "head-1"));
    assert!(on_theirs.contains("its pool heads stays"), "{on_theirs}");
    assert!(!on_theirs.contains("DELETE"), "{on_theirs}");
    for (spec, job) in [
        (own as fn(&mut Value), "head-1"),
        (own, "w00-1"),
        (theirs, "w00-1"),
    ] {
        let plan = told(hangs(leaving(spec), job));
        assert!(plan.contains("its pool is deleted under it"), "{plan}");
        assert!(plan.contains("DELETE ComputeCluster"), "{plan}");
    }
}

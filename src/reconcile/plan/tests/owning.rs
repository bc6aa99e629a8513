//! What is ours, what somebody did to it in Azure, and what is taken over.

use serde_json::{Value, json};

use super::assert_plan;
use crate::api::{ConditionType, Reason};
use crate::azure::{Lane, ResourceId};
use crate::lookup::Lookup;
use crate::reconcile::fixtures::{UID, World, our_tags, seconds_after_noon};
use crate::reconcile::{PlannedAction, Response};

/// A running cluster, with what `change` does to its spec, after a look that found all as wanted.
fn settled(change: impl FnOnce(&mut Value)) -> World {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        change(spec);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"]);
    seen_as_wanted(world)
}

fn seen_as_wanted(world: World) -> World {
    let plan = world.plan();
    assert!(plan.is_settled(), "{plan}");
    world.with(|observed| observed.told.as_wanted = plan.as_wanted.into_iter().collect())
}

fn report(spec: &mut Value) {
    spec["driftPolicy"] = json!("Report");
}

fn pool_with(world: World, change: impl FnOnce(&mut Value)) -> World {
    world.pool("Succeeded", change)
}

fn smaller(body: &mut Value) {
    body["properties"]["properties"]["scaleSettings"] =
        json!({"minNodeCount": 1, "maxNodeCount": 7, "nodeIdleTimeBeforeScaleDown": "PT10M"});
}

fn of_another_size(body: &mut Value) {
    body["properties"]["createdOn"] = json!("2026-01-01T11:40:51.9013157+00:00");
    body["properties"]["properties"]["vmSize"] = json!("STANDARD_D2");
}

fn network_with(world: World, change: impl FnOnce(&mut Value)) -> World {
    let id = world.place().network.clone().unwrap().virtual_network;
    let mut body = json!({
        "location": "eastus",
        "etag": "W/\"7\"",
        "tags": our_tags(),
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.20.0.0/16"]},
            "subnets": [
                {"name": "default", "properties": {"addressPrefix": "10.20.0.0/22"}},
                {"name": "web", "properties": {"addressPrefix": "10.20.8.0/24"}},
            ],
            "provisioningState": "Succeeded",
        },
    });
    change(&mut body);
    world.found(id, body)
}

fn put(world: &World) -> (Value, Option<String>) {
    let plan = world.plan();
    let mut bodies = plan.steps.iter().filter_map(|step| match &step.action {
        PlannedAction::PutAzure { body, if_match, .. } => Some((body.clone(), if_match.clone())),
        _ => None,
    });
    let first = bodies.next().unwrap_or_else(|| panic!("{plan}"));
    assert_eq!(bodies.next(), None, "{plan}");
    first
}

#[test]
fn limits_and_tags_that_somebody_changed_are_set_back_in_one_write_each() {
    assert_plan("drift_limits", &pool_with(settled(|_| {}), smaller));
    let tags = pool_with(settled(|_| {}), |body| {
        smaller(body);
        body["tags"]["dask-azureml-cluster"] = json!("x/y");
    });
    assert_plan("drift_limits_and_tags", &tags);
    let network = network_with(settled(|_| {}), |body| {
        body["tags"]["dask-azureml-instance"] = json!("i2");
    });
    assert_plan("drift_network_tags", &network);
    let (body, if_match) = put(&network);
    assert_eq!(body["properties"]["subnets"].as_array().unwrap().len(), 2);
    assert_eq!(if_match.as_deref(), Some("W/\"7\""));
}

#[test]
fn tags_of_others_are_theirs() {
    let world = pool_with(settled(|_| {}), |body| body["tags"]["cost"] = json!("7"));
    let world = network_with(world, |body| body["tags"]["cost"] = json!("8"));
    assert!(world.plan().is_settled(), "{}", world.plan());
}

#[test]
fn report_writes_nothing_and_the_cluster_goes_on() {
    let world = pool_with(settled(report), smaller);
    assert_plan("drift_reported", &world);
    assert!(world.plan().is_settled());
}

#[test]
fn what_is_set_back_is_less_urgent_than_what_is_asked_for() {
    let drifted = pool_with(settled(|_| {}), smaller).plan();
    let told = settled(|_| {}).observed.told;
    let asked = settled_spec("Correct").with(|observed| observed.told = told);
    for (plan, lane) in [(drifted, Lane::Drift), (asked.plan(), Lane::UserChange)] {
        let lanes: Vec<_> = plan.steps.iter().map(|step| step.lane).collect();
        assert_eq!(lanes, [lane], "{plan}");
    }
}

#[test]
fn a_spec_that_changed_is_no_drift_whatever_the_policy_says() {
    for policy in ["Correct", "Report"] {
        let before = settled(|spec| spec["driftPolicy"] = json!(policy));
        let told = before.observed.told;
        let world = settled_spec(policy).with(|observed| observed.told = told);
        let plan = world.plan();
        assert!(plan.findings.is_empty(), "{plan}");
        assert!(
            plan.to_string().contains("do    PATCH ComputeCluster"),
            "{plan}"
        );
    }
}

/// The same cluster, whose spec now asks for fewer nodes than Azure has.
fn settled_spec(policy: &str) -> World {
    World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        spec["driftPolicy"] = json!(policy);
        spec["compute"]["maxNodes"] = json!(50);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"])
}

#[test]
fn what_azure_cannot_change_in_place_is_told_with_the_way_to_allow_its_replacement() {
    for (field, value) in [
        ("vmSize", json!("STANDARD_D2")),
        ("vmPriority", json!("LowPriority")),
        ("subnet", json!({"id": "/subscriptions/s/x/subnets/other"})),
    ] {
        for change in [|_: &mut Value| {}, report] {
            let world = pool_with(settled(change), |body| {
                body["properties"]["properties"][field] = value.clone();
            });
            let plan = world.plan();
            assert!(plan.steps.is_empty(), "{plan}");
            assert_eq!(plan.findings[0].response, Response::NotInPlace);
            let trouble = &plan.blocked[0].trouble;
            assert_eq!(trouble.reason, Reason::ReplaceNeeded);
            assert!(trouble.message.contains(field), "{plan}");
        }
    }
    assert_plan(
        "drift_not_in_place",
        &pool_with(settled(|_| {}), of_another_size),
    );
}

/// What the condition asks for is done.
fn allowed(world: World) -> World {
    let plan = world.plan();
    let message = plan.blocked[0].trouble.message.clone();
    let (_, value) = message.rsplit_once('=').unwrap();
    world.with(|observed| observed.told.allowed_replacement = Some(value.to_owned()))
}

#[test]
fn an_allowed_replacement_ends_the_jobs_deletes_the_pool_and_makes_it_again_after_a_pause() {
    let world = allowed(pool_with(settled(|_| {}), of_another_size));
    let id = world.place().compute.clone();
    assert_plan("replace_1_jobs", &world);
    let world = world
        .job("head-1", "Canceled", |_| {})
        .job("w00-1", "Canceled", |_| {})
        .with(|observed| observed.scheduler = crate::dask::SchedulerSight::default());
    assert_plan("replace_2_written_down", &world);
    let replaced = |world: World, since| {
        world.with(|observed| {
            observed.told.as_wanted.remove(&id);
            observed.told.replaced.insert(id.clone(), since);
        })
    };
    let world = replaced(world, None);
    assert_plan("replace_3_delete", &world);
    let gone = |world: World| {
        world.with(|observed| {
            observed.resources.insert(id.clone(), Lookup::Absent);
        })
    };
    assert_plan("replace_4_pause", &gone(world.clone()));
    let paused = replaced(gone(world), Some(seconds_after_noon(-299)));
    assert!(
        !paused
            .plan()
            .to_string()
            .contains("do    PUT ComputeCluster")
    );
    let over = replaced(paused, Some(seconds_after_noon(-300)));
    assert_plan("replace_5_made_again", &over);
}

#[test]
fn what_was_allowed_once_allows_no_other_replacement() {
    let first = allowed(pool_with(settled(|_| {}), of_another_size));
    let again = pool_with(first.clone(), |body| {
        of_another_size(body);
        body["properties"]["createdOn"] = json!("2026-02-01T11:40:51.9013157+00:00");
    });
    let more = pool_with(first, |body| {
        of_another_size(body);
        body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
    });
    for world in [again, more] {
        let plan = world.plan();
        assert_eq!(
            plan.blocked[0].trouble.reason,
            Reason::ReplaceNeeded,
            "{plan}"
        );
        assert!(plan.steps.is_empty(), "{plan}");
    }
}

#[test]
fn what_somebody_deleted_in_azure_is_told_and_made_again_whatever_the_policy() {
    for change in [|_: &mut Value| {}, report] {
        let world = settled(change);
        let id = world.place().compute.clone();
        let gone = world.with(|observed| {
            observed.resources.insert(id, Lookup::Absent);
        });
        assert_plan("deleted_in_azure", &gone);
    }
}

#[test]
fn a_pool_whose_owner_tag_was_taken_off_is_no_longer_proven_to_be_ours() {
    let world = pool_with(settled(|_| {}), |body| {
        body["tags"]
            .as_object_mut()
            .unwrap()
            .remove("dask-azureml-owner");
    });
    assert_plan("owner_tag_gone", &world);
}

#[test]
fn a_pool_of_another_cluster_is_told_with_its_name_and_its_operator() {
    let owned_by = |tags: Value| pool_with(settled(|_| {}), |body| body["tags"] = tags);
    let neighbour = owned_by(json!({
        "dask-azureml-owner": "u2", "dask-azureml-instance": "i1", "dask-azureml-cluster": "weather/second",
    }));
    assert_plan("already_owned", &neighbour);
    let stranger = owned_by(json!({
        "dask-azureml-owner": "u2", "dask-azureml-instance": "i2", "dask-azureml-cluster": "weather/noaa-isd",
    }));
    assert_plan("already_owned_elsewhere", &stranger);
}

fn adopting(change: impl FnOnce(&mut Value)) -> World {
    World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(0);
        spec["network"] = json!({
            "virtualNetwork": {"name": "theirs"}, "subnet": {"name": "nodes"}, "creationPolicy": "UseExisting",
        });
        spec["compute"] =
            json!({"name": "ds13-cluster", "maxNodes": 20, "creationPolicy": "Adopt"});
        change(spec);
    })
}

fn of_nobody(body: &mut Value) {
    body["tags"] = json!({"team": "platform", "dask-azureml-retained": "true"});
    body["id"] = json!("/x");
    body["properties"]["provisioningErrors"] = json!(null);
    body["properties"]["createdOn"] = json!("2026-01-01T11:40:51.9013157+00:00");
}

fn telling(world: World) -> World {
    world.with(|observed| {
        observed.told.adopting.insert(ConditionType::ComputeReady);
    })
}

#[test]
fn a_pool_is_taken_over_by_telling_then_by_tags_then_by_what_the_spec_asks_for() {
    let found = pool_with(adopting(|_| {}), of_nobody);
    assert_plan("adopt_1_told", &found);
    assert!(
        !found
            .plan()
            .steps
            .iter()
            .any(|step| step.action.writes_azure())
    );
    let told = telling(found);
    assert_plan("adopt_2_tags", &told);
    let (body, _) = put(&told);
    let mut tags = our_tags();
    tags["team"] = json!("platform");
    assert_eq!(body["tags"], tags);
    assert_eq!(
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"],
        json!(100),
        "the tags come first, and alone"
    );
    assert_eq!(body["properties"].get("createdOn"), None);
    assert_plan("adopt_3_limits", &pool_with(told, |_| {}));
}

#[test]
fn what_another_cluster_let_go_of_may_be_taken_over_and_what_it_has_may_not() {
    let tags = |tags: Value| telling(pool_with(adopting(|_| {}), |body| body["tags"] = tags));
    let retained = json!({"dask-azureml-owner": "u2", "dask-azureml-retained": "true"});
    let (body, _) = put(&tags(retained));
    assert_eq!(body["tags"], our_tags());
    let theirs = json!({"dask-azureml-owner": "u2", "dask-azureml-cluster": "weather/second"});
    assert_plan("adopt_owned_by_another", &tags(theirs));
    let mut lost = our_tags();
    lost.as_object_mut().unwrap().remove("dask-azureml-owner");
    let (body, _) = put(&tags(lost));
    assert_eq!(body["tags"]["dask-azureml-owner"], json!(UID));
}

#[test]
fn what_cannot_become_what_the_spec_asks_for_is_not_taken_over() {
    let world = telling(pool_with(
        adopting(|spec| spec["compute"]["vmSize"] = json!("STANDARD_DS14_V2")),
        of_nobody,
    ))
    .with(|observed| observed.vm_sizes = Lookup::NotAsked);
    assert_plan("adopt_other_size", &world);
}

#[test]
fn a_pool_that_is_to_be_taken_over_must_be_there() {
    let world = adopting(|_| {});
    let id = world.place().compute.clone();
    let missing = world.with(|observed| {
        observed.resources.insert(id, Lookup::Absent);
    });
    assert_plan("adopt_missing", &missing);
}

#[test]
fn a_network_that_is_taken_over_keeps_what_lies_in_it() {
    let world = World::provisioned(|spec| spec["network"]["creationPolicy"] = json!("Adopt"));
    let world =
        network_with(world, |body| body["tags"] = json!({"team": "platform"})).with(|observed| {
            observed.told.adopting.insert(ConditionType::NetworkReady);
        });
    let (body, if_match) = put(&world);
    assert_eq!(body["properties"]["subnets"].as_array().unwrap().len(), 2);
    assert_eq!(body["tags"]["team"], json!("platform"));
    assert_eq!(if_match.as_deref(), Some("W/\"7\""));
}

#[test]
fn a_network_in_which_others_have_subnets_stays_when_its_cluster_goes() {
    let world = World::provisioned(|_| {});
    let network = world.place().network.clone().unwrap();
    let gone = |world: World, id: ResourceId| {
        world.with(|observed| {
            observed.resources.insert(id, Lookup::Absent);
        })
    };
    let pool = world.place().compute.clone();
    let world = gone(gone(world, pool), network.subnet);
    let shared = network_with(world, |body| {
        body["properties"]["subnets"]
            .as_array_mut()
            .unwrap()
            .remove(0);
    })
    .deleted();
    assert_plan("delete_network_of_many", &shared);
    let marked = network_with(shared, |body| {
        body["tags"]["dask-azureml-retained"] = json!("true");
    });
    assert_plan("delete_6_finalizer", &marked);
}

#[test]
fn a_pool_that_lost_its_owner_tag_holds_up_the_deletion_which_says_how_to_give_it_back() {
    let world = World::provisioned(|_| {}).pool("Succeeded", |body| {
        body["tags"]
            .as_object_mut()
            .unwrap()
            .remove("dask-azureml-owner");
    });
    assert_plan("delete_owner_tag_gone", &world.deleted());
}

#[test]
fn a_network_is_deleted_as_it_was_seen_so_that_no_subnet_goes_with_it_that_came_since() {
    let world = World::provisioned(|_| {});
    let network = world.place().network.clone().unwrap();
    let pool = world.place().compute.clone();
    let world = network_with(world, |body| {
        body["properties"]["subnets"] = json!([]);
    });
    let world = world.with(|observed| {
        observed.resources.insert(pool, Lookup::Absent);
        observed.resources.insert(network.subnet, Lookup::Absent);
    });
    let plan = world.deleted().plan();
    let deletion = plan.steps.iter().find_map(|step| match &step.action {
        PlannedAction::DeleteAzure { if_match, .. } => Some(if_match.clone()),
        _ => None,
    });
    assert_eq!(deletion, Some(Some("W/\"7\"".into())), "{plan}");
}

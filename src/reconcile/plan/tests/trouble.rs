//! What stands in the way: named, and nothing of somebody else's touched.

use serde_json::json;

use super::assert_plan;
use crate::api::Reason;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, our_tags};
use crate::reconcile::{SpecError, SpecErrors, Wanted};

fn throttled() -> Trouble {
    Trouble::passing(Reason::Throttled, "azure request 'GET /x' failed")
}

#[test]
fn a_network_or_pool_that_was_not_made_for_this_cluster_is_left_alone() {
    let world = World::provisioned(|_| {});
    let network = world.place().network.clone().unwrap().virtual_network;
    let body =
        json!({"location": "eastus", "tags": {"dask-azureml-owner": "u2"}, "properties": {}});
    assert_plan("network_not_ours", &world.found(network, body));
    let pool = World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = json!(null));
    assert_plan("pool_not_ours", &pool);
}

#[test]
fn nothing_is_made_in_azure_for_a_cluster_whose_pool_or_network_is_refused() {
    let foreign_pool = || World::empty(|_| {}).pool("Succeeded", |body| body["tags"] = json!(null));
    assert_plan("pool_not_ours_at_first", &foreign_pool());
    let network = foreign_pool().place().network.clone().unwrap();
    let body = json!({"location": "eastus", "tags": null, "properties": {}});
    let foreign_network = World::empty(|_| {}).found(network.virtual_network, body);
    assert_plan("network_not_ours_at_first", &foreign_network);
    for world in [foreign_pool(), foreign_network] {
        let plan = world.plan();
        assert!(
            !plan.steps.iter().any(|step| step.action.writes_azure()),
            "{plan}"
        );
    }
}

#[test]
fn a_cluster_does_not_begin_with_a_secret_that_is_being_deleted_and_does_not_end_for_it() {
    let begins = World::empty(|_| {}).with(|observed| {
        observed.has_finalizer = false;
        observed.credentials.going = true;
    });
    assert_plan("secret_being_deleted", &begins);
    let running = World::answering(2, &["head-1", "w00-1", "w01-1"]);
    let going = running
        .clone()
        .with(|observed| observed.credentials.going = true);
    assert_eq!(going.plan(), running.plan());
}

#[test]
fn a_refused_job_keeps_no_other_from_being_made() {
    let foreign_worker = World::answering(2, &["head-1"]).job("w00-1", "Running", |body| {
        body["properties"]["tags"]["dask-azureml-owner"] = json!("u2");
    });
    let plan = foreign_worker.plan().to_string();
    assert!(
        plan.contains("do    PUT Job noaa-isd-6f9619ff-w01-1"),
        "{plan}"
    );
}

#[test]
fn a_job_that_cannot_be_read_is_not_taken_for_absent() {
    let unreadable = |body: &mut serde_json::Value| {
        body.as_object_mut().unwrap().remove("properties");
    };
    let world = World::answering(2, &["head-1", "w00-1"]).job("w01-1", "Running", unreadable);
    assert_plan("job_unreadable", &world);
    assert_plan("delete_job_unreadable", &world.deleted());
}

#[test]
fn a_pool_of_our_name_and_another_size_cannot_be_mended() {
    let world = World::provisioned(|_| {}).pool("Succeeded", |body| {
        body["properties"]["properties"]["vmSize"] = json!("STANDARD_D2");
    });
    assert_plan("pool_of_another_size", &world);
}

#[test]
fn what_differs_and_can_be_changed_is_changed_in_place() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]).pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(7);
    });
    assert_plan("pool_of_another_limit", &world);
}

fn existing_pool() -> World {
    World::empty(|spec| {
        spec.as_object_mut().unwrap().remove("network");
        spec["compute"] = json!({"name": "theirs", "creationPolicy": "UseExisting"});
    })
}

#[test]
fn an_existing_pool_is_used_as_it_is() {
    let untagged = existing_pool().pool("Succeeded", |body| body["tags"] = json!({}));
    assert_plan("existing_pool", &untagged);
}

#[test]
fn an_existing_pool_must_exist_and_lie_in_a_subnet() {
    assert_plan("existing_pool_missing", &existing_pool());
    let without_subnet = existing_pool().pool("Succeeded", |body| {
        body["properties"]["properties"]["subnet"] = json!(null);
    });
    assert_plan("existing_pool_without_subnet", &without_subnet);
}

#[test]
fn a_workspace_that_is_missing_or_managed_stops_everything() {
    let missing = World::empty(|_| {}).with(|observed| observed.workspace = Lookup::Absent);
    assert_plan("workspace_missing", &missing);
    let managed = World::empty(|_| {}).with(|observed| {
        if let Lookup::Present(workspace) = &mut observed.workspace {
            workspace.isolation_mode = "AllowInternetOutbound".into();
        }
    });
    assert_plan("workspace_managed", &managed);
}

#[test]
fn nothing_is_concluded_from_a_list_that_failed() {
    let world = World::provisioned(|_| {})
        .with(|observed| observed.jobs_listed = Lookup::Unavailable(throttled()));
    assert_plan("list_failed", &world);
}

#[test]
fn a_scheduler_that_falls_silent_is_told_though_azure_cannot_be_asked() {
    let silent = World::answering(1, &["head-1", "w00-1"]).silent("Unreachable");
    let no_list = silent
        .clone()
        .with(|observed| observed.jobs_listed = Lookup::Unavailable(throttled()));
    assert_plan("list_failed_and_silent", &no_list);
    let no_workspace =
        silent.with(|observed| observed.workspace = Lookup::Unavailable(throttled()));
    assert_plan("workspace_unavailable_and_silent", &no_workspace);
}

#[test]
fn nothing_is_made_where_the_look_failed() {
    let world = World::empty(|_| {}).with(|observed| {
        for found in observed.resources.values_mut() {
            *found = Lookup::Unavailable(throttled());
        }
    });
    assert_plan("get_unavailable", &world);
}

#[test]
fn nothing_is_made_in_a_namespace_that_goes() {
    let world = World::provisioned(|_| {}).with(|observed| {
        observed.has_finalizer = false;
        observed.namespace_is_going = true;
    });
    assert_plan("namespace_going", &world);
}

#[test]
fn a_scheduler_that_cannot_be_reached_is_told_with_address_and_ports() {
    let world = World::provisioned(|spec| spec["worker"]["replicas"] = json!(0))
        .head("head-1")
        .published();
    assert_plan("scheduler_first_asked", &world);
    assert_plan(
        "scheduler_unreachable",
        &world.clone().silent("Unreachable"),
    );
    assert_plan("scheduler_untrusted", &world.clone().silent("Untrusted"));
    let lost = world.registered(&["head-1"]).silent("Unreachable");
    assert_plan("scheduler_lost", &lost);
}

#[test]
fn a_dataset_version_that_points_elsewhere_is_a_conflict() {
    let world = World::provisioned(|_| {});
    let id = world.cluster().datasets[0].id.clone();
    let body = json!({"properties": {"dataUri": "https://elsewhere/", "tags": our_tags()}});
    assert_plan("dataset_conflict", &world.found(id, body));
}

#[test]
fn a_manifest_that_means_nothing_touches_nothing() {
    let mut world = World::answering(1, &["head-1", "w00-1"]);
    world.wanted = Wanted::Unknown(SpecErrors(vec![SpecError {
        path: "spec.environment.condaFile".into(),
        message: "is no YAML".into(),
    }]));
    assert_plan("invalid_spec", &world);
    assert!(world.plan().steps.is_empty());
}

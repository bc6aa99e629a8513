//! Deletion, step by step.

use serde_json::json;

use super::assert_plan;
use crate::api::Reason;
use crate::azure::Lane;
use crate::azure_resources::KINDS;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, our_tags, secret};
use crate::reconcile::plan::Action;

fn running(policy: &str) -> World {
    World::provisioned(|spec| spec["deletionPolicy"] = json!(policy))
        .head("head-1")
        .job("w00-1", "Running", |_| {})
        .job("w01-1", "CancelRequested", |_| {})
        .job("w02-1", "Completed", |_| {})
        .deleted()
}

fn jobs_ended(policy: &str) -> World {
    ["head-1", "w00-1", "w01-1"]
        .into_iter()
        .fold(running(policy), |world, job| {
            world.job(job, "Canceled", |_| {})
        })
}

fn gone(world: World, what: fn(&crate::cluster::Place) -> crate::azure::ResourceId) -> World {
    let id = what(world.place());
    world.with(|observed| {
        observed.resources.insert(id, Lookup::Absent);
    })
}

fn without_pool() -> World {
    gone(jobs_ended("Delete"), |place| place.compute.clone())
}

fn without_subnet() -> World {
    gone(without_pool(), |place| {
        place.network.clone().unwrap().subnet
    })
}

fn with_nothing_left() -> World {
    let world = jobs_ended("Delete");
    let left: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| (kind.places)(world.place()))
        .collect();
    left.into_iter().fold(world, |world, id| {
        world.with(|observed| {
            observed.resources.insert(id, Lookup::Absent);
        })
    })
}

#[test]
fn a_cluster_leaves_jobs_first_then_pool_then_subnet_and_network() {
    assert_plan("delete_1_jobs", &running("Delete"));
    assert_plan("delete_2_pool", &jobs_ended("Delete"));
    let deleting = jobs_ended("Delete").pool("Deleting", |_| {});
    assert_plan("delete_3_pool_deleting", &deleting);
    assert_plan("delete_4_subnet", &without_pool());
    assert_plan("delete_5_network", &without_subnet());
    assert_plan("delete_6_finalizer", &with_nothing_left());
}

#[test]
fn the_secret_is_kept_while_another_cluster_uses_it_and_forgotten_ones_are_released() {
    let world = with_nothing_left().with(|observed| {
        observed.credentials.last_user = false;
        observed.credentials.releasable = vec![secret("old-credentials")];
    });
    assert_plan("delete_shared_secret", &world);
}

#[test]
fn retain_ends_the_jobs_and_marks_what_stays() {
    assert_plan("retain_1_jobs", &running("Retain"));
    assert_plan("retain_2_mark_pool", &jobs_ended("Retain"));
    // Azure keeps the case that a tag was first written in.
    for retained in ["dask-azureml-retained", "Dask-AzureML-Retained"] {
        let mut tags = our_tags();
        tags[retained] = json!("true");
        let marked = jobs_ended("Retain").pool("Succeeded", |body| body["tags"] = tags.clone());
        assert_plan("retain_3_mark_network", &marked);
        let network = marked.place().network.clone().unwrap().virtual_network;
        let body = json!({"tags": tags, "properties": {}});
        assert_plan("retain_4_finalizer", &marked.found(network, body));
    }
}

#[test]
fn a_pool_that_stays_keeps_its_identities_without_what_azure_added() {
    let world = jobs_ended("Retain").pool("Succeeded", |body| {
        body["identity"] = json!({
            "type": "SystemAssigned,UserAssigned", "principalId": "p", "tenantId": "t",
            "userAssignedIdentities": {"/reader": {"principalId": "p", "clientId": "c"}},
        });
    });
    let plan = world.plan();
    let Action::PutAzure { body, .. } = &plan.steps[0].action else {
        panic!("{plan}");
    };
    assert_eq!(
        body["identity"],
        json!({"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/reader": {}}})
    );
}

#[test]
fn a_network_and_pool_of_somebody_else_stay() {
    let world = jobs_ended("Delete").pool("Succeeded", |body| body["tags"] = json!(null));
    let network = world.place().network.clone().unwrap().virtual_network;
    let body = json!({"tags": {"dask-azureml-owner": "u2"}, "properties": {}});
    assert_plan("delete_foreign", &world.found(network, body));
}

#[test]
fn jobs_of_a_namesake_are_not_cancelled() {
    let world = with_nothing_left().job("head-2", "Running", |body| {
        body["properties"]["tags"]["dask-azureml-owner"] = json!("u2");
    });
    assert_plan("delete_6_finalizer", &world);
}

#[test]
fn what_is_gone_already_is_done() {
    let world = World::empty(|_| {}).deleted();
    assert_plan("delete_6_finalizer", &world);
    let workspace_gone = World::empty(|_| {}).deleted().with(|observed| {
        observed.workspace = Lookup::Absent;
    });
    assert_plan("delete_6_finalizer", &workspace_gone);
}

#[test]
fn a_cluster_that_was_never_held_has_nothing_to_leave() {
    let world = World::empty(|_| {})
        .deleted()
        .with(|observed| observed.has_finalizer = false);
    assert!(world.plan().is_settled());
}

#[test]
fn a_cluster_that_nobody_lets_into_azure_says_what_it_lacks_and_how_to_let_go() {
    let message = "Secret azure-credentials does not exist";
    let world = jobs_ended("Delete").with(|observed| {
        observed.credentials.secret = None;
        observed.credentials.held = false;
        observed.credentials.trouble = Some(Trouble::passing(Reason::CredentialsMissing, message));
    });
    assert_plan("delete_without_credentials", &world);
}

#[test]
fn an_abandoned_cluster_goes_at_once_and_lets_go_of_its_secret() {
    let world = running("Delete").with(|observed| observed.is_abandoned = true);
    assert_plan("delete_abandoned", &world);
    // A Secret that holds nothing of use any more carries our finalizer all the same.
    let broken = world.clone().with(|observed| {
        let message = "Secret azure-credentials is incomplete";
        let trouble = Trouble::passing(Reason::CredentialsMissing, message);
        observed.credentials.trouble = Some(trouble);
    });
    assert_plan("delete_abandoned", &broken);
    let running = World::answering(2, &["head-1"]);
    let annotated = running
        .clone()
        .with(|observed| observed.is_abandoned = true);
    assert_eq!(annotated.plan(), running.plan(), "nobody deletes it");
}

#[test]
fn a_look_that_failed_keeps_the_finalizer() {
    let trouble = Trouble::lasting(Reason::AuthorizationFailed, "may not list");
    let list = jobs_ended("Delete")
        .with(|observed| observed.jobs_listed = Lookup::Unavailable(trouble.clone()));
    assert_plan("delete_list_failed", &list);
    let id = with_nothing_left().place().compute.clone();
    let pool = with_nothing_left().with(|observed| {
        observed.resources.insert(id, Lookup::Unavailable(trouble));
    });
    assert_plan("delete_get_failed", &pool);
}

#[test]
fn what_a_leaving_cluster_does_goes_before_what_others_ask_for() {
    for world in [running("Delete"), jobs_ended("Delete"), without_pool()] {
        let steps = world.plan().steps;
        assert!(!steps.is_empty());
        assert!(steps.iter().all(|step| step.lane == Lane::Delete));
    }
    let made = World::empty(|_| {}).plan().steps;
    assert!(made.iter().all(|step| step.lane == Lane::UserChange));
}

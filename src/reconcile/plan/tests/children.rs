//! Service, EndpointSlice and connection Secret, and the token in it.

use super::assert_plan;
use crate::lookup::Lookup;
use crate::reconcile::fixtures::{World, seconds_after_noon};
use crate::reconcile::plan::{Action, Child, Follow};

fn published() -> World {
    World::answering(1, &["head-1", "w00-1"])
}

#[test]
fn children_learn_the_address_that_the_head_has_published() {
    let world = published().with(|observed| {
        observed.endpoint_slice = Lookup::Absent;
        if let Lookup::Present(held) = &mut observed.connection {
            held.address = None;
        }
    });
    assert_plan("head_published", &world);
}

#[test]
fn a_loopback_address_gets_no_endpoint_slice() {
    let world = published()
        .job("head-1", "Running", |body| {
            body["properties"]["tags"]["scheduler"] = "tcp://127.0.20.4:8786".into();
            body["properties"]["tags"]["dashboard"] = "http://127.0.20.4:8787".into();
        })
        .with(|observed| {
            let node = serde_json::json!({"privateIpAddress": "127.0.20.4"});
            observed.pool_nodes = Lookup::Present(vec![serde_json::from_value(node).unwrap()]);
        });
    assert_plan("head_on_loopback", &world);
}

#[test]
fn an_address_outside_the_subnet_that_is_no_node_of_the_pool_is_not_believed() {
    let world = published()
        .job("head-1", "Running", |body| {
            body["properties"]["tags"]["scheduler"] = "tcp://192.168.0.9:8786".into();
            body["properties"]["tags"]["dashboard"] = "http://192.168.0.9:8787".into();
        })
        .with(|observed| observed.pool_nodes = Lookup::Present(Vec::new()));
    assert_plan("head_untrusted", &world);
    assert_eq!(
        world.plan().follow,
        Follow::Nobody,
        "nobody sends it the token"
    );
}

#[test]
fn children_of_somebody_else_are_left_alone() {
    let service = published().with(|observed| {
        if let Lookup::Present(service) = &mut observed.service {
            service.metadata.owner_references = None;
        }
    });
    assert_plan("service_not_ours", &service);
    let secret = World::provisioned(|_| {})
        .connected("head-1")
        .with(|observed| {
            if let Lookup::Present(held) = &mut observed.connection {
                held.ours = false;
            }
        });
    assert_plan("secret_not_ours", &secret);
}

#[test]
fn a_secret_that_was_deleted_is_made_again_with_the_token_that_is_still_in_use() {
    let world = published().with(|observed| observed.connection = Lookup::Absent);
    assert_plan("secret_made_again", &world);
}

#[test]
fn a_token_that_nobody_holds_any_more_is_told_and_no_other_is_invented() {
    let world = published().with(|observed| {
        observed.connection = Lookup::Absent;
        observed.scheduler = Default::default();
    });
    assert_plan("token_lost", &world);
}

#[test]
fn the_way_out_of_a_lost_token_leads_to_a_head_with_a_token_of_its_own() {
    let cancelled = published()
        .with(|observed| {
            observed.connection = Lookup::Absent;
            observed.scheduler = Default::default();
        })
        .job("head-1", "Canceled", |_| {})
        .with(|observed| observed.seen_at = seconds_after_noon(5));
    assert_plan("token_lost_head_cancelled", &cancelled);
}

#[test]
fn only_the_very_object_that_was_seen_is_changed() {
    let world = published().with(|observed| {
        if let Lookup::Present(service) = &mut observed.service {
            service.metadata.uid = Some("service".into());
            service.spec = None;
        }
        if let Lookup::Present(slice) = &mut observed.endpoint_slice {
            slice.metadata.uid = Some("slice".into());
            slice.endpoints = None;
        }
        if let Lookup::Present(connection) = &mut observed.connection {
            connection.uid = Some("secret".into());
            connection.address = None;
        }
    });
    let changed: Vec<_> = world
        .plan()
        .steps
        .into_iter()
        .filter_map(|step| match step.action {
            Action::UpdateChild(Child::Service(service)) => service.metadata.uid,
            Action::UpdateChild(Child::EndpointSlice(slice)) => slice.metadata.uid,
            Action::UpdateChild(Child::ConnectionSecret(secret)) => secret.uid,
            _ => None,
        })
        .collect();
    assert_eq!(changed, ["service", "slice", "secret"]);
}

//! Both sides of a peering: made one after the other, made again when they are spent, and gone with the cluster.

use serde_json::{Value, json};

use super::assert_plan;
use crate::azure::ResourceId;
use crate::cluster::PeeringPlace;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::PlannedAction;
use crate::reconcile::fixtures::{REMOTE, World};

fn peered(remote: &str) -> World {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        spec["network"]["peerings"] = json!([{"remoteVirtualNetworkId": REMOTE, "remote": remote}]);
    });
    world
        .head("head-1")
        .published()
        .registered(&["head-1", "w00-1"])
}

fn peering(world: &World) -> PeeringPlace {
    world.place().network.clone().unwrap().peerings.remove(0)
}

fn with(world: World, side: ResourceId, found: Lookup<Value>) -> World {
    world.with(|observed| {
        observed.resources.insert(side, found);
    })
}

fn in_state(world: &World, side: &ResourceId, state: &str) -> Lookup<Value> {
    let Lookup::Present(body) = world.observed.resource(side) else {
        panic!("{side} is there");
    };
    let mut body = body.clone();
    body["properties"]["peeringState"] = json!(state);
    Lookup::Present(body)
}

#[test]
fn the_near_side_is_made_first_and_the_far_side_after_it() {
    let world = peered("Create");
    let PeeringPlace { near, far, .. } = peering(&world);
    let none = with(
        with(world.clone(), far.clone(), Lookup::Absent),
        near.clone(),
        Lookup::Absent,
    );
    assert_plan("peering_1_near", &none);
    let initiated = in_state(&world, &near, "Initiated");
    let one = with(with(world.clone(), far, Lookup::Absent), near, initiated);
    assert_plan("peering_2_far", &one);
    assert!(world.plan().is_settled(), "{}", world.plan());
}

#[test]
fn each_side_names_the_other_network() {
    let world = peered("Create");
    let PeeringPlace { near, far, .. } = peering(&world);
    let own = world.place().network.clone().unwrap().virtual_network;
    for (side, other) in [(near, REMOTE.to_owned()), (far, own.to_string())] {
        let plan = with(world.clone(), side.clone(), Lookup::Absent).plan();
        let body = plan.steps.iter().find_map(|step| match &step.action {
            PlannedAction::PutAzure { id, body, .. } if *id == side => Some(body.clone()),
            _ => None,
        });
        let expected = json!({"properties": {"remoteVirtualNetwork": {"id": other}, "allowVirtualNetworkAccess": true}});
        assert_eq!(body, Some(expected), "{plan}");
    }
}

#[test]
fn a_far_side_that_is_left_to_its_owner_is_asked_for_by_the_command() {
    let world = peered("Leave");
    let near = peering(&world).near;
    let waiting = with(
        world.clone(),
        near.clone(),
        in_state(&world, &near, "Initiated"),
    );
    assert_plan("peering_left", &waiting);
}

#[test]
fn a_far_side_that_we_may_not_make_names_the_command_too() {
    let world = peered("Create");
    let far = peering(&world).far;
    let refused = Trouble::passing(crate::api::Reason::AuthorizationFailed, "may not read");
    assert_plan(
        "peering_refused",
        &with(world.clone(), far.clone(), Lookup::Unavailable(refused)),
    );
    let absent = with(world, far, Lookup::Absent).plan();
    let remedy = absent.steps[0].remedy.as_deref().unwrap();
    assert!(
        remedy.contains("az network vnet peering create"),
        "{remedy}"
    );
}

#[test]
fn a_disconnected_side_is_deleted_and_made_again_the_far_one_before_the_near_one() {
    let world = peered("Create");
    let PeeringPlace { near, far, .. } = peering(&world);
    let near_alone = with(
        with(
            world.clone(),
            near.clone(),
            in_state(&world, &near, "Disconnected"),
        ),
        far.clone(),
        Lookup::Absent,
    );
    assert_plan("peering_disconnected_near", &near_alone);
    let far_alone = with(
        with(
            world.clone(),
            far.clone(),
            in_state(&world, &far, "Disconnected"),
        ),
        near,
        Lookup::Absent,
    );
    assert_plan("peering_disconnected_far", &far_alone);
}

#[test]
fn peerings_wait_for_each_other_as_azure_writes_to_a_network_one_at_a_time() {
    let second = REMOTE.replace("aks-vnet", "other-vnet");
    let world = World::empty(|spec| {
        spec["network"]["peerings"] =
            json!([{"remoteVirtualNetworkId": REMOTE}, {"remoteVirtualNetworkId": second}]);
    })
    .network("Succeeded");
    let plan = world.plan();
    let written = plan.steps.iter().filter(|step| {
        matches!(step.action, PlannedAction::PutAzure { kind, .. } if kind == "VirtualNetworkPeering")
    });
    assert_eq!(written.count(), 1, "{plan}");
}

#[test]
fn both_sides_go_with_the_cluster_also_when_one_network_is_gone_already() {
    let world = peered("Create");
    let pool = world.place().compute.clone();
    let PeeringPlace { near, far, .. } = peering(&world);
    let network = world.place().network.clone().unwrap();
    let leaving = ["head-1", "w00-1"]
        .into_iter()
        .fold(world, |world, job| world.job(job, "Canceled", |_| {}));
    let leaving = with(leaving, pool, Lookup::Absent).deleted();
    assert_plan("delete_peerings", &leaving);
    let far_gone = with(leaving.clone(), far, Lookup::Absent);
    assert_plan("delete_near_peering", &far_gone);
    let near_gone = [near, network.subnet, network.virtual_network]
        .into_iter()
        .fold(leaving, |world, id| with(world, id, Lookup::Absent));
    assert_plan("delete_far_peering", &near_gone);
}

#[test]
fn a_far_side_that_is_left_to_its_owner_is_not_deleted() {
    let world = peered("Leave");
    let far = peering(&world).far;
    let plan = world.deleted().plan().to_string();
    assert!(
        !plan.contains(far.name()) || !plan.contains("DELETE VirtualNetworkPeering"),
        "{plan}"
    );
}

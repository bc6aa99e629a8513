//! What the status says of two pools.

use serde_json::{Value, json};

use super::Round;
use crate::api::DaskClusterStatus;
use crate::lookup::Lookup;
use crate::reconcile::conclude::Next;
use crate::reconcile::fixtures::World;

fn nodes(counts: Value, allocation: &str) -> impl FnOnce(&mut Value) {
    let allocation = json!(allocation);
    move |body| {
        let inner = &mut body["properties"]["properties"];
        inner["allocationState"] = allocation;
        inner["currentNodeCount"] = counts["current"].clone();
        inner["targetNodeCount"] = counts["current"].clone();
        inner["nodeStateCounts"] = json!({
            "runningNodeCount": counts["running"], "preemptedNodeCount": counts["preempted"],
        });
    }
}

/// Two of the workers' three nodes run, the other was preempted, and the head's runs.
fn world(allocation_of_head: &str) -> World {
    let workers = json!({"current": 3, "running": 2, "preempted": 1});
    let head = json!({"current": 1, "running": 1, "preempted": 0});
    World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(2);
        spec["scheduler"]["compute"] = json!({});
    })
    .pool("Succeeded", nodes(workers, "Steady"))
    .head_pool("Succeeded", nodes(head, allocation_of_head))
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1", "w01-1"])
}

fn told(world: World, before: Option<DaskClusterStatus>) -> DaskClusterStatus {
    let round = Round::of(world);
    match before {
        Some(before) => round.after(before).status(),
        None => round.status(),
    }
}

#[test]
fn the_nodes_of_both_pools_are_counted_together_and_each_pool_is_told_by_itself() {
    let status = told(world("Steady"), None);
    let nodes = status.nodes.unwrap();
    assert_eq!((nodes.current, nodes.running, nodes.preempted), (4, 3, 1));
    assert_eq!((nodes.max, nodes.own), (101, 3));
    let name = |pool: Option<crate::api::ComputeStatus>| {
        let id = pool.unwrap().id.unwrap();
        id.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(name(status.compute), "ds13-cluster");
    assert_eq!(name(status.head_compute), "daskhead6f9619ff8b86d011");
}

#[test]
fn while_one_of_them_cannot_be_seen_the_numbers_stay_as_they_were_told() {
    let before = told(world("Steady"), None);
    let blind = world("Steady").with(|observed| {
        let heads = observed.resources.iter_mut();
        for (_, found) in heads.filter(|(id, _)| id.name().starts_with("daskhead")) {
            *found = Lookup::NotAsked;
        }
    });
    let after = told(blind, Some(before.clone()));
    assert_eq!(after.nodes, before.nodes);
    assert_eq!(after.head_compute, before.head_compute);
}

#[test]
fn a_head_pool_that_resizes_is_looked_at_sooner() {
    let next = |allocation: &str| {
        let round = Round::of(world(allocation));
        let told = round.status();
        round.after(told).conclude().next
    };
    assert_eq!(next("Steady"), Next::AtRest);
    assert_ne!(next("Resizing"), Next::AtRest);
}

#[test]
fn the_last_event_names_both_pools_where_they_stay() {
    let last = |change: fn(&mut Value), world: fn(World) -> World| {
        let cluster = World::provisioned(|spec| {
            spec["scheduler"]["compute"] = json!({"name": "heads"});
            change(spec);
        });
        let before = told(cluster.clone(), None);
        let round = Round::of(world(cluster.deleted())).after(before);
        round.conclude().events.pop().unwrap().note
    };
    let abandoned = last(
        |_| {},
        |world| world.with(|observed| observed.is_abandoned = true),
    );
    assert!(abandoned.contains("/computes/ds13-cluster; pool "));
    assert!(abandoned.contains("/computes/heads; network "));
    let observed = last(
        |_| {},
        |world| {
            world.with(|observed| {
                observed.annotations.policy = crate::api::ReconcilePolicy::Observe;
            })
        },
    );
    assert!(
        observed.contains("pool ds13-cluster, pool heads, its network and all jobs stay"),
        "{observed}"
    );
}

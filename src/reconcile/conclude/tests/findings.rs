//! What somebody did in Azure, as conditions, events and status tell it.

use serde_json::{Value, json};

use super::{Round, condition, told};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::lookup::Lookup;
use crate::reconcile::conclude::Next;
use crate::reconcile::fixtures::{World, our_tags};

const POOL: ConditionType = ConditionType::ComputeReady;

/// A running cluster, and what was told of it.
fn settled(policy: &str) -> (World, DaskClusterStatus) {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        spec["driftPolicy"] = json!(policy);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"]);
    let status = Round::of(world.clone()).status();
    let as_wanted = world.plan().as_wanted.into_iter().collect();
    (
        world.with(|observed| observed.told.as_wanted = as_wanted),
        status,
    )
}

fn with_limit(world: World, nodes: u32) -> World {
    world.pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(nodes);
    })
}

#[test]
fn what_each_own_resource_was_found_to_hold_is_kept_in_the_status() {
    let (_, status) = settled("Correct");
    let names: Vec<_> = status
        .resources
        .iter()
        .map(|resource| resource.id.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["dask-vnet", "default", "ds13-cluster"]);
    assert!(
        status
            .resources
            .iter()
            .all(|resource| resource.applied_spec.is_some())
    );
}

#[test]
fn a_reported_drift_leaves_the_stage_true_and_the_cluster_at_rest() {
    let (world, before) = settled("Report");
    let round = Round::of(with_limit(world.clone(), 7)).after(before.clone());
    let conclusion = round.conclude();
    assert_eq!(told(&conclusion.status, POOL), "True Drifted");
    assert_eq!(told(&conclusion.status, ConditionType::Ready), "True Ready");
    let message = &condition(&conclusion.status, POOL).message;
    assert!(message.contains("scaleSettings.maxNodeCount"), "{message}");
    let reasons: Vec<_> = conclusion.events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [Reason::Drifted]);
    assert!(conclusion.occurrences.is_empty());
    assert_eq!(
        conclusion.status.resources, before.resources,
        "it is still a drift at the next look"
    );

    let again = Round::of(with_limit(world.clone(), 7))
        .after(conclusion.status.clone())
        .conclude();
    assert!(again.events.is_empty());
    assert_eq!(again.next, Next::AtRest);
    let another_field = world.pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(1);
    });
    let more = Round::of(another_field).after(conclusion.status).conclude();
    assert_eq!(more.events.len(), 1, "another field is another drift");
}

#[test]
fn a_drift_that_is_set_back_is_told_at_once_and_the_message_names_the_fields() {
    let (world, before) = settled("Correct");
    let conclusion = Round::of(with_limit(world, 7)).after(before).conclude();
    assert_eq!(told(&conclusion.status, POOL), "False Provisioning");
    assert!(
        condition(&conclusion.status, POOL)
            .message
            .contains("maxNodeCount")
    );
    assert_eq!(told(&conclusion.status, ConditionType::Ready), "True Ready");
    let [event] = conclusion.occurrences.as_slice() else {
        panic!("{:?}", conclusion.occurrences);
    };
    assert_eq!((event.warning, event.reason), (true, Reason::Drifted));
    assert!(event.note.contains("maxNodeCount"), "{}", event.note);
}

#[test]
fn what_somebody_deleted_is_told_at_once() {
    let (world, before) = settled("Correct");
    let id = world.place().compute.clone();
    let gone = world.with(|observed| {
        observed.resources.insert(id, Lookup::Absent);
    });
    let conclusion = Round::of(gone).after(before).conclude();
    assert_eq!(told(&conclusion.status, POOL), "False DeletedInAzure");
    let reasons: Vec<_> = conclusion
        .occurrences
        .iter()
        .map(|event| event.reason)
        .collect();
    assert_eq!(reasons, [Reason::DeletedInAzure]);
}

#[test]
fn a_takeover_is_told_before_anything_is_written() {
    let world = World::provisioned(|spec| {
        spec["network"] = json!({
            "virtualNetwork": {"name": "theirs"}, "subnet": {"name": "nodes"}, "creationPolicy": "UseExisting",
        });
        spec["compute"] = json!({"name": "ds13-cluster", "maxNodes": 20, "creationPolicy": "Adopt"});
    })
    .pool("Succeeded", |body| body["tags"] = Value::Null);
    let conclusion = Round::of(world).conclude();
    assert_eq!(told(&conclusion.status, POOL), "False Adopting");
    let telling = conclusion
        .events
        .iter()
        .find(|event| event.reason == Reason::Adopting);
    let telling = telling.unwrap();
    assert!(
        !telling.warning && telling.note.contains("maxNodeCount"),
        "{}",
        telling.note
    );
}

#[test]
fn the_farewell_names_what_carries_another_clusters_tags_and_stays() {
    let mut tags = our_tags();
    tags["dask-azureml-owner"] = json!("u2");
    let empty = World::empty(|_| {}).deleted();
    let left = empty.clone().pool("Succeeded", |body| body["tags"] = tags);
    let told = |world: World| Round::of(world).conclude().events.pop().unwrap().note;
    assert!(told(left).contains("ComputeCluster ds13-cluster stays"));
    assert!(told(empty).contains("nothing that costs money is left"));
}

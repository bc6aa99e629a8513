//! Tables of which change of the spec concerns which jobs.

use serde_json::{Value, json};

use super::*;
use crate::reconcile::fixtures::{World, valid_cluster};

fn plain(_: &mut Value) {}

/// The fields in which a job of this slot of `before` is outdated in the cluster with the change.
fn changed_by(slot: Slot, change: impl FnOnce(&mut Value)) -> Vec<&'static str> {
    let before = started_with(&valid_cluster(plain), slot);
    let world = World::provisioned(plain).job("w00-1", "Running", |body| {
        body["properties"]["tags"][SPEC_TAG] = json!(before);
    });
    let job = JobName::first(Slot::Worker(0));
    let facts = world.scene(|_, lineup| lineup.jobs[&job].clone());
    let wanted: Vec<_> = fields(&valid_cluster(change), slot).collect();
    changed(&wanted, &facts)
}

#[test]
fn each_field_concerns_those_who_were_given_it() {
    type Change = fn(&mut Value);
    let table: [(Change, &[&str], &[&str]); 13] = [
        (plain, &[], &[]),
        (|spec| spec["worker"]["replicas"] = json!(5), &[], &[]),
        (|spec| spec["compute"]["maxNodes"] = json!(50), &[], &[]),
        (
            |spec| spec["worker"]["startTimeoutSeconds"] = json!(99),
            &[],
            &[],
        ),
        (
            |spec| spec["environment"] = json!({"name": "e", "version": "2"}),
            &["environment"],
            &["environment"],
        ),
        (
            |spec| spec["datasets"] = json!([]),
            &["datasets"],
            &["datasets"],
        ),
        (
            |spec| spec["tags"] = json!({"team": "other"}),
            &["tags"],
            &["tags"],
        ),
        (
            |spec| spec["experimentName"] = json!("other"),
            &["experimentName"],
            &["experimentName"],
        ),
        (
            |spec| {
                spec["scheduler"]["jupyter"] =
                    json!(!spec["scheduler"]["jupyter"].as_bool().unwrap_or(false))
            },
            &["scheduler.jupyter"],
            &[],
        ),
        (
            |spec| spec["scheduler"]["env"] = json!([{"name": "A", "value": "1"}]),
            &["scheduler.env"],
            &[],
        ),
        // The head's own worker has them too.
        (
            |spec| spec["worker"]["threads"] = json!(3),
            &["worker.threads"],
            &["worker.threads"],
        ),
        (
            |spec| spec["worker"]["memoryLimit"] = json!("3Gi"),
            &["worker.memoryLimit"],
            &["worker.memoryLimit"],
        ),
        (
            |spec| {
                spec["worker"]["env"] = json!([{"name": "A", "value": "1"}]);
                spec["scheduler"]["runWorker"] = json!(false);
            },
            &["scheduler.runWorker"],
            &["worker.env"],
        ),
    ];
    for (number, (change, head, worker)) in table.into_iter().enumerate() {
        assert_eq!(changed_by(Slot::Head, change), head, "{number}");
        assert_eq!(changed_by(Slot::Worker(0), change), worker, "{number}");
    }
}

#[test]
fn a_job_of_an_older_operator_is_up_to_date_and_so_is_what_it_does_not_tell() {
    let cluster = valid_cluster(|spec| spec["worker"]["threads"] = json!(3));
    for (tag, expected) in [
        (None, vec![]),
        (Some(""), vec![]),
        (Some("nonsense"), vec![]),
        (Some("datasets=00000000"), vec!["datasets"]),
        (Some("a.field.that.is.gone=0,tags=0"), vec!["tags"]),
    ] {
        let world = World::provisioned(plain).job("w00-1", "Running", |body| {
            if let Some(tag) = tag {
                body["properties"]["tags"][SPEC_TAG] = json!(tag);
            }
        });
        let job = JobName::first(Slot::Worker(0));
        let facts = world.scene(|_, lineup| lineup.jobs[&job].clone());
        let wanted: Vec<_> = fields(&cluster, Slot::Worker(0)).collect();
        assert_eq!(changed(&wanted, &facts), expected, "{tag:?}");
    }
}

#[test]
fn the_operators_default_environment_is_no_field_of_the_spec() {
    let mut cluster = valid_cluster(|spec| {
        spec.as_object_mut().unwrap().remove("environment");
    });
    let before = started_with(&cluster, Slot::Head);
    cluster.environment.id = "/subscriptions/0/resourceGroups/other".parse().unwrap();
    assert_eq!(started_with(&cluster, Slot::Head), before);
}

#[test]
fn the_tag_is_short_and_holds_no_value_of_the_spec() {
    let cluster = valid_cluster(|spec| {
        spec["scheduler"]["env"] = json!([{"name": "PASSWORD", "value": "hunter2"}]);
    });
    let tag = started_with(&cluster, Slot::Head);
    assert!(tag.len() <= 256, "{}: {tag}", tag.len());
    assert!(!tag.contains("hunter2"), "{tag}");
}

//! Tables of slots, incarnations and failures.

use serde_json::{Value, json};

use super::*;
use crate::reconcile::fixtures::{World, seconds_after_noon};

/// `StartTimeUtc` of an ended job of a fixture is ten minutes before noon, and this is its `EndTimeUtc`.
fn ended() -> Timestamp {
    seconds_after_noon(-5)
}

fn jobs(jobs: &[(&str, &str)]) -> World {
    let world = World::provisioned(|_| {});
    jobs.iter()
        .fold(world, |world, (job, status)| world.job(job, status, |_| {}))
}

/// The job never started, though it has ended.
fn unstarted(body: &mut Value) {
    body["properties"]["properties"]["StartTimeUtc"] = Value::Null;
}

fn serving(head: &'static str) -> impl FnOnce(&mut Value) {
    move |body| body["properties"]["tags"]["dask-azureml-head"] = json!(head)
}

fn lineup(world: &World, replicas: u32) -> Lineup {
    world.observed.lineup(world.place(), replicas).unwrap()
}

/// The job that stands there, or `next <job>`.
fn named(occupant: &Occupant) -> String {
    match occupant {
        Occupant::Alive(name) => name.to_string(),
        Occupant::Vacant { next, .. } => format!("next {next}"),
    }
}

fn workers(world: &World, replicas: u32) -> Vec<String> {
    lineup(world, replicas).workers.iter().map(named).collect()
}

fn names(names: &[JobName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Failures in a row of the one worker's slot, and how long after the end of its last job it is filled again.
fn failures(world: &World) -> (u32, Option<i64>) {
    failures_of(&lineup(world, 1).workers[0])
}

fn failures_of(occupant: &Occupant) -> (u32, Option<i64>) {
    match occupant {
        Occupant::Vacant {
            failures,
            not_before,
            ..
        } => {
            let delay = not_before.map(|at| at.duration_since(ended()).as_secs());
            (*failures, delay)
        }
        Occupant::Alive(name) => panic!("{name} is alive"),
    }
}

#[test]
fn an_empty_workspace_wants_the_first_incarnation_of_each_slot() {
    let world = jobs(&[]);
    assert_eq!(named(&lineup(&world, 2).head), "next head-1");
    assert_eq!(workers(&world, 2), ["next w00-1", "next w01-1"]);
    assert_eq!(workers(&world, 0), [""; 0]);
}

#[test]
fn a_job_holds_its_slot_until_it_has_ended() {
    for (status, worker, alive, leaving) in [
        ("NotStarted", "w00-1", true, false),
        ("Starting", "w00-1", true, false),
        ("Provisioning", "w00-1", true, false),
        ("Preparing", "w00-1", true, false),
        ("Queued", "w00-1", true, false),
        ("Scheduled", "w00-1", true, false),
        ("Running", "w00-1", true, false),
        ("NotResponding", "w00-1", true, false),
        ("AWordThatIsNew", "w00-1", true, false),
        ("CancelRequested", "next w01-1", false, true),
        ("Finalizing", "next w01-1", false, true),
        ("Completed", "next w00-2", false, false),
        ("Failed", "next w00-2", false, false),
        ("Canceled", "next w00-2", false, false),
    ] {
        let world = jobs(&[("head-1", "Running"), ("w00-1", status)]);
        let lineup = lineup(&world, 1);
        assert_eq!(named(&lineup.workers[0]), worker, "{status}");
        let held = |held: bool| if held { vec!["w00-1"] } else { Vec::new() };
        assert_eq!(names(&lineup.alive_workers), held(alive), "{status}");
        assert_eq!(names(&lineup.leaving), held(leaving), "{status}");
        let expected = usize::from(alive || leaving);
        assert_eq!(
            lineup.worker_jobs_that_have_not_ended(),
            expected,
            "{status}"
        );
    }
}

#[test]
fn the_newest_incarnation_counts_by_its_number() {
    for (held, expected) in [
        (vec![("w00-1", "Failed"), ("w00-2", "Running")], "w00-2"),
        (
            vec![("w00-1", "Failed"), ("w00-2", "Completed")],
            "next w00-3",
        ),
        (
            vec![("w00-9", "Completed"), ("w00-10", "Completed")],
            "next w00-11",
        ),
        (vec![("w00-7", "Completed")], "next w00-8"),
    ] {
        let world = jobs(&[&[("head-1", "Running")], held.as_slice()].concat());
        assert_eq!(workers(&world, 1), [expected], "{held:?}");
    }
}

#[test]
fn who_is_there_stays_and_the_lowest_free_slots_are_filled() {
    for (alive, leaving, replicas, expected) in [
        (
            vec!["w01-1"],
            vec![],
            3,
            vec!["w01-1", "next w00-1", "next w02-1"],
        ),
        (vec!["w00-1", "w01-1", "w02-1"], vec![], 1, vec!["w00-1"]),
        (vec!["w00-1"], vec!["w01-1"], 2, vec!["w00-1", "next w02-1"]),
        (vec!["w98-1"], vec![], 1, vec!["w98-1"]),
        (vec![], vec!["w00-1"], 1, vec!["next w01-1"]),
    ] {
        let alive = alive.into_iter().map(|job| (job, "Running"));
        let leaving = leaving.into_iter().map(|job| (job, "CancelRequested"));
        let held: Vec<_> = [("head-1", "Running")]
            .into_iter()
            .chain(alive)
            .chain(leaving)
            .collect();
        assert_eq!(workers(&jobs(&held), replicas), expected, "{held:?}");
    }
}

#[test]
fn more_workers_than_wanted_are_all_alive() {
    let world = jobs(&[
        ("head-1", "Running"),
        ("w00-1", "Running"),
        ("w03-2", "Queued"),
    ]);
    let lineup = lineup(&world, 1);
    assert_eq!(names(&lineup.alive_workers), ["w00-1", "w03-2"]);
}

#[test]
fn a_worker_of_another_head_is_stale_and_holds_its_slot() {
    let head_ended = jobs(&[("head-1", "Failed"), ("w00-1", "Running")]);
    let head_followed = jobs(&[
        ("head-1", "Failed"),
        ("head-2", "Running"),
        ("w00-1", "Running"),
    ]);
    for (world, head) in [(head_ended, "next head-2"), (head_followed, "head-2")] {
        let lineup = lineup(&world, 1);
        assert_eq!(named(&lineup.head), head);
        assert_eq!(names(&lineup.stale_workers), ["w00-1"]);
        assert_eq!(names(&lineup.alive_workers), [""; 0]);
        assert_eq!(named(&lineup.workers[0]), "next w01-1");
    }
    let untagged = jobs(&[("head-1", "Running")]).job("w00-1", "Running", |body| {
        body["properties"]["tags"]["dask-azureml-head"] = Value::Null;
    });
    assert_eq!(names(&lineup(&untagged, 1).stale_workers), ["w00-1"]);
}

#[test]
fn a_stale_worker_that_is_leaving_is_not_told_to_go_again() {
    let world = jobs(&[("head-1", "Failed"), ("w00-1", "CancelRequested")]);
    let lineup = lineup(&world, 1);
    assert_eq!(names(&lineup.stale_workers), [""; 0]);
    assert_eq!(names(&lineup.leaving), ["w00-1"]);
}

#[test]
fn the_delay_doubles_with_each_failure_in_a_row_up_to_five_minutes() {
    for (count, delay) in [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (40, 300)] {
        let world = (1..=count).fold(jobs(&[("head-1", "Running")]), |world, incarnation| {
            world.job(&format!("w00-{incarnation}"), "Failed", |_| {})
        });
        assert_eq!(failures(&world), (count, Some(delay)));
    }
}

#[test]
fn only_what_failed_for_this_head_counts_and_what_completed_ends_the_row() {
    for (held, expected) in [
        (vec!["Completed"], (0, None)),
        (vec!["Failed", "Completed"], (0, None)),
        (vec!["Completed", "Failed"], (1, Some(10))),
        (
            vec!["Failed", "Completed", "Failed", "Failed"],
            (2, Some(20)),
        ),
        (vec!["Canceled"], (1, Some(10))),
        (vec!["Failed", "Canceled"], (2, Some(20))),
    ] {
        let world = held
            .iter()
            .zip(1..)
            .fold(jobs(&[("head-1", "Running")]), |world, (status, number)| {
                world.job(&format!("w00-{number}"), status, |_| {})
            });
        assert_eq!(failures(&world), expected, "{held:?}");
    }
    let of_another_head = jobs(&[("head-1", "Failed"), ("head-2", "Running")])
        .job("w00-1", "Failed", |_| {})
        .job("w00-2", "Failed", serving("noaa-isd-6f9619ff-head-2"));
    assert_eq!(failures(&of_another_head), (1, Some(10)));
}

#[test]
fn a_worker_that_was_cancelled_before_it_started_is_no_failure() {
    let running = || jobs(&[("head-1", "Running")]);
    let told_to_go = running().job("w00-1", "Canceled", unstarted);
    assert_eq!(failures(&told_to_go), (0, None));
    assert_eq!(workers(&told_to_go, 1), ["next w00-2"]);

    let failed_before = running()
        .job("w00-1", "Failed", |body| {
            body["properties"]["properties"]["EndTimeUtc"] = json!("2026-01-01 11:59:00");
        })
        .job("w00-2", "Canceled", unstarted);
    assert_eq!(
        failures(&failed_before),
        (1, Some(10 - 55)),
        "the delay counts from the failure"
    );
    let Occupant::Vacant { last, next, .. } = &lineup(&failed_before, 1).workers[0] else {
        panic!("it has ended");
    };
    assert_eq!(last.as_ref().unwrap().id, "noaa-isd-6f9619ff-w00-1");
    assert_eq!(next.incarnation, 3);

    let never_started_and_failed = running().job("w00-1", "Failed", unstarted);
    assert_eq!(failures(&never_started_and_failed), (1, Some(10)));
}

#[test]
fn a_head_that_ends_has_failed_however_it_ended() {
    for status in ["Completed", "Failed", "Canceled"] {
        let world = jobs(&[("head-1", status), ("head-2", status)]);
        let lineup = lineup(&world, 0);
        assert_eq!(named(&lineup.head), "next head-3", "{status}");
        assert_eq!(failures_of(&lineup.head), (2, Some(20)), "{status}");
        assert_eq!(lineup.head_facts(), None);
    }
    let never_started = World::provisioned(|_| {}).job("head-1", "Canceled", unstarted);
    let lineup = lineup(&never_started, 0);
    assert_eq!(failures_of(&lineup.head), (1, Some(10)));
}

#[test]
fn a_job_without_an_end_counts_from_its_creation_and_one_without_either_delays_nothing() {
    let without_end = |body: &mut Value| {
        body["properties"]["properties"]["EndTimeUtc"] = Value::Null;
        body["systemData"] = json!({"createdAt": "2026-01-01T11:59:55Z"});
    };
    let world = jobs(&[("head-1", "Running")]).job("w00-1", "Failed", without_end);
    assert_eq!(failures(&world), (1, Some(10)));
    let world = jobs(&[("head-1", "Running")]).job("w00-1", "Failed", |body| {
        without_end(body);
        body["systemData"] = Value::Null;
    });
    assert_eq!(failures(&world), (1, None));
}

#[test]
fn a_job_of_our_prefix_in_another_workspace_or_of_another_name_is_none_of_ours() {
    let world = jobs(&[]);
    let elsewhere = world
        .place()
        .workspace
        .to_string()
        .replace("ws-dask", "ws-other");
    let elsewhere: crate::azure::ResourceId = elsewhere.parse().unwrap();
    let head = elsewhere.child("jobs", "noaa-isd-6f9619ff-head-1").unwrap();
    let other = world
        .place()
        .workspace
        .child("jobs", "somebody-elses")
        .unwrap();
    let body = json!({"name": "x", "properties": {"status": "Running"}});
    let world = world.found(head, body.clone()).found(other, body);
    assert_eq!(lineup(&world, 0).jobs.len(), 0);
}

#[test]
fn a_head_that_ended_with_a_rest_has_not_failed_and_one_that_fails_after_it_has() {
    let head = |rested: Option<&str>, jobs_: &[(&str, &str)]| {
        let world = jobs(jobs_);
        let rested = rested.map(|job| world.job_id(job));
        let world = world.with(|observed| observed.told.rested_head = rested);
        world.scene(|_, lineup| failures_of(&lineup.head))
    };
    let ended = [("head-1", "Failed"), ("head-2", "Canceled")];
    assert_eq!(head(None, &ended), (2, Some(20)));
    assert_eq!(head(Some("head-1"), &ended), (1, Some(10)));
    assert_eq!(head(Some("head-2"), &ended), (0, None));
    let after = [("head-2", "Canceled"), ("head-3", "Failed")];
    assert_eq!(head(Some("head-2"), &after), (1, Some(10)));
    assert_eq!(head(Some("of-another"), &after), (2, Some(20)));
}

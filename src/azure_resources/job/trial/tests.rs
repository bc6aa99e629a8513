//! Tables of how workers that fail in many slots are started again.

use serde_json::json;

use crate::reconcile::fixtures::{World, seconds_after_noon};

/// So many slots whose jobs have all failed so many times, the last an hour ago.
fn failing(slots: u32, failures: u32) -> World {
    let world = World::answering(slots, &["head-1"]);
    (0..slots).fold(world, |world, slot| {
        (1..=failures).fold(world, |world, incarnation| {
            let job = format!("w{slot:02}-{incarnation}");
            world.job(&job, "Failed", |body| {
                body["properties"]["properties"]["EndTimeUtc"] = json!("2026-01-01 11:00:00");
            })
        })
    })
}

fn submitted(world: &World) -> Vec<String> {
    let prefix = format!("PUT Job {}", world.job_id(""));
    let steps = world.plan().steps;
    let keys = steps.iter().map(|step| step.key());
    keys.filter_map(|key| Some(key.strip_prefix(&prefix)?.to_owned()))
        .collect()
}

#[test]
fn many_that_failed_once_start_again_together_and_after_that_one_has_to_show_that_it_works() {
    assert_eq!(submitted(&failing(3, 1)), ["w00-2", "w01-2", "w02-2"]);
    assert_eq!(submitted(&failing(3, 2)), ["w00-3"]);
    assert_eq!(submitted(&failing(3, 7)), ["w00-8"]);
}

#[test]
fn the_others_wait_until_the_one_on_trial_has_run_for_a_minute() {
    let tried = |status: &str| failing(3, 2).job("w00-3", status, |_| {});
    for status in ["Queued", "Preparing", "Running"] {
        assert_eq!(submitted(&tried(status)), [""; 0], "{status}");
    }
    let told = tried("Running").plan().to_string();
    assert!(
        told.contains("as several workers failed, job noaa-isd-6f9619ff-w01-3 starts when noaa-isd-6f9619ff-w00-3 has shown that workers start again"),
        "{told}"
    );
    let registered = |seconds| {
        tried("Running")
            .registered(&["head-1", "w00-3"])
            .with(|observed| observed.seen_at = seconds_after_noon(seconds))
    };
    // It started ten minutes before noon.
    assert_eq!(submitted(&registered(-600 + 59)), [""; 0]);
    assert_eq!(submitted(&registered(-600 + 60)), ["w01-3", "w02-3"]);
}

#[test]
fn one_slot_that_fails_keeps_no_other_from_its_first_start() {
    let world = failing(1, 3).job("w05-1", "Completed", |_| {});
    let mut world = world;
    let crate::reconcile::Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.worker.replicas = 3;
    assert_eq!(submitted(&world), ["w00-4", "w01-1", "w02-1"]);
}

#[test]
fn what_another_start_would_repeat_in_one_slot_is_repeated_in_none() {
    let world = failing(3, 1);
    let job = world.job_id("w00-1");
    let world = world.with(|observed| {
        let failure = crate::reconcile::JobFailure {
            error: None,
            log_tail: Some("dask_azureml: the image has no package 'distributed'".into()),
        };
        observed.job_failures.insert(job, failure);
    });
    assert_eq!(submitted(&world), [""; 0]);
    assert!(
        world
            .plan()
            .to_string()
            .contains("WorkersReady ImageWithoutDask")
    );
}

#[test]
fn a_job_that_was_ended_because_its_worker_did_not_register_is_told_as_such() {
    let ended = |start: &'static str| {
        let world = World::answering(1, &["head-1"]).job("w00-1", "Canceled", move |body| {
            body["properties"]["properties"]["StartTimeUtc"] = json!(start);
        });
        world.plan().to_string()
    };
    let late = ended("2026-01-01 11:00:00");
    assert!(
        late.contains("wait  WorkersReady StartTimeout: job"),
        "{late}"
    );
    let other = ended("2026-01-01 11:58:00");
    assert!(
        other.contains("wait  WorkersReady WorkersFailing: job"),
        "{other}"
    );
}

//! Tables of who goes, in which order, and what is waited for.

use serde_json::json;

use super::*;
use crate::dask::Retired;
use crate::reconcile::fixtures::{World, seconds_after_noon};

fn going(world: &World) -> LettingGo {
    world.scene(|scene, lineup| letting_go(scene, lineup, &SchedulerStage::of(scene, lineup)))
}

fn cancelled(going: &LettingGo) -> Vec<String> {
    going
        .cancel
        .iter()
        .map(|cancelled| cancelled.job.to_string())
        .collect()
}

/// The scheduler holds the head's own worker and these; so many worker nodes are wanted.
fn wanted(replicas: u32, workers: &[&str]) -> World {
    World::answering(replicas, &[&["head-1"], workers].concat())
}

fn retirement(world: World, outcome: RetirementOutcome) -> World {
    world.with(|observed| {
        observed.scheduler.retirement = Some(Retirement {
            asked_at: seconds_after_noon(-700),
            outcome,
        });
    })
}

fn answered(world: World, at: i64, retired: &[&str], refused: &[&str]) -> World {
    let workers = |jobs: &[&str]| {
        jobs.iter()
            .map(|job| format!("noaa-isd-6f9619ff-{job}.0a"))
            .collect()
    };
    let outcome = RetirementOutcome::Answered {
        at: seconds_after_noon(at),
        retired: Retired {
            retired: workers(retired),
            refused: workers(refused),
            ..Retired::default()
        },
    };
    retirement(world, outcome)
}

#[test]
fn nobody_goes_while_no_more_are_there_than_wanted() {
    for world in [
        wanted(2, &["w00-1", "w01-1"]),
        wanted(3, &["w00-1", "w01-1"]),
        wanted(1, &["w00-1"]).job("w01-1", "CancelRequested", |_| {}),
        wanted(1, &["w00-1"]).job("w01-1", "Completed", |_| {}),
        wanted(0, &[]),
    ] {
        assert_eq!(going(&world), LettingGo::default());
    }
}

#[test]
fn who_has_not_started_goes_first_the_highest_slot_before_the_others() {
    let mixed = |replicas| {
        wanted(replicas, &["w00-1", "w03-1"])
            .job("w01-1", "Queued", |_| {})
            .job("w02-1", "Preparing", |_| {})
    };
    for (replicas, cancel, retire) in [
        (4, vec![], 0),
        (3, vec!["w02-1"], 0),
        (2, vec!["w02-1", "w01-1"], 0),
        (1, vec!["w02-1", "w01-1"], 1),
        (0, vec!["w02-1", "w01-1"], 2),
    ] {
        let going = going(&mixed(replicas));
        assert_eq!(cancelled(&going), cancel, "{replicas}");
        assert_eq!(going.retire, retire, "{replicas}");
        assert_eq!(going.waiting.is_some(), retire > 0, "{replicas}");
    }
}

#[test]
fn only_a_job_that_has_not_started_is_cancelled_unasked() {
    for (status, goes) in [
        ("NotStarted", true),
        ("Starting", true),
        ("Provisioning", true),
        ("Preparing", true),
        ("Queued", true),
        ("Running", false),
        ("NotResponding", false),
        ("Paused", false),
    ] {
        let world = wanted(1, &["w00-1"]).job("w01-1", status, |_| {});
        let going = going(&world);
        let expected = if goes { vec!["w01-1"] } else { Vec::new() };
        assert_eq!(cancelled(&going), expected, "{status}");
        assert_eq!(going.waiting.is_some(), !goes, "{status}");
    }
}

#[test]
fn the_head_and_its_own_worker_never_go() {
    assert_eq!(going(&wanted(0, &[])), LettingGo::default());
    let last = going(&wanted(0, &["w00-1"]));
    assert_eq!(last.retire, 1, "of the two that are registered");
    assert_eq!(cancelled(&last), [""; 0]);
}

#[test]
fn a_worker_whose_scheduler_is_gone_is_cancelled_whether_it_is_wanted_or_not() {
    let world = World::provisioned(|_| {})
        .job("head-1", "Failed", |_| {})
        .job("w00-1", "Running", |_| {})
        .job("w01-1", "Queued", |_| {})
        .job("w02-1", "CancelRequested", |_| {});
    let going = going(&world);
    assert_eq!(cancelled(&going), ["w00-1", "w01-1"]);
    assert_eq!(going.cancel[0].why, "its scheduler is gone");
    assert_eq!((going.retire, going.waiting), (0, None));
}

#[test]
fn who_runs_goes_only_as_far_as_the_scheduler_answers() {
    let running = || wanted(1, &["w00-1", "w01-1", "w02-1"]);
    let unasked = running().with(|observed| observed.scheduler.state = None);
    let of_another_address = running().with(|observed| {
        let target = observed.scheduler.target.as_mut().unwrap();
        target.dashboard = "http://10.20.0.99:8787".into();
    });
    for world in [running().silent("Unreachable"), unasked, of_another_address] {
        let going = going(&world);
        assert_eq!((going.retire, cancelled(&going)), (0, Vec::new()));
        assert_eq!(
            going.waiting.as_deref(),
            Some("2 workers are to go, and only the scheduler can tell which may")
        );
    }
    let silent = running()
        .job("w03-1", "Queued", |_| {})
        .silent("Unreachable");
    assert_eq!(cancelled(&going(&silent)), ["w03-1"], "it holds no data");
}

#[test]
fn one_retirement_is_under_way_at_a_time_and_no_two_in_quick_succession() {
    let running = || wanted(1, &["w00-1", "w01-1", "w02-1"]);
    let failed = |at| RetirementOutcome::Failed {
        at: seconds_after_noon(at),
        message: "the scheduler answered 500".into(),
    };
    for (world, retire, why) in [
        (running(), 2, "they are asked to hand over their data"),
        (
            retirement(running(), RetirementOutcome::UnderWay),
            0,
            "they hand over their data",
        ),
        (
            answered(running(), -9, &["w05-1"], &[]),
            0,
            "some have left",
        ),
        (
            answered(running(), -9, &[], &["w02-1"]),
            0,
            "the others cannot hold their data now",
        ),
        (
            answered(running(), -9, &["w05-1"], &["w02-1"]),
            0,
            "the others cannot hold their data now",
        ),
        (
            retirement(running(), failed(-9)),
            0,
            "the scheduler answered 500",
        ),
        (
            answered(running(), -10, &[], &["w02-1"]),
            2,
            "they are asked to hand over their data",
        ),
        (
            retirement(running(), failed(-10)),
            2,
            "they are asked to hand over their data",
        ),
    ] {
        let going = going(&world);
        assert_eq!(going.retire, retire, "{why}");
        assert_eq!(cancelled(&going), [""; 0], "{why}");
        let expected = format!("2 workers are to go: {why}");
        assert_eq!(going.waiting, Some(expected));
    }
}

#[test]
fn no_more_are_retired_than_the_scheduler_holds_too_many_of() {
    let one_has_left = wanted(1, &["w00-1", "w01-1"]).job("w02-1", "Running", |_| {});
    assert_eq!(going(&one_has_left).retire, 1);
    let two_have_left =
        wanted(1, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .job("w02-1", "Running", |_| {});
    assert_eq!(going(&two_have_left).retire, 0);
}

#[test]
fn a_retired_worker_whose_job_has_not_ended_in_ten_minutes_is_cancelled() {
    let leaving = |at| {
        let world = wanted(1, &["w00-1"]).job("w01-1", "Running", |_| {});
        answered(world, at, &["w01-1"], &[])
    };
    for (at, cancel) in [(0, vec![]), (-600, vec![]), (-601, vec!["w01-1"])] {
        let going = going(&leaving(at));
        assert_eq!(cancelled(&going), cancel, "{at}");
        assert_eq!(
            going.waiting.as_deref(),
            Some(
                "1 workers are to go that the scheduler does not hold: their jobs end by themselves, or are retired once they have registered"
            )
        );
    }
}

#[test]
fn a_worker_that_never_registered_has_the_start_timeout_besides() {
    let world = |seconds| {
        wanted(1, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .with(|observed| observed.seen_at = seconds_after_noon(seconds))
    };
    // It started ten minutes before noon, and startTimeoutSeconds is 1800.
    assert_eq!(cancelled(&going(&world(1800))), [""; 0]);
    assert_eq!(cancelled(&going(&world(1801))), ["w01-1"]);
    let unstarted = world(36_000).job("w01-1", "Running", |body| {
        body["properties"]["properties"]["StartTimeUtc"] = json!(null);
    });
    assert_eq!(
        cancelled(&going(&unstarted)),
        [""; 0],
        "nobody knows since when"
    );
}

#[test]
fn a_worker_that_is_starting_does_not_stand_in_for_one_that_is_overdue() {
    let world = wanted(2, &["w01-1"])
        .job("w00-1", "Running", |body| {
            body["properties"]["properties"]["StartTimeUtc"] = json!("2026-01-01 11:59:59");
        })
        .job("w02-1", "Running", |_| {});
    let world = answered(world, -601, &["w02-1"], &[]);
    assert_eq!(cancelled(&going(&world)), ["w02-1"]);
}

#[test]
fn a_job_that_does_not_carry_our_uid_is_not_cancelled() {
    let foreign = |body: &mut serde_json::Value| {
        body["properties"]["tags"]["dask-azureml-owner"] = json!("u2");
    };
    let unstarted = wanted(1, &["w00-1"]).job("w01-1", "Queued", foreign);
    let overdue = wanted(1, &["w00-1"])
        .job("w01-1", "Running", foreign)
        .with(|observed| observed.seen_at = seconds_after_noon(36_000));
    let stale = World::provisioned(|_| {})
        .job("head-1", "Failed", |_| {})
        .job("w00-1", "Running", foreign);
    for world in [unstarted, overdue, stale] {
        assert_eq!(cancelled(&going(&world)), [""; 0]);
    }
}

#[test]
fn no_more_are_cancelled_than_have_to_go() {
    let late = |replicas| {
        wanted(replicas, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .job("w02-1", "Running", |_| {})
            .with(|observed| observed.seen_at = seconds_after_noon(36_000))
    };
    assert_eq!(cancelled(&going(&late(2))), ["w01-1"]);
    assert_eq!(cancelled(&going(&late(1))), ["w01-1", "w02-1"]);
}

//! Tables of who goes, in which order, and what is waited for.

use serde_json::json;

use super::*;
use crate::dask::{Retired, WorkerSeen};
use crate::reconcile::Wanted;
use crate::reconcile::fixtures::{World, seconds_after_noon};

fn going(world: &World) -> LettingGo {
    world.scene(|scene, lineup| letting_go(scene, lineup, &SchedulerStage::of(scene, lineup)))
}

fn told(going: &LettingGo) -> Option<&str> {
    Some(going.waiting.as_ref()?.message.as_str())
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

/// The workers finish their tasks before they go.
fn leaving(world: World, at: i64) -> World {
    let outcome = RetirementOutcome::Answered {
        at: seconds_after_noon(at),
        retired: Retired {
            leaving: vec!["noaa-isd-6f9619ff-w02-1.0a".into()],
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
            told(&going),
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
        (running(), 2, ": they are asked to hand over their data"),
        (
            retirement(running(), RetirementOutcome::UnderWay),
            0,
            ": they hand over their data",
        ),
        (leaving(running(), -9), 0, ": they finish their tasks"),
        (
            answered(running(), -9, &["w05-1"], &[]),
            0,
            ": some have left",
        ),
        (
            answered(running(), -9, &[], &["w02-1"]),
            0,
            ", and the data that they hold fits nowhere else",
        ),
        (
            answered(running(), -9, &["w05-1"], &["w02-1"]),
            0,
            ", and the data that they hold fits nowhere else",
        ),
        (
            retirement(running(), failed(-9)),
            0,
            ": they cannot be asked now: the scheduler answered 500",
        ),
        (
            answered(running(), -10, &[], &["w02-1"]),
            2,
            ": they are asked to hand over their data",
        ),
        (
            retirement(running(), failed(-10)),
            2,
            ": they are asked to hand over their data",
        ),
    ] {
        let going = going(&world);
        assert_eq!(going.retire, retire, "{why}");
        assert_eq!(cancelled(&going), [""; 0], "{why}");
        let expected = format!("2 workers are to go{why}");
        assert!(told(&going).unwrap().starts_with(&expected), "{going:?}");
        let held = why.contains("fits nowhere");
        let reason = if held {
            Reason::DataHeld
        } else {
            Reason::Retiring
        };
        assert_eq!(going.waiting.unwrap().reason, reason);
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
        let waits = if at == 0 {
            "1 worker is to go that the scheduler does not hold: their jobs end by themselves, or are retired once they have registered"
        } else {
            "1 worker is to go: they hand over their data and finish their tasks"
        };
        assert_eq!(told(&going), cancel.is_empty().then_some(waits), "{at}");
    }
}

#[test]
fn a_worker_that_never_registered_has_the_start_timeout() {
    let world = |seconds| {
        wanted(1, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .with(|observed| observed.seen_at = seconds_after_noon(seconds))
    };
    // It started ten minutes before noon, and startTimeoutSeconds is 1800.
    assert_eq!(cancelled(&going(&world(1200))), [""; 0]);
    assert_eq!(cancelled(&going(&world(1201))), ["w01-1"]);
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
fn who_has_not_registered_in_time_goes_whether_it_is_wanted_or_not() {
    let late = |replicas| {
        wanted(replicas, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .job("w02-1", "Running", |_| {})
            .with(|observed| observed.seen_at = seconds_after_noon(36_000))
    };
    let never_registered = ["w01-1", "w02-1"];
    assert_eq!(
        cancelled(&going(&late(2))),
        never_registered,
        "wanted or not"
    );
    assert_eq!(cancelled(&going(&late(1))), never_registered);
}

/// So many MiB are held by each of these jobs' workers.
fn holding(world: World, held: &[(&str, u64)]) -> World {
    let held: Vec<_> = held
        .iter()
        .map(|(job, mib)| (world.job_id(job), mib << 20))
        .collect();
    world.with(|observed| {
        for worker in &mut observed.scheduler.state.as_mut().unwrap().workers {
            let of_job = held.iter().find(|(job, _)| job == worker.job_id());
            worker.nbytes = of_job.map_or(0, |(_, bytes)| *bytes);
        }
    })
}

/// Two of three are to go since a minute ago, and a refusal is so many seconds old.
fn refused(grace: Option<i64>, seconds: i64) -> World {
    let world = World::answering(1, &["head-1", "w00-1", "w01-1", "w02-1"]);
    let mut world = holding(world, &[("w00-1", 30), ("w01-1", 10), ("w02-1", 20)]);
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.worker.scale_down_grace = grace.map(SignedDuration::from_secs);
    let wanted = cluster.desired_dask_workers();
    answered(world, -seconds, &[], &["w02-1"]).with(|observed| {
        observed.told.desired_workers = Some(wanted);
        observed.told.last_scale_time = Some(seconds_after_noon(-60));
    })
}

#[test]
fn data_that_fits_nowhere_is_held_until_the_grace_has_passed_and_then_the_least_is_lost_first() {
    for (grace, cancel, until) in [
        (
            None,
            vec![],
            "until it does, as worker.scaleDownGraceSeconds is not set",
        ),
        (
            Some(61),
            vec![],
            "until 2026-01-01 12:00:01 UTC, then they go all the same",
        ),
        (Some(60), vec!["w01-1"], "until 2026-01-01 12:00:00 UTC"),
        (Some(0), vec!["w01-1"], "until 2026-01-01 11:59:00 UTC"),
    ] {
        let going = going(&refused(grace, 5));
        assert_eq!(cancelled(&going), cancel, "{grace:?}");
        assert_eq!(going.retire, 0);
        let waiting = going.waiting.unwrap();
        assert_eq!(waiting.reason, Reason::DataHeld);
        assert!(waiting.message.contains(until), "{}", waiting.message);
    }
}

#[test]
fn the_grace_of_a_number_begins_when_that_number_has_been_told() {
    let another_was_told =
        refused(Some(0), 5).with(|observed| observed.told.desired_workers = Some(4));
    let going = going(&another_was_told);
    assert_eq!(cancelled(&going), [""; 0]);
    let waiting = going.waiting.unwrap();
    assert_eq!(waiting.reason, Reason::DataHeld);
    assert!(
        waiting.message.ends_with("kept until it does"),
        "{}",
        waiting.message
    );
}

#[test]
fn a_worker_that_has_registered_is_retired_though_azure_still_calls_its_job_queued() {
    let world = World::answering(1, &["head-1", "w00-1", "w01-1"]).job("w01-1", "Queued", |_| {});
    let going = going(&world);
    assert_eq!(cancelled(&going), [""; 0]);
    assert_eq!(going.retire, 1);
}

#[test]
fn data_is_lost_one_worker_at_a_time_and_only_after_a_refusal_of_those_that_are_left() {
    let losing = || refused(Some(0), 5);
    assert_eq!(cancelled(&going(&losing())), ["w01-1"]);
    let one_goes = losing().job("w05-1", "CancelRequested", |_| {});
    assert_eq!(cancelled(&going(&one_goes)), [""; 0]);
    let one_has_gone_since = losing().job("w05-1", "Canceled", |body| {
        body["properties"]["properties"]["EndTimeUtc"] = json!("2026-01-01 11:59:58");
    });
    assert_eq!(cancelled(&going(&one_has_gone_since)), [""; 0]);
    let old = going(&refused(Some(0), 10));
    assert_eq!(
        (cancelled(&old), old.retire),
        (Vec::new(), 2),
        "it is asked again first"
    );
    let nobody_answers = losing().silent("Unreachable");
    assert_eq!(cancelled(&going(&nobody_answers)), [""; 0]);
}

#[test]
fn that_data_is_held_is_told_on_while_it_is_tried_again() {
    let tried =
        |seconds, told| refused(None, seconds).with(|observed| observed.told.data_held = told);
    let under_way = retirement(tried(5, true), RetirementOutcome::UnderWay);
    for (world, reason) in [
        (tried(20, true), Reason::DataHeld),
        (under_way, Reason::DataHeld),
        (tried(20, false), Reason::Retiring),
    ] {
        assert_eq!(going(&world).waiting.unwrap().reason, reason);
    }
}

fn leaves_since(world: World, job: &str, processing: u32, minutes: i64) -> World {
    let job = world.job_id(job);
    world.with(|observed| {
        let sight = &mut observed.scheduler;
        let workers = &mut sight.state.as_mut().unwrap().workers;
        let worker = workers
            .iter_mut()
            .find(|worker| worker.job_id() == job)
            .unwrap();
        worker.status = "closing_gracefully".into();
        worker.processing = processing;
        let seen = WorkerSeen {
            leaving_since: Some(seconds_after_noon(-60 * minutes)),
            ..WorkerSeen::at(observed.seen_at)
        };
        sight.seen.insert(job, seen);
    })
}

#[test]
fn a_worker_that_is_leaving_is_one_of_those_that_are_to_go() {
    let world = leaves_since(wanted(1, &["w00-1", "w01-1"]), "w01-1", 1, 1);
    let going = going(&world);
    assert_eq!(
        (going.retire, cancelled(&going)),
        (0, Vec::new()),
        "nobody else is asked to go"
    );
    assert_eq!(
        told(&going),
        Some("1 worker is to go: they hand over their data and finish their tasks")
    );
}

#[test]
fn a_worker_that_is_wedged_on_its_way_out_is_told_and_ended_once_it_holds_nothing() {
    for (minutes, processing, mib, cancel, is_told) in [
        (15, 0, 0, vec![], false),
        (16, 0, 0, vec!["w01-1"], false),
        (16, 1, 0, vec![], false),
        (16, 0, 5, vec![], true),
    ] {
        let world = holding(wanted(2, &["w00-1", "w01-1"]), &[("w01-1", mib)]);
        let going = going(&leaves_since(world, "w01-1", processing, minutes));
        assert_eq!(cancelled(&going), cancel, "{minutes} {processing} {mib}");
        let told = told(&going)
            .is_some_and(|told| told.contains("is closing_gracefully since 11:44:00 UTC"));
        assert_eq!(told, is_told, "{minutes} {processing} {mib}");
    }
}

#[test]
fn a_worker_that_the_scheduler_lost_has_the_start_timeout_to_come_back() {
    let world = |lost_at: i64, answers_since: i64| {
        let world = wanted(2, &["w00-1"])
            .job("w01-1", "Running", |_| {})
            .with(|observed| observed.seen_at = seconds_after_noon(36_000));
        let job = world.job_id("w01-1");
        world.with(|observed| {
            observed.scheduler.answers_since = Some(seconds_after_noon(answers_since));
            if lost_at > 0 {
                let seen = WorkerSeen::at(seconds_after_noon(lost_at));
                observed.scheduler.seen.insert(job, seen);
            }
        })
    };
    let late = 36_000 - 1801;
    for (lost_at, answers_since, cancel) in [
        (late, 0, vec!["w01-1"]),
        (late + 1, 0, vec![]),
        (0, late, vec!["w01-1"]),
        (0, late + 1, vec![]),
        // It was seen before the scheduler fell silent for long.
        (1000, late, vec!["w01-1"]),
        (1000, late + 1, vec![]),
    ] {
        let going = going(&world(lost_at, answers_since));
        assert_eq!(cancelled(&going), cancel, "{lost_at} {answers_since}");
    }
}

#[test]
fn a_preempted_job_that_runs_again_has_the_start_timeout_anew() {
    let world = |started: &'static str| {
        let world = wanted(2, &["w00-1"])
            .job("w01-1", "Running", |body| {
                body["properties"]["properties"]["StartTimeUtc"] = json!(started);
            })
            .with(|observed| observed.seen_at = seconds_after_noon(36_000));
        let job = world.job_id("w01-1");
        world.with(|observed| {
            let seen = WorkerSeen::at(seconds_after_noon(1000));
            observed.scheduler.seen.insert(job, seen);
        })
    };
    let again = going(&world("2026-01-01 21:43:20"));
    assert_eq!(cancelled(&again), [""; 0]);
    let since_noon = going(&world("2026-01-01 12:00:00"));
    assert_eq!(cancelled(&since_noon), ["w01-1"]);
}

#[test]
fn who_stays_for_another_reason_than_data_is_told_of_by_that_reason() {
    for (reasons, reason, why) in [
        (
            vec!["it is paused"],
            Reason::Retiring,
            "none of them can now: it is paused",
        ),
        (
            vec!["it is paused", "it holds actors", "it is paused"],
            Reason::Retiring,
            "none of them can now: it holds actors, it is paused",
        ),
        (
            vec![
                "it is paused",
                "the other workers cannot hold the data twice over",
            ],
            Reason::DataHeld,
            "fits nowhere else",
        ),
        (
            vec!["no other worker takes its data"],
            Reason::DataHeld,
            "fits nowhere else",
        ),
        // A bootstrap of before tells none.
        (vec![], Reason::DataHeld, "fits nowhere else"),
    ] {
        let named = reasons.iter().enumerate();
        let outcome = RetirementOutcome::Answered {
            at: seconds_after_noon(-5),
            retired: Retired {
                reasons: named
                    .map(|(at, why)| (format!("w{at}"), (*why).to_owned()))
                    .collect(),
                ..Retired::default()
            },
        };
        let going = going(&retirement(
            wanted(1, &["w00-1", "w01-1", "w02-1"]),
            outcome,
        ));
        let waiting = going.waiting.unwrap();
        assert_eq!(waiting.reason, reason, "{reasons:?}");
        assert!(waiting.message.contains(why), "{}", waiting.message);
    }
}

#[test]
fn what_was_refused_is_told_on_while_it_is_tried_again() {
    for (replicas, told_before, kept) in [
        (
            1,
            "2 workers are to go: none of them can now: it is paused",
            true,
        ),
        (
            1,
            "2 workers are to go: they cannot be asked now: the scheduler answered 500",
            true,
        ),
        // Of another number, or of an answer that moved something.
        (
            0,
            "2 workers are to go: none of them can now: it is paused",
            false,
        ),
        (1, "2 workers are to go: some have left", false),
    ] {
        let running = wanted(replicas, &["w00-1", "w01-1", "w02-1"])
            .with(|observed| observed.told.why_workers_wait = Some(told_before.to_owned()));
        let under_way = retirement(running.clone(), RetirementOutcome::UnderWay);
        for world in [running, under_way] {
            let going = going(&world);
            assert_eq!(told(&going) == Some(told_before), kept, "{going:?}");
        }
    }
}

#[test]
fn the_sentences_that_speak_of_data_are_the_bootstraps_own() {
    let bootstrap = include_str!("../../bootstrap/dask_azureml.py");
    for sentence in crate::dask::HOLDS_DATA {
        assert!(bootstrap.contains(&format!("\"{sentence}\"")), "{sentence}");
    }
}

fn submits(world: &World) -> Vec<String> {
    let prefix = format!("PUT Job {}", world.job_id(""));
    let steps = world.plan().steps.into_iter();
    let steps = steps.map(|step| step.action.to_string());
    steps
        .filter_map(|step| Some(step.strip_prefix(&prefix)?.to_owned()))
        .collect()
}

#[test]
fn a_cluster_that_grows_again_does_not_wait_long_for_those_that_close() {
    let closing =
        |minutes| leaves_since(wanted(3, &["w00-1", "w01-1", "w02-1"]), "w01-1", 4, minutes);
    assert_eq!(submits(&closing(1)), [""; 0], "it may be gone in a moment");
    let slow = closing(2);
    assert_eq!(
        submits(&slow),
        ["w03-1"],
        "w01 holds its slot until it has ended"
    );
    assert_eq!(going(&slow), LettingGo::default());
    // It has left the scheduler, and Azure still calls its job running.
    let has_left = slow.clone().registered(&["head-1", "w00-1", "w02-1"]);
    assert_eq!(submits(&has_left), ["w03-1"]);
    let stays = slow
        .clone()
        .registered(&["head-1", "w00-1", "w01-1", "w02-1"]);
    assert_eq!(submits(&stays), [""; 0], "it takes tasks again");
    let runs_again = slow.job("w01-1", "Queued", |_| {});
    assert_eq!(submits(&runs_again), [""; 0], "a preempted one comes back");
    let retired = |at| {
        answered(
            wanted(3, &["w00-1", "w02-1"]).job("w01-1", "Running", |_| {}),
            at,
            &["w01-1"],
            &[],
        )
    };
    assert_eq!(submits(&retired(-60)), [""; 0]);
    assert_eq!(submits(&retired(-61)), ["w03-1"]);
}

#[test]
fn those_that_close_count_against_the_pool_and_the_bounds() {
    let three = |nodes: u32, change: fn(&mut serde_json::Value)| {
        let world = World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(3);
            spec["compute"]["maxNodes"] = json!(nodes);
            change(spec);
        })
        .pool("Succeeded", |body| {
            body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(nodes);
        });
        let world = world.head("head-1").published();
        leaves_since(
            world.registered(&["head-1", "w00-1", "w01-1", "w02-1"]),
            "w01-1",
            4,
            2,
        )
    };
    let pool_is_full = three(4, |_| {});
    assert_eq!(submits(&pool_is_full), [""; 0]);
    let has_room = three(5, |_| {});
    assert_eq!(submits(&has_room), ["w03-1"]);
    let bounded = three(5, |spec| {
        spec["autoscaling"] = json!({"minReplicas": 3, "maxReplicas": 3});
    });
    assert_eq!(submits(&bounded), [""; 0]);
}

#[test]
fn a_worker_that_stays_for_its_actors_is_not_lost_for_the_data_of_another() {
    let world = refused(Some(0), 5);
    let (least, next) = (world.job_id("w01-1"), world.job_id("w02-1"));
    let world = world.with(|observed| {
        let retirement = observed.scheduler.retirement.as_mut().unwrap();
        let RetirementOutcome::Answered { retired, .. } = &mut retirement.outcome else {
            unreachable!()
        };
        retired.reasons = [
            (format!("{least}.0a"), "it holds actors".to_owned()),
            (
                format!("{next}.0a"),
                "the other workers cannot hold its data".to_owned(),
            ),
        ]
        .into();
    });
    assert_eq!(cancelled(&going(&world)), ["w02-1"]);
}

#[test]
fn an_answer_of_an_hour_that_is_still_to_come_keeps_nobody_from_asking() {
    let jumped = answered(wanted(1, &["w00-1", "w01-1"]), 3600, &["w02-1"], &[]);
    assert_eq!(going(&jumped).retire, 1);
}

#[test]
fn whoever_was_seen_at_a_scheduler_that_is_silent_now_has_started_whatever_azure_says() {
    let world = wanted(1, &["w00-1", "w01-1"]).job("w01-1", "Queued", |_| {});
    let job = world.job_id("w01-1");
    assert_eq!(
        cancelled(&going(&world)),
        [""; 0],
        "it answers, and holds it"
    );
    let silent = world.silent("Unreachable");
    assert_eq!(cancelled(&going(&silent)), ["w01-1"], "nobody has seen it");
    let seen = silent.with(|observed| {
        let seen = WorkerSeen::at(seconds_after_noon(-6));
        observed.scheduler.seen.insert(job, seen);
    });
    assert_eq!(cancelled(&going(&seen)), [""; 0]);
}

#[test]
fn a_worker_that_was_lost_on_its_way_out_is_no_refusal_for_data() {
    let outcome = RetirementOutcome::Answered {
        at: seconds_after_noon(-2),
        retired: Retired {
            unknown: vec!["noaa-isd-6f9619ff-w02-1.0a".into()],
            ..Retired::default()
        },
    };
    let lost = retirement(refused(Some(600), 0), outcome);
    let going = going(&lost);
    assert_eq!(cancelled(&going), [""; 0]);
    assert_eq!(going.waiting.unwrap().reason, Reason::Retiring);
}

#[test]
fn a_worker_that_nobody_hears_of_any_more_is_replaced_and_its_data_is_told_as_lost() {
    let unheard = |seconds: i64| {
        let world = holding(wanted(2, &["w00-1", "w01-1"]), &[("w01-1", 1 << 30)]);
        let job = world.job_id("w01-1");
        world.with(|observed| {
            let seen = WorkerSeen {
                unheard_since: Some(seconds_after_noon(-seconds)),
                ..WorkerSeen::at(observed.seen_at)
            };
            observed.scheduler.seen.insert(job, seen);
        })
    };
    assert_eq!(cancelled(&going(&unheard(900))), [""; 0]);
    let going_now = going(&unheard(901));
    assert_eq!(cancelled(&going_now), ["w01-1"]);
    assert!(
        going_now.cancel[0]
            .why
            .contains("has not been heard of for more than 900 s"),
        "{going_now:?}"
    );
    let kept = unheard(901).with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(cancelled(&going(&kept)), [""; 0]);
    let silent = unheard(901).silent("Timeout");
    assert_eq!(cancelled(&going(&silent)), [""; 0], "nobody can tell");
}

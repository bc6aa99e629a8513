//! What is told of a rest and of money: once, without ticking, and so that GitOps tools see a still object.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{RESYNC, Round, condition, told};
use crate::api::{ConditionType, DaskClusterStatus, Phase, Reason, RestReason};
use crate::reconcile::conclude::{Conclusion, Event, Next};
use crate::reconcile::fixtures::{World, dask_cluster, seconds_after_noon};
use crate::reconcile::{Told, Wanted};

const SUSPENDED: ConditionType = ConditionType::Suspended;

fn world(change: impl FnOnce(&mut Value)) -> World {
    World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        change(spec);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"])
}

/// Idle since noon, with 3 GiB of results and two clients.
fn idle(timeout: i64, action: &'static str) -> World {
    let world = world(move |spec| {
        spec["idleTimeoutSeconds"] = json!(timeout);
        spec["idleAction"] = json!(action);
    });
    world.with(|observed| {
        if let Some(state) = &mut observed.scheduler.state {
            state.load.idle_since = Some(seconds_after_noon(0).as_second() as f64);
            state.load.nbytes = 3 << 30;
            state.load.clients = 2;
        }
    })
}

/// What the next look finds of what was told.
fn knowing(world: World, status: &DaskClusterStatus) -> World {
    let mut cluster = dask_cluster(|_| {});
    cluster.status = Some(status.clone());
    world.with(|observed| observed.told = Told::by(&cluster))
}

/// One reconcile so many seconds after noon, after this was told.
fn look(world: &World, before: &DaskClusterStatus, seconds: i64) -> Conclusion {
    let world = knowing(world.clone(), before).with(|observed| {
        observed.seen_at = seconds_after_noon(seconds);
    });
    Round::of(world)
        .after(before.clone())
        .at(seconds)
        .conclude()
}

/// What is told after looks at these times, beginning at noon.
fn looks(world: &World, times: &[i64]) -> DaskClusterStatus {
    let first = look(world, &Round::of(world.clone()).before, 0).status;
    times.iter().fold(first, |before, seconds| {
        look(world, &before, *seconds).status
    })
}

fn has(status: &DaskClusterStatus, kind: ConditionType) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == kind.as_str())
}

fn of_reason(events: &[Event], reason: Reason) -> Vec<&Event> {
    events
        .iter()
        .filter(|event| event.reason == reason)
        .collect()
}

#[test]
fn idleness_is_shown_since_when_and_does_not_tick() {
    let world = idle(0, "Suspend");
    let first = looks(&world, &[]);
    let since = first.idle_since.as_ref().map(|since| since.0);
    assert_eq!(since, Some(seconds_after_noon(0)));
    let later = look(&world, &first, 500);
    assert_eq!(later.status, first);
    assert_eq!(later.next, Next::AtRest);
}

#[test]
fn an_idle_end_is_warned_of_once_with_what_would_be_lost() {
    let world = idle(600, "Suspend");
    let before = looks(&world, &[]);
    assert!(!has(&before, SUSPENDED));
    let half = look(&world, &before, 299);
    assert!(!has(&half.status, SUSPENDED));
    assert_eq!(half.look_again, Some(seconds_after_noon(300)));
    let warned = look(&world, &before, 300);
    let events = of_reason(&warned.events, Reason::IdleSoon);
    assert_eq!(events.len(), 1);
    assert!(events[0].warning);
    for part in ["3.0 GiB", "2 clients", "12:10:00", "idleTimeoutSeconds"] {
        assert!(
            events[0].note.contains(part),
            "{part} in {}",
            events[0].note
        );
    }
    assert_eq!(told(&warned.status, ConditionType::Ready), "True Ready");
    assert_eq!(warned.look_again, Some(seconds_after_noon(600)));
    let more = world.with(|observed| {
        if let Some(state) = &mut observed.scheduler.state {
            state.load.nbytes = 4 << 30;
        }
    });
    let again = look(&more, &warned.status, 400);
    assert_eq!(again.status, warned.status, "what it holds does not tick");
    assert_eq!(again.events, []);
}

#[test]
fn a_rest_by_policy_keeps_ready_true_all_the_way() {
    let world = idle(600, "Suspend");
    let before = looks(&world, &[300]);
    let begins = look(&world, &before, 600);
    assert_eq!(told(&begins.status, ConditionType::Ready), "True Suspended");
    assert_eq!(
        told(&begins.status, ConditionType::Reconciling),
        "False Suspended"
    );
    assert_eq!(told(&begins.status, SUSPENDED), "True Idle");
    assert_eq!(begins.status.phase, Some(Phase::Suspending));
    assert!(begins.status.scheduler.is_some(), "it is still there");
    let ended = world
        .job("head-1", "Canceled", |_| {})
        .job("w00-1", "Completed", |_| {});
    let rests = look(&ended, &begins.status, 700);
    assert_eq!(told(&rests.status, ConditionType::Ready), "True Suspended");
    assert_eq!(rests.status.phase, Some(Phase::Suspended));
    for stage in [ConditionType::SchedulerReady, ConditionType::WorkersReady] {
        assert_eq!(told(&rests.status, stage), "False Suspended");
    }
    assert!(rests.status.scheduler.is_none());
    let message = &condition(&rests.status, SUSPENDED).message;
    assert!(message.contains("azureml.dask.dev/wake"), "{message}");
}

#[test]
fn suspend_is_worked_in_until_no_job_is_left() {
    let running = looks(&world(|_| {}), &[]);
    let suspended = world(|spec| spec["suspend"] = json!(true));
    let mut seen = super::acknowledge(&running, 2, seconds_after_noon(1)).unwrap();
    seen.observed_generation = Some(2);
    let of_two = |world: World, before: &DaskClusterStatus, seconds| {
        let world = knowing(world, before).with(|observed| {
            observed.generation = 2;
            observed.seen_at = seconds_after_noon(seconds);
        });
        let round = Round {
            generation: 2,
            ..Round::of(world)
        };
        round.after(before.clone()).at(seconds).conclude().status
    };
    let going = of_two(suspended.clone(), &seen, 1);
    assert_eq!(told(&going, ConditionType::Ready), "False Suspended");
    assert_eq!(told(&going, ConditionType::Reconciling), "True Progressing");
    assert_eq!(told(&going, SUSPENDED), "True Suspended");
    assert_eq!(going.phase, Some(Phase::Suspending));
    let ended = suspended
        .job("head-1", "Canceled", |_| {})
        .job("w00-1", "Completed", |_| {});
    let rests = of_two(ended, &going, 60);
    assert_eq!(told(&rests, ConditionType::Ready), "True Suspended");
    assert_eq!(told(&rests, ConditionType::Reconciling), "False Suspended");
    assert_eq!(told(&rests, ConditionType::Stalled), "False Ready");
    assert_eq!(rests.phase, Some(Phase::Suspended));
    let head = rests.rested_head.unwrap();
    assert!(head.ends_with("-head-1"), "{head}");
}

#[test]
fn a_cluster_at_rest_stays_ready_while_azure_cannot_be_asked() {
    let suspended = world(|spec| spec["suspend"] = json!(true))
        .job("head-1", "Canceled", |_| {})
        .job("w00-1", "Completed", |_| {});
    let rests = looks(&suspended, &[60]);
    let blind = suspended.with(|observed| {
        observed.jobs_listed = crate::lookup::Lookup::Unavailable(super::throttled());
    });
    let status = look(&blind, &rests, 90).status;
    assert_eq!(told(&status, ConditionType::Ready), "True Suspended");
    assert_eq!(
        told(&status, ConditionType::WorkersReady),
        "False Suspended"
    );
    assert_eq!(told(&status, SUSPENDED), "True Suspended");
    assert_eq!(status.phase, Some(Phase::Suspended));
}

#[test]
fn scale_to_zero_leaves_a_ready_cluster_that_says_why_it_has_no_worker() {
    let world = idle(600, "ScaleToZero");
    let begins = look(&world, &looks(&world, &[300]), 600).status;
    let ended = world
        .registered(&["head-1"])
        .job("w00-1", "Completed", |_| {})
        .with(|observed| {
            if let Some(state) = &mut observed.scheduler.state {
                state.load.idle_since = Some(seconds_after_noon(0).as_second() as f64);
            }
        });
    let rests = look(&ended, &begins, 700).status;
    assert_eq!(told(&rests, ConditionType::Ready), "True Ready");
    assert_eq!(told(&rests, SUSPENDED), "False Idle");
    assert_eq!(rests.phase, Some(Phase::Running));
    assert!(rests.scheduler.is_some());
}

#[test]
fn a_rest_that_an_annotation_forbids_is_told_once_and_does_not_begin() {
    let world = idle(600, "Suspend").with(|observed| observed.annotations.do_not_disrupt = true);
    let before = looks(&world, &[300]);
    assert!(
        !has(&before, SUSPENDED),
        "nothing ends, so nothing is warned of"
    );
    let forbidden = look(&world, &before, 600);
    assert_eq!(
        told(&forbidden.status, SUSPENDED),
        "False DisruptionForbidden"
    );
    assert_eq!(forbidden.status.rest, None);
    assert_eq!(forbidden.events.len(), 1);
    let again = look(&world, &forbidden.status, 900);
    assert_eq!((again.status, again.events.len()), (forbidden.status, 0));
}

#[test]
fn a_dry_run_tells_of_no_rest_that_it_does_not_make() {
    let suspended = world(|spec| spec["suspend"] = json!(true))
        .with(|observed| observed.annotations.dry_run = true);
    let status = look(&suspended, &looks(&world(|_| {}), &[]), 10).status;
    assert_eq!(status.rest, None);
    assert!(!has(&status, SUSPENDED));
    assert_eq!(status.phase, Some(Phase::Running));
}

#[test]
fn the_end_of_a_head_is_a_deadline_that_is_warned_of_before() {
    let deadline = |world: &World| {
        let run = looks(world, &[]).run.unwrap();
        run.deadline.map(|at| at.0)
    };
    // The head started at 11:50.
    let start = seconds_after_noon(-600);
    let after = |hours| Some(start + SignedDuration::from_hours(hours));
    assert_eq!(deadline(&world(|_| {})), after(21 * 24));
    let of_low_priority = |world: World| {
        world.pool("Succeeded", |body| {
            body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
        })
    };
    let low = world(|spec| spec["compute"]["priority"] = json!("LowPriority"));
    assert_eq!(deadline(&of_low_priority(low)), after(7 * 24));
    // What an existing pool has is not in the spec.
    let theirs = World::empty(|spec| {
        spec.as_object_mut().unwrap().remove("network");
        spec["compute"] = json!({"name": "theirs", "creationPolicy": "UseExisting"});
    });
    let theirs = of_low_priority(theirs).head("head-1");
    assert_eq!(deadline(&theirs), after(7 * 24));
    let apart = world(|spec| {
        spec["compute"]["priority"] = json!("LowPriority");
        spec["scheduler"]["compute"] = json!({});
    });
    assert_eq!(deadline(&of_low_priority(apart)), after(21 * 24));
    let own = world(|spec| spec["maxLifetimeSeconds"] = json!(3600));
    assert_eq!(deadline(&own), after(1));
    let longer = world(|spec| spec["maxLifetimeSeconds"] = json!(30 * 24 * 3600));
    assert_eq!(deadline(&longer), after(21 * 24));

    for (world, ends, before) in [
        (own, 3600 - 600, 360),
        (world(|_| {}), 21 * 24 * 3600 - 600, 24 * 3600),
    ] {
        let told_before = looks(&world, &[]);
        let quiet = look(&world, &told_before, ends - before - 1);
        assert_eq!(quiet.events, []);
        assert_eq!(quiet.look_again, Some(seconds_after_noon(ends - before)));
        let warned = look(&world, &told_before, ends - before);
        let events = of_reason(&warned.events, Reason::LifetimeEnding);
        assert_eq!(events.len(), 1);
        assert!(events[0].warning, "{events:?}");
        let again = look(&world, &warned.status, ends - before + 100);
        assert_eq!(again.events, []);
    }
}

#[test]
fn what_went_with_the_head_is_told_with_the_cancel() {
    let suspended = |nbytes: u64| {
        world(|spec| spec["suspend"] = json!(true))
            .job("w00-1", "Completed", |_| {})
            .with(|observed| {
                if let Some(state) = &mut observed.scheduler.state {
                    state.load.nbytes = nbytes;
                    state.load.clients = 1;
                }
            })
    };
    let lost = look(&suspended(5 << 20), &looks(&world(|_| {}), &[]), 10);
    let events = of_reason(&lost.occurrences, Reason::DataLost);
    assert_eq!(events.len(), 1);
    assert!(
        events[0].warning && events[0].note.contains("5.0 MiB"),
        "{events:?}"
    );
    let nothing = look(&suspended(0), &looks(&world(|_| {}), &[]), 10);
    assert_eq!(of_reason(&nothing.occurrences, Reason::DataLost).len(), 0);
    assert_eq!(of_reason(&nothing.occurrences, Reason::Suspended).len(), 1);
}

fn with_nodes(world: World, nodes: u32) -> World {
    world.pool("Succeeded", |body| {
        body["properties"]["properties"]["currentNodeCount"] = json!(nodes);
    })
}

#[test]
fn what_has_come_together_is_written_with_another_change_only() {
    let two = with_nodes(world(|_| {}), 2);
    let before = looks(&two, &[]);
    let hour = look(&two, &before, 3600);
    assert_eq!(hour.status, before, "a status does not tick");
    assert_eq!(hour.next, Next::AtRest);
    let three = with_nodes(world(|_| {}), 3);
    let after = look(&three, &before, 3600).status;
    let of = |status: &DaskClusterStatus| {
        let cost = status.cost.clone().unwrap();
        (cost.hourly.0, cost.accrued.amount.0)
    };
    // Head and worker have run for ten minutes at noon.
    assert_eq!(of(&before), ("1.482".to_owned(), "0.247".to_owned()));
    assert_eq!(of(&after), ("2.223".to_owned(), "1.729".to_owned()));
    assert_eq!(after.nodes.map(|nodes| nodes.own), Some(2));
}

#[test]
fn a_budget_that_is_exceeded_is_told_only_while_it_is() {
    let with = |budget: Value| with_nodes(world(move |spec| spec["budget"] = budget), 2);
    let over = |world: &World, seconds| {
        let status = look(world, &looks(world, &[]), seconds).status;
        has(&status, ConditionType::OverBudget)
    };
    assert!(over(&with(json!({"maxPerHour": "1"})), 1));
    assert!(!over(&with(json!({"maxPerHour": "2"})), 1));
    let total = with(json!({"maxTotal": "1"}));
    assert!(!over(&total, 1800));
    assert!(over(&total, 1830));
    let before = looks(&total, &[]);
    let soon = look(&total, &before, 1).look_again.unwrap();
    let left = soon.duration_since(seconds_after_noon(1830)).abs();
    assert!(left < SignedDuration::from_secs(2), "{soon}");
    assert_eq!(RESYNC.as_secs(), 600, "which is why time alone wakes it");
}

#[test]
fn what_ends_a_scheduler_that_stayed_is_warned_of_though_the_workers_rest() {
    let mut world = idle(60, "ScaleToZero");
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.max_lifetime = Some(SignedDuration::from_hours(1));
    // The head started at 11:50, so it ends at 12:50, and six minutes before that is warned of.
    let rests = looks(&world, &[30, 60, 70, 2639]);
    assert_eq!(told(&rests, SUSPENDED), "False Idle");
    assert_eq!(
        look(&world, &rests, 2639).look_again,
        Some(seconds_after_noon(2640))
    );
    let warned = look(&world, &rests, 2640);
    assert_eq!(told(&warned.status, SUSPENDED), "False LifetimeEnding");
    assert_eq!(of_reason(&warned.events, Reason::LifetimeEnding).len(), 1);
    let ends = look(&world, &warned.status, 3000);
    assert_eq!(told(&ends.status, SUSPENDED), "True LifetimeReached");
    assert_eq!(of_reason(&ends.events, Reason::LifetimeReached).len(), 1);
}

#[test]
fn a_lifetime_ends_a_head_that_is_idle_and_busy_in_turn() {
    let mut world = world(|spec| {
        spec["maxLifetimeSeconds"] = json!(3600);
        spec["idleTimeoutSeconds"] = json!(180);
    });
    let mut status = Round::of(world.clone()).before;
    // A task of 20 s every 170 s; the head started at 11:50.
    for second in (0..3600).step_by(5) {
        let in_turn = second % 170;
        let busy = in_turn < 20;
        world = world.with(|observed| {
            let load = &mut observed.scheduler.state.as_mut().unwrap().load;
            let since = seconds_after_noon(second - in_turn + 20);
            load.processing = u32::from(busy);
            load.idle_since = (!busy).then(|| since.as_second() as f64);
        });
        status = look(&world, &status, second).status;
        if let Some(rest) = &status.rest {
            assert_eq!(rest.reason, RestReason::LifetimeReached);
            assert_eq!(rest.since.0, seconds_after_noon(3000));
            return;
        }
    }
    panic!("it still runs: {:?}", status.coming_rests);
}

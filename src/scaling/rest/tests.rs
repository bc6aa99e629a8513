//! Tables of why a cluster rests, since when, and what ends it.

use serde_json::{Value, json};

use super::*;
use crate::api::{ComingRest, CostStatus};
use crate::dask::Load;
use crate::reconcile::Wanted;
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};
use crate::scaling::Aim;

/// One worker beside the head, whose scheduler answers; the head started at 11:50.
fn world(change: impl FnOnce(&mut Value)) -> World {
    World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(1);
        change(spec);
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1"])
}

/// Has had nothing to do since so many seconds after noon, by the scheduler's own clock.
fn idle(world: World, own: i64) -> World {
    loaded(world, |load| {
        load.idle_since = Some(seconds_after_noon(own).as_second() as f64);
    })
}

fn loaded(world: World, change: impl FnOnce(&mut Load)) -> World {
    world.with(|observed| {
        if let Some(state) = &mut observed.scheduler.state {
            change(&mut state.load);
        }
    })
}

fn idle_for(timeout: i64) -> World {
    let world = idle(world(|spec| spec["idleTimeoutSeconds"] = json!(timeout)), 0);
    warned(world, RestReason::Idle)
}

fn at(world: World, seconds: i64) -> World {
    world.with(|observed| observed.seen_at = seconds_after_noon(seconds))
}

/// An idle look at noon was told.
fn told_idle(world: World, since: i64) -> World {
    world.with(|observed| observed.told.idle_since = Some(seconds_after_noon(since)))
}

fn told(world: World, reason: RestReason, action: IdleAction) -> World {
    world.with(|observed| {
        observed.told.rest = Some(RestStatus {
            reason,
            action,
            since: Time(noon()),
            generation: 1,
            wake: None,
        });
    })
}

/// The end of idleness or of a lifetime was warned of long ago.
fn warned(world: World, reason: RestReason) -> World {
    warned_until(world, reason, -7200)
}

fn warned_until(world: World, reason: RestReason, seconds: i64) -> World {
    world.with(|observed| {
        observed.told.coming_rests = vec![ComingRest {
            reason,
            at: Time(seconds_after_noon(seconds)),
        }];
    })
}

fn ask<T>(
    world: &World,
    ask: impl FnOnce(&ValidCluster, &Observed, &BTreeMap<JobName, JobFacts>) -> T,
) -> T {
    world.scene(|scene, lineup| ask(scene.cluster, scene.observed, &lineup.jobs))
}

fn reason(world: &World) -> Option<RestReason> {
    ask(world, rest).map(|rest| rest.reason)
}

fn since(world: &World) -> Option<i64> {
    let since = ask(world, idle_since)?;
    Some(since.duration_since(noon()).as_secs())
}

fn aim(world: &World) -> Aim {
    world.scene(|_, lineup| lineup.aim.clone())
}

#[test]
fn a_cluster_rests_once_it_was_idle_for_its_timeout_and_not_before() {
    let world = told_idle(idle_for(600), 0);
    assert_eq!(reason(&at(world.clone(), 599)), None);
    assert_eq!(reason(&at(world, 600)), Some(RestReason::Idle));
    let never = told_idle(idle(self::world(|_| {}), 0), 0);
    assert_eq!(reason(&at(never, 1_000_000)), None);
}

#[test]
fn whoever_has_something_to_do_or_contradicts_itself_is_not_idle() {
    let changes: [fn(&mut Load); 7] = [
        |load| load.processing = 1,
        |load| load.queued = 1,
        |load| load.unrunnable = 1,
        |load| load.idle_since = None,
        |load| load.idle_since = Some(f64::NAN),
        |load| load.idle_since = Some(-5.0),
        |load| load.idle_since = Some(f64::INFINITY),
    ];
    for change in changes {
        let world = at(told_idle(idle_for(60), 0), 600);
        assert_eq!(reason(&world), Some(RestReason::Idle));
        let busy = loaded(world, change);
        assert_eq!((reason(&busy), since(&busy)), (None, None));
    }
    let lies = at(told_idle(idle_for(60), 0), 600).with(|observed| {
        if let Some(state) = &mut observed.scheduler.state {
            state.workers[1].processing = 3;
        }
    });
    assert_eq!(reason(&lies), None);
}

#[test]
fn a_scheduler_that_is_silent_or_was_not_asked_yet_keeps_its_count_and_is_not_idle() {
    let world = at(told_idle(idle_for(60), 0), 600);
    let silent = world.clone().silent("Timeout");
    let unseen = world.clone().with(|observed| {
        observed.scheduler.state = None;
        observed.scheduler.target = None;
    });
    for world in [silent, unseen] {
        assert_eq!((reason(&world), since(&world)), (None, Some(0)));
    }
    let gone = world.job("head-1", "Failed", |_| {});
    assert_eq!((reason(&gone), since(&gone)), (None, None));
}

#[test]
fn the_count_begins_with_our_own_look_and_follows_work_that_came_between_two_looks() {
    for (own, told, now, expected, what) in [
        (0, None, 5, Some(5), "the first look"),
        (0, Some(5), 900, Some(5), "nothing came since"),
        (300, Some(5), 900, Some(300), "work came and went"),
        (-90_000, Some(5), 900, Some(5), "its clock is a day behind"),
        (90_000, Some(5), 900, Some(5), "its clock is a day ahead"),
        (0, Some(5000), 900, Some(900), "our clock jumped back"),
    ] {
        let world = at(idle(idle_for(600), own), now);
        let world = match told {
            Some(told) => told_idle(world, told),
            None => world,
        };
        assert_eq!(since(&world), expected, "{what}");
    }
}

#[test]
fn a_recorded_rest_lasts_until_the_spec_or_the_wake_annotation_changes() {
    for cause in [RestReason::Idle, RestReason::LifetimeReached] {
        let resting = told(world(|_| {}), cause, IdleAction::Suspend);
        assert_eq!(reason(&resting), Some(cause));
        let changed = resting.clone().with(|observed| observed.generation = 2);
        let woken = resting
            .clone()
            .with(|observed| observed.annotations.wake = Some("now".into()));
        assert_eq!((reason(&changed), reason(&woken)), (None, None));
        let protected = resting.with(|observed| observed.annotations.do_not_disrupt = true);
        assert_eq!(reason(&protected), Some(cause), "what began goes on");
    }
    let resumed = told(world(|_| {}), RestReason::Suspended, IdleAction::Suspend);
    assert_eq!(reason(&resumed), None);
}

#[test]
fn work_brings_an_idle_cluster_back_while_its_scheduler_is_there_to_take_it() {
    let resting = |action| {
        let world = told(idle_for(60), RestReason::Idle, action);
        at(told_idle(world, -60), 10)
    };
    let with_work = |action| loaded(resting(action), |load| load.queued = 4);
    for action in [IdleAction::Suspend, IdleAction::ScaleToZero] {
        assert_eq!(reason(&resting(action)), Some(RestReason::Idle));
        assert_eq!(reason(&with_work(action)), None);
    }
    // Workers that are ended take results along, which the scheduler then wants to have again.
    let late = |action| at(with_work(action), 121);
    assert_eq!(reason(&late(IdleAction::Suspend)), Some(RestReason::Idle));
    assert_eq!(reason(&late(IdleAction::ScaleToZero)), None);
}

#[test]
fn whoever_wakes_an_idle_cluster_has_the_whole_timeout_again() {
    let resting = told(idle_for(60), RestReason::Idle, IdleAction::ScaleToZero);
    let woken = at(told_idle(resting, 0), 500)
        .with(|observed| observed.annotations.wake = Some("now".into()));
    assert_eq!((reason(&woken), since(&woken)), (None, Some(500)));
    let suspended = told(
        told_idle(idle(world(|spec| spec["suspend"] = json!(true)), 0), 0),
        RestReason::Suspended,
        IdleAction::Suspend,
    );
    assert_eq!(since(&at(suspended, 30)), Some(0), "and nothing ticks");
}

#[test]
fn a_head_that_has_had_its_lifetime_rests_and_its_successor_has_its_own() {
    let old = world(|spec| spec["maxLifetimeSeconds"] = json!(900));
    let old = warned(old, RestReason::LifetimeReached);
    assert_eq!(reason(&at(old.clone(), 299)), None);
    assert_eq!(
        reason(&at(old.clone(), 300)),
        Some(RestReason::LifetimeReached)
    );
    let next = old
        .job("head-1", "Canceled", |_| {})
        .job("head-2", "Running", |body| {
            body["properties"]["properties"]["StartTimeUtc"] = json!("2026-01-01 12:00:00");
        });
    assert_eq!(reason(&at(next.clone(), 899)), None);
    assert_eq!(reason(&at(next, 900)), Some(RestReason::LifetimeReached));
}

/// The reason of the rest that comes and when, in seconds after noon.
fn comes(world: &World) -> Option<(RestReason, i64)> {
    let resting = ask(world, rest);
    let coming = ask(world, |cluster, observed, jobs| {
        coming(cluster, observed, jobs, resting.as_ref())
    });
    let coming = coming.first()?;
    Some((coming.reason, coming.at.duration_since(noon()).as_secs()))
}

#[test]
fn nothing_ends_that_was_not_warned_of_also_where_its_time_has_come_before_anybody_looked() {
    let (idle, old) = (RestReason::Idle, RestReason::LifetimeReached);
    let unwarned = |timeout: i64| {
        let world = self::idle(world(|spec| spec["idleTimeoutSeconds"] = json!(timeout)), 0);
        told_idle(world, 0)
    };
    // A timeout that was set, or an operator that came back, an hour after it.
    let late = at(unwarned(600), 3600);
    assert_eq!((reason(&late), comes(&late)), (None, Some((idle, 3900))));
    let told = warned_until(late, idle, 3900);
    assert_eq!(comes(&at(told.clone(), 3700)), Some((idle, 3900)));
    assert_eq!(reason(&at(told.clone(), 3899)), None);
    assert_eq!(reason(&at(told, 3900)), Some(idle));
    // The warning of another end is none of this one.
    let of_another = warned_until(at(unwarned(600), 3600), old, 0);
    assert_eq!(reason(&of_another), None);
    // Whoever looks in time ends in time, and short timeouts have short warnings.
    for (timeout, look, expected) in [
        (600, 299, None),
        (600, 300, Some(600)),
        (60, 100, Some(130)),
    ] {
        let coming = comes(&at(unwarned(timeout), look));
        assert_eq!(coming, expected.map(|at| (idle, at)), "{timeout} {look}");
    }
    // A timeout that is lowered counts from now, and not from what was told of the old one.
    let lowered = at(warned_until(unwarned(60), idle, 90_000), 600);
    assert_eq!(comes(&lowered), Some((idle, 630)));
    let lifetime = world(|spec| spec["maxLifetimeSeconds"] = json!(600_000));
    let late = at(lifetime, 700_000);
    assert_eq!((reason(&late), comes(&late)), (None, Some((old, 700_300))));
}

#[test]
fn of_two_ends_the_next_is_told() {
    let both = |lifetime: i64| {
        let world = world(|spec| {
            spec["idleTimeoutSeconds"] = json!(600);
            spec["maxLifetimeSeconds"] = json!(lifetime);
        });
        let world = warned_until(told_idle(idle(world, 0), 0), RestReason::Idle, 600);
        at(world, 440)
    };
    // The head started ten minutes before noon.
    assert_eq!(comes(&both(1250)), Some((RestReason::Idle, 600)));
    assert_eq!(comes(&both(1150)), Some((RestReason::LifetimeReached, 555)));
}

fn spent(world: World, amount: &str) -> World {
    world.with(|observed| {
        let cost = json!({"hourly": "0", "currency": "USD",
            "accrued": {"amount": amount, "asOf": "2026-01-01T12:00:00Z"}});
        observed.told.cost = Some(serde_json::from_value::<CostStatus>(cost).unwrap());
    })
}

#[test]
fn a_budget_that_is_used_up_lets_rest_only_where_the_manifest_says_so_and_until_it_is_raised() {
    let budget = |action: &'static str| {
        world(move |spec| spec["budget"] = json!({"maxTotal": "10", "action": action}))
    };
    assert_eq!(reason(&spent(budget("Suspend"), "9.99")), None);
    assert_eq!(reason(&spent(budget("Warn"), "10")), None);
    let used_up = spent(budget("Suspend"), "10");
    assert_eq!(reason(&used_up), Some(RestReason::OverBudget));
    let resting = told(used_up, RestReason::OverBudget, IdleAction::Suspend);
    let woken = resting.with(|observed| {
        observed.generation = 2;
        observed.annotations.wake = Some("now".into());
    });
    assert_eq!(reason(&woken), Some(RestReason::OverBudget));
    assert_eq!(reason(&spent(woken, "3")), None, "raised, or lower than it");
}

#[test]
fn an_annotation_keeps_every_rest_from_beginning_but_the_one_that_the_spec_asks_for() {
    let protect = |world: World| world.with(|observed| observed.annotations.do_not_disrupt = true);
    let idle = at(told_idle(idle_for(60), 0), 60);
    let old = at(world(|spec| spec["maxLifetimeSeconds"] = json!(300)), 0);
    let old = warned(old, RestReason::LifetimeReached);
    let dear = spent(
        world(|spec| spec["budget"] = json!({"maxTotal": "10", "action": "Suspend"})),
        "10",
    );
    for world in [idle, old, dear] {
        assert!(reason(&world).is_some());
        let world = protect(world);
        assert_eq!(reason(&world), None);
        assert!(ask(&world, due).is_some(), "it is known all the same");
    }
    let suspended = protect(world(|spec| spec["suspend"] = json!(true)));
    assert_eq!(reason(&suspended), Some(RestReason::Suspended));
}

#[test]
fn nothing_changes_before_a_rest_of_our_own_accord_is_recorded() {
    let begins = at(told_idle(idle_for(60), 0), 60);
    let aim_of = |world: &World| {
        let aim = aim(world);
        (aim.head, aim.workers, aim.suspends)
    };
    assert_eq!(aim_of(&begins), (true, 1, false));
    let recorded = told(begins, RestReason::Idle, IdleAction::Suspend);
    assert_eq!(aim_of(&recorded), (true, 0, true));
    // A budget that is used up by the time a rest of another kind ends starts nothing in between.
    let at_rest = World::provisioned(|spec| {
        spec["budget"] = json!({"maxTotal": "10", "action": "Suspend"});
    })
    .job("head-1", "Canceled", |_| {});
    let resumed = spent(
        told(at_rest, RestReason::Suspended, IdleAction::Suspend),
        "10",
    );
    assert_eq!(aim_of(&resumed), (false, 0, false));
}

#[test]
fn the_head_stays_while_workers_hand_over_and_no_longer_than_they_may() {
    let suspended = |spec: &mut Value| spec["suspend"] = json!(true);
    let going = told(world(suspended), RestReason::Suspended, IdleAction::Suspend);
    let has_head = |world: World| aim(&world).head;
    assert!(has_head(at(going.clone(), 119)));
    assert!(!has_head(at(going.clone(), 120)));
    assert!(!has_head(at(going.clone(), -5000)), "a clock that jumped");
    assert!(!has_head(going.clone().job("w00-1", "Completed", |_| {})));
    assert!(!has_head(going.job("head-1", "Queued", |_| {})));
    let patient = told(
        world(|spec| {
            suspended(spec);
            spec["worker"]["scaleDownGraceSeconds"] = json!(3600);
        }),
        RestReason::Suspended,
        IdleAction::Suspend,
    );
    assert!(has_head(at(patient.clone(), 119)));
    assert!(
        !has_head(at(patient.clone(), 120)),
        "what it holds goes with the head in any case"
    );
    let busy = loaded(patient.clone(), |load| load.processing = 1);
    for world in [busy, patient.silent("Timeout")] {
        assert!(has_head(at(world.clone(), 3599)));
        assert!(!has_head(at(world, 3600)));
    }
}

#[test]
fn scale_to_zero_keeps_the_head_and_no_worker() {
    let resting = told(idle_for(60), RestReason::Idle, IdleAction::ScaleToZero);
    let aim = aim(&told_idle(at(resting, 1000), -60));
    assert_eq!((aim.head, aim.workers, aim.suspends), (true, 0, false));
}

#[test]
fn the_head_is_cancelled_last_and_what_others_own_or_has_ended_not_at_all() {
    let world = world(|spec| spec["suspend"] = json!(true))
        .job("w01-1", "Queued", |_| {})
        .job("w02-1", "Completed", |_| {})
        .job("w03-1", "CancelRequested", |_| {})
        .job("w04-1", "Running", |body| {
            body["properties"]["tags"] = json!({})
        });
    let going = world.scene(end_all);
    let cancelled: Vec<_> = going
        .cancel
        .iter()
        .map(|cancelled| cancelled.job.to_string())
        .collect();
    assert_eq!(cancelled, ["w00-1", "w01-1", "head-1"]);
}

#[test]
fn a_scheduler_that_stays_without_workers_is_no_shelter_from_lifetime_and_budget() {
    let resting = |change: fn(&mut Value)| {
        let world = world(|spec| {
            spec["idleTimeoutSeconds"] = json!(60);
            change(spec);
        });
        let world = told(idle(world, 0), RestReason::Idle, IdleAction::ScaleToZero);
        told_idle(world, -60)
    };
    let old = resting(|spec| spec["maxLifetimeSeconds"] = json!(900));
    let old = warned(old, RestReason::LifetimeReached);
    assert_eq!(reason(&at(old.clone(), 299)), Some(RestReason::Idle));
    assert_eq!(
        reason(&at(old.clone(), 300)),
        Some(RestReason::LifetimeReached)
    );
    let protected = at(old, 300).with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(reason(&protected), Some(RestReason::Idle));
    let dear = resting(|spec| spec["budget"] = json!({"maxTotal": "10", "action": "Suspend"}));
    assert_eq!(reason(&spent(dear.clone(), "9")), Some(RestReason::Idle));
    assert_eq!(reason(&spent(dear, "10")), Some(RestReason::OverBudget));
}

#[test]
fn whoever_wakes_a_cluster_whose_head_has_had_its_lifetime_gets_another_head() {
    let old = world(|spec| spec["maxLifetimeSeconds"] = json!(300));
    let woken = told(old, RestReason::LifetimeReached, IdleAction::Suspend)
        .with(|observed| observed.annotations.wake = Some("now".into()));
    let rest = ask(&woken, rest).unwrap();
    assert_eq!(rest.reason, RestReason::LifetimeReached);
    assert_eq!(rest.wake, None, "the wish stands until the head has ended");
    let ended = woken.clone().job("head-1", "Canceled", |_| {});
    assert_eq!(reason(&ended), None);
    let Wanted::Cluster(mut cluster) = woken.wanted.clone() else {
        unreachable!()
    };
    cluster.max_lifetime = Some(SignedDuration::from_hours(1));
    let raised = World {
        wanted: Wanted::Cluster(cluster),
        ..woken
    };
    assert_eq!(reason(&raised), None, "the same head goes on");
}

#[test]
fn a_budget_that_is_used_up_keeps_the_pool_without_nodes_whoever_wakes_the_cluster() {
    let world = world(|spec| spec["budget"] = json!({"maxTotal": "10", "action": "Suspend"}));
    let woken = told(world, RestReason::OverBudget, IdleAction::Suspend)
        .with(|observed| observed.annotations.wake = Some("now".into()));
    let suspended = |world: &World| is_suspended(world.cluster(), &world.observed);
    assert!(suspended(&spent(woken.clone(), "10")));
    assert!(!suspended(&spent(woken, "3")));
}

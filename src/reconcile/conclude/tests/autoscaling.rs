//! What is told while the number of workers follows the work: the number, and why; nothing else moves.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{Round, condition, told};
use crate::api::{ConditionType, DaskClusterStatus, IdleAction, Reason, RestReason, RestStatus};
use crate::dask::Load;
use crate::reconcile::Told;
use crate::reconcile::conclude::{Next, decided, write_not_before};
use crate::reconcile::fixtures::{World, dask_cluster, noon, seconds_after_noon};

const WINDOW: i64 = 30;

/// A cluster of `min` to 9 workers whose scheduler answers; these have registered.
fn world(min: u32, workers: &[&str]) -> World {
    World::provisioned(|spec| {
        spec["scheduler"]["runWorker"] = json!(false);
        spec["worker"] = json!({});
        spec["autoscaling"] = json!({
            "minReplicas": min, "maxReplicas": 9, "targetDurationSeconds": 300,
            "scaleUpStabilizationSeconds": WINDOW, "scaleDownStabilizationSeconds": WINDOW,
        });
    })
    .head("head-1")
    .published()
    .registered(workers)
}

/// For so many workers there is work, and has been for as long as it takes to be believed.
fn at_work(world: World, useful: u32) -> World {
    let load = Load {
        queued: 80 * useful,
        work_seconds: 2400.0 * f64::from(useful),
        ..Load::default()
    };
    world.with(|observed| observed.scheduler.state.as_mut().unwrap().load = load)
}

/// What was told before, as the next look finds it.
fn after(world: World, before: &DaskClusterStatus, now: Timestamp) -> World {
    let mut object = crate::reconcile::fixtures::dask_cluster(|_| {});
    object.status = Some(before.clone());
    let world = world.with(|observed| {
        observed.told = Told::by(&object);
        observed.seen_at = now;
    });
    let decision = world.plan().lineup.unwrap().aim.decision.unwrap();
    world.with(|observed| {
        let begin = now - jiff::SignedDuration::from_secs(WINDOW);
        observed.recommendations.see(&decision, begin);
        observed.recommendations.see(&decision, now);
    })
}

fn round(world: World, before: DaskClusterStatus) -> Round {
    Round::of(world).after(before).at(60)
}

/// Ready with no worker, as none is needed.
fn at_rest() -> DaskClusterStatus {
    let world = world(0, &[]).with(|observed| observed.told.desired_replicas = Some(0));
    Round::of(world).status()
}

fn line(status: &DaskClusterStatus) -> &str {
    &status.autoscaling.as_ref().unwrap().decision
}

#[test]
fn ready_and_reconciling_do_not_move_while_the_number_does() {
    let before = at_rest();
    let summary = [
        ConditionType::Ready,
        ConditionType::Reconciling,
        ConditionType::Stalled,
    ];
    let of = |status: &DaskClusterStatus| summary.map(|kind| condition(status, kind).clone());
    assert_eq!(told(&before, ConditionType::Ready), "True Ready");
    assert_eq!(
        condition(&before, ConditionType::Ready).message,
        "the scheduler answers and 0 to 9 workers follow the work"
    );
    let grown = round(
        after(at_work(world(0, &[]), 5), &before, seconds_after_noon(60)),
        before.clone(),
    );
    let grown_status = grown.status();
    assert_eq!(
        grown_status.autoscaling.as_ref().unwrap().desired_replicas,
        5
    );
    assert_eq!(
        told(&grown_status, ConditionType::WorkersReady),
        "False WorkersStarting"
    );
    assert_eq!(of(&grown_status), of(&before));
    // The workers are on their way, and some have come.
    let on_their_way = at_work(world(0, &["w00-1", "w01-1"]), 5)
        .job("w02-1", "Running", |_| {})
        .job("w03-1", "Queued", |_| {})
        .job("w04-1", "Queued", |_| {});
    let coming = round(
        after(on_their_way, &grown_status, seconds_after_noon(60)),
        grown_status,
    );
    let coming = coming.status();
    assert_eq!(
        told(&coming, ConditionType::WorkersReady),
        "False WaitingForNodes"
    );
    assert_eq!(of(&coming), of(&before));
}

#[test]
fn a_cluster_is_ready_once_the_size_to_start_with_has_come() {
    for (workers, ready) in [
        (vec![], "False WorkersStarting"),
        (vec!["w00-1"], "True Ready"),
    ] {
        let world = world(0, &workers).with(|observed| observed.told.desired_replicas = Some(4));
        assert_eq!(
            told(&Round::of(world).status(), ConditionType::Ready),
            ready,
            "{workers:?}"
        );
    }
}

#[test]
fn ready_is_lost_with_the_last_worker_where_some_are_always_there() {
    let world = |workers: &[&str]| {
        world(2, workers).with(|observed| observed.told.desired_replicas = Some(2))
    };
    let before = Round::of(world(&["w00-1", "w01-1"])).status();
    assert_eq!(told(&before, ConditionType::Ready), "True Ready");
    let one_left = round(world(&["w00-1"]), before.clone()).status();
    assert_eq!(told(&one_left, ConditionType::Ready), "True Ready");
    let none_left = round(world(&[]), before).status();
    assert_eq!(
        told(&none_left, ConditionType::Ready),
        "False WorkersStarting"
    );
}

#[test]
fn another_number_is_told_before_it_is_acted_on_with_its_reason_and_its_time() {
    let before = at_rest();
    let world = after(at_work(world(0, &[]), 5), &before, seconds_after_noon(60));
    let told = decided(
        &before,
        &world.wanted,
        &world.plan(),
        seconds_after_noon(60),
    )
    .unwrap();
    assert_eq!(told.next, Next::After(Duration::ZERO));
    assert_eq!(
        told.status.last_scale_time.as_ref().unwrap().0,
        seconds_after_noon(60)
    );
    let [event] = told.events.as_slice() else {
        panic!("one event: {:?}", told.events)
    };
    assert_eq!((event.reason, event.action), (Reason::Scaled, "ScaleUp"));
    assert_eq!(
        event.note,
        "from 0 to 5 workers: want 5: 400 tasks, 12000 s of work over 8 threads x 300 s"
    );
    // The next look acts, tells no second event and no other time.
    let acts = Round::of(after(world, &told.status, seconds_after_noon(61)))
        .after(told.status.clone())
        .at(61);
    assert_eq!(
        decided(
            &told.status,
            &acts.world.wanted,
            &acts.world.plan(),
            seconds_after_noon(61)
        ),
        None
    );
    assert_eq!(
        acts.world.plan().steps.len(),
        5,
        "five jobs: {}",
        acts.world.plan()
    );
    let acted = acts.conclude();
    assert!(
        acted
            .events
            .iter()
            .all(|event| event.reason != Reason::Scaled)
    );
    assert_eq!(acted.status.last_scale_time, told.status.last_scale_time);
    assert_eq!(acted.status.workers.unwrap().desired, 5);
}

#[test]
fn what_an_annotation_withholds_is_not_told_as_decided() {
    let before = at_rest();
    let world = after(at_work(world(0, &[]), 5), &before, seconds_after_noon(60));
    let world = world.with(|observed| observed.annotations.dry_run = true);
    assert_eq!(decided(&before, &world.wanted, &world.plan(), noon()), None);
}

#[test]
fn the_line_stays_while_number_and_caveat_do() {
    let before = at_rest();
    let busy = after(at_work(world(0, &[]), 5), &before, seconds_after_noon(60));
    let told = round(busy.clone(), before).status();
    let first = line(&told).to_owned();
    // The work goes down, and the number has not followed yet.
    let less = after(at_work(busy.clone(), 4), &told, seconds_after_noon(90));
    let still = round(less, told.clone()).status();
    assert_eq!(line(&still), first);
    let restricted = after(busy, &told, seconds_after_noon(90))
        .with(|observed| observed.scheduler.state.as_mut().unwrap().load.unrunnable = 3);
    let with_caveat = round(restricted, told).status();
    assert_eq!(
        line(&with_caveat),
        format!(
            "{first}; some tasks ask for a worker or resource that no worker of this cluster has"
        )
    );
}

#[test]
fn a_fixed_cluster_tells_its_changes_too() {
    let before = Round::of(World::answering(1, &["head-1", "w00-1"])).status();
    let scaled = |replicas| {
        let world = World::answering(replicas, &["head-1", "w00-1"]);
        let concluded = Round::of(world).after(before.clone()).at(60).conclude();
        let events: Vec<_> = concluded
            .events
            .into_iter()
            .filter(|event| event.reason == Reason::Scaled)
            .map(|event| format!("{} {}", event.action, event.note))
            .collect();
        (events, concluded.status.last_scale_time.unwrap().0)
    };
    assert_eq!(scaled(1), (vec![], noon()));
    let told = |text: &str| (vec![text.to_owned()], seconds_after_noon(60));
    assert_eq!(
        scaled(3),
        told("ScaleUp from 2 to 4 workers: as spec.worker.replicas says")
    );
    assert_eq!(
        scaled(0),
        told("ScaleDown from 2 to 1 workers: as spec.worker.replicas says")
    );
}

#[test]
fn autoscaling_that_is_switched_off_is_told_no_longer() {
    let before = at_rest();
    let fixed = World::answering(2, &["head-1", "w00-1", "w01-1"]);
    let status = round(fixed, before).status();
    assert_eq!(status.autoscaling, None);
    assert_eq!(
        condition(&status, ConditionType::Ready).message,
        "the scheduler answers and 3 workers are wanted"
    );
}

#[test]
fn an_autoscaled_cluster_is_at_rest_unless_time_alone_may_change_its_number() {
    let told = |replicas| {
        move |observed: &mut crate::reconcile::Observed| {
            observed.told.desired_replicas = Some(replicas);
        }
    };
    let next = |world: World| {
        let before = Round::of(world.clone()).status();
        let conclusion = Round::of(world).after(before).conclude();
        // The days that Azure gives a head are another matter.
        let soon = |at: &jiff::Timestamp| *at < seconds_after_noon(3600);
        (conclusion.next, conclusion.look_again.filter(soon))
    };
    assert_eq!(next(world(0, &[]).with(told(0))), (Next::AtRest, None));
    assert_eq!(
        next(at_work(world(0, &["w00-1"]), 1).with(told(1))),
        (Next::AtRest, None)
    );
    let too_many = world(0, &["w00-1"]).with(told(1));
    assert_eq!(next(too_many), (Next::AtRest, Some(seconds_after_noon(30))));
}

#[test]
fn a_rest_of_an_autoscaled_cluster_is_told_at_once_and_as_a_rest() {
    let running = world(2, &["w00-1", "w01-1"]);
    let knowing = |status: &DaskClusterStatus| {
        let mut cluster = dask_cluster(|_| {});
        cluster.status = Some(status.clone());
        running
            .clone()
            .with(|observed| observed.told = Told::by(&cluster))
    };
    let mut before = Round::of(running.clone()).status();
    before = Round::of(knowing(&before)).after(before).status();
    assert_eq!(before.workers.as_ref().unwrap().desired, 2);
    // What was idle for long has been recorded as a rest.
    before.rest = Some(RestStatus {
        reason: RestReason::Idle,
        action: IdleAction::ScaleToZero,
        since: Time(noon()),
        generation: 1,
        wake: None,
    });
    let rests = knowing(&before);
    let told = decided(&before, &rests.wanted, &rests.plan(), noon()).unwrap();
    let notes: Vec<_> = told.events.iter().map(|it| it.note.as_str()).collect();
    assert_eq!(notes, ["from 2 to 0 workers: the cluster rests"]);
    // Nobody acts on it before it is written, so it is written now.
    let at = write_not_before(&before, &told.status, Some(noon()), noon());
    assert_eq!(at, Some(Timestamp::MIN));
}

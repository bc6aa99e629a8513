//! Tables of changes on running clusters: who goes next, and what waits.

use serde_json::{Value, json};

use crate::api::Reason;
use crate::dask::{Retired, Retirement, RetirementOutcome, Worker};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, seconds_after_noon, valid_cluster};
use crate::reconcile::{SchedulerStage, ValidHeadCompute, Wanted};
use crate::scaling::{LettingGo, letting_go, pending_changes};

const OLD: &str = "worker.env=00000000";
const HEAD_OLD: &str = "scheduler.env=00000000";

fn started_with(tag: &'static str) -> impl Fn(&mut Value) {
    move |body| body["properties"]["tags"]["dask-azureml-spec"] = json!(tag)
}

/// A head and workers that are as the spec says, those of `old` but for `worker.env`. All are registered.
fn world(replicas: u32, old: &[&str], new: &[&str]) -> World {
    let all: Vec<&str> = ["head-1"].iter().chain(old).chain(new).copied().collect();
    let world = World::answering(replicas, &all);
    old.iter().fold(world, |world, job| {
        world.job(job, "Running", started_with(OLD))
    })
}

/// The pool grows to so many nodes, and no further.
fn nodes(mut world: World, most: u32) -> World {
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.compute.max_nodes = most;
    world.pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(most);
    })
}

fn recreate(mut world: World) -> World {
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.update_policy = crate::api::UpdatePolicy::Recreate;
    world
}

fn going(world: &World) -> LettingGo {
    world.scene(|scene, lineup| letting_go(scene, lineup, &SchedulerStage::of(scene, lineup)))
}

/// `retire <first>`, `cancel <jobs>`, `wait: <why>` or nothing.
fn told(world: &World) -> String {
    let going = going(world);
    let prefix = world.job_id("");
    let cancelled: Vec<_> = going.cancel.iter().map(|it| it.job.to_string()).collect();
    let waiting = going.waiting.map_or_else(String::new, |it| it.message);
    match (going.retire, cancelled.is_empty()) {
        (0, true) if waiting.is_empty() => "nothing".to_owned(),
        (0, true) => format!("wait: {}", waiting.replace(&prefix, "")),
        (0, false) => format!("cancel {}", cancelled.join(" ")),
        (1, true) => format!("retire {}", going.first.join(" ").replace(&prefix, "")),
        other => panic!("{other:?}"),
    }
}

fn submits(world: &World) -> Vec<String> {
    let steps = world.plan().steps;
    let steps = steps.iter().map(|step| step.action.to_string());
    let prefix = format!("PUT Job {}", world.job_id(""));
    steps
        .filter_map(|step| Some(step.strip_prefix(&prefix)?.to_owned()))
        .collect()
}

#[test]
fn one_new_worker_is_there_before_an_old_one_goes() {
    let surge_is_due = world(2, &["w00-1", "w01-1"], &[]);
    assert_eq!(submits(&surge_is_due), ["w02-1"]);
    assert_eq!(
        told(&surge_is_due),
        "wait: workers are replaced one by one: job w02-1 is to be submitted"
    );
    for status in ["Queued", "Preparing", "Running"] {
        let comes = world(2, &["w00-1", "w01-1"], &[]).job("w02-1", status, |body| {
            body["systemData"]["createdAt"] = json!("2026-01-01T11:59:00Z");
        });
        assert_eq!(submits(&comes), [""; 0], "{status}");
        assert_eq!(
            told(&comes),
            "wait: workers are replaced one by one: the worker of job w02-1 is coming or going",
            "{status}"
        );
    }
    let is_there = world(2, &["w00-1", "w01-1"], &["w02-1"]);
    assert_eq!(told(&is_there), "retire w00-1 w01-1");
    let one_has_left = world(2, &["w01-1"], &["w02-1"]).job("w00-1", "Running", started_with(OLD));
    assert_eq!(
        told(&one_has_left),
        "wait: workers are replaced one by one: the worker of job w00-1 is coming or going"
    );
    let next = world(2, &["w01-1"], &["w02-1"]).job("w00-1", "Completed", started_with(OLD));
    assert_eq!(submits(&next), ["w00-2"]);
    let last = world(2, &["w01-1"], &["w02-1", "w00-2"]);
    assert_eq!(told(&last), "retire w01-1");
    let done = world(2, &[], &["w02-1", "w00-2"]);
    assert_eq!((told(&done), submits(&done)), ("nothing".into(), vec![]));
}

#[test]
fn without_room_an_old_worker_goes_first_and_the_next_when_its_successor_is_there() {
    let full = nodes(world(2, &["w00-1", "w01-1"], &[]), 3);
    assert_eq!(
        (told(&full), submits(&full)),
        ("retire w00-1 w01-1".into(), vec![])
    );
    let vacant = world(2, &["w01-1"], &[]).job("w00-1", "Completed", started_with(OLD));
    let vacant = nodes(vacant, 3);
    assert_eq!(submits(&vacant), ["w00-2"]);
    assert!(
        told(&vacant).contains("w00-2 is to be submitted"),
        "{}",
        told(&vacant)
    );
    let half = nodes(world(2, &["w01-1"], &["w00-2"]), 3);
    assert_eq!(told(&half), "retire w01-1");
}

#[test]
fn a_head_with_a_pool_of_its_own_leaves_its_node_to_the_workers() {
    let mut apart = nodes(world(2, &["w00-1", "w01-1"], &[]), 3);
    let Wanted::Cluster(cluster) = &mut apart.wanted else {
        unreachable!()
    };
    cluster.scheduler.compute = Some(ValidHeadCompute { vm_size: None });
    assert_eq!(submits(&apart), ["w02-1"]);
    let full = nodes(apart, 2);
    assert_eq!(
        (told(&full), submits(&full)),
        ("retire w00-1 w01-1".into(), vec![])
    );
}

#[test]
fn a_new_worker_that_gets_no_node_is_given_the_one_of_an_old_worker() {
    let queued = |created: &'static str| {
        world(2, &["w00-1", "w01-1"], &[]).job("w02-1", "Queued", move |body| {
            body["systemData"]["createdAt"] = json!(created);
        })
    };
    assert_eq!(told(&queued("2026-01-01T11:49:59Z")), "retire w00-1 w01-1");
    assert!(told(&queued("2026-01-01T11:50:01Z")).starts_with("wait"));
    let refused = queued("2026-01-01T11:59:59Z").pool("Succeeded", |body| {
        body["properties"]["properties"]["errors"] =
            json!([{"error": {"code": "ClusterCoreQuotaReached", "message": "no cores"}}]);
    });
    assert_eq!(told(&refused), "retire w00-1 w01-1");
    let filled = |created: &'static str, running: u32| {
        queued(created).pool("Succeeded", |body| {
            let pool = &mut body["properties"]["properties"];
            pool["nodeStateCounts"] = json!({"runningNodeCount": running});
        })
    };
    let waits_for_a_minute = filled("2026-01-01T11:58:59Z", 100);
    assert_eq!(told(&waits_for_a_minute), "retire w00-1 w01-1");
    let has_only_come = filled("2026-01-01T11:59:01Z", 100);
    assert!(told(&has_only_come).starts_with("wait"));
    let others_may_come = filled("2026-01-01T11:58:59Z", 99);
    assert!(told(&others_may_come).starts_with("wait"));
}

#[test]
fn who_has_not_started_is_replaced_at_once() {
    let world = world(3, &["w00-1"], &[])
        .job("w01-1", "Queued", started_with(OLD))
        .job("w02-1", "Preparing", started_with(OLD));
    assert_eq!(told(&world), "cancel w01-1 w02-1");
}

#[test]
fn a_new_worker_that_fails_keeps_all_old_ones() {
    let failed = world(2, &["w00-1", "w01-1"], &[]).job("w02-1", "Failed", |_| {});
    assert!(
        told(&failed).contains("job w02-1 failed with the new settings"),
        "{}",
        told(&failed)
    );
    // Its successor has registered: it runs on trial.
    let on_trial = world(2, &["w00-1", "w01-1"], &["w02-2"]).job("w02-1", "Failed", |_| {});
    let at = |seconds| {
        on_trial
            .clone()
            .with(|observed| observed.seen_at = seconds_after_noon(seconds))
    };
    let fresh = at(0).job("w02-2", "Running", |body| {
        body["properties"]["properties"]["StartTimeUtc"] = json!("2026-01-01 11:55:01");
    });
    assert!(told(&fresh).contains("runs on trial"), "{}", told(&fresh));
    assert_eq!(
        told(&at(0)),
        "retire w00-1 w01-1",
        "it has run for ten minutes"
    );
    let failed_before =
        world(2, &["w00-1", "w01-1"], &["w02-2"]).job("w02-1", "Failed", started_with(OLD));
    assert_eq!(
        told(&failed_before),
        "retire w00-1 w01-1",
        "that was with the old settings"
    );
}

#[test]
fn a_failure_with_other_settings_is_no_reason_to_wait() {
    let failed = |tag| World::answering(1, &["head-1"]).job("w00-1", "Failed", started_with(tag));
    assert_eq!(submits(&failed(OLD)), ["w00-2"]);
    assert_eq!(submits(&failed("")), [""; 0]);
}

#[test]
fn an_annotation_keeps_outdated_workers_and_the_head_and_says_so() {
    let kept = recreate(world(2, &["w00-1", "w01-1"], &[]).published())
        .job("w02-1", "Queued", started_with(OLD))
        .with(|observed| observed.annotations.do_not_disrupt = true);
    // What the spec asks for goes all the same.
    assert_eq!(told(&kept), "cancel w02-1");
    let kept = world(2, &["w00-1", "w01-1"], &[])
        .with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!((told(&kept), submits(&kept)), ("nothing".into(), vec![]));
    assert_eq!(
        pending(&kept),
        [(
            "workers",
            2,
            "the annotation azureml.dask.dev/do-not-disrupt to be taken off"
        )]
        .map(owned)
    );
}

#[test]
fn an_annotation_keeps_the_worker_on_top_that_is_there_and_not_one_that_the_spec_no_longer_asks_for()
 {
    let kept = |world: World| world.with(|observed| observed.annotations.do_not_disrupt = true);
    let rolling = world(2, &["w00-1", "w01-1"], &["w02-1"]);
    assert_eq!(told(&rolling), "retire w00-1 w01-1");
    assert_eq!(told(&kept(rolling)), "nothing");
    let lowered = world(1, &["w00-1", "w01-1"], &["w02-1"]);
    assert_eq!(going(&kept(lowered)).retire, 2);
    let all_old = world(1, &["w00-1", "w01-1"], &[]);
    assert_eq!(going(&kept(all_old)).retire, 1);
}

fn owned((component, jobs, waits_for): (&str, u32, &str)) -> (String, u32, String) {
    (component.into(), jobs, waits_for.into())
}

fn pending(world: &World) -> Vec<(String, u32, String)> {
    let changes = world.scene(|scene, lineup| {
        let state = SchedulerStage::of(scene, lineup).answering(scene);
        pending_changes(scene, lineup, state)
    });
    changes
        .into_iter()
        .map(|change| (change.component, change.jobs, change.waits_for))
        .collect()
}

fn with_old_head(world: World) -> World {
    let spec = |body: &mut Value| {
        started_with(HEAD_OLD)(body);
        body["properties"]["tags"]["scheduler"] = json!("tcp://10.20.0.4:8786");
        body["properties"]["tags"]["dashboard"] = json!("http://10.20.0.4:8787");
    };
    world.job("head-1", "Running", spec)
}

#[test]
fn the_head_stays_and_says_what_it_waits_for_unless_it_is_to_be_recreated() {
    let old_head = || with_old_head(world(2, &["w00-1"], &["w01-1"]));
    assert_eq!(
        pending(&old_head()),
        [
            ("head", 1, "the head to end, or updatePolicy Recreate"),
            ("workers", 1, "workers to be replaced one by one"),
        ]
        .map(owned)
    );
    assert_eq!(submits(&old_head()), ["w02-1"], "workers go on without it");
    let recreated = recreate(old_head());
    assert_eq!(
        (told(&recreated), submits(&recreated)),
        ("cancel head-1".into(), vec![])
    );
    assert_eq!(
        pending(&recreated),
        [
            ("head", 1, "the head's job to end, which is cancelled"),
            ("workers", 1, "the head to be replaced"),
        ]
        .map(owned)
    );
    let forbidden = recreated.with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(told(&forbidden), "nothing");
}

#[test]
fn a_head_that_was_replaced_for_a_change_has_not_failed() {
    let cancelled = |tag| {
        World::provisioned(|_| {})
            .connected("head-1")
            .job("head-1", "Canceled", started_with(tag))
    };
    let heads = |world: &World| {
        let text = world.plan().to_string();
        text.contains("starts at")
    };
    assert!(
        !heads(&cancelled(HEAD_OLD)),
        "{}",
        cancelled(HEAD_OLD).plan()
    );
    assert!(heads(&cancelled("")), "somebody else cancelled it");
}

#[test]
fn fewer_wanted_workers_are_the_outdated_ones_first_unless_they_could_not_go() {
    let world = world(1, &["w02-1"], &["w00-1", "w01-1"]);
    let outdated = world.job_id("w02-1");
    let asked = going(&world);
    assert_eq!((asked.retire, asked.first), (1, vec![outdated]));
    let refused = world.with(|observed| {
        observed.scheduler.retirement = Some(Retirement {
            asked_at: seconds_after_noon(-20),
            outcome: RetirementOutcome::Answered {
                at: seconds_after_noon(-20),
                retired: Retired::default(),
            },
        });
    });
    let asked = going(&refused);
    assert_eq!((asked.retire, asked.first), (1, Vec::new()));
}

#[test]
fn nothing_rolls_while_nobody_is_wanted_or_the_scheduler_is_silent() {
    let none = world(0, &["w00-1"], &[]);
    assert_eq!(submits(&none), [""; 0]);
    let silent = world(2, &["w00-1", "w01-1"], &["w02-1"]).silent("Unreachable");
    assert_eq!(told(&silent), "nothing");
    let paused = world(2, &["w00-1", "w01-1"], &["w02-1"]).with(|observed| {
        let paused = |worker: &mut Worker| worker.status = "paused".into();
        observed
            .scheduler
            .state
            .as_mut()
            .unwrap()
            .workers
            .iter_mut()
            .for_each(paused);
    });
    assert_eq!(told(&paused), "retire w00-1 w01-1", "it is there");
}

#[test]
fn on_a_pool_that_gives_no_more_nodes_no_more_than_one_worker_is_missing() {
    let without_nodes = |world: World| {
        world.pool("Succeeded", |body| {
            body["properties"]["properties"]["errors"] =
                json!([{"error": {"code": "ClusterCoreQuotaReached", "message": "no cores"}}]);
        })
    };
    let one_goes_without = world(2, &["w00-1", "w01-1"], &[]).job("w02-1", "Queued", |_| {});
    assert_eq!(told(&without_nodes(one_goes_without)), "retire w00-1 w01-1");
    let its_place_was_taken = world(2, &["w01-1"], &[])
        .job("w00-1", "Completed", started_with(OLD))
        .job("w00-2", "Queued", |_| {})
        .job("w02-1", "Queued", |_| {});
    assert_eq!(
        told(&without_nodes(its_place_was_taken)),
        "wait: workers are replaced one by one: the worker of job w02-1 is coming or going"
    );
    let without_a_surge = world(2, &["w01-1"], &[])
        .job("w00-1", "Completed", started_with(OLD))
        .job("w00-2", "Queued", |_| {});
    assert_eq!(
        told(&without_nodes(nodes(without_a_surge, 3))),
        "wait: workers are replaced one by one: the worker of job w00-2 is coming or going"
    );
}

#[test]
fn a_worker_that_has_registered_is_not_cancelled_for_what_azure_still_says_of_its_job() {
    let world = world(2, &["w00-1", "w01-1"], &["w02-1"]).job("w00-1", "Queued", started_with(OLD));
    assert_eq!(told(&world), "retire w00-1 w01-1");
}

#[test]
fn no_worker_is_added_for_a_rollout_that_the_budget_does_not_pay_for() {
    let of_budget = |amount: &'static str| {
        let mut world = world(2, &["w00-1", "w01-1"], &[]);
        let Wanted::Cluster(cluster) = &mut world.wanted else {
            unreachable!()
        };
        let budget = json!({"maxPerHour": amount, "action": "Suspend"});
        cluster.budget = valid_cluster(|spec| spec["budget"] = budget).budget;
        world
    };
    // A node costs 0.741 an hour.
    assert_eq!(submits(&of_budget("2.97")), ["w02-1"]);
    assert_eq!(told(&of_budget("2.96")), "retire w00-1 w01-1");
}

/// Its budget is to be kept, and Azure does not tell what a node costs.
fn of_unknown_price(mut world: World) -> World {
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    let budget = json!({"maxPerHour": "100", "action": "Suspend"});
    cluster.budget = valid_cluster(|spec| spec["budget"] = budget).budget;
    world.with(|observed| {
        let trouble = Trouble::passing(Reason::AzureError, "no answer");
        observed.vm_sizes = Lookup::Unavailable(trouble);
    })
}

const UNKNOWN_PRICE: &str = "wait: workers are replaced one by one: nobody knows what a node costs, as budget.maxPerHour is to be kept";

#[test]
fn while_no_price_is_known_no_worker_is_replaced_and_the_one_that_comes_goes_on() {
    let all = of_unknown_price(world(3, &["w00-1", "w01-1", "w02-1"], &[]));
    assert_eq!(
        (told(&all).as_str(), submits(&all)),
        (UNKNOWN_PRICE, vec![])
    );
    let one_has_gone = world(3, &["w01-1", "w02-1"], &[]);
    let one_has_gone = one_has_gone.job("w00-1", "Completed", started_with(OLD));
    assert_eq!(told(&of_unknown_price(one_has_gone)), UNKNOWN_PRICE);
    let comes = world(2, &["w00-1", "w01-1"], &[]).job("w02-1", "Queued", |body| {
        body["systemData"]["createdAt"] = json!("2026-01-01T11:59:00Z");
    });
    assert_eq!(told(&of_unknown_price(comes)), UNKNOWN_PRICE);
}

#[test]
fn a_replacement_loses_no_data_also_when_there_is_no_room_for_one_more_any_longer() {
    let refused = |world: World| {
        let worker = format!("{}.0a", world.job_id("w00-1"));
        let mut world = world.with(|observed| {
            observed.told.last_scale_time = Some(seconds_after_noon(-7200));
            let state = observed.scheduler.state.as_mut().unwrap();
            state.workers.iter_mut().for_each(|it| it.nbytes = 1 << 30);
            let why = "the other workers cannot hold the data twice over";
            observed.scheduler.retirement = Some(Retirement {
                asked_at: seconds_after_noon(-6),
                outcome: RetirementOutcome::Answered {
                    at: seconds_after_noon(-5),
                    retired: Retired {
                        refused: vec![worker.clone()],
                        reasons: [(worker, why.to_owned())].into(),
                        ..Retired::default()
                    },
                },
            });
        });
        let Wanted::Cluster(cluster) = &mut world.wanted else {
            unreachable!()
        };
        cluster.worker.scale_down_grace = Some(jiff::SignedDuration::from_secs(600));
        let wanted = world.scene(|scene, lineup| lineup.dask_workers(scene.cluster));
        world.with(|observed| observed.told.desired_workers = Some(wanted))
    };
    let rolling = || world(2, &["w00-1", "w01-1"], &["w02-1"]);
    // A new one that has become outdated in its turn looks like one too many.
    let outdated_anew = world(2, &["w00-1", "w01-1", "w02-1"], &[]);
    for (what, world) in [
        ("nothing changed", refused(rolling())),
        ("no price is known", refused(of_unknown_price(rolling()))),
        ("maxNodes was lowered", refused(nodes(rolling(), 3))),
        ("all are outdated", refused(nodes(outdated_anew, 3))),
    ] {
        assert_eq!(going(&world).cancel, [], "{what}");
    }
    let lowered = refused(world(2, &[], &["w00-1", "w01-1", "w02-1"]));
    assert_eq!(going(&lowered).cancel.len(), 1, "nobody is replaced there");
}

//! From nothing to a cluster that runs, and on to more and fewer workers.

use serde_json::{Value, json};

use super::assert_plan;
use crate::api::Reason;
use crate::dask::{Retired, Retirement, RetirementOutcome};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, noon, seconds_after_noon, secret};
use crate::reconcile::plan::{Action, Child, Follow, SchedulerStage};
use crate::reconcile::{JobFailure, PlannedAction, Setback, ToldScheduler, WorkerSubmission};

fn three_workers_for(replicas: u32) -> World {
    World::answering(replicas, &["head-1", "w00-1", "w01-1", "w02-1"])
}

fn retirement(outcome: RetirementOutcome) -> Option<Retirement> {
    Some(Retirement {
        asked_at: seconds_after_noon(-5),
        outcome,
    })
}

#[test]
fn the_first_plan_holds_the_cluster_before_it_makes_anything() {
    let world = World::empty(|_| {}).with(|observed| {
        observed.has_finalizer = false;
        observed.credentials.held = false;
    });
    assert_plan("nothing_there", &world);
    let plan = world.plan();
    assert_eq!(plan.steps[0].action, Action::EnsureFinalizer);
    assert!(plan.steps[0].gates && plan.steps[1].gates);
}

#[test]
fn a_secret_that_nobody_names_any_more_is_released() {
    let world = World::empty(|_| {})
        .with(|observed| observed.credentials.releasable = vec![secret("old-credentials")]);
    assert_plan("secret_forgotten", &world);
}

#[test]
fn pool_and_subnet_wait_while_the_network_is_updating() {
    assert_plan(
        "network_updating",
        &World::empty(|_| {}).network("Updating"),
    );
}

#[test]
fn jobs_wait_while_the_pool_settles() {
    let world = World::provisioned(|_| {}).pool("Creating", |_| {});
    assert_plan("pool_settling", &world);
}

#[test]
fn head_and_workers_are_submitted_together_once_everything_is_there() {
    assert_plan("everything_ready", &World::provisioned(|_| {}));
}

#[test]
fn the_head_knows_the_hash_of_the_token_that_the_secret_is_made_with() {
    let plan = World::provisioned(|_| {}).plan();
    let held = plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateChild(Child::ConnectionSecret(held)) => held.token.clone(),
        _ => None,
    });
    let head = plan.steps.iter().find_map(|step| match &step.action {
        PlannedAction::PutAzure { id, body, .. } if id.name().ends_with("head-1") => Some(body),
        _ => None,
    });
    let variables = &head.unwrap()["properties"]["environmentVariables"];
    assert_eq!(
        variables["DASK_AZUREML_TOKEN_SHA256"],
        json!(held.unwrap().sha256())
    );
}

#[test]
fn workers_go_out_when_the_head_runs_where_the_setting_says_so() {
    let after = |world: World| {
        world.with(|observed| observed.worker_submission = WorkerSubmission::AfterHead)
    };
    assert_plan("after_head_nothing", &after(World::provisioned(|_| {})));
    let queued = World::provisioned(|_| {})
        .connected("head-1")
        .job("head-1", "Queued", |_| {});
    assert_plan("after_head_queued", &after(queued));
    let running = World::provisioned(|_| {}).head("head-1");
    assert_plan("after_head_running", &after(running));
}

/// A head that runs for ten minutes by now and has published nothing.
fn tells_nothing() -> World {
    World::provisioned(|spec| spec["worker"]["replicas"] = json!(0)).head("head-1")
}

fn on_node(world: World, run: &str) -> World {
    let node = json!({"nodeId": "tvmps_1", "privateIpAddress": "10.20.0.4", "nodeState": "running", "runId": run});
    world.with(|observed| {
        observed.pool_nodes = Lookup::Present(vec![serde_json::from_value(node).unwrap()]);
    })
}

fn asked(world: &World) -> Option<String> {
    match world.plan().follow {
        Follow::This(target) => Some(target.dashboard),
        Follow::AsBefore | Follow::Nobody => None,
    }
}

#[test]
fn a_head_that_tells_nothing_is_looked_for_on_the_node_of_its_job_after_a_minute() {
    let world = tells_nothing();
    let head = world.job_id("head-1");
    assert_eq!(asked(&world), None, "its node is not known");
    let needs_nodes = |world: &World| {
        world.scene(|scene, lineup| SchedulerStage::of(scene, lineup).needs_nodes(scene))
    };
    assert!(needs_nodes(&world));
    let just_started = world
        .clone()
        .with(|observed| observed.seen_at = seconds_after_noon(-541));
    assert!(!needs_nodes(&just_started));

    let found = on_node(world.clone(), &head);
    assert_eq!(asked(&found).as_deref(), Some("http://10.20.0.4:8787"));
    assert_plan("head_looked_for", &found);
    let of_another = on_node(world, "somebody-elses-run");
    assert_eq!(asked(&of_another), None);
}

#[test]
fn a_head_that_azure_has_started_again_is_not_believed_to_be_where_it_was() {
    // Its tags still name where it was before it was preempted.
    let started_again = |seconds: i64| {
        World::answering(0, &["head-1"]).with(|observed| {
            observed.scheduler.state = None;
            observed.seen_at = seconds_after_noon(seconds - 600);
        })
    };
    let believed = |world: &World| {
        world.scene(|scene, lineup| SchedulerStage::of(scene, lineup).believed().is_some())
    };
    let told = |started: i64| {
        let head_run = started_again(0).job_id("head-1");
        move |observed: &mut crate::reconcile::Observed| {
            observed.told.scheduler = Some(ToldScheduler {
                head_run,
                address: "tcp://10.20.0.4:8786".into(),
                started_at: Some(seconds_after_noon(started)),
            });
        }
    };
    // It ran again before anybody could look, and what answered then has not fallen silent yet.
    let unnoticed = started_again(1).registered(&["head-1"]).with(told(-7200));
    assert!(!believed(&unnoticed));
    assert_eq!(asked(&unnoticed), None, "it is forgotten");
    for (world, is_believed) in [
        (started_again(59), false),
        // Where an earlier operator told it of this start, it answered once.
        (started_again(59).with(told(-600)), true),
        (started_again(1).registered(&["head-1"]), true),
        (
            started_again(1)
                .registered(&["head-1"])
                .silent("Unreachable"),
            false,
        ),
        // Whoever has no way to it learns so, and where it is.
        (started_again(60), true),
    ] {
        assert_eq!(believed(&world), is_believed, "{}", world.plan());
        assert!(asked(&world).is_some(), "{}", world.plan());
    }
}

#[test]
fn a_head_that_was_looked_for_is_told_once_it_answers_to_the_token() {
    let world = on_node(tells_nothing(), &tells_nothing().job_id("head-1"));
    let Follow::This(target) = world.plan().follow else {
        panic!("{}", world.plan());
    };
    let answering = world
        .registered(&["head-1"])
        .with(|observed| observed.scheduler.target = Some(target));
    assert_plan("head_found", &answering);
}

#[test]
fn only_an_autoscaled_cluster_watches_the_load_of_its_scheduler() {
    for autoscales in [false, true] {
        let world = World::provisioned(|spec| {
            if autoscales {
                spec["autoscaling"] = json!({"maxReplicas": 4});
            }
        });
        let world = world.head("head-1").published().registered(&["head-1"]);
        let Follow::This(target) = world.plan().follow else {
            panic!("{}", world.plan());
        };
        assert_eq!(target.watches_load, autoscales);
    }
}

#[test]
fn a_head_that_has_published_nothing_is_waited_for_until_its_deadline() {
    let world = World::provisioned(|spec| spec["worker"]["replicas"] = json!(0)).head("head-1");
    assert_plan("head_unpublished", &world);
    let late = world.with(|observed| observed.seen_at = seconds_after_noon(36_000));
    assert_plan("head_start_timeout", &late);
}

#[test]
fn a_head_that_does_not_start_in_time_is_told_as_stalled_with_what_keeps_it() {
    let queued = |status: &'static str, started: Value, seconds| {
        World::provisioned(|spec| spec["worker"]["replicas"] = json!(0))
            .job("head-1", status, move |body| {
                body["systemData"]["createdAt"] = json!("2026-01-01T12:00:00Z");
                body["properties"]["properties"]["StartTimeUtc"] = started;
            })
            .connected("head-1")
            .with(|observed| observed.seen_at = seconds_after_noon(seconds))
    };
    let refused = |world: World| {
        world.pool("Succeeded", |body| {
            body["properties"]["properties"]["errors"] =
                json!([{"error": {"code": "ClusterCoreQuotaReached", "message": "no cores"}}]);
        })
    };
    let had_published = |world: World| {
        world.job("head-1", "Queued", |body| {
            body["properties"]["tags"]["scheduler"] = json!("tcp://10.20.0.4:8786");
        })
    };
    let never = || Value::Null;
    let before = json!("2026-01-01 11:00:00");
    for (world, reason) in [
        (queued("Queued", never(), 1800), None),
        (
            queued("Queued", never(), 1801),
            Some(Reason::HeadStartTimeout),
        ),
        (
            queued("Preparing", never(), 1801),
            Some(Reason::HeadStartTimeout),
        ),
        (refused(queued("Queued", never(), 1800)), None),
        (
            refused(queued("Queued", never(), 1801)),
            Some(Reason::QuotaExceeded),
        ),
        (queued("Queued", before, 36_000), None),
        // Azure may tell no start of a job that it is to run again.
        (had_published(queued("Queued", never(), 36_000)), None),
    ] {
        let plan = world.plan();
        let lasting = plan.blocked.iter().find(|blocked| blocked.trouble.lasting);
        assert_eq!(
            lasting.map(|blocked| blocked.trouble.reason),
            reason,
            "{plan}"
        );
    }
}

#[test]
fn nothing_is_done_when_the_scheduler_answers_and_all_workers_have_registered() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]);
    assert_plan("running", &world);
    assert!(
        matches!(world.plan().follow, Follow::This(_)),
        "it goes on being asked"
    );
}

#[test]
fn missing_workers_are_submitted_into_free_slots() {
    let world = World::answering(3, &["head-1", "w01-1"]);
    assert_plan("fewer_workers_than_replicas", &world);
}

#[test]
fn a_queued_job_says_what_the_pool_lacks() {
    let quota = json!([{"code": "ClusterCoreQuotaReached", "message": "Quota of 100 cores"}]);
    let world = World::answering(1, &["head-1"])
        .job("w00-1", "Queued", |_| {})
        .pool("Succeeded", |body| {
            body["properties"]["properties"]["errors"] = quota;
        });
    assert_plan("quota_exceeded", &world);
}

#[test]
fn surplus_workers_that_have_not_started_are_cancelled() {
    let world = World::answering(1, &["head-1", "w00-1"])
        .job("w01-1", "Queued", |_| {})
        .job("w02-1", "Preparing", |_| {});
    assert_plan("scale_down_queued", &world);
}

#[test]
fn surplus_workers_that_run_are_retired_by_the_scheduler() {
    assert_plan("scale_down_running", &three_workers_for(1));
}

#[test]
fn a_retirement_that_was_just_refused_is_not_asked_for_again() {
    let retired = Retired {
        refused: vec!["noaa-isd-6f9619ff-w02-1.0a".into()],
        ..Retired::default()
    };
    let refused = |at| {
        let outcome = RetirementOutcome::Answered {
            at,
            retired: retired.clone(),
        };
        three_workers_for(1).with(|observed| observed.scheduler.retirement = retirement(outcome))
    };
    assert_plan("scale_down_refused", &refused(seconds_after_noon(-9)));
    assert_plan("scale_down_running", &refused(seconds_after_noon(-10)));
}

#[test]
fn a_retirement_that_is_under_way_is_waited_for() {
    let world = three_workers_for(1).with(|observed| {
        observed.scheduler.retirement = retirement(RetirementOutcome::UnderWay);
    });
    assert_plan("scale_down_under_way", &world);
}

#[test]
fn a_retired_worker_whose_job_does_not_end_is_cancelled_in_the_end() {
    let retired = |at| {
        let outcome = RetirementOutcome::Answered {
            at,
            retired: Retired {
                retired: vec!["noaa-isd-6f9619ff-w01-1.0a".into()],
                ..Retired::default()
            },
        };
        World::answering(1, &["head-1", "w00-1"])
            .job("w01-1", "Running", |_| {})
            .with(|observed| observed.scheduler.retirement = retirement(outcome))
    };
    assert_plan("retired_job_ends", &retired(noon()));
    assert_plan("retired_job_overdue", &retired(seconds_after_noon(-601)));
}

#[test]
fn nobody_is_let_go_while_the_scheduler_does_not_answer() {
    assert_plan(
        "scale_down_silent",
        &three_workers_for(1).silent("Unreachable"),
    );
}

#[test]
fn a_failed_worker_is_followed_by_its_next_incarnation_after_a_delay() {
    let world = World::answering(1, &["head-1"]).job("w00-1", "Failed", |_| {});
    assert_plan("worker_failed_delay", &world);
    let later = world.with(|observed| observed.seen_at = seconds_after_noon(5));
    assert_plan("worker_failed_next", &later);
}

#[test]
fn a_failed_head_is_followed_by_a_head_with_a_token_and_workers_of_its_own() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"])
        .job("head-1", "Failed", |_| {})
        .with(|observed| observed.seen_at = seconds_after_noon(5));
    assert_plan("head_failed_next", &world);
    let early = world.with(|observed| observed.seen_at = noon());
    assert_plan("head_failed_delay", &early);
}

fn set_back(world: World, step: &str) -> World {
    let setback = Setback::refused(
        Trouble::passing(crate::api::Reason::AzureError, "it failed"),
        1,
        seconds_after_noon(1),
    );
    world.with(|observed| {
        observed.setbacks.insert(step.to_owned(), setback);
    })
}

#[test]
fn a_step_that_failed_is_not_tried_before_its_time() {
    let world = set_back(World::empty(|_| {}), "PUT VirtualNetwork dask-vnet");
    assert_plan("setback", &world);
    let due = world.with(|observed| observed.seen_at = seconds_after_noon(1));
    assert!(
        due.plan()
            .to_string()
            .contains("do    PUT VirtualNetwork dask-vnet")
    );
}

#[test]
fn no_worker_is_submitted_for_a_head_that_is_on_its_way_out() {
    let world =
        World::provisioned(|_| {})
            .connected("head-1")
            .job("head-1", "CancelRequested", |_| {});
    assert_plan("head_leaving", &world);
}

#[test]
fn an_image_without_dask_starts_neither_another_head_nor_workers() {
    let failure = JobFailure {
        error: None,
        log_tail: Some("dask_azureml: the image has no package 'distributed'".into()),
    };
    let world = World::provisioned(|_| {})
        .connected("head-1")
        .job("head-1", "Failed", |_| {})
        .with(|observed| {
            observed.seen_at = seconds_after_noon(3600);
            observed
                .job_failures
                .insert("noaa-isd-6f9619ff-head-1".into(), failure);
        });
    assert_plan("image_without_dask", &world);
}

//! Tables of decisions: what the scheduler tells and what was seen before, and the number that follows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::{Decision, LONGEST_WAIT, Useful};
use crate::api::{IdleAction, RestReason, RestStatus};
use crate::dask::{Load, Retired, Retirement, RetirementOutcome, Worker, WorkerSeen};
use crate::lookup::Lookup;
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};

const GIB: u64 = 1 << 30;

/// A cluster of 0 to 40 workers of eight threads, with windows of 30 and 600 s.
#[derive(Clone)]
struct Case(World);

impl Case {
    /// So many workers have registered, and so many are wanted; their scheduler has this to do.
    fn new(workers: usize, load: Load) -> Self {
        Self::of(workers, load, |_| {})
    }

    fn of(workers: usize, load: Load, change: impl FnOnce(&mut Value)) -> Self {
        let names: Vec<_> = (0..workers).map(|slot| format!("w{slot:02}-1")).collect();
        let world = World::provisioned(|spec| {
            spec["scheduler"]["runWorker"] = json!(false);
            spec["worker"]["replicas"] = json!(1);
            spec["autoscaling"] = json!({
                "minReplicas": 0, "maxReplicas": 40, "targetDurationSeconds": 300,
                "scaleUpStabilizationSeconds": 30, "scaleDownStabilizationSeconds": 600,
                "maxScaleUpStep": 20, "maxScaleDownPercent": 25,
            });
            change(spec);
        })
        .head("head-1")
        .published()
        .registered(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let told = u32::try_from(workers).unwrap();
        Self(world.with(|observed| {
            observed.told.desired_replicas = Some(told);
            observed.scheduler.state.as_mut().unwrap().load = load;
        }))
    }

    fn with(self, change: impl FnOnce(&mut crate::reconcile::Observed)) -> Self {
        Self(self.0.with(change))
    }

    fn workers(self, change: impl Fn(&mut Worker)) -> Self {
        self.with(|observed| {
            let state = observed.scheduler.state.as_mut().unwrap();
            state.workers.iter_mut().for_each(change);
            state.total_threads = state
                .workers
                .iter()
                .map(|worker| u64::from(worker.threads))
                .sum();
        })
    }

    /// The same was seen for so long.
    fn lasting(self, seconds: i64) -> Self {
        self.lasting_as(seconds, |_| {})
    }

    /// Something else was seen for so long.
    fn lasting_as(self, seconds: i64, change: impl Fn(&mut Load)) -> Self {
        let mut case = self.clone();
        case.0 = case
            .0
            .with(|observed| change(&mut observed.scheduler.state.as_mut().unwrap().load));
        let mut seen = self.0.observed.recommendations.clone();
        let begin = self.0.observed.seen_at;
        for second in (0..seconds).step_by(5).chain([seconds]) {
            let at = begin + jiff::SignedDuration::from_secs(second);
            let look = case.clone().with(|observed| observed.seen_at = at);
            seen.see(&look.decide(), at);
        }
        let until = begin + jiff::SignedDuration::from_secs(seconds);
        self.with(|observed| {
            observed.recommendations = seen;
            observed.seen_at = until;
        })
    }

    fn decide(&self) -> Decision {
        let cluster = self.0.cluster();
        let lineup = self.0.observed.lineup_of(cluster).unwrap();
        lineup.aim.decision.unwrap()
    }

    fn why(&self) -> String {
        self.decide().why
    }
}

/// So many tasks of so many seconds wait for a worker.
fn queued(tasks: u32, seconds_each: f64) -> Load {
    Load {
        queued: tasks,
        work_seconds: f64::from(tasks) * seconds_each,
        clients: 1,
        ..Load::default()
    }
}

fn quiet() -> Load {
    Load::default()
}

fn holding(gib: u64) -> Load {
    Load {
        nbytes: gib * GIB,
        ..Load::default()
    }
}

/// The pool says that it gets no more nodes, and a worker waits for one.
fn refused(case: Case) -> Case {
    Case(case.0.pool("Succeeded", |body| {
        body["properties"]["properties"]["errors"] =
            json!([{"error": {"code": "ClusterCoreQuotaReached", "message": "no cores"}}]);
    }))
}

fn waiting(case: Case, job: &str) -> Case {
    Case(case.0.job(job, "Queued", |_| {}))
}

#[test]
fn as_many_are_of_use_as_do_the_work_in_time_and_no_more_than_there_are_tasks_for() {
    for (workers, load, grow) in [
        (0, queued(0, 0.0), 0),
        // Nobody is there who could run it.
        (0, queued(1, 0.001), 1),
        (0, queued(3, 0.0), 1),
        (0, queued(480, 30.0), 6),
        (0, queued(481, 30.0), 7),
        // The work of one task is not done by two.
        (0, queued(1, 100_000.0), 1),
        (0, queued(16, 100_000.0), 2),
        (0, queued(17, 100_000.0), 3),
        // It is done in time by those that are there.
        (6, queued(480, 30.0), 6),
        (9, queued(480, 30.0), 6),
        (9, queued(u32::MAX, f64::from(u32::MAX)), u32::MAX / 8 + 1),
    ] {
        let decision = Case::new(workers, load.clone()).decide();
        assert_eq!(decision.useful.unwrap().grow, grow, "{workers} {load:?}");
    }
}

#[test]
fn threads_are_those_that_registered_then_those_asked_for_then_the_cores_of_the_size() {
    let load = || queued(480, 30.0);
    let grow = |case: &Case| case.decide().useful.unwrap().grow;
    assert_eq!(grow(&Case::new(0, load())), 6, "the size has eight cores");
    let asked = |spec: &mut Value| spec["worker"]["threads"] = json!(4);
    assert_eq!(grow(&Case::of(0, load(), asked)), 12);
    let registered = Case::of(2, load(), asked).workers(|worker| worker.threads = 16);
    assert_eq!(grow(&registered), 3);
    let unknown = Case::new(0, load()).with(|observed| observed.vm_sizes = Lookup::NotAsked);
    assert_eq!(grow(&unknown), 48);
}

#[test]
fn a_small_head_with_a_pool_of_its_own_says_nothing_of_the_workers_machines() {
    let grow = |compute: Value| {
        let case = Case::of(0, Load::default(), |spec| {
            spec["scheduler"] = json!({"runWorker": true});
            if !compute.is_null() {
                spec["scheduler"]["compute"] = compute;
            }
        });
        let case = Case(case.0.registered(&["head-1"])).workers(|worker| worker.threads = 2);
        let case = case.with(|observed| {
            observed.told.desired_replicas = Some(0);
            observed.scheduler.state.as_mut().unwrap().load = queued(160, 30.0);
        });
        case.decide().useful.unwrap().grow
    };
    // 16 threads would do the work in time, and the head has two.
    assert_eq!(grow(json!({})), 2, "of eight threads each");
    assert_eq!(grow(Value::Null), 7, "as small as the head beside them");
}

#[test]
fn the_heads_own_worker_is_there_to_be_used() {
    let with_own = |load| {
        let case = Case::of(0, load, |spec| {
            spec["scheduler"]["runWorker"] = json!(true);
        });
        Case(case.0.registered(&["head-1"]).with(|observed| {
            observed.told.desired_replicas = Some(0);
        }))
    };
    let with_load = |load: Load| {
        let case = with_own(load.clone());
        case.with(|observed| observed.scheduler.state.as_mut().unwrap().load = load)
    };
    for (load, grow) in [
        (queued(100, 1.0), 0),
        (queued(80, 30.0), 0),
        (queued(81, 30.0), 1),
        (queued(480, 30.0), 5),
    ] {
        let decision = with_load(load.clone()).decide();
        assert_eq!(
            decision.useful.unwrap().grow,
            grow,
            "{load:?} {}",
            decision.why
        );
    }
    assert!(
        with_load(queued(480, 30.0))
            .why()
            .contains("beside 8 that are there")
    );
}

#[test]
fn what_lasts_is_asked_for_and_a_burst_is_not() {
    let load = queued(480, 30.0);
    let first = Case::new(1, load.clone());
    assert_eq!(first.decide().replicas, 1, "it was seen for the first time");
    assert_eq!(
        first.decide().why,
        "want 1: 480 tasks, 14400 s of work over 8 threads x 300 s, and more only if it lasts for 30 s"
    );
    assert_eq!(first.clone().lasting(29).decide().replicas, 1);
    let lasting = first.lasting(30);
    assert_eq!(
        lasting.decide().why,
        "want 6: 480 tasks, 14400 s of work over 8 threads x 300 s"
    );
    let noise = Case::new(1, load).lasting_as(25, |load| *load = quiet());
    assert_eq!(noise.lasting(20).decide().replicas, 1);
    let at_once = Case::of(1, queued(480, 30.0), |spec| {
        spec["autoscaling"]["scaleUpStabilizationSeconds"] = json!(0);
    });
    assert_eq!(at_once.decide().replicas, 6);
}

#[test]
fn the_least_of_what_was_of_use_lately_is_asked_for() {
    let case = Case::new(1, queued(4800, 30.0)).lasting_as(25, |load| *load = queued(240, 30.0));
    assert_eq!(case.lasting(5).decide().replicas, 3);
}

#[test]
fn never_more_than_the_greatest_number_and_never_more_on_their_way_than_a_step() {
    let huge = || queued(100_000, 30.0);
    let case = Case::new(1, huge()).lasting(30);
    assert_eq!(
        case.why(),
        "want 21: 100000 tasks, 3000000 s of work over 8 threads x 300 s, which is 40, but 20 on their way at once"
    );
    // Twenty are on their way already.
    let on_their_way = case.with(|observed| observed.told.desired_replicas = Some(21));
    assert_eq!(on_their_way.decide().replicas, 21);
    let registered = Case::new(21, huge()).lasting(30).decide();
    assert_eq!(registered.replicas, 40);
    assert!(
        registered.why.ends_with("and maxReplicas is 40"),
        "{}",
        registered.why
    );
    assert_eq!(Case::new(40, huge()).lasting(30).decide().replicas, 40);
}

#[test]
fn fewer_only_after_they_were_enough_for_the_whole_window_and_step_by_step() {
    let case = Case::new(20, quiet());
    assert_eq!(case.decide().replicas, 20);
    assert_eq!(case.clone().lasting(599).decide().replicas, 20);
    let lasting = case.lasting(600);
    assert_eq!(
        lasting.why(),
        "want 15: nothing runs or waits, down to 0 step by step"
    );
    let last = Case::new(1, quiet()).lasting(600).decide();
    assert_eq!(last.why, "want 0: nothing runs or waits");
    let peak = Case::new(20, quiet()).lasting_as(5, |load| *load = queued(480, 30.0));
    assert_eq!(peak.lasting(595).decide().replicas, 20);
}

#[test]
fn the_greatest_of_what_was_of_use_lately_stays() {
    let case = Case::new(20, quiet()).lasting_as(60, |load| *load = queued(144, 30.0));
    assert_eq!(case.lasting(540).decide().replicas, 18);
}

#[test]
fn steps_down_are_a_minute_apart_whatever_the_clock_was_then() {
    let case = Case::new(20, quiet()).lasting(600);
    let scaled = |seconds: i64| {
        let case = case.clone();
        case.with(|observed| observed.told.last_scale_time = Some(seconds_after_noon(seconds)))
            .decide()
    };
    assert_eq!(scaled(541).replicas, 20);
    assert_eq!(scaled(541).look_again, Some(seconds_after_noon(601)));
    assert_eq!(scaled(540).replicas, 15);
    assert_eq!(scaled(100_000).replicas, 15, "it comes from another clock");
}

#[test]
fn never_fewer_than_the_least_number() {
    let least = |spec: &mut Value| spec["autoscaling"]["minReplicas"] = json!(3);
    let case = Case::of(3, quiet(), least).lasting(600);
    assert_eq!(
        case.decide(),
        Decision {
            useful: Some(Useful { grow: 0, keep: 0 }),
            ..Decision::of(3, "nothing runs or waits, and minReplicas is 3".into())
        }
    );
    assert_eq!(Case::of(0, quiet(), least).decide().replicas, 3, "at once");
    let most = |spec: &mut Value| spec["autoscaling"]["maxReplicas"] = json!(5);
    assert_eq!(Case::of(9, quiet(), most).decide().replicas, 5, "at once");
}

#[test]
fn what_tasks_can_keep_busy_stays_although_fewer_would_be_in_time() {
    // A sixth of it would be enough, and take six times as long.
    let case = Case::new(12, queued(2000, 1.0)).lasting(600);
    let decision = case.decide();
    assert_eq!(decision.useful, Some(Useful { grow: 1, keep: 12 }));
    assert_eq!(decision.replicas, 12);
    let nearly_done = Case::new(12, queued(20, 1.0)).lasting(600);
    assert_eq!(nearly_done.decide().replicas, 9);
}

#[test]
fn a_worker_at_a_long_task_stays() {
    let load = |seconds: f64| Load {
        processing: 6,
        work_seconds: 6.0 * seconds,
        ..Load::default()
    };
    let decide = |seconds| {
        let case = Case::new(6, load(seconds)).workers(|worker| worker.processing = 1);
        case.lasting(600).decide()
    };
    assert_eq!(decide(61.0).replicas, 6);
    assert!(decide(61.0).why.ends_with("6 workers are at long tasks"));
    assert_eq!(decide(59.0).replicas, 5);
}

#[test]
fn full_memory_asks_for_more_only_while_something_runs() {
    // Two workers of 56 GiB hold 67 GiB below 60 %.
    let full = |gib, tasks| Load {
        nbytes: gib * GIB,
        ..queued(tasks, 1.0)
    };
    for (load, replicas) in [(full(67, 9), 2), (full(68, 9), 3), (full(90, 0), 2)] {
        let case = Case::new(2, load.clone()).lasting(60);
        assert_eq!(case.decide().replicas, replicas, "{load:?}");
    }
    assert!(
        Case::new(2, full(68, 9))
            .lasting(60)
            .why()
            .contains("68Gi held over at most 60 % of 56Gi each"),
    );
    let unlimited = Case::new(2, full(900, 9)).workers(|worker| worker.memory_limit = 0);
    let unlimited = unlimited.lasting(60);
    assert_eq!(unlimited.decide().useful.unwrap().grow, 1);
}

#[test]
fn what_stays_holds_the_data_twice_over() {
    for (gib, replicas) in [(1, 9), (200, 9), (252, 9), (253, 10), (300, 11), (900, 12)] {
        let case = Case::new(12, holding(gib)).lasting(600);
        assert_eq!(case.decide().replicas, replicas, "{gib} GiB");
    }
    let last = Case::new(1, holding(1)).lasting(600);
    assert_eq!(last.decide().replicas, 1, "data needs somebody to hold it");
    assert_eq!(
        last.why(),
        "want 1: nothing runs, 1Gi held, to hold 1Gi twice over"
    );
}

#[test]
fn tasks_that_no_worker_may_run_ask_for_nothing_and_it_is_told() {
    let restricted = Load {
        unrunnable: 50,
        ..Load::default()
    };
    let case = Case::new(1, restricted).lasting(600);
    assert_eq!(
        case.why(),
        "want 0: nothing runs or waits; some tasks ask for a worker or resource that no worker of this cluster has"
    );
}

#[test]
fn a_pool_that_gets_no_more_nodes_is_asked_for_no_more() {
    let case = Case::new(3, queued(480, 30.0)).lasting(60);
    let with_one_waiting = |case: Case| waiting(refused(case), "w03-1");
    let case = case.with(|observed| observed.told.desired_replicas = Some(4));
    assert_eq!(
        with_one_waiting(case.clone()).why(),
        "want 4: 480 tasks, 14400 s of work over 8 threads x 300 s; capped by QuotaExceeded at 4"
    );
    assert_eq!(
        refused(case).decide().replicas,
        6,
        "nobody waits, so it is what the pool said once"
    );
}

#[test]
fn nobody_is_let_go_who_is_not_to_be_disrupted() {
    let disturbed = Case::new(4, quiet()).lasting(600);
    let case = disturbed.with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(
        case.why(),
        "want 4: nothing runs or waits; the annotation do-not-disrupt keeps the others"
    );
    let growing = Case::new(4, queued(480, 30.0)).lasting(60);
    let growing = growing.with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(growing.decide().replicas, 6);
    let lowered = |told: u32| {
        let lowered = Case::new(4, quiet()).lasting(600);
        lowered.with(|observed| {
            observed.told.desired_replicas = Some(told);
            observed.annotations.do_not_disrupt = true;
        })
    };
    assert_eq!(
        lowered(1).decide().replicas,
        4,
        "also who was one too many before"
    );
    let leaving = lowered(1).with(|observed| {
        let state = observed.scheduler.state.as_mut().unwrap();
        state.workers[0].status = "closing_gracefully".into();
    });
    assert_eq!(leaving.decide().replicas, 3, "one has been told to go");
    let queued = Case(lowered(1).0.job("w04-1", "Queued", |_| {}));
    assert_eq!(
        queued.decide().replicas,
        4,
        "a job that waits holds nothing"
    );
    let bounded = Case::of(4, quiet(), |spec| {
        spec["autoscaling"]["maxReplicas"] = json!(2);
    });
    let bounded = bounded.with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(bounded.decide().replicas, 2, "the spec says so");
}

#[test]
fn who_does_not_answer_or_talks_nonsense_changes_nothing() {
    let case = Case::new(4, quiet()).lasting(600);
    let stays = |case: Case, caveat: Option<&str>| {
        let decision = case.decide();
        assert_eq!(decision.replicas, 4, "{}", decision.why);
        assert_eq!(decision.useful, None, "{}", decision.why);
        let expected = caveat.map(|caveat| format!("the scheduler {caveat}, so the number stays"));
        assert_eq!(decision.caveat, expected);
    };
    stays(
        Case(case.0.clone().silent("Unreachable")),
        Some("does not answer"),
    );
    stays(
        case.clone()
            .with(|observed| observed.scheduler.state = None),
        None,
    );
    let nonsense = |change: fn(&mut crate::dask::State), told: &str| {
        let case = case
            .clone()
            .with(|observed| change(observed.scheduler.state.as_mut().unwrap()));
        stays(case, Some(&format!("tells of {told}")));
    };
    for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let case = case.clone().with(|observed| {
            observed.scheduler.state.as_mut().unwrap().load.work_seconds = seconds;
        });
        stays(case, Some("tells of seconds of work that are no number"));
    }
    nonsense(
        |state| state.workers[0].threads = 100_000,
        "a worker with more threads than any machine has",
    );
    nonsense(
        |state| state.total_threads = 7,
        "threads that are not the sum of its workers'",
    );
    nonsense(
        |state| {
            state.workers.clear();
            state.total_threads = 0;
            state.load.processing = 3;
        },
        "tasks that run while there is no worker",
    );
}

#[test]
fn the_size_to_start_with_is_kept_within_bounds_and_stays_until_there_is_something_to_know() {
    for (start, replicas) in [(1, 2), (7, 7)] {
        let world = World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(start);
            spec["autoscaling"] = json!({"minReplicas": 2, "maxReplicas": 9});
        });
        let decision = Case(world).decide();
        assert_eq!(
            decision.why,
            format!("want {replicas}: the size to start with")
        );
    }
}

#[test]
fn switched_on_it_begins_with_the_workers_that_there_are() {
    let begins = |workers| {
        let case = Case::new(workers, queued(480, 30.0));
        case.with(|observed| observed.told.desired_replicas = None)
            .decide()
            .replicas
    };
    assert_eq!(begins(5), 5);
    assert_eq!(begins(0), 0);
}

#[test]
fn switched_off_the_spec_counts_again() {
    let world = Case::new(5, quiet()).0;
    let mut fixed = world.cluster().clone();
    fixed.autoscaling = None;
    let lineup = world.observed.lineup_of(&fixed).unwrap();
    assert_eq!((lineup.aim.workers, lineup.aim.decision), (1, None));
}

#[test]
fn it_looks_again_when_time_alone_may_change_something_and_within_a_minute() {
    let at = |case: &Case| {
        let look_again = case.decide().look_again?;
        Some(look_again.duration_since(case.0.observed.seen_at).as_secs())
    };
    assert_eq!(at(&Case::new(6, queued(480, 30.0))), None, "it fits");
    assert_eq!(
        at(&Case::new(0, quiet())),
        None,
        "there is nothing to let go"
    );
    assert_eq!(at(&Case::new(1, queued(480, 30.0))), Some(30));
    assert_eq!(at(&Case::new(1, queued(480, 30.0)).lasting(20)), Some(10));
    assert_eq!(at(&Case::new(4, quiet())), Some(LONGEST_WAIT.as_secs()));
    assert_eq!(at(&Case::new(4, quiet()).lasting(590)), Some(10));
    assert_eq!(at(&Case::new(40, queued(100_000, 30.0)).lasting(60)), None);
}

#[test]
fn a_long_window_is_waited_for_look_by_look() {
    let mut case = Case::of(4, quiet(), |spec| {
        spec["autoscaling"]["scaleDownStabilizationSeconds"] = json!(86_400);
    });
    let mut looks = 0;
    while case.decide().replicas == 4 {
        let decision = case.decide();
        let next = decision.look_again.unwrap();
        case = case.with(|observed| {
            let now = observed.seen_at;
            observed.recommendations.see(&decision, now);
            observed.seen_at = next;
        });
        looks += 1;
        assert!(looks < 2000, "it never comes to an end");
    }
    let passed = case.0.observed.seen_at.duration_since(noon());
    assert_eq!((passed.as_hours(), looks), (24, 1440));
}

#[test]
fn a_line_still_tells_what_matters_while_its_caveat_does() {
    let capped =
        |caveat: Option<&str>| Decision::of(4, "now".into()).with_caveat(caveat.map(str::to_owned));
    for (now, line, still) in [
        (None, "want 4: then", true),
        (None, "want 4: then; capped", false),
        (Some("capped"), "want 4: then; capped", true),
        (Some("capped"), "want 4: then", false),
        (Some("capped"), "want 4: then; not to be disrupted", false),
    ] {
        assert_eq!(capped(now).is_told_by(line), still, "{now:?} {line}");
    }
}

#[test]
fn every_decision_says_its_number_first_and_fits_into_status() {
    let never: Option<Timestamp> = None;
    for load in [quiet(), queued(u32::MAX, 1e300), holding(1 << 33)] {
        let decision = Case::new(2, load).lasting(700).decide();
        let begin = format!("want {}: ", decision.replicas);
        assert!(decision.why.starts_with(&begin), "{}", decision.why);
        assert!(decision.why.len() <= 1024, "{}", decision.why);
        assert!(decision.look_again != Some(noon()) && never.is_none());
    }
}

#[test]
fn the_example_of_the_documentation_is_what_is_decided() {
    let case = Case::of(0, Load::default(), |spec| {
        spec["scheduler"]["runWorker"] = json!(true);
        spec["autoscaling"] = json!({"maxReplicas": 30});
    });
    let case = Case(case.0.registered(&["head-1"]).with(|observed| {
        observed.told.desired_replicas = Some(0);
        observed.scheduler.state.as_mut().unwrap().load = queued(4800, 15.0);
    }));
    let line = case.lasting(30).why();
    let page = include_str!("../../../docs/scaling.md");
    assert!(page.contains(&format!("    {line}\n")), "{line}");
}

#[test]
fn a_cluster_that_was_suspended_begins_with_the_size_to_start_with() {
    let rested = Case::new(9, quiet()).with(|observed| {
        observed.told.rest = Some(RestStatus {
            reason: RestReason::Suspended,
            action: IdleAction::Suspend,
            since: Time(noon()),
            generation: 1,
            wake: None,
        });
    });
    let of = |world: World| {
        let decision = Case(world).decide();
        (decision.replicas, decision.why)
    };
    let resumed = of(rested.0.clone().job("head-1", "Canceled", |_| {}));
    assert_eq!(resumed, (1, "want 1: the size to start with".to_owned()));
    // Its head has not even gone.
    assert_eq!(rested.decide().replicas, 9);
    let failed = Case::new(9, quiet()).0.job("head-1", "Failed", |_| {});
    assert_eq!(of(failed).0, 9, "another head is to have as many");
}

#[test]
fn whoever_has_left_the_scheduler_is_not_kept_by_an_annotation() {
    let left = Case::new(1, quiet());
    let left = Case(left.0.job("w01-1", "Running", |_| {})).with(|observed| {
        observed.told.desired_replicas = Some(1);
        observed.annotations.do_not_disrupt = true;
    });
    assert_eq!(left.decide().replicas, 2, "it may still come to it");
    let job = left.0.job_id("w01-1");
    let was_seen = left.clone().with(|observed| {
        let seen = WorkerSeen::at(seconds_after_noon(-6));
        observed.scheduler.seen.insert(job.clone(), seen);
    });
    assert_eq!(was_seen.decide().replicas, 1);
    let was_retired = left.with(|observed| {
        observed.scheduler.retirement = Some(Retirement {
            asked_at: seconds_after_noon(-6),
            outcome: RetirementOutcome::Answered {
                at: seconds_after_noon(-5),
                retired: Retired {
                    retired: vec![format!("{job}.0a")],
                    ..Retired::default()
                },
            },
        });
    });
    assert_eq!(was_retired.decide().replicas, 1);
}

//! Tables of what nodes cost: the story's size costs 0.741 USD an hour.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::Reason;
use crate::lookup::Trouble;
use crate::reconcile::fixtures::{World, seconds_after_noon};

fn world(nodes: u32) -> World {
    World::provisioned(|spec| spec["worker"]["replicas"] = json!(2))
        .pool("Succeeded", |body| {
            body["properties"]["properties"]["currentNodeCount"] = json!(nodes);
        })
        .head("head-1")
}

fn told(world: World, hourly: &str, amount: &str) -> World {
    world.with(|observed| {
        let cost = json!({"hourly": hourly, "currency": "USD",
            "accrued": {"amount": amount, "asOf": "2026-01-01T12:00:00Z"}});
        observed.told.cost = Some(serde_json::from_value(cost).unwrap());
    })
}

fn at(world: World, seconds: i64) -> World {
    world.with(|observed| observed.seen_at = seconds_after_noon(seconds))
}

fn cost_of(world: &World) -> Option<CostStatus> {
    world.scene(|scene, lineup| cost(scene.cluster, scene.observed, &lineup.jobs))
}

/// Hourly, amount, and seconds after noon.
fn said(world: &World) -> (String, String, i64) {
    let cost = cost_of(world).unwrap();
    let as_of = cost.accrued.as_of.0.duration_since(seconds_after_noon(0));
    (cost.hourly.0, cost.accrued.amount.0, as_of.as_secs())
}

fn is(hourly: &str, amount: &str, as_of: i64) -> (String, String, i64) {
    (hourly.to_owned(), amount.to_owned(), as_of)
}

#[test]
fn all_nodes_of_a_pool_of_our_own_cost_and_of_another_those_that_run_our_jobs() {
    let own = told(world(3), "2.223", "1");
    assert_eq!(said(&at(own, 3600)), is("2.223", "3.223", 3600));
    let shared = World::empty(|spec| {
        spec.as_object_mut().unwrap().remove("network");
        spec["compute"] = json!({"name": "shared", "creationPolicy": "UseExisting"});
        spec["worker"]["replicas"] = json!(2);
    })
    .pool("Succeeded", |body| {
        body["properties"]["properties"]["currentNodeCount"] = json!(40);
        body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
    })
    .head("head-1")
    .job("w00-1", "Running", |_| {})
    .job("w01-1", "Queued", |_| {})
    .job("w02-1", "Completed", |_| {});
    let shared = told(shared, "0", "0");
    assert_eq!(said(&shared), is("0.296", "0", 0), "two at low priority");
}

#[test]
fn what_comes_together_follows_the_rate_that_was_told() {
    // Told of three nodes; meanwhile there is one.
    let fewer = told(world(1), "2.223", "10");
    assert_eq!(said(&at(fewer, 1800)), is("0.741", "11.1115", 1800));
}

#[test]
fn a_clock_that_jumps_adds_nothing_or_three_weeks_at_most() {
    let world = told(world(1), "0.741", "10");
    assert_eq!(said(&at(world.clone(), -7200)), is("0.741", "10", -7200));
    let years = 10 * 365 * 24 * 3600;
    let three_weeks = format!("{:.3}", 10.0 + 0.741 * 21.0 * 24.0);
    assert_eq!(said(&at(world, years)), is("0.741", &three_weeks, years));
}

#[test]
fn small_amounts_are_added_up_together_so_that_their_rounding_comes_to_nothing() {
    let world = told(world(1), "0.741", "10");
    assert_eq!(said(&at(world.clone(), 30)), is("0.741", "10", 0));
    assert_eq!(said(&at(world, 120)), is("0.741", "10.0247", 120));
}

#[test]
fn a_status_that_was_lost_is_made_up_for_by_the_times_of_the_jobs() {
    // Head and one worker for ten minutes, another until five seconds ago.
    let world = world(3)
        .job("w00-1", "Running", |_| {})
        .job("w01-1", "Failed", |_| {})
        .job("w01-2", "Queued", |_| {});
    assert_eq!(said(&world), is("2.223", "0.3695", 0));
    let new = World::empty(|_| {});
    assert_eq!(said(&new), is("0", "0", 0));
}

#[test]
fn where_no_price_is_known_there_is_no_cost_but_the_one_that_was_told() {
    let of_no_price =
        |world: World| world.with(|observed| observed.vm_sizes = Lookup::Present(Arc::default()));
    assert_eq!(cost_of(&of_no_price(world(1))), None);
    let unknown = of_no_price(told(world(1), "0.741", "10"));
    assert_eq!(cost_of(&unknown), unknown.observed.told.cost);
    let told = told(world(1), "2.223", "10");
    let unseen = told
        .clone()
        .with(|observed| observed.vm_sizes = Lookup::NotAsked);
    assert_eq!(cost_of(&unseen), unseen.observed.told.cost);
    let pool = told.place().compute.clone();
    let blind = told.with(|observed| {
        observed.resources.insert(pool, Lookup::NotAsked);
    });
    assert_eq!(cost_of(&blind), blind.observed.told.cost);
}

#[test]
fn the_budget_for_an_hour_pays_for_so_many_workers_beside_the_head() {
    let most = |budget: Value| {
        let world = World::provisioned(|spec| spec["budget"] = budget);
        world.scene(|scene, _| most_workers(scene.cluster, scene.observed))
    };
    let suspends = |amount: &str| json!({"maxPerHour": amount, "action": "Suspend"});
    assert_eq!(most(suspends("7.41")), Affordable::AtMost(9));
    assert_eq!(most(suspends("7.4")), Affordable::AtMost(8));
    assert_eq!(most(suspends("0.5")), Affordable::AtMost(0));
    assert_eq!(
        most(json!({"maxPerHour": "7.41"})),
        Affordable::Any,
        "it only warns"
    );
    assert_eq!(
        most(json!({"maxTotal": "1", "action": "Suspend"})),
        Affordable::Any
    );
}

#[test]
fn workers_that_are_too_dear_are_not_asked_for_and_none_is_let_go_whom_an_annotation_protects() {
    let dear = |amount: &str| {
        World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(5);
            spec["budget"] = json!({"maxPerHour": amount, "action": "Suspend"});
        })
        .head("head-1")
        .published()
        .registered(&["head-1", "w00-1", "w01-1", "w02-1"])
    };
    let aim = |world: &World| world.scene(|_, lineup| (lineup.aim.workers, lineup.aim.too_dear));
    assert_eq!(aim(&dear("7.41")), (5, None));
    assert_eq!(aim(&dear("2")), (1, Some(5)));
    let protected = dear("2").with(|observed| observed.annotations.do_not_disrupt = true);
    assert_eq!(aim(&protected), (3, Some(5)));
}

#[test]
fn when_the_budget_will_be_used_up_follows_from_the_rate() {
    let world = told(world(1), "2", "9");
    let world = World {
        wanted: World::provisioned(|spec| spec["budget"] = json!({"maxTotal": "10"})).wanted,
        ..world
    };
    let at = |world: &World| world.scene(|scene, _| used_up_at(scene.cluster, scene.observed));
    assert_eq!(at(&world), Some(seconds_after_noon(1801)));
    let still = told(world, "0", "9");
    assert_eq!(at(&still), None);
}

#[test]
fn while_nobody_knows_the_price_a_budget_for_an_hour_adds_nobody_and_lets_nobody_go() {
    let of = |replicas: u32, budget: Value| {
        let world = World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(replicas);
            spec["budget"] = budget;
        })
        .head("head-1")
        .published()
        .registered(&["head-1", "w00-1", "w01-1", "w02-1"])
        .with(|observed| {
            let trouble = Trouble::passing(Reason::AzureError, "no answer");
            observed.vm_sizes = Lookup::Unavailable(trouble);
        });
        let workers = world.scene(|_, lineup| lineup.aim.workers);
        let plan = world.plan().to_string();
        (workers, plan.contains("nobody knows what a node costs"))
    };
    let kept = || json!({"maxPerHour": "100", "action": "Suspend"});
    assert_eq!(of(5, kept()), (3, true));
    assert_eq!(of(2, kept()), (2, false));
    assert_eq!(
        of(5, json!({"maxPerHour": "100"})),
        (5, false),
        "it only warns"
    );
}

/// Workers at low priority, and a head on a smaller machine of a pool of its own: 0.148 and 0.29 USD an hour.
fn apart(creation_policy: &str, budget: Option<Value>) -> World {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(2);
        spec["compute"]["priority"] = json!("LowPriority");
        spec["scheduler"]["compute"] = if creation_policy == "Create" {
            json!({"name": "heads", "vmSize": "STANDARD_DS3_V2"})
        } else {
            json!({"name": "heads", "creationPolicy": creation_policy})
        };
        if let Some(budget) = budget {
            spec["budget"] = budget;
        }
    });
    let small = json!({
        "name": "Standard_DS3_v2", "vCPUs": 4,
        "estimatedVMPrices": {"billingCurrency": "USD", "unitOfMeasure": "OneHour", "values": [
            {"retailPrice": 0.29, "osType": "Linux", "vmTier": "Standard"},
        ]},
    });
    world
        .with(|observed| {
            let small = serde_json::from_value(small).unwrap();
            observed.vm_sizes = Lookup::Present([crate::reconcile::fixtures::ds13(), small].into());
        })
        .pool("Succeeded", |body| {
            body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
            body["properties"]["properties"]["currentNodeCount"] = json!(4);
        })
        .head_pool("Succeeded", |body| {
            body["properties"]["properties"]["vmSize"] = json!("STANDARD_DS3_V2");
            body["properties"]["properties"]["currentNodeCount"] = json!(1);
        })
}

#[test]
fn the_nodes_of_each_pool_cost_what_their_own_size_and_priority_do() {
    let own = told(apart("Create", None).head("head-1"), "0", "0");
    assert_eq!(said(&own).0, "0.882", "four workers' nodes and the head's");
    let theirs = |world: World| said(&told(world, "0", "0")).0;
    let shared = apart("UseExisting", None);
    assert_eq!(theirs(shared.clone()), "0.592", "no head runs there yet");
    assert_eq!(theirs(shared.head("head-1")), "0.882");
    // Ten minutes of the head and of a worker.
    let lost = apart("Create", None)
        .head("head-1")
        .job("w00-1", "Running", |_| {});
    assert_eq!(said(&lost).1, "0.073");
    let unseen = told(apart("Create", None).head("head-1"), "5", "1").with(|observed| {
        let pools = observed.resources.iter_mut();
        for (_, found) in pools.filter(|(id, _)| id.name() == "heads") {
            *found = Lookup::NotAsked;
        }
    });
    assert_eq!(cost_of(&unseen), unseen.observed.told.cost);
}

#[test]
fn the_budget_for_an_hour_pays_for_the_heads_node_first_and_for_workers_with_the_rest() {
    let most = |amount: &str| {
        let budget = json!({"maxPerHour": amount, "action": "Suspend"});
        let world = apart("Create", Some(budget));
        world.scene(|scene, _| most_workers(scene.cluster, scene.observed))
    };
    assert_eq!(most("0.882"), Affordable::AtMost(4));
    assert_eq!(most("0.881"), Affordable::AtMost(3));
    assert_eq!(most("0.2"), Affordable::AtMost(0));
}

#[test]
fn nodes_that_azure_has_taken_back_and_pools_without_nodes_cost_nothing() {
    let preempted = told(world(10), "0", "0").pool("Succeeded", |body| {
        let inner = &mut body["properties"]["properties"];
        inner["currentNodeCount"] = json!(10);
        inner["nodeStateCounts"] = json!({"preemptedNodeCount": 8});
    });
    assert_eq!(said(&preempted).0, "1.482");
    let unreadable = |nodes: u32| {
        told(world(nodes), "7.41", "3").with(|observed| {
            let trouble = Trouble::passing(Reason::AzureError, "no answer");
            observed.vm_sizes = Lookup::Unavailable(trouble);
        })
    };
    assert_eq!(said(&unreadable(0)).0, "0");
    assert_eq!(said(&unreadable(10)).0, "7.41", "as it was told");
}

#[test]
fn who_closes_slowly_is_not_counted_on_while_nobody_may_be_added() {
    let world = World::provisioned(|spec| {
        spec["worker"]["replicas"] = json!(9);
        spec["budget"] = json!({"maxPerHour": "100", "action": "Suspend"});
    })
    .head("head-1")
    .published()
    .registered(&["head-1", "w00-1", "w01-1", "w02-1"]);
    let job = world.job_id("w01-1");
    let world = world.with(|observed| {
        observed.vm_sizes = Lookup::NotAsked;
        let sight = &mut observed.scheduler;
        let workers = &mut sight.state.as_mut().unwrap().workers;
        let worker = workers.iter_mut().find(|it| it.job_id() == job).unwrap();
        worker.status = "closing_gracefully".into();
        let seen = crate::dask::WorkerSeen {
            leaving_since: Some(seconds_after_noon(-120)),
            ..crate::dask::WorkerSeen::at(observed.seen_at)
        };
        sight.seen.insert(job.clone(), seen);
    });
    assert_eq!(world.scene(|_, lineup| lineup.aim.workers), 2);
}

#[test]
fn an_answer_without_a_price_forgets_nothing_that_was_spent() {
    let spent = told(world(3), "2.223", "400");
    let no_price = spent.clone().with(|observed| {
        observed.vm_sizes = Lookup::Present(Arc::default());
    });
    let cost = cost_of(&no_price);
    // What the next look finds of it, once the price is known again.
    let next = at(spent, 60).with(|observed| observed.told.cost = cost.clone());
    assert_eq!(said(&next).1, "400.0371", "{cost:?}");
}

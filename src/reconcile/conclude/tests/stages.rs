//! What each stage says of itself.

use serde_json::{Value, json};

use super::{Round, condition, running, throttled, told, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::Setback;
use crate::reconcile::fixtures::{World, seconds_after_noon};

const STAGES: [ConditionType; 6] = super::super::STAGES;

/// Status and reason of all stages, a line each.
fn stages(status: &DaskClusterStatus) -> Vec<String> {
    STAGES
        .into_iter()
        .map(|stage| format!("{stage} {}", told(status, stage)))
        .collect()
}

fn message(status: &DaskClusterStatus, stage: ConditionType) -> &str {
    &condition(status, stage).message
}

fn pool_of_somebody_else() -> World {
    World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = Value::Null)
}

#[test]
fn every_stage_holds_when_there_is_nothing_left_to_do() {
    let status = told_of_running();
    for stage in STAGES {
        assert_eq!(told(&status, stage), "True Ready", "{stage}");
        assert_eq!(message(&status, stage), "", "{stage}");
    }
}

#[test]
fn a_stage_says_what_is_done_for_it_and_what_it_waits_for() {
    for (world, expected) in [
        (
            World::empty(|_| {}),
            [
                "NetworkReady False Provisioning",
                "ComputeReady False Pending",
                "DatasetsReady False Provisioning",
                "EnvironmentReady False Provisioning",
                "SchedulerReady False Pending",
                "WorkersReady False Pending",
            ],
        ),
        (
            World::empty(|_| {}).network("Updating"),
            [
                "NetworkReady False Provisioning",
                "ComputeReady False Pending",
                "DatasetsReady False Provisioning",
                "EnvironmentReady False Provisioning",
                "SchedulerReady False Pending",
                "WorkersReady False Pending",
            ],
        ),
        (
            World::provisioned(|_| {}).pool("Creating", |_| {}),
            [
                "NetworkReady True Ready",
                "ComputeReady False Provisioning",
                "DatasetsReady True Ready",
                "EnvironmentReady True Ready",
                "SchedulerReady False Pending",
                "WorkersReady False Pending",
            ],
        ),
        (
            World::provisioned(|_| {}),
            [
                "NetworkReady True Ready",
                "ComputeReady True Ready",
                "DatasetsReady True Ready",
                "EnvironmentReady True Ready",
                "SchedulerReady False Provisioning",
                "WorkersReady False WorkersStarting",
            ],
        ),
        (
            World::provisioned(|_| {})
                .connected("head-1")
                .job("head-1", "Queued", |_| {})
                .job("w00-1", "Queued", |_| {})
                .job("w01-1", "Preparing", |_| {}),
            [
                "NetworkReady True Ready",
                "ComputeReady True Ready",
                "DatasetsReady True Ready",
                "EnvironmentReady True Ready",
                "SchedulerReady False WaitingForNodes",
                "WorkersReady False WaitingForNodes",
            ],
        ),
        (
            World::answering(2, &["head-1", "w00-1"]).job("w01-1", "Running", |_| {}),
            [
                "NetworkReady True Ready",
                "ComputeReady True Ready",
                "DatasetsReady True Ready",
                "EnvironmentReady True Ready",
                "SchedulerReady True Ready",
                "WorkersReady False WorkersStarting",
            ],
        ),
        (
            pool_of_somebody_else(),
            [
                "NetworkReady True Ready",
                "ComputeReady False NotOurs",
                "DatasetsReady True Ready",
                "EnvironmentReady True Ready",
                "SchedulerReady False Pending",
                "WorkersReady False Pending",
            ],
        ),
    ] {
        let plan = world.plan();
        assert_eq!(stages(&Round::of(world).status()), expected, "{plan}");
    }
}

#[test]
fn the_message_names_the_step_the_wait_or_the_trouble() {
    let status = Round::of(World::empty(|_| {})).status();
    assert_eq!(
        message(&status, ConditionType::NetworkReady),
        "PUT VirtualNetwork dask-vnet"
    );
    assert_eq!(
        message(&status, ConditionType::ComputeReady),
        "ComputeCluster ds13-cluster waits for Subnet"
    );
    let status = Round::of(pool_of_somebody_else()).status();
    let blocked = message(&status, ConditionType::ComputeReady);
    assert!(blocked.contains("creationPolicy UseExisting"), "{blocked}");
}

#[test]
fn what_failed_while_it_was_done_stands_before_what_was_planned() {
    let round =
        Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", throttled());
    let status = round.status();
    assert_eq!(
        told(&status, ConditionType::NetworkReady),
        "False Throttled"
    );
    assert_eq!(
        told(&status, ConditionType::DatasetsReady),
        "False Provisioning",
        "the others were done"
    );
}

#[test]
fn a_stage_whose_step_was_not_reached_says_what_it_waits_behind() {
    let foreign = Trouble::lasting(Reason::ServiceNotOurs, "Service exists");
    let round = Round::of(World::empty(|_| {})).failing("create Service", foreign);
    let status = round.status();
    assert_eq!(
        told(&status, ConditionType::SchedulerReady),
        "False ServiceNotOurs"
    );
    assert_eq!(told(&status, ConditionType::NetworkReady), "False Pending");
    assert_eq!(
        message(&status, ConditionType::NetworkReady),
        "PUT VirtualNetwork dask-vnet waits until what stands in the way is gone"
    );
}

#[test]
fn what_waits_behind_a_refusal_reads_the_same_while_that_is_tried_again_and_in_between() {
    let foreign = Trouble::lasting(Reason::ServiceNotOurs, "Service exists");
    let world = World::empty(|_| {});
    let tried = Round::of(world.clone()).failing("create Service", foreign.clone());
    let tried = tried.status();
    let in_between = world.with(|observed| {
        let setback = Setback::refused(foreign, 1, seconds_after_noon(30));
        observed
            .setbacks
            .insert("create Service".to_owned(), setback);
    });
    let in_between = Round::of(in_between).after(tried.clone()).status();
    assert_eq!(in_between, tried);
}

#[test]
fn a_stage_that_this_look_did_not_see_stays_as_it_was_told_last() {
    let unasked = running().with(|observed| {
        observed.scheduler.state = None;
    });
    let first = Round::of(unasked.clone()).status();
    let later = Round::of(unasked).after(told_of_running()).status();
    for stage in [ConditionType::SchedulerReady, ConditionType::WorkersReady] {
        assert_eq!(told(&first, stage), "Unknown Pending", "{stage}");
        assert_eq!(told(&later, stage), "True Ready", "{stage}");
    }
    assert_eq!(told(&first, ConditionType::ComputeReady), "True Ready");
}

#[test]
fn what_stands_in_the_way_of_everything_leaves_the_stages_as_they_were() {
    let without_credentials = |world: World| {
        world.with(|observed| {
            let trouble = Trouble::passing(Reason::CredentialsMissing, "Secret is not there");
            observed.credentials.trouble = Some(trouble);
        })
    };
    let without_workspace =
        |world: World| world.with(|observed| observed.workspace = Lookup::NotAsked);
    let without_namespace =
        |world: World| world.with(|observed| observed.namespace_is_going = true);
    for change in [
        without_credentials as fn(World) -> World,
        without_workspace,
        without_namespace,
    ] {
        let first = Round::of(change(running())).status();
        let later = Round::of(change(running())).after(told_of_running());
        for stage in STAGES {
            assert_eq!(told(&first, stage), "Unknown Pending", "{stage}");
            assert_eq!(told(&later.status(), stage), "True Ready", "{stage}");
        }
    }
}

#[test]
fn a_size_that_the_region_lacks_is_told_by_the_pool_alone() {
    let world = World::empty(|spec| spec["compute"]["vmSize"] = json!("STANDARD_NONE"));
    let status = Round::of(world).status();
    assert_eq!(
        told(&status, ConditionType::ComputeReady),
        "False VmSizeUnknown"
    );
    assert_eq!(
        told(&status, ConditionType::NetworkReady),
        "Unknown Pending"
    );
}

#[test]
fn a_cluster_that_leaves_has_no_scheduler_and_what_else_it_had_stays_told() {
    let leaving = running().deleted();
    let later = Round::of(leaving.clone()).after(told_of_running()).status();
    assert_eq!(
        stages(&later),
        [
            "NetworkReady True Ready",
            "ComputeReady True Ready",
            "DatasetsReady True Ready",
            "EnvironmentReady True Ready",
            "SchedulerReady False Deleting",
            "WorkersReady False Deleting",
        ]
    );
    let never_told = Round::of(leaving).after(DaskClusterStatus::default());
    for stage in STAGES {
        assert_eq!(told(&never_told.status(), stage), "False Deleting");
    }
}

#[test]
fn workers_of_a_silent_scheduler_are_not_counted() {
    let status = Round::of(running().silent("Unreachable"))
        .after(told_of_running())
        .status();
    assert_eq!(
        told(&status, ConditionType::SchedulerReady),
        "False SchedulerLost"
    );
    assert_eq!(told(&status, ConditionType::WorkersReady), "False Pending");
    assert_eq!(
        message(&status, ConditionType::WorkersReady),
        "the scheduler does not answer, so nobody knows how many of the 3 workers are registered"
    );
}

/// Dask says this of the worker of job `w00-1`.
fn first_worker(world: World, status: &str) -> World {
    let job = world.job_id("w00-1");
    world.with(|observed| {
        let state = observed.scheduler.state.as_mut().unwrap();
        let mut workers = state.workers.iter_mut();
        let worker = workers.find(|worker| worker.job_id() == job);
        worker.unwrap().status = status.into();
    })
}

#[test]
fn that_data_is_held_is_told_on_by_an_operator_that_has_not_asked_yet() {
    let lowered = World::answering(1, &["head-1", "w00-1", "w01-1"]);
    let mut before = Round::of(lowered.clone()).status();
    let workers = before.conditions.iter_mut();
    for held in workers.filter(|it| it.type_ == ConditionType::WorkersReady.as_str()) {
        held.reason = Reason::DataHeld.as_str().to_owned();
        held.message = "1 worker is to go, and the data fits nowhere else".to_owned();
    }
    let unasked = lowered.with(|observed| observed.scheduler.state = None);
    let after = Round::of(unasked).after(before.clone()).conclude();
    assert_eq!(
        told(&after.status, ConditionType::WorkersReady),
        "False DataHeld"
    );
    assert_eq!(after.events, []);
}

#[test]
fn wanted_workers_that_have_not_registered_are_pending() {
    for (world, desired, pending, ready) in [
        (World::empty(|_| {}), 3, 3, 0),
        (World::answering(2, &["head-1", "w00-1"]), 3, 1, 2),
        (running(), 3, 0, 3),
        (World::answering(1, &["head-1", "w00-1", "w01-1"]), 2, 0, 3),
        (first_worker(running(), "paused"), 3, 0, 3),
        (first_worker(running(), "closing_gracefully"), 3, 1, 2),
    ] {
        let workers = Round::of(world).status().workers.unwrap();
        let counted = (workers.desired, workers.pending, workers.ready);
        assert_eq!(counted, (desired, pending, ready));
    }
}

#[test]
fn jupyter_is_shown_where_it_is_asked_for_and_at_the_dashboard_of_the_head_alone() {
    for (asked, tag, shown) in [
        (true, "http://10.20.0.4:8787/jupyter", true),
        (false, "http://10.20.0.4:8787/jupyter", false),
        (
            true,
            "http://10.20.0.4:8787@elsewhere.example/jupyter",
            false,
        ),
        (true, "http://10.20.0.4:1/jupyter", false),
    ] {
        let world = World::provisioned(|spec| spec["scheduler"] = json!({"jupyter": asked}))
            .head("head-1")
            .job("head-1", "Running", |body| {
                let tags = &mut body["properties"]["tags"];
                tags["scheduler"] = json!("tcp://10.20.0.4:8786");
                tags["dashboard"] = json!("http://10.20.0.4:8787");
                tags["jupyter"] = json!(tag);
            });
        let scheduler = Round::of(world).status().scheduler.unwrap();
        assert_eq!(scheduler.jupyter, shown.then(|| tag.to_owned()), "{tag}");
    }
}

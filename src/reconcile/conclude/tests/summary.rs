//! `Ready`, `Reconciling`, `Stalled` and the phase.

use serde_json::Value;

use super::{Round, condition, running, throttled, told, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, seconds_after_noon};
use crate::reconcile::{SpecError, SpecErrors, Wanted};

/// `Running: Ready True Ready, Reconciling False Ready, Stalled False Ready`.
fn summary(status: &DaskClusterStatus) -> String {
    let told = |kind| format!("{kind} {}", told(status, kind));
    format!(
        "{:?}: {}, {}, {}",
        status.phase.unwrap(),
        told(ConditionType::Ready),
        told(ConditionType::Reconciling),
        told(ConditionType::Stalled),
    )
}

fn ready_message(status: &DaskClusterStatus) -> &str {
    &condition(status, ConditionType::Ready).message
}

fn pool_of_somebody_else(world: World) -> World {
    world.pool("Succeeded", |body| body["tags"] = Value::Null)
}

fn dataset_points_elsewhere(world: World) -> World {
    let id = world.cluster().datasets[0].id.clone();
    let body = serde_json::json!({"properties": {"dataUri": "https://elsewhere/"}});
    world.found(id, body)
}

fn without_credentials(world: World) -> World {
    world.with(|observed| {
        let trouble = Trouble::passing(Reason::CredentialsMissing, "Secret is not there");
        observed.credentials.trouble = Some(trouble);
    })
}

fn misunderstood() -> World {
    let mut world = running();
    world.wanted = Wanted::Unknown(SpecErrors(vec![SpecError {
        path: "spec.environment.condaFile".into(),
        message: "is no YAML".into(),
    }]));
    world
}

#[test]
fn a_cluster_on_its_way_is_reconciling_and_a_refused_one_stalled() {
    let queued = World::provisioned(|_| {})
        .connected("head-1")
        .job("head-1", "Queued", |_| {});
    for (world, expected) in [
        (
            World::empty(|_| {}),
            "Provisioning: Ready False Provisioning, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            World::empty(|_| {}).with(|observed| observed.workspace = Lookup::NotAsked),
            "Pending: Ready Unknown Pending, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            without_credentials(World::empty(|_| {})),
            "Pending: Ready False CredentialsMissing, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            World::empty(|_| {}).network("Updating"),
            "Provisioning: Ready False Provisioning, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            queued,
            "Starting: Ready False WaitingForNodes, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            World::answering(2, &["head-1", "w00-1"]).job("w01-1", "Running", |_| {}),
            "Starting: Ready False WorkersStarting, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            running(),
            "Running: Ready True Ready, Reconciling False Ready, Stalled False Ready",
        ),
        (
            pool_of_somebody_else(World::provisioned(|_| {})),
            "Stalled: Ready False NotOurs, Reconciling False NotOurs, Stalled True NotOurs",
        ),
        (
            World::empty(|_| {}).with(|observed| observed.workspace = Lookup::Absent),
            "Stalled: Ready False WorkspaceNotFound, Reconciling False WorkspaceNotFound, Stalled True WorkspaceNotFound",
        ),
        (
            misunderstood(),
            "Stalled: Ready False InvalidSpec, Reconciling False InvalidSpec, Stalled True InvalidSpec",
        ),
    ] {
        let plan = world.plan();
        assert_eq!(summary(&Round::of(world).status()), expected, "{plan}");
    }
}

#[test]
fn ready_names_the_stage_that_is_not() {
    let status = Round::of(World::empty(|_| {}).network("Updating")).status();
    assert_eq!(
        ready_message(&status),
        "NetworkReady: the virtual network is Updating"
    );
    assert_eq!(
        condition(&status, ConditionType::Reconciling).message,
        ready_message(&status)
    );
    assert_eq!(
        ready_message(&told_of_running()),
        "the scheduler answers and 3 workers are wanted"
    );
}

#[test]
fn what_passes_does_not_stall_and_what_lasts_is_told_first() {
    let passing =
        Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", throttled());
    assert_eq!(
        summary(&passing.status()),
        "Provisioning: Ready False Throttled, Reconciling True Progressing, Stalled False Progressing"
    );
    let network = World::provisioned(|_| {}).place().network.clone().unwrap();
    let both = dataset_points_elsewhere(World::provisioned(|_| {})).with(|observed| {
        let found = Lookup::Unavailable(throttled());
        observed.resources.insert(network.virtual_network, found);
    });
    assert_eq!(
        summary(&Round::of(both).status()),
        "Stalled: Ready False DatasetConflict, Reconciling False DatasetConflict, Stalled True DatasetConflict"
    );
}

#[test]
fn ready_is_lost_within_a_generation_only_with_the_scheduler_or_the_last_worker() {
    let still = "Running: Ready True Ready, Reconciling False Ready, Stalled False Ready";
    let head_failed = running().job("head-1", "Failed", |_| {});
    let unasked = running().with(|observed| observed.scheduler.state = None);
    for (world, expected) in [
        (World::answering(2, &["head-1"]), still),
        (World::answering(2, &["w00-1"]), still),
        (unasked, still),
        (without_credentials(running()), still),
        (dataset_points_elsewhere(running()), still),
        (pool_of_somebody_else(running()), still),
        (
            World::answering(2, &[]),
            "Starting: Ready False WorkersStarting, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            running().silent("Unreachable"),
            "Starting: Ready False SchedulerLost, Reconciling True Progressing, Stalled False Progressing",
        ),
        (
            head_failed,
            "Starting: Ready False HeadFailed, Reconciling True Progressing, Stalled False Progressing",
        ),
    ] {
        let plan = world.plan();
        let round = Round::of(world).after(told_of_running());
        assert_eq!(summary(&round.status()), expected, "{plan}");
    }
}

#[test]
fn a_new_generation_has_to_become_ready_anew() {
    let round = Round {
        generation: 2,
        ..Round::of(World::answering(2, &["head-1"])).after(told_of_running())
    };
    let status = round.status();
    assert_eq!(
        summary(&status),
        "Starting: Ready False WorkersStarting, Reconciling True Progressing, Stalled False Progressing"
    );
    assert_eq!(status.observed_generation, Some(2));
}

#[test]
fn a_cluster_that_leaves_is_never_stalled_and_says_what_is_still_there() {
    let deleting =
        "Deleting: Ready False Deleting, Reconciling True Deleting, Stalled False Progressing";
    let ended = ["head-1", "w00-1", "w01-1"]
        .into_iter()
        .fold(running(), |world, job| world.job(job, "Canceled", |_| {}));
    let refused = ended.clone().deleted().with(|observed| {
        let trouble = Trouble::lasting(Reason::PolicyDenied, "a policy forbids it");
        observed.jobs_listed = Lookup::Unavailable(trouble);
    });
    for (world, message) in [
        (running().deleted(), "cancel Job noaa-isd-6f9619ff-head-1"),
        (
            ended.clone().deleted(),
            "DELETE ComputeCluster ds13-cluster",
        ),
        (
            ended.pool("Deleting", |_| {}).deleted(),
            "ComputeCluster ds13-cluster is Deleting",
        ),
        (refused, "a policy forbids it"),
    ] {
        let status = Round::of(world).after(told_of_running()).status();
        assert_eq!(summary(&status), deleting);
        assert_eq!(ready_message(&status), message);
    }
}

#[test]
fn a_head_that_publishes_nothing_in_time_stalls_its_cluster_and_one_that_does_after_all_is_taken() {
    let mute = World::provisioned(|spec| spec["worker"]["replicas"] = 0.into()).head("head-1");
    let late = mute.with(|observed| observed.seen_at = seconds_after_noon(1201));
    let stalled = Round::of(late.clone()).at(1201).status();
    assert_eq!(
        summary(&stalled),
        "Stalled: Ready False HeadStartTimeout, Reconciling False HeadStartTimeout, Stalled True HeadStartTimeout"
    );
    let recovered = late.published().registered(&["head-1"]);
    let status = Round::of(recovered).after(stalled).at(1300).status();
    assert_eq!(
        summary(&status),
        "Running: Ready True Ready, Reconciling False Ready, Stalled False Ready"
    );
}

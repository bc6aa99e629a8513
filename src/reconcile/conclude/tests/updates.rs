//! What is told of changes that wait, of heads that end and of data that is lost.

use serde_json::json;

use super::{Round, condition, running, told, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Reason, UpdatePolicy};
use crate::dask::{Load, Retired, Retirement, RetirementOutcome};
use crate::reconcile::Wanted;
use crate::reconcile::conclude::Event;
use crate::reconcile::fixtures::{World, seconds_after_noon};

const CHANGES: ConditionType = ConditionType::ChangesPending;

fn old(world: World, job: &str, fields: &'static str) -> World {
    let id = world.job_id(job);
    world.with(|observed| {
        let mut jobs = observed.resources.iter_mut();
        let (_, found) = jobs.find(|(resource, _)| resource.name() == id).unwrap();
        if let crate::lookup::Lookup::Present(body) = found {
            body["properties"]["tags"]["dask-azureml-spec"] = json!(fields);
        }
    })
}

fn has_changes(status: &DaskClusterStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|it| it.type_ == CHANGES.as_str())
}

#[test]
fn a_change_that_waits_for_the_head_is_told_and_the_cluster_is_ready_all_the_same() {
    assert!(!has_changes(&told_of_running()));
    let round = Round::of(old(running(), "head-1", "scheduler.env=0")).after(told_of_running());
    let status = round.status();
    assert_eq!(told(&status, CHANGES), "True ChangesPending");
    assert_eq!(
        condition(&status, CHANGES).message,
        "head: the change of scheduler.env waits for the head to end, or updatePolicy Recreate"
    );
    assert_eq!(told(&status, ConditionType::Ready), "True Ready");
    let again = round.after(status.clone());
    assert_eq!(again.status(), status, "it does not tick");
    assert!(again.conclude().events.is_empty());
}

#[test]
fn a_replacement_that_goes_on_and_one_that_is_forbidden_are_told_by_their_reasons() {
    let rolling = old(running(), "w00-1", "worker.env=0");
    let status = Round::of(rolling.clone()).status();
    assert_eq!(told(&status, CHANGES), "True Updating");
    assert_eq!(status.pending_changes[0].fields, ["worker.env"]);
    let kept = rolling.with(|observed| observed.annotations.do_not_disrupt = true);
    let status = Round::of(kept).status();
    assert_eq!(told(&status, CHANGES), "True DisruptionForbidden");
    assert_eq!(told(&status, ConditionType::Ready), "True Ready");
}

#[test]
fn a_new_spec_is_not_ready_before_every_job_has_it_that_is_to_get_it() {
    let ready = |world: World| told(&Round::of(world).status(), ConditionType::Ready);
    let mut recreated = old(running(), "head-1", "scheduler.env=0");
    let Wanted::Cluster(cluster) = &mut recreated.wanted else {
        unreachable!()
    };
    cluster.update_policy = UpdatePolicy::Recreate;
    assert_eq!(
        ready(recreated),
        "False Updating",
        "the first look cancels the head"
    );
    let autoscaled = || {
        World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(2);
            spec["autoscaling"] = json!({"minReplicas": 1, "maxReplicas": 9});
        })
        .head("head-1")
        .published()
        .registered(&["head-1", "w00-1", "w01-1"])
    };
    assert_eq!(ready(autoscaled()), "True Ready");
    let rolling = old(autoscaled(), "w00-1", "worker.env=0");
    assert_eq!(ready(rolling), "False Updating");
}

#[test]
fn a_head_without_a_worker_of_its_own_is_not_waited_for_to_have_one() {
    let with = |runs_worker: bool, jobs: &[&str]| {
        World::provisioned(|spec| {
            spec["worker"]["replicas"] = json!(1);
            spec["scheduler"]["runWorker"] = json!(runs_worker);
        })
        .head("head-1")
        .published()
        .registered(jobs)
    };
    let counted = |world: World| {
        let status = Round::of(world).status();
        let desired = status.workers.as_ref().unwrap().desired;
        (desired, told(&status, ConditionType::WorkersReady))
    };
    let ready = || "True Ready".to_owned();
    let asked_for = old(with(true, &["w00-1"]), "head-1", "scheduler.runWorker=0");
    assert_eq!(counted(asked_for), (1, ready()));
    let given_up = old(
        with(false, &["head-1", "w00-1"]),
        "head-1",
        "scheduler.runWorker=0",
    );
    assert_eq!(counted(given_up), (2, ready()));
    let next_head = old(with(true, &["w00-1"]), "head-1", "scheduler.runWorker=0");
    let next_head = next_head.job("head-1", "Failed", |_| {});
    assert_eq!(counted(next_head).0, 2);
}

fn holding(world: World, job: &str, bytes: u64) -> World {
    let id = world.job_id(job);
    world.with(|observed| {
        let state = observed.scheduler.state.as_mut().unwrap();
        state.load = Load {
            clients: 3,
            ..Load::default()
        };
        let worker = state.workers.iter_mut().find(|it| it.job_id() == id);
        worker.unwrap().nbytes = bytes;
    })
}

fn replaced(round: &Round) -> Vec<Event> {
    let events = round.conclude().events.into_iter();
    events.filter(|event| event.action == "Replace").collect()
}

#[test]
fn a_head_that_ends_is_told_once_with_what_was_lost_and_its_address_goes() {
    for (bytes, status, reason, note) in [
        (
            5 << 20,
            "Failed",
            Reason::DataLost,
            "head job noaa-isd-6f9619ff-head-1 is Failed, and its scheduler is gone: 5.0 MiB of results are lost, and 3 clients were connected; another one is started",
        ),
        (
            0,
            "CancelRequested",
            Reason::HeadFailed,
            "head job noaa-isd-6f9619ff-head-1 is CancelRequested, and its scheduler is gone: it held no data, and 3 clients were connected; another one is started",
        ),
        (
            5 << 20,
            "Queued",
            Reason::DataLost,
            "head job noaa-isd-6f9619ff-head-1 is Queued, and its scheduler is gone: 5.0 MiB of results are lost, and 3 clients were connected; Azure ML starts the same job again",
        ),
    ] {
        let ended = holding(running(), "w00-1", bytes).job("head-1", status, |_| {});
        let round = Round::of(ended).after(told_of_running());
        let told = replaced(&round);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].reason, told[0].note.as_str()), (reason, note));
        let status = round.status();
        assert_eq!(status.scheduler, None, "nobody connects to what is gone");
        assert_eq!(replaced(&round.after(status)), []);
    }
    let stays = Round::of(running()).after(told_of_running());
    assert_eq!(replaced(&stays), []);
    // Between two looks it was queued and has begun again.
    let again = running().job("head-1", "Running", |body| {
        body["properties"]["properties"]["StartTimeUtc"] = json!("2026-01-01 11:59:58");
    });
    let round = Round::of(again).after(told_of_running());
    let notes: Vec<_> = replaced(&round).into_iter().map(|it| it.note).collect();
    assert!(
        matches!(notes.as_slice(), [note] if note.contains("starts the same job again")),
        "{notes:?}"
    );
}

#[test]
fn a_head_that_is_replaced_for_a_change_has_not_failed() {
    let mut world = old(running(), "head-1", "scheduler.env=0");
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.update_policy = UpdatePolicy::Recreate;
    let world = world.job("head-1", "CancelRequested", |body| {
        body["properties"]["tags"]["dask-azureml-spec"] = json!("scheduler.env=0");
    });
    let told = replaced(&Round::of(world).after(told_of_running()));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].reason, told[0].warning), (Reason::Updating, false));
}

#[test]
fn a_head_whose_successor_has_published_already_is_told_all_the_same() {
    let ended = |body: &mut serde_json::Value| {
        body["properties"]["tags"]["dask-azureml-spec"] = json!("scheduler.env=0");
    };
    let mut world = World::provisioned(|spec| spec["worker"]["replicas"] = json!(0))
        .head("head-2")
        .published()
        .registered(&["head-2"])
        .job("head-1", "Canceled", ended);
    let address = |body: &mut serde_json::Value| {
        body["properties"]["tags"]["scheduler"] = json!("tcp://10.20.0.4:8786");
        body["properties"]["tags"]["dashboard"] = json!("http://10.20.0.4:8787");
    };
    world = world.job("head-2", "Running", address);
    let round = Round::of(world).after(told_of_running());
    assert!(round.status().scheduler.is_some(), "it has published");
    assert_eq!(replaced(&round).len(), 1);
}

#[test]
fn a_worker_that_is_ended_though_it_holds_data_is_told_by_job_and_bytes() {
    let world = |grace: Option<i64>| {
        let world = World::answering(1, &["head-1", "w00-1", "w01-1"]);
        let mut world = holding(holding(world, "w00-1", 9 << 20), "w01-1", 1 << 20);
        let Wanted::Cluster(cluster) = &mut world.wanted else {
            unreachable!()
        };
        cluster.worker.scale_down_grace = grace.map(jiff::SignedDuration::from_secs);
        world.with(|observed| {
            observed.told.desired_workers = Some(2);
            observed.told.last_scale_time = Some(seconds_after_noon(-60));
            observed.scheduler.retirement = Some(Retirement {
                asked_at: seconds_after_noon(-9),
                outcome: RetirementOutcome::Answered {
                    at: seconds_after_noon(-5),
                    retired: Retired::default(),
                },
            });
        })
    };
    let lost = |grace| {
        let told = Round::of(world(grace)).conclude().occurrences;
        told.into_iter()
            .find(|event| event.reason == Reason::DataLost)
    };
    assert_eq!(lost(None), None);
    assert_eq!(lost(Some(100)), None);
    assert_eq!(
        lost(Some(30)).unwrap().note,
        "the worker of job noaa-isd-6f9619ff-w01-1 held 1.0 MiB: it is to go, 1.0 MiB of it fit nowhere else, and worker.scaleDownGraceSeconds has passed"
    );
}

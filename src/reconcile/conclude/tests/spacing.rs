//! When a status is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Round, running, told_of_running};
use crate::api::{DaskClusterStatus, IdleAction, Phase, RestReason, RestStatus, WorkerCounts};
use crate::reconcile::conclude::write_not_before;
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};

const AT_ONCE: Option<Timestamp> = Some(Timestamp::MIN);

fn with_workers(status: &DaskClusterStatus, ready: u32) -> DaskClusterStatus {
    DaskClusterStatus {
        workers: Some(WorkerCounts {
            ready,
            ..WorkerCounts::default()
        }),
        ..status.clone()
    }
}

#[test]
fn a_status_that_says_nothing_new_is_never_written() {
    let told = told_of_running();
    assert_eq!(write_not_before(&told, &told, Some(noon()), noon()), None);
    assert_eq!(write_not_before(&told, &told, None, noon()), None);
}

#[test]
fn what_people_wait_for_is_written_at_once_and_progress_and_numbers_are_spaced() {
    let acknowledged = Round::of(running()).before;
    let provisioning = Round::of(World::empty(|_| {})).status();
    let starting = Round::of(World::provisioned(|_| {})).status();
    let ready = told_of_running();
    let stalled =
        Round::of(World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = ().into()))
            .status();
    let gone = Round::of(running().silent("Unreachable")).after(ready.clone());
    let going = running().with(|observed| observed.credentials.going = true);
    let going = Round::of(going).after(ready.clone()).status();
    let rolling = DaskClusterStatus {
        phase: Some(Phase::Starting),
        ..ready.clone()
    };
    let address_is_gone = DaskClusterStatus {
        scheduler: None,
        ..rolling.clone()
    };
    let next_generation = DaskClusterStatus {
        observed_generation: Some(2),
        ..ready.clone()
    };
    for (what, before, after, expected) in [
        ("it became ready", &starting, &ready, AT_ONCE),
        ("it is ready no more", &ready, &gone.status(), AT_ONCE),
        ("its Secret is being deleted", &ready, &going, AT_ONCE),
        ("its address is gone", &rolling, &address_is_gone, AT_ONCE),
        ("it stalled", &provisioning, &stalled, AT_ONCE),
        ("a spec was seen", &ready, &next_generation, AT_ONCE),
        (
            "the first step after the acknowledgement, which changes Ready from Unknown",
            &acknowledged,
            &provisioning,
            AT_ONCE,
        ),
        (
            "a further step",
            &provisioning,
            &starting,
            Some(seconds_after_noon(5)),
        ),
        (
            "a number",
            &ready,
            &with_workers(&ready, 2),
            Some(seconds_after_noon(5)),
        ),
        (
            "a number before anything else was told",
            &acknowledged,
            &with_workers(&acknowledged, 0),
            Some(seconds_after_noon(2)),
        ),
    ] {
        let at = write_not_before(before, after, Some(noon()), noon());
        assert_eq!(at, expected, "{what}");
    }
}

#[test]
fn a_scheduler_that_appears_in_a_running_cluster_is_told_at_once() {
    let ready = told_of_running();
    let without = DaskClusterStatus {
        scheduler: None,
        ..ready.clone()
    };
    assert_eq!(ready.phase, Some(Phase::Running));
    assert_eq!(
        write_not_before(&without, &ready, Some(noon()), noon()),
        AT_ONCE
    );
}

#[test]
fn an_operator_that_has_written_nothing_yet_waits_for_nothing() {
    let ready = told_of_running();
    assert_eq!(
        write_not_before(&ready, &with_workers(&ready, 2), None, noon()),
        AT_ONCE
    );
}

#[test]
fn a_rest_is_written_at_once_and_that_a_cluster_is_idle_or_busy_again_in_no_hurry() {
    let ready = told_of_running();
    let idle = DaskClusterStatus {
        idle_since: Some(Time(noon())),
        cost: None,
        ..ready.clone()
    };
    let rest = DaskClusterStatus {
        rest: Some(RestStatus {
            reason: RestReason::Idle,
            action: IdleAction::Suspend,
            since: Time(noon()),
            generation: 1,
            wake: None,
        }),
        ..ready.clone()
    };
    let forgiven = DaskClusterStatus {
        rested_head: Some("head-1".into()),
        ..rest.clone()
    };
    let half_a_minute = Some(seconds_after_noon(30));
    let at = |before, after| write_not_before(before, after, Some(noon()), noon());
    assert_eq!(at(&ready, &idle), half_a_minute);
    assert_eq!(at(&idle, &ready), half_a_minute);
    assert_eq!(at(&ready, &rest), AT_ONCE);
    assert_eq!(at(&rest, &forgiven), AT_ONCE);
}

#[test]
fn a_clock_that_has_jumped_back_keeps_no_status_from_being_written() {
    let before = told_of_running();
    let after = with_workers(&before, 1);
    let of_one_o_clock = Some(seconds_after_noon(3600));
    let at = write_not_before(&before, &after, of_one_o_clock, noon());
    assert_eq!(at, AT_ONCE);
}

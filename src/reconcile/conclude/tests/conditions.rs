//! Since when a condition has its status, and which message is told anew.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Round, condition, running, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::lookup::Trouble;
use crate::reconcile::fixtures::{World, noon, seconds_after_noon};

fn since(status: &DaskClusterStatus, kind: ConditionType) -> jiff::Timestamp {
    let Time(since) = condition(status, kind).last_transition_time;
    since
}

fn refused(request: &str) -> Trouble {
    let message = format!("azure request 'PUT /x' failed: may not (request id {request})");
    Trouble::passing(Reason::AuthorizationFailed, message)
}

fn network_refused(request: &str) -> Round {
    Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", refused(request))
}

#[test]
fn the_status_lists_each_condition_once_in_the_order_of_all() {
    let going = running().with(|observed| observed.credentials.going = true);
    let status = Round::of(going).status();
    let listed: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    let only_then = [
        ConditionType::Suspended,
        ConditionType::ChangesPending,
        ConditionType::OverBudget,
    ];
    let always = ConditionType::ALL
        .into_iter()
        .filter(|condition| !only_then.contains(condition));
    let always: Vec<_> = always.map(ConditionType::as_str).collect();
    assert_eq!(listed, always);
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, Some(1));
    }
}

#[test]
fn a_transition_time_is_that_of_the_last_change_of_status() {
    let provisioning = Round::of(World::empty(|_| {})).at(1).status();
    let refused = network_refused("a1").at(2).after(provisioning.clone());
    let network = ConditionType::NetworkReady;
    assert_eq!(since(&provisioning, network), seconds_after_noon(1));
    assert_eq!(
        since(&refused.status(), network),
        seconds_after_noon(1),
        "another reason is no other status"
    );
    let holds = Round::of(running()).at(3).after(refused.status());
    assert_eq!(since(&holds.status(), network), seconds_after_noon(3));
    assert_eq!(
        since(&provisioning, ConditionType::Reconciling),
        noon(),
        "it was told so by the first status"
    );
}

#[test]
fn a_status_of_which_nothing_has_changed_is_the_same_later() {
    let first = told_of_running();
    let later = Round::of(running()).at(3600).after(first.clone());
    assert_eq!(later.status(), first);
}

#[test]
fn the_same_refusal_with_another_request_id_keeps_its_message() {
    let first = network_refused("a1").status();
    let again = network_refused("b2").at(1).after(first.clone()).status();
    assert_eq!(again, first);
    let trouble = Trouble {
        reason: Reason::PolicyDenied,
        ..refused("c3")
    };
    let other = Round::of(World::empty(|_| {}))
        .failing("PUT VirtualNetwork dask-vnet", trouble)
        .after(first);
    let message = &condition(&other.status(), ConditionType::NetworkReady)
        .message
        .clone();
    assert!(message.contains("c3"), "another reason is told: {message}");
}

#[test]
fn a_message_that_kubernetes_would_refuse_is_cut_between_two_characters() {
    let trouble = Trouble::passing(Reason::AzureError, format!("a{}", "ä".repeat(20_000)));
    let round = Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", trouble);
    let status = round.status();
    let message = &condition(&status, ConditionType::NetworkReady).message;
    assert_eq!(message.len(), 32_767);
}

use super::{Round, condition, running, told, told_of_running};
use crate::api::{Annotations, ConditionType, Reason, ReconcilePolicy};
use crate::reconcile::conclude::Next;
use crate::reconcile::fixtures::World;

fn annotated(world: World, annotations: Annotations) -> World {
    world.with(|observed| observed.annotations = annotations)
}

fn policy(policy: ReconcilePolicy) -> Annotations {
    Annotations {
        policy,
        ..Annotations::default()
    }
}

fn dry_run() -> Annotations {
    Annotations {
        dry_run: true,
        ..Annotations::default()
    }
}

#[test]
fn stages_tell_what_is_not_done_and_which_annotation_keeps_it() {
    let unknown = ReconcilePolicy::Unknown("skip".into());
    for (annotations, reason) in [
        (dry_run(), "DryRun"),
        (policy(ReconcilePolicy::Observe), "ObservedOnly"),
        (policy(unknown), "UnknownPolicy"),
    ] {
        let round = Round::of(annotated(World::empty(|_| {}), annotations));
        let status = round.status();
        let network = condition(&status, ConditionType::NetworkReady);
        assert_eq!(network.reason, reason);
        assert_eq!(network.message, "PUT VirtualNetwork dask-vnet is not done");
        assert!(told(&status, ConditionType::Reconciling).starts_with("False"));
    }
}

#[test]
fn a_cluster_that_is_only_observed_and_as_it_should_be_is_ready() {
    let observed = annotated(running(), policy(ReconcilePolicy::Observe));
    let status = Round::of(observed).status();
    assert_eq!(told(&status, ConditionType::Ready), "True Ready");
}

#[test]
fn an_unknown_policy_is_told_of_a_running_cluster_too() {
    let unknown = annotated(running(), policy(ReconcilePolicy::Unknown("skip".into())));
    let conclusion = Round::of(unknown).after(told_of_running()).conclude();
    assert_eq!(told(&conclusion.status, ConditionType::Ready), "True Ready");
    assert_eq!(
        told(&conclusion.status, ConditionType::PreflightPassed),
        "False UnknownPolicy"
    );
    assert!(
        conclusion
            .events
            .iter()
            .any(|event| event.warning && event.reason == Reason::UnknownPolicy)
    );
}

#[test]
fn an_unknown_policy_stalls_a_cluster_that_is_not_ready() {
    let unknown = ReconcilePolicy::Unknown("skip".into());
    let status = Round::of(annotated(World::empty(|_| {}), policy(unknown))).status();
    assert_eq!(told(&status, ConditionType::Stalled), "True UnknownPolicy");
}

#[test]
fn a_request_is_acknowledged_and_stays_so() {
    let requested = Annotations {
        requested_at: Some("noon".into()),
        ..Annotations::default()
    };
    let status = Round::of(annotated(running(), requested)).status();
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("noon"));
    let later = Round::of(running()).after(status).status();
    assert_eq!(later.last_handled_reconcile_at.as_deref(), Some("noon"));
}

#[test]
fn a_dry_run_that_was_told_comes_to_rest() {
    let first = Round::of(annotated(World::provisioned(|_| {}), dry_run()));
    let told = first.status();
    assert!(matches!(first.conclude().next, Next::After(_)));
    let steps = &first.world.plan();
    assert!(!steps.withheld.is_empty(), "{steps}");
    assert_eq!(Round::of(first.world).after(told).conclude().events, []);
}

#[test]
fn the_last_event_says_what_stays_in_azure_and_costs_money() {
    for (asked, word) in [
        (ReconcilePolicy::Observe, "observe"),
        (ReconcilePolicy::DetachOnDelete, "detach-on-delete"),
    ] {
        let gone = World::empty(|_| {}).deleted();
        let events = Round::of(annotated(gone, policy(asked))).conclude().events;
        let note = &events.last().unwrap().note;
        assert!(
            note.contains(word) && note.contains("ds13-cluster"),
            "{note}"
        );
    }
}

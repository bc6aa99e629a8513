//! What annotations keep from being done.

use super::assert_plan;
use crate::api::{Annotations, DeletionPolicy, Reason, ReconcilePolicy};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::World;
use crate::reconcile::{PlannedAction, Wanted};

fn annotated(world: World, policy: ReconcilePolicy, dry_run: bool) -> World {
    world.with(|observed| {
        observed.annotations = Annotations {
            dry_run,
            policy,
            ..Annotations::default()
        };
    })
}

/// Its pool is gone: something is to be made again.
fn lacking() -> World {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]);
    let pool = world.place().compute.clone();
    world.with(|observed| {
        observed.resources.insert(pool, Lookup::Absent);
    })
}

/// As a detached cluster is deleted: its pool and network are retained.
fn detached(world: World) -> World {
    let mut world = annotated(world.deleted(), ReconcilePolicy::DetachOnDelete, false);
    if let Wanted::Nothing(place) = &mut world.wanted {
        place.deletion_policy = DeletionPolicy::Retain;
    }
    world
}

#[test]
fn a_dry_run_and_a_policy_of_observe_hold_all_that_would_be_done() {
    assert_plan(
        "dry_run",
        &annotated(lacking(), ReconcilePolicy::Manage, true),
    );
    assert_plan(
        "observe",
        &annotated(lacking(), ReconcilePolicy::Observe, false),
    );
}

#[test]
fn a_policy_that_means_nothing_is_told_and_nothing_is_done() {
    let unknown = ReconcilePolicy::Unknown("skip".into());
    assert_plan(
        "unknown_policy",
        &annotated(lacking(), unknown.clone(), false),
    );
    let deleted = annotated(lacking().deleted(), unknown, false).plan();
    assert_eq!(deleted.steps, []);
    assert_eq!(deleted.blocked[0].trouble.reason, Reason::UnknownPolicy);
}

#[test]
fn a_dry_run_deletes_nothing_and_keeps_the_manifest() {
    for policy in [ReconcilePolicy::Manage, ReconcilePolicy::Observe] {
        let plan = annotated(lacking().deleted(), policy, true).plan();
        assert_eq!(plan.steps, []);
        assert!(!plan.withheld.is_empty());
    }
}

#[test]
fn what_was_only_observed_goes_without_a_write_to_azure_and_without_a_look() {
    let world = annotated(lacking().deleted(), ReconcilePolicy::Observe, false).with(|observed| {
        let trouble = Trouble::passing(Reason::AzureUnreachable, "no answer");
        observed.workspace = Lookup::Unavailable(trouble);
    });
    let plan = world.plan();
    assert!(!plan.steps.iter().any(|step| step.action.writes_azure()));
    let last = plan.steps.last().map(|step| &step.action);
    assert_eq!(last, Some(&PlannedAction::RemoveFinalizer));
}

#[test]
fn what_is_detached_says_so_in_azure_and_keeps_its_jobs() {
    let world = detached(World::answering(2, &["head-1", "w00-1", "w01-1"]));
    assert_plan("detach", &world);
    let plan = world.plan();
    let takes = |action: &PlannedAction| {
        matches!(
            action,
            PlannedAction::CancelJob { .. } | PlannedAction::DeleteAzure { .. }
        )
    };
    assert!(!plan.steps.iter().any(|step| takes(&step.action)), "{plan}");
}

#[test]
fn manage_is_what_happens_without_a_policy() {
    let managed = annotated(lacking(), ReconcilePolicy::Manage, false);
    assert_eq!(managed.plan(), lacking().plan());
}

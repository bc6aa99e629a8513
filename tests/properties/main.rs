//! What holds of every plan, whatever a look has found: half-made clusters, resources of others, answers that failed,
//! jobs in any state.
//!
//! The worlds are drawn, the same ones at every run; `CASES` is how many.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

mod draft;
mod rollout;

use std::collections::BTreeSet;

use dask_azureml_operator::azure::ResourceId;
use dask_azureml_operator::azure_resources::{KINDS, LeavingRule, job, ownership};
use dask_azureml_operator::cluster::Place;
use dask_azureml_operator::lookup::Lookup;
use dask_azureml_operator::reconcile::{
    Child, Observed, Plan, PlannedAction, Step, Wanted, carry_out, forecast, plan,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use draft::{UID, World, worlds};

const CASES: u32 = 300;
/// Longer than the longest way from nothing to everything: network, subnet, pool, jobs.
const ROUNDS: usize = 12;

pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    }
}

fn place(wanted: &Wanted) -> &Place {
    match wanted {
        Wanted::Cluster(cluster) => &cluster.place,
        Wanted::Nothing(place) => place,
        Wanted::Unknown(errors) => panic!("a drawn manifest is valid: {errors}"),
    }
}

/// The id that a step writes to in Azure.
fn written(step: &Step) -> Option<&ResourceId> {
    match &step.action {
        PlannedAction::PutAzure { id, .. }
        | PlannedAction::PatchAzure { id, .. }
        | PlannedAction::DeleteAzure { id, .. }
        | PlannedAction::CancelJob { id, .. } => Some(id),
        _ => None,
    }
}

fn is_a(id: &ResourceId, kind: &str) -> bool {
    KINDS.iter().any(|registered| {
        registered.name == kind
            && registered
                .resource_type
                .eq_ignore_ascii_case(&id.resource_type())
    })
}

/// What is there carries our UID, by its own tags or, for a subnet, by its network's.
fn is_ours(observed: &Observed, id: &ResourceId, body: &Value) -> bool {
    let tags = if is_a(id, "Job") {
        job::tags(body)
    } else if is_a(id, "Subnet") {
        let network = id.parent().unwrap();
        match observed.resource(&network) {
            Lookup::Present(network) => ownership::tags_of(network),
            _ => return false,
        }
    } else {
        ownership::tags_of(body)
    };
    ownership::owner_uid(&tags) == Some(UID)
}

/// The plans of one world, each carried out before the next is made, until nothing is left to do.
fn plans(world: &World) -> Vec<(Observed, Plan)> {
    let mut observed = world.observed.clone();
    let mut plans = Vec::new();
    for _ in 0..ROUNDS {
        let next = plan(&world.wanted, &observed);
        plans.push((observed.clone(), next.clone()));
        if next.steps.is_empty() {
            return plans;
        }
        carry_out(&next, &mut observed);
    }
    let text: String = plans.iter().map(|(_, plan)| format!("{plan}\n")).collect();
    panic!("there is always something left to do:\n{text}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_plan_that_was_carried_out_is_not_made_again(world in worlds()) {
        let mut done = BTreeSet::new();
        for (_, plan) in plans(&world) {
            for step in &plan.steps {
                prop_assert!(done.insert(step.key()), "done twice: {step}\n{plan}");
            }
        }
    }

    #[test]
    fn what_does_not_carry_our_uid_is_never_written(world in worlds()) {
        for (observed, plan) in plans(&world) {
            for step in &plan.steps {
                let Some(id) = written(step) else { continue };
                match observed.resource(id) {
                    Lookup::Present(body) => {
                        prop_assert!(is_ours(&observed, id, body), "{step}\n{plan}");
                    }
                    _ => prop_assert!(
                        matches!(step.action, PlannedAction::PutAzure { .. }),
                        "{step}\n{plan}"
                    ),
                }
            }
        }
    }

    #[test]
    fn the_finalizer_is_there_before_the_first_write_to_azure(world in worlds()) {
        for (observed, plan) in plans(&world) {
            let Some(first) = plan.steps.iter().position(|step| written(step).is_some()) else {
                continue;
            };
            let ensured = plan.steps[..first]
                .iter()
                .any(|step| step.action == PlannedAction::EnsureFinalizer && step.gates);
            prop_assert!(observed.has_finalizer || ensured, "{plan}");
        }
    }

    #[test]
    fn a_cluster_leaves_by_the_table_backwards_and_its_jobs_first(world in worlds()) {
        prop_assume!(matches!(world.wanted, Wanted::Nothing(_)));
        let position = |kind: &str| KINDS.iter().position(|known| known.name == kind).unwrap();
        let mut reached = KINDS.len();
        for (observed, plan) in plans(&world) {
            for step in &plan.steps {
                if matches!(step.action, PlannedAction::CancelJob { .. }) {
                    prop_assert_eq!(reached, KINDS.len(), "a job after something else: {}", plan);
                }
                let PlannedAction::DeleteAzure { kind, .. } = step.action else {
                    continue;
                };
                prop_assert!(position(kind) <= reached, "{step} comes too late:\n{plan}");
                reached = position(kind);
                for later in &KINDS[reached + 1..] {
                    for id in (later.places)(place(&world.wanted)) {
                        if let Lookup::Present(body) = observed.resource(&id) {
                            prop_assert!(!is_ours(&observed, &id, body), "{step} before {id}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_follows_for_what_a_look_did_not_see(world in worlds()) {
        for (observed, plan) in plans(&world) {
            for step in &plan.steps {
                if let Some(id) = written(step) {
                    prop_assert!(was_seen(&observed.resource(id)), "{step}\n{plan}");
                }
                match &step.action {
                    PlannedAction::CreateChild(child) => {
                        prop_assert!(is_absent(&observed, child), "{step}\n{plan}");
                    }
                    PlannedAction::RemoveFinalizer if !observed.is_abandoned => {
                        prop_assert!(all_was_seen_to_be_gone(&world.wanted, &observed), "{plan}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_cluster_that_is_abandoned_goes_at_once_and_nothing_in_azure_is_touched(world in worlds()) {
        prop_assume!(matches!(world.wanted, Wanted::Nothing(_)));
        let observed = Observed {
            is_abandoned: true,
            has_finalizer: true,
            ..world.observed
        };
        let plan = plan(&world.wanted, &observed);
        let goes = plan.steps.iter().any(|step| step.action == PlannedAction::RemoveFinalizer);
        prop_assert!(goes && plan.blocked.is_empty() && plan.waits.is_empty(), "{plan}");
        prop_assert!(plan.steps.iter().all(|step| written(step).is_none()), "{plan}");
    }

    #[test]
    fn a_namespace_that_goes_and_a_cluster_that_leaves_get_nothing_new(world in worlds()) {
        prop_assume!(world.observed.namespace_is_going || matches!(world.wanted, Wanted::Nothing(_)));
        for (observed, plan) in plans(&world) {
            for step in &plan.steps {
                let creates = match &step.action {
                    PlannedAction::CreateChild(_) | PlannedAction::EnsureFinalizer => true,
                    PlannedAction::PutAzure { id, .. } => observed.resource(id).present().is_none(),
                    _ => false,
                };
                prop_assert!(!creates, "{step}\n{plan}");
            }
        }
    }
}

fn was_seen<T>(found: &Lookup<T>) -> bool {
    matches!(found, Lookup::Present(_) | Lookup::Absent)
}

fn is_absent(observed: &Observed, child: &Child) -> bool {
    match child {
        Child::Service(_) => observed.service == Lookup::Absent,
        Child::EndpointSlice(_) => observed.endpoint_slice == Lookup::Absent,
        Child::ConnectionSecret(_) => matches!(observed.connection, Lookup::Absent),
    }
}

/// Nothing that may be ours is there, or may be.
fn all_was_seen_to_be_gone(wanted: &Wanted, observed: &Observed) -> bool {
    let place = place(wanted);
    let retains = place.deletion_policy == dask_azureml_operator::api::DeletionPolicy::Retain;
    let gone = |id: &ResourceId| match observed.resource(id) {
        Lookup::Absent => true,
        Lookup::Present(body) => retains || !is_ours(observed, id, body),
        Lookup::NotAsked | Lookup::Unavailable(_) => false,
    };
    let jobs_have_ended = observed.resources.iter().all(|(id, found)| {
        let Lookup::Present(body) = found else {
            return true;
        };
        let status = body.pointer("/properties/status").and_then(Value::as_str);
        let has_ended =
            status.is_some_and(|status| ["Completed", "Failed", "Canceled"].contains(&status));
        !is_a(id, "Job") || has_ended || !is_ours(observed, id, body)
    });
    let jobs_were_seen = match observed.workspace {
        Lookup::Present(_) => observed.jobs_listed == Lookup::Present(()) && jobs_have_ended,
        Lookup::Absent => true,
        Lookup::NotAsked | Lookup::Unavailable(_) => false,
    };
    let leaving = |rule| matches!(rule, LeavingRule::Delete | LeavingRule::DeleteWithParent);
    jobs_were_seen
        && KINDS
            .iter()
            .filter(|kind| leaving(kind.leaving))
            .flat_map(|kind| (kind.places)(place))
            .all(|id| gone(&id))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_dry_run_does_nothing_and_foretells_all_that_would_be_done(world in worlds()) {
        let mut observed = world.observed.clone();
        observed.annotations.dry_run = true;
        let plan = plan(&world.wanted, &observed);
        prop_assert!(plan.steps.is_empty(), "{plan}");
        let done: usize = plans(&world).iter().map(|(_, plan)| plan.steps.len()).sum();
        let told = forecast(&world.wanted, &observed);
        prop_assert_eq!(told.changes.len(), done, "{}", told);
    }

    #[test]
    fn what_stops_before_the_first_spend_keeps_everything_from_being_made(world in worlds()) {
        for (_, plan) in plans(&world) {
            let stops = plan.preflight.as_ref().is_some_and(|found| found.stops());
            let writes = plan.steps.iter().any(|step| step.action.writes_azure());
            prop_assert!(!(stops && writes), "{plan}");
        }
    }
}

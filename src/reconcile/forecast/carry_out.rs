//! What becomes of a plan in a world where everything succeeds at once.

use serde_json::{Value, json};

use crate::azure_resources::{AzureKind as _, Job};
use crate::dask::{Retirement, RetirementOutcome, SchedulerSight};
use crate::lookup::Lookup;
use crate::reconcile::observed::Observed;
use crate::reconcile::plan::{Action, Child, Follow, Plan};

/// Makes of what was observed what will be once the plan is carried out.
pub fn carry_out(plan: &Plan, observed: &mut Observed) {
    for step in &plan.steps {
        take(&step.action, observed);
    }
    match &plan.follow {
        Follow::AsBefore => {}
        Follow::Nobody => observed.scheduler = SchedulerSight::default(),
        Follow::This(target) => {
            let followed = observed.scheduler.target.as_mut();
            if let Some(followed) = followed.filter(|followed| followed.is_same_scheduler(target)) {
                followed.watches_load = target.watches_load;
                return;
            }
            observed.scheduler = SchedulerSight {
                target: Some(target.clone()),
                ..SchedulerSight::default()
            };
        }
    }
}

fn take(action: &Action, observed: &mut Observed) {
    match action {
        Action::EnsureFinalizer => observed.has_finalizer = true,
        Action::RemoveFinalizer => observed.has_finalizer = false,
        Action::HoldCredentials(_) => observed.credentials.held = true,
        Action::ReleaseCredentials(secret) => {
            let credentials = &mut observed.credentials;
            credentials.releasable.retain(|held| held != secret);
            if credentials.secret.as_ref() == Some(secret) {
                credentials.held = false;
            }
        }
        Action::PutAzure { kind, id, body, .. } => {
            let answer = answer_to_put(kind, id.name(), body);
            observed
                .resources
                .insert(id.clone(), Lookup::Present(answer));
        }
        Action::PatchAzure { id, body, .. } => {
            if let Some(Lookup::Present(held)) = observed.resources.get_mut(id) {
                merge(held, body);
            }
        }
        Action::DeleteAzure { id, .. } => {
            observed.resources.insert(id.clone(), Lookup::Absent);
        }
        Action::CancelJob { id, .. } => {
            if let Some(Lookup::Present(job)) = observed.resources.get_mut(id) {
                job["properties"]["status"] = json!("Canceled");
                job["properties"]["properties"]["EndTimeUtc"] = json!(observed.seen_at.to_string());
            }
        }
        Action::CreateChild(child) | Action::UpdateChild(child) => match child {
            Child::Service(service) => observed.service = Lookup::Present((**service).clone()),
            Child::EndpointSlice(slice) => {
                observed.endpoint_slice = Lookup::Present((**slice).clone());
            }
            Child::ConnectionSecret(held) => observed.connection = Lookup::Present(held.clone()),
        },
        Action::DeleteEndpointSlice { .. } => observed.endpoint_slice = Lookup::Absent,
        Action::RetireWorkers { .. } => {
            observed.scheduler.retirement = Some(Retirement {
                asked_at: observed.seen_at,
                outcome: RetirementOutcome::UnderWay,
            });
        }
    }
}

fn answer_to_put(kind: &str, name: &str, body: &Value) -> Value {
    let mut answer = body.clone();
    if kind == Job::NAME {
        answer["name"] = json!(name);
        answer["properties"]["status"] = json!("NotStarted");
    } else {
        answer["properties"]["provisioningState"] = json!("Succeeded");
    }
    answer
}

/// RFC 7396, as far as our bodies go.
fn merge(held: &mut Value, change: &Value) {
    match (held, change) {
        (Value::Object(held), Value::Object(change)) => {
            for (name, value) in change {
                merge(held.entry(name).or_insert(Value::Null), value);
            }
        }
        (held, change) => *held = change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures::World;

    #[test]
    fn what_is_known_of_a_scheduler_stays_known_when_its_load_is_watched_too() {
        let world = World::answering(1, &["head-1", "w00-1"]);
        let mut plan = world.plan();
        let Follow::This(target) = &mut plan.follow else {
            panic!("{plan}");
        };
        target.watches_load = true;
        let mut observed = world.scene(|scene, _| scene.observed.clone());
        carry_out(&plan, &mut observed);
        assert!(observed.scheduler.state.is_some());
        assert!(observed.scheduler.target.unwrap().watches_load);

        let Follow::This(target) = &mut plan.follow else {
            panic!("{plan}");
        };
        target.head_run = "another".into();
        let mut observed = world.scene(|scene, _| scene.observed.clone());
        carry_out(&plan, &mut observed);
        assert_eq!(observed.scheduler.state, None);
    }
}

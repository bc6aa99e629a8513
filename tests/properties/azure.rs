//! What becomes of a plan in a world where everything succeeds at once.

use dask_azureml_operator::dask::{Retirement, RetirementOutcome, SchedulerSight};
use dask_azureml_operator::lookup::Lookup;
use dask_azureml_operator::reconcile::{Child, Follow, Observed, Plan, PlannedAction};
use serde_json::{Value, json};

pub(crate) fn carry_out(plan: &Plan, observed: &mut Observed) {
    for step in &plan.steps {
        take(&step.action, observed);
    }
    match &plan.follow {
        Follow::AsBefore => {}
        Follow::Nobody => observed.scheduler = SchedulerSight::default(),
        Follow::This(target) if observed.scheduler.target.as_ref() == Some(target) => {}
        Follow::This(target) => {
            observed.scheduler = SchedulerSight {
                target: Some(target.clone()),
                ..SchedulerSight::default()
            };
        }
    }
}

fn take(action: &PlannedAction, observed: &mut Observed) {
    match action {
        PlannedAction::EnsureFinalizer => observed.has_finalizer = true,
        PlannedAction::RemoveFinalizer => observed.has_finalizer = false,
        PlannedAction::HoldCredentials(_) => observed.credentials.held = true,
        PlannedAction::ReleaseCredentials(secret) => {
            let credentials = &mut observed.credentials;
            credentials.releasable.retain(|held| held != secret);
            if credentials.secret.as_ref() == Some(secret) {
                credentials.held = false;
            }
        }
        PlannedAction::PutAzure { kind, id, body, .. } => {
            let answer = answer_to_put(kind, id.name(), body);
            observed
                .resources
                .insert(id.clone(), Lookup::Present(answer));
        }
        PlannedAction::PatchAzure { id, body, .. } => {
            if let Some(Lookup::Present(held)) = observed.resources.get_mut(id) {
                merge(held, body);
            }
        }
        PlannedAction::DeleteAzure { id, .. } => {
            observed.resources.insert(id.clone(), Lookup::Absent);
        }
        PlannedAction::CancelJob { id, .. } => {
            if let Some(Lookup::Present(job)) = observed.resources.get_mut(id) {
                job["properties"]["status"] = json!("Canceled");
                job["properties"]["properties"]["EndTimeUtc"] = json!(observed.seen_at.to_string());
            }
        }
        PlannedAction::CreateChild(child) | PlannedAction::UpdateChild(child) => match child {
            Child::Service(service) => observed.service = Lookup::Present((**service).clone()),
            Child::EndpointSlice(slice) => {
                observed.endpoint_slice = Lookup::Present((**slice).clone());
            }
            Child::ConnectionSecret(held) => observed.connection = Lookup::Present(held.clone()),
        },
        PlannedAction::DeleteEndpointSlice { .. } => observed.endpoint_slice = Lookup::Absent,
        PlannedAction::RetireWorkers { .. } => {
            observed.scheduler.retirement = Some(Retirement {
                asked_at: observed.seen_at,
                outcome: RetirementOutcome::UnderWay,
            });
        }
    }
}

fn answer_to_put(kind: &str, name: &str, body: &Value) -> Value {
    let mut answer = body.clone();
    if kind == "Job" {
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

//! The plan of a cluster that goes: jobs, then the pool, then subnet and network. It always ends.

use super::{Action, Plan, Step};
use crate::api::{ConditionType, Reason, ReconcilePolicy};
use crate::azure_resources::job::JobFacts;
use crate::azure_resources::ownership::owner_uid;
use crate::azure_resources::{AzureKind as _, Job, KINDS, Leaving};
use crate::cluster::Place;
use crate::lookup::Lookup;
use crate::reconcile::observed::Observed;

const STAGE: ConditionType = ConditionType::Ready;

pub(super) fn plan(place: &Place, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !observed.has_finalizer {
        // Nothing was ever made, or somebody took the finalizer: nothing is ours to do.
        return plan;
    }
    let policy = &observed.annotations.policy;
    let is_let_go = *policy == ReconcilePolicy::Observe;
    let why = match policy {
        ReconcilePolicy::Observe | ReconcilePolicy::DetachOnDelete => {
            "what is in Azure stays, as the policy asks for"
        }
        ReconcilePolicy::Manage | ReconcilePolicy::Unknown(_) => "nothing is left in Azure",
    };
    if is_let_go || azure_is_clean(place, observed, &mut plan) {
        let credentials = &observed.credentials;
        let own = credentials
            .secret
            .iter()
            .filter(|_| credentials.held && credentials.last_user);
        for secret in credentials.releasable.iter().chain(own) {
            let action = Action::ReleaseCredentials(secret.clone());
            plan.steps.push(
                Step::new(
                    action,
                    STAGE,
                    "nothing is left in Azure that it is needed for",
                )
                .gating(),
            );
        }
        plan.steps
            .push(Step::new(Action::RemoveFinalizer, STAGE, why));
    }
    plan
}

fn azure_is_clean(place: &Place, observed: &Observed, plan: &mut Plan) -> bool {
    if let Some(trouble) = &observed.credentials.trouble {
        plan.block(STAGE, trouble.clone().not_lasting());
        return false;
    }
    match &observed.workspace {
        Lookup::Present(_) => {}
        // A workspace takes its jobs and computes with it; the network may lie elsewhere.
        Lookup::Absent => return leave_kinds(place, observed, plan),
        Lookup::Unavailable(trouble) => {
            plan.block(STAGE, trouble.clone().not_lasting());
            return false;
        }
        Lookup::NotAsked => {
            plan.wait(
                STAGE,
                Reason::Deleting,
                "the workspace has not been looked at yet",
            );
            return false;
        }
    }
    let detaches = observed.annotations.policy == ReconcilePolicy::DetachOnDelete;
    if !detaches {
        return end_jobs(place, observed, plan) && leave_kinds(place, observed, plan);
    }
    let is_clean = leave_kinds(place, observed, plan);
    for step in &mut plan.steps {
        "reconcile-policy is detach-on-delete: it stays, and says so".clone_into(&mut step.why);
    }
    is_clean
}

/// Cancels what has not ended; true when all has.
fn end_jobs(place: &Place, observed: &Observed, plan: &mut Plan) -> bool {
    let lineup = match observed.lineup(place, 0) {
        Ok(lineup) => lineup,
        Err(trouble) => {
            plan.block(STAGE, trouble.not_lasting());
            return false;
        }
    };
    let ours = |facts: &&JobFacts| owner_uid(&facts.tags) == Some(place.identity.uid.as_str());
    let alive: Vec<_> = lineup
        .jobs
        .values()
        .filter(|facts| !facts.status.is_terminal())
        .filter(ours)
        .collect();
    for job in &alive {
        let Some(name) = place.identity.parse_job_id(&job.id) else {
            continue;
        };
        if job.status.is_leaving() {
            plan.wait(
                STAGE,
                Reason::Deleting,
                format!("job {} is {}", job.id, job.status),
            );
        } else {
            let action = Action::CancelJob {
                id: place.job(name),
                api_version: Job::API_VERSION,
            };
            plan.steps
                .push(Step::new(action, STAGE, "the DaskCluster is being deleted"));
        }
    }
    alive.is_empty()
}

/// Kind after kind, the last made first; true when nothing is left.
fn leave_kinds(place: &Place, observed: &Observed, plan: &mut Plan) -> bool {
    for kind in KINDS.iter().rev() {
        let share = (kind.leave)(&Leaving { place, observed });
        if !share.is_ready() {
            plan.add(share);
            return false;
        }
    }
    true
}

//! The plan of a cluster that goes: jobs, then the pools, then subnet and network. It always ends: at the latest when somebody
//! says that it may leave everything behind.

use super::{Action, Plan, Step};
use crate::api::{ConditionType, DeletionPolicy, Reason, ReconcilePolicy};
use crate::azure::{Lane, ResourceId};
use crate::azure_resources::job::JobFacts;
use crate::azure_resources::ownership::owner_uid;
use crate::azure_resources::{AzureKind as _, ComputeCluster, Job, KINDS, Leaving, overdue};
use crate::cluster::Place;
use crate::kubernetes::ABANDON_ANNOTATION;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::observed::Observed;

const STAGE: ConditionType = ConditionType::Ready;

pub(super) fn plan(place: &Place, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !observed.has_finalizer {
        // Nothing was ever made, or somebody took the finalizer: nothing is ours to do.
        return plan;
    }
    let policy = &observed.annotations.policy;
    let stays = "what is in Azure stays, as the policy asks for";
    if observed.is_abandoned {
        let why = format!("{ABANDON_ANNOTATION} says so, whatever is left in Azure");
        let_go(observed, &mut plan, &why, &why);
    } else if *policy == ReconcilePolicy::Observe {
        let_go(observed, &mut plan, stays, stays);
    } else if azure_is_clean(place, observed, &mut plan) {
        let detaches = *policy == ReconcilePolicy::DetachOnDelete;
        let_go(
            observed,
            &mut plan,
            "nothing is left in Azure that it is needed for",
            if detaches {
                stays
            } else {
                "nothing is left in Azure"
            },
        );
    }
    let steps = std::mem::take(&mut plan.steps).into_iter();
    plan.steps = steps.map(|step| step.on_lane(Lane::Delete)).collect();
    plan
}

fn let_go(observed: &Observed, plan: &mut Plan, why_secret: &str, why_cluster: &str) {
    let credentials = &observed.credentials;
    let own = credentials
        .secret
        .iter()
        .filter(|_| credentials.held && credentials.last_user);
    for secret in credentials.releasable.iter().chain(own) {
        let action = Action::ReleaseCredentials(secret.clone());
        plan.steps
            .push(Step::new(action, STAGE, why_secret).gating());
    }
    plan.steps
        .push(Step::new(Action::RemoveFinalizer, STAGE, why_cluster));
}

/// What keeps us from looking, and the way out where it is that nobody lets us in any more.
fn unseen(place: &Place, trouble: &Trouble) -> Trouble {
    let trouble = trouble.clone().not_lasting();
    if !is_about_credentials(trouble.reason) {
        return trouble;
    }
    let identity = &place.identity;
    Trouble {
        message: format!(
            "{}; without that nothing can be removed from Azure. To let the DaskCluster go and leave everything there: kubectl annotate -n {} daskcluster {} {ABANDON_ANNOTATION}=true",
            trouble.message, identity.namespace, identity.name
        ),
        ..trouble
    }
}

/// Whether it is the identity itself that is missing or refused.
pub(crate) fn is_about_credentials(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::CredentialsMissing | Reason::CredentialsRefused
    )
}

fn azure_is_clean(place: &Place, observed: &Observed, plan: &mut Plan) -> bool {
    if let Some(trouble) = &observed.credentials.trouble {
        plan.block(STAGE, unseen(place, trouble));
        return false;
    }
    match &observed.workspace {
        Lookup::Present(_) => {}
        // A workspace takes its jobs and computes with it; the network may lie elsewhere.
        Lookup::Absent => return leave_kinds(place, observed, plan),
        Lookup::Unavailable(trouble) => {
            plan.block(STAGE, unseen(place, trouble));
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

/// Cancels what has not ended; true when the kinds may leave: all has ended, or what has not goes with the pool.
fn end_jobs(place: &Place, observed: &Observed, plan: &mut Plan) -> bool {
    let lineup = match observed.lineup(place, 0) {
        Ok(lineup) => lineup,
        Err(trouble) => {
            plan.block(STAGE, trouble.not_lasting());
            return false;
        }
    };
    let ours = |facts: &&JobFacts| owner_uid(&facts.tags) == Some(place.identity.uid.as_str());
    let alive = lineup
        .jobs
        .values()
        .filter(|facts| !facts.status.is_terminal())
        .filter(ours);
    let mut may_leave = true;
    for job in alive {
        let Some(name) = place.identity.parse_job_id(&job.id) else {
            continue;
        };
        let id = place.job(name);
        if !job.status.is_leaving() {
            may_leave = false;
            let action = Action::CancelJob {
                id,
                api_version: Job::API_VERSION,
            };
            plan.steps
                .push(Step::new(action, STAGE, "the DaskCluster is being deleted"));
            continue;
        }
        let told = format!("job {} is {}", job.id, job.status);
        let pool = place.pool_of(name.slot);
        let becomes = PoolOfJobs::of(place, observed, pool);
        match (overdue(observed, &id, Job::GOES_WITHIN), becomes) {
            (None, _) | (Some(_), PoolOfJobs::Unknown) => {
                may_leave = false;
                plan.wait(STAGE, Reason::Deleting, told);
            }
            // Without a node it runs nowhere and costs nothing.
            (Some(_), PoolOfJobs::Gone) => {}
            (Some(facts), PoolOfJobs::GoesWithUs) => {
                let message = format!("{told} {facts}: its pool is deleted under it");
                plan.block(STAGE, Trouble::passing(Reason::CancelStuck, message));
            }
            (Some(facts), PoolOfJobs::Stays) => {
                may_leave = false;
                let message = format!(
                    "{told} {facts}, and its pool {} stays: end it there, as it may still cost money, or let it be with the annotation azureml.dask.dev/abandon: \"true\"",
                    pool.name()
                );
                plan.block(STAGE, Trouble::passing(Reason::CancelStuck, message));
            }
        }
    }
    may_leave
}

/// What becomes of a pool that jobs run on: the way out where a cancel hangs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PoolOfJobs {
    Gone,
    /// Ours alone, and deleted with the cluster.
    GoesWithUs,
    Stays,
    Unknown,
}

impl PoolOfJobs {
    fn of(place: &Place, observed: &Observed, pool: &ResourceId) -> Self {
        if !place.is_own_pool(pool) {
            return Self::Stays;
        }
        match observed.resource(pool) {
            Lookup::Absent => Self::Gone,
            Lookup::Present(pool)
                if place.deletion_policy == DeletionPolicy::Delete
                    && owner_uid(&ComputeCluster::tags(pool))
                        == Some(place.identity.uid.as_str()) =>
            {
                Self::GoesWithUs
            }
            Lookup::Present(_) => Self::Stays,
            Lookup::NotAsked | Lookup::Unavailable(_) => Self::Unknown,
        }
    }
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

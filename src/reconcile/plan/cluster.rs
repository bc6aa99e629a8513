//! The plan of a cluster that is wanted.

use std::collections::BTreeSet;

use super::stages::{SchedulerStage, fallen_silent, plan_stages};
use super::{Action, Blocked, Follow, Plan, Step, children};
use crate::api::{ConditionType, Reason};
use crate::azure_resources::job::Lineup;
use crate::azure_resources::{AzureKind as _, Job, KINDS, LeavingRule, Scene};
use crate::lookup::Trouble;
use crate::names::Slot;
use crate::reconcile::observed::Observed;
use crate::reconcile::preflight::{self, Check, Preflight};
use crate::reconcile::validate::ValidCluster;
use crate::scaling::{end_all, letting_go};

pub(super) fn plan(cluster: &ValidCluster, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if observed.namespace_is_going {
        plan.wait(
            ConditionType::Ready,
            Reason::Deleting,
            "the namespace is being deleted: nothing is created in it",
        );
        return plan;
    }
    release_credentials(observed, &mut plan);
    // Before it may make anything nothing has to go before it does: a cluster that never came so far is deleted at
    // once, whatever is wrong with its credentials or its workspace.
    let preflight = observed
        .passed
        .clone()
        .unwrap_or_else(|| Preflight::of(cluster, observed));
    let may_touch_azure = may_touch_azure(cluster, observed, &preflight, &mut plan);
    let stops = preflight.stops();
    plan.preflight = Some(preflight);
    if !may_touch_azure {
        tell_silence(observed, &mut plan);
        return plan;
    }
    if !observed.has_finalizer {
        let why = "what it makes in Azure must go before it does";
        plan.steps
            .push(Step::new(Action::EnsureFinalizer, ConditionType::Ready, why).gating());
    }
    hold_credentials(observed, &mut plan);
    let lineup = match observed.lineup_of(cluster) {
        Ok(lineup) => Some(lineup),
        Err(trouble) => {
            plan.unseen
                .extend([ConditionType::SchedulerReady, ConditionType::WorkersReady]);
            tell_silence(observed, &mut plan);
            plan.block(ConditionType::SchedulerReady, trouble.clone());
            plan.block(ConditionType::WorkersReady, trouble);
            None
        }
    };
    let scene = Scene {
        cluster,
        observed,
        lineup: lineup.as_ref(),
    };
    let Some(ordered) = &lineup else {
        plan_kinds(&scene, &mut plan, false, stops);
        return plan;
    };
    plan_jobs(&scene, ordered, &mut plan, stops);
    plan.lineup = lineup;
    plan
}

fn plan_jobs(scene: &Scene<'_>, lineup: &Lineup, plan: &mut Plan, stops: bool) {
    let cluster = scene.cluster;
    let stage = SchedulerStage::of(scene, lineup);
    let connected = children::plan(scene, lineup, &stage, plan);
    plan_kinds(scene, plan, connected, stops);
    let going = if lineup.aim.head {
        letting_go(scene, lineup, &stage)
    } else {
        end_all(scene, lineup)
    };
    for name in &going.cancel {
        let action = Action::CancelJob {
            id: cluster.place.job(name.job),
            api_version: Job::API_VERSION,
        };
        // A pool that is replaced lets all of its jobs go.
        if plan.steps.iter().all(|step| step.action != action) {
            let why = name.why.clone();
            let stage = match name.job.slot {
                Slot::Head => ConditionType::SchedulerReady,
                Slot::Worker(_) => ConditionType::WorkersReady,
            };
            plan.steps.push(Step {
                reason: name.reason,
                ..Step::new(action, stage, why)
            });
        }
    }
    if going.retire > 0 {
        let updates = going
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.reason == Reason::Updating);
        let why = if updates {
            "the spec has changed what workers run with".to_owned()
        } else {
            format!("{} workers are wanted", lineup.aim.workers)
        };
        plan.steps.push(Step::new(
            Action::RetireWorkers {
                count: going.retire,
                first: going.first.clone(),
            },
            ConditionType::WorkersReady,
            why,
        ));
    }
    plan_stages(scene, lineup, &stage, &going, plan);
    plan.follow = stage
        .target(scene, lineup)
        .map_or(Follow::Nobody, Follow::This);
}

/// While Azure cannot be asked for the jobs, the scheduler still can: one that answers is there, one that fell silent
/// is not, whatever was told last.
fn tell_silence(observed: &Observed, plan: &mut Plan) {
    let sight = &observed.scheduler;
    if let (Some(_), Some(silence)) = (&sight.state, &sight.silence) {
        plan.unseen.remove(&ConditionType::SchedulerReady);
        plan.block(ConditionType::SchedulerReady, fallen_silent(silence));
    }
}

fn hold_credentials(observed: &Observed, plan: &mut Plan) {
    let credentials = &observed.credentials;
    if let Some(secret) = credentials
        .secret
        .as_ref()
        .filter(|_| !credentials.held && !credentials.going && credentials.trouble.is_none())
    {
        let action = Action::HoldCredentials(secret.clone());
        plan.steps
            .push(Step::new(action, ConditionType::Ready, "deletion needs it").gating());
    }
}

fn release_credentials(observed: &Observed, plan: &mut Plan) {
    let credentials = &observed.credentials;
    for secret in &credentials.releasable {
        let action = Action::ReleaseCredentials(secret.clone());
        plan.steps.push(Step::new(
            action,
            ConditionType::Ready,
            "no DaskCluster uses it any more",
        ));
    }
}

/// Everything that has to hold before the first thing is made.
fn may_touch_azure(
    cluster: &ValidCluster,
    observed: &Observed,
    preflight: &Preflight,
    plan: &mut Plan,
) -> bool {
    if let Some(trouble) = &observed.credentials.trouble {
        plan.block(ConditionType::Ready, trouble.clone());
        return false;
    }
    // It could not be removed again.
    if let Some(secret) = &observed.credentials.secret
        && observed.credentials.going
        && !observed.has_finalizer
    {
        let message = format!(
            "Secret {} is being deleted: create it anew once it is gone, or name another in spec.credentialsSecretName",
            secret.name
        );
        plan.block(
            ConditionType::Ready,
            Trouble::passing(Reason::CredentialsMissing, message),
        );
        return false;
    }
    match preflight::workspace(cluster, observed) {
        Ok(Some(_)) => {}
        Ok(None) => {
            plan.wait(
                ConditionType::Ready,
                Reason::Pending,
                "the workspace has not been looked at yet",
            );
            return false;
        }
        Err(trouble) => {
            plan.block(ConditionType::Ready, trouble.clone());
            // A workspace takes its jobs with it: only a scheduler that answers says that one is left.
            let sight = &observed.scheduler;
            if trouble.reason == Reason::WorkspaceNotFound
                && (sight.state.is_none() || sight.silence.is_some())
            {
                plan.block(ConditionType::SchedulerReady, trouble);
            }
            return false;
        }
    }
    let stops = preflight.findings.iter().filter(|finding| {
        // What a kind says is told where the kinds are planned.
        finding.stops && finding.check != Check::Resource
    });
    let first = plan.blocked.len();
    for finding in stops {
        plan.block(finding.stage, finding.trouble.clone());
    }
    let Some(stop) = plan.blocked.get(first) else {
        return true;
    };
    // Nothing else is looked at or made, so no other stage may look as if it held.
    let trouble = stop.trouble.clone();
    plan.block(ConditionType::Ready, trouble);
    false
}

/// `connected`: the head's token is where users find it, or will be before the head is submitted. `stops`: something
/// that the manifest names stands in the way of the first spend.
fn plan_kinds(scene: &Scene<'_>, plan: &mut Plan, connected: bool, stops: bool) {
    let first = plan.steps.len();
    let mut ready = BTreeSet::new();
    let mut refused = stops;
    if connected {
        ready.insert(CONNECTION);
    }
    for kind in KINDS {
        let share = (kind.plan)(scene, &ready);
        if share.is_ready() && kind.after.iter().all(|before| ready.contains(before)) {
            ready.insert(kind.name);
        }
        let is_the_clusters_own = matches!(
            kind.leaving,
            LeavingRule::Delete | LeavingRule::DeleteWithParent | LeavingRule::DeleteByName
        );
        refused |= is_the_clusters_own && share.blocked.iter().any(is_not_ours);
        plan.add(share);
    }
    // A cluster of which something is refused never runs: what else were made for it would only be left behind.
    if refused {
        plan.held_up.extend(plan.steps.split_off(first));
    }
}

fn is_not_ours(blocked: &Blocked) -> bool {
    [Reason::NotOurs, Reason::AlreadyOwned].contains(&blocked.trouble.reason)
}

/// What jobs come after besides other kinds: the Secret that holds the head's token.
pub(crate) const CONNECTION: &str = "connection Secret";

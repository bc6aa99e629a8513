//! Deleting what Azure cannot change in place and making it again: only as the user allowed it, once for each time.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{KindPlan, One, conflict, short_hash};
use crate::api::{ALLOW_REPLACE, Reason};
use crate::azure_resources::AzureKind;
use crate::azure_resources::job::Job;
use crate::azure_resources::ownership::owner_uid;
use crate::lookup::Trouble;
use crate::reconcile::{PlannedAction, Step};

/// How far a replacement is, for the status to hold: an operator that starts anew goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    NotYet,
    Since(Timestamp),
}

/// `have` is ours, and differs from the spec in `fields`, which Azure cannot change in place.
pub(super) fn plan<K: AzureKind>(
    one: &One<'_>,
    have: &Value,
    fields: &[String],
    plan: &mut KindPlan,
) {
    let (what, stage) = (&one.what, one.stage);
    if K::MADE_AGAIN_AFTER.is_none() {
        return plan.block(stage, conflict::<K>(one, fields));
    }
    let differs = fields.join(", ");
    let allowance = allowance(one, have, &differs);
    let told = &one.scene.observed.told;
    let identity = &one.scene.cluster.place.identity;
    if told.allowed_replacement.as_ref() != Some(&allowance) {
        let message = format!(
            "{what} has another {differs} than the manifest asks for, and Azure cannot change that in place: to let it be replaced, which ends the jobs on it and loses what the workers hold, run kubectl annotate --overwrite -n {} daskcluster {} {ALLOW_REPLACE}={allowance}",
            identity.namespace, identity.name
        );
        return plan.block(stage, Trouble::lasting(Reason::ReplaceNeeded, message));
    }
    let Some(lineup) = one.scene.lineup else {
        let message = format!("{what} is replaced once its jobs can be listed");
        return plan.wait(stage, Reason::Replacing, message);
    };
    let alive: Vec<_> = lineup
        .jobs
        .iter()
        .filter(|(_, facts)| !facts.status.is_terminal())
        .filter(|(_, facts)| owner_uid(&facts.tags) == Some(identity.uid.as_str()))
        .collect();
    if !alive.is_empty() {
        for (name, _) in alive.iter().filter(|(_, facts)| !facts.status.is_leaving()) {
            let action = PlannedAction::CancelJob {
                id: one.scene.cluster.place.job(**name),
                api_version: Job::API_VERSION,
            };
            let why = format!("{what} is replaced");
            plan.steps.push(Step::new(action, stage, why));
        }
        let message = format!(
            "{what} is replaced once its {} jobs have ended",
            alive.len()
        );
        return plan.wait(stage, Reason::Replacing, message);
    }
    // What is meant is written down before it is done: whoever starts anew in between must wait before making it.
    plan.replaced.push((one.id.clone(), Gone::NotYet));
    if told.replaced.contains_key(&one.id) {
        let why =
            format!("{differs} can only be had by making it again, which the annotation allows");
        plan.steps.push(Step::delete::<K>(one.id.clone(), &why));
    }
    plan.wait(
        stage,
        Reason::Replacing,
        format!("{what} is deleted to be made again"),
    );
}

/// Says no while what was deleted has not been gone for long enough.
pub(super) fn may_be_made_again<K: AzureKind>(one: &One<'_>, plan: &mut KindPlan) -> bool {
    let observed = one.scene.observed;
    let (Some(since), Some(pause)) = (observed.told.replaced.get(&one.id), K::MADE_AGAIN_AFTER)
    else {
        return true;
    };
    let since = since.unwrap_or(observed.seen_at);
    if observed.seen_at.duration_since(since) >= pause {
        return true;
    }
    plan.replaced.push((one.id.clone(), Gone::Since(since)));
    let message = format!(
        "{} is gone; it is made again when that is {} s ago, as Azure gives back the old size to a name that is taken again too soon",
        one.what,
        pause.as_secs()
    );
    plan.wait(one.stage, Reason::Replacing, message);
    false
}

/// What the annotation must say: another text for other fields, and for what stands under the name the next time.
fn allowance(one: &One<'_>, have: &Value, differs: &str) -> String {
    let made = ["/properties/createdOn", "/systemData/createdAt"]
        .into_iter()
        .find_map(|field| have.pointer(field)?.as_str())
        .unwrap_or_default();
    let hash = short_hash(&format!("{} {made} {differs}", one.id), 4);
    format!("{}.{hash}", one.id.name())
}

/// Between the end of a pool and the next one of its name (azure-rest-api-specs issue 18889: re-created at once it has
/// its old size). Nobody says how long it takes; this is long for a pool and short for a person.
pub(in crate::azure_resources) const POOL_PAUSE: SignedDuration = SignedDuration::from_mins(5);

//! How a kind goes with its cluster.

use serde_json::Value;

use super::adoption::with_tags;
use super::{KindPlan, Leaving, describe, owner_tag_is_to_be_given_back};
use crate::api::{ConditionType, DeletionPolicy, Reason};
use crate::azure::ResourceId;
use crate::azure_resources::ownership::{
    RETAINED, is_retained, owner_tag_is_gone, owner_uid, tags_of,
};
use crate::azure_resources::{AzureKind, LeavingRule};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::Step;

const STAGE: ConditionType = ConditionType::Ready;

pub(super) fn leave<K: AzureKind>(leaving: &Leaving<'_>) -> KindPlan {
    let mut plan = KindPlan::default();
    for id in K::places(leaving.place) {
        leave_one::<K>(leaving, id, &mut plan);
    }
    plan
}

fn leave_one<K: AzureKind>(leaving: &Leaving<'_>, id: ResourceId, plan: &mut KindPlan) {
    let what = describe::<K>(&id);
    let have = match leaving.observed.resource(&id) {
        Lookup::Absent => return,
        Lookup::NotAsked => {
            let message = format!("{what} has not been looked at yet");
            return plan.wait(STAGE, Reason::Deleting, message);
        }
        Lookup::Unavailable(trouble) => return plan.block(STAGE, trouble.clone().not_lasting()),
        Lookup::Present(have) => have,
    };
    let Some(ours) = is_ours::<K>(leaving, &id) else {
        let message = format!("who owns {what} is not known yet");
        return plan.wait(STAGE, Reason::Deleting, message);
    };
    if !ours {
        let cluster = leaving.place.identity.to_string();
        if K::LEAVING == LeavingRule::Delete && owner_tag_is_gone(&tags_of(have), &cluster) {
            let message = owner_tag_is_to_be_given_back(&what, &id, &leaving.place.identity.uid);
            plan.block(STAGE, Trouble::passing(Reason::NotOurs, message));
        }
        return;
    }
    let others = K::held_by_others(leaving.place, have);
    let retain = match (&others, leaving.place.deletion_policy) {
        (_, DeletionPolicy::Retain) => {
            Some("deletionPolicy is Retain: it stays, and says so".into())
        }
        (Some(others), DeletionPolicy::Delete) => {
            Some(format!("{others} in it, so it stays, and says so"))
        }
        (None, DeletionPolicy::Delete) => None,
    };
    if let Some(why) = retain {
        if !is_retained(&tags_of(have)) {
            plan.steps.extend(retained::<K>(&id, have, &why));
        }
        return;
    }
    let state = have
        .pointer("/properties/provisioningState")
        .and_then(Value::as_str);
    if state == Some("Deleting") {
        plan.wait(STAGE, Reason::Deleting, format!("{what} is Deleting"));
    } else {
        let step = Step::delete::<K>(id, "the DaskCluster is being deleted");
        // Whoever put something in since would lose it.
        plan.steps.push(match K::LEAVING {
            LeavingRule::Delete => step.if_unchanged(have),
            _ => step,
        });
    }
}

/// `None` while that cannot be told.
fn is_ours<K: AzureKind>(leaving: &Leaving<'_>, id: &ResourceId) -> Option<bool> {
    let owner = match K::LEAVING {
        LeavingRule::DeleteWithParent => id.parent(),
        LeavingRule::Delete => Some(id.clone()),
        // The UID is in the name.
        LeavingRule::DeleteByName => return Some(true),
        LeavingRule::Stay | LeavingRule::End => None,
    };
    match owner.map(|owner| leaving.observed.resource(&owner)) {
        None | Some(Lookup::Absent) => Some(false),
        Some(Lookup::Present(owner)) => {
            Some(owner_uid(&tags_of(owner)) == Some(leaving.place.identity.uid.as_str()))
        }
        Some(Lookup::NotAsked | Lookup::Unavailable(_)) => None,
    }
}

/// The whole body again with the tag that says it was left on purpose; `None` where the kind has no tags.
fn retained<K: AzureKind>(id: &ResourceId, have: &Value, why: &str) -> Option<Step> {
    if K::LEAVING != LeavingRule::Delete {
        return None;
    }
    let mut tags = tags_of(have);
    tags.insert(RETAINED.into(), "true".into());
    let step = Step::put::<K>(id.clone(), with_tags::<K>(have, &tags)?, why);
    Some(step.if_unchanged(have))
}

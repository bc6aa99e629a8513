//! Taking over what somebody else made: told first, then our tags, then what the spec asks for, a look apart.

use serde_json::Value;

use super::{KindPlan, One};
use crate::api::Reason;
use crate::azure_resources::ownership::{RETAINED, Tags, tags_of, tags_of_both};
use crate::azure_resources::{AzureKind, Drift};
use crate::lookup::Trouble;
use crate::reconcile::Step;

/// `have` is nobody's, and fit for use.
pub(super) fn plan<K: AzureKind>(
    one: &One<'_>,
    body: &K::Want,
    have: &Value,
    decoded: &K::Have,
    plan: &mut KindPlan,
) {
    let (what, stage) = (&one.what, one.stage);
    let changes: Vec<String> = match K::drift(body, decoded) {
        Drift::None => Vec::new(),
        Drift::Update { fields, .. } => fields
            .into_iter()
            .filter(|field| !field.starts_with("tags."))
            .collect(),
        Drift::Replace { fields } => {
            let message = format!(
                "{what} cannot be taken over: it has another {} than the manifest asks for, and Azure cannot change that in place; write into the manifest what it has, or choose another",
                fields.join(", ")
            );
            return plan.block(stage, Trouble::lasting(Reason::NotOurs, message));
        }
    };
    let then = if changes.is_empty() {
        "nothing else in it is changed".to_owned()
    } else {
        format!(
            "then {} is set to what the manifest asks for",
            changes.join(", ")
        )
    };
    let telling = format!(
        "{what} is taken over: it gets the tags of this cluster, with which it will be deleted; {then}"
    );
    if !one.scene.observed.told.adopting.contains(&stage) {
        return plan.wait(stage, Reason::Adopting, telling);
    }
    let owner = &one.scene.cluster.owner;
    let held: Tags = tags_of(have)
        .into_iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(RETAINED))
        .collect();
    let tags = tags_of_both(&owner.tags(&one.scene.cluster.user_tags), Some(&held));
    match with_tags::<K>(have, &tags) {
        Some(body) => {
            let step = Step::put::<K>(one.id.clone(), body, "creationPolicy is Adopt");
            plan.steps.push(step.if_unchanged(have));
        }
        None => {
            let message = format!("Azure's answer for {what} cannot be read");
            plan.block(stage, Trouble::passing(Reason::AzureError, message));
        }
    }
}

/// A PUT body that changes nothing but the tags of what is there.
pub(super) fn with_tags<K: AzureKind>(have: &Value, tags: &Tags) -> Option<Value> {
    let mut body = have.clone();
    let fields = body.as_object_mut()?;
    for read_only in ["id", "name", "type", "etag", "systemData"] {
        fields.remove(read_only);
    }
    fields.insert("tags".into(), serde_json::to_value(tags).ok()?);
    let assigned = have.pointer("/identity/userAssignedIdentities");
    if let Some(ids) = assigned.and_then(Value::as_object) {
        let nothing = |id: &String| (id.clone(), Value::Object(Default::default()));
        fields["identity"]["userAssignedIdentities"] = ids.keys().map(nothing).collect();
    }
    if let Some(identity) = fields.get_mut("identity").and_then(Value::as_object_mut) {
        identity.retain(|name, _| ["type", "userAssignedIdentities"].contains(&name.as_str()));
    }
    K::writable(fields.get_mut("properties")?);
    Some(body)
}

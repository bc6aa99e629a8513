//! What Azure accepted and did not carry through, or never ends.

use jiff::SignedDuration;
use serde_json::Value;

use super::{KindPlan, One};
use crate::api::Reason;
use crate::azure::{ResourceId, Verdict};
use crate::azure_resources::{AzureKind, Drift, Standing};
use crate::lookup::Trouble;
use crate::reconcile::{Aftermath, Course, Observed, Step, trouble};

/// Waits for it, until a deadline of its kind.
pub(super) fn settling<K: AzureKind>(
    one: &One<'_>,
    standing: &Standing<K::Want>,
    message: String,
    plan: &mut KindPlan,
) {
    let Some(facts) = overdue(one.scene.observed, &one.id, K::SETTLES_WITHIN) else {
        return plan.wait(one.stage, Reason::Provisioning, message);
    };
    let way_out = match standing {
        Standing::Use { .. } | Standing::Adopt { .. } => "its owner has to mend it",
        _ => "delete it: it is made again, from the manifest",
    };
    let message = format!("{}: {message} {facts}; {way_out}", one.what);
    plan.block(one.stage, Trouble::passing(Reason::OperationStuck, message));
}

/// Forgets that it had failed before.
pub(super) fn holds<K: AzureKind>(one: &One<'_>, plan: &mut KindPlan) {
    let step = Step::put::<K>(one.id.clone(), Value::Null, "").key();
    let setback = one.scene.observed.setbacks.get(&step);
    if setback.is_some_and(|setback| setback.course != Course::Refused) {
        plan.aftermaths.push(Aftermath::Holds { step });
    }
}

/// What is ours is written again, later after every failure: Azure keeps the name, and a PUT of the same is how it is
/// mended. What is somebody else's is told. False where another try is no matter: Azure cannot change it in place.
pub(super) fn failed<K: AzureKind>(
    one: &One<'_>,
    standing: &Standing<K::Want>,
    (have, decoded): (&Value, &K::Have),
    (verdict, message): (Verdict, &str),
    plan: &mut KindPlan,
) -> bool {
    let (verdict, told) = cause(one, verdict, format!("{}: {message}", one.what));
    let trouble = trouble::of_verdict(verdict, &told);
    let want = match standing {
        Standing::Own(want) | Standing::OwnWithoutTags(want) | Standing::Shared(want) => want,
        Standing::Adopt { .. } | Standing::Keep | Standing::Use { .. } | Standing::Later { .. } => {
            plan.block(one.stage, trouble.not_lasting());
            return true;
        }
    };
    if matches!(K::drift(want, decoded), Drift::Replace { .. }) {
        return false;
    }
    let Some(body) = K::again(want, decoded) else {
        plan.block(one.stage, trouble.not_lasting());
        return true;
    };
    let why = "Azure did not carry the last write through";
    // Whoever put something in since would lose it.
    let step = Step::put::<K>(one.id.clone(), body, why).if_unchanged(have);
    match one.scene.observed.setbacks.get(&step.key()) {
        Some(setback) if setback.course != Course::TriedAgain => plan.steps.push(step),
        _ => {
            plan.aftermaths.push(Aftermath::Fell {
                step: step.key(),
                trouble: trouble.clone(),
                retry: verdict.class.retry(None),
            });
            plan.block(one.stage, trouble);
        }
    }
    true
}

/// What the resource itself says of it, or else its operation.
fn cause(one: &One<'_>, verdict: Verdict, told: String) -> (Verdict, String) {
    let operation = one.scene.observed.operations.get(&one.id);
    match operation.and_then(|operation| operation.error.as_ref()) {
        Some(error) if !told.contains(&error.code) => (error.verdict(), format!("{told}: {error}")),
        _ => (verdict, told),
    }
}

/// The facts of an operation that has not ended in time; `None` while it may still take.
pub(crate) fn overdue(
    observed: &Observed,
    id: &ResourceId,
    deadline: SignedDuration,
) -> Option<String> {
    let (since, age) = observed.age(id)?;
    let operation = observed.operations.get(id);
    let operation = operation.map_or_else(String::new, |operation| {
        format!(", operation {}", operation.id)
    });
    (age > deadline).then(|| {
        format!(
            "since {} or longer, which never takes more than {} minutes{operation}",
            since.strftime("%Y-%m-%d %H:%M:%S UTC"),
            deadline.as_mins()
        )
    })
}

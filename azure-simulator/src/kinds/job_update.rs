//! A second PUT of a job id: what it may change, and what it may not (contract section 0.6).

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::documents::Document;
use crate::kinds::job_limits;
use crate::world::Unproven;

const IMMUTABLE: [(&str, &str); 15] = [
    ("experimentName", "ExperimentName"),
    ("computeId", "ComputeId"),
    ("command", "Command"),
    ("environmentId", "EnvironmentId"),
    ("environmentVariables", "EnvironmentVariables"),
    ("resources", "Resources"),
    ("limits", "Limits"),
    ("queueSettings", "QueueSettings"),
    ("identity", "Identity"),
    ("inputs", "InputBindings"),
    ("outputs", "OutputBindings"),
    ("jobType", "JobType"),
    ("codeId", "CodeId"),
    ("distribution", "Distribution"),
    ("services", "Services"),
];

/// The stored body with what `wanted` changes: tags merge, properties gain keys, the rest is
/// replaced where it was given.
pub(crate) fn changed(
    unproven: &Unproven,
    found: &Document,
    wanted: &Value,
) -> Result<Value, ArmError> {
    let before = &found.body["properties"];
    let mut refused: Vec<&str> = IMMUTABLE
        .iter()
        .filter(|(field, _)| !same(field, &before[*field], &wanted[*field]))
        .map(|(_, name)| *name)
        .collect();
    for (name, value) in wanted["properties"].as_object().into_iter().flatten() {
        let kept = before["properties"].get(name);
        if kept.is_some_and(|kept| kept != value) {
            refused.push("Properties");
            break;
        }
    }
    if !refused.is_empty() {
        return Err(immutable(unproven, &refused.join(", ")));
    }
    let mut body = found.body.clone();
    let after = &mut body["properties"];
    for field in ["tags", "properties"] {
        for (name, value) in wanted[field].as_object().into_iter().flatten() {
            after[field][name] = value.clone();
        }
    }
    for (field, value) in wanted["_given"].as_object().into_iter().flatten() {
        if !value.is_null() {
            after[field] = value.clone();
        }
    }
    job_limits::check(&body["properties"])?;
    Ok(body)
}

fn same(field: &str, before: &Value, wanted: &Value) -> bool {
    match (field, before.as_str(), wanted.as_str()) {
        ("computeId" | "environmentId" | "codeId", Some(before), Some(wanted)) => {
            before.eq_ignore_ascii_case(wanted)
        }
        _ => before == wanted,
    }
}

pub(crate) fn immutable(unproven: &Unproven, properties: &str) -> ArmError {
    ArmError::immutable(
        "JobPropertyImmutable",
        format!(
            "A job with this name already exists. If you are trying to create a new job, use a \
             different name. If you are trying to update an existing job, the existing job's \
             {properties} cannot be changed. Only description, tags, displayName, properties, and \
             isArchived can be updated."
        ),
        json!({"property": format!(" {properties}")}),
    )
    .with_status(unproven.immutable_job_status())
}

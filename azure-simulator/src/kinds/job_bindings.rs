//! Inputs and outputs of a job, and the places of its command that they are put in.

use serde_json::{Map, Value, json};

use crate::arm::error::ArmError;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::resource_id::ResourceId;

pub(crate) fn inputs(given: &Value) -> Result<Value, ArmError> {
    let mut inputs = Map::new();
    for (name, input) in given.as_object().into_iter().flatten() {
        only_known(
            input,
            &[
                "jobInputType",
                "uri",
                "mode",
                "value",
                "description",
                "pathOnCompute",
            ],
            "a job's input",
        )?;
        if !input["pathOnCompute"].is_null() {
            return Err(ArmError::refused("The pathOnCompute of an input"));
        }
        let kind = input["jobInputType"].as_str().unwrap_or_default();
        let described = input["description"].clone();
        let normalised = match kind {
            "literal" => json!({
                "description": described,
                "jobInputType": kind,
                "value": input["value"].as_str().ok_or_else(|| ArmError::user(format!(
                    "The literal input '{name}' needs a value."
                )))?,
            }),
            "uri_folder" | "uri_file" | "mltable" => {
                if input["uri"].as_str().is_none_or(str::is_empty) {
                    return Err(ArmError::user(format!("The input '{name}' needs a uri.")));
                }
                let mode = input["mode"].as_str().unwrap_or("ReadOnlyMount");
                if !["ReadOnlyMount", "ReadWriteMount", "Download", "Direct"].contains(&mode) {
                    return Err(ArmError::refused(format!("The input mode '{mode}'")));
                }
                json!({
                    "description": described,
                    "jobInputType": kind,
                    "uri": input["uri"],
                    "mode": mode,
                })
            }
            other => return Err(ArmError::refused(format!("The input type '{other}'"))),
        };
        inputs.insert(name.clone(), normalised);
    }
    Ok(Value::Object(inputs))
}

/// Name of the output that the server makes: the run's own files.
pub(crate) const DEFAULT_OUTPUT: &str = "default";

/// The default output is the server's own; others are folders or files, and data assets once the job
/// has completed where they have a name for one.
pub(crate) fn outputs(id: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    let mut outputs = Map::new();
    for (name, output) in given.as_object().into_iter().flatten() {
        if name == DEFAULT_OUTPUT {
            continue;
        }
        only_known(
            output,
            &[
                "jobOutputType",
                "uri",
                "mode",
                "description",
                "assetName",
                "assetVersion",
            ],
            "a job's output",
        )?;
        let texts = ["description", "uri", "mode"].map(|field| (field, Form::Text));
        check_forms(output, &texts, "a job's output")?;
        let kind = output["jobOutputType"].as_str().unwrap_or_default();
        if !["uri_folder", "uri_file", "mltable"].contains(&kind) {
            return Err(ArmError::refused(format!("The output type '{kind}'")));
        }
        let mode = output["mode"].as_str().unwrap_or("ReadWriteMount");
        if !["ReadWriteMount", "Upload"].contains(&mode) {
            return Err(ArmError::refused(format!("The output mode '{mode}'")));
        }
        let mut normalised = json!({
            "description": output["description"],
            "uri": output["uri"],
            "mode": mode,
            "jobOutputType": kind,
        });
        for field in ["assetName", "assetVersion"] {
            if !output[field].is_null() {
                normalised[field] = json!(asset_text(name, field, &output[field])?);
            }
        }
        if normalised["assetName"].is_null() && !normalised["assetVersion"].is_null() {
            return Err(ArmError::user(format!(
                "The output '{name}' has an assetVersion and no assetName."
            )));
        }
        outputs.insert(name.clone(), normalised);
    }
    let uri = format!(
        "azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{}",
        id.name()
    );
    outputs.insert(
        DEFAULT_OUTPUT.to_owned(),
        json!({
            "description": null,
            "uri": uri,
            "mode": "ReadWriteMount",
            "jobOutputType": "uri_folder",
        }),
    );
    Ok(Value::Object(outputs))
}

/// Name or version of the data asset that an output becomes. The OpenAPI has no pattern for these two.
/// That of the names of assets in URLs is `^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$`; a point is let through
/// beside it, because versions have some.
fn asset_text<'a>(output: &str, field: &str, given: &'a Value) -> Result<&'a str, ArmError> {
    let text = given.as_str().unwrap_or_default();
    let bytes = text.as_bytes();
    let fits = (1..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    if fits {
        return Ok(text);
    }
    Err(ArmError::user(format!(
        "The {field} {given} of the output '{output}' is invalid."
    )))
}

/// Every `${{inputs.x}}` must name an input, every `${{outputs.x}}` an output.
pub(crate) fn check_placeholders(
    command: &str,
    inputs: &Value,
    outputs: &Value,
) -> Result<(), ArmError> {
    let mut rest = command;
    while let Some(at) = rest.find("${{") {
        let Some(end) = rest[at..].find("}}") else {
            break;
        };
        let inside = rest[at + 3..at + end].trim();
        let known = match inside.split_once('.') {
            Some(("inputs", name)) => inputs.get(name).is_some(),
            Some(("outputs", name)) => outputs.get(name).is_some(),
            _ => false,
        };
        if !known {
            return Err(ArmError::user(format!(
                "The command of the job refers to '{inside}', which the job does not have."
            )));
        }
        rest = &rest[at + end..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_its_own_on_the_node_is_refused_and_not_forgotten() {
        let input = json!({"x": {
            "jobInputType": "uri_folder", "uri": "https://x/y", "pathOnCompute": "/data",
        }});
        assert!(inputs(&input).unwrap_err().refused.is_some());
    }

    #[test]
    fn a_command_cannot_refer_to_an_input_that_is_not_there() {
        let inputs = json!({"x": {}});
        let outputs = json!({"o": {}});
        let check = |command| check_placeholders(command, &inputs, &outputs);
        assert!(check("run ${{inputs.x}} ${{ inputs.x }} ${{outputs.o}}").is_ok());
        assert!(check("run ${{inputs.y}}").is_err());
        assert!(check("run ${{outputs.x}}").is_err());
    }
}

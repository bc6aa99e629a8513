//! What a job's PUT may say: checked, normalised, and what it refers to found.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::kinds::data_version::or_empty;
use crate::kinds::job_bindings::{check_placeholders, inputs, outputs};
use crate::kinds::job_resources::{distribution, instances_of, resources};
use crate::kinds::{job_limits, job_services};
use crate::resource_id::ResourceId;

const FORMS: [(&str, Form); 17] = [
    ("displayName", Form::Text),
    ("experimentName", Form::Text),
    ("description", Form::Text),
    ("computeId", Form::Text),
    ("codeId", Form::Text),
    ("command", Form::Text),
    ("environmentId", Form::Text),
    ("isArchived", Form::Flag),
    ("environmentVariables", Form::Object),
    ("distribution", Form::Object),
    ("resources", Form::Object),
    ("limits", Form::Object),
    ("queueSettings", Form::Object),
    ("identity", Form::Object),
    ("inputs", Form::Object),
    ("outputs", Form::Object),
    ("services", Form::Object),
];

/// A PUT body with everything that the server fills in.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) properties: Value,
}

/// What a job names and needs.
pub(crate) struct References {
    pub(crate) compute: ResourceId,
    pub(crate) environment: ResourceId,
    pub(crate) timeout_seconds: Option<f64>,
    /// How many nodes it runs on.
    pub(crate) instances: usize,
}

impl Wanted {
    pub(crate) fn read(id: &ResourceId, body: &Value) -> Result<Self, ArmError> {
        check_id(id.name())?;
        only_known(
            body,
            &["id", "name", "type", "properties", "systemData"],
            "a job",
        )?;
        check_forms(body, &[("properties", Form::Object)], "a job")?;
        let given = &body["properties"];
        match given["jobType"].as_str() {
            Some("Command") => {}
            Some(other) => return Err(ArmError::refused(format!("The job type '{other}'"))),
            None => return Err(ArmError::user("The jobType of a job is required.")),
        }
        only_known(
            given,
            &[
                "jobType",
                "displayName",
                "experimentName",
                "description",
                "tags",
                "properties",
                "isArchived",
                "computeId",
                "componentId",
                "codeId",
                "command",
                "environmentId",
                "environmentVariables",
                "distribution",
                "resources",
                "limits",
                "queueSettings",
                "identity",
                "inputs",
                "outputs",
                "services",
                "notificationSetting",
                "status",
                "parameters",
            ],
            "a job's properties",
        )?;
        check_forms(given, &FORMS, "a job")?;
        for (field, what) in [
            ("componentId", "A component"),
            ("notificationSetting", "A notification setting"),
        ] {
            if !given[field].is_null() {
                return Err(ArmError::refused(format!("{what} of a job")));
            }
        }
        let command = given["command"].as_str().unwrap_or_default();
        if !command.contains(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ArmError::user("The command of a job is required."));
        }
        if given["environmentId"].as_str().is_none_or(str::is_empty) {
            return Err(ArmError::user("The environmentId of a job is required."));
        }
        job_limits::check(given)?;
        let inputs = inputs(&given["inputs"])?;
        let outputs = outputs(id, &given["outputs"])?;
        check_placeholders(command, &inputs, &outputs)?;
        let resources = resources(&given["resources"])?;
        Ok(Self {
            properties: json!({
                "jobType": "Command",
                "displayName": given["displayName"].as_str().unwrap_or(id.name()),
                "experimentName": given["experimentName"].as_str().unwrap_or("Default"),
                "description": given["description"],
                "tags": or_empty(&given["tags"]),
                "properties": or_empty(&given["properties"]),
                "isArchived": given["isArchived"] == true,
                "computeId": given["computeId"],
                "componentId": null,
                "codeId": given["codeId"],
                "command": command,
                "environmentId": given["environmentId"],
                "environmentVariables": environment_variables(&given["environmentVariables"])?,
                "distribution": distribution(&given["distribution"], &resources)?,
                "resources": resources,
                "limits": limits(&given["limits"])?,
                "queueSettings": queue_settings(&given["queueSettings"])?,
                "identity": identity(&given["identity"])?,
                "inputs": inputs,
                "outputs": outputs,
                "services": job_services::checked(&given["services"])?,
                "notificationSetting": null,
                "parameters": {},
                // What was given of what a second PUT may leave out.
                "_given": {
                    "displayName": given["displayName"],
                    "description": given["description"],
                    "isArchived": given["isArchived"],
                },
            }),
        })
    }
}

/// `^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$` (contract section 7).
fn check_id(name: &str) -> Result<(), ArmError> {
    let bytes = name.as_bytes();
    let fits = (1..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
    if fits {
        return Ok(());
    }
    Err(ArmError::user(format!(
        "The job name '{name}' is invalid. It must match ^[a-zA-Z0-9][a-zA-Z0-9\\-_]{{0,254}}$."
    )))
}

fn environment_variables(given: &Value) -> Result<Value, ArmError> {
    let Some(variables) = given.as_object() else {
        return Ok(Value::Null);
    };
    for (name, value) in variables {
        if name.is_empty() || name.contains('=') || !value.is_string() {
            return Err(ArmError::user(format!(
                "The environment variable '{name}' needs a name and a string."
            )));
        }
    }
    Ok(given.clone())
}

fn limits(given: &Value) -> Result<Value, ArmError> {
    only_known(given, &["jobLimitsType", "timeout"], "a job's limits")?;
    check_forms(given, &[("timeout", Form::Duration)], "a job's limits")?;
    if !given.is_null() && given["jobLimitsType"] != "Command" {
        return Err(ArmError::user(
            "The jobLimitsType of a command job is Command.",
        ));
    }
    Ok(json!({"jobLimitsType": "Command", "timeout": given["timeout"]}))
}

fn queue_settings(given: &Value) -> Result<Value, ArmError> {
    only_known(given, &["jobTier"], "a job's queue settings")?;
    check_forms(given, &[("jobTier", Form::Text)], "a job's queue settings")?;
    match given["jobTier"].as_str() {
        None | Some("Null") => Ok(json!({"jobTier": "Null"})),
        Some(tier) => Err(ArmError::refused(format!("The job tier '{tier}'"))),
    }
}

/// Comes back `null` for AMLToken (contract section 7).
fn identity(given: &Value) -> Result<Value, ArmError> {
    let named = ["clientId", "objectId", "resourceId"];
    only_known(
        given,
        &[&["identityType"], &named[..]].concat(),
        "a job's identity",
    )?;
    check_forms(
        given,
        &named.map(|name| (name, Form::Text)),
        "a job's identity",
    )?;
    match given["identityType"].as_str() {
        None if given.is_null() => Ok(Value::Null),
        None => Err(ArmError::user(
            "The identityType of a job's identity is required.",
        )),
        Some("AMLToken") => Ok(Value::Null),
        Some("Managed") => Ok(given.clone()),
        Some(other) => Err(ArmError::refused(format!("The job identity '{other}'"))),
    }
}

impl References {
    /// Finds what a new job refers to.
    pub(crate) fn resolve(
        transaction: &Transaction<'_>,
        properties: &Value,
    ) -> Result<Self, ArmError> {
        let find = |text: &str, kind: &str| {
            ResourceId::parse(text)
                .filter(|id| {
                    id.resource_type().eq_ignore_ascii_case(&format!(
                        "Microsoft.MachineLearningServices/workspaces/{kind}"
                    ))
                })
                .and_then(|id| transaction.state.documents.get(&id))
        };
        let Some(compute) = properties["computeId"].as_str() else {
            return Err(ArmError::refused(
                "A job without computeId (serverless compute)",
            ));
        };
        let pool = find(compute, "computes")
            .filter(|pool| pool.body["properties"]["provisioningState"] != "Deleting");
        let Some(pool) = pool else {
            return Err(ArmError::user(format!(
                "The compute target '{compute}' was not found."
            )));
        };
        if pool.body["properties"]["properties"]["osType"] == "Windows" {
            return Err(ArmError::refused("A job on nodes of Windows"));
        }
        let environment = properties["environmentId"].as_str().unwrap_or_default();
        let Some(environment) = find(environment, "environments/versions") else {
            return Err(ArmError::user(format!(
                "The environment '{environment}' was not found."
            )));
        };
        if let Some(code) = properties["codeId"].as_str()
            && find(code, "codes/versions").is_none()
        {
            return Err(ArmError::user(format!(
                "The code asset '{code}' was not found."
            )));
        }
        for (name, input) in properties["inputs"].as_object().into_iter().flatten() {
            let uri = input["uri"].as_str().unwrap_or_default();
            if let Some(asset) = data_asset(uri, &pool.id)
                && transaction.state.documents.get(&asset).is_none()
            {
                return Err(ArmError::user(format!(
                    "The data asset '{uri}' of input '{name}' was not found."
                )));
            }
        }
        let timeout = properties["limits"]["timeout"]
            .as_str()
            .and_then(|text| text.parse::<SignedDuration>().ok());
        Ok(Self {
            compute: pool.id.clone(),
            environment: environment.id.clone(),
            timeout_seconds: timeout.map(|timeout| timeout.as_secs_f64()),
            instances: instances_of(properties),
        })
    }
}

/// The data version that a `uri` names: by ARM id or as `azureml:name:version`. `None` where it is
/// the URI of a store.
pub(crate) fn data_asset(uri: &str, neighbour: &ResourceId) -> Option<ResourceId> {
    if let Some(reference) = uri.strip_prefix("azureml:")
        && !reference.starts_with('/')
        && let Some((name, version)) = reference.split_once(':')
    {
        let mut home = neighbour.clone();
        home.segments.truncate(1);
        return Some(
            home.child("data", Some(name))
                .child("versions", Some(version)),
        );
    }
    let id = ResourceId::parse(uri.strip_prefix("azureml:").unwrap_or(uri))?;
    id.resource_type()
        .to_lowercase()
        .ends_with("/data/versions")
        .then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> ResourceId {
        ResourceId::parse(
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/\
             workspaces/w/jobs/j1",
        )
        .unwrap()
    }

    #[test]
    fn what_is_not_simulated_is_refused_and_named() {
        for (field, value) in [
            ("distribution", json!({"distributionType": "Ray"})),
            ("componentId", json!("x")),
            (
                "services",
                json!({"ray": {"jobServiceType": "RayDashboard"}}),
            ),
        ] {
            let mut body = json!({"properties": {
                "jobType": "Command", "command": "echo", "environmentId": "e",
            }});
            body["properties"][field] = value;
            let error = Wanted::read(&job(), &body).unwrap_err();
            assert!(error.refused.is_some(), "{field}");
        }
    }

    #[test]
    fn a_data_asset_is_named_by_id_or_in_short() {
        let short = data_asset("azureml:noaa:3", &job()).unwrap();
        let long = data_asset(&short.to_string(), &job()).unwrap();
        assert_eq!(short.key(), long.key());
        assert_eq!(data_asset("azureml://datastores/d/paths/p", &job()), None);
        assert_eq!(
            data_asset("https://x.blob.core.windows.net/y", &job()),
            None
        );
    }
}

//! What a job is to run on: how many nodes, and how its processes are spread over them (contract
//! section 7).

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::kinds::body_checks::{Form, check_forms, only_known};

/// Nodes of one MPI run (contract section 6), and processes on each of them.
const MOST_INSTANCES: u64 = 100;
const MOST_PROCESSES: u64 = 100;

/// A job's `resources`. The `instanceType` is for compute that offers several, as serverless does;
/// the nodes of an AmlCompute are of one size, whatever it says.
pub(crate) fn resources(given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "instanceCount",
            "instanceType",
            "shmSize",
            "dockerArgs",
            "dockerArgsList",
            "properties",
        ],
        "a job's resources",
    )?;
    let texts = ["instanceType", "shmSize", "dockerArgs"].map(|field| (field, Form::Text));
    check_forms(given, &texts, "a job's resources")?;
    let instances = counted(given, "instanceCount", 1..=MOST_INSTANCES)?;
    let mut resources = json!({
        "instanceCount": instances.unwrap_or(1),
        "instanceType": given["instanceType"].as_str(),
        "properties": given["properties"],
        "shmSize": given["shmSize"].as_str().unwrap_or("2g"),
        "dockerArgs": given["dockerArgs"],
    });
    // As recorded: not there where it was not given.
    if !given["dockerArgsList"].is_null() {
        resources["dockerArgsList"] = given["dockerArgsList"].clone();
    }
    Ok(resources)
}

/// A job's `distribution`: `Mpi`, `PyTorch` or `TensorFlow`.
pub(crate) fn distribution(given: &Value, resources: &Value) -> Result<Value, ArmError> {
    if given.is_null() {
        return Ok(Value::Null);
    }
    let kind = given["distributionType"].as_str().unwrap_or_default();
    let known: &[&str] = match kind {
        "Mpi" | "PyTorch" => &["distributionType", "processCountPerInstance"],
        "TensorFlow" => &["distributionType", "workerCount", "parameterServerCount"],
        _ => return Err(ArmError::refused(format!("The distribution '{kind}'"))),
    };
    only_known(given, known, "a job's distribution")?;
    if kind == "TensorFlow" {
        let workers = counted(given, "workerCount", 1..=MOST_INSTANCES)?;
        let servers = counted(given, "parameterServerCount", 0..=MOST_INSTANCES)?;
        return Ok(json!({
            "distributionType": kind,
            // By the OpenAPI: as many as instances, where it is not given.
            "workerCount": workers.map_or(resources["instanceCount"].clone(), Value::from),
            "parameterServerCount": servers.unwrap_or(0),
        }));
    }
    Ok(json!({
        "distributionType": kind,
        "processCountPerInstance": counted(given, "processCountPerInstance", 1..=MOST_PROCESSES)?,
    }))
}

/// A number of `given` between two others; `None` where it has none.
fn counted(
    given: &Value,
    field: &str,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, ArmError> {
    let count = &given[field];
    match count.as_u64() {
        Some(number) if allowed.contains(&number) => Ok(Some(number)),
        None if count.is_null() => Ok(None),
        _ => Err(ArmError::user(format!(
            "The {field} {count} is not between {} and {}.",
            allowed.start(),
            allowed.end()
        ))),
    }
}

/// How many nodes a checked job runs on.
pub(crate) fn instances_of(properties: &Value) -> usize {
    let count = properties["resources"]["instanceCount"].as_u64();
    count
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_docker_are_kept_as_they_were_given() {
        let given = json!({"dockerArgs": "--ipc=host", "dockerArgsList": ["--ipc=host"]});
        let kept = resources(&given).unwrap();
        for name in ["dockerArgs", "dockerArgsList"] {
            assert_eq!(kept[name], given[name], "{name}");
        }
    }

    #[test]
    fn a_distribution_over_tensorflow_has_as_many_workers_as_instances() {
        let resources = resources(&json!({"instanceCount": 3})).unwrap();
        let given = json!({"distributionType": "TensorFlow"});
        assert_eq!(
            distribution(&given, &resources).unwrap(),
            json!({"distributionType": "TensorFlow", "workerCount": 3, "parameterServerCount": 0})
        );
        let given = json!({"distributionType": "TensorFlow", "workerCount": 0});
        assert!(distribution(&given, &resources).is_err());
    }
}

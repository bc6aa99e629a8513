//! Failures that another start would only repeat.

use super::Occupant;
use crate::api::Reason;
use crate::azure_resources::Scene;
use crate::lookup::Trouble;

/// A failure that another start would only repeat, by the last words of the job.
pub fn lasting_failure(scene: &Scene<'_>, occupant: &Occupant) -> Option<Trouble> {
    let Occupant::Vacant {
        last: Some(last),
        failures: 1..,
        ..
    } = occupant
    else {
        return None;
    };
    let failure = scene.observed.job_failures.get(&last.id)?;
    let (reason, way_out) = lasting_reason(failure.error.as_deref(), failure.log_tail.as_deref())?;
    Some(Trouble::lasting(
        reason,
        format!(
            "{way_out}; job {} ended {}: {failure}",
            last.id, last.status
        ),
    ))
}

/// What it is, and what to do about it.
fn lasting_reason(error: Option<&str>, log: Option<&str>) -> Option<(Reason, &'static str)> {
    let log_has = |text| log.is_some_and(|log| log.contains(text));
    // The bootstrap's own lines, which `tests/bootstrap` holds it to. Without Python none of them was ever reached.
    if [
        "the image has no package",
        "python: not found",
        "python: command not found",
    ]
    .into_iter()
    .any(log_has)
    {
        return Some((
            Reason::ImageWithoutDask,
            "give spec.environment a python that has dask and distributed",
        ));
    }
    if log_has("dask_azureml: dataset") {
        return Some((
            Reason::DatasetUnmountable,
            "give the dataset that the log names another path, or none",
        ));
    }
    let mount =
        |text: &str| text.contains("mount") || text.contains("Mount") || text.contains("dataset_");
    error.is_some_and(mount).then_some((
        Reason::DatasetUnmountable,
        "check that the dataset's uri exists and that its datastore or the pool's identity may read it, then change spec.datasets",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_a_restart_repeats_is_told_by_the_jobs_last_words() {
        let command =
            Some("UserError: Execution failed. User process '/bin/sh' exited with status code 1.");
        for (error, log, expected) in [
            (
                command,
                Some("dask_azureml: the image has no package 'distributed' for python"),
                Some(Reason::ImageWithoutDask),
            ),
            (
                command,
                Some("sh: 1: exec: python: not found"),
                Some(Reason::ImageWithoutDask),
            ),
            (
                command,
                Some("dask_azureml: dataset d: /data cannot be made: directory not empty"),
                Some(Reason::DatasetUnmountable),
            ),
            (
                Some("UserError: data-capability.UriMountSession.PyFuseError dataset_d"),
                None,
                Some(Reason::DatasetUnmountable),
            ),
            (
                command,
                Some("dask_azureml: the worker failed with exit code 1"),
                None,
            ),
            (None, None, None),
        ] {
            let reason = lasting_reason(error, log).map(|(reason, _)| reason);
            assert_eq!(reason, expected, "{error:?} {log:?}");
        }
    }
}

//! Failures that another start would only repeat.

use super::Occupant;
use crate::api::Reason;
use crate::azure_resources::Scene;
use crate::lookup::Trouble;
use crate::names::{JobName, Slot};

/// A failure that another start would only repeat, by the last words of the job.
pub fn lasting_failure(scene: &Scene<'_>, occupant: &Occupant) -> Option<Trouble> {
    let Occupant::Vacant {
        next,
        last: Some(last),
        ..
    } = occupant
    else {
        return None;
    };
    let failure = scene.observed.job_failures.get(&last.id)?;
    let reason = lasting_reason(*next, failure.error.as_deref(), failure.log_tail.as_deref())?;
    Some(Trouble::lasting(
        reason,
        format!("job {} ended {}: {failure}", last.id, last.status),
    ))
}

fn lasting_reason(job: JobName, error: Option<&str>, log: Option<&str>) -> Option<Reason> {
    // The bootstrap's own line, which `tests/bootstrap` holds it to.
    if log.is_some_and(|log| log.contains("the image has no package")) {
        return Some(Reason::ImageWithoutDask);
    }
    let mount =
        |text: &str| text.contains("mount") || text.contains("Mount") || text.contains("dataset_");
    if error.is_some_and(mount) || log.is_some_and(|log| log.contains("dask_azureml: dataset")) {
        return Some(Reason::DatasetUnmountable);
    }
    // Without a shell or Python on the PATH no line of ours was ever reached.
    let not_found = |text: &str| {
        text.contains("python: not found") || text.contains("python: command not found")
    };
    (job.slot == Slot::Head && log.is_some_and(not_found)).then_some(Reason::ImageWithoutDask)
}

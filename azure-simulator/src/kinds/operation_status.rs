//! The URLs that long-running operations are polled at, routed like resources.

use http::StatusCode;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::operation;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::{Kind, ML_VERSIONS, NETWORK_VERSIONS, job_view};

type Poll = fn(&mut Transaction<'_>, &ArmRequest) -> Result<Answer, ArmError>;

pub(crate) struct OperationStatus {
    resource_type: &'static str,
    api_versions: &'static [&'static str],
    poll: Poll,
}

pub(crate) static COMPUTE_OPERATIONS: OperationStatus = OperationStatus {
    resource_type: "Microsoft.MachineLearningServices/locations/computeOperationsStatus",
    api_versions: ML_VERSIONS,
    poll: |transaction, request| {
        operation::status(transaction, request.id.name(), &request.query.raw)
    },
};

/// Where exactly Azure has it was not recorded; clients take the URL as it is.
pub(crate) static WORKSPACE_OPERATIONS: OperationStatus = OperationStatus {
    resource_type: "Microsoft.MachineLearningServices/locations/workspaceOperationsStatus",
    api_versions: ML_VERSIONS,
    poll: |transaction, request| {
        operation::result(transaction, request.id.name(), &request.query.raw)
    },
};

pub(crate) static NETWORK_OPERATIONS: OperationStatus = OperationStatus {
    resource_type: "Microsoft.Network/locations/operations",
    api_versions: NETWORK_VERSIONS,
    poll: |transaction, request| {
        operation::status(transaction, request.id.name(), &request.query.raw)
    },
};

pub(crate) static NETWORK_RESULTS: OperationStatus = OperationStatus {
    resource_type: "Microsoft.Network/locations/operationResults",
    api_versions: NETWORK_VERSIONS,
    poll: |transaction, request| {
        operation::result(transaction, request.id.name(), &request.query.raw)
    },
};

/// `mfeOperationResults/jc:{workspaceId}:{jobId}`: 202 until the job has ended, then 200. A delete
/// (`jd:`) is done when it is answered.
pub(crate) static JOB_CANCELLATIONS: OperationStatus = OperationStatus {
    resource_type: "Microsoft.MachineLearningServices/locations/mfeOperationResults",
    api_versions: ML_VERSIONS,
    poll: |transaction, request| {
        let name = request.id.name();
        let mut parts = name.splitn(3, ':');
        let run = match (parts.next(), parts.next(), parts.next()) {
            (Some("jc"), Some(workspace), Some(job)) => {
                job_view::find_by_guid(transaction, workspace, job)
            }
            (Some("jd"), Some(_), Some(_)) => return Ok(Answer::empty(StatusCode::OK)),
            _ => None,
        };
        match run {
            Some(run) if run.unavailable_polls > 0 => {
                run.unavailable_polls -= 1;
                Err(operation::unavailable())
            }
            Some(run) if run.status.is_terminal() => Ok(Answer::empty(StatusCode::OK)),
            Some(_) => Ok(Answer::empty(StatusCode::ACCEPTED)),
            None => Err(ArmError::front_end_not_found(format!(
                "The operation '{name}' was not found."
            ))),
        }
    },
};

impl Kind for OperationStatus {
    fn resource_type(&self) -> &'static str {
        self.resource_type
    }

    fn api_versions(&self) -> &'static [&'static str] {
        self.api_versions
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &["service", "t", "c", "s", "h"]
    }

    fn get(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        (self.poll)(transaction, request)
    }
}

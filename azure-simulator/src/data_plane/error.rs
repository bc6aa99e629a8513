//! Errors of the data plane, in the forms of MLflow and of Azure's own services.

use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::answer::Answer;
use crate::entra::Refusal;

#[derive(Debug)]
pub(crate) struct DataPlaneError {
    status: StatusCode,
    /// MLflow's code.
    mlflow_code: &'static str,
    message: String,
    refused: Option<String>,
}

impl DataPlaneError {
    fn new(status: StatusCode, mlflow_code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            mlflow_code,
            message: message.into(),
            refused: None,
        }
    }

    pub(crate) fn unauthorized(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::Missing => "The Authorization header is missing.",
            Refusal::OtherAudience(_) => "The bearer token is for another resource.",
            Refusal::Unknown => "The bearer token is invalid.",
            Refusal::Expired { .. } => "The bearer token has expired.",
            Refusal::Revoked(_) => "The bearer token has been revoked.",
        };
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    pub(crate) fn failed(problem: &std::io::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            format!("A file of the run cannot be used: {problem}"),
        )
    }

    /// Something that Azure may well do and the simulator does not.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        let what = what.into();
        let mut error = Self::bad_request(format!("{what} is not simulated."));
        error.refused = Some(what);
        error
    }

    /// What it says to who asked.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn mlflow_answer(self) -> Answer {
        let mut answer = Answer::json(
            self.status,
            json!({"error_code": self.mlflow_code, "message": self.message}),
        );
        answer.refused = self.refused;
        answer
    }

    pub(crate) fn service_answer(self, location: &str) -> Answer {
        let code = if self.status.is_server_error() {
            "ServiceError"
        } else {
            "UserError"
        };
        let operation = Uuid::new_v4().simple().to_string();
        let mut answer = Answer::json(
            self.status,
            json!({
                "error": {"code": code, "message": self.message, "details": [], "innerError": null},
                "correlation": {"operation": operation, "request": &operation[..16]},
                "environment": location,
                "location": location,
                "time": null,
                "componentName": "run-history",
            }),
        );
        answer.refused = self.refused;
        answer
    }
}

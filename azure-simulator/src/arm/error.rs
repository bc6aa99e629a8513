//! Error answers of ARM and of the AML front end (contract section 3).

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::clock::timestamp_text;
use crate::problem::Problem;
use crate::resource_id::ResourceId;
use jiff::Timestamp;

/// An error envelope on its way out.
#[derive(Debug)]
pub(crate) struct ArmError {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
    front_end: Option<Box<FrontEnd>>,
    detail: Option<Box<Problem>>,
    headers: Vec<(&'static str, String)>,
    /// Set where Azure may well know what the simulator does not: told loudly in the log.
    pub(crate) refused: Option<String>,
}

/// What the AML front end adds to its errors.
#[derive(Debug)]
struct FrontEnd {
    inner_code: &'static str,
    innermost_code: &'static str,
    format: String,
    parameters: Value,
}

impl ArmError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            front_end: None,
            detail: None,
            headers: Vec::new(),
            refused: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Something that Azure may well do and the simulator does not.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        let what = what.into();
        let mut error = Self::bad_request(format!("{what} is not simulated."));
        error.refused = Some(what);
        error
    }

    /// Marks an error as one that Azure might not give.
    pub(crate) fn refusing(mut self, what: impl Into<String>) -> Self {
        self.refused = Some(what.into());
        self
    }

    pub(crate) fn resource_not_found(id: &ResourceId) -> Self {
        let group = id.resource_group.as_deref().unwrap_or_default();
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            format!(
                "The Resource '{}/{}' under resource group '{group}' was not found. For more \
                 details please go to https://aka.ms/ARMResourceNotFoundFix",
                id.resource_type(),
                id.name_path(),
            ),
        )
    }

    pub(crate) fn resource_group_not_found(group: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceGroupNotFound",
            format!("Resource group '{group}' could not be found."),
        )
    }

    pub(crate) fn subscription_not_found(subscription: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "SubscriptionNotFound",
            format!("The subscription '{subscription}' could not be found."),
        )
    }

    /// A `location` that is not the only one there is, `offered`.
    pub(crate) fn location_not_available(location: &str, kind: &str, offered: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "LocationNotAvailableForResourceType",
            format!(
                "The provided location '{location}' is not available for resource type '{kind}'. \
                 List of available regions for the resource type is '{offered}'."
            ),
        )
    }

    /// A 400 of the AML front end: validation, or a referenced asset that is missing.
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self::user_with(
            "UserError",
            "BadArgument",
            "ValidationError",
            message,
            json!({}),
        )
    }

    /// A change of something that the front end never changes.
    pub(crate) fn immutable(innermost_code: &'static str, message: String, parts: Value) -> Self {
        Self::user_with("UserError", "Immutable", innermost_code, message, parts)
    }

    /// A 404 of the AML front end.
    pub(crate) fn front_end_not_found(message: impl Into<String>) -> Self {
        let mut error = Self::user_with(
            "UserError",
            "NotFound",
            "ResourceNotFound",
            message,
            json!({}),
        );
        error.status = StatusCode::NOT_FOUND;
        error
    }

    fn user_with(
        code: &str,
        inner_code: &'static str,
        innermost_code: &'static str,
        message: impl Into<String>,
        parameters: Value,
    ) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, code, message);
        error.front_end = Some(Box::new(FrontEnd {
            inner_code,
            innermost_code,
            format: error.message.clone(),
            parameters,
        }));
        error
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What is behind a general code.
    pub(crate) fn detail(mut self, problem: Problem) -> Self {
        self.detail = Some(Box::new(problem));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn answer(self, location: &str, now: Timestamp) -> Answer {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(detail) = self.detail {
            error["details"] = json!([detail.inner()]);
        }
        if let Some(front_end) = self.front_end {
            error["details"] = json!([]);
            error["additionalInfo"] = front_end.additional_info(location, now);
        }
        let mut answer = Answer::json(self.status, json!({"error": error}));
        answer.refused = self.refused;
        for (name, value) in self.headers {
            answer = answer.header(name, value);
        }
        answer
    }
}

impl FrontEnd {
    fn additional_info(self, location: &str, now: Timestamp) -> Value {
        let operation = Uuid::new_v4().simple().to_string();
        let request = operation[..16].to_owned();
        let info = |kind: &str, value: Value| json!({"type": kind, "info": {"value": value}});
        json!([
            info("ComponentName", json!("managementfrontend")),
            info(
                "Correlation",
                json!({"operation": operation, "request": request})
            ),
            info("Environment", json!(location)),
            info("Location", json!(location)),
            info("Time", json!(timestamp_text(now))),
            info(
                "InnerError",
                json!({"code": self.inner_code,
                       "innerError": {"code": self.innermost_code, "innerError": null}}),
            ),
            info("MessageFormat", json!(self.format)),
            info("MessageParameters", self.parameters),
        ])
    }
}

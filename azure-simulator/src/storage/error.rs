//! Errors in the form of the storage services.

use http::StatusCode;

use crate::answer::Answer;
use crate::storage::listing;

#[derive(Debug)]
pub(crate) struct StorageError {
    status: StatusCode,
    code: &'static str,
    message: String,
    refused: Option<String>,
}

impl StorageError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            refused: None,
        }
    }

    pub(super) fn refused(what: impl Into<String>) -> Self {
        let what = what.into();
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "UnsupportedHeader",
            format!("{what} is not simulated."),
        );
        error.refused = Some(what);
        error
    }

    pub(super) fn blob_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "BlobNotFound",
            "The specified blob does not exist.",
        )
    }

    pub(super) fn failed(problem: &std::io::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("A file of the storage account cannot be used: {problem}"),
        )
    }

    pub(super) fn answer(self) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}</Message></Error>",
            self.code,
            listing::escaped(&self.message),
        );
        let mut answer = Answer::xml(self.status, body).header("x-ms-error-code", self.code);
        answer.refused = self.refused;
        answer
    }
}

//! Code and message of an error that a resource or an operation shows for a while.

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// `{"code", "message"}`, as an operation's `error` has it.
    pub(crate) fn inner(&self) -> Value {
        json!({"code": self.code, "message": self.message})
    }

    /// An `ErrorResponse`, as a compute's `errors` and `provisioningErrors` hold them.
    pub(crate) fn response(&self) -> Value {
        json!({"error": self.inner()})
    }
}

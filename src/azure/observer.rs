//! Who wants to know about every request, so that it can be counted.

use std::time::Duration;

use super::budget::{Lane, OperationType};

/// One request that has ended, with an answer or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedRequest<'a> {
    /// The HTTP method.
    pub verb: &'static str,
    /// What it was about: the resource type (`Microsoft.MachineLearningServices/workspaces/jobs`),
    /// or `operation`, `token`, `discovery`, `run history`, `log`. Few values, so fit for a label.
    pub target: &'a str,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// From sending the request to the last byte of the answer.
    pub duration: Duration,
    /// [`category`](super::Error::category) of the error, where it was one.
    pub error: Option<&'static str>,
}

/// One request whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmittedRequest {
    /// How urgent it is.
    pub lane: Lane,
    /// What ARM counts it as.
    pub operation: OperationType,
    /// Since it first came; the time in which it was sent away and its place was kept counts.
    pub waited: Duration,
}

/// Is told of every request to Azure, tokens included. Called on the request's own task, so it
/// must not block.
pub trait RequestObserver: Send + Sync {
    /// Takes note of a request that has ended.
    fn request_ended(&self, request: &EndedRequest<'_>);

    /// Takes note of a request to ARM whose turn has come.
    fn request_admitted(&self, _: &AdmittedRequest) {}

    /// Takes note of a request to ARM that was sent away to come again when it is its turn.
    fn request_postponed(&self, _: Lane, _: OperationType) {}

    /// Takes note of a request that ARM answered with there being too many.
    fn request_throttled(&self, _: OperationType) {}
}

/// Takes note of nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl RequestObserver for Unobserved {
    fn request_ended(&self, _: &EndedRequest<'_>) {}
}

//! What went wrong with a request to Azure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error_body::{ErrorBody, presentable};
use super::error_codes::{Verdict, classify};

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Azure says that the resource, or one that it lies in, does not exist.
    NotFound,
    /// Another write is under way, or something holds on to the resource; it passes by itself.
    Conflict,
    /// Too many requests.
    Throttled,
    /// Azure did not accept the token, nor a new one.
    Unauthenticated,
    /// The identity may not do this, or a policy or lock forbids it.
    Denied,
    /// Quota or capacity does not suffice.
    QuotaExceeded,
    /// Azure refuses this as things stand, or for a reason unknown here.
    Rejected,
    /// The request is wrong in itself: the same one can never succeed.
    Invalid,
    /// Azure answered that it cannot serve now.
    Unavailable,
    /// There was no answer, or not in time. The request may have taken effect.
    Unreachable,
    /// There was an answer that does not read as one of Azure's. The request may have taken
    /// effect.
    Undecodable,
    /// Entra does not give a token for these credentials.
    CredentialsRefused,
}

/// When a failed request is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon, with growing pauses.
    Backoff,
    /// When Azure asked to come back, not earlier.
    After(Duration),
    /// At a slow pace: someone has to do something first, but we are not told when it is done.
    Slow,
    /// When what is asked for has changed.
    OnChange,
}

/// A request to Azure, or to Entra for a token, that did not succeed.
///
/// Its text names Azure's code, message and request id. No text of it, its `Debug` included,
/// holds a token, a secret or the query of a URL. Clones are cheap.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Arc<Details>);

#[derive(Debug, thiserror::Error)]
struct Details {
    operation: String,
    resource: String,
    verdict: Verdict,
    status: Option<u16>,
    code: Option<String>,
    inner_code: Option<String>,
    message: String,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What was asked, for the text of an error.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// What was done: the HTTP method, and the action of a POST.
    pub(super) operation: String,
    /// To what: the path without host and query.
    pub(super) resource: String,
    /// [`EndedRequest::target`](super::EndedRequest::target).
    pub(super) target: String,
}

/// The facts of an answer that is an error.
#[derive(Debug, Default)]
pub(super) struct AnswerFacts {
    pub(super) status: u16,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Error {
    /// Azure answered with an error body.
    pub(super) fn answered(attempt: &Attempt, facts: AnswerFacts, body: ErrorBody) -> Self {
        let codes = body.codes.iter().map(String::as_str);
        Self::new(
            attempt,
            classify(codes, &body.message, Some(facts.status)),
            Details {
                status: Some(facts.status),
                code: Some(body.code),
                inner_code: body.inner_code,
                message: body.message,
                request_id: facts.request_id,
                retry_after: facts.retry_after,
                ..Details::empty()
            },
        )
    }

    /// Something answered with an error status, but not with an error body. A bare 404 may come
    /// from a proxy, so it does not say that the resource is absent.
    pub(super) fn answered_without_body(attempt: &Attempt, facts: AnswerFacts) -> Self {
        let mut verdict = classify([], "", Some(facts.status));
        if matches!(verdict.class, Class::NotFound | Class::Rejected) {
            verdict.class = Class::Undecodable;
        }
        Self::new(
            attempt,
            verdict,
            Details {
                status: Some(facts.status),
                message: "the answer has no error body".to_owned(),
                request_id: facts.request_id,
                retry_after: facts.retry_after,
                ..Details::empty()
            },
        )
    }

    /// There was no answer.
    pub(super) fn unreachable(attempt: &Attempt, error: reqwest::Error) -> Self {
        let message = deepest_cause(&error);
        Self::with_class(attempt, Class::Unreachable, message)
            // The URL would show its query.
            .caused_by(error.without_url())
    }

    /// The answer, or a link in it, is not what Azure answers.
    pub(super) fn undecodable(attempt: &Attempt, status: Option<u16>, message: String) -> Self {
        Self::new(
            attempt,
            Verdict {
                class: Class::Undecodable,
                hint: None,
            },
            Details {
                status,
                message,
                ..Details::empty()
            },
        )
    }

    /// An error that is known by its class alone.
    pub(super) fn with_class(attempt: &Attempt, class: Class, message: String) -> Self {
        Self::new(
            attempt,
            Verdict { class, hint: None },
            Details {
                message,
                ..Details::empty()
            },
        )
    }

    /// Entra refused the credentials, for the reason that `hint` mends.
    pub(super) fn refused(
        attempt: &Attempt,
        facts: AnswerFacts,
        code: Option<String>,
        message: String,
        hint: &'static str,
    ) -> Self {
        Self::new(
            attempt,
            Verdict {
                class: Class::CredentialsRefused,
                hint: Some(hint),
            },
            Details {
                status: (facts.status != 0).then_some(facts.status),
                code,
                message,
                request_id: facts.request_id,
                ..Details::empty()
            },
        )
    }

    fn new(attempt: &Attempt, verdict: Verdict, details: Details) -> Self {
        Self(Arc::new(Details {
            operation: attempt.operation.clone(),
            resource: attempt.resource.clone(),
            verdict,
            ..details
        }))
    }

    /// Adds what lies below this error.
    fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(details) => Self(Arc::new(Details {
                source: Some(Arc::new(source)),
                ..details
            })),
            Err(shared) => Self(shared),
        }
    }

    /// What was tried: `PUT`, `POST cancel`, `token`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What it was tried on: the id of a resource or of a collection, or the name of an identity.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.verdict.class
    }

    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Azure's code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The most specific code inside the error, where there is one.
    #[must_use]
    pub fn inner_code(&self) -> Option<&str> {
        self.0.inner_code.as_deref()
    }

    /// Azure's message, or what we can tell instead.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The id that Azure's support asks for. It differs from one attempt to the next.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What the user should do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.0.verdict.hint
    }

    /// How long Azure asked to wait, whatever the status.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether Azure itself said that it is not there. Every other error leaves that open.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.class() == Class::NotFound
    }

    /// The class as a label of metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self.class() {
            Class::NotFound => "not_found",
            Class::Conflict => "conflict",
            Class::Throttled => "throttled",
            Class::Unauthenticated => "unauthenticated",
            Class::Denied => "denied",
            Class::QuotaExceeded => "quota_exceeded",
            Class::Rejected => "rejected",
            Class::Invalid => "invalid",
            Class::Unavailable => "unavailable",
            Class::Unreachable => "unreachable",
            Class::Undecodable => "undecodable",
            Class::CredentialsRefused => "credentials_refused",
        }
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        let asked = self.retry_after();
        match self.class() {
            Class::Throttled | Class::Conflict | Class::Unavailable => {
                asked.map_or(Retry::Backoff, Retry::After)
            }
            Class::Unreachable | Class::Undecodable => Retry::Backoff,
            Class::NotFound
            | Class::Unauthenticated
            | Class::Denied
            | Class::QuotaExceeded
            | Class::Rejected
            | Class::CredentialsRefused => Retry::Slow,
            Class::Invalid => Retry::OnChange,
        }
    }
}

impl Details {
    fn empty() -> Self {
        Self {
            operation: String::new(),
            resource: String::new(),
            verdict: Verdict {
                class: Class::Undecodable,
                hint: None,
            },
            status: None,
            code: None,
            inner_code: None,
            message: String::new(),
            request_id: None,
            retry_after: None,
            source: None,
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "azure request '{} {}' failed: ",
            self.operation, self.resource
        )?;
        if let Some(code) = &self.code {
            write!(formatter, "{code}: ")?;
        }
        formatter.write_str(&self.message)?;
        match (self.status, &self.request_id) {
            (Some(status), Some(id)) => write!(formatter, " (status {status}, request id {id})"),
            (Some(status), None) => write!(formatter, " (status {status})"),
            (None, Some(id)) => write!(formatter, " (request id {id})"),
            (None, None) => Ok(()),
        }
    }
}

/// The innermost cause of a failed exchange: `connection refused` says more than `error sending
/// request`.
pub(super) fn deepest_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let chain = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let deepest = chain.last().map(ToString::to_string);
    presentable(&deepest.unwrap_or_else(|| "the request could not be sent".to_owned()))
}

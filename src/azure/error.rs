//! What went wrong with a request to Azure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use super::class::{Class, Retry};
use super::error_body::{ErrorBody, presentable};
use super::error_codes::{Verdict, classify};
use crate::leadership::NotLeading;

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
    claims: Option<String>,
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

/// What the head of an answer told; all empty where there was no answer.
#[derive(Debug, Default)]
pub(super) struct AnswerFacts {
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// What the next token has to be asked with, as JSON text.
    pub(super) claims: Option<String>,
}

impl Error {
    /// Azure answered with an error body.
    pub(super) fn answered(attempt: &Attempt, facts: AnswerFacts, body: ErrorBody) -> Self {
        let verdict = body.verdict_of_answer(facts.status);
        Self::judged(attempt, verdict, facts, body)
    }

    /// Azure answered with an error body, of which the caller knows what it means.
    pub(super) fn judged(
        attempt: &Attempt,
        verdict: Verdict,
        facts: AnswerFacts,
        body: ErrorBody,
    ) -> Self {
        Self(Arc::new(Details {
            code: Some(body.code),
            inner_code: body.inner_code,
            ..Details::new(attempt, verdict, facts, body.message)
        }))
    }

    /// Something answered with an error status, but not with an error body. A bare 404 may come
    /// from a proxy, so it does not say that the resource is absent.
    pub(super) fn answered_without_body(attempt: &Attempt, facts: AnswerFacts) -> Self {
        let mut verdict = classify([], "", facts.status);
        if verdict.class.is_not_found() || verdict.class == Class::Rejected {
            verdict.class = Class::Undecodable;
        }
        let message = "the answer has no error body".to_owned();
        Self(Arc::new(Details::new(attempt, verdict, facts, message)))
    }

    /// There was no answer.
    pub(super) fn unreachable(attempt: &Attempt, error: reqwest::Error) -> Self {
        let verdict = Verdict::from(Class::Unreachable);
        let message = deepest_cause(&error);
        Self(Arc::new(Details {
            // The URL would show its query.
            source: Some(Arc::new(error.without_url())),
            ..Details::new(attempt, verdict, AnswerFacts::default(), message)
        }))
    }

    /// The answer, or a link in it, is not what Azure answers.
    pub(super) fn undecodable(attempt: &Attempt, status: Option<u16>, message: String) -> Self {
        let facts = AnswerFacts {
            status,
            ..AnswerFacts::default()
        };
        let verdict = Verdict::from(Class::Undecodable);
        Self(Arc::new(Details::new(attempt, verdict, facts, message)))
    }

    /// Entra cannot be asked, or refuses, for a reason that is told by `message` alone.
    pub(super) fn without_token(attempt: &Attempt, verdict: Verdict, message: String) -> Self {
        let facts = AnswerFacts::default();
        Self(Arc::new(Details::new(attempt, verdict, facts, message)))
    }

    /// It is not the turn of the request: so many go `before` it, which takes about as long as
    /// `wait`. It was not sent. The text has round numbers, so that it does not change at each look.
    pub(super) fn out_of_budget(attempt: &Attempt, before: usize, wait: Duration) -> Self {
        let others = match before {
            0 => "it is the next one".to_owned(),
            1 => "1 request is before it".to_owned(),
            _ => format!("up to {} requests are before it", round(before as u64)),
        };
        let seconds = round(wait.as_secs_f64().ceil() as u64);
        let message = format!("waits for Azure's rate limit: {others}, about {seconds} s");
        let facts = AnswerFacts {
            retry_after: Some(wait),
            ..AnswerFacts::default()
        };
        let verdict = Verdict::from(Class::OutOfBudget);
        Self(Arc::new(Details::new(attempt, verdict, facts, message)))
    }

    /// It was not sent, as another operator may be at work.
    pub(super) fn not_leading(attempt: &Attempt, not_leading: NotLeading) -> Self {
        let verdict = Verdict::from(Class::NotLeading);
        let facts = AnswerFacts::default();
        Self(Arc::new(Details::new(
            attempt,
            verdict,
            facts,
            not_leading.to_string(),
        )))
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

    /// What it means.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.0.verdict
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

    /// How long Azure asked to wait, whatever the status; how long until it is the request's turn,
    /// where it is out of budget.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether Azure itself said that it is not there. Every other error leaves that open.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.class().is_not_found()
    }

    /// What Azure wants the next token to be asked with, as JSON text.
    pub(super) fn claims(&self) -> Option<&str> {
        self.0.claims.as_deref()
    }

    /// The class as a label of metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        self.class().category()
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.class().retry(self.retry_after())
    }
}

impl Details {
    fn new(attempt: &Attempt, verdict: Verdict, facts: AnswerFacts, message: String) -> Self {
        Self {
            operation: attempt.operation.clone(),
            resource: attempt.resource.clone(),
            verdict,
            status: facts.status,
            code: None,
            inner_code: None,
            message,
            request_id: facts.request_id,
            retry_after: facts.retry_after,
            claims: facts.claims,
            source: None,
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "azure request '{} {}' ",
            self.operation, self.resource
        )?;
        if self.verdict.class == Class::OutOfBudget {
            return formatter.write_str(&self.message);
        }
        formatter.write_str("failed: ")?;
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

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round(number: u64) -> u64 {
    let steps = std::iter::successors(Some(1_u64), |step| step.checked_mul(10));
    let round = steps.flat_map(|step| [1, 2, 5].map(|part| step.saturating_mul(part)));
    round
        .into_iter()
        .find(|round| *round >= number)
        .unwrap_or(number)
}

/// The innermost cause of a failed exchange: `connection refused` says more than `error sending
/// request`.
pub(super) fn deepest_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        let what = if error.is_connect() {
            "no connection in time"
        } else {
            "no answer in time"
        };
        return what.to_owned();
    }
    let chain = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let deepest = chain.last().map(ToString::to_string);
    presentable(&deepest.unwrap_or_else(|| "the request could not be sent".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt() -> Attempt {
        Attempt {
            operation: "PUT".to_owned(),
            resource: "/subscriptions/0/resourceGroups/rg".to_owned(),
            target: "Microsoft.Resources/resourceGroups".to_owned(),
        }
    }

    fn answered(status: u16, code: &str, retry_after: Option<u64>) -> Error {
        let body = json!({"error": {"code": code, "message": "Because."}});
        let facts = AnswerFacts {
            status: Some(status),
            request_id: Some("r-1".to_owned()),
            retry_after: retry_after.map(Duration::from_secs),
            claims: None,
        };
        Error::answered(&attempt(), facts, ErrorBody::read(&body).unwrap())
    }

    #[test]
    fn the_text_names_code_message_status_and_request_id() {
        assert_eq!(
            answered(403, "AuthorizationFailed", None).to_string(),
            "azure request 'PUT /subscriptions/0/resourceGroups/rg' failed: AuthorizationFailed: Because. (status 403, request id r-1)"
        );
    }

    #[test]
    fn a_request_that_was_not_sent_says_when_it_is_its_turn() {
        let seconds = Duration::from_secs_f64;
        for (before, wait, said) in [
            (37, 3.7, "up to 50 requests are before it, about 5 s"),
            (38, 3.9, "up to 50 requests are before it, about 5 s"),
            (
                2000,
                200.0,
                "up to 2000 requests are before it, about 200 s",
            ),
            (1, 0.2, "1 request is before it, about 1 s"),
            (0, 17.0, "it is the next one, about 20 s"),
        ] {
            let error = Error::out_of_budget(&attempt(), before, seconds(wait));
            let text = format!(
                "azure request 'PUT /subscriptions/0/resourceGroups/rg' waits for Azure's rate limit: {said}"
            );
            assert_eq!(error.to_string(), text);
            assert_eq!(error.retry(), Retry::After(seconds(wait)));
            assert_eq!(error.category(), "waiting_for_budget");
        }
    }

    #[test]
    fn azures_wish_to_wait_counts_where_waiting_helps() {
        let seconds = |seconds| Retry::After(Duration::from_secs(seconds));
        for (status, code, asked, expected) in [
            (429, "TooManyRequests", Some(17), seconds(17)),
            (429, "TooManyRequests", None, Retry::Backoff),
            (503, "ServiceUnavailable", Some(5), seconds(5)),
            (409, "AnotherOperationInProgress", Some(10), seconds(10)),
            (403, "AuthorizationFailed", Some(1), Retry::Slow),
            (400, "NeverHeardOf", None, Retry::Slow),
            (400, "JobPropertyImmutable", None, Retry::OnChange),
        ] {
            assert_eq!(answered(status, code, asked).retry(), expected, "{code}");
        }
    }

    #[test]
    fn a_bare_404_does_not_say_that_something_is_absent() {
        let bare = |status| {
            let facts = AnswerFacts {
                status: Some(status),
                ..AnswerFacts::default()
            };
            Error::answered_without_body(&attempt(), facts)
        };
        assert_eq!(bare(404).class(), Class::Undecodable);
        assert!(!bare(404).is_not_found());
        assert_eq!(bare(302).class(), Class::Undecodable);
        assert_eq!(bare(502).class(), Class::Unavailable);
        assert_eq!(bare(429).class(), Class::Throttled);
        assert!(answered(404, "ResourceNotFound", None).is_not_found());
    }
}

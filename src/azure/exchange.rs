//! One request and its answer: its turn, token, headers, deadline, a bounded body, and the error
//! that an unwelcome answer is.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;
use uuid::Uuid;

use super::budget::{Budgets, Errand, OperationType, Slot};
use super::challenge::claims;
use super::credential::Credential;
use super::entra::Token;
use super::error::{AnswerFacts, Attempt, Class, Error};
use super::error_body::ErrorBody;
use super::observer::{EndedRequest, RequestObserver};
use super::retry_after::retry_after;
use crate::clock::Clock;
use crate::leadership::Lead;

/// The largest answer that is read, in bytes. A page of a LIST takes a few MiB: jobs carry what they run.
const LARGEST_BODY: usize = 32 << 20;

/// What a request needs beside itself.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) http: Client,
    pub(super) clock: Clock,
    pub(super) observer: Arc<dyn RequestObserver>,
    /// Whose budget requests are taken from; nobody's where Azure documents none.
    pub(super) payer: Option<Payer>,
    /// Without it nothing is asked: neither is anything changed, nor quota spent.
    pub(super) lead: Lead,
}

/// A principal, and what it asks for.
#[derive(Clone)]
pub(super) struct Payer {
    pub(super) budgets: Budgets,
    /// Equal for the same principal of the same cloud; no secret.
    pub(super) principal: Arc<str>,
    pub(super) errand: Errand,
}

impl Payer {
    /// Waits for the turn of the request, not for long.
    async fn turn(&self, request: &Request<'_>) -> Result<Slot, Error> {
        let subscription = subscription(&request.url).unwrap_or_default();
        let operation = OperationType::of(&request.verb);
        let turn = self
            .budgets
            .turn(&self.principal, subscription, operation, &self.errand);
        turn.await
            .map_err(|refusal| Error::out_of_budget(&request.attempt, refusal.before, refusal.wait))
    }
}

/// One request. Its URL may be signed, so it is not `Debug`.
pub(super) struct Request<'a> {
    pub(super) attempt: Attempt,
    pub(super) verb: Method,
    pub(super) url: Url,
    pub(super) body: Option<&'a Value>,
    /// The first byte wanted, where not all of it is.
    pub(super) from_byte: Option<u64>,
    /// The etag that the resource must have.
    pub(super) if_match: Option<&'a str>,
}

/// A successful answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Exchange {
    /// Sends the request with a token; where Azure does not accept it, once more with a new one that has
    /// the claims that Azure asks for.
    pub(super) async fn send_as(
        &self,
        credential: &Credential,
        request: &Request<'_>,
    ) -> Result<Answer, Error> {
        let token = credential.token().await?;
        match self.send(request, Some(&token)).await {
            Err(error) if error.class() == Class::Unauthenticated => {
                let renewed = credential.renew(&token, error.claims()).await?;
                self.send(request, Some(&renewed)).await
            }
            outcome => outcome,
        }
    }

    /// Sends the request when it is its turn. Every status but a 2xx is an error.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        token: Option<&Token>,
    ) -> Result<Answer, Error> {
        let mut slot = match &self.payer {
            Some(payer) => Some(payer.turn(request).await?),
            None => None,
        };
        self.check_lead(request)?;
        let outcome = self
            .observed(request, async {
                let response = self.open(request, token).await?;
                if let Some(slot) = &mut slot {
                    slot.hear(response.headers());
                }
                self.read(request, response).await
            })
            .await;
        // Another write under way, or another resource that is not ready, is a 429 as well, but
        // no concern of other requests.
        if let Err(error) = &outcome
            && error.class() == Class::Throttled
            && let Some(slot) = slot
        {
            slot.throttled(error.retry_after());
        }
        outcome
    }

    /// Sends the request without a token and keeps only the last `most` bytes of the answer. One
    /// that says that it is larger than `largest` is not read.
    pub(super) async fn send_for_tail(
        &self,
        request: &Request<'_>,
        most: usize,
        largest: u64,
    ) -> Result<Tail, Error> {
        self.check_lead(request)?;
        self.observed(request, async {
            let mut response = self.open(request, None).await?;
            let status = response.status();
            if !status.is_success() {
                return Err(self.refusal(request, response).await);
            }
            let length = response.content_length();
            if status == StatusCode::OK && length.is_some_and(|length| length > largest) {
                return Ok(Tail {
                    status,
                    length,
                    bytes: None,
                });
            }
            let mut bytes = Vec::new();
            let mut seen = 0_u64;
            while let Some(chunk) = chunk(request, &mut response).await? {
                seen = seen.saturating_add(chunk.len() as u64);
                if seen > largest {
                    return Err(too_large(request, status));
                }
                bytes.extend_from_slice(&chunk);
                let surplus = bytes.len().saturating_sub(most);
                bytes.drain(..surplus);
            }
            let length = Some(seen);
            Ok(Tail {
                status,
                length,
                bytes: Some(bytes),
            })
        })
        .await
    }

    /// The last thing before a request goes out: what it waited for before may have taken long.
    fn check_lead(&self, request: &Request<'_>) -> Result<(), Error> {
        self.lead
            .check()
            .map_err(|not_leading| Error::not_leading(&request.attempt, not_leading))
    }

    async fn open(
        &self,
        request: &Request<'_>,
        token: Option<&Token>,
    ) -> Result<reqwest::Response, Error> {
        let mut builder = self
            .http
            .request(request.verb.clone(), request.url.clone())
            .header("x-ms-client-request-id", Uuid::new_v4().to_string());
        if let Some(etag) = request.if_match {
            builder = builder.header(IF_MATCH, etag);
        }
        if let Some(first) = request.from_byte {
            builder = builder.header(RANGE, format!("bytes={first}-"));
        }
        if let Some(token) = token {
            builder = builder
                .header(AUTHORIZATION, authorization(request, token)?)
                .header(ACCEPT, "application/json");
        }
        if let Some(body) = request.body {
            builder = builder.json(body);
        }
        let sent = builder.send().await;
        sent.map_err(|error| Error::unreachable(&request.attempt, error))
    }

    async fn read(
        &self,
        request: &Request<'_>,
        response: reqwest::Response,
    ) -> Result<Answer, Error> {
        if !response.status().is_success() {
            return Err(self.refusal(request, response).await);
        }
        let facts = self.facts(&response);
        let status = response.status();
        let headers = response.headers().clone();
        let body = whole_body(request, response).await?;
        Ok(Answer {
            status,
            headers,
            body,
            request_id: facts.request_id,
            retry_after: facts.retry_after,
        })
    }

    async fn refusal(&self, request: &Request<'_>, response: reqwest::Response) -> Error {
        let facts = self.facts(&response);
        // What the status says counts, also when the explanation is lost.
        let body = whole_body(request, response).await.unwrap_or_default();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        match ErrorBody::read(&body) {
            Some(body) => Error::answered(&request.attempt, facts, body),
            None => Error::answered_without_body(&request.attempt, facts),
        }
    }

    fn facts(&self, response: &reqwest::Response) -> AnswerFacts {
        let text = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        AnswerFacts {
            status: Some(response.status().as_u16()),
            request_id: text("x-ms-request-id").or_else(|| text("x-ms-correlation-request-id")),
            retry_after: retry_after(response.headers(), self.clock.now()),
            claims: claims(response.headers()),
        }
    }

    async fn observed<T: Outcome>(
        &self,
        request: &Request<'_>,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = self.clock.elapsed();
        let outcome = exchange.await;
        let (status, error) = match &outcome {
            Ok(answer) => (Some(answer.status().as_u16()), None),
            Err(error) => (error.status(), Some(error.category())),
        };
        self.observer.request_ended(&EndedRequest {
            verb: verb(&request.verb),
            target: &request.attempt.target,
            status,
            duration: self.clock.elapsed().saturating_sub(started),
            error,
        });
        outcome
    }
}

/// The end of an answer.
pub(super) struct Tail {
    pub(super) status: StatusCode,
    /// Its size in bytes, as far as it is known.
    pub(super) length: Option<u64>,
    /// Nothing if the answer was larger than wanted and has not been read.
    pub(super) bytes: Option<Vec<u8>>,
}

trait Outcome {
    fn status(&self) -> StatusCode;
}

impl Outcome for Answer {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl Outcome for Tail {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl Answer {
    /// The body as JSON; nothing where it is empty or the literal `null`.
    pub(super) fn json(&self, attempt: &Attempt) -> Result<Option<Value>, Error> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Null) => Ok(None),
            Ok(body) => Ok(Some(body)),
            Err(error) => Err(Error::undecodable(
                attempt,
                Some(self.status.as_u16()),
                format!("the answer is not JSON: {error}"),
            )),
        }
    }
}

async fn whole_body(
    request: &Request<'_>,
    mut response: reqwest::Response,
) -> Result<Vec<u8>, Error> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = chunk(request, &mut response).await? {
        if body.len().saturating_add(chunk.len()) > LARGEST_BODY {
            return Err(too_large(request, status));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn chunk(
    request: &Request<'_>,
    response: &mut reqwest::Response,
) -> Result<Option<impl std::ops::Deref<Target = [u8]>>, Error> {
    let chunk = response.chunk().await;
    chunk.map_err(|error| Error::unreachable(&request.attempt, error))
}

fn too_large(request: &Request<'_>, status: StatusCode) -> Error {
    Error::undecodable(
        &request.attempt,
        Some(status.as_u16()),
        "the answer is too large".to_owned(),
    )
}

fn authorization(request: &Request<'_>, token: &Token) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.secret())).map_err(|_| {
        Error::undecodable(
            &request.attempt,
            None,
            "the token is not fit for a header".to_owned(),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The subscription that a URL of ARM is about.
fn subscription(url: &Url) -> Option<&str> {
    let mut segments = url.path_segments()?;
    let first = segments.next()?;
    first
        .eq_ignore_ascii_case("subscriptions")
        .then(|| segments.next())
        .flatten()
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::POST => "POST",
        _ => "OTHER",
    }
}

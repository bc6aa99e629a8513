//! Azure Resource Manager: read, list, write and delete resources of any type.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::budget::{Budgets, Errand};
use super::credential::Credential;
use super::data_plane::DataPlane;
use super::endpoint::Endpoint;
use super::error::{Attempt, Error};
use super::exchange::{Answer, Exchange, Payer, Request};
use super::observer::RequestObserver;
use super::operation::{self, Operation, OperationState};
use super::resource_id::{Collection, ResourceId};
use crate::clock::Clock;
use crate::leadership::Lead;

/// The most pages of one LIST that are followed. A page has some hundred items.
const MOST_PAGES: u32 = 1000;

/// Talks to ARM for one identity. It sends each request once (twice where Azure does not accept
/// the token), when it is its turn within Azure's rate limit: when to try again is told by
/// [`Error::retry`] and is the caller's to decide. Clones are cheap and share everything.
#[derive(Clone)]
pub struct ArmClient {
    endpoint: Arc<Endpoint>,
    credential: Credential,
    exchange: Exchange,
}

/// All resources of a collection.
#[derive(Clone, PartialEq)]
pub struct Listing {
    /// The resources, in Azure's order.
    pub items: Vec<Value>,
    /// How many requests it took.
    pub pages: u32,
}

/// A successful answer of ARM.
///
/// Its `Debug` leaves the body out: bodies hold the environment of jobs.
#[derive(Clone, PartialEq)]
pub struct Response {
    /// The HTTP status, a 2xx.
    pub status: u16,
    /// The resource, or what an action answers; nothing where the body is empty or `null`.
    pub body: Option<Value>,
    /// What Azure goes on working on.
    pub operation: Option<Operation>,
    /// How long Azure asks to wait before the next look.
    pub retry_after: Option<Duration>,
    /// The id that Azure's support asks for.
    pub request_id: Option<String>,
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("operation", &self.operation)
            .field("retry_after", &self.retry_after)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// As of a [`Response`].
impl fmt::Debug for Listing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listing")
            .field("items", &self.items.len())
            .field("pages", &self.pages)
            .finish()
    }
}

impl ArmClient {
    /// A client for `endpoint` that acts as `credential`. `http` is what
    /// [`http_client`](super::http_client) makes; `budgets` are shared by all clients.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        credential: Credential,
        http: Client,
        clock: Clock,
        observer: Arc<dyn RequestObserver>,
        budgets: Budgets,
    ) -> Self {
        let principal = format!("{}{}", endpoint.resource_manager(), credential.name());
        let payer = Payer {
            budgets,
            principal: principal.into(),
            errand: Errand::default(),
        };
        Self {
            endpoint: Arc::new(endpoint),
            credential,
            exchange: Exchange {
                http,
                lead: Lead::always(clock.clone()),
                clock,
                observer,
                payer: Some(payer),
            },
        }
    }

    /// Gets a token and keeps it; only Entra is asked.
    ///
    /// # Errors
    /// As those of the token.
    pub async fn warm(&self) -> Result<(), Error> {
        self.credential.token().await.map(drop)
    }

    /// The same client, which asks for nothing while `lead` is not ours.
    #[must_use]
    pub fn only_while_leading(mut self, lead: Lead) -> Self {
        self.exchange.lead = lead;
        self
    }

    /// The same client, whose requests are of this urgency and for this cluster.
    #[must_use]
    pub fn on_errand(&self, errand: Errand) -> Self {
        let mut client = self.clone();
        if let Some(payer) = &mut client.exchange.payer {
            payer.errand = errand;
        }
        client
    }

    /// Reads a resource. One that does not exist is an error of the class `NotFound`.
    pub async fn get(&self, id: &ResourceId, api_version: &str) -> Result<Response, Error> {
        self.resource(Method::GET, id, api_version, &[], None).await
    }

    /// Creates a resource or writes it anew.
    pub async fn put(
        &self,
        id: &ResourceId,
        api_version: &str,
        body: &Value,
    ) -> Result<Response, Error> {
        self.resource(Method::PUT, id, api_version, &[], Some(body))
            .await
    }

    /// As `put`, but only while the resource has this etag. Azure answers 412 otherwise.
    pub async fn put_if_match(
        &self,
        id: &ResourceId,
        api_version: &str,
        body: &Value,
        etag: &str,
    ) -> Result<Response, Error> {
        let request = Request {
            if_match: Some(etag),
            ..self.request(Method::PUT, id, api_version, &[], Some(body))
        };
        self.send(&request).await
    }

    /// Changes parts of a resource.
    pub async fn patch(
        &self,
        id: &ResourceId,
        api_version: &str,
        body: &Value,
    ) -> Result<Response, Error> {
        self.resource(Method::PATCH, id, api_version, &[], Some(body))
            .await
    }

    /// Deletes a resource. Azure answers 204 for one that does not exist, or `NotFound` where
    /// something that it lies in does not.
    pub async fn delete(
        &self,
        id: &ResourceId,
        api_version: &str,
        query: &[(&str, &str)],
    ) -> Result<Response, Error> {
        self.resource(Method::DELETE, id, api_version, query, None)
            .await
    }

    /// As `delete`, but only while the resource has this etag. Azure answers 412 otherwise.
    pub async fn delete_if_match(
        &self,
        id: &ResourceId,
        api_version: &str,
        query: &[(&str, &str)],
        etag: &str,
    ) -> Result<Response, Error> {
        let request = Request {
            if_match: Some(etag),
            ..self.request(Method::DELETE, id, api_version, query, None)
        };
        self.send(&request).await
    }

    /// Calls an action of a resource: `post(job, "cancel", …)`.
    pub async fn post(
        &self,
        id: &ResourceId,
        action: &str,
        api_version: &str,
        body: Option<&Value>,
    ) -> Result<Response, Error> {
        let path = format!("{}/{action}", id.url_path());
        let request = Request {
            attempt: Attempt {
                operation: format!("POST {action}"),
                resource: id.to_string(),
                target: id.resource_type(),
            },
            verb: Method::POST,
            url: self.url(&path, api_version, &[]),
            body,
            from_byte: None,
            if_match: None,
        };
        self.send(&request).await
    }

    /// Reads all resources of a collection: every page, or an error, never a part.
    pub async fn list(
        &self,
        collection: &Collection,
        api_version: &str,
        query: &[(&str, &str)],
    ) -> Result<Listing, Error> {
        let attempt = Attempt {
            operation: "LIST".to_owned(),
            resource: collection.to_string(),
            target: collection.resource_type().to_owned(),
        };
        let mut url = self.url(&collection.url_path(), api_version, query);
        let mut items = Vec::new();
        for pages in 1..=MOST_PAGES {
            let request = Request {
                attempt: attempt.clone(),
                verb: Method::GET,
                url,
                body: None,
                from_byte: None,
                if_match: None,
            };
            let answer = self.exchange.send_as(&self.credential, &request).await?;
            match take_page(&answer, &attempt, &mut items)? {
                None => return Ok(Listing { items, pages }),
                Some(next) => url = self.next_page(&request.url, &next, &attempt)?,
            }
        }
        Err(unpageable(
            &attempt,
            format!("the list has more than {MOST_PAGES} pages"),
        ))
    }

    /// Looks once at an operation. An error says that the look failed, not the operation; only
    /// `NotFound` says that Azure no longer knows it.
    pub async fn poll(&self, operation: &Operation) -> Result<OperationState, Error> {
        let attempt = Attempt {
            operation: "GET".to_owned(),
            resource: operation.url.path().to_owned(),
            target: "operation".to_owned(),
        };
        let request = Request {
            attempt: attempt.clone(),
            verb: Method::GET,
            url: operation.url.clone(),
            body: None,
            from_byte: None,
            if_match: None,
        };
        let answer = self.exchange.send_as(&self.credential, &request).await?;
        let body = answer.json(&attempt)?;
        operation::state(
            operation.link,
            answer.status,
            body.as_ref(),
            answer.retry_after,
        )
        .ok_or_else(|| {
            Error::undecodable(
                &attempt,
                Some(answer.status.as_u16()),
                "the answer does not tell the state of the operation".to_owned(),
            )
        })
    }

    /// The data plane of `workspace`, whose `properties.discoveryUrl` is `discovery_url`. Its
    /// requests are not ARM's, and take nothing from the budget.
    pub async fn data_plane(
        &self,
        workspace: &ResourceId,
        discovery_url: &str,
    ) -> Result<DataPlane, Error> {
        let exchange = Exchange {
            payer: None,
            ..self.exchange.clone()
        };
        DataPlane::discover(exchange, self.credential.clone(), workspace, discovery_url).await
    }

    async fn resource(
        &self,
        verb: Method,
        id: &ResourceId,
        api_version: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, Error> {
        let request = self.request(verb, id, api_version, query, body);
        self.send(&request).await
    }

    fn request<'a>(
        &self,
        verb: Method,
        id: &ResourceId,
        api_version: &str,
        query: &[(&str, &str)],
        body: Option<&'a Value>,
    ) -> Request<'a> {
        Request {
            attempt: Attempt {
                operation: verb.to_string(),
                resource: id.to_string(),
                target: id.resource_type(),
            },
            url: self.url(&id.url_path(), api_version, query),
            verb,
            body,
            from_byte: None,
            if_match: None,
        }
    }

    async fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let answer = self.exchange.send_as(&self.credential, request).await?;
        Ok(Response {
            status: answer.status.as_u16(),
            body: answer.json(&request.attempt)?,
            operation: Operation::of(answer.status, &answer.headers, &self.endpoint),
            retry_after: answer.retry_after,
            request_id: answer.request_id,
        })
    }

    fn url(&self, path: &str, api_version: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.resource_manager().clone();
        url.set_path(path);
        url.query_pairs_mut()
            .append_pair("api-version", api_version)
            .extend_pairs(query);
        url
    }

    fn next_page(&self, page: &Url, link: &str, attempt: &Attempt) -> Result<Url, Error> {
        let url: Url = link
            .parse()
            .map_err(|_| unpageable(attempt, "its next link is not a URL".to_owned()))?;
        if url == *page {
            let message = "its next link leads to the same page".to_owned();
            return Err(unpageable(attempt, message));
        }
        if self.endpoint.serves(&url) {
            return Ok(url);
        }
        let host = url.host_str().unwrap_or_default();
        Err(unpageable(
            attempt,
            format!("its next link leads to '{host}', which is not the resource manager"),
        ))
    }
}

impl fmt::Debug for ArmClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ArmClient")
            .field("endpoint", &self.endpoint)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

/// Moves the items of a page over and returns the link to the next one.
fn take_page(
    answer: &Answer,
    attempt: &Attempt,
    items: &mut Vec<Value>,
) -> Result<Option<String>, Error> {
    let mut body = answer.json(attempt)?.unwrap_or_default();
    let Some(Value::Array(page)) = body.get_mut("value").map(Value::take) else {
        return Err(unpageable(attempt, "a page has no items".to_owned()));
    };
    items.extend(page);
    match body.get_mut("nextLink").map(Value::take) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(link)) if link.is_empty() => Ok(None),
        Some(Value::String(link)) => Ok(Some(link)),
        Some(_) => Err(unpageable(
            attempt,
            "its next link is not a text".to_owned(),
        )),
    }
}

fn unpageable(attempt: &Attempt, message: String) -> Error {
    Error::undecodable(attempt, None, message)
}

#[cfg(test)]
mod tests;

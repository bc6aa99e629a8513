//! What the tests of this folder talk to: a local HTTP server that answers as it is told, and an
//! Entra that lives in memory below `azure_identity`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::credential::Credential;
use super::endpoint::Endpoint;
use super::entra::Entra;
use super::http_client::{HttpSettings, insecure_http_client};
use super::identity::{Identity, ServiceAccount};
use super::token_source::{NoServiceAccountToken, ServiceAccountTokens, TokenSources};
use super::{ArmClient, Budgets, EndedRequest, Lane, OperationType, RequestObserver};
use crate::clock::Clock;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) verb: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) type Reply = http::Response<String>;

pub(super) fn reply(status: u16, body: impl ToString) -> Reply {
    let mut reply = Reply::new(body.to_string());
    *reply.status_mut() = status.try_into().unwrap();
    reply
}

pub(super) fn with_header(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    reply.headers_mut().insert(name, value.parse().unwrap());
    reply
}

/// A server that ends with its handle.
pub(super) struct TestServer {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Starts a server that answers each request with what `answer` makes of it; the address is
    /// for links that lead back.
    pub(super) async fn start(
        answer: impl Fn(&str, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (own, record, answer) = (address.clone(), Arc::clone(&seen), Arc::new(answer));
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let (own, record, answer) = (own.clone(), Arc::clone(&record), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let seen = Seen {
                    verb: head.method.to_string(),
                    target: head.uri.to_string(),
                    headers: head.headers,
                    body: body.to_vec(),
                };
                record.lock().unwrap().push(seen.clone());
                answer(&own, &seen)
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            seen,
            serving,
        }
    }

    /// Starts a server that gives these answers in turn, and 500 afterwards.
    pub(super) async fn scripted(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
        Self::start(move |_, _| {
            let next = replies.lock().unwrap().pop_front();
            next.unwrap_or_else(|| reply(500, "the script is over"))
        })
        .await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn client(&self) -> ArmClient {
        arm_client(&self.address, &Observations::default())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A client for the ARM at `address` with tokens `token-1`, `token-2` and so on.
pub(super) fn arm_client(address: &str, observations: &Observations) -> ArmClient {
    arm_client_by(&FakeEntra::default(), address, observations)
}

/// The same, with the tokens of `entra`.
pub(super) fn arm_client_by(
    entra: &FakeEntra,
    address: &str,
    observations: &Observations,
) -> ArmClient {
    let settings = HttpSettings {
        timeout: Duration::from_secs(2),
        ..HttpSettings::default()
    };
    let (clock, observer) = (Clock::system(), Arc::new(observations.clone()));
    let credential = credential(entra, client_secret(), clock.clone(), observer.clone());
    let http = insecure_http_client(&settings);
    let budgets = Budgets::new(clock.clone(), observer.clone());
    ArmClient::new(
        Endpoint::insecure(address),
        credential,
        http,
        clock,
        observer,
        budgets,
    )
}

pub(super) fn client_secret() -> Identity {
    Identity::ClientSecret {
        tenant_id: "the-tenant".to_owned(),
        client_id: "the-client".to_owned(),
        client_secret: "hush-hush".to_owned().into(),
    }
}

pub(super) fn credential(
    entra: &FakeEntra,
    identity: Identity,
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
) -> Credential {
    let endpoint = Endpoint::new(None, None, None).unwrap();
    let entra = Entra::new(identity, &endpoint, entra.sources(), clock.clone());
    Credential::of(entra, clock, observer, 0.0)
}

/// Answers token requests: with what is scripted, else with `token-<how often it was asked>`, good
/// for an hour.
#[derive(Clone, Default)]
pub(super) struct FakeEntra {
    script: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    no_service_account: Arc<Mutex<Option<NoServiceAccountToken>>>,
}

#[async_trait::async_trait]
impl ServiceAccountTokens for FakeEntra {
    async fn token(&self, account: &ServiceAccount) -> Result<String, NoServiceAccountToken> {
        match self.no_service_account.lock().unwrap().clone() {
            Some(why) => Err(why),
            None => Ok(format!("{}.{}", account.namespace, account.name)),
        }
    }
}

impl FakeEntra {
    /// It is the metadata service and the API server of service accounts too.
    pub(super) fn sources(&self) -> TokenSources {
        TokenSources {
            entra: Arc::new(self.clone()),
            metadata: Arc::new(self.clone()),
            service_accounts: Arc::new(self.clone()),
        }
    }

    pub(super) fn has_no_service_account(&self, why: NoServiceAccountToken) {
        *self.no_service_account.lock().unwrap() = Some(why);
    }

    pub(super) fn answers_next(&self, status: u16, body: Value) {
        self.script.lock().unwrap().push_back((status, body));
    }

    /// URL and form of every request.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl fmt::Debug for FakeEntra {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FakeEntra")
    }
}

#[async_trait::async_trait]
impl HttpClient for FakeEntra {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let form = Bytes::from(request.body());
        let form = String::from_utf8(form.to_vec()).unwrap();
        let count = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(format!("{} {form}", request.url()));
            asked.len()
        };
        // As over a network: whoever else wants a token gets to run meanwhile.
        tokio::task::yield_now().await;
        let next = self.script.lock().unwrap().pop_front();
        let (status, body) = next.unwrap_or_else(|| (200, token(&format!("token-{count}"), 3600)));
        Ok(AsyncRawResponse::from_bytes(
            status.into(),
            Headers::default(),
            body.to_string(),
        ))
    }
}

pub(super) fn token(token: &str, seconds: u64) -> Value {
    json!({"token_type": "Bearer", "access_token": token, "expires_in": seconds, "ext_expires_in": seconds})
}

/// Keeps what an observer is told, as text.
#[derive(Clone, Default)]
pub(super) struct Observations(Arc<Mutex<Vec<String>>>);

impl Observations {
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl RequestObserver for Observations {
    fn request_ended(&self, request: &EndedRequest<'_>) {
        let EndedRequest {
            verb,
            target,
            status,
            duration: _,
            error,
        } = request;
        let status = status.map_or("-".to_owned(), |status| status.to_string());
        let error = error.unwrap_or("ok");
        let line = format!("{verb} {target} {status} {error}");
        self.0.lock().unwrap().push(line);
    }

    fn request_postponed(&self, lane: Lane, operation: OperationType) {
        let line = format!("postponed {} {}", lane.as_str(), operation.as_str());
        self.0.lock().unwrap().push(line);
    }

    fn request_throttled(&self, operation: OperationType) {
        let line = format!("throttled {}", operation.as_str());
        self.0.lock().unwrap().push(line);
    }
}

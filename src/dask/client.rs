use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::Error;
use super::poller::Target;
use super::wire::{Retired, State, ToClose};
use crate::leadership::Lead;

/// A scheduler that has not answered after that is taken for silent.
const STATE_DEADLINE: Duration = Duration::from_secs(5);
/// Retiring waits until the data has been copied away; past this the next look at the state tells how it went.
const RETIRE_DEADLINE: Duration = Duration::from_secs(600);
/// 100 workers take about 30 kB.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Asks the routes of our schedulers.
#[derive(Clone, Debug)]
pub struct DaskClient {
    http: reqwest::Client,
    /// Schedulers are asked only while it is ours.
    lead: Lead,
}

impl DaskClient {
    /// # Errors
    /// When no HTTP client can be made of the settings of this machine.
    pub fn new(lead: Lead) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            // Schedulers are nodes of a private network, never behind the proxy that leads out of the cluster.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(STATE_DEADLINE)
            .tls_backend_preconfigured(no_tls())
            .build()?;
        Ok(Self { http, lead })
    }

    /// # Errors
    /// When the scheduler does not answer in time, does not know the token or answers what cannot be read.
    pub async fn state(&self, target: &Target) -> Result<State, Error> {
        let request = self
            .request(target, Method::GET, "state")
            .timeout(STATE_DEADLINE);
        self.send(target, "state", request).await
    }

    /// Lets up to `count` workers go and waits until their data is elsewhere: those of the jobs `first` before others,
    /// and otherwise in the scheduler's own order. Nobody goes in the place of one of `first` that cannot go now.
    ///
    /// # Errors
    /// As [`Self::state`]; [`Error::Busy`] when another retirement is under way.
    pub async fn retire(
        &self,
        target: &Target,
        count: u32,
        first: &[String],
    ) -> Result<Retired, Error> {
        let request = self
            .post(
                target,
                "to-close",
                &json!({ "count": count, "first": first }),
            )
            .timeout(STATE_DEADLINE);
        let to_close: ToClose = self.send(target, "to-close", request).await?;
        if to_close.names.is_empty() {
            return Ok(Retired {
                reasons: to_close.reasons,
                ..Retired::default()
            });
        }
        let request = self
            .post(target, "retire", &json!({ "names": to_close.names }))
            .timeout(RETIRE_DEADLINE);
        let mut retired: Retired = self.send(target, "retire", request).await?;
        for (name, why) in to_close.reasons {
            retired.reasons.entry(name).or_insert(why);
        }
        Ok(retired)
    }

    fn request(&self, target: &Target, method: Method, route: &'static str) -> RequestBuilder {
        self.http
            .request(
                method,
                format!("{}/dask-azureml/v1/{route}", target.dashboard),
            )
            .bearer_auth(target.token.reveal())
    }

    fn post(&self, target: &Target, route: &'static str, body: &impl Serialize) -> RequestBuilder {
        self.request(target, Method::POST, route).json(body)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        target: &Target,
        route: &'static str,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        let address = || target.host_and_port();
        let unreachable = |source: reqwest::Error| Error::Unreachable {
            address: address(),
            source: source.without_url(),
        };
        self.lead
            .check()
            .map_err(|_| Error::NotLeading { address: address() })?;
        let answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Error::Untrusted { address: address() }),
            StatusCode::CONFLICT => return Err(Error::Busy { address: address() }),
            status => {
                return Err(Error::Refused {
                    address: address(),
                    route,
                    status,
                });
            }
        }
        let undecodable = || Error::Undecodable {
            address: address(),
            route,
        };
        let body = bounded(answer)
            .await
            .map_err(unreachable)?
            .ok_or_else(undecodable)?;
        serde_json::from_slice(&body).map_err(|_| undecodable())
    }
}

/// The body, unless it is larger than any that our bootstrap writes.
async fn bounded(mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Schedulers speak plain HTTP. reqwest wants to know about TLS all the same, and panics where a process has chosen
/// no provider.
fn no_tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::routing::post;
    use axum::{Json, Router};
    use serde_json::Value;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::token::Token;

    fn alone() -> Lead {
        Lead::always(Clock::system())
    }

    /// A scheduler that answers its routes with these; the bodies that it was sent are kept.
    async fn scheduler(to_close: Value, retire: Value) -> (Target, Arc<Mutex<Vec<Value>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let answering = |answer: Value| {
            let sent = Arc::clone(&sent);
            post(move |Json(body): Json<Value>| async move {
                sent.lock().unwrap().push(body);
                Json(answer)
            })
        };
        let router = Router::new()
            .route("/dask-azureml/v1/to-close", answering(to_close))
            .route("/dask-azureml/v1/retire", answering(retire));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            head_run: "head-1".into(),
            dashboard: format!("http://{}", listener.local_addr().unwrap()),
            token: Token::draw(),
            watches_load: false,
        };
        tokio::spawn(async move { axum::serve(listener, router).await });
        (target, sent)
    }

    #[tokio::test]
    async fn who_is_to_go_first_is_named_and_why_others_stay_is_told() {
        let (target, sent) = scheduler(
            json!({"names": ["w1.a", "w2.a"], "reasons": {"w0.a": "it is paused"}}),
            json!({"retired": [], "refused": ["w1.a"], "unknown": [], "leaving": ["w2.a"],
                   "reasons": {"w1.a": "it holds actors"}}),
        )
        .await;
        let first = ["w0".to_owned(), "w1".to_owned()];
        let client = DaskClient::new(alone()).unwrap();
        let retired = client.retire(&target, 3, &first).await.unwrap();
        assert_eq!(
            *sent.lock().unwrap(),
            [
                json!({"count": 3, "first": ["w0", "w1"]}),
                json!({"names": ["w1.a", "w2.a"]})
            ]
        );
        let reasons = [("w0.a", "it is paused"), ("w1.a", "it holds actors")];
        assert_eq!(
            retired,
            Retired {
                refused: vec!["w1.a".into()],
                leaving: vec!["w2.a".into()],
                reasons: reasons
                    .map(|(name, why)| (name.to_owned(), why.to_owned()))
                    .into(),
                ..Retired::default()
            }
        );
    }

    #[tokio::test]
    async fn when_nobody_may_go_nobody_is_retired_and_why_is_told() {
        let why = "the other workers cannot hold the data twice over";
        let answer = json!({"names": [], "reasons": {"w1.a": why}});
        let (target, sent) = scheduler(answer, json!({"retired": ["w1.a"]})).await;
        let client = DaskClient::new(alone()).unwrap();
        let retired = client.retire(&target, 1, &[]).await.unwrap();
        assert_eq!(sent.lock().unwrap().len(), 1);
        assert_eq!(retired.retired, Vec::<String>::new());
        assert_eq!(retired.reasons["w1.a"], why);
    }

    #[tokio::test]
    async fn a_bootstrap_of_before_that_tells_no_reasons_is_understood() {
        let (target, _) = scheduler(
            json!({"names": ["w1.a"]}),
            json!({"retired": ["w1.a"], "refused": [], "unknown": []}),
        )
        .await;
        let client = DaskClient::new(alone()).unwrap();
        let retired = client.retire(&target, 1, &[]).await.unwrap();
        assert_eq!(retired.retired, ["w1.a"]);
    }

    #[tokio::test]
    async fn one_that_does_not_lead_any_more_retires_nobody_and_asks_nothing() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let end = Duration::from_secs(12);
        let (target, sent) = scheduler(json!({"names": ["w1.a"]}), json!({"retired": []})).await;
        let client = DaskClient::new(Lead::until(hand.clock(), end)).unwrap();
        client.retire(&target, 1, &[]).await.unwrap();
        assert_eq!(sent.lock().unwrap().len(), 2);
        hand.advance(end);
        let refused = [
            client.retire(&target, 1, &[]).await.map(drop),
            client.state(&target).await.map(drop),
        ];
        for outcome in refused {
            assert_eq!(outcome.unwrap_err().category(), "NotLeading");
        }
        assert_eq!(sent.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn whoever_was_chosen_to_go_stays_where_the_lead_ends_before_he_is_told() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let end = Duration::from_secs(12);
        let moved = hand.clone();
        let retired = Arc::new(Mutex::new(false));
        let told = Arc::clone(&retired);
        let router = Router::new()
            .route(
                "/dask-azureml/v1/to-close",
                post(move || async move {
                    moved.advance(end);
                    Json(json!({"names": ["w1.a"]}))
                }),
            )
            .route(
                "/dask-azureml/v1/retire",
                post(move || async move { *told.lock().unwrap() = true }),
            );
        let (target, _) = scheduler(json!({}), json!({})).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            dashboard: format!("http://{}", listener.local_addr().unwrap()),
            ..target
        };
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = DaskClient::new(Lead::until(hand.clock(), end)).unwrap();
        let error = client.retire(&target, 1, &[]).await.unwrap_err();
        assert_eq!(error.category(), "NotLeading");
        assert!(!*retired.lock().unwrap());
    }
}

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
}

impl DaskClient {
    /// # Errors
    /// When no HTTP client can be made of the settings of this machine.
    pub fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            // Schedulers are nodes of a private network, never behind the proxy that leads out of the cluster.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(STATE_DEADLINE)
            .tls_backend_preconfigured(no_tls())
            .build()?;
        Ok(Self { http })
    }

    /// # Errors
    /// When the scheduler does not answer in time, does not know the token or answers what cannot be read.
    pub async fn state(&self, target: &Target) -> Result<State, Error> {
        let request = self
            .request(target, Method::GET, "state")
            .timeout(STATE_DEADLINE);
        send(target, "state", request).await
    }

    /// Lets up to `count` workers go, those of the jobs `first` before others and otherwise in the scheduler's own order, and waits until their data is elsewhere.
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
        let to_close: ToClose = send(target, "to-close", request).await?;
        if to_close.names.is_empty() {
            return Ok(Retired::default());
        }
        let request = self
            .post(target, "retire", &json!({ "names": to_close.names }))
            .timeout(RETIRE_DEADLINE);
        send(target, "retire", request).await
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
}

async fn send<T: DeserializeOwned>(
    target: &Target,
    route: &'static str,
    request: RequestBuilder,
) -> Result<T, Error> {
    let address = || target.host_and_port();
    let unreachable = |source: reqwest::Error| Error::Unreachable {
        address: address(),
        source: source.without_url(),
    };
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

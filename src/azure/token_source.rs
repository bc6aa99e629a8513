//! Who is asked for tokens: Entra, the metadata service of virtual machines, and Kubernetes for
//! those of service accounts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::Bytes;
use azure_core::error::ErrorKind;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Url};

use super::error::Class;
use super::http_client::{HttpClientError, plain_http_client};
use super::identity::ServiceAccount;

/// What a service account's token is for when Entra is to take it.
pub const TOKEN_EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

/// Gives out tokens of service accounts.
#[async_trait::async_trait]
pub trait ServiceAccountTokens: Send + Sync {
    /// A new token for [`TOKEN_EXCHANGE_AUDIENCE`].
    async fn token(&self, account: &ServiceAccount) -> Result<String, NoServiceAccountToken>;
}

/// There is no token of a service account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoServiceAccountToken {
    /// What is wrong, and what to do.
    pub message: String,
    /// Somebody has to mend it: the account is missing, or its tokens are not for us.
    pub refused: bool,
}

impl NoServiceAccountToken {
    pub(super) fn class(&self) -> Class {
        if self.refused {
            Class::CredentialsRefused
        } else {
            Class::Unavailable
        }
    }
}

/// Where there is no Kubernetes to ask.
#[derive(Debug, Clone, Copy)]
pub struct WithoutKubernetes;

#[async_trait::async_trait]
impl ServiceAccountTokens for WithoutKubernetes {
    async fn token(&self, account: &ServiceAccount) -> Result<String, NoServiceAccountToken> {
        Err(NoServiceAccountToken {
            message: format!(
                "there is no Kubernetes to give out tokens of the service account {}: use another kind of credentials",
                account.name
            ),
            refused: true,
        })
    }
}

/// Where tokens come from. Clones share connections.
#[derive(Clone)]
pub struct TokenSources {
    pub(super) entra: Arc<dyn HttpClient>,
    pub(super) metadata: Arc<dyn HttpClient>,
    pub(super) service_accounts: Arc<dyn ServiceAccountTokens>,
}

impl TokenSources {
    /// `http` is for Entra; its timeout is the longest that anybody waits for it. `metadata_host`
    /// is where the metadata service is, if not at the address that it has on every machine of
    /// Azure.
    ///
    /// # Errors
    /// When the HTTP library takes no client without TLS.
    pub fn new(
        http: reqwest::Client,
        metadata_host: Option<Url>,
        service_accounts: Arc<dyn ServiceAccountTokens>,
    ) -> Result<Self, HttpClientError> {
        let metadata = plain_http_client(METADATA_CONNECT_TIMEOUT, METADATA_TIMEOUT)?;
        Ok(Self {
            entra: Arc::new(http),
            metadata: match metadata_host {
                None => Arc::new(metadata),
                Some(host) => Arc::new(Moved {
                    host,
                    inner: Arc::new(metadata),
                }),
            },
            service_accounts,
        })
    }
}

/// The service is on the machine itself; elsewhere nobody has its address.
const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const METADATA_TIMEOUT: Duration = Duration::from_secs(30);

/// Leads requests to another host: `azure_identity` has the address of the metadata service built
/// in.
#[derive(Debug)]
struct Moved {
    host: Url,
    inner: Arc<dyn HttpClient>,
}

#[async_trait::async_trait]
impl HttpClient for Moved {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut request = request.clone();
        let mut url = self.host.clone();
        url.set_path(request.url().path());
        url.set_query(request.url().query());
        *request.url_mut() = url;
        self.inner.execute_request(&request).await
    }
}

/// Sends a request once. For managed identities `azure_identity` tries for 72 seconds, whatever it is told; but a
/// reconcile does not wait. So what it would try again reaches it as an error that it does not.
#[derive(Debug)]
pub(super) struct Once(pub(super) Arc<dyn HttpClient>);

#[async_trait::async_trait]
impl HttpClient for Once {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.0.execute_request(request).await.map_err(|error| {
            azure_core::Error::with_error(ErrorKind::Other, error, "the request could not be sent")
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let answer = answer.try_into_raw_response().await?;
        let kind = ErrorKind::HttpResponse {
            status: answer.status(),
            error_code: None,
            raw_response: Some(Box::new(answer)),
        };
        Err(azure_core::Error::with_message(
            kind,
            "the request was refused",
        ))
    }
}

/// Adds claims to the form of a token request: `azure_identity` has no way to name them.
pub(super) struct Claiming {
    pub(super) claims: String,
    pub(super) inner: Arc<dyn HttpClient>,
}

impl fmt::Debug for Claiming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Claiming").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Claiming {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut request = request.clone();
        let mut form = Bytes::from(request.body()).to_vec();
        let claims =
            percent_encoding::utf8_percent_encode(&self.claims, percent_encoding::NON_ALPHANUMERIC);
        form.extend_from_slice(format!("&claims={claims}").as_bytes());
        request.set_body(form);
        self.inner.execute_request(&request).await
    }
}

//! Who the operator is to Azure, and the tokens that prove it.
//!
//! `azure_identity` speaks to Entra. It keeps tokens too, but by the machine's clock, it cannot be
//! told that a token was refused, and it fails while a token that is due for renewal is still
//! good. So it is asked anew for each token, and tokens are kept here.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RawResponse, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::error::{AnswerFacts, Attempt, Class, Error, deepest_cause};
use super::error_body::{ErrorBody, presentable};
use super::observer::{EndedRequest, RequestObserver};
use super::retry_after::retry_after;
use crate::clock::Clock;

/// A token is renewed this long before it ends, or when a fifth of its life is left.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// While a token is still good, a failed renewal is tried again after this time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// A principal and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An application with a secret.
    ClientSecret {
        /// The directory that the application is registered in.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// What it proves itself with.
        client_secret: Secret,
    },
    /// An application or managed identity that trusts a Kubernetes service account.
    WorkloadIdentity {
        /// The directory of the identity.
        tenant_id: String,
        /// The identity.
        client_id: String,
        /// The service account's token, which the kubelet renews.
        token_file: PathBuf,
    },
}

/// Values that name an identity only in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{missing} is not set")]
pub struct IncompleteIdentity {
    missing: &'static str,
}

impl Identity {
    /// The identity in a Secret, by its keys `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_CLIENT_SECRET`. A Secret cannot name a token file: it would be the operator's own.
    pub fn from_secret(value: impl Fn(&str) -> Option<String>) -> Result<Self, IncompleteIdentity> {
        let required = |name| present(&value, name).ok_or(IncompleteIdentity { missing: name });
        Ok(Self::ClientSecret {
            tenant_id: required("AZURE_TENANT_ID")?,
            client_id: required("AZURE_CLIENT_ID")?,
            client_secret: Secret::new(required("AZURE_CLIENT_SECRET")?),
        })
    }

    /// The identity in environment variables: that of a Secret, or workload identity where
    /// `AZURE_FEDERATED_TOKEN_FILE` is set and no secret is. `None` if none of them is set.
    pub fn from_environment(
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, IncompleteIdentity> {
        let secret = present(&value, "AZURE_CLIENT_SECRET");
        let token_file = present(&value, "AZURE_FEDERATED_TOKEN_FILE");
        match (secret, token_file) {
            (None, Some(token_file)) => {
                let required =
                    |name| present(&value, name).ok_or(IncompleteIdentity { missing: name });
                Ok(Some(Self::WorkloadIdentity {
                    tenant_id: required("AZURE_TENANT_ID")?,
                    client_id: required("AZURE_CLIENT_ID")?,
                    token_file: token_file.into(),
                }))
            }
            // The tenant alone is often set for other tools and names nobody.
            (None, None) if present(&value, "AZURE_CLIENT_ID").is_none() => Ok(None),
            _ => Self::from_secret(value).map(Some),
        }
    }

    fn names(&self) -> (&str, &str) {
        match self {
            Self::ClientSecret {
                tenant_id,
                client_id,
                ..
            }
            | Self::WorkloadIdentity {
                tenant_id,
                client_id,
                ..
            } => (tenant_id, client_id),
        }
    }
}

fn present(value: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let value = value(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Gives out tokens for ARM. Clones share the token.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    identity: Identity,
    authority: Arc<CloudConfiguration>,
    scope: String,
    http: Client,
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
    attempt: Attempt,
    state: RwLock<State>,
    /// Held by the one who asks Entra; the others wait for what it brings.
    asking: Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Why Entra was last asked in vain, and how often it has been asked at all.
    failure: Option<Error>,
    asked: u64,
}

#[derive(Clone)]
struct Held {
    token: Token,
    due: Duration,
    end: Duration,
}

/// A bearer token. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(Secret);

impl Token {
    pub(super) fn secret(&self) -> &str {
        self.0.secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Credential {
    /// A credential for `identity` in the cloud of `endpoint`. Nothing is asked yet.
    #[must_use]
    pub fn new(
        identity: Identity,
        endpoint: &Endpoint,
        http: Client,
        clock: Clock,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = endpoint.authority_host().to_string();
        let (tenant, client) = identity.names();
        let attempt = Attempt {
            operation: "token".to_owned(),
            resource: format!("for client {client} of tenant {tenant}"),
            target: "token".to_owned(),
        };
        Self(Arc::new(Inner {
            authority: Arc::new(cloud.into()),
            scope: endpoint.scope(),
            identity,
            http,
            clock,
            observer,
            attempt,
            state: RwLock::default(),
            asking: Mutex::default(),
        }))
    }

    /// Makes sure that there is a token: the way to check credentials before anything else.
    pub async fn check(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<Token, Error> {
        let inner = &self.0;
        let (held, asked) = inner.look();
        let now = inner.clock.elapsed();
        match held {
            Some(held) if now < held.due => Ok(held.token),
            Some(held) if now < held.end => {
                // Still good: one renews it, nobody waits, and a failure costs nothing yet.
                if let Ok(_asking) = inner.asking.try_lock() {
                    if let Ok(renewed) = inner.ask().await {
                        return Ok(renewed);
                    }
                    inner.postpone_renewal();
                }
                Ok(held.token)
            }
            _ => inner.ask_unless_answered(asked).await,
        }
    }

    /// A token other than `refused`, which Azure did not accept.
    pub(super) async fn renew(&self, refused: &Token) -> Result<Token, Error> {
        let inner = &self.0;
        let (held, asked) = inner.look();
        match held {
            Some(held) if held.token != *refused => Ok(held.token),
            _ => inner.ask_unless_answered(asked).await,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("identity", &self.0.identity)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn look(&self) -> (Option<Held>, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.held.clone(), state.asked)
    }

    /// Asks Entra, unless someone else has done so since the count was `asked`: then their answer
    /// is taken, a failure too, so that a crowd does not wait for one deadline after the other.
    async fn ask_unless_answered(&self, asked: u64) -> Result<Token, Error> {
        let _asking = self.asking.lock().await;
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.asked != asked {
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if let Some(held) = &state.held {
                    return Ok(held.token.clone());
                }
            }
        }
        self.ask().await
    }

    async fn ask(&self) -> Result<Token, Error> {
        let started = self.clock.elapsed();
        let outcome = self.ask_entra().await;
        let now = self.clock.elapsed();
        let (status, error) = match &outcome {
            Ok(_) => (Some(200), None),
            Err(error) => (error.status(), Some(error.category())),
        };
        self.observer.request_ended(&EndedRequest {
            verb: "POST",
            target: &self.attempt.target,
            status,
            duration: now.saturating_sub(started),
            error,
        });
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        match outcome {
            Ok((token, life)) => {
                let margin = RENEWED_BEFORE.min(life / 5);
                state.failure = None;
                state.held = Some(Held {
                    token: token.clone(),
                    due: now + life.saturating_sub(margin),
                    end: now + life,
                });
                Ok(token)
            }
            Err(error) => {
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn postpone_renewal(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &mut state.held {
            held.due = now + RENEWAL_PAUSE;
        }
    }

    async fn ask_entra(&self) -> Result<(Token, Duration), Error> {
        let credential = self.entra_credential().map_err(|error| {
            let facts = AnswerFacts::default();
            let message = presentable(&error.to_string());
            Error::refused(&self.attempt, facts, None, message, CHECK_VALUES)
        })?;
        match credential.get_token(&[&self.scope], None).await {
            Ok(token) => Ok(lifetime(token)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn entra_credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(self.http.clone()))),
            cloud: Some(Arc::clone(&self.authority)),
            ..ClientOptions::default()
        };
        Ok(match self.identity.clone() {
            Identity::ClientSecret {
                tenant_id,
                client_id,
                client_secret,
            } => ClientSecretCredential::new(
                &tenant_id,
                client_id,
                client_secret,
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Identity::WorkloadIdentity {
                tenant_id,
                client_id,
                token_file,
            } => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: Some(client_id),
                tenant_id: Some(tenant_id),
                token_file_path: Some(token_file),
            }))?,
        })
    }

    /// Tells apart what `azure_identity` wraps into one kind of error.
    fn failure(&self, error: &azure_core::Error) -> Error {
        let first: &(dyn std::error::Error + 'static) = error;
        let chain = || std::iter::successors(Some(first), |error| error.source());
        let answer =
            chain().find_map(
                |error| match error.downcast_ref::<azure_core::Error>()?.kind() {
                    ErrorKind::HttpResponse { raw_response, .. } => raw_response.as_deref(),
                    _ => None,
                },
            );
        if let Some(answer) = answer {
            return self.answered(answer);
        }
        let transport = chain().find_map(|error| error.downcast_ref::<reqwest::Error>());
        if let Some(transport) = transport {
            let message = deepest_cause(transport);
            return Error::with_class(&self.attempt, Class::Unreachable, message);
        }
        Error::undecodable(
            &self.attempt,
            None,
            "the answer is not one of Entra's".to_owned(),
        )
    }

    fn answered(&self, answer: &RawResponse) -> Error {
        let told: EntraError = serde_json::from_slice(answer.body().as_ref()).unwrap_or_default();
        let status = u16::from(answer.status());
        let facts = AnswerFacts {
            status,
            request_id: told.correlation_id.clone(),
            retry_after: self.retry_after(answer),
        };
        let code = told.code();
        let message = told.message();
        // AADSTS90033 is Entra's "a transient error has occurred", sent with a 400.
        if matches!(status, 429 | 500..) || told.error_codes.contains(&90033) {
            let class_by_status = if status == 429 { 429 } else { 503 };
            let body = ErrorBody {
                code,
                message,
                ..ErrorBody::default()
            };
            return Error::answered(
                &self.attempt,
                AnswerFacts {
                    status: class_by_status,
                    ..facts
                },
                body,
            );
        }
        let hint = refusal_hint(&told.error_codes);
        Error::refused(&self.attempt, facts, Some(code), message, hint)
    }

    fn retry_after(&self, answer: &RawResponse) -> Option<Duration> {
        let text = answer.headers().get_optional_str(&"retry-after".into())?;
        let value = HeaderValue::from_str(text).ok()?;
        retry_after(
            &HeaderMap::from_iter([(RETRY_AFTER, value)]),
            self.clock.now(),
        )
    }
}

/// The token, and how long it is good. `azure_identity` stamps the end with the machine's time,
/// so that is what it is read against.
fn lifetime(token: AccessToken) -> (Token, Duration) {
    let left = token.expires_on - OffsetDateTime::now_utc();
    (
        Token(token.token),
        Duration::try_from(left).unwrap_or_default(),
    )
}

/// An error as Entra describes it (contract §2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EntraError {
    error: String,
    error_description: String,
    error_codes: Vec<i64>,
    correlation_id: Option<String>,
}

impl EntraError {
    fn code(&self) -> String {
        match self.error_codes.first() {
            Some(code) => format!("AADSTS{code}"),
            None if self.error.is_empty() => "UnknownError".to_owned(),
            None => self.error.clone(),
        }
    }

    /// The description without the ids and the time that Entra appends, which differ each time.
    fn message(&self) -> String {
        let text = self.error_description.as_str();
        let end = ["Trace ID:", "Correlation ID:", "Timestamp:"]
            .iter()
            .filter_map(|mark| text.find(mark))
            .min()
            .unwrap_or(text.len());
        let text = presentable(&text[..end]);
        match text.strip_prefix(&format!("{}: ", self.code())) {
            Some(rest) => rest.to_owned(),
            None => text,
        }
    }
}

const CHECK_VALUES: &str = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and what proves the identity: a client secret or a federated token file";

/// What mends a refusal, by the number in `AADSTS…`.
fn refusal_hint(codes: &[i64]) -> &'static str {
    let known = codes.iter().find_map(|code| {
        Some(match code {
            7_000_215 => "AZURE_CLIENT_SECRET is wrong: it must be the secret's value, not its id",
            7_000_222 => "the client secret has expired: make a new one",
            700_016 | 700_027 => "AZURE_CLIENT_ID names no application of the tenant",
            90_002 | 900_023 => "AZURE_TENANT_ID names no tenant",
            70_021 | 700_211 | 700_212 | 700_213 => {
                "the identity has no federated credential for the operator's service account"
            }
            500_011 => {
                "the tenant does not know the resource manager that a token is asked for: check AZURE_RESOURCE_MANAGER_AUDIENCE"
            }
            _ => return None,
        })
    });
    known.unwrap_or(CHECK_VALUES)
}

//! Asking for a token, through `azure_identity`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{
    ClientMethodOptions, ClientOptions, HttpClient, RawResponse, RetryOptions, Transport,
};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::error::{AnswerFacts, Attempt, Class, Error, deepest_cause};
use super::error_body::{ErrorBody, presentable};
use super::error_codes::Verdict;
use super::identity::Identity;
use super::retry_after::retry_after;
use super::token_source::{Claiming, NoServiceAccountToken, Once, TokenSources};
use crate::clock::Clock;

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

/// Asks for tokens of one identity: Entra, or the metadata service for a managed identity.
///
/// `azure_identity` keeps tokens as well, but by the machine's clock, and it cannot be told that
/// one was refused. So it is set up anew for each token, which reads a federated token file anew
/// too.
pub(super) struct Entra {
    identity: Identity,
    authority: Arc<CloudConfiguration>,
    scope: String,
    sources: TokenSources,
    clock: Clock,
    attempt: Attempt,
}

impl Entra {
    pub(super) fn new(
        identity: Identity,
        endpoint: &Endpoint,
        sources: TokenSources,
        clock: Clock,
    ) -> Self {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = endpoint.authority_host().to_string();
        let resource = match &identity {
            Identity::ClientSecret {
                tenant_id,
                client_id,
                ..
            }
            | Identity::WorkloadIdentity {
                tenant_id,
                client_id,
                ..
            }
            | Identity::FederatedServiceAccount {
                tenant_id,
                client_id,
                ..
            } => format!("for client {client_id} of tenant {tenant_id}"),
            Identity::ManagedIdentity {
                client_id: Some(client_id),
            } => format!("for managed identity {client_id}"),
            Identity::ManagedIdentity { client_id: None } => {
                "for the machine's own managed identity".to_owned()
            }
        };
        let attempt = Attempt {
            operation: "token".to_owned(),
            resource,
            target: "token".to_owned(),
        };
        Self {
            authority: Arc::new(cloud.into()),
            scope: endpoint.scope(),
            identity,
            sources,
            clock,
            attempt,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The method that a token is asked for with.
    pub(super) fn verb(&self) -> &'static str {
        match self.identity {
            Identity::ManagedIdentity { .. } => "GET",
            Identity::ClientSecret { .. }
            | Identity::WorkloadIdentity { .. }
            | Identity::FederatedServiceAccount { .. } => "POST",
        }
    }

    /// Asks once: a new token, and how long it is good. The metadata service takes no claims; it
    /// answers a machine's newest token, or asks Entra itself.
    pub(super) async fn ask(&self, claims: Option<&str>) -> Result<(Token, Duration), Error> {
        let assertion = match &self.identity {
            Identity::FederatedServiceAccount {
                service_account, ..
            } => Some(
                self.sources
                    .service_accounts
                    .token(service_account)
                    .await
                    .map_err(|refused| self.no_assertion(&refused))?,
            ),
            _ => None,
        };
        let credential = self.credential(claims, assertion).map_err(|error| {
            let verdict = Verdict {
                class: Class::CredentialsRefused,
                hint: Some(CHECK_VALUES),
            };
            let message = presentable(&error.to_string());
            Error::without_token(&self.attempt, verdict, message)
        })?;
        match credential.get_token(&[&self.scope], None).await {
            Ok(token) => Ok(lifetime(token)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn no_assertion(&self, refused: &NoServiceAccountToken) -> Error {
        let message = presentable(&refused.message);
        Error::without_token(&self.attempt, refused.class().into(), message)
    }

    fn credential(
        &self,
        claims: Option<&str>,
        assertion: Option<String>,
    ) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let transport = |to: &Arc<dyn HttpClient>| ClientOptions {
            // When to ask again is told by the error and decided by whoever needs the token.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::clone(to))),
            cloud: Some(Arc::clone(&self.authority)),
            ..ClientOptions::default()
        };
        let client_options = match claims {
            None => transport(&self.sources.entra),
            Some(claims) => {
                let claiming: Arc<dyn HttpClient> = Arc::new(Claiming {
                    claims: claims.to_owned(),
                    inner: Arc::clone(&self.sources.entra),
                });
                transport(&claiming)
            }
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
            Identity::FederatedServiceAccount {
                tenant_id,
                client_id,
                service_account: _,
            } => ClientAssertionCredential::new(
                tenant_id,
                client_id,
                Assertion(Secret::new(assertion.unwrap_or_default())),
                Some(ClientAssertionCredentialOptions { client_options }),
            )?,
            Identity::ManagedIdentity { client_id } => {
                let once: Arc<dyn HttpClient> = Arc::new(Once(Arc::clone(&self.sources.metadata)));
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.map(UserAssignedId::ClientId),
                    client_options: transport(&once),
                }))?
            }
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
            return self.refusal(answer);
        }
        let transport = chain().find_map(|error| error.downcast_ref::<reqwest::Error>());
        if let Some(transport) = transport {
            let verdict = Verdict::from(Class::Unreachable);
            return Error::without_token(&self.attempt, verdict, deepest_cause(transport));
        }
        let message = "the answer is not one of Entra's".to_owned();
        Error::undecodable(&self.attempt, None, message)
    }

    fn is_managed(&self) -> bool {
        matches!(self.identity, Identity::ManagedIdentity { .. })
    }

    fn refusal(&self, answer: &RawResponse) -> Error {
        let told: EntraError = serde_json::from_slice(answer.body().as_ref()).unwrap_or_default();
        let status = u16::from(answer.status());
        let verdict = match status {
            429 => Class::Throttled.into(),
            500.. => Class::Unavailable.into(),
            _ if told.error_codes.contains(&TRANSIENT) => Class::Unavailable.into(),
            // The metadata service is starting anew (contract §2).
            404 | 410 if self.is_managed() => Class::Unavailable.into(),
            _ if self.is_managed() => Verdict {
                class: Class::CredentialsRefused,
                hint: Some(ASSIGN_IDENTITY),
            },
            _ => Verdict {
                class: Class::CredentialsRefused,
                hint: Some(hint(&told.error_codes)),
            },
        };
        let body = ErrorBody {
            code: told.code(),
            message: told.message(),
            ..ErrorBody::default()
        };
        let facts = AnswerFacts {
            status: Some(status),
            request_id: told.correlation_id,
            retry_after: self.retry_after(answer),
            claims: None,
        };
        Error::judged(&self.attempt, verdict, facts, body)
    }

    fn retry_after(&self, answer: &RawResponse) -> Option<Duration> {
        let text = answer.headers().get_optional_str(&"retry-after".into())?;
        let value = HeaderValue::from_str(text).ok()?;
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
        retry_after(&headers, self.clock.now())
    }
}

/// A service account's token, read just now.
struct Assertion(Secret);

impl fmt::Debug for Assertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Assertion(…)")
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.secret().to_owned())
    }
}

/// The token, and how long it is good. `azure_identity` stamps the end with the machine's time,
/// so that is what it is read against.
fn lifetime(token: AccessToken) -> (Token, Duration) {
    let left = token.expires_on - OffsetDateTime::now_utc();
    let left = Duration::try_from(left).unwrap_or_default();
    (Token(token.token), left)
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
        let marks = ["Trace ID:", "Correlation ID:", "Timestamp:"];
        let end = marks.iter().filter_map(|mark| text.find(mark)).min();
        let text = presentable(&text[..end.unwrap_or(text.len())]);
        let prefix = format!("{}: ", self.code());
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    }
}

/// "A transient error has occurred. Please try again", which Entra sends with a 400.
const TRANSIENT: i64 = 90_033;

const CHECK_VALUES: &str = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and what proves the identity: a client secret or a federated token";

const ASSIGN_IDENTITY: &str = "assign the managed identity to the machines that the operator runs on, or correct AZURE_CLIENT_ID";

/// What mends a refusal, by the number in `AADSTS…`.
fn hint(codes: &[i64]) -> &'static str {
    let known = codes.iter().find_map(|code| {
        Some(match code {
            7_000_215 => "AZURE_CLIENT_SECRET is wrong: it must be the secret's value, not its id",
            7_000_222 => "the client secret has expired: make a new one",
            700_016 => "AZURE_CLIENT_ID names no application of the tenant",
            90_002 | 900_023 => "AZURE_TENANT_ID names no tenant",
            70_021 | 700_211 | 700_212 | 700_213 => {
                "the identity has no federated credential for this service account: its issuer, subject system:serviceaccount:<namespace>:<name> and audience api://AzureADTokenExchange have to match"
            }
            500_011 => "the tenant does not know the resource manager that the token is for: check AZURE_RESOURCE_MANAGER_AUDIENCE",
            _ => return None,
        })
    });
    known.unwrap_or(CHECK_VALUES)
}

//! Who the operator is to Azure.

use std::path::PathBuf;

use azure_core::credentials::Secret;
use sha2::{Digest as _, Sha256};

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
    /// An application or managed identity that trusts the operator's own service account.
    WorkloadIdentity {
        /// The directory of the identity.
        tenant_id: String,
        /// The identity.
        client_id: String,
        /// The service account's token, which the kubelet renews.
        token_file: PathBuf,
    },
    /// An application or managed identity that trusts a service account of the namespace that
    /// names it. The API server is asked for its tokens.
    FederatedServiceAccount {
        /// The directory of the identity.
        tenant_id: String,
        /// The identity.
        client_id: String,
        /// Whose tokens it trusts.
        service_account: ServiceAccount,
    },
    /// A managed identity of the virtual machine that the operator runs on.
    ManagedIdentity {
        /// The user-assigned identity; the machine's own (system-assigned) one where none is
        /// named.
        client_id: Option<String>,
    },
}

/// A service account of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Values that name no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// A value is missing.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A Secret that proves nothing.
    #[error(
        "AZURE_CLIENT_SECRET is not set: set it, or for workload identity set AZURE_FEDERATED_SERVICE_ACCOUNT to the name of a service account of the namespace"
    )]
    NoProof,
    /// Two ways to prove the identity.
    #[error("{0} and {1} are both set: keep one of them")]
    Ambiguous(&'static str, &'static str),
    /// A name that no service account can have.
    #[error("AZURE_FEDERATED_SERVICE_ACCOUNT is not the name of a service account")]
    ServiceAccountName,
    /// A tenant that wants to be the machine that the operator runs on.
    #[error(
        "AZURE_MANAGED_IDENTITY is not for Secrets: the managed identities that the operator can reach are those of its own machine; use AZURE_CLIENT_SECRET or AZURE_FEDERATED_SERVICE_ACCOUNT"
    )]
    ManagedIdentityInSecret,
    /// A client certificate.
    #[error(
        "{0} is not supported: azure_identity signs with a certificate by OpenSSL only, which this operator does without; use a client secret or workload identity"
    )]
    Certificate(&'static str),
}

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const SERVICE_ACCOUNT: &str = "AZURE_FEDERATED_SERVICE_ACCOUNT";
const MANAGED: &str = "AZURE_MANAGED_IDENTITY";
/// As Azure Service Operator calls it in a Secret, and Microsoft's SDKs in the environment.
const CERTIFICATES: [&str; 2] = ["AZURE_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE_PATH"];

impl Identity {
    /// The identity in a Secret of `namespace`: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and either
    /// `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_SERVICE_ACCOUNT`. A Secret cannot name a token
    /// file or a managed identity: those would be the operator's own.
    pub fn from_secret(
        namespace: &str,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidIdentity> {
        let given = |name| present(&value, name);
        if given(MANAGED).is_some() {
            return Err(InvalidIdentity::ManagedIdentityInSecret);
        }
        let (tenant_id, client_id) = application(&value)?;
        match (given(SECRET), given(SERVICE_ACCOUNT)) {
            (Some(_), Some(_)) => Err(InvalidIdentity::Ambiguous(SECRET, SERVICE_ACCOUNT)),
            (Some(secret), None) => Ok(Self::ClientSecret {
                tenant_id,
                client_id,
                client_secret: Secret::new(secret),
            }),
            (None, Some(name)) if is_service_account(&name) => Ok(Self::FederatedServiceAccount {
                tenant_id,
                client_id,
                service_account: ServiceAccount {
                    namespace: namespace.to_owned(),
                    name,
                },
            }),
            (None, Some(_)) => Err(InvalidIdentity::ServiceAccountName),
            (None, None) => Err(certificate(&value).unwrap_or(InvalidIdentity::NoProof)),
        }
    }

    /// The identity in environment variables: `AZURE_CLIENT_SECRET`, or the
    /// `AZURE_FEDERATED_TOKEN_FILE` that the workload identity webhook of AKS sets, each with
    /// tenant and client; or `AZURE_MANAGED_IDENTITY=true`, with the client of a user-assigned
    /// one. `None` if none of them is set.
    pub fn from_environment(
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, InvalidIdentity> {
        let given = |name| present(&value, name);
        let (secret, token_file) = (given(SECRET), given(TOKEN_FILE));
        if given(MANAGED).is_some_and(|managed| managed == "true") {
            if secret.is_some() {
                return Err(InvalidIdentity::Ambiguous(MANAGED, SECRET));
            }
            if token_file.is_some() {
                return Err(InvalidIdentity::Ambiguous(MANAGED, TOKEN_FILE));
            }
            let client_id = given(CLIENT);
            return Ok(Some(Self::ManagedIdentity { client_id }));
        }
        // The tenant alone is often set for other tools and names nobody.
        if secret.is_none() && token_file.is_none() {
            if let Some(refused) = certificate(&value) {
                return Err(refused);
            }
            if given(CLIENT).is_none() {
                return Ok(None);
            }
        }
        let (tenant_id, client_id) = application(&value)?;
        match (secret, token_file) {
            // AKS sets the file for every pod that asks for it; a secret is set on purpose.
            (Some(secret), _) => Ok(Some(Self::ClientSecret {
                tenant_id,
                client_id,
                client_secret: Secret::new(secret),
            })),
            (None, Some(token_file)) => Ok(Some(Self::WorkloadIdentity {
                tenant_id,
                client_id,
                token_file: token_file.into(),
            })),
            (None, None) => Err(InvalidIdentity::Missing(SECRET)),
        }
    }

    /// Names it to people and to budgets: tenant and client in small letters, or the managed
    /// identity. No secret, and the same whatever proves it.
    #[must_use]
    pub fn name(&self) -> String {
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
            }
            | Self::FederatedServiceAccount {
                tenant_id,
                client_id,
                ..
            } => format!("{tenant_id}/{client_id}").to_lowercase(),
            Self::ManagedIdentity { client_id } => {
                let client = client_id.as_deref().unwrap_or("system-assigned");
                format!("managed-identity/{client}").to_lowercase()
            }
        }
    }

    /// Equal for those who are the same to Azure by the same proof: its name, and a digest of the
    /// proof. Who only claims to be somebody shares nothing with the one who is. To be compared,
    /// not to be shown.
    #[must_use]
    pub fn principal(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        match self {
            Self::ClientSecret { client_secret, .. } => {
                add(b"client secret");
                add(client_secret.secret().as_bytes());
            }
            Self::WorkloadIdentity { token_file, .. } => {
                add(b"token file");
                add(token_file.as_os_str().as_encoded_bytes());
            }
            Self::FederatedServiceAccount {
                service_account, ..
            } => {
                add(b"service account");
                add(service_account.namespace.as_bytes());
                add(service_account.name.as_bytes());
            }
            Self::ManagedIdentity { .. } => add(b"managed identity"),
        }
        format!("{} {:x}", self.name(), digest.finalize())
    }
}

/// Tenant and client.
fn application(
    value: impl Fn(&str) -> Option<String>,
) -> Result<(String, String), InvalidIdentity> {
    let required = |name| present(&value, name).ok_or(InvalidIdentity::Missing(name));
    Ok((required(TENANT)?, required(CLIENT)?))
}

fn certificate(value: impl Fn(&str) -> Option<String>) -> Option<InvalidIdentity> {
    CERTIFICATES
        .into_iter()
        .find(|name| present(&value, name).is_some())
        .map(InvalidIdentity::Certificate)
}

/// A DNS subdomain: what Kubernetes takes as the name of a service account, and what can stand in
/// a path.
fn is_service_account(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            label.bytes().all(|byte| fits(byte) || byte == b'-')
                && label.bytes().next().is_some_and(fits)
                && label.bytes().next_back().is_some_and(fits)
        })
}

fn present(value: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let value = value(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;

//! Who the operator is to Azure.

use std::path::PathBuf;

use azure_core::credentials::Secret;

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

    /// Tenant and client.
    pub(super) fn names(&self) -> (&str, &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    type Values = &'static [(&'static str, &'static str)];

    fn value(values: Values) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        }
    }

    const SECRET: Values = &[
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client\n"),
        ("AZURE_CLIENT_SECRET", "hush-hush"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
    ];

    fn client_secret() -> Identity {
        Identity::ClientSecret {
            tenant_id: "tenant".to_owned(),
            client_id: "client".to_owned(),
            client_secret: Secret::new("hush-hush"),
        }
    }

    #[test]
    fn a_secret_gives_a_client_secret_without_the_blanks_around_its_values() {
        assert_eq!(Identity::from_secret(value(SECRET)), Ok(client_secret()));
        assert_eq!(
            Identity::from_environment(value(SECRET)),
            Ok(Some(client_secret()))
        );
    }

    #[test]
    fn a_secret_cannot_name_a_token_file() {
        let without_secret = |name: &str| {
            let value = value(SECRET)(name);
            value.filter(|_| name != "AZURE_CLIENT_SECRET")
        };
        let refused = Identity::from_secret(without_secret).unwrap_err();
        assert_eq!(refused.to_string(), "AZURE_CLIENT_SECRET is not set");
        let workload_identity = Identity::WorkloadIdentity {
            tenant_id: "tenant".to_owned(),
            client_id: "client".to_owned(),
            token_file: "/var/run/token".into(),
        };
        assert_eq!(
            Identity::from_environment(without_secret),
            Ok(Some(workload_identity))
        );
    }

    #[test]
    fn an_environment_without_a_client_names_nobody_and_half_an_identity_is_refused() {
        assert_eq!(Identity::from_environment(|_| None), Ok(None));
        assert_eq!(
            Identity::from_environment(value(&[("AZURE_TENANT_ID", "tenant")])),
            Ok(None)
        );
        for (values, missing) in [
            (
                &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")][..],
                "AZURE_CLIENT_SECRET is not set",
            ),
            (
                &[("AZURE_CLIENT_SECRET", "s"), ("AZURE_CLIENT_ID", " ")],
                "AZURE_TENANT_ID is not set",
            ),
            (
                &[
                    ("AZURE_FEDERATED_TOKEN_FILE", "f"),
                    ("AZURE_TENANT_ID", "t"),
                ],
                "AZURE_CLIENT_ID is not set",
            ),
        ] {
            let refused = Identity::from_environment(value(values)).unwrap_err();
            assert_eq!(refused.to_string(), missing);
        }
    }

    #[test]
    fn the_secret_is_shown_nowhere() {
        assert!(!format!("{:?}", client_secret()).contains("hush"));
    }
}

//! Where a cluster's identity comes from: its own Secret, the namespace's, or the operator. Pure.

use crate::api::Reason;
use crate::kubernetes::NAMESPACE_CREDENTIALS;
use crate::lookup::Trouble;

/// Where a cluster's identity comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Secret of the cluster's namespace, by its name.
    Secret(String),
    /// The operator's own.
    Operator,
}

/// What decides about it besides the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// The namespace has a Secret [`NAMESPACE_CREDENTIALS`].
    pub namespace_has_one: bool,
    /// Clusters may act as the operator.
    pub operator_lends: bool,
    /// The operator has an identity.
    pub operator_has_one: bool,
}

impl Source {
    /// The Secret that the manifest names, else the namespace's, else the operator where it may be used.
    ///
    /// # Errors
    /// When none of them is there.
    pub fn of(named: Option<&str>, choices: Choices) -> Result<Self, Trouble> {
        if let Some(name) = named {
            return Ok(Self::Secret(name.to_owned()));
        }
        if choices.namespace_has_one {
            return Ok(Self::Secret(NAMESPACE_CREDENTIALS.to_owned()));
        }
        if choices.operator_lends && choices.operator_has_one {
            return Ok(Self::Operator);
        }
        let operator = if choices.operator_lends {
            "the operator has no identity of its own"
        } else {
            "the operator does not lend its own identity"
        };
        Err(Trouble::passing(
            Reason::CredentialsMissing,
            format!(
                "spec.credentialsSecretName is not set, the namespace has no Secret {NAMESPACE_CREDENTIALS}, and {operator}: create that Secret with {KEYS}, or name another one"
            ),
        ))
    }

    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Operator => None,
        }
    }
}

/// What a Secret has to hold.
pub(super) const KEYS: &str = "the keys AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or AZURE_FEDERATED_SERVICE_ACCOUNT";

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> Result<Source, String> {
        Ok(Source::Secret(name.to_owned()))
    }

    #[test]
    fn the_clusters_secret_comes_first_then_the_namespaces_then_the_operator_if_it_lends_itself() {
        let no_one = |why: &str| Err(why.to_owned());
        let (does_not_lend, has_none) = ("does not lend", "no identity of its own");
        for (named, namespace_has_one, operator_lends, operator_has_one, expected) in [
            (Some("own"), true, true, true, secret("own")),
            (Some("own"), false, false, false, secret("own")),
            (None, true, true, true, secret("dask-azureml-credentials")),
            (None, true, false, false, secret("dask-azureml-credentials")),
            (None, false, true, true, Ok(Source::Operator)),
            (None, false, true, false, no_one(has_none)),
            // A tenant must not act as the operator by leaving a field out.
            (None, false, false, true, no_one(does_not_lend)),
            (None, false, false, false, no_one(does_not_lend)),
        ] {
            let choices = Choices {
                namespace_has_one,
                operator_lends,
                operator_has_one,
            };
            match (Source::of(named, choices), expected) {
                (Ok(source), expected) => assert_eq!(Ok(source), expected, "{named:?} {choices:?}"),
                (Err(trouble), Err(why)) => {
                    assert_eq!(trouble.reason, Reason::CredentialsMissing);
                    assert!(trouble.message.contains(&why), "{}", trouble.message);
                    assert!(trouble.message.contains(NAMESPACE_CREDENTIALS));
                }
                (Err(trouble), expected) => panic!("{expected:?}: {trouble:?}"),
            }
        }
    }
}

//! Errors of Azure and Kubernetes in the words that a user reads. Pure.

use crate::api::Reason;
use crate::azure::{Class, Error, Verdict};
use crate::lookup::Trouble;

/// What a class of error is called in conditions, events and metrics: the one place where that is said.
pub fn reason_of(class: Class) -> Reason {
    match class {
        Class::GroupNotFound => Reason::ResourceGroupNotFound,
        Class::SubscriptionNotFound => Reason::SubscriptionNotFound,
        // Nobody reads the last one: who does not lead any more tells nothing, and ends.
        Class::NotFound
        | Class::Conflict
        | Class::Unavailable
        | Class::Undecodable
        | Class::NotLeading => Reason::AzureError,
        Class::Throttled => Reason::Throttled,
        Class::OutOfBudget => Reason::WaitingForBudget,
        Class::Unauthenticated | Class::CredentialsRefused => Reason::CredentialsRefused,
        Class::Denied => Reason::AuthorizationFailed,
        Class::PolicyDenied => Reason::PolicyDenied,
        Class::Locked => Reason::ScopeLocked,
        Class::QuotaExceeded => Reason::QuotaExceeded,
        Class::NoCapacity => Reason::NoCapacity,
        Class::Rejected | Class::Invalid => Reason::RejectedByAzure,
        Class::Unreachable => Reason::AzureUnreachable,
    }
}

/// A request that did not succeed.
pub fn of_azure(error: &Error) -> Trouble {
    Trouble {
        retry_after: error.retry_after(),
        ..of_verdict(error.verdict(), &error.to_string())
    }
}

/// An error that Azure tells somewhere else than in an answer: as the state of a resource.
pub fn of_verdict(verdict: Verdict, told: &str) -> Trouble {
    let Verdict { class, hint } = verdict;
    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
    Trouble {
        reason: reason_of(class),
        message: format!("{told}{hint}"),
        lasting: class.is_lasting(),
        retry_after: None,
    }
}

/// Kubernetes' own refusals.
pub fn of_kubernetes(doing: &str, error: &kube::Error) -> Trouble {
    let (reason, message) = match error {
        kube::Error::Api(status) => {
            let reason = if status.code == 403 {
                Reason::AuthorizationFailed
            } else {
                Reason::AzureError
            };
            (
                reason,
                format!(
                    "{doing}: the API server answered {} {}: {}",
                    status.code, status.reason, status.message
                ),
            )
        }
        other => (Reason::AzureError, format!("{doing}: {other}")),
    };
    Trouble::passing(reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::ErrorBody;

    fn trouble_of(code: &str) -> Trouble {
        let body = ErrorBody {
            codes: vec![code.to_owned()],
            ..ErrorBody::default()
        };
        of_verdict(body.verdict(), code)
    }

    #[test]
    fn only_what_the_user_has_to_mend_is_lasting() {
        for (code, reason, lasting) in [
            ("AnotherOperationInProgress", Reason::AzureError, false),
            ("TooManyRequests", Reason::Throttled, false),
            ("AuthorizationFailed", Reason::AuthorizationFailed, false),
            ("ScopeLocked", Reason::ScopeLocked, false),
            ("RequestDisallowedByPolicy", Reason::PolicyDenied, true),
            ("SubscriptionNotFound", Reason::SubscriptionNotFound, true),
            ("ResourceGroupNotFound", Reason::ResourceGroupNotFound, true),
            (
                "ClusterMinNodesExceedCoreQuota",
                Reason::QuotaExceeded,
                false,
            ),
            ("SkuNotAvailable", Reason::NoCapacity, false),
            ("SubnetIsFull", Reason::NoCapacity, false),
            ("JobPropertyImmutable", Reason::RejectedByAzure, true),
            ("NeverHeardOf", Reason::RejectedByAzure, false),
            ("InternalServerError", Reason::AzureError, false),
        ] {
            let trouble = trouble_of(code);
            assert_eq!(
                (trouble.reason, trouble.lasting),
                (reason, lasting),
                "{code}"
            );
        }
    }

    #[test]
    fn what_to_do_next_follows_azures_own_words() {
        assert_eq!(
            trouble_of("ScopeLocked").message,
            "ScopeLocked; a lock on the resource, its group or the subscription forbids it: remove the lock"
        );
    }
}

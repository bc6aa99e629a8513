//! Errors of Azure and Kubernetes in the words that a user reads, and how long to wait after them. Pure.

use std::time::Duration;

use crate::api::Reason;
use crate::azure::{Class, Error, Retry};
use crate::lookup::Trouble;

/// One exhaustive match from a class of error to a reason.
pub fn of_azure(error: &Error) -> Trouble {
    let code = error.code().unwrap_or_default();
    let (reason, lasting) = match error.class() {
        Class::NotFound if code == "ResourceGroupNotFound" => (Reason::ResourceGroupNotFound, true),
        Class::NotFound | Class::Conflict | Class::Unavailable | Class::Undecodable => {
            (Reason::AzureError, false)
        }
        Class::Throttled => (Reason::Throttled, false),
        Class::OutOfBudget => (Reason::WaitingForBudget, false),
        Class::Unauthenticated | Class::CredentialsRefused => (Reason::CredentialsRefused, true),
        Class::Denied => match code {
            "RequestDisallowedByPolicy" | "RequestDisallowedByAzure" => {
                (Reason::PolicyDenied, true)
            }
            "ScopeLocked" => (Reason::ScopeLocked, false),
            "SubscriptionNotFound" => (Reason::SubscriptionNotFound, true),
            // Roles take minutes to be seen everywhere.
            _ => (Reason::AuthorizationFailed, false),
        },
        Class::QuotaExceeded => (Reason::QuotaExceeded, false),
        Class::Rejected => (Reason::RejectedByAzure, false),
        Class::Invalid => (Reason::RejectedByAzure, true),
        Class::Unreachable => (Reason::AzureUnreachable, false),
    };
    let hint = error
        .hint()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    Trouble {
        reason,
        message: format!("{error}{hint}"),
        lasting,
        retry_after: error.retry_after(),
    }
}

const QUICK: Duration = Duration::from_secs(1);
const QUICK_AT_MOST: Duration = Duration::from_secs(60);
const SLOW: Duration = Duration::from_secs(30);
const SLOW_AT_MOST: Duration = Duration::from_secs(600);

/// How long to wait before the next try after so many failures in a row, the last one included.
pub fn delay(retry: Retry, failures: u32) -> Duration {
    let doubled = |first: Duration, most: Duration| {
        first
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(most)
    };
    match retry {
        Retry::Backoff => doubled(QUICK, QUICK_AT_MOST),
        Retry::After(asked) => asked.max(doubled(QUICK, QUICK_AT_MOST).min(asked)),
        Retry::Slow => doubled(SLOW, SLOW_AT_MOST),
        Retry::OnChange => SLOW_AT_MOST,
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

    #[test]
    fn delays_double_up_to_a_limit_and_never_undercut_what_azure_asks() {
        assert_eq!(delay(Retry::Backoff, 1), Duration::from_secs(1));
        assert_eq!(delay(Retry::Backoff, 4), Duration::from_secs(8));
        assert_eq!(delay(Retry::Backoff, u32::MAX), QUICK_AT_MOST);
        assert_eq!(delay(Retry::Slow, 2), Duration::from_secs(60));
        assert_eq!(
            delay(Retry::After(Duration::from_secs(17)), 1),
            Duration::from_secs(17)
        );
        assert_eq!(delay(Retry::OnChange, 1), SLOW_AT_MOST);
    }
}

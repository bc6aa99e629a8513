//! What kinds of trouble there are, and what each of them asks for: the second half of the table
//! whose first is [`error_codes`](super::error_codes).

use std::time::Duration;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Azure says that the resource, or one that it lies in, does not exist.
    NotFound,
    /// The whole resource group does not exist.
    GroupNotFound,
    /// The subscription does not exist, or the identity cannot see it.
    SubscriptionNotFound,
    /// Another write is under way, or something holds on to the resource; it passes by itself.
    Conflict,
    /// Too many requests.
    Throttled,
    /// It was not the request's turn within Azure's rate limit, so it was not sent.
    OutOfBudget,
    /// Another operator may be at work, so it was not sent.
    NotLeading,
    /// Azure did not accept the token, nor a new one.
    Unauthenticated,
    /// The identity may not do this.
    Denied,
    /// A policy forbids it.
    PolicyDenied,
    /// A lock forbids it.
    Locked,
    /// A quota does not suffice.
    QuotaExceeded,
    /// Azure, or the subnet, has no room, whatever the quota.
    NoCapacity,
    /// Azure refuses this as things stand, or for a reason unknown here.
    Rejected,
    /// The request is wrong in itself: the same one can never succeed.
    Invalid,
    /// Azure answered that it cannot serve now.
    Unavailable,
    /// There was no answer, or not in time. The request may have taken effect.
    Unreachable,
    /// There was an answer that does not read as one of Azure's. The request may have taken
    /// effect.
    Undecodable,
    /// Entra does not give a token for these credentials.
    CredentialsRefused,
}

/// When a failed request is worth another try. Pauses double with every failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon: it passes by itself.
    Backoff,
    /// When Azure asked to come back, not earlier.
    After(Duration),
    /// At a slow pace: someone has to do something first, but we are not told when it is done.
    Slow,
    /// Rarely: quota and capacity come in hours, and each try costs Azure a whole operation.
    Scarce,
    /// When what is asked for has changed.
    OnChange,
}

/// Who has to act.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mended {
    ByItself,
    ByTheUser,
}

impl Class {
    /// One row a class: its label in metrics, when to try again unless Azure says, and whether
    /// nothing but a change by the user can mend it.
    ///
    /// Roles, locks and registrations are the user's to mend as well, but take effect without a
    /// change of the manifest and after minutes: those are waited for. Users of other operators
    /// asked for each of these to be tried again (design, peers: Azure Service Operator 4626).
    #[rustfmt::skip]
    const fn row(self) -> (&'static str, Retry, Mended) {
        use Mended::{ByItself, ByTheUser};
        match self {
            Self::NotFound =>             ("not_found",              Retry::Slow,     ByItself),
            Self::GroupNotFound =>        ("group_not_found",        Retry::Slow,     ByTheUser),
            Self::SubscriptionNotFound => ("subscription_not_found", Retry::Slow,     ByTheUser),
            Self::Conflict =>             ("conflict",               Retry::Backoff,  ByItself),
            Self::Throttled =>            ("throttled",              Retry::Backoff,  ByItself),
            Self::OutOfBudget =>          ("waiting_for_budget",     Retry::Backoff,  ByItself),
            Self::NotLeading =>           ("not_leading",            Retry::Backoff,  ByItself),
            Self::Unauthenticated =>      ("unauthenticated",        Retry::Slow,     ByTheUser),
            Self::Denied =>               ("denied",                 Retry::Slow,     ByItself),
            Self::PolicyDenied =>         ("policy_denied",          Retry::Slow,     ByTheUser),
            Self::Locked =>               ("locked",                 Retry::Slow,     ByItself),
            Self::QuotaExceeded =>        ("quota_exceeded",         Retry::Scarce,   ByItself),
            Self::NoCapacity =>           ("no_capacity",            Retry::Scarce,   ByItself),
            Self::Rejected =>             ("rejected",               Retry::Slow,     ByItself),
            Self::Invalid =>              ("invalid",                Retry::OnChange, ByTheUser),
            Self::Unavailable =>          ("unavailable",            Retry::Backoff,  ByItself),
            Self::Unreachable =>          ("unreachable",            Retry::Backoff,  ByItself),
            Self::Undecodable =>          ("undecodable",            Retry::Backoff,  ByItself),
            Self::CredentialsRefused =>   ("credentials_refused",    Retry::Slow,     ByTheUser),
        }
    }

    /// The class as a label of metrics.
    #[must_use]
    pub fn category(self) -> &'static str {
        self.row().0
    }

    /// When to try again, given how long Azure `asked` to wait: that counts where waiting helps.
    #[must_use]
    pub fn retry(self, asked: Option<Duration>) -> Retry {
        match (self.row().1, asked) {
            (Retry::Backoff, Some(asked)) => Retry::After(asked),
            (retry, _) => retry,
        }
    }

    /// Nothing but a change by the user mends it.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        self.row().2 == Mended::ByTheUser
    }

    /// Azure itself said that it is not there.
    #[must_use]
    pub fn is_not_found(self) -> bool {
        matches!(self, Self::NotFound | Self::GroupNotFound)
    }
}

impl Retry {
    /// The first pause and the longest, in seconds.
    #[rustfmt::skip]
    const fn pauses(self) -> (u64, u64) {
        match self {
            Self::Backoff | Self::After(_) => (1, 60),
            Self::Slow =>                     (30, 600),
            Self::Scarce =>                   (60, 600),
            Self::OnChange =>                 (600, 600),
        }
    }

    /// How long to wait after so many failures in a row, the last one included. `jitter`, from 0
    /// up to 1, was drawn by the caller: it adds up to a quarter, so that many that failed
    /// together do not come back together.
    #[must_use]
    pub fn delay(self, failures: u32, jitter: f64) -> Duration {
        let (first, most) = self.pauses();
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let pause = Duration::from_secs(doubled.min(most));
        let pause = match self {
            Self::After(asked) => asked.max(pause),
            _ => pause,
        };
        pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_undercut_what_azure_asks() {
        let seconds = Duration::from_secs;
        for (retry, failures, expected) in [
            (Retry::Backoff, 1, 1),
            (Retry::Backoff, 4, 8),
            (Retry::Backoff, u32::MAX, 60),
            (Retry::Slow, 2, 60),
            (Retry::Slow, 9, 600),
            (Retry::Scarce, 1, 60),
            (Retry::Scarce, 3, 240),
            (Retry::After(seconds(17)), 1, 17),
            // Who is sent away again and again comes back more and more slowly.
            (Retry::After(seconds(17)), 6, 32),
            (Retry::OnChange, 1, 600),
        ] {
            assert_eq!(
                retry.delay(failures, 0.0),
                seconds(expected),
                "{retry:?} {failures}"
            );
        }
    }

    #[test]
    fn jitter_adds_up_to_a_quarter_and_takes_nothing_off() {
        let asked = Retry::After(Duration::from_secs(20));
        assert_eq!(asked.delay(1, 0.0), Duration::from_secs(20));
        assert_eq!(asked.delay(1, 1.0), Duration::from_secs(25));
        assert_eq!(asked.delay(1, 7.0), Duration::from_secs(25));
    }

    #[test]
    fn a_shortage_is_tried_at_most_a_dozen_times_in_an_hour() {
        let mut passed = Duration::ZERO;
        let mut tries = 0;
        while passed < Duration::from_secs(3600) {
            tries += 1;
            passed += Retry::Scarce.delay(tries, 0.0);
        }
        assert!(tries <= 12, "{tries}");
    }
}

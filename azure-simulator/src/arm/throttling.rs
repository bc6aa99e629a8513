//! ARM's token buckets (contract section 1): each request takes a token, of its principal's own bucket
//! and of the one that all principals of the subscription share.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;

use crate::arm::error::ArmError;
use crate::arm::headers::Counted;
use crate::lock;

/// How many times as large the bucket is that all principals share.
const ALL: f64 = 15.0;

/// What is left after a request, as the headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remaining {
    pub(crate) of_principal: u64,
    pub(crate) of_all: u64,
}

/// Buckets of one subscription. Buckets refill in simulated time.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: Mutex<HashMap<(Owner, Counted), Bucket>>,
}

/// Whose bucket: a principal's, or that of all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Principal(String),
    All,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    size: f64,
    refill_per_second: f64,
    left: f64,
    at: Duration,
    /// Requests before this moment are refused, and put it off.
    refused_until: Duration,
}

/// What a principal's bucket holds when it is full, and how much comes back in a second.
pub(crate) fn of_principal(counted: Counted) -> (f64, f64) {
    match counted {
        Counted::Read => (250.0, 25.0),
        Counted::Write | Counted::Delete => (200.0, 10.0),
    }
}

impl Bucket {
    fn full(counted: Counted, times: f64, now: Duration) -> Self {
        let (size, refill_per_second) = of_principal(counted);
        Self {
            size: size * times,
            refill_per_second: refill_per_second * times,
            left: size * times,
            at: now,
            refused_until: Duration::ZERO,
        }
    }

    fn refill(&mut self, now: Duration) {
        let waited = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + waited * self.refill_per_second).min(self.size);
    }

    /// Seconds to wait, where no token is left.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let early = now < self.refused_until;
        (early || self.left < 1.0).then(|| {
            let missing = (1.0 - self.left).max(0.0) / self.refill_per_second;
            Duration::from_secs_f64(missing.ceil().max(1.0))
        })
    }
}

impl Buckets {
    /// Takes a token. With `enforced`, a request that finds none is refused for a while: the seconds
    /// of `Retry-After`; a request that comes earlier puts that off.
    pub(crate) fn take(
        &self,
        principal: &str,
        counted: Counted,
        now: Duration,
        enforced: bool,
    ) -> (Remaining, Option<u64>) {
        let mut buckets = lock(&self.buckets);
        let mut left = [0; 2];
        let mut wait = None;
        let owners = [Owner::Principal(principal.to_owned()), Owner::All];
        for owner in &owners {
            let times = if *owner == Owner::All { ALL } else { 1.0 };
            let bucket = buckets
                .entry((owner.clone(), counted))
                .or_insert_with(|| Bucket::full(counted, times, now));
            bucket.refill(now);
            if enforced && let Some(seconds) = bucket.wait(now) {
                bucket.refused_until = now + seconds;
                wait = wait.max(Some(seconds.as_secs()));
            }
        }
        for (owner, left) in owners.into_iter().zip(&mut left) {
            if let Some(bucket) = buckets.get_mut(&(owner, counted)) {
                if wait.is_none() {
                    bucket.left = (bucket.left - 1.0).max(0.0);
                }
                *left = bucket.left as u64;
            }
        }
        let [of_principal, of_all] = left;
        let remaining = Remaining {
            of_principal,
            of_all,
        };
        (remaining, wait)
    }
}

/// The answer to a request that found its bucket empty. Its code has been reported
/// (webdevops/azure-metrics-exporter#36, MicrosoftDocs/azure-docs#105248).
pub(crate) fn refusal(
    subscription: &str,
    principal: &str,
    counted: Counted,
    seconds: u64,
) -> ArmError {
    let kind = match counted {
        Counted::Read => "reads",
        Counted::Write => "writes",
        Counted::Delete => "deletes",
    };
    ArmError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "SubscriptionRequestsThrottled",
        format!(
            "Number of '{kind}' requests for subscription '{subscription}' actor '{principal}' \
             exceeded. Please try again after '{seconds}' seconds after additional tokens are \
             available. Refer to https://aka.ms/arm-throttling for additional information."
        ),
    )
    .header("retry-after", seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Counted = Counted::Read;

    fn drained(buckets: &Buckets, principal: &str) {
        for left in (0..250).rev() {
            let (remaining, wait) = buckets.take(principal, READ, Duration::ZERO, true);
            assert_eq!((remaining.of_principal, wait), (left, None));
        }
    }

    #[test]
    fn a_principal_has_250_reads_and_25_more_a_second() {
        let buckets = Buckets::default();
        drained(&buckets, "me");
        let at = |seconds| buckets.take("me", READ, Duration::from_secs(seconds), true);
        assert_eq!(at(0).1, Some(1));
        let (remaining, wait) = at(2);
        assert_eq!((remaining.of_principal, wait), (49, None));
    }

    #[test]
    fn a_principal_has_200_writes_and_200_deletes_and_10_more_a_second() {
        for counted in [Counted::Write, Counted::Delete] {
            let buckets = Buckets::default();
            let at = |seconds| buckets.take("me", counted, Duration::from_secs(seconds), true);
            for left in (0..200).rev() {
                let (remaining, wait) = at(0);
                assert_eq!((remaining.of_principal, wait), (left, None));
            }
            assert_eq!(at(0).1, Some(1));
            let (remaining, wait) = at(2);
            assert_eq!((remaining.of_principal, wait), (19, None));
            assert_eq!(remaining.of_all, 3000 - 200 + 200 - 1);
        }
    }

    #[test]
    fn who_comes_back_too_early_waits_from_then_on() {
        let buckets = Buckets::default();
        drained(&buckets, "me");
        let at = |millis| {
            buckets
                .take("me", READ, Duration::from_millis(millis), true)
                .1
        };
        assert_eq!(at(0), Some(1));
        assert_eq!(at(900), Some(1));
        assert_eq!(at(1800), Some(1));
        assert_eq!(at(2900), None);
    }

    #[test]
    fn another_principal_has_a_bucket_of_its_own_and_shares_that_of_all() {
        let buckets = Buckets::default();
        drained(&buckets, "me");
        let (remaining, wait) = buckets.take("you", READ, Duration::ZERO, true);
        assert_eq!(wait, None);
        assert_eq!(
            (remaining.of_principal, remaining.of_all),
            (249, 3750 - 251)
        );
    }

    #[test]
    fn without_the_switch_the_headers_count_and_nothing_is_refused() {
        let buckets = Buckets::default();
        drained(&buckets, "me");
        let (remaining, wait) = buckets.take("me", READ, Duration::ZERO, false);
        assert_eq!((remaining.of_principal, wait), (0, None));
    }
}

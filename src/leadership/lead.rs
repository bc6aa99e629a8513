//! Whether this operator is the one that works: asked at each write, by whoever writes.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

/// What this operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Another one works, or none.
    None,
    /// This one works, until then by the monotonic clock, unless the claim is renewed before.
    Until(Duration),
    /// Nobody else is there to ask.
    Always,
}

/// What the task that holds the lease tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub claim: Claim,
    /// When the task moved last; `None` before it has begun.
    pub moved: Option<Duration>,
}

/// Tells whether this operator leads. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Lead {
    clock: Clock,
    told: watch::Receiver<Told>,
    /// How long a lease lasts.
    duration: Duration,
}

/// A write that was not sent, as another operator may be at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this operator does not lead any more, so it was not sent")]
pub struct NotLeading;

impl Lead {
    pub(super) fn new(clock: Clock, duration: Duration) -> (watch::Sender<Told>, Self) {
        let (teller, told) = watch::channel(Told {
            claim: Claim::None,
            moved: None,
        });
        let lead = Self {
            clock,
            told,
            duration,
        };
        (teller, lead)
    }

    /// The lead of one that is alone.
    #[must_use]
    pub fn always(clock: Clock) -> Self {
        let (_, told) = watch::channel(Told {
            claim: Claim::Always,
            moved: None,
        });
        Self {
            clock,
            told,
            duration: Duration::MAX,
        }
    }

    /// A lead that ends then, by this clock.
    #[cfg(test)]
    pub(crate) fn until(clock: Clock, end: Duration) -> Self {
        let (teller, lead) = Self::new(clock, Duration::from_secs(15));
        teller.send_modify(|told| told.claim = Claim::Until(end));
        lead
    }

    /// Whether this operator may write now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match self.told.borrow().claim {
            Claim::None => false,
            Claim::Until(end) => self.clock.elapsed() < end,
            Claim::Always => true,
        }
    }

    /// # Errors
    /// When this operator may not write now.
    pub fn check(&self) -> Result<(), NotLeading> {
        if self.is_current() {
            Ok(())
        } else {
            Err(NotLeading)
        }
    }

    /// Waits until this operator leads; for ever, if it never will.
    pub async fn taken(&self) {
        let mut told = self.told.clone();
        let leads = |told: &Told| told.claim != Claim::None;
        let is_gone = told.wait_for(leads).await.is_err();
        if is_gone {
            std::future::pending().await
        }
    }

    /// What is wrong with the task that holds the lease, where nothing but the end of the process mends it.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let told = *self.told.borrow();
        trouble(told, self.duration, self.clock.elapsed())
    }
}

fn trouble(told: Told, duration: Duration, now: Duration) -> Option<String> {
    let late = |since: Duration| {
        let late = now.saturating_sub(since);
        (late > duration.saturating_mul(2)).then_some(late.as_secs())
    };
    if let Some(late) = told.moved.and_then(late) {
        return Some(format!(
            "the task that holds the lease has not moved for {late} s"
        ));
    }
    let Claim::Until(end) = told.claim else {
        return None;
    };
    late(end).map(|late| format!("the lease was lost {late} s ago, and the process has not ended"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_claim_ends_by_itself_and_starts_again_with_a_renewal() {
        let hand = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap());
        let (teller, lead) = Lead::new(hand.clock(), seconds(15));
        assert_eq!(lead.check(), Err(NotLeading));
        teller.send_modify(|told| told.claim = Claim::Until(seconds(12)));
        assert_eq!(lead.check(), Ok(()));
        hand.advance(Duration::from_millis(11_999));
        assert!(lead.is_current());
        hand.advance(Duration::from_millis(1));
        assert!(!lead.is_current());
        teller.send_modify(|told| told.claim = Claim::Until(seconds(24)));
        assert!(lead.is_current());
        teller.send_modify(|told| told.claim = Claim::None);
        assert!(!lead.is_current());
    }

    #[test]
    fn one_that_is_alone_always_leads() {
        let lead = Lead::always(Clock::system());
        assert!(lead.is_current());
        assert_eq!(lead.trouble(), None);
    }

    #[test]
    fn a_task_that_hangs_and_a_lost_lease_that_does_not_end_the_process_are_trouble() {
        let told = |claim, moved: Option<u64>| Told {
            claim,
            moved: moved.map(seconds),
        };
        let until = |end| Claim::Until(seconds(end));
        for (told, now, expected) in [
            (told(Claim::None, None), 9_999, None),
            (told(Claim::Always, None), 9_999, None),
            (told(Claim::None, Some(100)), 130, None),
            (
                told(Claim::None, Some(100)),
                131,
                Some("not moved for 31 s"),
            ),
            (told(until(112), Some(100)), 112, None),
            (told(until(112), Some(130)), 142, None),
            (told(until(112), Some(140)), 143, Some("lost 31 s ago")),
        ] {
            let found = trouble(told, seconds(15), seconds(now));
            match expected {
                None => assert_eq!(found, None, "{told:?} {now}"),
                Some(words) => assert!(
                    found.as_ref().is_some_and(|found| found.contains(words)),
                    "{told:?} {now} {found:?}"
                ),
            }
        }
    }
}

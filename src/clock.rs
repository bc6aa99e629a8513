//! The one source of time. Deadlines, back-off, caches and requeues ask this clock and no other,
//! so that a test can live through hours in milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// Tells the time and waits. Clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Manual(Arc<ManualTime>),
}

#[derive(Debug)]
struct ManualTime {
    start: Timestamp,
    elapsed: watch::Sender<Duration>,
}

impl Clock {
    /// The machine's own time.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everyone else has to ask"
    )]
    pub fn system() -> Self {
        Self(Source::System {
            started: Instant::now(),
        })
    }

    /// The wall-clock time. May jump when the machine's time is set.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everyone else has to ask"
    )]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp::now(),
            Source::Manual(time) => time
                .start
                .saturating_add(*time.elapsed.borrow())
                .expect("a duration in hours and seconds is added, which never needs a calendar"),
        }
    }

    /// The monotonic reading: time passed since the clock was made. It never goes back, so the
    /// difference of two readings is how long something took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Manual(time) => *time.elapsed.borrow(),
        }
    }

    /// Waits until `duration` has passed on this clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everyone else has to ask"
    )]
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System { .. } => tokio::time::sleep(duration).await,
            Source::Manual(time) => {
                let mut elapsed = time.elapsed.subscribe();
                let due = elapsed.borrow().saturating_add(duration);
                elapsed
                    .wait_for(|elapsed| *elapsed >= due)
                    .await
                    .expect("the sender lives in the clock that this future borrows");
            }
        }
    }
}

/// The hand on a clock that stands still until it is advanced.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

impl ManualClock {
    /// A clock that shows `start` until [`advance`](Self::advance) is called.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Arc::new(ManualTime {
            start,
            elapsed: watch::Sender::new(Duration::ZERO),
        }))
    }

    /// The clock that this hand moves.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Moves the time forward and wakes every sleeper that has become due.
    pub fn advance(&self, by: Duration) {
        self.0
            .elapsed
            .send_modify(|elapsed| *elapsed = elapsed.saturating_add(by));
    }

    /// How many sleepers wait for the time to move. A test that advances the clock waits for its
    /// sleeper to appear here first.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.0.elapsed.receiver_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn manual_time_stands_still_until_it_is_advanced() {
        let hand = ManualClock::starting_at(noon());
        let clock = hand.clock();
        assert_eq!(clock.now(), noon());
        hand.advance(Duration::from_secs(90));
        assert_eq!(clock.now(), "2026-01-01T12:01:30Z".parse().unwrap());
        assert_eq!(clock.elapsed(), Duration::from_secs(90));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let hand = ManualClock::starting_at(noon());
        let clock = hand.clock();
        let mut sleeper = Box::pin(clock.sleep(Duration::from_secs(60)));
        assert!(futures::poll!(sleeper.as_mut()).is_pending());
        assert_eq!(hand.sleepers(), 1);
        hand.advance(Duration::from_secs(59));
        assert!(futures::poll!(sleeper.as_mut()).is_pending());
        hand.advance(Duration::from_secs(1));
        sleeper.await;
    }

    #[test]
    fn system_time_never_goes_back() {
        let clock = Clock::system();
        let first = clock.elapsed();
        assert!(clock.elapsed() >= first);
    }
}

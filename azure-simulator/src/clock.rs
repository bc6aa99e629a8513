//! The one clock: what time it is, and how fast simulated time runs against it.
//!
//! Timestamps in documents and tokens are real time, because clients compare them with their own.
//! Durations of Azure are simulated time, which the pace stretches or shrinks.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::lock;

/// How fast simulated time runs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "PaceText", into = "PaceText")]
pub enum Pace {
    /// So many simulated seconds in a second.
    Scaled(f64),
    /// What takes time in Azure takes none here.
    Instant,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum PaceText {
    Scale(f64),
    Word(String),
}

impl Default for Pace {
    fn default() -> Self {
        Self::Scaled(1.0)
    }
}

/// A pace is a positive number or the word `instant`.
#[derive(Debug, thiserror::Error)]
#[error("a time scale is a number above 0 or the word `instant`, not `{0}`")]
pub struct NotAPace(String);

impl TryFrom<PaceText> for Pace {
    type Error = NotAPace;

    fn try_from(text: PaceText) -> Result<Self, NotAPace> {
        match text {
            PaceText::Scale(scale) if scale > 0.0 && scale.is_finite() => Ok(Self::Scaled(scale)),
            PaceText::Scale(scale) => Err(NotAPace(scale.to_string())),
            PaceText::Word(word) if word == "instant" => Ok(Self::Instant),
            PaceText::Word(word) => Err(NotAPace(word)),
        }
    }
}

impl From<Pace> for PaceText {
    fn from(pace: Pace) -> Self {
        match pace {
            Pace::Scaled(scale) => Self::Scale(scale),
            Pace::Instant => Self::Word("instant".to_owned()),
        }
    }
}

impl std::str::FromStr for Pace {
    type Err = NotAPace;

    fn from_str(text: &str) -> Result<Self, NotAPace> {
        let text = match text.parse() {
            Ok(scale) => PaceText::Scale(scale),
            Err(_) => PaceText::Word(text.to_owned()),
        };
        Self::try_from(text)
    }
}

/// A point in time, on both scales.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Real time.
    pub(crate) timestamp: Timestamp,
    /// Simulated time since the start.
    pub(crate) elapsed: Duration,
    /// Whether delays count at all.
    pub(crate) instant: bool,
}

impl Moment {
    /// When something is due that takes `seconds` in Azure.
    pub(crate) fn after(&self, seconds: f64) -> Duration {
        if self.instant {
            self.elapsed
        } else {
            self.elapsed + Duration::from_secs_f64(seconds.max(0.0))
        }
    }
}

pub(crate) struct Clock {
    beat: Mutex<Beat>,
    pace_changed: Notify,
}

struct Beat {
    pace: Pace,
    since: Instant,
    elapsed_then: Duration,
}

impl Beat {
    fn elapsed(&self, now: Instant) -> Duration {
        let real = now.duration_since(self.since);
        match self.pace {
            Pace::Scaled(scale) => self.elapsed_then + real.mul_f64(scale),
            Pace::Instant => self.elapsed_then + real,
        }
    }
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            beat: Mutex::new(Beat {
                pace,
                since: Instant::now(),
                elapsed_then: Duration::ZERO,
            }),
            pace_changed: Notify::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Moment {
        let beat = lock(&self.beat);
        Moment {
            timestamp: Timestamp::now(),
            elapsed: beat.elapsed(Instant::now()),
            instant: beat.pace == Pace::Instant,
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        lock(&self.beat).pace
    }

    /// Runs on at another pace; what is pending keeps its simulated due time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn set_pace(&self, pace: Pace) {
        {
            let mut beat = lock(&self.beat);
            let now = Instant::now();
            beat.elapsed_then = beat.elapsed(now);
            beat.since = now;
            beat.pace = pace;
        }
        self.pace_changed.notify_waiters();
    }

    /// Waits until the simulated time `due`, however the pace changes meanwhile.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) async fn reached(&self, due: Duration) {
        loop {
            let changed = self.pace_changed.notified();
            let left = {
                let beat = lock(&self.beat);
                let left = due.saturating_sub(beat.elapsed(Instant::now()));
                match beat.pace {
                    Pace::Scaled(scale) => left.div_f64(scale),
                    Pace::Instant => Duration::ZERO,
                }
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = changed => {}
            }
        }
    }

    /// Waits as long as `seconds` of Azure take.
    pub(crate) async fn pass(&self, seconds: f64) {
        let now = self.now();
        if !now.instant && seconds > 0.0 {
            self.reached(now.after(seconds)).await;
        }
    }

    /// Waits `seconds` of real time: for faults, whose delays no pace shrinks.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) async fn pass_real(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds.max(0.0))).await;
    }
}

/// `2025-11-04T09:40:51.9013157+00:00`, as Azure ML writes timestamps (contract section 6).
pub(crate) fn timestamp_text(at: Timestamp) -> String {
    format!(
        "{}.{:07}+00:00",
        at.strftime("%Y-%m-%dT%H:%M:%S"),
        at.subsec_nanosecond().max(0) / 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_seven_decimals() {
        let at: Timestamp = "2025-11-04T09:40:51.901315712Z".parse().unwrap();
        assert_eq!(timestamp_text(at), "2025-11-04T09:40:51.9013157+00:00");
    }

    #[test]
    fn a_time_scale_is_a_positive_number_or_the_word_instant() {
        assert_eq!("60".parse::<Pace>().unwrap(), Pace::Scaled(60.0));
        assert_eq!("instant".parse::<Pace>().unwrap(), Pace::Instant);
        assert!("0".parse::<Pace>().is_err());
        assert!("soon".parse::<Pace>().is_err());
    }

    #[tokio::test]
    async fn pending_time_runs_out_when_the_pace_becomes_instant() {
        let clock = Clock::new(Pace::Scaled(1.0));
        let due = clock.now().after(3600.0);
        let waiting = clock.reached(due);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        clock.set_pace(Pace::Instant);
        waiting.await;
    }
}

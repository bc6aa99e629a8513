//! The one clock: what time it is, and how fast simulated time runs against it.
//!
//! Timestamps in documents and tokens are real time, because clients compare them with their own;
//! they run ahead of it only by what time was advanced. Durations of Azure are simulated time, which
//! the pace stretches or shrinks.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
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
    /// Time stands still, timestamps too, until it is advanced.
    Manual,
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

/// The longest that anything takes here, in seconds: more than thirty years.
const LONGEST_SECONDS: f64 = 1e9;
/// Times can be counted at any pace between these two.
const SCALES: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// So many seconds, as far as they can be counted with.
pub(crate) fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_SECONDS)).unwrap_or_default()
}

/// Seconds that a request names.
pub(crate) fn seconds_given<'de, D>(deserializer: D) -> Result<f64, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let seconds = f64::deserialize(deserializer)?;
    if (0.0..=LONGEST_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    Err(serde::de::Error::custom(format!(
        "seconds are a number from 0 to {LONGEST_SECONDS}, not {seconds}"
    )))
}

/// Seconds that a request may name.
pub(crate) fn seconds_if_given<'de, D>(deserializer: D) -> Result<Option<f64>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "seconds_given")] f64);
    let given = Option::<Given>::deserialize(deserializer)?;
    Ok(given.map(|Given(seconds)| seconds))
}

/// A pace is a number in a range or one of the words `instant` and `manual`.
#[derive(Debug, thiserror::Error)]
#[error(
    "a time scale is a number from 0.000001 to 1000000000 or one of the words `instant` and `manual`, \
     not `{0}`"
)]
pub struct NotAPace(String);

impl TryFrom<PaceText> for Pace {
    type Error = NotAPace;

    fn try_from(text: PaceText) -> Result<Self, NotAPace> {
        match text {
            PaceText::Scale(scale) if SCALES.contains(&scale) => Ok(Self::Scaled(scale)),
            PaceText::Scale(scale) => Err(NotAPace(scale.to_string())),
            PaceText::Word(word) if word == "instant" => Ok(Self::Instant),
            PaceText::Word(word) if word == "manual" => Ok(Self::Manual),
            PaceText::Word(word) => Err(NotAPace(word)),
        }
    }
}

impl From<Pace> for PaceText {
    fn from(pace: Pace) -> Self {
        match pace {
            Pace::Scaled(scale) => Self::Scale(scale),
            Pace::Instant => Self::Word("instant".to_owned()),
            Pace::Manual => Self::Word("manual".to_owned()),
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
    /// Real time, and what time was advanced.
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
            self.elapsed.saturating_add(bounded(seconds))
        }
    }
}

pub(crate) struct Clock {
    beat: Mutex<Beat>,
    changed: Notify,
}

struct Beat {
    pace: Pace,
    since: Instant,
    elapsed_then: Duration,
    calendar: Calendar,
}

/// What timestamps are counted from.
#[derive(Clone, Copy)]
enum Calendar {
    /// Real time, and so much more.
    Ahead(SignedDuration),
    StandsAt(Timestamp),
}

impl Calendar {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(self) -> Timestamp {
        match self {
            Self::Ahead(ahead) => later(Timestamp::now(), ahead),
            Self::StandsAt(at) => at,
        }
    }

    /// No pace lets timestamps jump: time that stood still stays lost.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn at_pace(self, pace: Pace) -> Self {
        match (self, pace) {
            (Self::Ahead(_), Pace::Manual) => Self::StandsAt(self.now()),
            (Self::StandsAt(at), Pace::Scaled(_) | Pace::Instant) => {
                Self::Ahead(at.duration_since(Timestamp::now()))
            }
            _ => self,
        }
    }

    fn advanced(self, by: Duration) -> Self {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        match self {
            Self::Ahead(ahead) => Self::Ahead(ahead.saturating_add(by)),
            Self::StandsAt(at) => Self::StandsAt(later(at, by)),
        }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

impl Beat {
    fn elapsed(&self, now: Instant) -> Duration {
        let real = now.duration_since(self.since);
        match self.pace {
            Pace::Scaled(scale) => self.elapsed_then.saturating_add(real.mul_f64(scale)),
            Pace::Instant => self.elapsed_then.saturating_add(real),
            Pace::Manual => self.elapsed_then,
        }
    }

    fn count_from(&mut self, now: Instant) {
        self.elapsed_then = self.elapsed(now);
        self.since = now;
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
                calendar: Calendar::Ahead(SignedDuration::ZERO).at_pace(pace),
            }),
            changed: Notify::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn now(&self) -> Moment {
        let beat = lock(&self.beat);
        Moment {
            timestamp: beat.calendar.now(),
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
            beat.count_from(Instant::now());
            beat.pace = pace;
            beat.calendar = beat.calendar.at_pace(pace);
        }
        self.changed.notify_waiters();
    }

    /// Lets simulated time, and the timestamps, go on by so much at once.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn advance(&self, by: Duration) {
        {
            let mut beat = lock(&self.beat);
            beat.count_from(Instant::now());
            beat.elapsed_then = beat.elapsed_then.saturating_add(by);
            beat.calendar = beat.calendar.advanced(by);
        }
        self.changed.notify_waiters();
    }

    /// Waits until the simulated time `due`, however the pace changes meanwhile.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) async fn reached(&self, due: Duration) {
        loop {
            let changed = self.changed.notified();
            let left = {
                let beat = lock(&self.beat);
                let left = due.saturating_sub(beat.elapsed(Instant::now()));
                match beat.pace {
                    Pace::Instant => return,
                    _ if left.is_zero() => return,
                    Pace::Scaled(scale) => Some(left.div_f64(scale)),
                    Pace::Manual => None,
                }
            };
            match left {
                Some(left) => tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Waits as long as `seconds` of Azure take: the latency of an answer, which takes none where
    /// time is advanced by hand, because whoever advances it waits for answers too.
    pub(crate) async fn pass(&self, seconds: f64) {
        let now = self.now();
        if matches!(self.pace(), Pace::Scaled(_)) && seconds > 0.0 {
            self.reached(now.after(seconds)).await;
        }
    }

    /// Waits `seconds` of real time: for faults, whose delays no pace shrinks.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) async fn pass_real(&self, seconds: f64) {
        tokio::time::sleep(bounded(seconds)).await;
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
    fn a_time_scale_is_a_positive_number_or_the_word_instant_or_manual() {
        assert_eq!("60".parse::<Pace>().unwrap(), Pace::Scaled(60.0));
        assert_eq!("instant".parse::<Pace>().unwrap(), Pace::Instant);
        assert_eq!("manual".parse::<Pace>().unwrap(), Pace::Manual);
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

    #[test]
    fn by_hand_time_and_timestamps_go_on_by_what_they_are_advanced_and_no_more() {
        let clock = Clock::new(Pace::Manual);
        let (before, again) = (clock.now(), clock.now());
        assert_eq!(again.timestamp, before.timestamp);
        clock.advance(Duration::from_secs(3600));
        let after = clock.now();
        assert_eq!(after.elapsed, Duration::from_secs(3600));
        assert_eq!(
            after.timestamp.duration_since(before.timestamp),
            SignedDuration::from_hours(1)
        );
        clock.set_pace(Pace::Instant);
        assert!(clock.now().timestamp >= after.timestamp, "no jump back");
    }

    #[tokio::test]
    async fn what_is_due_at_the_end_of_an_advance_is_reached_and_nothing_sooner() {
        let clock = Clock::new(Pace::Manual);
        let waiting = clock.reached(Duration::from_secs(10));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        clock.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut waiting).is_pending());
        clock.advance(Duration::from_secs(1));
        waiting.await;
    }
}

//! What a candidate does next, given what it has seen of the Lease. All times are readings of our own monotonic clock:
//! the times that the Lease holds are those of other machines, and are for people to read.

use std::fmt;
use std::time::Duration;

/// How the lease goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after the last renewal that they saw, before one of them takes the lease.
    pub duration: Duration,
    /// How long after one renewal the next is due.
    pub renew: Duration,
    /// How long a candidate waits between two looks, and a holder after a renewal that failed.
    pub retry: Duration,
}

impl Timing {
    /// How long a claim is good after the request that made it was sent. What is missing to the whole duration is for
    /// requests that have passed their check and are on their way, and for clocks that run at different speeds.
    pub fn good_for(self) -> Duration {
        self.duration - self.duration / 5
    }

    /// A request to the API server that takes longer is given up, so that there is time for another.
    pub(super) fn answer_within(self) -> Duration {
        (self.duration / 5).min(Duration::from_secs(10))
    }

    /// Up to a fifth sooner or later than `retry`, by `jitter` from 0 to 1: candidates that began together do not ask
    /// together for ever.
    fn retry(self, jitter: f64) -> Duration {
        self.retry.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

/// The Lease, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Changes with every write.
    pub version: String,
    /// Nobody, or one that has let it go.
    pub holder: Option<String>,
    /// As its holder has it.
    pub duration: Option<Duration>,
}

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// `None` while there is no Lease.
    record: Option<Record>,
    /// Until when another one has to be taken for its holder.
    others_until: Duration,
}

impl Seen {
    /// Takes note of what was read, or written by us, at `now`. `duration` is for a Lease that has none.
    pub(super) fn note(
        &mut self,
        record: Option<Record>,
        me: &str,
        now: Duration,
        duration: Duration,
    ) {
        let is_news = record.is_some() && record != self.record;
        if let Some(read) = record.as_ref().filter(|_| is_news) {
            self.others_until = match &read.holder {
                Some(holder) if holder != me => now + read.duration.unwrap_or(duration),
                Some(_) | None => Duration::ZERO,
            };
        }
        // Where somebody deleted it, its holder does not know that yet.
        self.record = record;
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.record.as_ref()?.holder.as_deref()
    }
}

/// Whether we lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Office {
    Standby,
    /// `sent` is when the last renewal that was taken was sent.
    Leads {
        sent: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is no Lease: make it, as its holder.
    Create,
    /// Nobody holds it any more.
    TakeOver,
    /// It is ours, and is to stay so.
    Renew,
    /// Nothing is to be done for so long.
    Wait(Duration),
    /// We led, and do no longer.
    Lost(Why),
}

/// Why the lead was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No renewal was answered in time.
    NotRenewed,
    /// Somebody else is its holder, or somebody has taken us out of it.
    Taken,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotRenewed => "it could not be renewed in time",
            Self::Taken => "somebody else has taken it",
        })
    }
}

/// What `me` does next.
pub(super) fn decide(
    seen: &Seen,
    office: Office,
    me: &str,
    timing: Timing,
    now: Duration,
    jitter: f64,
) -> Decision {
    let is_ours = seen.holder() == Some(me);
    match office {
        Office::Leads { sent } if now >= sent + timing.good_for() => {
            Decision::Lost(Why::NotRenewed)
        }
        Office::Leads { .. } if seen.record.is_none() => Decision::Create,
        Office::Leads { .. } if !is_ours => Decision::Lost(Why::Taken),
        Office::Leads { sent } => match (sent + timing.renew).checked_sub(now) {
            Some(left) if !left.is_zero() => Decision::Wait(left),
            _ => Decision::Renew,
        },
        // The answer to our claim was lost.
        Office::Standby if is_ours => Decision::Renew,
        Office::Standby if now < seen.others_until => {
            Decision::Wait(timing.retry(jitter).min(seen.others_until - now))
        }
        Office::Standby if seen.record.is_none() => Decision::Create,
        Office::Standby => Decision::TakeOver,
    }
}

/// Before another try at what has failed.
pub(super) fn after_failure(
    office: Office,
    timing: Timing,
    now: Duration,
    jitter: f64,
) -> Decision {
    match office {
        Office::Standby => Decision::Wait(timing.retry(jitter)),
        Office::Leads { sent } => match (sent + timing.good_for()).checked_sub(now) {
            Some(left) if !left.is_zero() => Decision::Wait(timing.retry(jitter).min(left)),
            _ => Decision::Lost(Why::NotRenewed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        duration: Duration::from_secs(15),
        renew: Duration::from_secs(5),
        retry: Duration::from_secs(1),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn record(version: &str, holder: &str) -> Option<Record> {
        Some(Record {
            version: version.into(),
            holder: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
            duration: Some(seconds(15)),
        })
    }

    fn seen(reads: &[(u64, Option<Record>)]) -> Seen {
        let mut seen = Seen::default();
        for (at, record) in reads {
            seen.note(record.clone(), "me", seconds(*at), TIMING.duration);
        }
        seen
    }

    fn of(seen: &Seen, office: Office, now: u64) -> Decision {
        decide(seen, office, "me", TIMING, seconds(now), 0.5)
    }

    #[test]
    fn a_standby_takes_what_nobody_has_renewed_for_its_whole_duration_since_it_looked() {
        use Decision::{Create, Renew, TakeOver, Wait};
        for (what, reads, now, expected) in [
            ("no lease", vec![(0, None)], 0, Create),
            ("let go", vec![(0, record("1", ""))], 0, TakeOver),
            (
                "held",
                vec![(100, record("1", "she"))],
                100,
                Wait(seconds(1)),
            ),
            // However old it says that it is: its clock is not ours.
            (
                "held",
                vec![(100, record("1", "she"))],
                114,
                Wait(seconds(1)),
            ),
            ("held", vec![(100, record("1", "she"))], 115, TakeOver),
            (
                "seen again without a renewal",
                vec![(100, record("1", "she")), (110, record("1", "she"))],
                115,
                TakeOver,
            ),
            (
                "renewed",
                vec![(100, record("1", "she")), (110, record("2", "she"))],
                124,
                Wait(seconds(1)),
            ),
            (
                "let go after it was held",
                vec![(100, record("1", "she")), (101, record("2", ""))],
                101,
                TakeOver,
            ),
            (
                "deleted, and its holder does not know it",
                vec![(100, record("1", "she")), (101, None)],
                114,
                Wait(seconds(1)),
            ),
            (
                "deleted long ago",
                vec![(100, record("1", "she")), (101, None)],
                115,
                Create,
            ),
            (
                "ours, though no answer said so",
                vec![(100, record("1", "she")), (101, record("2", "me"))],
                101,
                Renew,
            ),
        ] {
            assert_eq!(
                of(&seen(&reads), Office::Standby, now),
                expected,
                "{what}, {now}"
            );
        }
    }

    #[test]
    fn the_last_wait_ends_when_the_lease_does() {
        let held = seen(&[(100, record("1", "she"))]);
        let now = Duration::from_millis(114_700);
        assert_eq!(
            decide(&held, Office::Standby, "me", TIMING, now, 0.5),
            Decision::Wait(Duration::from_millis(300))
        );
    }

    #[test]
    fn a_duration_that_its_holder_has_longer_than_we_is_waited_for() {
        let mut seen = Seen::default();
        for (duration, last) in [(Some(seconds(60)), 60), (None, 15)] {
            let record = Record {
                version: last.to_string(),
                holder: Some("she".into()),
                duration,
            };
            seen.note(Some(record), "me", seconds(0), TIMING.duration);
            let now = seconds(last) - Duration::from_millis(1);
            assert!(matches!(
                decide(&seen, Office::Standby, "me", TIMING, now, 0.5),
                Decision::Wait(_)
            ));
            assert_eq!(of(&seen, Office::Standby, last), Decision::TakeOver);
        }
    }

    #[test]
    fn a_leader_renews_in_time_and_is_none_once_its_last_renewal_is_too_long_ago_or_another_is() {
        use Decision::{Create, Lost, Renew, Wait};
        let leads = Office::Leads { sent: seconds(100) };
        let ours = vec![(100, record("1", "me"))];
        for (reads, now, expected) in [
            (ours.clone(), 101, Wait(seconds(4))),
            (ours.clone(), 105, Renew),
            (ours.clone(), 111, Renew),
            (ours.clone(), 112, Lost(Why::NotRenewed)),
            // Time that passed while the process was stopped counts.
            (ours, 100_000, Lost(Why::NotRenewed)),
            (vec![(101, record("2", "she"))], 101, Lost(Why::Taken)),
            (vec![(101, record("2", ""))], 101, Lost(Why::Taken)),
            (vec![(101, None)], 101, Create),
        ] {
            assert_eq!(of(&seen(&reads), leads, now), expected, "{now}");
        }
    }

    #[test]
    fn what_failed_is_tried_again_soon_and_by_a_leader_no_longer_than_its_claim_is_good() {
        let leads = Office::Leads { sent: seconds(100) };
        let after = |office, now| after_failure(office, TIMING, now, 0.5);
        let wait = Decision::Wait(seconds(1));
        assert_eq!(after(Office::Standby, seconds(9_999)), wait);
        assert_eq!(after(leads, seconds(106)), wait);
        assert_eq!(
            after(leads, Duration::from_millis(111_900)),
            Decision::Wait(Duration::from_millis(100))
        );
        assert_eq!(after(leads, seconds(112)), Decision::Lost(Why::NotRenewed));
    }

    #[test]
    fn a_claim_ends_before_anybody_else_may_take_the_lease() {
        for duration in 5..=300 {
            let timing = Timing {
                duration: seconds(duration),
                ..TIMING
            };
            assert!(timing.good_for() + seconds(1) <= timing.duration);
        }
    }

    #[test]
    fn looks_are_up_to_a_fifth_sooner_or_later() {
        assert_eq!(TIMING.retry(0.0), Duration::from_millis(800));
        assert_eq!(TIMING.retry(1.0), Duration::from_millis(1200));
    }
}

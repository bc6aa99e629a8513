//! What was of use lately, in bounded memory.

use jiff::{SignedDuration, Timestamp};

use super::Decision;

/// Looks that are further apart say nothing of the time between them. While a decision is pending there is one at
/// least every [`super::LONGEST_WAIT`].
const LONGEST_GAP: SignedDuration = SignedDuration::from_secs(120);
/// The longest window that a manifest may ask for.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// How many stretches are told apart: 128 x 24 bytes, 3 KiB a cluster, whatever the window and the noise. Of a full
/// day of noise each stretch then holds about a twelfth of its age, and as much later a number is reached.
const CAPACITY: usize = 128;

/// How many workers were of use at a look, before anything is smoothed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Useful {
    /// So many would be asked for.
    pub grow: u32,
    /// So many would be kept of those that are there; never less than `grow`.
    pub keep: u32,
}

impl Useful {
    fn with(self, other: Self) -> Self {
        Self {
            grow: self.grow.min(other.grow),
            keep: self.keep.max(other.keep),
        }
    }
}

/// A stretch of time in which at least `grow` and at most `keep` were of use. It lasts until the next one begins.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    since: Timestamp,
    useful: Useful,
}

/// What was of use lately, without a gap: stretches of the same numbers, oldest first. When there are too many, those
/// become one that are shortest for their age, which only makes the decision more hesitant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recommendations {
    stretches: Vec<Stretch>,
    seen_at: Option<Timestamp>,
}

impl Recommendations {
    /// Takes note of what was of use at `now`. A clock that jumps loses what was seen before, and nothing else.
    pub fn see(&mut self, decision: &Decision, now: Timestamp) {
        let Some(useful) = decision.useful else {
            return;
        };
        if !self.reaches(now) {
            self.stretches.clear();
        }
        self.seen_at = Some(now);
        if self.stretches.last().map(|last| last.useful) != Some(useful) {
            self.stretches.push(Stretch { since: now, useful });
        }
        let forgotten = self
            .stretches
            .windows(2)
            .take_while(|pair| now.duration_since(pair[1].since) >= LONGEST_WINDOW)
            .count();
        self.stretches.drain(..forgotten);
        if self.stretches.len() > CAPACITY {
            self.merge(now);
        }
    }

    /// Nothing that could have been seen since the last look was missed.
    fn reaches(&self, now: Timestamp) -> bool {
        self.seen_at.is_some_and(|seen_at| {
            let since = now.duration_since(seen_at);
            !since.is_negative() && since <= LONGEST_GAP
        })
    }

    fn merge(&mut self, now: Timestamp) {
        let for_its_age = |at: usize| {
            let until = self
                .stretches
                .get(at + 2)
                .map_or(now, |following| following.since);
            let age = now.duration_since(self.stretches[at].since).as_secs_f64();
            let length = until.duration_since(self.stretches[at].since).as_secs_f64();
            length / age.max(1.0)
        };
        // The newest stays by itself, as the next look is compared with it.
        let pairs = 0..self.stretches.len().saturating_sub(2);
        let shortest = pairs.min_by(|one, other| for_its_age(*one).total_cmp(&for_its_age(*other)));
        if let Some(at) = shortest {
            let later = self.stretches.remove(at + 1);
            self.stretches[at].useful = self.stretches[at].useful.with(later.useful);
        }
    }

    /// The least that would have been asked for and the most that would have been kept within the window that ends now;
    /// `None` while that was not all seen.
    pub(super) fn over(
        &self,
        window: SignedDuration,
        now: Timestamp,
        useful: Useful,
    ) -> Option<Useful> {
        if window.is_zero() {
            return Some(useful);
        }
        let oldest = self.stretches.first()?;
        if !self.reaches(now) || now.duration_since(oldest.since) < window {
            return None;
        }
        let begins = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let within = self.stretches.iter().enumerate().filter(|(at, _)| {
            let next = self.stretches.get(at + 1);
            next.is_none_or(|next| next.since > begins)
        });
        Some(within.fold(useful, |sum, (_, stretch)| sum.with(stretch.useful)))
    }

    /// When the window will hold nothing any more that speaks against a change, should nothing change until then.
    pub(super) fn free_at(
        &self,
        window: SignedDuration,
        now: Timestamp,
        speaks_against: impl Fn(Useful) -> bool,
    ) -> Timestamp {
        let since = if self.reaches(now) {
            let last = self
                .stretches
                .iter()
                .rposition(|stretch| speaks_against(stretch.useful));
            let first_after = last.map_or(0, |last| last + 1);
            self.stretches
                .get(first_after)
                .map_or(now, |stretch| stretch.since)
        } else {
            now
        };
        since.saturating_add(window).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixtures::{noon, seconds_after_noon as at};

    fn look(seen: &mut Recommendations, seconds: i64, number: u32) {
        let decision = Decision {
            useful: Some(of(number)),
            ..Decision::of(0, String::new())
        };
        seen.see(&decision, at(seconds));
    }

    fn of(number: u32) -> Useful {
        Useful {
            grow: number,
            keep: number,
        }
    }

    fn over(seen: &Recommendations, window: i64, now: i64, number: u32) -> Option<(u32, u32)> {
        let found = seen.over(SignedDuration::from_secs(window), at(now), of(number))?;
        Some((found.grow, found.keep))
    }

    #[test]
    fn a_window_knows_only_what_was_seen_without_a_gap() {
        let mut seen = Recommendations::default();
        assert_eq!(over(&seen, 30, 0, 4), None, "nothing was seen");
        assert_eq!(over(&seen, 0, 0, 4), Some((4, 4)), "now is enough");
        look(&mut seen, 0, 4);
        look(&mut seen, 20, 6);
        assert_eq!(over(&seen, 30, 29, 5), None, "it was not long enough");
        assert_eq!(over(&seen, 30, 30, 5), Some((4, 6)));
        assert_eq!(over(&seen, 30, 50, 5), Some((5, 6)), "the 4 is out of it");
        assert_eq!(over(&seen, 30, 141, 5), None, "nobody looked for too long");
        assert_eq!(over(&seen, 30, 19, 5), None, "the clock went back");
        look(&mut seen, 300, 5);
        assert_eq!(over(&seen, 30, 320, 5), None, "it begins anew after a gap");
        assert_eq!(over(&seen, 30, 330, 5), Some((5, 5)));
    }

    #[test]
    fn a_look_that_saw_nothing_is_a_gap_only_when_it_lasts() {
        let mut seen = Recommendations::default();
        look(&mut seen, 0, 4);
        seen.see(&Decision::of(4, String::new()), at(60));
        look(&mut seen, 100, 4);
        assert_eq!(over(&seen, 100, 100, 4), Some((4, 4)));
    }

    #[test]
    fn a_clock_that_jumps_loses_what_was_seen_and_goes_on() {
        for jump in [-86_400, 86_400 * 400] {
            let mut seen = Recommendations::default();
            look(&mut seen, 0, 9);
            look(&mut seen, jump, 2);
            assert_eq!(over(&seen, 30, jump, 2), None);
            look(&mut seen, jump + 30, 2);
            assert_eq!(over(&seen, 30, jump + 30, 2), Some((2, 2)));
        }
    }

    #[test]
    fn a_day_of_noise_takes_no_more_memory_and_errs_only_to_the_hesitant_side() {
        let mut seen = Recommendations::default();
        let number = |look: i64| u32::try_from(look * 7919 % 101).unwrap();
        let mut all = Vec::new();
        for look_number in 0..20_000_i64 {
            look(&mut seen, look_number * 5, number(look_number));
            all.push(number(look_number));
            assert!(seen.stretches.len() <= CAPACITY);
        }
        let now = 19_999 * 5;
        for window in [30_i64, 600, 3600, 86_400] {
            let (grow, keep) = over(&seen, window, now, number(19_999)).unwrap();
            let looks = usize::try_from(window / 5).unwrap();
            let true_window = &all[all.len() - looks..];
            assert!(grow <= *true_window.iter().min().unwrap(), "{window}");
            assert!(keep >= *true_window.iter().max().unwrap(), "{window}");
        }
    }

    #[test]
    fn a_peak_of_long_ago_is_forgotten_a_twelfth_of_its_age_later() {
        let mut seen = Recommendations::default();
        look(&mut seen, 0, 90);
        for number in 1..20_000_i64 {
            look(&mut seen, number * 5, u32::try_from(number % 2).unwrap());
            let now = number * 5;
            let keep = over(&seen, 3600, now, 0).map(|(_, keep)| keep);
            if (3605..3900).contains(&now) {
                continue;
            }
            assert_eq!(keep == Some(1), now >= 3900, "after {now} s: {keep:?}");
        }
    }

    #[test]
    fn it_is_told_when_nothing_will_speak_against_a_change() {
        let mut seen = Recommendations::default();
        let window = SignedDuration::from_secs(600);
        let free = |seen: &Recommendations, now| {
            seen.free_at(window, at(now), |useful| useful.keep >= 5)
                .duration_since(noon())
                .as_secs()
        };
        assert_eq!(free(&seen, 7), 607);
        look(&mut seen, 0, 9);
        look(&mut seen, 50, 3);
        look(&mut seen, 60, 2);
        assert_eq!(free(&seen, 60), 650);
        assert_eq!(free(&seen, 500), 1100, "there is a gap");
    }
}

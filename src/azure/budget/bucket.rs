//! What is known of one token bucket of ARM: how many tokens it holds at least. Pure.
//!
//! Requests overlap, so an answer tells of a moment that has passed: some of those sent before it
//! may not have arrived then, and some of those sent after it may have. So what it tells bounds
//! what is left from below, less everyone who may have come after it, and from above, plus what
//! may have come back since. The guess is moved between the two, and only then.

use std::collections::BTreeMap;
use std::time::Duration;

/// Requests without an answer that may be sent in [`PROBED`] while nothing is known of the bucket:
/// after a start, a throttle, or a time without answers, in which others may have emptied it. Fewer
/// than come back, so that slow answers hold nobody up for long.
const PROBES: usize = 4;
const PROBED: Duration = Duration::from_secs(1);

/// How long an answer tells of the bucket.
const FRESH: Duration = Duration::from_secs(10);

/// A bucket's size, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    /// Tokens of a full bucket.
    pub(super) tokens: f64,
    /// Tokens that come back in a second.
    pub(super) per_second: f64,
}

/// The number of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

#[derive(Debug)]
pub(super) struct Bucket {
    size: Size,
    /// Tokens as if requests under way had not taken theirs yet.
    left: f64,
    at: Duration,
    /// Those without an answer yet, in the order in which they were sent.
    under_way: BTreeMap<Number, Sent>,
    sent: u64,
    ended: u64,
    /// The last one sent of those whose answer told what remains, and when that was heard.
    heard: Option<(Number, Duration)>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Duration,
    /// How many had ended then.
    ended: u64,
}

impl Bucket {
    pub(super) fn full(size: Size, now: Duration) -> Self {
        Self {
            size,
            left: size.tokens,
            at: now,
            under_way: BTreeMap::new(),
            sent: 0,
            ended: 0,
            heard: None,
        }
    }

    /// Tokens that are there for another request, once all that are under way have taken theirs.
    /// Below 0 if more are under way than there seem to be tokens.
    pub(super) fn available(&self, now: Duration) -> f64 {
        self.filled(now) - self.under_way.len() as f64
    }

    /// How long until so many tokens are available, if nobody takes any and nothing is heard.
    pub(super) fn wait_for(&self, tokens: f64, now: Duration) -> Duration {
        let missing = tokens - self.available(now);
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        // A little more than exactly, as a sum of fractions may fall short of the whole.
        let seconds = missing / self.size.per_second;
        Duration::from_secs_f64(seconds) + Duration::from_millis(1)
    }

    /// How long until one more may be sent without knowing more of the bucket.
    pub(super) fn wait_to_probe(&self, now: Duration) -> Duration {
        let is_known = self
            .heard
            .is_some_and(|(_, at)| now.saturating_sub(at) < FRESH);
        let last = self.under_way.values().rev().nth(PROBES - 1);
        match last {
            Some(last) if !is_known => (last.at + PROBED).saturating_sub(now),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn send(&mut self, now: Duration) -> Number {
        let number = Number(self.sent);
        let sent = Sent {
            at: now,
            ended: self.ended,
        };
        self.sent += 1;
        self.under_way.insert(number, sent);
        number
    }

    /// The request has an answer, or will get none. `told` is what the answer said remained.
    pub(super) fn end(&mut self, number: Number, told: Option<u64>, now: Duration) {
        let Some(sent) = self.under_way.remove(&number) else {
            return;
        };
        self.left = self.filled(now) - 1.0;
        self.at = now;
        if let Some(told) = told {
            self.hear(number, sent, told as f64, now);
        }
        self.ended += 1;
    }

    /// Azure refused for want of tokens.
    pub(super) fn run_dry(&mut self, now: Duration) {
        self.left = self.filled(now).min(self.under_way.len() as f64);
        self.at = now;
        self.heard = None;
    }

    fn hear(&mut self, number: Number, sent: Sent, told: f64, now: Duration) {
        if told >= self.size.tokens {
            // Larger subscriptions have larger buckets. How fast these fill is told by their answers.
            self.size.tokens = told + 1.0;
        }
        // So many are there for sure, as far as it depends on us: whoever ended since this one was
        // sent may have taken a token after this one did.
        let least = told - (self.ended - sent.ended) as f64;
        let round_trip = now.saturating_sub(sent.at).as_secs_f64();
        let older = self.under_way.range(..number).count() as f64;
        let most = told + 1.0 + self.size.per_second * round_trip + older;
        let is_news = self.heard.is_none_or(|(last, _)| last < number);
        if is_news {
            self.heard = Some((number, now));
        }
        if is_news && self.left > most {
            // Others took some.
            self.left = told;
        }
        self.left = self.left.max(least);
    }

    fn filled(&self, now: Duration) -> f64 {
        let seconds = now.saturating_sub(self.at).as_secs_f64();
        (self.left + seconds * self.size.per_second).min(self.size.tokens)
    }
}

#[cfg(test)]
mod tests;

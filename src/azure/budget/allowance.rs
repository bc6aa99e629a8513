//! What one principal may ask of one subscription, of one type of operation: its bucket, the one
//! that it shares with all other principals, and the queue before them. Pure.

use std::time::Duration;

use super::bucket::{Bucket, Number, Size};
use super::queue::{Queue, Ticket};
use super::{Errand, Lane, OperationType};

/// The bucket of all principals together is so many times as large (contract section 1).
const ALL_PRINCIPALS: f64 = 15.0;

/// What is left of that bucket for others.
const KEPT_FOR_OTHERS: f64 = 0.02;

/// The longest pause after a throttle, however long Azure asks to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Pauses after throttles that tell no time: the first one, doubled with each in a row, and the
/// longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(60);

/// By how much a pause is made longer at most, so that not all come back at once.
const JITTER: f64 = 0.1;

/// What an answer said remained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    pub(super) of_principal: Option<u64>,
    pub(super) of_all: Option<u64>,
}

/// When it is a request's turn, as things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimate {
    /// How many go before it.
    pub(super) before: usize,
    pub(super) wait: Duration,
}

/// A request that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    own: Number,
    all: Number,
}

/// One that is let through.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) ticket: Ticket,
    pub(super) passage: Passage,
    /// Since it came first, the times included in which it was away and its place was kept.
    pub(super) waited: Duration,
}

#[derive(Debug)]
pub(super) struct Allowance {
    own: Bucket,
    all: Bucket,
    queue: Queue,
    paused_until: Duration,
    /// Throttles since a request was last answered otherwise.
    throttles: u32,
}

impl Allowance {
    /// With full buckets of the documented sizes: the answers will tell.
    pub(super) fn new(operation: OperationType, now: Duration) -> Self {
        let size = documented(operation);
        let all = Size {
            tokens: size.tokens * ALL_PRINCIPALS,
            per_second: size.per_second * ALL_PRINCIPALS,
        };
        Self {
            own: Bucket::full(size, now),
            all: Bucket::full(all, now),
            queue: Queue::default(),
            paused_until: Duration::ZERO,
            throttles: 0,
        }
    }

    pub(super) fn enter(&mut self, errand: &Errand, now: Duration) -> Ticket {
        self.queue.enter(errand, now)
    }

    /// Lets the next one through, if there is a token for it.
    pub(super) fn admit(&mut self, now: Duration) -> Option<Admitted> {
        let ticket = self.queue.first()?;
        if !self.wait_of(ticket.lane(), 0, now).is_zero() {
            return None;
        }
        let since = self.queue.serve(ticket)?;
        Some(Admitted {
            ticket,
            passage: Passage {
                own: self.own.send(now),
                all: self.all.send(now),
            },
            waited: now.saturating_sub(since),
        })
    }

    /// How long until the next one may be let through, if nothing is heard until then; nothing if
    /// nobody waits.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let next = self.queue.first()?;
        Some(self.wait_of(next.lane(), 0, now))
    }

    pub(super) fn estimate(&self, ticket: Ticket, now: Duration) -> Estimate {
        let before = self.queue.before(ticket);
        Estimate {
            before,
            wait: self.wait_of(ticket.lane(), before, now),
        }
    }

    /// Lets one go that waits and will come again when it is its turn. False if it has been let
    /// through.
    pub(super) fn postpone(&mut self, ticket: Ticket, estimate: Estimate, now: Duration) -> bool {
        self.queue.leave(ticket, Some(now + estimate.wait))
    }

    /// Lets one go that will not come again.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.queue.leave(ticket, None);
    }

    /// A request that was let through has its answer, or will get none.
    pub(super) fn end(&mut self, passage: Passage, told: Remaining, now: Duration) {
        self.own.end(passage.own, told.of_principal, now);
        self.all.end(passage.all, told.of_all, now);
        if told != Remaining::default() {
            self.throttles = 0;
        }
    }

    /// The same, where the answer was that there were too many. `jitter` is drawn from 0 to 1.
    pub(super) fn throttle(
        &mut self,
        passage: Passage,
        asked: Option<Duration>,
        jitter: f64,
        now: Duration,
    ) {
        self.own.end(passage.own, None, now);
        self.all.end(passage.all, None, now);
        self.own.run_dry(now);
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.throttles.min(16));
        let pause = asked.map_or(doubled.min(LONGEST_OWN_PAUSE), |asked| {
            asked.min(LONGEST_PAUSE)
        });
        let pause = pause.mul_f64(1.0 + JITTER * jitter.clamp(0.0, 1.0));
        self.throttles = self.throttles.saturating_add(1);
        self.paused_until = self.paused_until.max(now + pause);
    }

    /// Tokens that seem to be left of the principal's own.
    pub(super) fn left(&self, now: Duration) -> f64 {
        self.own.available(now).max(0.0)
    }

    /// Nothing would be lost with it but what its last answers told.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.own.is_idle()
            && self.queue.is_empty()
            && self.paused_until <= now
            && self.own.available(now) >= self.own.size().tokens
    }

    /// How long until a request of `lane` may go, if so many go before it.
    fn wait_of(&self, lane: Lane, before: usize, now: Duration) -> Duration {
        let one_more = before as f64 + 1.0;
        let own = self.own.size().tokens * kept_from(lane) + one_more;
        let all = self.all.size().tokens * KEPT_FOR_OTHERS + one_more;
        let tokens = self.own.wait_for(own, now).max(self.all.wait_for(all, now));
        let pause = self.paused_until.saturating_sub(now);
        tokens.max(self.own.wait_to_probe(now)).max(pause)
    }
}

/// The documented sizes (contract section 1).
fn documented(operation: OperationType) -> Size {
    let (tokens, per_second) = match operation {
        OperationType::Read => (250.0, 25.0),
        OperationType::Write | OperationType::Delete => (200.0, 10.0),
    };
    Size { tokens, per_second }
}

/// The share of a bucket that a lane leaves to those above it. The last hundredth is left by all:
/// what others take between two answers is not known before the second.
fn kept_from(lane: Lane) -> f64 {
    match lane {
        Lane::Delete => 0.01,
        Lane::UserChange => 0.05,
        Lane::Poll => 0.10,
        Lane::Drift => 0.20,
    }
}

#[cfg(test)]
mod tests;

//! What will happen, in the order of its simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;

#[derive(Debug)]
pub(crate) struct DueQueue<T> {
    pending: BTreeMap<(Duration, u64), T>,
    last: u64,
}

impl<T> Default for DueQueue<T> {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            last: 0,
        }
    }
}

impl<T> DueQueue<T> {
    pub(crate) fn push(&mut self, due: Duration, item: T) {
        self.last += 1;
        self.pending.insert((due, self.last), item);
    }

    /// The next item that is due at this moment, and when it was; without delays everything is.
    pub(crate) fn pop(&mut self, now: &Moment) -> Option<(Duration, T)> {
        let first = self.pending.first_entry()?;
        if !now.instant && first.key().0 > now.elapsed {
            return None;
        }
        let due = first.key().0;
        Some((due, first.remove()))
    }

    /// When the next item is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.pending.keys().next().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed: u64, instant: bool) -> Moment {
        Moment {
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_secs(elapsed),
            instant,
        }
    }

    #[test]
    fn what_is_due_together_happens_in_the_order_it_was_scheduled() {
        let mut queue = DueQueue::default();
        queue.push(Duration::from_secs(5), "second");
        queue.push(Duration::from_secs(1), "first");
        queue.push(Duration::from_secs(5), "third");
        let (one, five) = (Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!(queue.pop(&at(1, false)), Some((one, "first")));
        assert_eq!(queue.pop(&at(1, false)), None);
        assert_eq!(queue.pop(&at(1, true)), Some((five, "second")));
        assert_eq!(queue.pop(&at(5, false)), Some((five, "third")));
    }
}

//! Who writes what: clusters that share a version of an asset must not all make it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::azure::ResourceId;

/// No look is older than that when its plan is carried out.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// The resources that are being written, and those that were lately.
#[derive(Clone, Default)]
pub(super) struct WritesUnderWay(Arc<Mutex<HashMap<ResourceId, Written>>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    Now,
    At(Timestamp),
}

impl WritesUnderWay {
    /// `None` where somebody else writes it, or has written it after it was looked at.
    pub(super) fn begin(&self, id: &ResourceId, looked_at: Timestamp) -> Option<WriteUnderWay> {
        self.with(|writes| match writes.get(id) {
            Some(Written::Now) => None,
            Some(Written::At(at)) if *at > looked_at => None,
            _ => {
                writes.insert(id.clone(), Written::Now);
                Some(WriteUnderWay {
                    all: self.clone(),
                    id: id.clone(),
                })
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<ResourceId, Written>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A write that nobody else may do at the same time. Dropped before its end it has not been done.
pub struct WriteUnderWay {
    all: WritesUnderWay,
    id: ResourceId,
}

impl WriteUnderWay {
    pub fn ended(self, at: Timestamp) {
        self.all.with(|writes| {
            writes.retain(|_, written| match written {
                Written::Now => true,
                Written::At(then) => at.duration_since(*then) < REMEMBERED,
            });
            writes.insert(self.id.clone(), Written::At(at));
        });
    }
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        self.all.with(|writes| {
            if writes.get(&self.id) == Some(&Written::Now) {
                writes.remove(&self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ResourceId {
        format!("/subscriptions/0/resourceGroups/{name}")
            .parse()
            .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_at_a_time_writes_a_resource() {
        let writes = WritesUnderWay::default();
        let first = writes.begin(&id("shared"), at(0));
        assert!(first.is_some());
        assert!(writes.begin(&id("shared"), at(5)).is_none());
        assert!(writes.begin(&id("SHARED"), at(5)).is_none());
        assert!(writes.begin(&id("another"), at(5)).is_some());
        drop(first);
        let after_one_that_was_not_done = writes.begin(&id("shared"), at(5));
        assert!(after_one_that_was_not_done.is_some());
    }

    #[test]
    fn what_was_decided_before_another_wrote_is_decided_anew() {
        let writes = WritesUnderWay::default();
        let first = writes.begin(&id("shared"), at(0)).unwrap();
        first.ended(at(3));
        assert!(writes.begin(&id("shared"), at(2)).is_none());
        assert!(writes.begin(&id("shared"), at(4)).is_some());
    }

    #[test]
    fn what_was_written_long_ago_is_forgotten() {
        let writes = WritesUnderWay::default();
        writes.begin(&id("old"), at(0)).unwrap().ended(at(1));
        writes.begin(&id("new"), at(1000)).unwrap().ended(at(1001));
        assert_eq!(writes.with(|writes| writes.len()), 1);
    }
}

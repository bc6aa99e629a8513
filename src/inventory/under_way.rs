//! Who writes what at this moment: clusters that share a version of an asset must not all make it at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::azure::ResourceId;

/// The resources that are being written.
#[derive(Clone, Default)]
pub(super) struct WritesUnderWay(Arc<Mutex<HashSet<ResourceId>>>);

impl WritesUnderWay {
    /// `None` while somebody else writes it.
    pub(super) fn begin(&self, id: &ResourceId) -> Option<WriteUnderWay> {
        let is_first = self.with(|ids| ids.insert(id.clone()));
        is_first.then(|| WriteUnderWay {
            all: self.clone(),
            id: id.clone(),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashSet<ResourceId>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A write, for as long as it is under way.
pub struct WriteUnderWay {
    all: WritesUnderWay,
    id: ResourceId,
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        self.all.with(|ids| ids.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_writes_a_resource_and_the_next_may_when_it_is_done() {
        let writes = WritesUnderWay::default();
        let id = |name: &str| -> ResourceId {
            format!("/subscriptions/0/resourceGroups/{name}")
                .parse()
                .unwrap()
        };
        let first = writes.begin(&id("shared"));
        assert!(first.is_some());
        assert!(writes.begin(&id("shared")).is_none());
        assert!(writes.begin(&id("SHARED")).is_none());
        assert!(writes.begin(&id("another")).is_some());
        drop(first);
        assert!(writes.begin(&id("shared")).is_some());
    }
}

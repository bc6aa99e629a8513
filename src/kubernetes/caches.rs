//! Whether the watches have filled their caches.
//!
//! Kube's `Store::wait_until_ready` remembers one waiter only: of several, all but the one that asked last sleep for
//! ever. The controller is that one for the DaskClusters; everybody else waits here.

use kube::runtime::watcher::Event;
use tokio::sync::watch;

/// Counts caches, and those that were filled. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Caches(watch::Sender<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    filled: usize,
}

impl Caches {
    /// Counts one more cache. What is returned has to see each event of its watch, after the cache has.
    pub fn another<K>(&self) -> impl FnMut(&Event<K>) + use<K> {
        self.0.send_modify(|counts| counts.all += 1);
        let counts = self.0.clone();
        let mut is_filled = false;
        move |event| {
            if matches!(event, Event::InitDone) && !is_filled {
                is_filled = true;
                counts.send_modify(|counts| counts.filled += 1);
            }
        }
    }

    /// Waits until every cache has been filled: before that it says "absent" of what it has not read yet.
    pub async fn filled(&self) {
        self.0
            .subscribe()
            .wait_for(|counts| counts.filled == counts.all)
            .await
            .expect("the sender lives in what this future borrows");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_woken_once_each_cache_is_filled() {
        let caches = Caches::default();
        let (mut one, mut other) = (caches.another::<Secret>(), caches.another::<Secret>());
        // Each has a waker of its own here, as reconciles have inside the controller.
        let mut waiting: FuturesUnordered<_> = (0..3).map(|_| caches.filled()).collect();
        assert!(futures::poll!(waiting.next()).is_pending());
        // A watch that breaks fills its cache again, which is no further one.
        one(&Event::InitDone);
        one(&Event::InitDone);
        assert!(futures::poll!(waiting.next()).is_pending());
        other(&Event::InitDone);
        let woken = tokio::time::timeout(Duration::from_secs(5), waiting.by_ref().count()).await;
        assert_eq!(woken, Ok(3));
    }
}

//! Whether the caches are filled: one that is not says "absent" of everything.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher;
use tokio::sync::watch;

/// Counts the caches whose watch has not listed everything yet. Clones count together.
///
/// kube's `Store::wait_until_ready` does not serve here: of several futures that wait for one store, only the one
/// that was polled last is woken (kube-runtime 5.0.0, `utils/delayed_init.rs`: one receiver keeps one waker), and the
/// others sleep for ever. Here every reconcile waits, and so does readiness.
#[derive(Clone, Debug, Default)]
pub struct Caches(Arc<watch::Sender<usize>>);

impl Caches {
    /// Counts one more cache, which is filled once these events, already in its store, say that the first list ends.
    pub fn counted<K, S>(
        &self,
        events: S,
    ) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K, S>
    where
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    {
        self.0.send_modify(|missing| *missing += 1);
        let missing = Arc::clone(&self.0);
        let mut counts = true;
        events.inspect(move |event| {
            if counts && matches!(event, Ok(watcher::Event::InitDone)) {
                counts = false;
                missing.send_modify(|missing| *missing -= 1);
            }
        })
    }

    /// Waits until every cache that was counted is filled; all who wait are woken.
    pub async fn filled(&self) {
        let mut missing = self.0.subscribe();
        // The sender lives in `self`, so the wait cannot be cut short.
        let _ = missing.wait_for(|missing| *missing == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::channel::mpsc;

    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_woken_once_the_last_cache_is_filled() {
        let caches = Caches::default();
        let (first, first_events) = mpsc::unbounded();
        let (second, second_events) = mpsc::unbounded();
        let mut first_events = Box::pin(caches.counted::<(), _>(first_events));
        let mut second_events = Box::pin(caches.counted::<(), _>(second_events));
        // Tasks of their own: each is polled again only if its own waker is called.
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let caches = caches.clone();
                tokio::spawn(async move { caches.filled().await })
            })
            .collect();
        tokio::task::yield_now().await;

        for event in [watcher::Event::Init, watcher::Event::InitDone] {
            first.unbounded_send(Ok(event)).unwrap();
            first_events.next().await.unwrap().unwrap();
        }
        assert!(caches.filled().now_or_never().is_none());
        // A watch that begins anew does not count again.
        first.unbounded_send(Ok(watcher::Event::InitDone)).unwrap();
        first_events.next().await.unwrap().unwrap();
        assert!(caches.filled().now_or_never().is_none());

        second.unbounded_send(Ok(watcher::Event::InitDone)).unwrap();
        second_events.next().await.unwrap().unwrap();
        for waiter in waiters {
            waiter.await.unwrap();
        }
    }
}

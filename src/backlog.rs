//! Which clusters wait for a reconcile, since when, and which are in one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;

use crate::api::DaskCluster;
use crate::clock::Clock;

#[derive(Clone)]
pub struct Backlog {
    clock: Clock,
    clusters: Arc<Mutex<Clusters>>,
}

#[derive(Default)]
struct Clusters {
    /// By namespace and name: since when, on the monotonic clock.
    waiting: HashMap<Key, Duration>,
    running: usize,
}

type Key = (String, String);

/// How many clusters there are of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub waiting: usize,
    pub running: usize,
}

impl Backlog {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            clusters: Arc::default(),
        }
    }

    /// Something woke this cluster. One that waits already waits since then.
    pub fn wait(&self, cluster: &ObjectRef<DaskCluster>) {
        let now = self.clock.elapsed();
        self.clusters().waiting.entry(key(cluster)).or_insert(now);
    }

    /// It is this cluster's turn. It waits on until [`Turn::begin`].
    pub fn turn(&self, cluster: &ObjectRef<DaskCluster>) -> Turn {
        Turn {
            backlog: self.clone(),
            key: key(cluster),
            has_begun: false,
        }
    }

    /// Those of whom this is true are reconciled no longer; by namespace and name.
    pub fn forget(&self, of: impl Fn(&str, &str) -> bool) {
        let mut clusters = self.clusters();
        clusters
            .waiting
            .retain(|(namespace, name), _| !of(namespace, name));
    }

    pub fn counts(&self) -> Counts {
        let clusters = self.clusters();
        Counts {
            waiting: clusters.waiting.len(),
            running: clusters.running,
        }
    }

    /// Of the cluster that waits longest; nothing when none does.
    pub fn longest_wait(&self) -> Duration {
        let first = self.clusters().waiting.values().min().copied();
        first.map_or(Duration::ZERO, |since| {
            self.clock.elapsed().saturating_sub(since)
        })
    }

    fn clusters(&self) -> MutexGuard<'_, Clusters> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that ends when this is dropped. One that is given up before it began takes the cluster off the list: somebody
/// else reconciles it.
pub struct Turn {
    backlog: Backlog,
    key: Key,
    has_begun: bool,
}

impl Turn {
    /// The cluster is looked at now; whoever wakes it from here on makes it wait again.
    pub fn begin(&mut self) {
        let mut clusters = self.backlog.clusters();
        clusters.waiting.remove(&self.key);
        if !self.has_begun {
            clusters.running += 1;
        }
        drop(clusters);
        self.has_begun = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clusters = self.backlog.clusters();
        if self.has_begun {
            clusters.running -= 1;
        } else {
            clusters.waiting.remove(&self.key);
        }
    }
}

fn key(cluster: &ObjectRef<DaskCluster>) -> Key {
    let namespace = cluster.namespace.clone().unwrap_or_default();
    (namespace, cluster.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn cluster(name: &str) -> ObjectRef<DaskCluster> {
        ObjectRef::new(name).within("weather")
    }

    #[test]
    fn a_cluster_waits_from_its_first_wake_until_it_is_looked_at() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let backlog = Backlog::new(hand.clock());
        let counts = |waiting, running| Counts { waiting, running };
        assert_eq!(backlog.longest_wait(), Duration::ZERO);
        backlog.wait(&cluster("one"));
        hand.advance(Duration::from_secs(2));
        backlog.wait(&cluster("one"));
        backlog.wait(&cluster("two"));
        hand.advance(Duration::from_secs(3));
        assert_eq!(backlog.counts(), counts(2, 0));
        assert_eq!(backlog.longest_wait(), Duration::from_secs(5));

        let mut turn = backlog.turn(&cluster("one"));
        assert_eq!(backlog.counts(), counts(2, 0), "it waits for the caches");
        turn.begin();
        assert_eq!(backlog.counts(), counts(1, 1));
        assert_eq!(backlog.longest_wait(), Duration::from_secs(3));
        backlog.wait(&cluster("one"));
        drop(turn);
        assert_eq!(backlog.counts(), counts(2, 0), "it was woken meanwhile");
    }

    #[test]
    fn what_is_gone_or_somebody_elses_waits_no_longer() {
        let hand = ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let backlog = Backlog::new(hand.clock());
        backlog.wait(&cluster("gone"));
        backlog.wait(&cluster("theirs"));
        backlog.forget(|_, name| name == "gone");
        drop(backlog.turn(&cluster("theirs")));
        hand.advance(Duration::from_secs(60));
        assert_eq!(backlog.counts().waiting, 0);
        assert_eq!(backlog.longest_wait(), Duration::ZERO);
    }
}

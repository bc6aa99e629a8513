//! Wakes each cluster when its time has come. The runtime's own requeue would ask the machine's clock, not ours.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::names::ClusterIdentity;

/// At most one alarm a cluster.
pub(crate) struct Alarms {
    clock: Clock,
    wake: mpsc::UnboundedSender<ClusterIdentity>,
    set: Mutex<HashMap<ClusterIdentity, Alarm>>,
}

struct Alarm(JoinHandle<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Alarms {
    /// `wake` hears of every cluster whose time has come.
    pub(crate) fn new(clock: Clock, wake: mpsc::UnboundedSender<ClusterIdentity>) -> Self {
        Self {
            clock,
            wake,
            set: Mutex::default(),
        }
    }

    /// Wakes the cluster once, after this time and no sooner; an alarm that was set before is off.
    pub(crate) fn set(&self, cluster: ClusterIdentity, after: Duration) {
        let (clock, wake, whom) = (self.clock.clone(), self.wake.clone(), cluster.clone());
        let alarm = Alarm(tokio::spawn(async move {
            clock.sleep(after).await;
            // The receiver lives as long as the controller; without one nobody is left to wake.
            let _ = wake.send(whom);
        }));
        self.with_set(|set| set.insert(cluster, alarm));
    }

    /// Turns the cluster's alarm off.
    pub(crate) fn clear(&self, cluster: &ClusterIdentity) {
        self.with_set(|set| set.remove(cluster));
    }

    /// Turns the alarms of these clusters off.
    pub(crate) fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.with_set(|set| set.retain(|cluster, _| !of(cluster)));
    }

    fn with_set<T>(&self, act: impl FnOnce(&mut HashMap<ClusterIdentity, Alarm>) -> T) -> T {
        act(&mut self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn cluster(name: &str) -> ClusterIdentity {
        ClusterIdentity {
            namespace: "weather".into(),
            name: name.into(),
            uid: name.into(),
        }
    }

    async fn sleepers(hand: &ManualClock, count: usize) {
        let slept = async {
            while hand.sleepers() != count {
                tokio::task::yield_now().await;
            }
        };
        let deadline = Duration::from_secs(30);
        tokio::time::timeout(deadline, slept).await.unwrap();
    }

    #[tokio::test]
    async fn a_cluster_is_woken_when_the_clock_says_so_and_not_by_an_alarm_that_is_off() {
        let hand = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap());
        let (wake, mut woken) = mpsc::unbounded_channel();
        let alarms = Alarms::new(hand.clock(), wake);
        alarms.set(cluster("set"), Duration::from_secs(60));
        alarms.set(cluster("set-again"), Duration::from_secs(60));
        alarms.set(cluster("cleared"), Duration::from_secs(60));
        alarms.set(cluster("forgotten"), Duration::from_secs(60));
        sleepers(&hand, 4).await;
        alarms.set(cluster("set-again"), Duration::from_secs(3600));
        alarms.clear(&cluster("cleared"));
        alarms.forget(|cluster| cluster.name == "forgotten");
        sleepers(&hand, 2).await;
        hand.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(woken.try_recv().is_err());
        hand.advance(Duration::from_secs(1));
        assert_eq!(woken.recv().await, Some(cluster("set")));
        hand.advance(Duration::from_secs(3600));
        assert_eq!(woken.recv().await, Some(cluster("set-again")));
        assert!(woken.try_recv().is_err());
    }
}

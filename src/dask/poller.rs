//! Asks every scheduler for its state, off the reconcile path: one that hangs delays no other cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::client::DaskClient;
use super::error::Error;
use super::wire::{Retired, State};
use crate::clock::Clock;
use crate::names::ClusterIdentity;
use crate::token::Token;

/// While workers are on their way.
const QUICK: Duration = Duration::from_millis(250);
/// While nothing changes.
const SLOW: Duration = Duration::from_secs(5);
/// How many looks in a row must have found nothing new before the poller slows down step by step.
const SLOWER_EACH: u32 = 2;

/// A scheduler to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The head job that published it.
    pub head_run: String,
    /// `http://10.20.0.8:8787`
    pub dashboard: String,
    pub token: Token,
}

impl Target {
    /// `10.20.0.8:8787`, as messages name it.
    pub fn host_and_port(&self) -> String {
        self.dashboard.trim_start_matches("http://").to_owned()
    }
}

/// What is known of a scheduler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulerSight {
    /// Who is asked; `None` while there is nobody to ask.
    pub target: Option<Target>,
    /// The newest answer, also when the scheduler fell silent after it.
    pub state: Option<State>,
    /// Why it does not answer now.
    pub silence: Option<Silence>,
    pub retirement: Option<Retirement>,
    /// When it was first heard that this scheduler answers.
    pub answers_since: Option<Timestamp>,
    /// What was seen of its workers, by the id of their job.
    pub seen: BTreeMap<String, WorkerSeen>,
}

/// What was seen of the worker of a job. May be lost with the process that saw it: what follows from it only waits
/// longer then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSeen {
    /// When the scheduler held it last.
    pub last: Timestamp,
    /// Since when it is `closing_gracefully`, if it is.
    pub leaving_since: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub since: Timestamp,
    /// [`Error::category`].
    pub category: &'static str,
    pub message: String,
}

/// The newest retirement that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    pub asked_at: Timestamp,
    pub outcome: RetirementOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetirementOutcome {
    UnderWay,
    Answered { at: Timestamp, retired: Retired },
    Failed { at: Timestamp, message: String },
}

/// One task a cluster.
pub struct Poller {
    client: DaskClient,
    clock: Clock,
    wake: mpsc::UnboundedSender<ClusterIdentity>,
    entries: Mutex<HashMap<ClusterIdentity, Entry>>,
}

struct Entry {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    target: Target,
    sight: Mutex<SchedulerSight>,
    sooner: Notify,
}

impl Shared {
    fn update<T>(&self, change: impl FnOnce(&mut SchedulerSight) -> T) -> T {
        change(&mut self.sight.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Poller {
    /// `wake` hears of every cluster whose sight changed.
    pub fn new(
        client: DaskClient,
        clock: Clock,
        wake: mpsc::UnboundedSender<ClusterIdentity>,
    ) -> Self {
        Self {
            client,
            clock,
            wake,
            entries: Mutex::default(),
        }
    }

    /// What is known now; nothing is asked.
    pub fn sight(&self, cluster: &ClusterIdentity) -> SchedulerSight {
        self.with_entries(|entries| {
            entries
                .get(cluster)
                .map(|entry| entry.shared.update(|sight| sight.clone()))
                .unwrap_or_default()
        })
    }

    /// Asks this scheduler from now on, and no other of the cluster; `None` ends the asking.
    pub fn follow(&self, cluster: &ClusterIdentity, target: Option<Target>) {
        self.with_entries(|entries| {
            let Some(target) = target else {
                entries.remove(cluster);
                return;
            };
            if entries
                .get(cluster)
                .is_some_and(|entry| entry.shared.target == target)
            {
                return;
            }
            let sight = SchedulerSight {
                target: Some(target.clone()),
                ..SchedulerSight::default()
            };
            let shared = Arc::new(Shared {
                target,
                sight: Mutex::new(sight),
                sooner: Notify::new(),
            });
            let task = tokio::spawn(poll(
                self.client.clone(),
                self.clock.clone(),
                Arc::clone(&shared),
                self.wake.clone(),
                cluster.clone(),
            ));
            entries.insert(cluster.clone(), Entry { shared, task });
        });
    }

    /// Asks the schedulers of these clusters no longer.
    pub fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.with_entries(|entries| entries.retain(|cluster, _| !of(cluster)));
    }

    /// Lets up to `count` workers go, those of the jobs `first` before others; the outcome stands in the sight. One at a time: while one is under way a
    /// further one is not begun.
    pub fn retire(&self, cluster: &ClusterIdentity, count: u32, first: Vec<String>) {
        let shared = self
            .with_entries(|entries| entries.get(cluster).map(|entry| Arc::clone(&entry.shared)));
        let Some(shared) = shared else { return };
        let asked_at = self.clock.now();
        let begun = shared.update(|sight| {
            if sight
                .retirement
                .as_ref()
                .is_some_and(|retirement| retirement.outcome == RetirementOutcome::UnderWay)
            {
                return false;
            }
            sight.retirement = Some(Retirement {
                asked_at,
                outcome: RetirementOutcome::UnderWay,
            });
            true
        });
        if !begun {
            return;
        }
        let (client, clock, wake, cluster) = (
            self.client.clone(),
            self.clock.clone(),
            self.wake.clone(),
            cluster.clone(),
        );
        tokio::spawn(async move {
            let answer = client.retire(&shared.target, count, &first).await;
            let at = clock.now();
            let outcome = match answer {
                Ok(retired) => RetirementOutcome::Answered { at, retired },
                Err(error) => RetirementOutcome::Failed {
                    at,
                    message: error.to_string(),
                },
            };
            shared.update(|sight| sight.retirement = Some(Retirement { asked_at, outcome }));
            shared.sooner.notify_one();
            // The receiver lives as long as the controller; without one nobody is left to wake.
            let _ = wake.send(cluster);
        });
    }

    fn with_entries<T>(&self, act: impl FnOnce(&mut HashMap<ClusterIdentity, Entry>) -> T) -> T {
        act(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn poll(
    client: DaskClient,
    clock: Clock,
    shared: Arc<Shared>,
    wake: mpsc::UnboundedSender<ClusterIdentity>,
    cluster: ClusterIdentity,
) {
    let mut quiet = 0_u32;
    loop {
        let answer = client.state(&shared.target).await;
        let now = clock.now();
        if shared.update(|sight| learn(sight, answer, now)) {
            quiet = 0;
            if wake.send(cluster.clone()).is_err() {
                return;
            }
        } else {
            quiet = quiet.saturating_add(1);
        }
        tokio::select! {
            () = clock.sleep(interval(quiet)) => {}
            () = shared.sooner.notified() => {}
        }
    }
}

/// Quick after a change, slower the longer nothing happened.
fn interval(quiet: u32) -> Duration {
    QUICK
        .saturating_mul(1 << (quiet / SLOWER_EACH).min(10))
        .min(SLOW)
}

/// Notes an answer; says whether it tells anything that a plan or status would see.
fn learn(sight: &mut SchedulerSight, answer: Result<State, Error>, now: Timestamp) -> bool {
    match answer {
        Ok(state) => {
            let news = sight.silence.is_some() || sight.state.as_ref() != Some(&state);
            sight.silence = None;
            sight.answers_since.get_or_insert(now);
            for worker in &state.workers {
                let before = sight.seen.get(worker.job_id());
                let leaving_since = worker
                    .is_leaving()
                    .then(|| before.and_then(|seen| seen.leaving_since).unwrap_or(now));
                let seen = WorkerSeen {
                    last: now,
                    leaving_since,
                };
                sight.seen.insert(worker.job_id().to_owned(), seen);
            }
            sight.state = Some(state);
            news
        }
        Err(error) => {
            let since = sight.silence.as_ref().map_or(now, |silence| silence.since);
            let silence = Silence {
                since,
                category: error.category(),
                message: told(&error),
            };
            let news = sight.silence.as_ref() != Some(&silence);
            sight.silence = Some(silence);
            news
        }
    }
}

/// The error with its causes, which hold no URL.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(workers: usize) -> State {
        State {
            id: "s1".into(),
            total_threads: 8,
            total_memory: 64,
            workers: vec![
                crate::dask::Worker {
                    name: "j.1".into(),
                    status: "running".into(),
                    ..crate::dask::Worker::default()
                };
                workers
            ],
            load: crate::dask::Load::default(),
        }
    }

    fn busy() -> Error {
        Error::Busy {
            address: "10.0.0.4:8787".into(),
        }
    }

    #[test]
    fn only_news_wake_the_cluster() {
        let mut sight = SchedulerSight::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(learn(&mut sight, Ok(state(1)), at(0)));
        assert!(!learn(&mut sight, Ok(state(1)), at(1)));
        assert!(learn(&mut sight, Ok(state(2)), at(2)));
        assert!(learn(&mut sight, Err(busy()), at(3)));
        assert!(!learn(&mut sight, Err(busy()), at(4)));
        assert_eq!(
            sight.silence.as_ref().map(|silence| silence.since),
            Some(at(3))
        );
        assert_eq!(
            sight.state,
            Some(state(2)),
            "what was last known stays known"
        );
        assert!(learn(&mut sight, Ok(state(2)), at(5)));
        assert_eq!(sight.silence, None);
    }

    #[test]
    fn when_a_worker_was_seen_last_and_since_when_it_leaves_is_remembered() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut sight = SchedulerSight::default();
        let mut leaving = state(1);
        leaving.workers[0].status = "closing_gracefully".into();
        for (second, answer, last, leaving_since) in [
            (1, state(1), 1, None),
            (2, leaving.clone(), 2, Some(2)),
            (3, leaving.clone(), 3, Some(2)),
            (4, state(0), 3, Some(2)),
            (5, state(1), 5, None),
            (6, leaving, 6, Some(6)),
        ] {
            learn(&mut sight, Ok(answer), at(second));
            let expected = WorkerSeen {
                last: at(last),
                leaving_since: leaving_since.map(at),
            };
            assert_eq!(sight.seen["j"], expected, "{second}");
        }
        assert_eq!(sight.answers_since, Some(at(1)));
    }

    #[test]
    fn a_quiet_scheduler_is_asked_less_and_less_often() {
        assert_eq!(interval(0), QUICK);
        assert!(interval(4) > QUICK);
        assert_eq!(interval(u32::MAX), SLOW);
    }

    #[tokio::test]
    async fn a_cluster_that_is_forgotten_is_asked_no_longer() {
        let hand = crate::clock::ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let (wake, _woken) = mpsc::unbounded_channel();
        let poller = Poller::new(DaskClient::new().unwrap(), hand.clock(), wake);
        let cluster = |name: &str| ClusterIdentity {
            namespace: "weather".into(),
            name: name.into(),
            uid: name.into(),
        };
        let target = Target {
            head_run: "head-1".into(),
            // Nobody listens on port 1.
            dashboard: "http://127.0.0.1:1".into(),
            token: Token::draw(),
        };
        for name in ["gone", "stays"] {
            poller.follow(&cluster(name), Some(target.clone()));
        }
        poller.forget(|cluster| cluster.name == "gone");
        assert_eq!(poller.sight(&cluster("gone")).target, None);
        assert_eq!(poller.sight(&cluster("stays")).target, Some(target));
    }
}

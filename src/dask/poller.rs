//! Asks every scheduler for its state, off the reconcile path: one that hangs delays no other cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::client::DaskClient;
use super::error::Error;
use super::observer::{ANSWERED, SchedulerObserver};
use super::wire::{Retired, State, Worker};
use crate::clock::Clock;
use crate::names::ClusterIdentity;
use crate::token::Token;

/// While workers are on their way.
const QUICK: Duration = Duration::from_millis(250);
/// Before a scheduler that has just answered is asked once more, where it did not.
const AGAIN: Duration = Duration::from_secs(1);
/// A busy scheduler's load changes with every look; a cluster is not woken for it more often than this.
const BETWEEN_LOADS: Duration = Duration::from_secs(5);
/// How many looks in a row must have found nothing new before the poller slows down step by step.
const SLOWER_EACH: u32 = 2;
/// Whoever could have come and gone in a silence of that length is not missing since before it.
const LONG_SILENCE: SignedDuration = SignedDuration::from_secs(60);
/// Whoever was not seen for so long is told of by nobody any more: the longest `worker.startTimeoutSeconds` is a day.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// A scheduler to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The head job that published it.
    pub head_run: String,
    /// `http://10.20.0.8:8787`
    pub dashboard: String,
    pub token: Token,
    /// The cluster wants to hear how much there is to do, and not only who is there and whether anything is.
    pub watches_load: bool,
}

impl Target {
    /// Whether both mean the same life of a scheduler, which answers the one as it answers the other.
    pub fn is_same_scheduler(&self, other: &Self) -> bool {
        (&self.head_run, &self.dashboard, &self.token)
            == (&other.head_run, &other.dashboard, &other.token)
    }

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
    /// Since when this scheduler answers without a long silence.
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
    /// Since when the scheduler, which has answered all the time, has got no heartbeat of it.
    pub unheard_since: Option<Timestamp>,
    /// [`Worker::last_seen`](super::Worker::last_seen) of the newest answer.
    pub heartbeat: Option<u64>,
}

impl WorkerSeen {
    /// It was there, and nothing is to be said of it.
    pub fn at(last: Timestamp) -> Self {
        Self {
            last,
            leaving_since: None,
            unheard_since: None,
            heartbeat: None,
        }
    }
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
    observer: Arc<dyn SchedulerObserver>,
    slow: Duration,
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
    /// `wake` hears of every cluster whose sight changed. `slow`: between two looks where nobody comes or goes.
    pub fn new(
        client: DaskClient,
        clock: Clock,
        wake: mpsc::UnboundedSender<ClusterIdentity>,
        observer: Arc<dyn SchedulerObserver>,
        slow: Duration,
    ) -> Self {
        Self {
            client,
            clock,
            wake,
            observer,
            slow,
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
            let followed = entries
                .get(cluster)
                .filter(|entry| entry.shared.target.is_same_scheduler(&target));
            if let Some(entry) = followed {
                entry.shared.update(|sight| sight.target = Some(target));
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
                Arc::clone(&self.observer),
                self.slow,
                cluster.clone(),
            ));
            entries.insert(cluster.clone(), Entry { shared, task });
        });
    }

    /// Asks the schedulers of these clusters no longer.
    pub fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.with_entries(|entries| entries.retain(|cluster, _| !of(cluster)));
    }

    /// Lets up to `count` workers go, those of the jobs `first` before others; the outcome stands in the sight. One at
    /// a time: while one is under way a further one is not begun.
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
        let observer = Arc::clone(&self.observer);
        tokio::spawn(async move {
            let answer = client.retire(&shared.target, count, &first).await;
            let at = clock.now();
            let outcome = match answer {
                Ok(retired) => {
                    observer.retired(&retired);
                    RetirementOutcome::Answered { at, retired }
                }
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
    observer: Arc<dyn SchedulerObserver>,
    slow: Duration,
    cluster: ClusterIdentity,
) {
    let mut quiet = 0_u32;
    let mut herald = Herald::default();
    let mut answers = false;
    loop {
        let ask = async || {
            let answer = client.state(&shared.target).await;
            observer.polled(answer.as_ref().map_or_else(Error::category, |_| ANSWERED));
            answer
        };
        let mut answer = ask().await;
        // Whoever was busy for a moment has not fallen silent.
        if answer.is_err() && answers {
            clock.sleep(AGAIN).await;
            answer = ask().await;
        }
        answers = answer.is_ok();
        let now = clock.now();
        let sight = shared.update(|sight| {
            learn(sight, answer, now);
            sight.clone()
        });
        let news = herald.news(&sight);
        quiet = match news {
            News::Members => 0,
            News::Idleness | News::Load | News::Nothing => quiet.saturating_add(1),
        };
        if herald.wakes(news, sight, clock.elapsed()) && wake.send(cluster.clone()).is_err() {
            return;
        }
        tokio::select! {
            () = clock.sleep(interval(quiet, slow)) => {}
            () = shared.sooner.notified() => {}
        }
    }
}

/// Quick after somebody came or went, slower the longer nobody did.
fn interval(quiet: u32, slow: Duration) -> Duration {
    QUICK
        .saturating_mul(1 << (quiet / SLOWER_EACH).min(10))
        .min(slow)
}

/// Notes an answer.
fn learn(sight: &mut SchedulerSight, answer: Result<State, Error>, now: Timestamp) {
    match answer {
        Ok(mut state) => {
            let silence = sight.silence.take();
            // A scheduler that was paused has heard nobody, and is told of all heartbeats in a moment.
            let was_silent = silence.is_some();
            if silence.is_some_and(|silence| now.duration_since(silence.since) >= LONG_SILENCE) {
                sight.answers_since = None;
            }
            sight.answers_since.get_or_insert(now);
            sight
                .seen
                .retain(|_, seen| now.duration_since(seen.last) < FORGOTTEN_AFTER);
            for worker in &mut state.workers {
                // A heartbeat is no news of its own.
                let heartbeat = worker.last_seen.take();
                let before = sight.seen.get(worker.job_id());
                let leaving_since = worker
                    .is_leaving()
                    .then(|| before.and_then(|seen| seen.leaving_since).unwrap_or(now));
                let heard = before.is_none_or(|seen| seen.heartbeat != heartbeat);
                let unheard_since = before.and_then(|seen| seen.unheard_since).unwrap_or(now);
                let is_unheard = heartbeat.is_some() && !heard && !was_silent;
                let seen = WorkerSeen {
                    last: now,
                    leaving_since,
                    unheard_since: is_unheard.then_some(unheard_since),
                    heartbeat,
                };
                sight.seen.insert(worker.job_id().to_owned(), seen);
            }
            sight.state = Some(state);
        }
        Err(error) => {
            let since = sight.silence.as_ref().map_or(now, |silence| silence.since);
            sight.silence = Some(Silence {
                since,
                category: error.category(),
                message: told(&error),
            });
        }
    }
}

/// What is new since the cluster was woken last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Nothing,
    /// How much there is to do, or to hold.
    Load,
    /// There is something to do again, or nothing any more.
    Idleness,
    /// Who answers, and which workers are there in which shape.
    Members,
}

/// Decides when a cluster is woken.
#[derive(Default)]
struct Herald {
    /// What the cluster was woken for last.
    told: SchedulerSight,
    /// When that was, on the monotonic clock.
    told_at: Duration,
}

impl Herald {
    fn news(&self, sight: &SchedulerSight) -> News {
        if sight.silence != self.told.silence {
            return News::Members;
        }
        match (&self.told.state, &sight.state) {
            (Some(told), Some(state)) if members(told).eq(members(state)) => {
                if told.id != state.id {
                    News::Members
                } else if told.load.idle_since.is_some() != state.load.idle_since.is_some() {
                    News::Idleness
                } else if told != state {
                    News::Load
                } else {
                    News::Nothing
                }
            }
            (None, None) => News::Nothing,
            _ => News::Members,
        }
    }

    /// Whether the cluster is woken now. What it is not woken for is not lost: it is still news at the next look.
    fn wakes(&mut self, news: News, sight: SchedulerSight, now: Duration) -> bool {
        let wakes = match news {
            News::Members | News::Idleness => true,
            News::Load => {
                let watched = sight.target.as_ref();
                watched.is_some_and(|target| target.watches_load)
                    && now.saturating_sub(self.told_at) >= BETWEEN_LOADS
            }
            News::Nothing => false,
        };
        if wakes {
            self.told = sight;
            self.told_at = now;
        }
        wakes
    }
}

/// What a cluster has to know at once of each worker.
fn members(state: &State) -> impl Iterator<Item = (&str, &str, u32, u64)> {
    state.workers.iter().map(|worker| {
        let Worker { name, status, .. } = worker;
        (
            name.as_str(),
            status.as_str(),
            worker.threads,
            worker.memory_limit,
        )
    })
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
    use crate::dask::Load;
    use crate::dask::observer::Unobserved;
    use crate::leadership::Lead;

    const SLOW: Duration = Duration::from_secs(5);

    fn state(workers: usize) -> State {
        State {
            id: "s1".into(),
            total_threads: 8,
            total_memory: 64,
            workers: vec![
                Worker {
                    name: "j.1".into(),
                    status: "running".into(),
                    ..Worker::default()
                };
                workers
            ],
            load: Load {
                idle_since: Some(1.0),
                ..Load::default()
            },
        }
    }

    fn busy_with(queued: u32) -> State {
        let mut state = state(1);
        state.load = Load {
            queued,
            ..Load::default()
        };
        state
    }

    fn busy() -> Error {
        Error::Busy {
            address: "10.0.0.4:8787".into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn when_a_worker_was_seen_last_and_since_when_it_leaves_is_remembered() {
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
                leaving_since: leaving_since.map(at),
                ..WorkerSeen::at(at(last))
            };
            assert_eq!(sight.seen["j"], expected, "{second}");
        }
        assert_eq!(sight.answers_since, Some(at(1)));
    }

    #[test]
    fn a_worker_is_unheard_of_only_while_its_scheduler_answers_all_the_time() {
        let of = |heartbeat: Option<u64>| {
            let mut state = state(1);
            state.workers[0].last_seen = heartbeat;
            Ok(state)
        };
        let mut sight = SchedulerSight::default();
        for (second, answer, unheard_since) in [
            (1, of(Some(7)), None),
            (2, of(Some(8)), None),
            (3, of(Some(8)), Some(3)),
            (4, of(Some(8)), Some(3)),
            // It was paused itself: nobody knows what came meanwhile.
            (5, Err(busy()), Some(3)),
            (900, of(Some(8)), None),
            (901, of(Some(8)), Some(901)),
            (902, of(Some(9)), None),
            // An older bootstrap does not tell.
            (903, of(None), None),
            (904, of(None), None),
        ] {
            learn(&mut sight, answer, at(second));
            let found = sight.seen["j"].unheard_since;
            assert_eq!(found, unheard_since.map(at), "{second}");
        }
        let workers = sight.state.unwrap().workers;
        assert_eq!(workers[0].last_seen, None, "a heartbeat is no news");
    }

    #[test]
    fn a_scheduler_answers_anew_after_a_long_silence_and_goes_on_after_a_short_one() {
        for (silent, expected) in [(59, 1), (60, 100 + 60)] {
            let mut sight = SchedulerSight::default();
            learn(&mut sight, Ok(state(1)), at(1));
            learn(&mut sight, Err(busy()), at(100));
            learn(&mut sight, Err(busy()), at(110));
            learn(&mut sight, Ok(state(1)), at(100 + silent));
            assert_eq!(sight.answers_since, Some(at(expected)), "{silent}");
        }
    }

    #[test]
    fn who_was_not_seen_for_two_days_is_forgotten() {
        let mut sight = SchedulerSight::default();
        learn(&mut sight, Ok(state(1)), at(0));
        learn(&mut sight, Ok(state(0)), at(48 * 3600 - 1));
        assert!(sight.seen.contains_key("j"));
        learn(&mut sight, Ok(state(0)), at(48 * 3600));
        assert!(sight.seen.is_empty());
    }

    fn target() -> Target {
        Target {
            head_run: "head-1".into(),
            // Nobody listens on port 1.
            dashboard: "http://127.0.0.1:1".into(),
            token: Token::draw(),
            watches_load: false,
        }
    }

    /// A poller that is given its answers, one at a second.
    struct Looks {
        sight: SchedulerSight,
        herald: Herald,
        second: u64,
    }

    impl Looks {
        fn watching_load(watches_load: bool) -> Self {
            let target = Target {
                watches_load,
                ..target()
            };
            let sight = SchedulerSight {
                target: Some(target),
                ..SchedulerSight::default()
            };
            Self {
                sight,
                herald: Herald::default(),
                second: 100,
            }
        }

        /// What it tells, and whether the cluster is woken.
        fn look(&mut self, answer: Result<State, Error>) -> (News, bool) {
            learn(&mut self.sight, answer, at(self.second as i64));
            let now = Duration::from_secs(self.second);
            self.second += 1;
            let news = self.herald.news(&self.sight);
            (news, self.herald.wakes(news, self.sight.clone(), now))
        }
    }

    const AT_ONCE: (News, bool) = (News::Members, true);
    const NOT_AT_ALL: (News, bool) = (News::Nothing, false);

    #[test]
    fn who_is_there_and_whether_anybody_answers_is_news_at_once() {
        let mut looks = Looks::watching_load(false);
        assert_eq!(looks.look(Ok(state(1))), AT_ONCE);
        assert_eq!(looks.look(Ok(state(1))), NOT_AT_ALL);
        assert_eq!(looks.look(Ok(state(2))), AT_ONCE);
        assert_eq!(looks.look(Err(busy())), AT_ONCE);
        assert_eq!(looks.look(Err(busy())), NOT_AT_ALL);
        assert_eq!(
            looks.sight.silence.as_ref().map(|silence| silence.since),
            Some(at(103))
        );
        assert_eq!(
            looks.sight.state,
            Some(state(2)),
            "what was last known stays known"
        );
        assert_eq!(looks.look(Ok(state(2))), AT_ONCE);
        assert_eq!(looks.sight.silence, None);
    }

    #[test]
    fn another_life_and_another_shape_of_a_worker_are_news_at_once() {
        let changes: [fn(&mut State); 5] = [
            |state| state.id = "s2".into(),
            |state| state.workers[0].name = "j.2".into(),
            |state| state.workers[0].status = "paused".into(),
            |state| state.workers[0].threads = 4,
            |state| state.workers[0].memory_limit = 1,
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut looks = Looks::watching_load(false);
            looks.look(Ok(state(1)));
            let mut changed = state(1);
            change(&mut changed);
            assert_eq!(looks.look(Ok(changed)), AT_ONCE, "change {n}");
        }
    }

    #[test]
    fn work_that_begins_or_ends_is_news_at_once_to_every_cluster() {
        let mut looks = Looks::watching_load(false);
        looks.look(Ok(state(1)));
        assert_eq!(looks.look(Ok(busy_with(7))), (News::Idleness, true));
        assert_eq!(looks.look(Ok(state(1))), (News::Idleness, true));
    }

    #[test]
    fn a_change_of_load_wakes_only_who_watches_it_and_not_more_often_than_each_5_s() {
        for watches_load in [false, true] {
            let mut looks = Looks::watching_load(watches_load);
            looks.look(Ok(busy_with(0)));
            let woken: Vec<u64> = (1..=12)
                .filter(|queued| looks.look(Ok(busy_with(*queued as u32))).1)
                .collect();
            let expected: &[u64] = if watches_load { &[5, 10] } else { &[] };
            assert_eq!(woken, expected);
            assert_eq!(looks.sight.state, Some(busy_with(12)), "the newest is kept");
        }
    }

    #[test]
    fn a_change_of_load_is_told_late_rather_than_never() {
        let mut looks = Looks::watching_load(true);
        looks.look(Ok(busy_with(1)));
        let answers = [2, 2, 2, 2, 2, 2, 2];
        let woken: Vec<bool> = answers
            .map(|queued| looks.look(Ok(busy_with(queued))).1)
            .to_vec();
        assert_eq!(woken, [false, false, false, false, true, false, false]);
    }

    #[test]
    fn a_quiet_scheduler_is_asked_less_and_less_often() {
        assert_eq!(interval(0, SLOW), QUICK);
        assert!(interval(4, SLOW) > QUICK);
        assert_eq!(interval(u32::MAX, SLOW), SLOW);
    }

    #[tokio::test]
    async fn a_cluster_that_is_forgotten_is_asked_no_longer() {
        let hand = crate::clock::ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let (wake, _woken) = mpsc::unbounded_channel();
        let poller = Poller::new(
            DaskClient::new(Lead::always(hand.clock())).unwrap(),
            hand.clock(),
            wake,
            Arc::new(Unobserved),
            SLOW,
        );
        let cluster = |name: &str| ClusterIdentity {
            namespace: "weather".into(),
            name: name.into(),
            uid: name.into(),
        };
        let target = target();
        for name in ["gone", "stays"] {
            poller.follow(&cluster(name), Some(target.clone()));
        }
        poller.forget(|cluster| cluster.name == "gone");
        assert_eq!(poller.sight(&cluster("gone")).target, None);
        assert_eq!(poller.sight(&cluster("stays")).target, Some(target));
    }

    #[tokio::test]
    async fn a_scheduler_that_misses_one_look_has_not_fallen_silent() {
        // Its third answer is none.
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let answer = async move || {
            let count = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let state = r#"{"id":"s1","total_threads":0,"total_memory":0,"workers":[]}"#;
            if count == 2 {
                (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "")
            } else {
                (axum::http::StatusCode::OK, state)
            }
        };
        let routes = axum::Router::new().fallback(answer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dashboard = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let clock = Clock::system();
        let (wake, mut woken) = mpsc::unbounded_channel();
        let poller = Poller::new(
            DaskClient::new(Lead::always(clock.clone())).unwrap(),
            clock.clone(),
            wake,
            Arc::new(Unobserved),
            SLOW,
        );
        let cluster = ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa".into(),
            uid: "noaa".into(),
        };
        let target = Target {
            dashboard,
            ..target()
        };
        poller.follow(&cluster, Some(target));
        let asked = || asked.load(std::sync::atomic::Ordering::Relaxed);
        while asked() < 5 {
            clock.sleep(QUICK).await;
        }
        assert!(woken.recv().await.is_some(), "it has answered");
        assert!(woken.try_recv().is_err(), "and nothing has happened since");
        assert_eq!(poller.sight(&cluster).silence, None);
    }

    #[tokio::test]
    async fn who_begins_to_watch_the_load_keeps_what_is_known() {
        let hand = crate::clock::ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let (wake, mut woken) = mpsc::unbounded_channel();
        let poller = Poller::new(
            DaskClient::new(Lead::always(hand.clock())).unwrap(),
            hand.clock(),
            wake,
            Arc::new(Unobserved),
            SLOW,
        );
        let cluster = ClusterIdentity {
            namespace: "weather".into(),
            name: "noaa".into(),
            uid: "noaa".into(),
        };
        let before = target();
        poller.follow(&cluster, Some(before.clone()));
        woken.recv().await;
        let known = poller.sight(&cluster).silence;
        assert!(known.is_some());
        let watching = Target {
            watches_load: true,
            ..before
        };
        poller.follow(&cluster, Some(watching.clone()));
        let sight = poller.sight(&cluster);
        assert_eq!((sight.target, sight.silence), (Some(watching), known));
    }
}

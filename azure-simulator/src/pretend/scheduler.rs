//! What a stand-in for a Dask scheduler knows and decides, as the operator's bootstrap does it:
//! which workers may go, and what becomes of their data.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// How long a worker that could not leave is left alone.
const REFUSED: Duration = Duration::from_secs(10);

/// What a worker process takes without any data.
const PROCESS_BYTES: u64 = 120 << 20;

/// What Dask takes a task for that it knows nothing of.
const UNKNOWN_TASK_SECONDS: f64 = 0.5;

/// Dask's word for what a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Running,
    Paused,
    /// It leaves as soon as its tasks have ended.
    #[serde(skip_deserializing)]
    ClosingGracefully,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Key of its run; the head's own worker has the head's.
    pub(crate) run: String,
    pub(crate) address: String,
    pub(crate) status: Status,
    pub(crate) threads: u64,
    /// Bytes.
    pub(crate) memory_limit: u64,
    pub(crate) keys: u64,
    pub(crate) nbytes: u64,
    pub(crate) processing: u64,
    pub(crate) long_running: u64,
    refused_at: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(crate) id: String,
    pub(crate) address: String,
    /// SHA-256 of the token that its routes want, in hexadecimal.
    pub(crate) token_sha256: String,
    /// Key of the head's run.
    run: String,
    pub(crate) started: Timestamp,
    pub(crate) idle_since: Option<Timestamp>,
    pub(crate) clients: u64,
    pub(crate) queued: u64,
    pub(crate) unrunnable: u64,
    /// As told; otherwise each task takes as long as one that Dask knows nothing of.
    pub(crate) work_seconds: Option<f64>,
    pub(crate) adaptive_target: Option<u64>,
    /// Workers by their names.
    pub(crate) workers: BTreeMap<String, Worker>,
    /// It answers, and its tags are published.
    pub(crate) ready: bool,
}

/// An answer other than 200.
#[derive(Debug, PartialEq)]
pub(crate) struct Conflict(pub(crate) Value);

impl Status {
    /// As Dask spells it.
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ClosingGracefully => "closing_gracefully",
        }
    }
}

impl Worker {
    pub(crate) fn new(run: &str, address: String, threads: u64, memory_limit: u64) -> Self {
        Self {
            run: run.to_owned(),
            address,
            status: Status::Running,
            threads,
            memory_limit,
            keys: 0,
            nbytes: 0,
            processing: 0,
            long_running: 0,
            refused_at: None,
        }
    }

    /// Bytes that it may hold; a limit of 0 is none.
    fn capacity(&self) -> u64 {
        if self.memory_limit == 0 {
            u64::MAX
        } else {
            self.memory_limit
        }
    }
}

/// Seconds since 1970, as Python's `time.time()` tells them.
fn unix(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

fn capacity<'a>(workers: impl Iterator<Item = &'a Worker>) -> u64 {
    workers.fold(0, |sum, worker| sum.saturating_add(worker.capacity()))
}

impl Scheduler {
    pub(crate) fn new(
        run: &str,
        id: String,
        address: String,
        token_sha256: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            address,
            token_sha256,
            run: run.to_owned(),
            started: now,
            idle_since: Some(now),
            clients: 0,
            queued: 0,
            unrunnable: 0,
            work_seconds: None,
            adaptive_target: None,
            workers: BTreeMap::new(),
            ready: false,
        }
    }

    fn is_own(&self, worker: &Worker) -> bool {
        worker.run == self.run
    }

    fn processing(&self) -> u64 {
        self.workers.values().map(|worker| worker.processing).sum()
    }

    /// Tasks that have not ended.
    fn tasks_to_do(&self) -> u64 {
        self.processing() + self.queued + self.unrunnable
    }

    fn work_seconds(&self) -> f64 {
        let tasks = self.processing() + self.queued;
        match self.work_seconds {
            Some(told) if tasks > 0 => told,
            _ => tasks as f64 * UNKNOWN_TASK_SECONDS,
        }
    }

    /// Whether it is idle may have changed.
    pub(crate) fn note_idleness(&mut self, now: Timestamp) {
        let busy = self.tasks_to_do() > 0;
        self.idle_since = match self.idle_since {
            _ if busy => None,
            None => Some(now),
            since => since,
        };
    }

    /// `GET /dask-azureml/v1/state`.
    pub(crate) fn state(&self, now: Timestamp) -> Value {
        let sum = |of: fn(&Worker) -> u64| self.workers.values().map(of).sum::<u64>();
        let workers: Vec<Value> = self
            .workers
            .iter()
            .map(|(name, worker)| {
                json!({
                    "name": name,
                    "address": worker.address,
                    "status": worker.status,
                    "threads": worker.threads,
                    "memory_limit": worker.memory_limit,
                    "memory": PROCESS_BYTES + worker.nbytes,
                    "nbytes": worker.nbytes,
                    "keys": worker.keys,
                    "processing": worker.processing,
                    "long_running": worker.long_running,
                    "last_seen": unix(now),
                })
            })
            .collect();
        let target = match self.adaptive_target {
            Some(told) => told,
            None if self.tasks_to_do() > 0 => (self.workers.len() as u64).max(1),
            None => 0,
        };
        json!({
            "id": self.id,
            "address": self.address,
            "started": unix(self.started),
            "now": unix(now),
            "tasks": sum(|worker| worker.keys) + self.tasks_to_do(),
            "total_threads": sum(|worker| worker.threads),
            "total_memory": sum(|worker| worker.memory_limit),
            "adaptive_target": target,
            "load": {
                "idle_since": self.idle_since.map(unix),
                "clients": self.clients,
                "processing": self.processing(),
                "queued": self.queued,
                "unrunnable": self.unrunnable,
                "work_seconds": self.work_seconds(),
                "nbytes": sum(|worker| worker.nbytes),
            },
            "workers": workers,
        })
    }

    /// `POST /dask-azureml/v1/to-close`: names of at most `count` workers in the order they should go, and why others
    /// stay. Those of the jobs `first` go before others, and nobody in their place; the rest can hold the data twice
    /// over.
    pub(crate) fn to_close(&self, count: usize, first: &[String]) -> Value {
        let is_first = |name: &str| {
            let job = name.split('.').next().unwrap_or_default();
            first.iter().any(|named| named == job)
        };
        let mut theirs: Vec<(&String, &Worker)> = self
            .workers
            .iter()
            .filter(|(_, worker)| !self.is_own(worker))
            .collect();
        theirs.sort_by_key(|(name, worker)| {
            let work = (worker.long_running, worker.processing);
            (!is_first(name), work, worker.nbytes, *name)
        });
        let needed = 2 * self.workers.values().map(|w| w.nbytes).sum::<u64>();
        let mut staying: BTreeMap<&String, &Worker> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.status == Status::Running)
            .collect();
        let (mut names, mut places) = (Vec::new(), 0);
        let mut reasons = Map::new();
        for (name, worker) in theirs {
            if places >= count {
                break;
            }
            if staying.remove(name).is_none() {
                let why = format!("it is {}", worker.status.name());
                reasons.insert(name.clone(), json!(why));
                places += usize::from(is_first(name));
                continue;
            }
            if capacity(staying.values().copied()) < needed {
                let why = json!("the other workers cannot hold the data twice over");
                reasons.insert(name.clone(), why);
                break;
            }
            places += 1;
            names.push(name);
        }
        json!({"names": names, "reasons": reasons})
    }

    /// `POST /dask-azureml/v1/retire`: the answer, and the runs whose workers have left.
    pub(crate) fn retire(
        &mut self,
        names: &[String],
        now: Duration,
    ) -> Result<(Value, Vec<String>), Conflict> {
        let mut seen: Vec<&String> = Vec::new();
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        let (known, unknown): (Vec<&String>, Vec<&String>) = seen
            .iter()
            .partition(|name| self.workers.contains_key(**name));
        self.check_not_too_early(&known, now)?;
        let mut reasons = Map::new();
        let mut going: Vec<&String> = Vec::new();
        for name in &known {
            if self.is_own(&self.workers[*name]) {
                reasons.insert((*name).clone(), json!("it is the head's own worker"));
            } else {
                going.push(name);
            }
        }
        while !going.is_empty() && !self.rest_holds_data(&going) {
            if let Some(name) = going.pop() {
                let reason = json!("the other workers cannot hold its data");
                reasons.insert(name.clone(), reason);
                if let Some(worker) = self.workers.get_mut(name) {
                    worker.refused_at = Some(now);
                }
            }
        }
        for name in &going {
            if let Some(worker) = self.workers.get_mut(*name) {
                worker.status = Status::ClosingGracefully;
            }
        }
        let mut left = Vec::new();
        let (mut retired, mut leaving) = (Vec::new(), Vec::new());
        for name in going {
            match self.let_go(name) {
                Some(run) => {
                    retired.push(name);
                    left.push(run);
                }
                None => leaving.push(name),
            }
        }
        let refused: Vec<&String> = seen
            .iter()
            .filter(|name| reasons.contains_key(**name))
            .copied()
            .collect();
        let answer = json!({
            "retired": retired, "refused": refused, "unknown": unknown, "leaving": leaving,
            "reasons": reasons,
        });
        Ok((answer, left))
    }

    /// A worker that leaves and has nothing to do any more is gone, and its data elsewhere; gives
    /// its run.
    pub(crate) fn let_go(&mut self, name: &str) -> Option<String> {
        let ready =
            |worker: &Worker| worker.status == Status::ClosingGracefully && worker.processing == 0;
        if !self.workers.get(name).is_some_and(ready) {
            return None;
        }
        let gone = self.workers.remove(name)?;
        let stays = |worker: &&mut Worker| worker.status == Status::Running;
        if let Some(heir) = self.workers.values_mut().find(stays) {
            heir.keys += gone.keys;
            heir.nbytes += gone.nbytes;
        }
        Some(gone.run)
    }

    fn check_not_too_early(&self, names: &[&String], now: Duration) -> Result<(), Conflict> {
        let closing = |name: &&&String| self.workers[**name].status == Status::ClosingGracefully;
        let leaving: Vec<&&String> = names.iter().filter(closing).collect();
        if !leaving.is_empty() {
            return Err(Conflict(
                json!({"error": "already leaving", "names": leaving, "retry_after": 5}),
            ));
        }
        let left_alone = |name: &&String| {
            let at = self.workers[*name].refused_at?;
            let passed = now.saturating_sub(at);
            (passed < REFUSED).then(|| REFUSED - passed)
        };
        let recent: Vec<&&String> = names
            .iter()
            .filter(|name| left_alone(name).is_some())
            .collect();
        if let Some(longest) = names.iter().filter_map(left_alone).min() {
            return Err(Conflict(json!({
                "error": "refused a moment ago",
                "names": recent,
                "retry_after": longest.as_secs_f64().ceil() as u64,
            })));
        }
        Ok(())
    }

    fn rest_holds_data(&self, going: &[&String]) -> bool {
        let goes = |name: &String| going.contains(&name);
        let leaving = self.workers.iter().filter(|(name, _)| goes(name));
        let to_move: u64 = leaving.map(|(_, worker)| worker.nbytes).sum();
        let staying = || {
            let stays = |(name, worker): &(&String, &Worker)| {
                !goes(name) && worker.status == Status::Running
            };
            self.workers.iter().filter(stays).map(|(_, worker)| worker)
        };
        let held: u64 = staying().map(|worker| worker.nbytes).sum();
        to_move == 0 || held.saturating_add(to_move) <= capacity(staying())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A head `h` with its own worker, and workers `a` and `b`, of 1 GiB each.
    fn scheduler() -> Scheduler {
        let mut scheduler = Scheduler::new(
            "h",
            "Scheduler-pretend-1".to_owned(),
            "tcp://127.1.0.1:8786".to_owned(),
            String::new(),
            Timestamp::UNIX_EPOCH,
        );
        for run in ["a", "b", "h"] {
            let worker = Worker::new(run, format!("tcp://{run}:1"), 2, GIB);
            scheduler.workers.insert(format!("{run}.0"), worker);
        }
        scheduler
    }

    fn who(to_close: Value) -> Vec<String> {
        serde_json::from_value(to_close["names"].clone()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn idle_workers_go_first_and_never_so_many_that_the_data_has_no_room_twice() {
        let mut scheduler = scheduler();
        assert_eq!(who(scheduler.to_close(9, &[])), ["a.0", "b.0"]);
        scheduler.workers.get_mut("a.0").unwrap().processing = 1;
        assert_eq!(who(scheduler.to_close(9, &[])), ["b.0", "a.0"]);
        scheduler.workers.get_mut("a.0").unwrap().nbytes = GIB * 3 / 4;
        assert_eq!(who(scheduler.to_close(9, &[])), ["b.0"]);
    }

    #[test]
    fn who_is_named_goes_first_and_nobody_in_its_place() {
        let mut scheduler = scheduler();
        let first = names(&["b", "gone", "h"]);
        assert_eq!(who(scheduler.to_close(9, &first)), ["b.0", "a.0"]);
        assert_eq!(who(scheduler.to_close(1, &first)), ["b.0"]);
        scheduler.workers.get_mut("b.0").unwrap().status = Status::Paused;
        assert_eq!(
            scheduler.to_close(1, &first),
            json!({"names": [], "reasons": {"b.0": "it is paused"}})
        );
        assert_eq!(who(scheduler.to_close(2, &first)), ["a.0"]);
        assert_eq!(who(scheduler.to_close(1, &[])), ["a.0"]);
    }

    #[test]
    fn a_load_that_is_told_is_told_on_and_ends_with_its_tasks() {
        let mut scheduler = scheduler();
        let load = |scheduler: &Scheduler| scheduler.state(Timestamp::UNIX_EPOCH)["load"].clone();
        scheduler.workers.get_mut("a.0").unwrap().processing = 2;
        (scheduler.queued, scheduler.unrunnable) = (10, 3);
        scheduler.note_idleness(Timestamp::UNIX_EPOCH);
        assert_eq!(
            load(&scheduler),
            json!({"idle_since": null, "clients": 0, "processing": 2, "queued": 10, "unrunnable": 3,
                   "work_seconds": 6.0, "nbytes": 0})
        );
        scheduler.work_seconds = Some(1200.0);
        assert_eq!(load(&scheduler)["work_seconds"], 1200.0);
        (scheduler.queued, scheduler.unrunnable) = (0, 0);
        scheduler.workers.get_mut("a.0").unwrap().processing = 0;
        scheduler.note_idleness(Timestamp::UNIX_EPOCH);
        assert_eq!(load(&scheduler)["work_seconds"], 0.0);
        assert_eq!(load(&scheduler)["idle_since"], 0.0);
    }

    #[test]
    fn a_retired_workers_data_is_elsewhere_and_the_heads_own_stays() {
        let mut scheduler = scheduler();
        let worker = scheduler.workers.get_mut("a.0").unwrap();
        (worker.keys, worker.nbytes) = (3, 100);
        let asked = names(&["a.0", "h.0", "x", "a.0"]);
        let (answer, left) = scheduler.retire(&asked, Duration::ZERO).unwrap();
        assert_eq!(
            answer,
            json!({"retired": ["a.0"], "refused": ["h.0"], "unknown": ["x"], "leaving": [],
                   "reasons": {"h.0": "it is the head's own worker"}})
        );
        assert_eq!(left, ["a"]);
        assert_eq!(scheduler.workers["b.0"].keys, 3);
    }

    #[test]
    fn a_busy_worker_leaves_when_its_tasks_have_ended() {
        let mut scheduler = scheduler();
        scheduler.workers.get_mut("a.0").unwrap().processing = 1;
        let (answer, left) = scheduler.retire(&names(&["a.0"]), Duration::ZERO).unwrap();
        assert_eq!((&answer["leaving"], left.len()), (&json!(["a.0"]), 0));
        let again = scheduler.retire(&names(&["a.0"]), Duration::ZERO);
        assert_eq!(again.unwrap_err().0["error"], "already leaving");
        scheduler.workers.get_mut("a.0").unwrap().processing = 0;
        assert_eq!(scheduler.let_go("a.0"), Some("a".to_owned()));
    }

    #[test]
    fn a_worker_whose_data_has_no_room_is_refused_and_left_alone_for_a_while() {
        let mut scheduler = scheduler();
        for worker in scheduler.workers.values_mut() {
            worker.nbytes = GIB * 3 / 4;
        }
        let (answer, _) = scheduler.retire(&names(&["a.0"]), Duration::ZERO).unwrap();
        assert_eq!(answer["refused"], json!(["a.0"]));
        let soon = Duration::from_millis(3500);
        let again = scheduler.retire(&names(&["a.0"]), soon).unwrap_err();
        assert_eq!(
            again.0,
            json!({"error": "refused a moment ago", "names": ["a.0"], "retry_after": 7})
        );
        assert!(scheduler.retire(&names(&["a.0"]), REFUSED).is_ok());
    }
}

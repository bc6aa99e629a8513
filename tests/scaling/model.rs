//! A pool whose nodes boot and idle, and a scheduler with its tasks, second by second: the durations are those of
//! Azure ML (contract section 14), the estimates those of Dask.

#![allow(dead_code, reason = "tests and bench need different parts")]

use std::collections::VecDeque;

use dask_azureml_operator::dask::{Load, Worker};

use crate::sight::worker;

/// From nothing to a node that can take a job.
pub(crate) const BOOT: u64 = 180;
/// How long the pool keeps a node without a job.
pub(crate) const IDLE: u64 = 120;
/// From a node that takes a job to a worker that has registered: the image is cached, Python starts.
const START: u64 = 20;
/// From being told to go until the job has ended: data moves, the process ends, Azure notices.
const RETIRE: u64 = 15;
/// What Dask takes a task for that it has never seen end.
const UNKNOWN: f64 = 0.5;

/// Work that comes at once: tasks of the same kind.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) at: u64,
    pub(crate) tasks: u32,
    /// Seconds of each.
    pub(crate) seconds: u32,
}

#[derive(Clone, Debug)]
struct Given {
    burst: usize,
    ends_at: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Waits for a node.
    Queued,
    /// Has a node and no worker yet.
    Starting(u64),
    Running,
    Retiring(u64),
}

#[derive(Clone, Debug)]
struct Job {
    slot: usize,
    stage: Stage,
    given: Vec<Given>,
}

/// Seconds of all nodes, the head's not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paid {
    /// There, from the moment that it is asked for.
    pub(crate) paid: u64,
    /// At least one thread runs a task.
    pub(crate) worked: u64,
}

pub(crate) struct Model {
    threads: u32,
    pub(crate) now: u64,
    /// When each is ready.
    booting: Vec<u64>,
    /// Since when each has had no job.
    idle: Vec<u64>,
    jobs: Vec<Job>,
    /// Tasks that the head's own worker runs; `None` if it has none.
    head: Option<Vec<Given>>,
    bursts: Vec<Burst>,
    /// Tasks that wait, by burst, oldest first.
    waiting: VecDeque<(usize, u32)>,
    left: Vec<u32>,
    /// Some task of the burst has ended, so that Dask knows how long they take.
    known: Vec<bool>,
    pub(crate) done_at: Vec<Option<u64>>,
    /// Tasks that were begun anew as their worker was let go.
    pub(crate) begun_anew: u32,
    pub(crate) seconds: Paid,
    /// The pool gets no more nodes than this.
    pub(crate) at_most: usize,
}

impl Model {
    pub(crate) fn new(threads: u32, head_runs_a_worker: bool, mut bursts: Vec<Burst>) -> Self {
        bursts.sort_by_key(|burst| burst.at);
        Self {
            threads,
            now: 0,
            booting: Vec::new(),
            idle: Vec::new(),
            jobs: Vec::new(),
            head: head_runs_a_worker.then(Vec::new),
            waiting: VecDeque::new(),
            left: bursts.iter().map(|burst| burst.tasks).collect(),
            known: vec![false; bursts.len()],
            done_at: vec![None; bursts.len()],
            bursts,
            begun_anew: 0,
            seconds: Paid::default(),
            at_most: usize::MAX,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done_at.iter().all(Option::is_some)
    }

    /// One second passes.
    pub(crate) fn pass(&mut self) {
        let now = self.now;
        for (number, burst) in self.bursts.iter().enumerate() {
            if burst.at == now {
                self.waiting.push_back((number, burst.tasks));
            }
        }
        self.end_tasks();
        self.move_jobs();
        self.give_nodes();
        self.give_tasks();
        let worked = self.jobs.iter().filter(|job| !job.given.is_empty()).count();
        self.seconds.worked += worked as u64;
        self.seconds.paid += self.nodes() as u64;
        self.now += 1;
    }

    fn end_tasks(&mut self) {
        let now = self.now;
        let all = self.jobs.iter_mut().map(|job| &mut job.given);
        for given in all.chain(self.head.as_mut()) {
            given.retain(|task| {
                let has_ended = task.ends_at <= now;
                if has_ended {
                    self.known[task.burst] = true;
                    self.left[task.burst] -= 1;
                    if self.left[task.burst] == 0 {
                        self.done_at[task.burst] = Some(now);
                    }
                }
                !has_ended
            });
        }
    }

    fn move_jobs(&mut self) {
        let now = self.now;
        for job in &mut self.jobs {
            if matches!(job.stage, Stage::Starting(until) if until <= now) {
                job.stage = Stage::Running;
            }
        }
        let before = self.jobs.len();
        self.jobs
            .retain(|job| !matches!(job.stage, Stage::Retiring(until) if until <= now));
        let ended = before - self.jobs.len();
        self.idle.extend(std::iter::repeat_n(now, ended));
        self.idle.retain(|since| now - since < IDLE);
    }

    fn give_nodes(&mut self) {
        let now = self.now;
        let ready = self.booting.iter().filter(|at| **at <= now).count();
        self.booting.retain(|at| *at > now);
        self.idle.extend(std::iter::repeat_n(now, ready));
        let mut queued = 0;
        for job in &mut self.jobs {
            if !matches!(job.stage, Stage::Queued) {
                continue;
            }
            match self.idle.pop() {
                Some(_) => job.stage = Stage::Starting(now + START),
                None => queued += 1,
            }
        }
        let room = self.at_most.saturating_sub(self.nodes());
        let missing = (queued - self.booting.len().min(queued)).min(room);
        self.booting
            .extend(std::iter::repeat_n(now + BOOT, missing));
    }

    fn nodes(&self) -> usize {
        let with_job = |job: &&Job| !matches!(job.stage, Stage::Queued);
        self.booting.len() + self.idle.len() + self.jobs.iter().filter(with_job).count()
    }

    /// The pool gets no more nodes, and says so.
    pub(crate) fn refuses(&self) -> bool {
        self.nodes() >= self.at_most
            && self
                .jobs
                .iter()
                .any(|job| matches!(job.stage, Stage::Queued))
    }

    /// To whoever has fewest.
    fn give_tasks(&mut self) {
        let now = self.now;
        let threads = self.threads as usize;
        loop {
            let running = self
                .jobs
                .iter_mut()
                .filter(|job| matches!(job.stage, Stage::Running))
                .map(|job| &mut job.given);
            let freest = self
                .head
                .iter_mut()
                .chain(running)
                .min_by_key(|given| given.len());
            let Some(given) = freest.filter(|given| given.len() < threads) else {
                return;
            };
            let Some((burst, count)) = self.waiting.front_mut() else {
                return;
            };
            given.push(Given {
                burst: *burst,
                ends_at: now + u64::from(self.bursts[*burst].seconds),
            });
            *count -= 1;
            if *count == 0 {
                self.waiting.pop_front();
            }
        }
    }

    /// As many worker jobs as are wanted: the missing are submitted; too many go, queued ones first, then those with
    /// the fewest tasks.
    pub(crate) fn aim(&mut self, wanted: usize) {
        let alive = |job: &&Job| !matches!(job.stage, Stage::Retiring(_));
        let mut count = self.jobs.iter().filter(alive).count();
        while count < wanted {
            let taken = |slot: &usize| self.jobs.iter().all(|job| job.slot != *slot);
            let slot = (0..).find(taken).unwrap_or(0);
            self.jobs.push(Job {
                slot,
                stage: Stage::Queued,
                given: Vec::new(),
            });
            count += 1;
        }
        while count > wanted {
            let cost = |job: &Job| match job.stage {
                Stage::Queued => 0,
                Stage::Starting(_) => 1,
                _ => 2 + job.given.len(),
            };
            let alive = self.jobs.iter().enumerate().filter(|(_, job)| alive(job));
            let Some((at, _)) = alive.min_by_key(|(_, job)| cost(job)) else {
                return;
            };
            if matches!(self.jobs[at].stage, Stage::Queued) {
                self.jobs.remove(at);
            } else {
                let job = &mut self.jobs[at];
                job.stage = Stage::Retiring(self.now + RETIRE);
                for task in std::mem::take(&mut job.given) {
                    self.begun_anew += 1;
                    self.waiting.push_front((task.burst, 1));
                }
            }
            count -= 1;
        }
    }

    /// Whoever waits for a node has one, and its worker has registered.
    pub(crate) fn nodes_are_there(&mut self) {
        self.booting.clear();
        for job in &mut self.jobs {
            job.stage = Stage::Running;
        }
    }

    /// The worker dies with what it is at, and so does its job.
    pub(crate) fn kill(&mut self, nth: usize) {
        let running = |job: &Job| matches!(job.stage, Stage::Running);
        let at = self.jobs.iter().enumerate().filter(|(_, job)| running(job));
        if let Some((at, _)) = at.cycle().nth(nth) {
            let job = self.jobs.remove(at);
            self.idle.push(self.now);
            let again = job.given.into_iter().map(|task| (task.burst, 1));
            again.for_each(|task| self.waiting.push_front(task));
        }
    }

    /// Slot and status, as Azure tells them.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.jobs.iter().map(|job| {
            let status = match job.stage {
                Stage::Queued => "Queued",
                Stage::Starting(_) | Stage::Running => "Running",
                Stage::Retiring(_) => "Finalizing",
            };
            (job.slot, status)
        })
    }

    /// What Dask tells.
    pub(crate) fn answer(&self) -> (Load, Vec<Worker>) {
        let running = self
            .jobs
            .iter()
            .filter(|job| matches!(job.stage, Stage::Running));
        let count = |given: &Vec<Given>| u32::try_from(given.len()).unwrap_or(u32::MAX);
        let workers = running
            .clone()
            .map(|job| worker(Some(job.slot), self.threads, count(&job.given)));
        let own = self
            .head
            .iter()
            .map(|given| worker(None, self.threads, count(given)));
        let each = |burst: usize| match self.known[burst] {
            true => f64::from(self.bursts[burst].seconds),
            false => UNKNOWN,
        };
        let given = running.map(|job| &job.given).chain(&self.head).flatten();
        let given: Vec<_> = given.collect();
        let waiting = self.waiting.iter();
        let load = Load {
            idle_since: None,
            clients: 1,
            processing: u32::try_from(given.len()).unwrap_or(u32::MAX),
            queued: self.waiting.iter().map(|(_, count)| count).sum(),
            unrunnable: 0,
            work_seconds: given.iter().map(|task| each(task.burst)).sum::<f64>()
                + waiting
                    .map(|(burst, count)| each(*burst) * f64::from(*count))
                    .sum::<f64>(),
            nbytes: 0,
        };
        (load, own.chain(workers).collect())
    }
}

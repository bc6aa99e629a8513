//! The life of jobs that only pretend: how heads and workers begin, find each other and end.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::Transaction;
use crate::kinds::{self, vm_sizes};
use crate::physics::Event;
use crate::physics::run::{JobStatus, Process};
use crate::pretend::scheduler::{Scheduler, Status, Worker};
use crate::pretend::{Order, Told};
use crate::processes;
use crate::resource_id::ResourceId;

/// Between a worker's word that it goes and the end of its job.
const WORKER_EXIT_SECONDS: f64 = 2.5;
/// Exit code of a worker whose scheduler is gone.
const SCHEDULER_GONE: i64 = 3;
const SCHEDULER_PORT: u16 = 8786;
pub(crate) const DASHBOARD_PORT: u16 = 8787;
const WORKER_PORT: u16 = 40_000;

/// Why a stand-in cannot be told something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTold {
    #[error("no job of this name pretends to run")]
    NotRunning,
    #[error("the job is no worker that has joined its scheduler")]
    NoWorker,
    #[error("the job is no head that is ready")]
    NoHead,
}

impl Transaction<'_> {
    /// A run begins on its node, without a process.
    pub(crate) fn pretend_start(&mut self, key: &str) {
        let now = self.now.timestamp;
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        run.process = Process::Pretended;
        run.started = Some(now);
        let (timeout, attempt) = (run.timeout_seconds, run.attempt);
        if run.status == JobStatus::Queued {
            self.set_status(key, JobStatus::Running);
        }
        if let Some(seconds) = timeout {
            let run = key.to_owned();
            self.schedule(seconds, Event::TimedOut { run, attempt });
        }
        match self.variable(key, "ROLE").as_str() {
            "head" => self.begin_head(key),
            "worker" => self.begin_worker(key),
            // Any other command goes on until it is told to end.
            _ => {}
        }
    }

    /// A variable by which the operator tells a job what to be.
    fn variable(&self, key: &str, name: &str) -> String {
        let job = self.state.documents.by_key(key);
        let value = job.map(|job| {
            &job.body["properties"]["environmentVariables"][format!("DASK_AZUREML_{name}")]
        });
        let text = value.and_then(Value::as_str).unwrap_or_default();
        text.trim().to_owned()
    }

    fn address_of(&self, key: &str) -> Option<Ipv4Addr> {
        let run = self.state.physics.runs.get(key)?;
        let pool = self.state.physics.pools.get(&run.pool)?;
        let own = |node: &&crate::physics::pool::Node| Some(&node.id) == run.node();
        pool.nodes.iter().find(own).map(|node| node.address)
    }

    /// The same for the same attempt of the same run, another one for each other.
    fn mark(&self, key: &str) -> Uuid {
        let attempt = self.attempt_of(key);
        let guid = Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes());
        Uuid::new_v5(&guid, &attempt.to_be_bytes())
    }

    fn begin_head(&mut self, key: &str) {
        let Some(address) = self.address_of(key) else {
            return;
        };
        let scheduler = Scheduler::new(
            key,
            format!("Scheduler-pretend-{}", self.mark(key)),
            format!("tcp://{address}:{SCHEDULER_PORT}"),
            self.variable(key, "TOKEN_SHA256").to_lowercase(),
            self.now.timestamp,
        );
        let schedulers = &mut self.state.pretend.schedulers;
        schedulers.insert(key.to_owned(), scheduler);
        let run = key.to_owned();
        let managed =
            ResourceId::parse(key).is_some_and(|id| kinds::has_managed_network(self, &id));
        if managed {
            // Microsoft's own network: whatever listens there, nobody of ours reaches it.
            self.pretend_listens(key, DASHBOARD_PORT);
        } else {
            self.order(processes::Order::Pretend(Order::Listen { run, address }));
        }
    }

    /// The head's routes answer: it publishes where, and workers join.
    pub(crate) fn pretend_listens(&mut self, key: &str, port: u16) {
        self.state.physics.reported(key);
        let Some(scheduler) = self.state.pretend.schedulers.get_mut(key) else {
            return;
        };
        scheduler.ready = true;
        let scheduler_address = scheduler.address.clone();
        let Some(address) = self.address_of(key) else {
            return;
        };
        if let Some(body) = self.state.documents.body_mut(key) {
            let tags = &mut body["properties"]["tags"];
            tags["headnode"] = json!(address);
            tags["scheduler"] = json!(scheduler_address);
            tags["dashboard"] = json!(format!("http://{address}:{port}"));
        }
        if self.variable(key, "RUN_WORKER") == "true" {
            self.join(key, key);
        }
        let waiting: Vec<String> = self.workers_of(key);
        for worker in waiting {
            self.join(&worker, key);
        }
    }

    /// The runs of the workers that belong to a head, by their keys.
    fn workers_of(&self, head: &str) -> Vec<String> {
        let heads = self.state.pretend.heads.iter();
        let mut workers: Vec<String> = heads
            .filter(|(_, own)| *own == head)
            .map(|(worker, _)| worker.clone())
            .collect();
        workers.sort_unstable();
        workers
    }

    fn begin_worker(&mut self, key: &str) {
        let head = self.variable(key, "HEAD_RUN");
        let Some(head) = ResourceId::parse(key)
            .and_then(|id| Some(id.parent()?.child("jobs", Some(&head)).key()))
        else {
            return;
        };
        let ended = self.state.physics.runs.get(&head);
        if ended.is_none_or(|head| head.status.is_terminal()) {
            self.exit_later(key, 1);
            return;
        }
        let heads = &mut self.state.pretend.heads;
        heads.insert(key.to_owned(), head.clone());
        let schedulers = &self.state.pretend.schedulers;
        if schedulers
            .get(&head)
            .is_some_and(|scheduler| scheduler.ready)
        {
            self.join(key, &head);
        }
    }

    fn join(&mut self, key: &str, head: &str) {
        let Some(address) = self.address_of(key) else {
            return;
        };
        let number = |text: String| text.parse::<u64>().ok();
        let size = self.size_of(key);
        let cores = size["vCPUs"].as_u64().unwrap_or(1);
        let threads = number(self.variable(key, "WORKER_THREADS")).unwrap_or(cores);
        let memory = (size["memoryGB"].as_f64().unwrap_or(1.0) * f64::from(1 << 30)) as u64;
        let limit = number(self.variable(key, "WORKER_MEMORY_LIMIT")).unwrap_or(memory);
        let run = ResourceId::parse(key).map(|id| id.name().to_owned());
        let mark = self.mark(key).simple().to_string();
        let name = format!("{}.{}", run.unwrap_or_default(), &mark[..6]);
        let now = self.now.timestamp;
        if let Some(scheduler) = self.state.pretend.schedulers.get_mut(head) {
            let address = format!("tcp://{address}:{WORKER_PORT}");
            let worker = Worker::new(key, address, threads, limit);
            scheduler.workers.insert(name, worker);
            scheduler.note_idleness(now);
        }
    }

    fn size_of(&self, key: &str) -> Value {
        let run = self.state.physics.runs.get(key);
        let compute = run.and_then(|run| self.state.documents.by_key(&run.pool));
        let size = compute
            .and_then(|found| found.body["properties"]["properties"]["vmSize"].as_str())
            .unwrap_or_default();
        vm_sizes::find(&self.settings.world, size).unwrap_or_default()
    }

    fn exit_later(&mut self, key: &str, code: i64) {
        let (run, attempt) = (key.to_owned(), self.attempt_of(key));
        self.schedule(
            WORKER_EXIT_SECONDS,
            Event::PretendedExit { run, attempt, code },
        );
    }

    pub(crate) fn pretended_exit(&mut self, key: &str, attempt: u32, code: i64) {
        let pretends = self
            .state
            .physics
            .runs
            .get(key)
            .is_some_and(|run| run.attempt == attempt && run.process == Process::Pretended);
        if pretends {
            self.pretended_gone(key);
            let tail = "the job only pretended to run";
            self.process_ended(key, code, (&processes::log_of(0), tail));
        }
    }

    /// A run that pretended is over: its scheduler forgets it, or is gone for its workers.
    pub(crate) fn pretended_gone(&mut self, key: &str) {
        if let Some(run) = self.state.physics.runs.get_mut(key) {
            run.process = Process::None;
        }
        self.state.physics.reported(key);
        if self.state.pretend.schedulers.remove(key).is_some() {
            let run = key.to_owned();
            self.order(processes::Order::Pretend(Order::HangUp { run }));
            for worker in self.workers_of(key) {
                self.state.pretend.heads.remove(&worker);
                self.exit_later(&worker, SCHEDULER_GONE);
            }
        }
        let now = self.now.timestamp;
        let pretend = &mut self.state.pretend;
        if let Some(head) = pretend.heads.remove(key)
            && let Some(scheduler) = pretend.schedulers.get_mut(&head)
        {
            scheduler.workers.retain(|_, worker| worker.run != key);
            scheduler.note_idleness(now);
        }
    }

    /// `POST /dask-azureml/v1/retire` of a head's scheduler; `None`: it is gone.
    pub(crate) fn pretend_retire(
        &mut self,
        head: &str,
        names: &[String],
    ) -> Option<Result<Value, Value>> {
        let now = self.now.elapsed;
        let scheduler = self.state.pretend.schedulers.get_mut(head)?;
        Some(match scheduler.retire(names, now) {
            Ok((answer, left)) => {
                for worker in left {
                    self.state.pretend.heads.remove(&worker);
                    self.exit_later(&worker, 0);
                }
                Ok(answer)
            }
            Err(conflict) => Err(conflict.0),
        })
    }

    /// The control port tells a stand-in what to be like.
    pub(crate) fn tell_pretended(&mut self, job: &str, told: &Told) -> Result<(), NotTold> {
        let runs = self.state.physics.runs.iter();
        let own = |(_, run): &(&String, &crate::physics::run::Run)| {
            run.id == job && run.process == Process::Pretended
        };
        let key = runs
            .clone()
            .find_map(|found| own(&found).then(|| found.0.clone()));
        let key = key.ok_or(NotTold::NotRunning)?;
        let of_head = [
            told.clients,
            told.queued,
            told.unrunnable,
            told.adaptive_target,
        ];
        if of_head.iter().any(Option::is_some) || told.work_seconds.is_some() {
            let scheduler = self.state.pretend.schedulers.get_mut(&key);
            let scheduler = scheduler.filter(|scheduler| scheduler.ready);
            let scheduler = scheduler.ok_or(NotTold::NoHead)?;
            scheduler.clients = told.clients.unwrap_or(scheduler.clients);
            scheduler.queued = told.queued.unwrap_or(scheduler.queued);
            scheduler.unrunnable = told.unrunnable.unwrap_or(scheduler.unrunnable);
            scheduler.work_seconds = told.work_seconds.or(scheduler.work_seconds);
            scheduler.adaptive_target = told.adaptive_target.or(scheduler.adaptive_target);
            scheduler.note_idleness(self.now.timestamp);
        }
        let of_worker = [told.keys, told.nbytes, told.processing, told.long_running];
        if of_worker.iter().any(Option::is_some) || told.status.is_some() {
            self.tell_worker(&key, told)?;
        }
        if let Some(code) = told.exit {
            let attempt = self.attempt_of(&key);
            self.pretended_exit(&key, attempt, code);
        }
        Ok(())
    }

    fn tell_worker(&mut self, key: &str, told: &Told) -> Result<(), NotTold> {
        let now = self.now.timestamp;
        let pretend = &mut self.state.pretend;
        let head = pretend.heads.get(key).map_or(key, String::as_str);
        let scheduler = pretend.schedulers.get_mut(head).ok_or(NotTold::NoWorker)?;
        let mut workers = scheduler.workers.iter_mut();
        let own = workers.find(|(_, worker)| worker.run == key);
        let (name, worker) = own.ok_or(NotTold::NoWorker)?;
        worker.keys = told.keys.unwrap_or(worker.keys);
        worker.nbytes = told.nbytes.unwrap_or(worker.nbytes);
        worker.processing = told.processing.unwrap_or(worker.processing);
        worker.long_running = told.long_running.unwrap_or(worker.long_running);
        if worker.status != Status::ClosingGracefully {
            worker.status = told.status.unwrap_or(worker.status);
        }
        let name = name.clone();
        let left = scheduler.let_go(&name);
        scheduler.note_idleness(now);
        if let Some(worker) = left {
            self.state.pretend.heads.remove(&worker);
            self.exit_later(&worker, 0);
        }
        Ok(())
    }
}

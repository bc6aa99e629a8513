//! What the scheduler has to do and holds, in workers.

use std::collections::BTreeSet;

use crate::api::Autoscaling;
use crate::azure_resources::ComputeHave;
use crate::azure_resources::job::Lineup;
use crate::dask::{State, Worker};
use crate::reconcile::{Observed, ValidCluster};

use super::window::Useful;

/// Data may fill so much of the memory while something runs: Dask's own share, above which it would spill.
const FULL: f64 = 0.6;
/// What stays must hold the data so many times over, as it is copied before anything is let go.
const TWICE: f64 = 2.0;
/// A task that takes longer is not begun anew for the sake of a smaller number: the worker that runs it stays.
const LONG_TASK_SECONDS: f64 = 60.0;
/// No machine has more: Azure's largest has 416 cores.
const MOST_THREADS: u32 = 4096;

/// What a scheduler tells, as far as it makes sense.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Demand {
    /// Of one worker.
    pub(super) threads: u32,
    /// Bytes of one worker; `None` where it is not known or has no limit.
    memory: Option<u64>,
    /// Given to workers, or waiting for one.
    tasks: u32,
    work_seconds: f64,
    target_seconds: u32,
    /// Bytes.
    held: u64,
    /// Tasks that ask for something that no present worker has.
    pub(super) unrunnable: u32,
    /// Workers of worker jobs that take tasks.
    pub(super) registered: u32,
    /// Worker jobs that have neither ended nor been told to.
    alive: u32,
    /// Threads of what is there beside the worker jobs: the head's own worker, or somebody's guest.
    other_threads: u64,
    /// Bytes of the same.
    other_memory: u64,
    /// Registered workers that are at something.
    busy: u32,
}

impl Demand {
    /// # Errors
    /// What cannot be, if the answer says such a thing.
    pub(super) fn of(
        state: &State,
        lineup: &Lineup,
        autoscaling: &Autoscaling,
        cluster: &ValidCluster,
        observed: &Observed,
    ) -> Result<Self, &'static str> {
        make_sense(state)?;
        let load = &state.load;
        let jobs: BTreeSet<&str> = lineup
            .alive_workers
            .iter()
            .map(|name| lineup.jobs[name].id.as_str())
            .collect();
        let taking = state.workers.iter().filter(|worker| worker.is_running());
        let (ours, others): (Vec<&Worker>, Vec<&Worker>) =
            taking.partition(|worker| jobs.contains(worker.job_id()));
        let sum = |workers: &[&Worker], of: fn(&Worker) -> u64| {
            workers.iter().map(|worker| of(worker)).sum::<u64>()
        };
        let threads_of = |worker: &Worker| u64::from(worker.threads);
        let memory_of = |worker: &Worker| worker.memory_limit;
        let mean = |workers: &[&Worker], of: fn(&Worker) -> u64| {
            let known = workers.iter().filter(|worker| of(worker) > 0).count();
            sum(workers, of).checked_div(u64::try_from(known).unwrap_or(u64::MAX))
        };
        let as_asked = cluster.worker.threads.map(u64::from);
        let of_others = mean(&others, threads_of);
        let of_pool = cores(cluster, observed);
        // A head with a pool of its own says nothing of the workers' machines.
        let expected = match cluster.head_nodes() {
            0 => of_pool.or(of_others),
            _ => of_others.or(of_pool),
        };
        let threads = mean(&ours, threads_of)
            .or(as_asked)
            .or(expected)
            .unwrap_or(1);
        let memory = mean(&ours, memory_of)
            .or(cluster.worker.memory_limit)
            .or_else(|| mean(&others, memory_of));
        Ok(Self {
            threads: u32::try_from(threads).unwrap_or(MOST_THREADS).max(1),
            memory: memory.filter(|bytes| *bytes > 0),
            tasks: load.processing.saturating_add(load.queued),
            work_seconds: load.work_seconds,
            target_seconds: autoscaling.target_duration_seconds.max(1),
            held: load.nbytes,
            unrunnable: load.unrunnable,
            registered: count(ours.len()),
            alive: count(lineup.alive_workers.len()),
            other_threads: sum(&others, threads_of),
            other_memory: sum(&others, memory_of),
            busy: count(ours.iter().filter(|worker| worker.processing > 0).count()),
        })
    }

    pub(super) fn useful(&self) -> Useful {
        let grow = self.for_work().max(self.for_memory());
        // What runs or waits may as well have the workers that are there: they cost the same for half as long as half
        // of them would for twice.
        let keep = self.occupied().min(self.alive);
        Useful {
            grow,
            keep: grow.max(keep),
        }
    }

    /// Enough to do in time what there is to do.
    fn for_work(&self) -> u32 {
        let in_time = self.work_seconds / f64::from(self.target_seconds);
        let wanted = self.workers_with(in_time.min(f64::from(self.tasks)));
        let nobody_is_there = self.registered == 0 && self.other_threads == 0;
        wanted.max(u32::from(self.tasks > 0 && nobody_is_there))
    }

    /// As many as the tasks could keep busy, one thread each.
    fn occupied(&self) -> u32 {
        self.workers_with(f64::from(self.tasks))
    }

    fn workers_with(&self, threads: f64) -> u32 {
        whole((threads - self.other_threads as f64) / f64::from(self.threads))
    }

    /// Data alone asks for nothing: what is full and at rest would be full and at rest again.
    fn for_memory(&self) -> u32 {
        if self.tasks == 0 {
            return 0;
        }
        self.workers_to_hold(1.0 / FULL)
    }

    fn workers_to_hold(&self, times: f64) -> u32 {
        let Some(memory) = self.memory else { return 0 };
        whole((self.held as f64 * times - self.other_memory as f64) / memory as f64)
    }

    /// So many of those that are there must stay, whatever there is to do.
    pub(super) fn floor(&self) -> u32 {
        self.data_floor().max(self.busy_floor())
    }

    /// For the data's sake.
    fn data_floor(&self) -> u32 {
        let one = u32::from(self.held > 0 && self.other_threads == 0);
        self.workers_to_hold(TWICE).max(one).min(self.alive)
    }

    /// For the sake of what they are at.
    fn busy_floor(&self) -> u32 {
        let mean = self.work_seconds / f64::from(self.tasks.max(1));
        if mean > LONG_TASK_SECONDS {
            self.busy
        } else {
            0
        }
    }

    /// What there is to do, in the words of a decision.
    pub(super) fn told(&self) -> String {
        if self.tasks == 0 && self.held == 0 {
            return "nothing runs or waits".to_owned();
        }
        if self.tasks == 0 {
            return format!("nothing runs, {} held", bytes(self.held));
        }
        let Self {
            tasks,
            work_seconds,
            target_seconds,
            threads,
            ..
        } = self;
        if self.for_memory() > self.for_work() {
            let memory = bytes(self.memory.unwrap_or(0));
            return format!(
                "{} held over at most 60 % of {memory} each, {tasks} tasks",
                bytes(self.held)
            );
        }
        let others = match self.other_threads {
            0 => String::new(),
            others => format!(" beside {others} that are there"),
        };
        format!(
            "{tasks} tasks, {work_seconds:.0} s of work over {threads} threads x {target_seconds} s{others}"
        )
    }

    /// What keeps more workers than the work does, if anything does.
    pub(super) fn told_floor(&self) -> String {
        if self.data_floor() > self.busy_floor() {
            format!("to hold {} twice over", bytes(self.held))
        } else {
            format!("{} workers are at long tasks", self.busy)
        }
    }
}

/// An answer is believed unless it says what cannot be.
fn make_sense(state: &State) -> Result<(), &'static str> {
    let load = &state.load;
    if !load.work_seconds.is_finite() || load.work_seconds < 0.0 {
        return Err("seconds of work that are no number");
    }
    if state
        .workers
        .iter()
        .any(|worker| worker.threads > MOST_THREADS)
    {
        return Err("a worker with more threads than any machine has");
    }
    let threads: u64 = state
        .workers
        .iter()
        .map(|worker| u64::from(worker.threads))
        .sum();
    if threads > 0 && threads != state.total_threads {
        return Err("threads that are not the sum of its workers'");
    }
    if load.processing > 0 && state.workers.is_empty() {
        return Err("tasks that run while there is no worker");
    }
    Ok(())
}

/// Cores of the pool's nodes.
fn cores(cluster: &ValidCluster, observed: &Observed) -> Option<u64> {
    let of_pool = || {
        let body = *observed.resource(&cluster.place.compute).present()?;
        let pool: ComputeHave = serde_json::from_value(body.clone()).ok()?;
        pool.properties.properties?.vm_size
    };
    let size = cluster.compute.vm_size.clone().or_else(of_pool)?;
    let sizes = observed.vm_sizes.present()?;
    let known = sizes
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(&size))?;
    known.cores.filter(|cores| *cores > 0)
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Whole workers: none for less than nothing. Casts of floats saturate.
fn whole(workers: f64) -> u32 {
    workers.ceil().max(0.0) as u32
}

fn bytes(of: u64) -> String {
    let gib = of as f64 / f64::from(1_u32 << 30);
    match of {
        0..1_048_576 => format!("{of} bytes"),
        _ if gib < 1.0 => format!("{:.0}Mi", gib * 1024.0),
        _ => format!("{gib:.0}Gi"),
    }
}

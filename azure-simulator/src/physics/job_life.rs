//! A job from accepted to running: start, image, queue, node, process (contract section 7).

use crate::azure::Transaction;
use crate::faults::action::Consequence;
use crate::kinds;
use crate::physics::Event;
use crate::physics::pool::{Held, Waiting};
use crate::physics::run::{JobStatus, Outcome, Process, Run, run_error};
use crate::processes::{self, Order};
use crate::world::Jobs;

impl Transaction<'_> {
    /// Takes a new run in; everything else follows by itself.
    pub(crate) fn submit(&mut self, key: String, mut run: Run) {
        match self.consequence.take() {
            Some(Consequence::HeldInQueue(problem)) => run.held = Some(problem),
            other => self.consequence = other,
        }
        self.state.physics.runs.insert(key.clone(), run);
        let seconds = self.settings.world.timings.job_start_seconds;
        self.schedule(seconds, Event::JobStarted { run: key });
    }

    pub(crate) fn job_started(&mut self, key: &str) {
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        if run.status != JobStatus::Starting {
            return;
        }
        let environment = run.environment.clone();
        let built = self.state.physics.images_built.contains(&environment);
        if built || !kinds::needs_image_build(self, &environment) {
            self.queue(key);
            return;
        }
        self.set_status(key, JobStatus::Preparing);
        let building = &mut self.state.physics.images_building;
        let first = !building.contains_key(&environment);
        building
            .entry(environment.clone())
            .or_default()
            .push(key.to_owned());
        if first {
            let seconds = self.settings.world.timings.image_build_seconds;
            self.schedule(seconds, Event::ImageBuilt { environment });
        }
    }

    pub(crate) fn image_built(&mut self, environment: String) {
        let physics = &mut self.state.physics;
        let waiting = physics.images_building.remove(&environment);
        physics.images_built.insert(environment);
        for key in waiting.unwrap_or_default() {
            let preparing = |run: &Run| run.status == JobStatus::Preparing;
            if self.state.physics.runs.get(&key).is_some_and(preparing) {
                self.queue(&key);
            }
        }
    }

    fn queue(&mut self, key: &str) {
        let Some(run) = self.state.physics.runs.get(key) else {
            return;
        };
        let (pool_key, held) = (run.pool.clone(), run.held.clone());
        let instances = run.instances;
        self.set_status(key, JobStatus::Queued);
        let physics = &self.state.physics;
        let refused = physics
            .pools
            .get(&pool_key)
            .and_then(|pool| physics.quota.refuses_job(&pool.machine, instances));
        if let Some(problem) = refused {
            let error = run_error(&problem.code, &problem.message);
            self.end_run(key, Outcome::Failed(error));
            return;
        }
        match self.state.physics.pools.get_mut(&pool_key) {
            Some(pool) if !pool.is_deleting() && held.is_some() => {
                let held = held.map(|problem| Held { instances, problem });
                pool.held.extend(held.map(|held| (key.to_owned(), held)));
            }
            Some(pool) if !pool.is_deleting() => {
                let run = key.to_owned();
                pool.queue.push_back(Waiting { run, instances });
                self.adjust(&pool_key);
            }
            _ => self.end_run(key, Outcome::compute_deleted(&self.settings.world.unproven)),
        }
    }

    /// The run has its nodes; its image is pulled and its inputs are mounted there.
    pub(crate) fn place(&mut self, key: &str, nodes: Vec<String>) {
        let mut attempt = 0;
        if let Some(run) = self.state.physics.runs.get_mut(key) {
            run.nodes = nodes;
            attempt = run.attempt;
        }
        let seconds = self.settings.world.timings.job_launch_seconds;
        let run = key.to_owned();
        self.schedule(seconds, Event::JobLaunch { run, attempt });
    }

    pub(crate) fn job_launch(&mut self, key: &str, attempt: u32) {
        let Some(run) = self.state.physics.runs.get(key) else {
            return;
        };
        if run.attempt != attempt || run.lost {
            return;
        }
        if run.status.is_terminal() || run.process != Process::None || run.nodes.is_empty() {
            return;
        }
        if self.settings.world.jobs == Jobs::Pretend {
            self.pretend_start(key);
            return;
        }
        match processes::launch::plan(self, key) {
            Ok(launch) => {
                if let Some(run) = self.state.physics.runs.get_mut(key) {
                    run.process = Process::Launching;
                }
                self.order(Order::Launch(Box::new(launch)));
            }
            Err(problem) => self.end_run(key, Outcome::Failed(problem.run_error())),
        }
    }

    /// A run's first process is there.
    pub(crate) fn process_started(&mut self, key: &str, keeper: u32) {
        let now = self.now.timestamp;
        self.state.physics.reported(key);
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        run.process = Process::Keeper(keeper);
        run.started = Some(now);
        if run.ending.is_some() {
            let run = key.to_owned();
            self.order(Order::Kill(run));
            return;
        }
        if run.lost {
            let run = key.to_owned();
            self.order(Order::Kill(run));
            return;
        }
        let (timeout, attempt) = (run.timeout_seconds, run.attempt);
        if run.status == JobStatus::Queued {
            self.set_status(key, JobStatus::Running);
        }
        if let Some(seconds) = timeout {
            let run = key.to_owned();
            self.schedule(seconds, Event::TimedOut { run, attempt });
        }
    }

    /// The node could not start the run's process.
    pub(crate) fn launch_failed(&mut self, key: &str, error: serde_json::Value) {
        self.state.physics.reported(key);
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        run.process = Process::None;
        let outcome = run.ending.take().unwrap_or(Outcome::Failed(error));
        self.end_run(key, outcome);
    }

    /// The last process of a run is gone; `tail` is the end of the `log` that tells why.
    pub(crate) fn process_ended(&mut self, key: &str, code: i64, (log, tail): (&str, &str)) {
        let now = self.now.timestamp;
        self.state.physics.reported(key);
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        run.process = Process::None;
        run.ended = Some(now);
        if let Some(outcome) = run.ending.take() {
            self.end_run(key, outcome);
            return;
        }
        if run.status == JobStatus::CancelRequested {
            self.end_run(key, Outcome::Canceled);
            return;
        }
        if run.lost {
            return;
        }
        self.set_status(key, JobStatus::Finalizing);
        let seconds = self.settings.world.timings.job_finalize_seconds;
        let (run, outcome) = (key.to_owned(), Outcome::of_exit(code, log, tail));
        self.schedule(seconds, Event::JobFinalized { run, outcome });
    }

    /// The supervisor is gone, and every process with it.
    pub(crate) fn processes_lost(&mut self) {
        let lost: Vec<String> = self
            .state
            .physics
            .runs
            .iter()
            .filter(|(_, run)| run.process != Process::None)
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            let error = run_error("ServiceError", "The node lost the job's processes.");
            self.launch_failed(&key, error);
        }
    }

    pub(crate) fn set_status(&mut self, key: &str, status: JobStatus) {
        if let Some(run) = self.state.physics.runs.get_mut(key) {
            tracing::debug!(
                job = run.id,
                from = run.status.word(),
                to = status.word(),
                "job"
            );
            run.status = status;
        }
    }
}

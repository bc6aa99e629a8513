//! How a job ends: by itself, by a cancel, by its time limit, with its compute.

use serde_json::json;

use crate::azure::Transaction;
use crate::due::DueQueue;
use crate::faults::action::{Consequence, Fate};
use crate::kinds;
use crate::physics::Event;
use crate::physics::pool::Waiting;
use crate::physics::run::{JobStatus, Outcome, Process, run_error};
use crate::processes::Order;

impl Transaction<'_> {
    pub(crate) fn job_finalized(&mut self, key: &str, outcome: Outcome) {
        let finalizing = |status| status == JobStatus::Finalizing;
        if self.status_of(key).is_some_and(finalizing) {
            let outcome = match outcome {
                Outcome::Completed => self.outputs_registered(key),
                outcome => outcome,
            };
            self.end_run(key, outcome);
        }
    }

    /// What becomes of a job that went well: data assets are made of its outputs first.
    fn outputs_registered(&mut self, key: &str) -> Outcome {
        match kinds::register_outputs(self, key) {
            Ok(()) => Outcome::Completed,
            Err(problem) => Outcome::Failed(run_error("UserError", &problem)),
        }
    }

    fn status_of(&self, key: &str) -> Option<JobStatus> {
        self.state.physics.runs.get(key).map(|run| run.status)
    }

    /// Accepts a cancel. `false`: the run has ended already, nothing changes.
    pub(crate) fn request_cancel(&mut self, key: &str) -> bool {
        match self.status_of(key) {
            None => false,
            Some(status) if status.is_terminal() => false,
            Some(JobStatus::CancelRequested) => true,
            Some(_) => {
                self.set_status(key, JobStatus::CancelRequested);
                let mut hangs = self.settings.world.cancel.hangs;
                match self.consequence.take() {
                    Some(Consequence::Operation(Fate::NeverEnds)) => hangs = true,
                    Some(Consequence::Operation(Fate::Unavailable { polls })) => {
                        if let Some(run) = self.state.physics.runs.get_mut(key) {
                            run.unavailable_polls = polls;
                        }
                    }
                    other => self.consequence = other,
                }
                if !hangs {
                    let seconds = self.settings.world.timings.cancel_seconds;
                    let run = key.to_owned();
                    self.schedule(seconds, Event::CancelDue { run });
                }
                true
            }
        }
    }

    pub(crate) fn cancel_due(&mut self, key: &str) {
        let grace = self.settings.world.cancel.sigterm_grace_seconds;
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        if run.status.is_terminal() {
            return;
        }
        if grace > 0.0 && matches!(run.process, Process::Keeper(_)) {
            run.ending = Some(Outcome::Canceled);
            let run = key.to_owned();
            self.order(Order::Terminate(run.clone()));
            self.schedule(grace, Event::KillDue { run });
        } else {
            self.end_run(key, Outcome::Canceled);
        }
    }

    pub(crate) fn kill_due(&mut self, key: &str) {
        let alive = |process| matches!(process, Process::Keeper(_));
        let run = self.state.physics.runs.get(key);
        if run.is_some_and(|run| alive(run.process)) {
            self.order(Order::Kill(key.to_owned()));
        }
    }

    /// `limits.timeout` has passed: the system cancels the job.
    pub(crate) fn timed_out(&mut self, key: &str, attempt: u32) {
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        // One that has ended by itself is in time, however long its outputs take.
        let over = run.status.is_terminal() || run.status == JobStatus::Finalizing;
        if over || run.attempt != attempt {
            return;
        }
        run.error = Some(run_error(
            "UserError",
            "The job was canceled because it ran longer than its timeout.",
        ));
        self.end_run(key, Outcome::Canceled);
    }

    /// Ends a run: at once where nothing of it runs, else when its last process is gone.
    pub(crate) fn end_run(&mut self, key: &str, outcome: Outcome) {
        let now = self.now.timestamp;
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        if run.status.is_terminal() {
            return;
        }
        let outcome = match outcome {
            // What was to be canceled does not run again.
            Outcome::QueuedAgain if run.status == JobStatus::CancelRequested => Outcome::Canceled,
            outcome => outcome,
        };
        match run.process {
            Process::None => {}
            Process::Pretended => self.pretended_gone(key),
            Process::Launching => {
                run.ending = Some(outcome);
                return;
            }
            Process::Keeper(_) => {
                run.ending = Some(outcome);
                self.order(Order::Kill(key.to_owned()));
                return;
            }
        }
        if outcome == Outcome::QueuedAgain {
            self.queue_again(key);
            return;
        }
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        if let Outcome::Failed(error) = &outcome {
            run.error = Some(error.clone());
        }
        run.ended = run.ended.or(Some(now));
        let nodes = std::mem::take(&mut run.nodes);
        let pool_key = run.pool.clone();
        self.set_status(key, outcome.status());
        self.keep_compute_status(key);
        if let Some(pool) = self.state.physics.pools.get_mut(&pool_key) {
            pool.queue.retain(|waiting| waiting.run != key);
            pool.held.remove(key);
        }
        if nodes.is_empty() {
            // Those behind it need not wait for it any more.
            self.adjust(&pool_key);
        }
        for node in nodes {
            self.release_node(&pool_key, &node);
        }
    }

    /// The same job waits for another node, before those that came later.
    fn queue_again(&mut self, key: &str) {
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        run.attempt += 1;
        (run.started, run.ended) = (None, None);
        let (nodes, pool_key) = (std::mem::take(&mut run.nodes), run.pool.clone());
        let instances = run.instances;
        self.set_status(key, JobStatus::Queued);
        let pool = self.state.physics.pools.get_mut(&pool_key);
        let pool = pool.filter(|pool| !pool.is_deleting());
        let waits = pool.is_some();
        if let Some(pool) = pool {
            let run = key.to_owned();
            pool.queue.push_front(Waiting { run, instances });
        }
        for node in nodes {
            self.release_node(&pool_key, &node);
        }
        if waits {
            self.adjust(&pool_key);
        } else {
            self.end_run(key, Outcome::compute_deleted(&self.settings.world.unproven));
        }
    }

    /// Ends all processes of all jobs, whatever was to come.
    pub(crate) fn end_all_processes(&mut self) {
        self.state.due = DueQueue::default();
        let (mut running, mut pretended) = (Vec::new(), Vec::new());
        for (key, run) in &mut self.state.physics.runs {
            if run.process != Process::None {
                run.ending = Some(Outcome::Canceled);
            }
            match run.process {
                Process::Keeper(_) => running.push(key.clone()),
                Process::Pretended => pretended.push(key.clone()),
                Process::None | Process::Launching => {}
            }
        }
        for run in pretended {
            self.pretended_gone(&run);
        }
        self.state.due = DueQueue::default();
        for run in running {
            self.order(Order::Kill(run));
        }
    }

    /// The last `_aml_system_ComputeTargetStatus` stays on a job that has ended.
    fn keep_compute_status(&mut self, key: &str) {
        let Some(text) = kinds::compute_target_status(self, key) else {
            return;
        };
        if let Some(body) = self.state.documents.body_mut(key) {
            body["properties"]["tags"][kinds::COMPUTE_TARGET_STATUS] = json!(text);
        }
    }
}

//! Nodes that go without being asked: preempted by Azure, or broken.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::clock::seconds_if_given;
use crate::physics::Event;
use crate::physics::pool::NodeState;
use crate::physics::run::{JobStatus, Outcome, Process, run_error};
use crate::processes::Order;
use crate::world::AfterLoss;

/// How a node is to be preempted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Preemption {
    /// How long before it goes a scheduled event tells; none where absent.
    #[serde(deserialize_with = "seconds_if_given")]
    notice_seconds: Option<f64>,
}

/// How a node is to fail.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Failure {
    /// Only its heartbeats stop, for so long; the node is lost for good where absent.
    #[serde(deserialize_with = "seconds_if_given")]
    returns_after_seconds: Option<f64>,
}

/// Why a node cannot be lost so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLost {
    #[error("no node has this id")]
    Unknown,
    #[error("its pool is dedicated: Azure preempts low-priority nodes only (see /nodes/ID/fail)")]
    Dedicated,
    #[error("the node is {0}")]
    Gone(&'static str),
}

impl Transaction<'_> {
    /// The pool of a node that is still one.
    fn pool_of(&self, node: &str) -> Result<String, NotLost> {
        for (key, pool) in &self.state.physics.pools {
            if let Some(node) = pool.nodes.iter().find(|own| own.id == node) {
                return match node.state {
                    NodeState::Preparing | NodeState::Idle | NodeState::Running => Ok(key.clone()),
                    gone => Err(NotLost::Gone(gone.word())),
                };
            }
        }
        Err(NotLost::Unknown)
    }

    /// Azure wants a low-priority node back.
    pub(crate) fn preempt(&mut self, node: &str, how: &Preemption) -> Result<(), NotLost> {
        let key = self.pool_of(node)?;
        let Some(pool) = self.state.physics.pools.get_mut(&key) else {
            return Err(NotLost::Unknown);
        };
        if !pool.machine.low_priority {
            return Err(NotLost::Dedicated);
        }
        match how.notice_seconds {
            Some(seconds) => {
                let due = self.now.after(seconds);
                if let Some(node) = pool.node_mut(node) {
                    node.eviction = Some(due);
                }
                let (pool, node) = (key, node.to_owned());
                self.schedule(seconds, Event::NodePreempted { pool, node });
            }
            None => self.node_preempted(&key, node),
        }
        Ok(())
    }

    pub(crate) fn node_preempted(&mut self, key: &str, id: &str) {
        let error = run_error("ServiceError", "The node of the job was preempted.");
        let after = self.settings.world.preemption;
        let Some(run) = self.lose_node(key, id, NodeState::Preempted) else {
            return;
        };
        let outcome = match after {
            AfterLoss::Requeue => Outcome::QueuedAgain,
            AfterLoss::Fail => Outcome::Failed(error),
        };
        self.end_run(&run, outcome);
    }

    /// A node breaks, or only falls silent for a while.
    pub(crate) fn fail_node(&mut self, node: &str, how: &Failure) -> Result<(), NotLost> {
        let key = self.pool_of(node)?;
        let physics = &mut self.state.physics;
        if let Some(seconds) = how.returns_after_seconds {
            let own = physics.pools.get_mut(&key).and_then(|p| p.node_mut(node));
            let run = own.and_then(|node| node.run.clone());
            let running = run.filter(|run| {
                let run = physics.runs.get(run);
                run.is_some_and(|run| run.status == JobStatus::Running)
            });
            if let Some(run) = running {
                self.set_status(&run, JobStatus::NotResponding);
                let attempt = self.attempt_of(&run);
                self.schedule(seconds, Event::HeartbeatReturns { run, attempt });
            }
            return Ok(());
        }
        let Some(run) = self.lose_node(&key, node, NodeState::Unusable) else {
            return Ok(());
        };
        let Some(lost) = self.state.physics.runs.get_mut(&run) else {
            return Ok(());
        };
        // Azure hears nothing any more, and takes its time to believe it.
        lost.lost = true;
        let (running, process) = (lost.status == JobStatus::Running, lost.process);
        if running {
            self.set_status(&run, JobStatus::NotResponding);
        }
        match process {
            Process::Keeper(_) => self.order(Order::Kill(run.clone())),
            Process::Pretended => self.pretended_gone(&run),
            Process::None | Process::Launching => {}
        }
        let seconds = self.settings.world.timings.not_responding_seconds;
        let attempt = self.attempt_of(&run);
        self.schedule(seconds, Event::RunLost { run, attempt });
        Ok(())
    }

    pub(crate) fn heartbeat_returns(&mut self, run: &str, attempt: u32) {
        let silent = self.state.physics.runs.get(run).is_some_and(|run| {
            run.attempt == attempt && run.status == JobStatus::NotResponding && !run.lost
        });
        if silent {
            self.set_status(run, JobStatus::Running);
        }
    }

    /// Azure believes that a run's node is gone.
    pub(crate) fn run_lost(&mut self, key: &str, attempt: u32) {
        let after = self.settings.world.node_failure;
        let Some(run) = self.state.physics.runs.get_mut(key) else {
            return;
        };
        if run.attempt != attempt || !run.lost {
            return;
        }
        run.lost = false;
        let outcome = match after {
            AfterLoss::Requeue => Outcome::QueuedAgain,
            AfterLoss::Fail => Outcome::Failed(run_error(
                "ServiceError",
                "The node of the job stopped responding and was found unusable.",
            )),
        };
        self.end_run(key, outcome);
    }

    /// The node is no place for jobs any more; gives the run that it had.
    fn lose_node(&mut self, key: &str, id: &str, state: NodeState) -> Option<String> {
        let timings = &self.settings.world.timings;
        let seconds = if state == NodeState::Preempted {
            timings.preempted_node_seconds
        } else {
            timings.unusable_node_seconds
        };
        let now = self.now.elapsed;
        let physics = &mut self.state.physics;
        let node = physics.pools.get_mut(key)?.node_mut(id)?;
        if !matches!(
            node.state,
            NodeState::Preparing | NodeState::Idle | NodeState::Running
        ) {
            return None;
        }
        node.eviction = None;
        let run = node.run.clone();
        physics.change_node(key, id, state, now);
        let (pool, node) = (key.to_owned(), id.to_owned());
        self.schedule(seconds, Event::NodeLeft { pool, node });
        self.adjust(key);
        run
    }

    pub(crate) fn attempt_of(&self, run: &str) -> u32 {
        let run = self.state.physics.runs.get(run);
        run.map_or(0, |run| run.attempt)
    }

    /// What the metadata service of a node's pool tells to come (`/metadata/scheduledevents`).
    /// Its incarnation is another one whenever the events are others.
    pub(crate) fn scheduled_events(&mut self) -> Value {
        let mut events = Vec::new();
        let nodes = self.state.physics.pools.values().flat_map(|p| &p.nodes);
        for node in nodes {
            if let Some(due) = node.eviction {
                let left = due.saturating_sub(self.now.elapsed).as_secs();
                let left = i64::try_from(left).unwrap_or(i64::MAX);
                let left = jiff::SignedDuration::from_secs(left);
                let now = self.now.timestamp;
                let at = now.saturating_add(left).unwrap_or(now);
                events.push(json!({
                    "EventId": uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, node.id.as_bytes()),
                    "EventStatus": "Scheduled",
                    "EventType": "Preempt",
                    "ResourceType": "VirtualMachine",
                    "Resources": [node.id],
                    "NotBefore": at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                    "Description": "",
                    "EventSource": "Platform",
                    "DurationInSeconds": -1,
                }));
            }
        }
        let ids: Vec<Value> = events
            .iter()
            .map(|event| event["EventId"].clone())
            .collect();
        let (incarnation, told) = &mut self.state.physics.events_told;
        if *told != ids {
            *incarnation += 1;
            *told = ids;
        }
        json!({"DocumentIncarnation": incarnation, "Events": events})
    }
}

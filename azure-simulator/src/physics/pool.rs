//! The nodes of a pool and the jobs that wait for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::arm::operation::OperationId;
use crate::physics::ledger::AccountId;
use crate::physics::quota::{CORE_QUOTA_REACHED, Machine};
use crate::problem::Problem;
use crate::world::Unproven;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    Preparing,
    Idle,
    Running,
    Leaving,
    /// Azure has taken it back.
    Preempted,
    /// Broken.
    Unusable,
}

impl NodeState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Leaving => "leaving",
            Self::Preempted => "preempted",
            Self::Unusable => "unusable",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: Ipv4Addr,
    /// The address that it takes of its subnet, whether or not it is reached there.
    pub(crate) subnet_address: Option<Ipv4Addr>,
    /// The port that SSH would be forwarded from.
    pub(crate) port: u16,
    pub(crate) state: NodeState,
    /// Since when, in simulated time.
    pub(crate) since: Duration,
    /// Up to when its time is on the ledger.
    pub(crate) charged: Duration,
    /// When it is to be preempted, as a scheduled event tells.
    pub(crate) eviction: Option<Duration>,
    /// Key of the run that has the node.
    pub(crate) run: Option<String>,
    /// Counts the times the node became idle, so that an old idle timer is known as old.
    pub(crate) idle_spell: u64,
    /// It has idled for as long as it may, and stays only for as long as it is wanted.
    pub(crate) overdue: bool,
}

/// A run that waits for nodes.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) run: String,
    /// How many it needs, all at once.
    pub(crate) instances: usize,
}

/// A run that never gets a node.
#[derive(Debug)]
pub(crate) struct Held {
    /// How many it asks for.
    pub(crate) instances: usize,
    pub(crate) problem: Problem,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) idle_seconds: f64,
    /// Provisioning has succeeded once.
    pub(crate) provisioned: bool,
    /// `Resizing` although no node moves: the moment after a write.
    pub(crate) settling: bool,
    /// Why its first write fails: decided when it was accepted.
    pub(crate) refused: Option<Problem>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) machine: Machine,
    pub(crate) account: AccountId,
    /// Key of its subnet.
    pub(crate) subnet: Option<String>,
    pub(crate) nodes: Vec<Node>,
    /// Runs that wait for nodes, longest first.
    pub(crate) queue: VecDeque<Waiting>,
    /// Keys of runs that never get a node, and what their compute tells about it.
    pub(crate) held: BTreeMap<String, Held>,
    /// Why it has fewer nodes than its jobs ask for.
    pub(crate) shortage: Option<Problem>,
    pub(crate) allocation_changed: Timestamp,
    pub(crate) allocation_shown: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) operations: Vec<OperationId>,
    /// Its time has passed; it waits only for the last process to be gone.
    pub(crate) due: bool,
}

impl Pool {
    pub(crate) fn new(
        subnet: Option<String>,
        machine: Machine,
        account: AccountId,
        now: Timestamp,
    ) -> Self {
        Self {
            least: 0,
            most: 0,
            idle_seconds: 0.0,
            provisioned: false,
            settling: true,
            refused: None,
            deletion: None,
            machine,
            account,
            subnet,
            nodes: Vec::new(),
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            shortage: None,
            allocation_changed: now,
            allocation_shown: "Resizing",
        }
    }

    /// Takes `scaleSettings` as stored; the default idle time is two minutes (recorded).
    pub(crate) fn configure(&mut self, scale: &Value) {
        let count = |field: &str| scale[field].as_u64().unwrap_or_default();
        self.least = usize::try_from(count("minNodeCount")).unwrap_or(usize::MAX);
        self.most = usize::try_from(count("maxNodeCount")).unwrap_or(usize::MAX);
        self.idle_seconds = scale["nodeIdleTimeBeforeScaleDown"]
            .as_str()
            .and_then(|text| text.parse::<SignedDuration>().ok())
            .map_or(120.0, |idle| idle.as_secs_f64());
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deletion.is_some()
    }

    pub(crate) fn count(&self, state: NodeState) -> usize {
        self.nodes.iter().filter(|node| node.state == state).count()
    }

    /// Nodes that are to stay.
    pub(crate) fn staying(&self) -> usize {
        let stays = |node: &&Node| {
            matches!(
                node.state,
                NodeState::Preparing | NodeState::Idle | NodeState::Running
            )
        };
        self.nodes.iter().filter(stays).count()
    }

    /// How many nodes jobs ask for, within the limits. A job that the limits leave no room for asks
    /// for none.
    pub(crate) fn wanted(&self) -> usize {
        let possible = self.queue.iter().map(|waiting| waiting.instances);
        let waited_for: usize = possible.filter(|count| *count <= self.most).sum();
        let asked = waited_for + self.count(NodeState::Running);
        asked.max(self.least).min(self.most)
    }

    /// How many nodes it is to have (contract section 6): those that jobs ask for, whether or not
    /// there are cores and addresses for them, and those that may idle for a while yet.
    pub(crate) fn target(&self) -> usize {
        if !self.provisioned || self.is_deleting() {
            return self.staying();
        }
        let held: usize = self.held.values().map(|held| held.instances).sum();
        let asked = self.wanted().saturating_add(held);
        asked.max(self.staying()).min(self.most)
    }

    pub(crate) fn allocation(&self) -> &'static str {
        let moves = |node: &Node| matches!(node.state, NodeState::Preparing | NodeState::Leaving);
        if self.settling || self.nodes.iter().any(moves) {
            "Resizing"
        } else {
            "Steady"
        }
    }

    /// What it lacks, each thing once.
    pub(crate) fn problems(&self) -> BTreeSet<&Problem> {
        let held = self.held.values().map(|held| &held.problem);
        self.shortage.iter().chain(held).collect()
    }

    /// What the compute's `errors` tell of it.
    pub(crate) fn errors(&self, unproven: &Unproven) -> BTreeSet<&Problem> {
        let mut errors = self.problems();
        if let Some(shortage) = &self.shortage
            && shortage.code == CORE_QUOTA_REACHED
            && !unproven.core_quota_in_errors
        {
            errors.remove(shortage);
        }
        errors
    }

    pub(crate) fn node_mut(&mut self, id: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id)
    }
}

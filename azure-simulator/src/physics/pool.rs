//! The nodes of a pool and the jobs that wait for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::arm::operation::OperationId;
use crate::problem::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    Preparing,
    Idle,
    Running,
    Leaving,
}

impl NodeState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Leaving => "leaving",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: Ipv4Addr,
    /// The port that SSH would be forwarded from.
    pub(crate) port: u16,
    pub(crate) state: NodeState,
    /// Key of the run that has the node.
    pub(crate) run: Option<String>,
    /// Counts the times the node became idle, so that an old idle timer is known as old.
    pub(crate) idle_spell: u64,
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
    pub(crate) deletion: Option<Deletion>,
    /// Key of its subnet.
    pub(crate) subnet: Option<String>,
    pub(crate) nodes: Vec<Node>,
    /// Keys of runs that wait for a node, longest first.
    pub(crate) queue: VecDeque<String>,
    /// Keys of runs that never get a node, and what their compute tells about it.
    pub(crate) held: BTreeMap<String, Problem>,
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
    pub(crate) fn new(subnet: Option<String>, now: Timestamp) -> Self {
        Self {
            least: 0,
            most: 0,
            idle_seconds: 0.0,
            provisioned: false,
            settling: true,
            deletion: None,
            subnet,
            nodes: Vec::new(),
            queue: VecDeque::new(),
            held: BTreeMap::new(),
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
    pub(crate) fn target(&self) -> usize {
        self.nodes.len() - self.count(NodeState::Leaving)
    }

    /// How many nodes jobs ask for, within the limits.
    pub(crate) fn wanted(&self) -> usize {
        let asked = self.queue.len() + self.nodes.iter().filter(|n| n.run.is_some()).count();
        asked.max(self.least).min(self.most)
    }

    pub(crate) fn allocation(&self) -> &'static str {
        let moves = |node: &Node| matches!(node.state, NodeState::Preparing | NodeState::Leaving);
        if self.settling || self.nodes.iter().any(moves) {
            "Resizing"
        } else {
            "Steady"
        }
    }

    /// What the compute's `errors` tell, each thing once.
    pub(crate) fn problems(&self) -> BTreeSet<&Problem> {
        self.held.values().collect()
    }

    pub(crate) fn node_mut(&mut self, id: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id)
    }
}

//! What happens in this Azure by itself: nodes boot and leave, jobs wait, run and end.
//!
//! Everything here is a method of [`Transaction`] on plain state; what takes time is an [`Event`]
//! that is scheduled, what happens outside (processes) is an order.

mod allocation;
mod compute_write;
pub(crate) mod job_end;
pub(crate) mod job_life;
pub(crate) mod ledger;
pub(crate) mod node_addresses;
pub(crate) mod node_loss;
pub(crate) mod pool;
pub(crate) mod pool_life;
pub(crate) mod quota;
pub(crate) mod run;
mod subnet_addresses;
mod workspace_life;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::arm::operation::OperationId;
use crate::azure::Transaction;
use crate::faults::action::Fate;
use crate::kinds;
use crate::problem::Problem;
use crate::resource_id::ResourceId;
use crate::world::World;
use ledger::Ledger;
use node_addresses::NodeAddresses;
use pool::{Deletion, Node, NodeState, Pool};
use quota::Quota;
use run::{Outcome, Run};
use subnet_addresses::SubnetAddresses;

/// Something that Azure does later.
#[derive(Debug)]
pub(crate) enum Event {
    NetworkWritten {
        network: ResourceId,
        operation: OperationId,
    },
    NetworkDeleted {
        network: ResourceId,
        operation: OperationId,
    },
    SubnetDeleted {
        network: ResourceId,
        subnet: ResourceId,
        operation: OperationId,
    },
    SubnetReleased {
        subnet: String,
    },
    WorkspaceWritten {
        workspace: ResourceId,
        operation: OperationId,
    },
    WorkspaceDeleteDue {
        workspace: String,
    },
    ComputeWritten {
        pool: String,
        operation: OperationId,
    },
    PoolSettled {
        pool: String,
    },
    PoolDeleteDue {
        pool: String,
    },
    PoolDeleteFails {
        pool: String,
        operation: OperationId,
        problem: Problem,
    },
    NodeBooted {
        pool: String,
        node: String,
    },
    NodeIdle {
        pool: String,
        node: String,
        spell: u64,
    },
    NodeLeft {
        pool: String,
        node: String,
    },
    NodePreempted {
        pool: String,
        node: String,
    },
    HeartbeatReturns {
        run: String,
        attempt: u32,
    },
    RunLost {
        run: String,
        attempt: u32,
    },
    ImageBuilt {
        environment: String,
    },
    JobStarted {
        run: String,
    },
    JobLaunch {
        run: String,
        attempt: u32,
    },
    JobFinalized {
        run: String,
        outcome: Outcome,
    },
    PretendedExit {
        run: String,
        attempt: u32,
        code: i64,
    },
    CancelDue {
        run: String,
    },
    KillDue {
        run: String,
    },
    TimedOut {
        run: String,
        attempt: u32,
    },
}

/// The state of what moves by itself.
pub(crate) struct Physics {
    /// Pools by the key of their compute.
    pub(crate) pools: BTreeMap<String, Pool>,
    /// Runs by the key of their job.
    pub(crate) runs: HashMap<String, Run>,
    /// Environments whose image is built.
    images_built: HashSet<String>,
    /// Environments whose image is being built, and the runs that wait for it.
    images_building: HashMap<String, Vec<String>>,
    /// How many computes are (or were until lately) in a subnet.
    subnets: HashMap<String, usize>,
    subnet_addresses: SubnetAddresses,
    pub(crate) quota: Quota,
    pub(crate) ledger: Ledger,
    /// Pools that would have more nodes if they could.
    short_pools: BTreeSet<String>,
    addresses: NodeAddresses,
    /// Workspaces that are going, by their keys.
    workspace_deletions: BTreeMap<String, Deletion>,
    /// Runs whose processes were told to start or to end, and have not been seen to.
    awaited: HashSet<String>,
    /// The scheduled events that were told last, and how often others were.
    events_told: (u64, Vec<Value>),
}

impl Physics {
    pub(crate) fn new(world: &World, addresses: NodeAddresses) -> Self {
        Self {
            pools: BTreeMap::new(),
            runs: HashMap::new(),
            images_built: HashSet::new(),
            images_building: HashMap::new(),
            subnets: HashMap::new(),
            subnet_addresses: SubnetAddresses::default(),
            quota: Quota::of(world),
            ledger: Ledger::default(),
            short_pools: BTreeSet::new(),
            addresses,
            workspace_deletions: BTreeMap::new(),
            awaited: HashSet::new(),
            events_told: (0, Vec::new()),
        }
    }

    /// Nothing is left of what was, and every limit is the world's again.
    pub(crate) fn begin_anew(&mut self, world: &World) {
        self.pools.clear();
        self.runs.clear();
        self.images_built.clear();
        self.images_building.clear();
        self.subnets.clear();
        self.subnet_addresses.give_all_back();
        self.quota = Quota::of(world);
        self.ledger = Ledger::default();
        self.short_pools.clear();
        self.addresses.give_all_back();
        self.workspace_deletions.clear();
    }

    /// Something was ordered of a run's processes that will be reported.
    pub(crate) fn await_report(&mut self, run: String) {
        self.awaited.insert(run);
    }

    /// Whatever was ordered has been reported.
    pub(crate) fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Something was reported of a run's processes.
    pub(crate) fn reported(&mut self, run: &str) {
        self.awaited.remove(run);
    }

    /// A node gets into another state; its time in the one before is charged.
    fn change_node(&mut self, pool: &str, node: &str, state: NodeState, now: Duration) {
        let Some(pool) = self.pools.get_mut(pool) else {
            return;
        };
        let account = pool.account;
        if let Some(node) = pool.node_mut(node) {
            let time = now.saturating_sub(node.charged);
            self.ledger.charge(account, node.state, time);
            node.state = state;
            node.since = now;
            node.charged = now;
        }
    }

    /// A pool's nodes cost under other tags from now on.
    fn tag_costs(&mut self, pool: &str, tags: Value, now: Duration) {
        let Some(pool) = self.pools.get_mut(pool) else {
            return;
        };
        let Some(account) = self.ledger.reopen(pool.account, tags) else {
            return;
        };
        for node in &mut pool.nodes {
            let time = now.saturating_sub(node.charged);
            self.ledger.charge(pool.account, node.state, time);
            node.charged = now;
        }
        pool.account = account;
    }

    /// What a node had is free again.
    fn free_node(&mut self, pool: &Pool, node: &Node, now: Duration) {
        let time = now.saturating_sub(node.charged);
        self.ledger.charge(pool.account, node.state, time);
        self.quota.give_back(&pool.machine);
        self.addresses.give_back(node.address);
        if let (Some(subnet), Some(address)) = (&pool.subnet, node.subnet_address) {
            self.subnet_addresses.give_back(subnet, address);
        }
    }

    /// Clusters that count: all that were not refused.
    pub(crate) fn clusters(&self) -> u64 {
        let counts = |pool: &&Pool| pool.refused.is_none();
        self.pools.values().filter(counts).count() as u64
    }

    /// What nodes have cost up to now.
    pub(crate) fn costs(&self, now: Duration) -> Value {
        let running = self.pools.values().flat_map(|pool| {
            let span = move |node: &Node| {
                let time = now.saturating_sub(node.charged);
                (pool.account, node.state, time)
            };
            pool.nodes.iter().map(span)
        });
        self.ledger.shown(running)
    }

    /// Counts costs from 0 again.
    pub(crate) fn reset_costs(&mut self, now: Duration) {
        self.ledger.reset();
        for pool in self.pools.values_mut() {
            for node in &mut pool.nodes {
                node.charged = now;
            }
        }
    }

    pub(crate) fn uses_subnet(&self, key: &str) -> bool {
        self.subnets.contains_key(key)
    }
}

impl Transaction<'_> {
    pub(crate) fn happen(&mut self, event: Event) {
        tracing::trace!(?event, "due");
        match event {
            Event::NetworkWritten { network, operation } => {
                if self.network_operation_goes_on(&network, operation) {
                    kinds::network_written(self, &network);
                    self.state.operations.succeed(operation);
                }
            }
            Event::NetworkDeleted { network, operation } => {
                if self.network_operation_goes_on(&network, operation) {
                    kinds::network_deleted(self, &network);
                    self.state.operations.succeed(operation);
                }
            }
            Event::SubnetDeleted {
                network,
                subnet,
                operation,
            } => {
                if self.network_operation_goes_on(&network, operation) {
                    if self.state.documents.remove(&subnet.key()).is_some() {
                        kinds::network_written(self, &network);
                    }
                    self.state.operations.succeed(operation);
                }
            }
            Event::SubnetReleased { subnet } => self.release_subnet(&subnet),
            Event::WorkspaceWritten {
                workspace,
                operation,
            } => self.workspace_written(&workspace, operation),
            Event::WorkspaceDeleteDue { workspace } => self.workspace_delete_due(&workspace),
            Event::ComputeWritten { pool, operation } => self.compute_written(&pool, operation),
            Event::PoolSettled { pool } => self.pool_settled(&pool),
            Event::PoolDeleteDue { pool } => self.pool_delete_due(&pool),
            Event::PoolDeleteFails {
                pool,
                operation,
                problem,
            } => self.compute_write_failed(&pool, operation, problem),
            Event::NodeBooted { pool, node } => self.node_booted(&pool, &node),
            Event::NodeIdle { pool, node, spell } => self.node_idle(&pool, &node, spell),
            Event::NodeLeft { pool, node } => self.node_left(&pool, &node),
            Event::ImageBuilt { environment } => self.image_built(environment),
            Event::JobStarted { run } => self.job_started(&run),
            Event::NodePreempted { pool, node } => self.node_preempted(&pool, &node),
            Event::HeartbeatReturns { run, attempt } => self.heartbeat_returns(&run, attempt),
            Event::RunLost { run, attempt } => self.run_lost(&run, attempt),
            Event::JobLaunch { run, attempt } => self.job_launch(&run, attempt),
            Event::JobFinalized { run, outcome } => self.job_finalized(&run, outcome),
            Event::PretendedExit { run, attempt, code } => self.pretended_exit(&run, attempt, code),
            Event::CancelDue { run } => self.cancel_due(&run),
            Event::KillDue { run } => self.kill_due(&run),
            Event::TimedOut { run, attempt } => self.timed_out(&run, attempt),
        }
    }

    fn release_subnet(&mut self, key: &str) {
        if let Some(users) = self.state.physics.subnets.get_mut(key) {
            *users -= 1;
            if *users == 0 {
                self.state.physics.subnets.remove(key);
            }
        }
    }

    /// Whether a write to a network comes through; what becomes of one that does not, happens here.
    fn network_operation_goes_on(&mut self, network: &ResourceId, operation: OperationId) -> bool {
        match self.state.operations.fate(operation).cloned() {
            Some(Fate::NeverEnds) => false,
            Some(Fate::Fails(problem)) => {
                kinds::network_failed(self, network);
                self.state.operations.fail(operation, problem);
                false
            }
            Some(Fate::Unavailable { .. }) | None => true,
        }
    }
}

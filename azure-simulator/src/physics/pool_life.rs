//! How a pool grows with the jobs that wait, and shrinks when its nodes idle (contract section 6).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::arm::operation::OperationId;
use crate::azure::Transaction;
use crate::faults::action::Fate;
use crate::kinds::vm_sizes;
use crate::physics::Event;
use crate::physics::ledger::Account;
use crate::physics::pool::{Deletion, Node, NodeState, Pool, Waiting};
use crate::physics::quota::Machine;
use crate::physics::run::{JobStatus, Outcome};
use crate::resource_id::ResourceId;

impl Transaction<'_> {
    pub(crate) fn create_pool(&mut self, id: &ResourceId, subnet: Option<&ResourceId>) {
        let subnet = subnet.map(ResourceId::key);
        let now = self.now.timestamp;
        let (machine, account) = self.machine_of(id);
        let physics = &mut self.state.physics;
        let clusters = physics.clusters();
        let account = physics.ledger.open(account);
        if let Some(subnet) = &subnet {
            *physics.subnets.entry(subnet.clone()).or_default() += 1;
        }
        let mut pool = Pool::new(subnet, machine, account, now);
        pool.refused = physics.quota.refuses_cluster(clusters);
        physics.pools.insert(id.key(), pool);
    }

    /// What a node of a compute takes of the quota, and what it costs.
    fn machine_of(&self, id: &ResourceId) -> (Machine, Account) {
        let body = self.state.documents.get(id).map(|found| &found.body);
        let field = |name: &str| {
            let field = body.map(|body| &body["properties"]["properties"][name]);
            field.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let vm_size = field("vmSize");
        let low_priority = field("vmPriority") == "LowPriority";
        let size = vm_sizes::find(&self.settings.world, &vm_size).unwrap_or_default();
        let machine = Machine {
            workspace: id.parent().map(|home| home.key()).unwrap_or_default(),
            family: size["family"].as_str().unwrap_or_default().to_owned(),
            cores: size["vCPUs"].as_u64().unwrap_or_default(),
            low_priority,
        };
        let account = Account {
            compute: id.to_string(),
            tags: body.map(|body| body["tags"].clone()).unwrap_or_default(),
            vm_size,
            vm_priority: if low_priority {
                "LowPriority"
            } else {
                "Dedicated"
            },
            hourly_price: vm_sizes::hourly_price(&size, low_priority),
            seconds: BTreeMap::new(),
        };
        (machine, account)
    }

    /// Takes new scale settings, and looks anew at how long idle nodes may stay.
    pub(crate) fn configure_pool(&mut self, key: &str, scale: &Value) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        pool.configure(scale);
        pool.provisioned = true;
        pool.settling = true;
        let idle: Vec<String> = pool
            .nodes
            .iter()
            .filter(|node| node.state == NodeState::Idle)
            .map(|node| node.id.clone())
            .collect();
        let tags = self
            .state
            .documents
            .by_key(key)
            .map(|found| found.body["tags"].clone());
        if let Some(tags) = tags {
            self.state.physics.tag_costs(key, tags, self.now.elapsed);
        }
        for node in idle {
            self.begin_idle_spell(key, &node);
        }
        self.adjust(key);
        let seconds = self.settings.world.timings.pool_settle_seconds;
        let pool = key.to_owned();
        self.schedule(seconds, Event::PoolSettled { pool });
    }

    pub(crate) fn pool_settled(&mut self, key: &str) {
        if let Some(pool) = self.state.physics.pools.get_mut(key) {
            pool.settling = false;
        }
        self.note_allocation(key);
    }

    /// Gives waiting jobs the idle nodes, asks for more nodes or lets surplus ones go.
    pub(crate) fn adjust(&mut self, key: &str) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        if !pool.provisioned || pool.is_deleting() {
            return;
        }
        let placed = self.take_idle_nodes(key);
        let Some(pool) = self.state.physics.pools.get(key) else {
            return;
        };
        let missing = pool.wanted().saturating_sub(pool.staying());
        let surplus = pool.staying().saturating_sub(pool.most);
        let spare = pool.staying().saturating_sub(pool.wanted());
        let mut going: Vec<String> = Vec::new();
        for node in pool
            .nodes
            .iter()
            .filter(|node| node.state == NodeState::Idle)
        {
            if going.len() < surplus || (node.overdue && going.len() < spare) {
                going.push(node.id.clone());
            }
        }
        for node in going {
            self.leave(key, &node);
        }
        let shortage = (0..missing).find_map(|_| self.add_node(key).err());
        let physics = &mut self.state.physics;
        match &shortage {
            Some(_) => physics.short_pools.insert(key.to_owned()),
            None => physics.short_pools.remove(key),
        };
        if let Some(pool) = physics.pools.get_mut(key) {
            pool.shortage = shortage;
        }
        for (run, nodes) in placed {
            self.place(&run, nodes);
        }
        self.note_allocation(key);
    }

    /// Gives idle nodes to the runs that have waited longest: each run with its nodes. A run that
    /// waits for several keeps what there is from those behind it, but for one that the pool's
    /// limits leave no room for.
    fn take_idle_nodes(&mut self, key: &str) -> Vec<(String, Vec<String>)> {
        let now = self.now.elapsed;
        let physics = &mut self.state.physics;
        let Some(pool) = physics.pools.get_mut(key) else {
            return Vec::new();
        };
        let mut placed = Vec::new();
        let most = pool.most;
        let is_idle = |node: &Node| node.state == NodeState::Idle && node.run.is_none();
        loop {
            let idle = pool.nodes.iter().filter(|node| is_idle(node)).count();
            let first = pool.queue.iter().position(|one| one.instances <= most);
            let Some(first) = first.filter(|at| pool.queue[*at].instances <= idle) else {
                break;
            };
            let Some(Waiting { run, instances }) = pool.queue.remove(first) else {
                break;
            };
            let mut own = Vec::new();
            for node in pool
                .nodes
                .iter_mut()
                .filter(|node| is_idle(node))
                .take(instances)
            {
                node.run = Some(run.clone());
                own.push(node.id.clone());
            }
            placed.push((run, own));
        }
        for node in placed.iter().flat_map(|(_, nodes)| nodes) {
            physics.change_node(key, node, NodeState::Running, now);
        }
        placed
    }

    pub(crate) fn node_booted(&mut self, key: &str, id: &str) {
        let now = self.now.elapsed;
        let pool = self.state.physics.pools.get_mut(key);
        let Some(node) = pool.and_then(|pool| pool.node_mut(id)) else {
            return;
        };
        if node.state != NodeState::Preparing {
            return;
        }
        let physics = &mut self.state.physics;
        physics.change_node(key, id, NodeState::Idle, now);
        self.adjust(key);
        self.begin_idle_spell(key, id);
    }

    /// A run has ended: its node is free for the next one.
    pub(crate) fn release_node(&mut self, key: &str, id: &str) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        let deleting = pool.is_deleting();
        let Some(node) = pool.node_mut(id) else {
            return;
        };
        node.run = None;
        let ready = node.state == NodeState::Running;
        if deleting {
            self.finish_pool_delete(key);
            return;
        }
        if !ready {
            return;
        }
        let now = self.now.elapsed;
        let physics = &mut self.state.physics;
        physics.change_node(key, id, NodeState::Idle, now);
        self.adjust(key);
        self.begin_idle_spell(key, id);
    }

    fn begin_idle_spell(&mut self, key: &str, id: &str) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        let seconds = pool.idle_seconds;
        let Some(node) = pool
            .node_mut(id)
            .filter(|node| node.state == NodeState::Idle)
        else {
            return;
        };
        node.idle_spell += 1;
        node.overdue = false;
        let spell = node.idle_spell;
        let (pool, node) = (key.to_owned(), id.to_owned());
        self.schedule(seconds, Event::NodeIdle { pool, node, spell });
    }

    pub(crate) fn node_idle(&mut self, key: &str, id: &str, spell: u64) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        let spare = pool.staying() > pool.wanted();
        let Some(node) = pool
            .node_mut(id)
            .filter(|node| node.state == NodeState::Idle && node.idle_spell == spell)
        else {
            return;
        };
        node.overdue = true;
        if spare {
            self.leave(key, id);
            self.note_allocation(key);
        }
    }

    fn leave(&mut self, key: &str, id: &str) {
        let now = self.now.elapsed;
        let physics = &mut self.state.physics;
        physics.change_node(key, id, NodeState::Leaving, now);
        let seconds = self.settings.world.timings.node_leave_seconds;
        let (pool, node) = (key.to_owned(), id.to_owned());
        self.schedule(seconds, Event::NodeLeft { pool, node });
    }

    pub(crate) fn node_left(&mut self, key: &str, id: &str) {
        let now = self.now.elapsed;
        let physics = &mut self.state.physics;
        let Some(mut pool) = physics.pools.remove(key) else {
            return;
        };
        if let Some(at) = pool.nodes.iter().position(|node| node.id == id) {
            let node = pool.nodes.remove(at);
            physics.free_node(&pool, &node, now);
        }
        physics.pools.insert(key.to_owned(), pool);
        self.adjust(key);
        self.retry_short_pools();
    }

    /// Remembers when `allocationState` changed.
    fn note_allocation(&mut self, key: &str) {
        let now = self.now.timestamp;
        if let Some(pool) = self.state.physics.pools.get_mut(key) {
            let shown = pool.allocation();
            if shown != pool.allocation_shown {
                pool.allocation_shown = shown;
                pool.allocation_changed = now;
            }
        }
    }

    /// Ends the pool's jobs and nodes; the document goes when all of that is gone.
    pub(crate) fn delete_pool(&mut self, key: &str, operation: OperationId) {
        match self.state.operations.fate(operation).cloned() {
            Some(Fate::NeverEnds) => return,
            Some(Fate::Fails(problem)) => {
                let seconds = self.settings.world.timings.compute_delete_seconds;
                let pool = key.to_owned();
                self.schedule(
                    seconds,
                    Event::PoolDeleteFails {
                        pool,
                        operation,
                        problem,
                    },
                );
                return;
            }
            Some(Fate::Unavailable { .. }) | None => {}
        }
        self.end_pool(key, Some(operation));
    }

    /// A deletion that nothing stops, told of by an operation of its own or with its workspace.
    pub(crate) fn end_pool(&mut self, key: &str, operation: Option<OperationId>) {
        let Some(pool) = self.state.physics.pools.get_mut(key) else {
            return;
        };
        if let Some(deletion) = &mut pool.deletion {
            deletion.operations.extend(operation);
            return;
        }
        pool.deletion = Some(Deletion {
            operations: operation.into_iter().collect(),
            due: false,
        });
        let nodes: Vec<String> = pool.nodes.iter().map(|node| node.id.clone()).collect();
        let timings = &self.settings.world.timings;
        let seconds = if pool.nodes.is_empty() {
            timings.compute_delete_seconds
        } else {
            timings.compute_delete_with_nodes_seconds
        };
        let mut ending: Vec<String> = pool.queue.drain(..).map(|waiting| waiting.run).collect();
        ending.extend(std::mem::take(&mut pool.held).into_keys());
        ending.extend(pool.nodes.iter().filter_map(|node| node.run.clone()));
        for run in ending {
            match self.state.physics.runs.get(&run).map(|run| run.status) {
                Some(JobStatus::Finalizing) => {}
                Some(JobStatus::CancelRequested) => self.end_run(&run, Outcome::Canceled),
                _ => self.end_run(
                    &run,
                    Outcome::compute_deleted(&self.settings.world.unproven),
                ),
            }
        }
        let now = self.now.elapsed;
        for node in nodes {
            let physics = &mut self.state.physics;
            physics.change_node(key, &node, NodeState::Leaving, now);
        }
        let pool = key.to_owned();
        self.schedule(seconds, Event::PoolDeleteDue { pool });
    }

    pub(crate) fn pool_delete_due(&mut self, key: &str) {
        let pool = self.state.physics.pools.get_mut(key);
        if let Some(deletion) = pool.and_then(|pool| pool.deletion.as_mut()) {
            deletion.due = true;
        }
        self.finish_pool_delete(key);
    }

    fn finish_pool_delete(&mut self, key: &str) {
        let physics = &mut self.state.physics;
        let ready = physics.pools.get(key).is_some_and(|pool| {
            let due = pool.deletion.as_ref().is_some_and(|deletion| deletion.due);
            due && pool.nodes.iter().all(|node| node.run.is_none())
        });
        if !ready {
            return;
        }
        let Some(pool) = physics.pools.remove(key) else {
            return;
        };
        let now = self.now.elapsed;
        for node in &pool.nodes {
            physics.free_node(&pool, node, now);
        }
        physics.short_pools.remove(key);
        self.state.documents.remove(key);
        for operation in pool.deletion.unwrap_or_default().operations {
            self.state.operations.succeed(operation);
        }
        if let Some(subnet) = pool.subnet {
            let seconds = self.settings.world.timings.subnet_release_seconds;
            self.schedule(seconds, Event::SubnetReleased { subnet });
        }
        self.retry_short_pools();
        self.finish_workspace_deletions();
    }
}

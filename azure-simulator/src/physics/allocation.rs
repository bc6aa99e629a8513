//! Where further nodes come from: cores of the quota, addresses of the subnet and of this machine.

use std::net::{Ipv4Addr, TcpListener};

use uuid::Uuid;

use crate::azure::Transaction;
use crate::kinds;
use crate::physics::Event;
use crate::physics::pool::{Node, NodeState};
use crate::problem::Problem;
use crate::world::NodeAddressing;

/// First port that SSH is forwarded from, as `listNodes` shows it.
const FIRST_SSH_PORT: u16 = 50_000;

impl Transaction<'_> {
    /// Pools that wanted more nodes than they got try again.
    pub(crate) fn retry_short_pools(&mut self) {
        for pool in std::mem::take(&mut self.state.physics.short_pools) {
            self.adjust(&pool);
        }
    }

    /// Gives a pool another node, or says what there is too little of.
    pub(crate) fn add_node(&mut self, key: &str) -> Result<(), Problem> {
        let now = self.now.elapsed;
        let gone = || Problem::new("NotFound", "The compute is gone.");
        let pool = self.state.physics.pools.get(key).ok_or_else(gone)?;
        if let Some(problem) = self.state.physics.quota.refuses_node(&pool.machine) {
            return Err(problem);
        }
        let subnet = pool.subnet.clone();
        let subnet_address = match &subnet {
            Some(subnet) => Some(self.take_subnet_address(subnet)?),
            None => None,
        };
        let address = match self.take_address(subnet_address) {
            Ok(address) => address,
            Err(problem) => {
                if let (Some(subnet), Some(address)) = (&subnet, subnet_address) {
                    let addresses = &mut self.state.physics.subnet_addresses;
                    addresses.give_back(subnet, address);
                }
                return Err(problem);
            }
        };
        let physics = &mut self.state.physics;
        let pool = physics.pools.get_mut(key).ok_or_else(gone)?;
        physics.quota.take(&pool.machine);
        let id = format!(
            "tvmps_{}{}_d",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        );
        let used: Vec<u16> = pool.nodes.iter().map(|node| node.port).collect();
        let port = (FIRST_SSH_PORT..)
            .find(|port| !used.contains(port))
            .unwrap_or(FIRST_SSH_PORT);
        pool.nodes.push(Node {
            id: id.clone(),
            address,
            subnet_address,
            port,
            state: NodeState::Preparing,
            since: now,
            charged: now,
            eviction: None,
            run: None,
            idle_spell: 0,
            overdue: false,
        });
        let seconds = self.settings.world.timings.node_boot_seconds;
        let pool = key.to_owned();
        self.schedule(seconds, Event::NodeBooted { pool, node: id });
        Ok(())
    }

    fn take_subnet_address(&mut self, subnet: &str) -> Result<Ipv4Addr, Problem> {
        let (name, prefixes) = kinds::subnet_ranges(self, subnet);
        let physics = &mut self.state.physics;
        let taken = physics.subnet_addresses.take(subnet, &prefixes);
        taken.ok_or_else(|| {
            let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            Problem::new(
                "SubnetIsFull",
                format!(
                    "Subnet {name} with address prefix {} does not have enough capacity for 1 IP \
                     addresses.",
                    prefixes.join(", ")
                ),
            )
        })
    }

    /// The address that a node's processes have on this machine.
    fn take_address(&mut self, of_subnet: Option<Ipv4Addr>) -> Result<Ipv4Addr, Problem> {
        match (of_subnet, self.settings.world.node_addresses) {
            (Some(address), NodeAddressing::Subnet) => {
                // Bound for a moment: whether this machine has it at all.
                match TcpListener::bind((address, 0)) {
                    Ok(_) => Ok(address),
                    Err(problem) => Err(Problem::new(
                        "AllocationFailed",
                        format!(
                            "The simulator's machine does not have the address {address}: {problem}."
                        ),
                    )),
                }
            }
            _ => self.state.physics.addresses.take().ok_or_else(|| {
                Problem::new(
                    "AllocationFailed",
                    "The simulator's machine has no address left.",
                )
            }),
        }
    }
}

//! Which node a connection comes from: its process is looked for among those of each node's job.

use std::net::{Ipv4Addr, SocketAddr};

use crate::azure::Transaction;
use crate::physics::run::Process;
use crate::processes::NODE_ADDRESS;
use crate::processes::tree::ProcessTree;

/// The process that keeps all others of a job, and the nodes that the job is on: address and id.
pub(crate) struct Keeper {
    process: u32,
    nodes: Vec<(Ipv4Addr, String)>,
}

impl Keeper {
    /// The node that a process of the job is on, as its variables tell.
    fn node_of(&self, pid: u32) -> Option<String> {
        let [_, _, ..] = self.nodes.as_slice() else {
            return self.nodes.first().map(|(_, id)| id.clone());
        };
        let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let told = variables.split(|byte| *byte == 0).find_map(|variable| {
            let text = std::str::from_utf8(variable).ok()?;
            text.strip_prefix(NODE_ADDRESS)?
                .strip_prefix('=')?
                .parse()
                .ok()
        });
        let own = self
            .nodes
            .iter()
            .find(|(address, _)| Some(*address) == told);
        own.map(|(_, id)| id.clone())
    }
}

pub(crate) fn keepers(transaction: &Transaction<'_>) -> Vec<Keeper> {
    let physics = &transaction.state.physics;
    let runs = physics.runs.values();
    runs.filter_map(|run| {
        let Process::Keeper(process) = run.process else {
            return None;
        };
        let nodes = physics.pools.get(&run.pool)?.nodes.iter();
        let own = nodes.filter(|node| run.nodes.contains(&node.id));
        let nodes = own.map(|node| (node.address, node.id.clone())).collect();
        Some(Keeper { process, nodes })
    })
    .collect()
}

/// The node that has the other end of a connection from `peer` to `own`; blocks.
pub(crate) fn find(keepers: &[Keeper], peer: SocketAddr, own: (Ipv4Addr, u16)) -> Option<String> {
    let SocketAddr::V4(peer) = peer else {
        return None;
    };
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    let ends = (as_listed((*peer.ip(), peer.port())), as_listed(own));
    let inode = inode_of(&table, &ends)?;
    let link = format!("socket:[{inode}]");
    let tree = ProcessTree::read();
    let has = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| {
            let to = std::fs::read_link(file.path());
            to.is_ok_and(|to| to.as_os_str() == link.as_str())
        })
    };
    keepers.iter().find_map(|keeper| {
        let mut processes = tree.below(keeper.process).into_iter();
        keeper.node_of(processes.find(has)?)
    })
}

/// An address and a port as `/proc/net/tcp` writes them: the address as this machine keeps it.
fn as_listed((address, port): (Ipv4Addr, u16)) -> String {
    format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()))
}

/// The socket that has these ends: the near one, and the far one.
fn inode_of<'a>(table: &'a str, (near, far): &(String, String)) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(1) == Some(&near.as_str()) && fields.get(2) == Some(&far.as_str());
        ours.then(|| fields.get(9).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_both_its_ends() {
        let near = as_listed((Ipv4Addr::LOCALHOST, 40_000));
        let far = as_listed((Ipv4Addr::new(169, 254, 169, 254), 80));
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
               0: {far} {near} 01 00000000:00000000 00:00000000 00000000     0        0 77 1\n\
               1: {near} {far} 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
        );
        assert_eq!(inode_of(&table, &(near, far)), Some("4711"));
    }
}

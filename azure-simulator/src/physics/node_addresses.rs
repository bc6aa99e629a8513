//! Loopback addresses for nodes: a block of 127.0.0.0/8 that no other simulator of this machine
//! has.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// Addresses of a block.
const BLOCK: u32 = 1 << 14;
/// Blocks from 127.1.0.0 to the end of 127.254.255.255.
const BLOCKS: u32 = 254 * 4;
const FIRST: u32 = 0x7f01_0000;
/// Port of the last address of a block, held while the block is taken.
const CLAIM_PORT: u16 = 7613;

#[derive(Debug)]
pub(crate) struct NodeAddresses {
    first: u32,
    /// Offset of the address given last: freed ones rest before they come again.
    last: u32,
    taken: BTreeSet<u32>,
    _claim: TcpListener,
}

/// Every block of loopback addresses is taken.
#[derive(Debug, thiserror::Error)]
#[error("no block of loopback addresses is free on this machine")]
pub struct NoFreeAddresses;

impl NodeAddresses {
    /// Claims a free block, trying first the one that `seed` points to.
    pub(crate) fn claim(seed: u32) -> Result<Self, NoFreeAddresses> {
        for step in 0..BLOCKS {
            let first = FIRST + (seed.wrapping_add(step) % BLOCKS) * BLOCK;
            let guard = Ipv4Addr::from(first + BLOCK - 2);
            if let Ok(claim) = TcpListener::bind((guard, CLAIM_PORT)) {
                return Ok(Self {
                    first,
                    last: 0,
                    taken: BTreeSet::new(),
                    _claim: claim,
                });
            }
        }
        Err(NoFreeAddresses)
    }

    /// A free address, with neither 0 nor 255 at its end.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        for step in 1..BLOCK {
            let offset = (self.last + step) % (BLOCK - 2);
            if matches!(offset % 256, 0 | 255) || self.taken.contains(&offset) {
                continue;
            }
            self.taken.insert(offset);
            self.last = offset;
            return Some(Ipv4Addr::from(self.first + offset));
        }
        None
    }

    pub(crate) fn give_all_back(&mut self) {
        self.taken.clear();
    }

    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        // Addresses of subnets are none of ours.
        if let Some(offset) = u32::from(address).checked_sub(self.first) {
            self.taken.remove(&offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_simulators_never_share_an_address() {
        let mut one = NodeAddresses::claim(7).unwrap();
        let mut other = NodeAddresses::claim(7).unwrap();
        let ours: BTreeSet<Ipv4Addr> = (0..300).map(|_| one.take().unwrap()).collect();
        let theirs: BTreeSet<Ipv4Addr> = (0..300).map(|_| other.take().unwrap()).collect();
        assert_eq!(ours.len(), 300);
        assert!(ours.is_disjoint(&theirs));
        assert!(ours.iter().all(Ipv4Addr::is_loopback));
    }

    #[test]
    fn a_freed_address_rests_before_it_comes_again() {
        let mut addresses = NodeAddresses::claim(11).unwrap();
        let first = addresses.take().unwrap();
        addresses.give_back(first);
        assert_ne!(addresses.take().unwrap(), first);
    }
}

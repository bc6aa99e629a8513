//! Addresses of subnets, as nodes have them. Azure keeps the first four of a prefix and the last.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses at the beginning of a prefix that no node gets.
const KEPT_FIRST: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct SubnetAddresses {
    /// By the key of the subnet.
    subnets: HashMap<String, Given>,
}

#[derive(Debug, Default)]
struct Given {
    taken: BTreeSet<Ipv4Addr>,
    /// The one given last: freed ones rest before they come again.
    last: Option<Ipv4Addr>,
}

impl SubnetAddresses {
    /// A free address of a subnet with these prefixes.
    pub(crate) fn take(&mut self, subnet: &str, prefixes: &[Ipv4Net]) -> Option<Ipv4Addr> {
        let given = self.subnets.entry(subnet.to_owned()).or_default();
        let fits = |address: &Ipv4Addr| !given.taken.contains(address);
        let later = |address: &Ipv4Addr| given.last.is_none_or(|last| *address > last);
        let all = || prefixes.iter().flat_map(of_prefix);
        let found = all()
            .find(|address| later(address) && fits(address))
            .or_else(|| all().find(fits))?;
        given.taken.insert(found);
        given.last = Some(found);
        Some(found)
    }

    pub(crate) fn give_back(&mut self, subnet: &str, address: Ipv4Addr) {
        if let Some(given) = self.subnets.get_mut(subnet) {
            given.taken.remove(&address);
        }
    }

    pub(crate) fn give_all_back(&mut self) {
        self.subnets.clear();
    }
}

fn of_prefix(prefix: &Ipv4Net) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let first = u32::from(prefix.network()).saturating_add(KEPT_FIRST);
    let last = u32::from(prefix.broadcast());
    (first..last).map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_prefix_has_three_addresses_and_freed_ones_come_again_last() {
        let prefixes = ["10.20.0.0/29".parse().unwrap()];
        let mut addresses = SubnetAddresses::default();
        let take = |addresses: &mut SubnetAddresses| addresses.take("s", &prefixes);
        let first = take(&mut addresses).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 20, 0, 4));
        addresses.give_back("s", first);
        assert_eq!(take(&mut addresses), Some(Ipv4Addr::new(10, 20, 0, 5)));
        assert_eq!(take(&mut addresses), Some(Ipv4Addr::new(10, 20, 0, 6)));
        assert_eq!(take(&mut addresses), Some(first));
        assert_eq!(take(&mut addresses), None);
    }
}

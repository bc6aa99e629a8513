//! What nodes cost: their seconds in each state, and the money for them, pool by pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::physics::pool::NodeState;

/// Node-seconds and money of every pool that was, also of those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: Vec<Account>,
}

/// Which pool of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountId(usize);

#[derive(Debug)]
pub(crate) struct Account {
    /// ARM id of the compute.
    pub(crate) compute: String,
    pub(crate) tags: Value,
    pub(crate) vm_size: String,
    pub(crate) vm_priority: &'static str,
    /// USD for an hour of a node.
    pub(crate) hourly_price: f64,
    pub(crate) seconds: BTreeMap<&'static str, f64>,
}

/// A node that is in a state since a while, which has not been charged.
pub(crate) type Running = (AccountId, NodeState, Duration);

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    seconds: f64,
    money: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.money += other.money;
    }

    fn shown(self) -> Value {
        // A thousandth of a second is a beginning, a millionth of a dollar an end.
        let round = |number: f64, digits: f64| (number * digits).round() / digits;
        json!({"seconds": round(self.seconds, 1e3), "usd": round(self.money, 1e6)})
    }
}

impl Account {
    /// A preempted node is no machine any more, and costs nothing.
    fn cost(&self, state: &str, seconds: f64) -> Cost {
        let price = if state == NodeState::Preempted.word() {
            0.0
        } else {
            self.hourly_price
        };
        Cost {
            seconds,
            money: seconds * price / 3600.0,
        }
    }
}

impl Ledger {
    pub(crate) fn open(&mut self, account: Account) -> AccountId {
        self.accounts.push(account);
        AccountId(self.accounts.len() - 1)
    }

    /// The account of a pool that has other tags from now on: what it has cost until now stays
    /// with the tags that it had. `None`: they are the same.
    pub(crate) fn reopen(&mut self, id: AccountId, tags: Value) -> Option<AccountId> {
        let before = self.accounts.get(id.0)?;
        if before.tags == tags {
            return None;
        }
        let account = Account {
            compute: before.compute.clone(),
            tags,
            vm_size: before.vm_size.clone(),
            vm_priority: before.vm_priority,
            hourly_price: before.hourly_price,
            seconds: BTreeMap::new(),
        };
        Some(self.open(account))
    }

    /// A node was so long in a state.
    pub(crate) fn charge(&mut self, id: AccountId, state: NodeState, time: Duration) {
        if let Some(account) = self.accounts.get_mut(id.0) {
            *account.seconds.entry(state.word()).or_default() += time.as_secs_f64();
        }
    }

    /// Counts from 0 again.
    pub(crate) fn reset(&mut self) {
        for account in &mut self.accounts {
            account.seconds.clear();
        }
    }

    /// `nodes` of `GET /meter`: by pool and state, by state, by each tag's values, and in all.
    pub(crate) fn shown(&self, running: impl Iterator<Item = Running>) -> Value {
        let mut seconds: Vec<BTreeMap<&str, f64>> = self
            .accounts
            .iter()
            .map(|account| account.seconds.clone())
            .collect();
        for (id, state, time) in running {
            if let Some(seconds) = seconds.get_mut(id.0) {
                *seconds.entry(state.word()).or_default() += time.as_secs_f64();
            }
        }
        let mut total = Cost::default();
        let mut by_state: BTreeMap<&str, Cost> = BTreeMap::new();
        let mut by_tag: BTreeMap<&str, BTreeMap<&str, Cost>> = BTreeMap::new();
        let mut pools = Vec::new();
        for (account, seconds) in self.accounts.iter().zip(seconds) {
            let mut pool = Cost::default();
            let mut states = Map::new();
            for (state, seconds) in seconds {
                let cost = account.cost(state, seconds);
                pool.add(cost);
                by_state.entry(state).or_default().add(cost);
                states.insert(state.to_owned(), cost.shown());
            }
            total.add(pool);
            for (name, value) in account.tags.as_object().into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                let values = by_tag.entry(name).or_default();
                values.entry(value).or_default().add(pool);
            }
            pools.push(json!({
                "compute": account.compute,
                "tags": account.tags,
                "vm_size": account.vm_size,
                "vm_priority": account.vm_priority,
                "usd_an_hour": account.hourly_price,
                "states": states,
                "total": pool.shown(),
            }));
        }
        let costs = |costs: BTreeMap<&str, Cost>| -> Map<String, Value> {
            let shown = |(name, cost): (&str, Cost)| (name.to_owned(), cost.shown());
            costs.into_iter().map(shown).collect()
        };
        let tags: Map<String, Value> = by_tag
            .into_iter()
            .map(|(name, values)| (name.to_owned(), Value::Object(costs(values))))
            .collect();
        json!({
            "pools": pools,
            "by_state": costs(by_state),
            "by_tag": tags,
            "total": total.shown(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_money_are_told_by_pool_state_and_tag() {
        let mut ledger = Ledger::default();
        let account = |tags, hourly_price| Account {
            compute: "/pool".to_owned(),
            tags,
            vm_size: "STANDARD_DS3_V2".to_owned(),
            vm_priority: "Dedicated",
            hourly_price,
            seconds: BTreeMap::new(),
        };
        let one = ledger.open(account(json!({"owner": "a"}), 3.6));
        let other = ledger.open(account(json!({"owner": "a"}), 7.2));
        ledger.charge(one, NodeState::Running, Duration::from_secs(100));
        ledger.charge(one, NodeState::Preempted, Duration::from_secs(50));
        let running = [(other, NodeState::Idle, Duration::from_secs(10))];
        let shown = ledger.shown(running.into_iter());
        let states = &shown["pools"][0]["states"];
        assert_eq!(states["running"], json!({"seconds": 100.0, "usd": 0.1}));
        assert_eq!(states["preempted"], json!({"seconds": 50.0, "usd": 0.0}));
        assert_eq!(
            shown["by_tag"]["owner"]["a"],
            json!({"seconds": 160.0, "usd": 0.12})
        );
        assert_eq!(
            shown["by_state"]["idle"],
            json!({"seconds": 10.0, "usd": 0.02})
        );
        assert_eq!(shown["total"]["usd"], 0.12);
    }
}

//! How many cores and clusters the subscription may have, and how many it has (contract sections 3
//! and 6).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::world::World;

/// What a compute's `errors` and the run history of its jobs call it (contract section 3).
pub(crate) const CORE_QUOTA_REACHED: &str = "ClusterCoreQuotaReached";

/// Cores of a family where the world says nothing.
const FAMILY_CORES: u64 = 500;

/// What a node of a pool takes of the quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Key of the workspace that its pool is in.
    pub(crate) workspace: String,
    /// `standardDSv2Family`.
    pub(crate) family: String,
    pub(crate) cores: u64,
    pub(crate) low_priority: bool,
}

/// Limits and use.
#[derive(Debug)]
pub(crate) struct Quota {
    family_limits: BTreeMap<String, u64>,
    /// Of dedicated cores in all; the sum of the families where absent.
    total_limit: Option<u64>,
    /// Of low-priority cores, whatever their family; no limit where absent.
    low_priority_limit: Option<u64>,
    cluster_limit: u64,
    /// How many dedicated cores of a family a workspace may take, where somebody has said so; by the
    /// keys of workspace and family.
    workspace_limits: BTreeMap<(String, String), u64>,
    dedicated: BTreeMap<String, u64>,
    /// The same cores, by workspace and family.
    of_workspaces: BTreeMap<(String, String), u64>,
    low_priority: u64,
}

/// Other limits, by the control port. What is absent stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QuotaChange {
    family_cores: BTreeMap<String, u64>,
    total_cores: Option<u64>,
    low_priority_cores: Option<u64>,
    clusters: Option<u64>,
}

impl Quota {
    pub(crate) fn of(world: &World) -> Self {
        Self {
            family_limits: world.family_core_limits.clone(),
            total_limit: world.total_core_limit,
            low_priority_limit: world.low_priority_core_limit,
            cluster_limit: world.cluster_limit,
            workspace_limits: BTreeMap::new(),
            dedicated: BTreeMap::new(),
            of_workspaces: BTreeMap::new(),
            low_priority: 0,
        }
    }

    pub(crate) fn change(&mut self, change: QuotaChange) {
        self.family_limits.extend(change.family_cores);
        self.total_limit = change.total_cores.or(self.total_limit);
        self.low_priority_limit = change.low_priority_cores.or(self.low_priority_limit);
        self.cluster_limit = change.clusters.unwrap_or(self.cluster_limit);
    }

    /// Takes a node's cores.
    pub(crate) fn take(&mut self, machine: &Machine) {
        self.count(machine, |used| used + machine.cores);
    }

    pub(crate) fn give_back(&mut self, machine: &Machine) {
        self.count(machine, |used| used.saturating_sub(machine.cores));
    }

    fn count(&mut self, machine: &Machine, change: impl Fn(u64) -> u64) {
        if machine.low_priority {
            self.low_priority = change(self.low_priority);
            return;
        }
        let family = self.dedicated.entry(machine.family.clone()).or_default();
        *family = change(*family);
        let part = (machine.workspace.clone(), machine.family.clone());
        let part = self.of_workspaces.entry(part).or_default();
        *part = change(*part);
    }

    /// Dedicated cores of a family that a workspace may take: those of the region, where nobody has
    /// said otherwise.
    pub(crate) fn workspace_limit(&self, workspace: &str, family: &str) -> u64 {
        let part = (workspace.to_owned(), family.to_owned());
        let known = self.workspace_limits.get(&part).copied();
        known.unwrap_or_else(|| self.family_limit(family))
    }

    pub(crate) fn limit_workspace(&mut self, workspace: &str, family: &str, limit: u64) {
        let part = (workspace.to_owned(), family.to_owned());
        self.workspace_limits.insert(part, limit);
    }

    pub(crate) fn family_limit(&self, family: &str) -> u64 {
        let known = self.family_limits.get(family).copied();
        known.unwrap_or(FAMILY_CORES)
    }

    pub(crate) fn total_limit(&self) -> Option<u64> {
        self.total_limit
    }

    pub(crate) fn low_priority_limit(&self) -> Option<u64> {
        self.low_priority_limit
    }

    pub(crate) fn cluster_limit(&self) -> u64 {
        self.cluster_limit
    }

    pub(crate) fn used_of_family(&self, family: &str) -> u64 {
        self.dedicated.get(family).copied().unwrap_or_default()
    }

    pub(crate) fn used_of_workspace(&self, workspace: &str, family: &str) -> u64 {
        let part = (workspace.to_owned(), family.to_owned());
        self.of_workspaces.get(&part).copied().unwrap_or_default()
    }

    pub(crate) fn used_dedicated(&self) -> u64 {
        self.dedicated.values().sum()
    }

    pub(crate) fn used_low_priority(&self) -> u64 {
        self.low_priority
    }

    /// Each limit that a machine falls under: what Azure calls it, how much it is, how much is used.
    fn limits(&self, machine: &Machine) -> Vec<(String, u64, u64)> {
        if machine.low_priority {
            let limit = self.low_priority_limit.unwrap_or(u64::MAX);
            return vec![("total low-priority".to_owned(), limit, self.low_priority)];
        }
        let part = (machine.workspace.clone(), machine.family.clone());
        vec![
            (
                format!("{} family", family_name(&machine.family)),
                self.family_limit(&machine.family),
                self.used_of_family(&machine.family),
            ),
            (
                format!("{} workspace", family_name(&machine.family)),
                self.workspace_limits
                    .get(&part)
                    .copied()
                    .unwrap_or(u64::MAX),
                self.used_of_workspace(&machine.workspace, &machine.family),
            ),
            (
                "total".to_owned(),
                self.total_limit.unwrap_or(u64::MAX),
                self.used_dedicated(),
            ),
        ]
    }

    /// Why a pool cannot have its least nodes: its write fails with this. One node is the least
    /// that Azure looks at.
    pub(crate) fn refuses_pool(&self, machine: &Machine, least: usize) -> Option<Problem> {
        let nodes = least.max(1) as u64;
        let cores = nodes.saturating_mul(machine.cores);
        let (name, limit, _) = self
            .limits(machine)
            .into_iter()
            .find(|(_, limit, _)| cores > *limit)?;
        Some(Problem::new(
            "ClusterMinNodesExceedCoreQuota",
            // Azure's spelling.
            format!(
                "The specified subscription has a {name} vCPU quota of {limit} and cannot \
                 accomodate for at least {nodes} requested managed compute nodes which maps to \
                 {cores} vCPUs."
            ),
        ))
    }

    /// Why there can be no further cluster.
    pub(crate) fn refuses_cluster(&self, clusters: u64) -> Option<Problem> {
        (clusters >= self.cluster_limit).then(|| {
            Problem::new(
                "BadRequest",
                format!(
                    "Operation results in exceeding quota limits of Microsoft.Batchlusters. Maximum \
                     allowed: {}, Current in use: {clusters}, Additional requested: 1.",
                    self.cluster_limit
                ),
            )
        })
    }

    /// Why a running pool gets no further node: it tells this among its errors.
    pub(crate) fn refuses_node(&self, machine: &Machine) -> Option<Problem> {
        let (name, limit, used) = self
            .limits(machine)
            .into_iter()
            .find(|(_, limit, used)| used.saturating_add(machine.cores) > *limit)?;
        Some(Problem::new(
            CORE_QUOTA_REACHED,
            format!(
                "The specified subscription has a {name} vCPU quota of {limit}, of which {used} are \
                 in use: another node of {} vCPUs cannot be allocated.",
                machine.cores
            ),
        ))
    }

    /// Why a job can never get its nodes: it fails with this.
    pub(crate) fn refuses_job(&self, machine: &Machine, instances: usize) -> Option<Problem> {
        let cores = (instances as u64).saturating_mul(machine.cores);
        let (name, limit, _) = self
            .limits(machine)
            .into_iter()
            .find(|(_, limit, _)| cores > *limit)?;
        Some(Problem::new(
            "JobNodeCountExceedsCoreQuota",
            format!(
                "The specified subscription has a {name} vCPU quota of {limit} and is less than the \
                 requested job node count of {instances} which maps to {cores} vCPUs."
            ),
        ))
    }

    /// `GET /quota`.
    pub(crate) fn shown(&self, clusters: u64) -> Value {
        let families: BTreeMap<&String, Value> = self
            .family_limits
            .keys()
            .chain(self.dedicated.keys())
            .map(|family| {
                let (limit, used) = (self.family_limit(family), self.used_of_family(family));
                (family, json!({"limit": limit, "used": used}))
            })
            .collect();
        json!({
            "family_cores": families,
            "total_cores": {"limit": self.total_limit, "used": self.used_dedicated()},
            "low_priority_cores": {"limit": self.low_priority_limit, "used": self.low_priority},
            "clusters": {"limit": self.cluster_limit, "used": clusters},
        })
    }
}

/// `standardDSv2Family` is `Standard DSv2`.
fn family_name(family: &str) -> String {
    let middle = family
        .trim_start_matches("standard")
        .trim_end_matches("Family");
    format!("Standard {middle}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(low_priority: bool) -> Machine {
        Machine {
            workspace: "w".to_owned(),
            family: "standardDSv2Family".to_owned(),
            cores: 4,
            low_priority,
        }
    }

    #[test]
    fn a_pool_is_refused_by_what_its_least_nodes_take_and_one_at_least() {
        let mut world = World::default();
        world
            .family_core_limits
            .insert("standardDSv2Family".to_owned(), 6);
        let quota = Quota::of(&world);
        assert_eq!(quota.refuses_pool(&machine(false), 0), None);
        let refused = quota.refuses_pool(&machine(false), 2).unwrap();
        assert_eq!(
            refused.message,
            "The specified subscription has a Standard DSv2 family vCPU quota of 6 and cannot \
             accomodate for at least 2 requested managed compute nodes which maps to 8 vCPUs."
        );
        assert_eq!(quota.refuses_pool(&machine(true), 2), None, "its own limit");
    }

    #[test]
    fn a_workspace_takes_no_more_of_a_family_than_it_may() {
        let mut quota = Quota::of(&World::default());
        quota.limit_workspace("w", "standardDSv2Family", 4);
        quota.take(&machine(false));
        assert!(quota.refuses_node(&machine(false)).is_some());
        let elsewhere = Machine {
            workspace: "v".to_owned(),
            ..machine(false)
        };
        assert_eq!(quota.refuses_node(&elsewhere), None);
        quota.give_back(&machine(false));
        assert_eq!(quota.refuses_node(&machine(false)), None);
    }

    #[test]
    fn nodes_are_refused_when_the_family_or_the_total_is_used_up() {
        let mut quota = Quota::of(&World::default());
        quota.change(QuotaChange {
            total_cores: Some(8),
            low_priority_cores: Some(4),
            ..QuotaChange::default()
        });
        quota.take(&machine(false));
        assert_eq!(quota.refuses_node(&machine(false)), None);
        quota.take(&machine(false));
        assert!(quota.refuses_node(&machine(false)).is_some());
        assert_eq!(quota.refuses_node(&machine(true)), None);
        quota.take(&machine(true));
        assert!(quota.refuses_node(&machine(true)).is_some());
        quota.give_back(&machine(false));
        assert_eq!(quota.refuses_node(&machine(false)), None);
    }
}

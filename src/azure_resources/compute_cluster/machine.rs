//! What kind of machine the nodes of a pool are.

use super::ComputeHave;
use crate::api::Priority;
use crate::azure::ResourceId;
use crate::reconcile::{Observed, ValidCluster};

/// The nodes of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `None` while nobody can tell: somebody else's pool that was not seen.
    pub vm_size: Option<String>,
    pub priority: Priority,
}

impl Machine {
    /// Of a pool of this cluster: what Azure says, or what the manifest asks for while the pool cannot be seen.
    pub fn of(cluster: &ValidCluster, observed: &Observed, pool: &ResourceId) -> Self {
        let seen = observed.resource(pool).present().and_then(|body| {
            let pool: ComputeHave = serde_json::from_value((*body).clone()).ok()?;
            pool.properties.properties
        });
        match seen {
            Some(inner) => Self {
                priority: priority(inner.vm_priority.as_deref()),
                vm_size: inner.vm_size,
            },
            None => Self::asked_for(cluster, pool),
        }
    }

    /// What the manifest asks for.
    pub fn asked_for(cluster: &ValidCluster, pool: &ResourceId) -> Self {
        match &cluster.scheduler.compute {
            Some(head) if pool != &cluster.place.compute => Self {
                vm_size: head.vm_size.clone(),
                priority: Priority::Dedicated,
            },
            _ => Self {
                vm_size: cluster.compute.vm_size.clone(),
                priority: cluster.compute.priority,
            },
        }
    }
}

/// Azure's word; a pool without one is Dedicated.
pub(super) fn priority(told: Option<&str>) -> Priority {
    if told.is_some_and(|told| told.eq_ignore_ascii_case("LowPriority")) {
        Priority::LowPriority
    } else {
        Priority::Dedicated
    }
}

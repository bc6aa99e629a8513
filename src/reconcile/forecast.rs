//! What will have been done once everything is: plans, each taken as carried out before the next is made. Pure.
//!
//! Dry runs and `plan` show it, from the same code that acts.

mod carry_out;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

pub use carry_out::carry_out;

use super::observed::Observed;
use super::plan::{Action, Blocked, Child, Step, Wait, plan};
use super::preflight::{Node, Preflight, head_nodes_at_once, nodes_at_once};
use super::validate::Wanted;
use crate::api::{Annotations, Reason, ReconcilePolicy};
use crate::azure::ResourceId;
use crate::cluster::Place;
use crate::kubernetes_children::connection_secret_name;

/// Longer than the longest way from nothing to everything.
const ROUNDS: usize = 16;

/// All that would be done, and what stands in the way of it.
#[derive(Clone, Debug)]
pub struct Forecast {
    place: Option<Place>,
    location: Option<String>,
    pub changes: Vec<Change>,
    pub waits: Vec<Wait>,
    pub blocked: Vec<Blocked>,
    pub preflight: Option<Preflight>,
    pub cost: Option<Cost>,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    #[serde(rename = "in")]
    pub side: Side,
    pub verb: Verb,
    pub kind: &'static str,
    pub name: String,
    /// Of the resource, in Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub why: String,
}

/// Where it would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Side {
    Azure,
    Kubernetes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Create,
    Change,
    Delete,
}

/// What the nodes cost in an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    pub node: Node,
    /// The head's, where it has a pool of its own, which keeps none of its own accord and has one at most.
    pub head: Option<Node>,
    /// Whether there is to be one now.
    pub head_now: bool,
    /// Nodes that the workers' pool keeps even when nothing runs.
    pub least_nodes: u32,
    /// Nodes that head and workers take as the manifest is.
    pub nodes_now: u32,
    /// Nodes that the pool may grow to.
    pub most_nodes: u32,
}

/// What would be done if no annotation and no earlier failure kept it from being done.
pub fn forecast(wanted: &Wanted, observed: &Observed) -> Forecast {
    let mut world = Observed {
        annotations: Annotations {
            dry_run: false,
            policy: match &observed.annotations.policy {
                ReconcilePolicy::Observe | ReconcilePolicy::Unknown(_) => ReconcilePolicy::Manage,
                policy => policy.clone(),
            },
            ..observed.annotations.clone()
        },
        setbacks: BTreeMap::new(),
        passed: None,
        ..observed.clone()
    };
    let place = match wanted {
        Wanted::Cluster(cluster) => Some(cluster.place.clone()),
        Wanted::Nothing(place) => Some((**place).clone()),
        Wanted::Unknown(_) => None,
    };
    let first = plan(wanted, &world);
    let preflight = first.preflight.clone();
    let mut forecast = Forecast {
        location: observed.location().map(str::to_owned),
        changes: Vec::new(),
        // What waits for something that would be made is no news.
        waits: first
            .waits
            .iter()
            .filter(|wait| is_under_way(wait))
            .cloned()
            .collect(),
        blocked: first.blocked.clone(),
        cost: cost(wanted, observed, preflight.as_ref()),
        preflight,
        place,
    };
    let mut next = first;
    for _ in 0..ROUNDS {
        if next.steps.is_empty() {
            break;
        }
        for step in &next.steps {
            forecast.changes.extend(forecast.change(step, &world));
        }
        carry_out(&next, &mut world);
        next = plan(wanted, &world);
    }
    forecast
}

/// Azure, or the scheduler, is at it now.
fn is_under_way(wait: &Wait) -> bool {
    matches!(
        wait.reason,
        Reason::Provisioning | Reason::Deleting | Reason::Retiring | Reason::Suspended
    )
}

fn cost(wanted: &Wanted, observed: &Observed, preflight: Option<&Preflight>) -> Option<Cost> {
    let Wanted::Cluster(cluster) = wanted else {
        return None;
    };
    Some(Cost {
        node: preflight?.node.clone()?,
        head: preflight?.head.clone(),
        head_now: head_nodes_at_once(cluster, observed) > 0,
        least_nodes: cluster.compute.min_nodes,
        nodes_now: nodes_at_once(cluster, observed),
        most_nodes: cluster.compute.max_nodes,
    })
}

impl Forecast {
    /// Nothing would be done, and nothing stands in the way.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.blocked.is_empty()
    }

    fn change(&self, step: &Step, world: &Observed) -> Option<Change> {
        let azure = |verb: Verb, kind: &'static str, id: &ResourceId| Change {
            side: Side::Azure,
            verb,
            kind,
            name: id.title(),
            id: Some(id.to_string()),
            why: step.why.clone(),
        };
        let kubernetes = |verb: Verb, kind: &'static str, name: String| Change {
            side: Side::Kubernetes,
            verb,
            kind,
            name,
            id: None,
            why: step.why.clone(),
        };
        let place = self.place.as_ref()?;
        let own_name = || place.identity.name.clone();
        Some(match &step.action {
            Action::PutAzure { kind, id, .. } => {
                let is_there = world.resource(id).present().is_some();
                azure(if is_there { Verb::Change } else { Verb::Create }, kind, id)
            }
            Action::PatchAzure { kind, id, .. } => azure(Verb::Change, kind, id),
            Action::DeleteAzure { kind, id, .. } => azure(Verb::Delete, kind, id),
            Action::CancelJob { id, .. } => azure(Verb::Delete, "Job", id),
            Action::RetireWorkers { count, .. } => Change {
                side: Side::Azure,
                verb: Verb::Delete,
                kind: "Job",
                name: format!("{count} workers, by the scheduler"),
                id: None,
                why: step.why.clone(),
            },
            Action::EnsureFinalizer | Action::RemoveFinalizer => {
                kubernetes(Verb::Change, "DaskCluster", own_name())
            }
            Action::HoldCredentials(secret) | Action::ReleaseCredentials(secret) => {
                kubernetes(Verb::Change, "Secret", secret.name.clone())
            }
            Action::CreateChild(child) => {
                kubernetes(Verb::Create, child.kind(), child_name(child, place))
            }
            Action::UpdateChild(child) => {
                kubernetes(Verb::Change, child.kind(), child_name(child, place))
            }
            Action::DeleteEndpointSlice { name } => {
                kubernetes(Verb::Delete, "EndpointSlice", name.clone())
            }
        })
    }

    fn count(&self, side: Side, verb: Verb) -> usize {
        let is_that = |change: &&Change| change.side == side && change.verb == verb;
        self.changes.iter().filter(is_that).count()
    }
}

fn child_name(child: &Child, place: &Place) -> String {
    let named = match child {
        Child::Service(service) => service.metadata.name.clone(),
        Child::EndpointSlice(slice) => slice.metadata.name.clone(),
        Child::ConnectionSecret(_) => Some(connection_secret_name(&place.identity)),
    };
    named.unwrap_or_default()
}

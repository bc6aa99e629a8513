//! The pools of nodes, of the workers and of the head where it has one of its own: each an AmlCompute,
//! `Microsoft.MachineLearningServices/workspaces/computes` (contract section 6).

mod machine;
mod quota;
#[cfg(test)]
mod tests;
mod wire;

pub use machine::Machine;
pub use quota::Shortage;
use wire::{Have, Identities, Inner, InnerWant, OuterWant, ScaleSettings, SubnetReference, Want};
pub use wire::{Have as ComputeHave, NodeStateCounts, PoolNode, PoolNodes};

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::json;

use super::engine::POOL_PAUSE;
use super::ownership::{Tags, tag_drift, tags_of_both};
use super::{AzureKind, Change, Drift, Health, LeavingRule, Refusal, Scene, Standing, Wanted};
use crate::api::{ConditionType, Priority, Reason};
use crate::azure::ResourceId;
use crate::cluster::{HeadPlace, Place};
use crate::lookup::Lookup;
use crate::scaling::rest::is_suspended;

pub struct ComputeCluster;

impl AzureKind for ComputeCluster {
    const NAME: &'static str = "ComputeCluster";
    const RESOURCE_TYPE: &'static str = "Microsoft.MachineLearningServices/workspaces/computes";
    const API_VERSION: &'static str = super::MACHINE_LEARNING_API_VERSION;
    const STAGE: ConditionType = ConditionType::ComputeReady;
    const AFTER: &'static [&'static str] = &["Subnet"];
    const DELETE_QUERY: &'static [(&'static str, &'static str)] =
        &[("underlyingResourceAction", "Delete")];
    const LEAVING: LeavingRule = LeavingRule::Delete;
    // Ten seconds as recorded; deleting one with nodes up to five minutes (contract section 6).
    const SETTLES_WITHIN: SignedDuration = SignedDuration::from_mins(30);
    const GOES_WITHIN: SignedDuration = SignedDuration::from_mins(60);
    const MADE_AGAIN_AFTER: Option<SignedDuration> = Some(POOL_PAUSE);
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let cluster = scene.cluster;
        let id = cluster.place.compute.clone();
        let absent = Refusal {
            reason: Reason::PoolNotFound,
            way_out: "create the pool, correct spec.compute.name, or use creationPolicy Create",
        };
        // A manifest that takes a pool over may leave its size open.
        let vm_size = match &cluster.compute.vm_size {
            None if cluster.compute.adopt => vm_size_of_what_is_there(scene, &id),
            named => named.clone(),
        };
        let standing = match (vm_size, scene.observed.location(), &cluster.place.network) {
            (Some(vm_size), Some(location), Some(network)) if cluster.place.compute_is_ours => {
                let body = body(scene, workers(scene, vm_size), location, &network.subnet);
                if cluster.compute.adopt {
                    Standing::Adopt { body, absent }
                } else {
                    Standing::Own(body)
                }
            }
            _ => Standing::Use { absent },
        };
        let head = cluster.place.head_compute.as_ref();
        std::iter::once(Wanted { id, standing })
            .chain(head.map(|head| want_of_head(scene, head)))
            .collect()
    }

    fn places(place: &Place) -> Vec<ResourceId> {
        place.own_pools().cloned().collect()
    }

    fn misfit(scene: &Scene<'_>, id: &ResourceId, have: &Have) -> Option<(Reason, String)> {
        let head = scene.cluster.place.head_compute.as_ref();
        head.filter(|head| head.id == *id && !head.is_ours)?;
        misfit_for_the_head(scene, have.properties.properties.as_ref()?, have)
    }

    fn drift(want: &Want, have: &Have) -> Drift {
        let Some(inner) = &have.properties.properties else {
            return Drift::None;
        };
        let wanted = &want.properties.properties;
        let fixed = fixed_drift(wanted, inner);
        if !fixed.is_empty() {
            return Drift::Replace { fields: fixed };
        }
        let tags = tag_drift(&want.tags, have.tags.as_ref().unwrap_or(&Tags::new()));
        let scale = scale_drift(&wanted.scale_settings, inner.scale_settings.as_ref());
        let identities = identity_drift(want.identity.as_ref(), have.identity.as_ref());
        if !tags.is_empty() || !identities.is_empty() {
            // PATCH takes scaleSettings alone (contract section 6); the others travel with the whole body.
            let body = Want {
                tags: tags_of_both(&want.tags, have.tags.as_ref()),
                identity: identities_of_both(want.identity.as_ref(), have.identity.as_ref()),
                ..want.clone()
            };
            return match serde_json::to_value(&body) {
                Ok(body) => Drift::Update {
                    fields: [tags, identities, scale].concat(),
                    change: Change::Put(body),
                },
                Err(_) => Drift::None,
            };
        }
        if !scale.is_empty() {
            let body =
                json!({"properties": {"properties": {"scaleSettings": wanted.scale_settings}}});
            return Drift::Update {
                fields: scale,
                change: Change::Patch(body),
            };
        }
        Drift::None
    }

    fn health(have: &Have) -> Health {
        let properties = &have.properties;
        if properties
            .compute_type
            .as_deref()
            .is_some_and(|kind| kind != "AmlCompute")
        {
            return Health::Unfit {
                reason: Reason::PoolNotFound,
                message: format!(
                    "the compute is a {}, not an AmlCompute: name another one",
                    properties.compute_type.as_deref().unwrap_or_default()
                ),
            };
        }
        let health = Health::of_provisioning_state(
            properties.provisioning_state.as_deref(),
            "the pool",
            &wire::told(properties.provisioning_errors.as_ref()),
        );
        match health {
            Health::Failed { .. } | Health::Unfit { .. } | Health::Settling(_) | Health::Spent(_) => health,
            Health::Ready if properties.properties.as_ref().is_some_and(|inner| inner.subnet.is_none()) => Health::Unfit {
                reason: Reason::NoSubnet,
                message: "the pool lies in no subnet, so its nodes cannot be reached: use a pool that was made inside a virtual network".into(),
            },
            Health::Ready => Health::Ready,
        }
    }

    fn writable(properties: &mut serde_json::Value) {
        wire::keep_writable(properties);
    }
}

fn vm_size_of_what_is_there(scene: &Scene<'_>, id: &ResourceId) -> Option<String> {
    let Lookup::Present(pool) = scene.observed.resource(id) else {
        return None;
    };
    let size = pool.pointer("/properties/properties/vmSize")?.as_str()?;
    Some(size.to_owned())
}

/// What tells a pool from the other one of the cluster.
struct Nodes {
    machine: Machine,
    least: u32,
    most: u32,
    what_for: &'static str,
}

fn workers(scene: &Scene<'_>, vm_size: String) -> Nodes {
    let compute = &scene.cluster.compute;
    let suspends = scene.lineup.map_or_else(
        || is_suspended(scene.cluster, scene.observed),
        |lineup| lineup.aim.suspends,
    );
    Nodes {
        machine: Machine {
            vm_size: Some(vm_size),
            priority: compute.priority,
        },
        least: if suspends { 0 } else { compute.min_nodes },
        most: compute.max_nodes,
        what_for: "Dask cluster",
    }
}

fn want_of_head(scene: &Scene<'_>, head: &HeadPlace) -> Wanted<Want> {
    let place = &scene.cluster.place;
    let id = head.id.clone();
    let standing = match (scene.observed.location(), &place.network) {
        (Some(location), Some(network)) if head.is_ours => {
            let nodes = Nodes {
                machine: Machine::asked_for(scene.cluster, &id),
                least: 0,
                most: 1,
                what_for: "Head of Dask cluster",
            };
            Standing::Own(body(scene, nodes, location, &network.subnet))
        }
        _ => Standing::Use {
            absent: Refusal {
                reason: Reason::PoolNotFound,
                way_out: "create the pool, or let scheduler.compute have creationPolicy Create in a new DaskCluster",
            },
        },
    };
    Wanted { id, standing }
}

/// Somebody else's pool that the head cannot run on as it should. Nothing of it is ours to change.
fn misfit_for_the_head(scene: &Scene<'_>, inner: &Inner, have: &Have) -> Option<(Reason, String)> {
    let cluster = scene.cluster;
    if machine::priority(inner.vm_priority.as_deref()) == Priority::LowPriority {
        let message = "the pool is LowPriority, so that Azure may take the scheduler at any time: name a Dedicated pool, or leave scheduler.compute out, in a new DaskCluster";
        return Some((Reason::PoolUnfit, message.into()));
    }
    let of_workers = match &cluster.place.network {
        Some(network) => Some(network.subnet.clone()),
        None => scene.observed.pool_subnet(&cluster.place),
    };
    let of_head = inner.subnet.as_ref().map(|subnet| subnet.id.as_str());
    if let (Some(wanted), Some(held)) = (of_workers, of_head)
        && !wanted.to_string().eq_ignore_ascii_case(held)
    {
        let message = format!(
            "the pool lies in {held} and the workers in {wanted}, so they may not reach the scheduler: name a pool of the same subnet in a new DaskCluster"
        );
        return Some((Reason::PoolUnfit, message));
    }
    let reads_as = cluster.compute.identities.first()?;
    let has_it = have
        .identity
        .as_ref()
        .is_some_and(|held| held.has(reads_as));
    (!has_it).then(|| {
        let message = format!(
            "the pool lacks the identity {reads_as}, as which the jobs read data: assign it to the pool"
        );
        (Reason::PoolUnfit, message)
    })
}

fn body(scene: &Scene<'_>, nodes: Nodes, location: &str, subnet: &ResourceId) -> Want {
    let compute = &scene.cluster.compute;
    Want {
        location: location.to_owned(),
        tags: scene.cluster.owner.tags(&scene.cluster.user_tags),
        identity: Identities::of(compute.identities.iter().cloned(), false),
        properties: OuterWant {
            compute_type: "AmlCompute",
            description: format!("{} {}", nodes.what_for, scene.cluster.place.identity),
            properties: InnerWant {
                vm_size: nodes.machine.vm_size.unwrap_or_default(),
                vm_priority: match nodes.machine.priority {
                    Priority::Dedicated => "Dedicated",
                    Priority::LowPriority => "LowPriority",
                },
                os_type: "Linux",
                scale_settings: ScaleSettings {
                    min_node_count: Some(nodes.least),
                    max_node_count: Some(nodes.most),
                    node_idle_time_before_scale_down: Some(format!(
                        "PT{}S",
                        compute.idle_seconds_before_scale_down
                    )),
                },
                subnet: SubnetReference {
                    id: subnet.to_string(),
                },
                enable_node_public_ip: scene
                    .cluster
                    .network
                    .as_ref()
                    .is_none_or(|network| network.node_public_ip),
                remote_login_port_public_access: "Disabled",
            },
        },
    }
}

/// Fields that Azure gives no way to change (contract section 6, life cycle 4).
fn fixed_drift(wanted: &InnerWant, have: &Inner) -> Vec<String> {
    let differs = |held: Option<&str>, wanted: &str| {
        held.is_some_and(|held| !held.eq_ignore_ascii_case(wanted))
    };
    [
        (
            "properties.properties.vmSize",
            differs(have.vm_size.as_deref(), &wanted.vm_size),
        ),
        (
            "properties.properties.vmPriority",
            differs(have.vm_priority.as_deref(), wanted.vm_priority),
        ),
        (
            "properties.properties.subnet.id",
            differs(
                have.subnet.as_ref().map(|subnet| subnet.id.as_str()),
                &wanted.subnet.id,
            ),
        ),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| field.to_owned())
    .collect()
}

/// Ours that are missing; what others assign to the pool is theirs.
fn identity_drift(wanted: Option<&Identities>, have: Option<&Identities>) -> Vec<String> {
    let mut wanted = wanted.into_iter().flat_map(Identities::ids);
    let is_missing = |id: &String| !have.is_some_and(|have| have.has(id));
    let field = || "identity.userAssignedIdentities".to_owned();
    wanted.any(is_missing).then(field).into_iter().collect()
}

/// A PUT takes away the identities that it does not name.
fn identities_of_both(
    wanted: Option<&Identities>,
    have: Option<&Identities>,
) -> Option<Identities> {
    let ours = wanted.into_iter().flat_map(Identities::ids);
    let theirs = have.into_iter().flat_map(Identities::ids);
    let theirs = theirs.filter(|id| !wanted.is_some_and(|wanted| wanted.has(id)));
    let has_its_own = have.is_some_and(|have| have.kind.contains("SystemAssigned"));
    Identities::of(ours.chain(theirs).cloned(), has_its_own)
}

fn scale_drift(wanted: &ScaleSettings, have: Option<&ScaleSettings>) -> Vec<String> {
    let Some(have) = have else { return Vec::new() };
    [
        ("minNodeCount", have.min_node_count != wanted.min_node_count),
        ("maxNodeCount", have.max_node_count != wanted.max_node_count),
        (
            "nodeIdleTimeBeforeScaleDown",
            seconds(have.node_idle_time_before_scale_down.as_deref())
                != seconds(wanted.node_idle_time_before_scale_down.as_deref()),
        ),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| format!("properties.properties.scaleSettings.{field}"))
    .collect()
}

/// Seconds of an ISO 8601 duration: Azure writes `PT2M` where `PT120S` was asked for.
fn seconds(duration: Option<&str>) -> Option<i64> {
    let span: Span = duration?.parse().ok()?;
    Some(
        span.to_duration(SpanRelativeTo::days_are_24_hours())
            .ok()?
            .as_secs(),
    )
}

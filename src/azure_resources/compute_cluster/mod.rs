//! The pool of nodes: an AmlCompute, `Microsoft.MachineLearningServices/workspaces/computes` (contract section 6).

mod quota;
#[cfg(test)]
mod tests;
mod wire;

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
use crate::cluster::Place;
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
                let body = body(scene, &vm_size, location, &network.subnet);
                if cluster.compute.adopt {
                    Standing::Adopt { body, absent }
                } else {
                    Standing::Own(body)
                }
            }
            _ => Standing::Use { absent },
        };
        vec![Wanted { id, standing }]
    }

    fn places(place: &Place) -> Vec<ResourceId> {
        if place.compute_is_ours {
            vec![place.compute.clone()]
        } else {
            Vec::new()
        }
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

fn body(scene: &Scene<'_>, vm_size: &str, location: &str, subnet: &ResourceId) -> Want {
    let compute = &scene.cluster.compute;
    let suspends = scene.lineup.map_or_else(
        || is_suspended(scene.cluster, scene.observed),
        |lineup| lineup.aim.suspends,
    );
    let min_nodes = if suspends { 0 } else { compute.min_nodes };
    Want {
        location: location.to_owned(),
        tags: scene.cluster.owner.tags(&scene.cluster.user_tags),
        identity: Identities::of(compute.identities.iter().cloned(), false),
        properties: OuterWant {
            compute_type: "AmlCompute",
            description: format!("Dask cluster {}", scene.cluster.place.identity),
            properties: InnerWant {
                vm_size: vm_size.to_owned(),
                vm_priority: match compute.priority {
                    Priority::Dedicated => "Dedicated",
                    Priority::LowPriority => "LowPriority",
                },
                os_type: "Linux",
                scale_settings: ScaleSettings {
                    min_node_count: Some(min_nodes),
                    max_node_count: Some(compute.max_nodes),
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

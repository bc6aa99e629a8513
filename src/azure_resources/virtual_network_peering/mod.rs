//! Both sides of a peering with another network: `Microsoft.Network/virtualNetworks/virtualNetworkPeerings` (OpenAPI
//! `virtualNetwork.json`, 2024-03-01).
//!
//! Peerings have no tags: the near side is ours as the network is, the far side by its name, which holds the
//! cluster's UID. Azure writes to a network one at a time, and a side that was left alone stays `Disconnected` until
//! it is deleted and made again, so one side is dealt with at a time: what is spent goes first, then the near side is
//! made, then the far one.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AzureKind, Change, Drift, Health, LeavingRule, Scene, Standing, Wanted};
use crate::api::{ConditionType, Reason};
use crate::azure::ResourceId;
use crate::cluster::{PeeringPlace, Place};
use crate::lookup::Lookup;

pub struct VirtualNetworkPeering;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub properties: WantProperties,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub remote_virtual_network: Reference,
    pub allow_virtual_network_access: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    pub id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    pub properties: HaveProperties,
}

/// What we read, and with `rest` what a PUT has to carry along.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaveProperties {
    #[serde(default)]
    pub remote_virtual_network: Option<Reference>,
    #[serde(default)]
    pub allow_virtual_network_access: Option<bool>,
    #[serde(default)]
    pub peering_state: Option<String>,
    #[serde(default)]
    pub provisioning_state: Option<String>,
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

/// What Azure alone writes of the fields that are carried along.
const READ_ONLY: [&str; 5] = [
    "peeringSyncLevel",
    "remoteAddressSpace",
    "remoteVirtualNetworkAddressSpace",
    "remoteVirtualNetworkEncryption",
    "resourceGuid",
];

impl AzureKind for VirtualNetworkPeering {
    const NAME: &'static str = "VirtualNetworkPeering";
    const RESOURCE_TYPE: &'static str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings";
    const API_VERSION: &'static str = "2024-03-01";
    const STAGE: ConditionType = ConditionType::NetworkReady;
    const AFTER: &'static [&'static str] = &["VirtualNetwork", "Subnet"];
    const LEAVING: LeavingRule = LeavingRule::DeleteByName;
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let network = scene.cluster.place.own_network();
        let mut turn_is_taken = false;
        let mut wanted = Vec::new();
        for peering in network.into_iter().flat_map(|network| &network.peerings) {
            let first = first_to_mend(scene, peering);
            for id in peering.own_sides() {
                let comes_later = turn_is_taken || first.is_some_and(|first| first != id);
                let waits_for_owner = !peering.makes_far && state(scene, id) == Some(INITIATED);
                let standing = if waits_for_owner {
                    Standing::Later {
                        reason: Reason::PeeringPending,
                        message: waiting_for_owner(peering),
                    }
                } else if comes_later {
                    Standing::Later {
                        reason: Reason::Pending,
                        message: format!(
                            "{} waits, as peerings are made one side at a time",
                            described(id)
                        ),
                    }
                } else {
                    Standing::OwnWithoutTags(body(peering, id))
                };
                wanted.push(Wanted {
                    id: id.clone(),
                    standing,
                });
            }
            turn_is_taken |= first.is_some();
        }
        wanted
    }

    fn places(place: &Place) -> Vec<ResourceId> {
        let network = place.own_network();
        let peerings = network.into_iter().flat_map(|network| &network.peerings);
        peerings
            .flat_map(PeeringPlace::own_sides)
            .cloned()
            .collect()
    }

    fn drift(want: &Want, have: &Have) -> Drift {
        let (wanted, have) = (&want.properties, &have.properties);
        let leads_elsewhere = have.remote_virtual_network.as_ref().is_some_and(|held| {
            !held
                .id
                .eq_ignore_ascii_case(&wanted.remote_virtual_network.id)
        });
        if leads_elsewhere {
            return Drift::Replace {
                fields: vec!["properties.remoteVirtualNetwork.id".into()],
            };
        }
        // Azure takes it for true where it is not said.
        if have.allow_virtual_network_access.unwrap_or(true) == wanted.allow_virtual_network_access
        {
            return Drift::None;
        }
        let mut properties = have.rest.clone();
        properties.retain(|name, value| !READ_ONLY.contains(&name.as_str()) && !value.is_null());
        properties.insert(
            "remoteVirtualNetwork".into(),
            serde_json::json!({"id": wanted.remote_virtual_network.id}),
        );
        properties.insert(
            "allowVirtualNetworkAccess".into(),
            wanted.allow_virtual_network_access.into(),
        );
        Drift::Update {
            fields: vec!["properties.allowVirtualNetworkAccess".into()],
            change: Change::Put(serde_json::json!({ "properties": properties })),
        }
    }

    fn health(have: &Have) -> Health {
        let have = &have.properties;
        let state = have.provisioning_state.as_deref();
        match Health::of_provisioning_state(state, "the peering", "") {
            Health::Ready => {}
            other => return other,
        }
        match have.peering_state.as_deref() {
            Some(DISCONNECTED) => Health::Spent(
                "it is Disconnected, as its other side was deleted, and Azure connects it no more"
                    .into(),
            ),
            // The other side follows; an unknown state is no reason to write.
            _ => Health::Ready,
        }
    }

    /// The far side lies in a network of somebody else, who may not have given us the right to it.
    fn remedy(scene: &Scene<'_>, id: &ResourceId) -> Option<String> {
        let peerings = &scene.cluster.place.own_network()?.peerings;
        let peering = peerings.iter().find(|peering| peering.far == *id)?;
        Some(format!(
            "or set remote: Leave, and have the owner of that network run: {}",
            owners_command(peering)
        ))
    }
}

const DISCONNECTED: &str = "Disconnected";
const INITIATED: &str = "Initiated";

/// The side that has to be dealt with before the other one, if any.
fn first_to_mend<'a>(scene: &Scene<'_>, peering: &'a PeeringPlace) -> Option<&'a ResourceId> {
    let (near, far) = (&peering.near, &peering.far);
    if peering.makes_far && state(scene, far) == Some(DISCONNECTED) {
        return Some(far);
    }
    let is_settled = |id| {
        let Lookup::Present(body) = scene.observed.resource(id) else {
            return false;
        };
        let provisioning = body.pointer("/properties/provisioningState");
        provisioning
            .and_then(Value::as_str)
            .is_none_or(|state| state == "Succeeded")
    };
    if !is_settled(near) || state(scene, near) == Some(DISCONNECTED) {
        return Some(near);
    }
    (peering.makes_far && !is_settled(far)).then_some(far)
}

fn state<'a>(scene: &Scene<'a>, id: &ResourceId) -> Option<&'a str> {
    let Lookup::Present(body) = scene.observed.resource(id) else {
        return None;
    };
    body.pointer("/properties/peeringState")?.as_str()
}

fn body(peering: &PeeringPlace, side: &ResourceId) -> Want {
    let other = if *side == peering.near {
        &peering.far
    } else {
        &peering.near
    };
    Want {
        properties: WantProperties {
            remote_virtual_network: Reference {
                id: network_of(other),
            },
            allow_virtual_network_access: true,
        },
    }
}

fn network_of(side: &ResourceId) -> String {
    side.parent()
        .map_or_else(String::new, |network| network.to_string())
}

fn described(side: &ResourceId) -> String {
    let network = side.parent();
    let network = network.as_ref().map_or("", ResourceId::name);
    format!("the peering of {network}")
}

fn waiting_for_owner(peering: &PeeringPlace) -> String {
    format!(
        "{} is Initiated and nothing gets through until the other network has its side: its owner deletes a peering that is Disconnected, if there is one, and runs: {}",
        described(&peering.near),
        owners_command(peering)
    )
}

/// What the owner of the other network runs, so that it has its side too.
fn owners_command(peering: &PeeringPlace) -> String {
    let network = peering.far.parent();
    let network = network.as_ref();
    format!(
        "az network vnet peering create --name {} --subscription {} --resource-group {} --vnet-name {} --remote-vnet {} --allow-vnet-access",
        peering.far.name(),
        peering.far.subscription_id(),
        peering.far.resource_group().unwrap_or_default(),
        network.map_or("", ResourceId::name),
        network_of(&peering.near),
    )
}

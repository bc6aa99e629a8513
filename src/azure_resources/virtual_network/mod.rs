//! The network that the nodes lie in: `Microsoft.Network/virtualNetworks` (contract section 11).

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ownership::{Tags, tag_drift, tags_of_both};
use super::{AzureKind, Change, Drift, Health, LeavingRule, Refusal, Scene, Standing, Wanted};
use crate::api::{ConditionType, Reason};
use crate::azure::ResourceId;
use crate::cluster::Place;

pub struct VirtualNetwork;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub location: String,
    pub tags: Tags,
    pub properties: WantProperties,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub address_space: AddressSpace,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressSpace {
    #[serde(default)]
    pub address_prefixes: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    #[serde(default)]
    pub location: Option<String>,
    #[serde(default)]
    pub tags: Option<Tags>,
    pub properties: HaveProperties,
}

/// What we read, and with `rest` what a PUT has to carry along: it replaces the whole, subnets of others included.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaveProperties {
    #[serde(default)]
    pub address_space: Option<AddressSpace>,
    #[serde(default)]
    pub provisioning_state: Option<String>,
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}

/// Of a network or subnet that the manifest asks to use as it is.
pub(super) const NOT_FOUND: Refusal = Refusal {
    reason: Reason::NetworkNotFound,
    way_out: "create it, correct spec.network, or use creationPolicy Create",
};

impl AzureKind for VirtualNetwork {
    const NAME: &'static str = "VirtualNetwork";
    const RESOURCE_TYPE: &'static str = "Microsoft.Network/virtualNetworks";
    const API_VERSION: &'static str = "2024-03-01";
    const STAGE: ConditionType = ConditionType::NetworkReady;
    const AFTER: &'static [&'static str] = &[];
    const LEAVING: LeavingRule = LeavingRule::Delete;
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let (Some(place), Some(network)) = (&scene.cluster.place.network, &scene.cluster.network)
        else {
            return Vec::new();
        };
        let standing = match (
            place.is_ours,
            &network.address_prefix,
            scene.observed.location(),
        ) {
            (true, Some(prefix), Some(location)) => {
                let body = Want {
                    location: location.to_owned(),
                    tags: scene.cluster.owner.tags(&scene.cluster.user_tags),
                    properties: WantProperties {
                        address_space: AddressSpace {
                            address_prefixes: Some(vec![prefix.to_string()]),
                        },
                    },
                };
                if network.adopt {
                    let absent = NOT_FOUND;
                    Standing::Adopt { body, absent }
                } else {
                    Standing::Own(body)
                }
            }
            _ => Standing::Use { absent: NOT_FOUND },
        };
        vec![Wanted {
            id: place.virtual_network.clone(),
            standing,
        }]
    }

    fn places(place: &Place) -> Vec<ResourceId> {
        place
            .own_network()
            .map(|network| network.virtual_network.clone())
            .into_iter()
            .collect()
    }

    fn drift(want: &Want, have: &Have) -> Drift {
        let held = have
            .properties
            .address_space
            .clone()
            .unwrap_or_default()
            .address_prefixes
            .unwrap_or_default();
        let wanted = want
            .properties
            .address_space
            .address_prefixes
            .iter()
            .flatten();
        let mut fields: Vec<String> = wanted
            .filter(|prefix| !held.contains(prefix))
            .map(|_| "properties.addressSpace.addressPrefixes".to_owned())
            .collect();
        fields.extend(tag_drift(
            &want.tags,
            have.tags.as_ref().unwrap_or(&Tags::new()),
        ));
        if fields.is_empty() {
            return Drift::None;
        }
        Drift::Update {
            fields,
            change: Change::Put(with_what_others_put_there(want, have, held)),
        }
    }

    /// Azure deletes a network with all subnets that nothing uses at that moment, whoever made them.
    fn held_by_others(place: &Place, have: &Value) -> Option<String> {
        let own = place.own_network()?.subnet.name();
        let subnets = have.pointer("/properties/subnets")?.as_array()?;
        let others: Vec<&str> = subnets
            .iter()
            .filter_map(|subnet| subnet.get("name")?.as_str())
            .filter(|name| !name.eq_ignore_ascii_case(own))
            .collect();
        (!others.is_empty()).then(|| format!("subnets of others ({}) are", others.join(", ")))
    }

    fn health(have: &Have) -> Health {
        Health::of_provisioning_state(
            have.properties.provisioning_state.as_deref(),
            "the virtual network",
            "",
        )
    }
}

/// PUT of a network replaces it, subnets included (contract section 11): everything that is there goes back in.
fn with_what_others_put_there(want: &Want, have: &Have, held: Vec<String>) -> Value {
    let mut prefixes = held;
    for prefix in want
        .properties
        .address_space
        .address_prefixes
        .iter()
        .flatten()
    {
        if !prefixes.contains(prefix) {
            prefixes.push(prefix.clone());
        }
    }
    let mut properties = have.properties.rest.clone();
    properties.remove("resourceGuid");
    properties.insert(
        "addressSpace".into(),
        serde_json::json!({ "addressPrefixes": prefixes }),
    );
    serde_json::json!({
        "location": have.location.as_ref().unwrap_or(&want.location),
        "tags": tags_of_both(&want.tags, have.tags.as_ref()),
        "properties": properties,
    })
}

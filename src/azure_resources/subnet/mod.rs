//! The subnet of the nodes: `Microsoft.Network/virtualNetworks/subnets` (contract section 11).
//!
//! Subnets have no tags: one is ours when its network is (architecture section 4, rule 2).

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{AzureKind, Drift, Health, LeavingRule, Scene, Standing, Wanted, virtual_network};
use crate::api::ConditionType;
use crate::azure::ResourceId;
use crate::cluster::Place;

pub struct Subnet;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub properties: WantProperties,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantProperties {
    pub address_prefix: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    pub properties: HaveProperties,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaveProperties {
    /// Azure answers with the one or the list, whichever the subnet was made with.
    #[serde(default)]
    pub address_prefix: Option<String>,
    #[serde(default)]
    pub address_prefixes: Option<Vec<String>>,
    #[serde(default)]
    pub provisioning_state: Option<String>,
}

impl HaveProperties {
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.address_prefix
            .as_deref()
            .into_iter()
            .chain(self.address_prefixes.iter().flatten().map(String::as_str))
    }
}

impl AzureKind for Subnet {
    const NAME: &'static str = "Subnet";
    const RESOURCE_TYPE: &'static str = "Microsoft.Network/virtualNetworks/subnets";
    const API_VERSION: &'static str = "2024-03-01";
    const STAGE: ConditionType = ConditionType::NetworkReady;
    const AFTER: &'static [&'static str] = &["VirtualNetwork"];
    const LEAVING: LeavingRule = LeavingRule::DeleteWithParent;
    type Want = Want;
    type Have = Have;

    fn want(scene: &Scene<'_>) -> Vec<Wanted<Want>> {
        let (Some(place), Some(network)) = (&scene.cluster.place.network, &scene.cluster.network)
        else {
            return Vec::new();
        };
        let standing = match (place.is_ours, &network.subnet_address_prefix) {
            (true, Some(prefix)) => Standing::OwnWithoutTags(Want {
                properties: WantProperties {
                    address_prefix: prefix.to_string(),
                },
            }),
            _ => Standing::Use {
                absent: virtual_network::NOT_FOUND,
            },
        };
        vec![Wanted {
            id: place.subnet.clone(),
            standing,
        }]
    }

    fn places(place: &Place) -> Vec<ResourceId> {
        place
            .own_network()
            .map(|network| network.subnet.clone())
            .into_iter()
            .collect()
    }

    fn drift(want: &Want, have: &Have) -> Drift {
        if have
            .properties
            .prefixes()
            .any(|prefix| prefix == want.properties.address_prefix)
        {
            Drift::None
        } else {
            Drift::Replace {
                fields: vec!["properties.addressPrefix".into()],
            }
        }
    }

    fn health(have: &Have) -> Health {
        Health::of_provisioning_state(
            have.properties.provisioning_state.as_deref(),
            "the subnet",
            "",
        )
    }
}

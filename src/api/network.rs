//! Where the nodes live: `spec.network`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::CreationPolicy;

/// The virtual network and subnet of the nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// The virtual network.
    pub virtual_network: VirtualNetwork,

    /// The subnet of that network which the nodes take their addresses from.
    #[serde(default)]
    pub subnet: Subnet,

    /// Create makes network and subnet and removes them with the cluster; UseExisting uses what
    /// is there and never changes it.
    #[serde(default)]
    pub creation_policy: CreationPolicy,

    /// Whether each node gets a public IP address. Without one, the subnet needs a NAT gateway
    /// and the workspace a private endpoint.
    #[serde(default = "Network::default_node_public_ip")]
    pub node_public_ip: bool,
}

impl Network {
    fn default_node_public_ip() -> bool {
        true
    }
}

/// A virtual network in the subscription of the workspace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetwork {
    /// The name of the virtual network.
    pub name: String,

    /// Its resource group. Left out, the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,

    /// Its IPv4 address range, such as 10.20.0.0/16. Required with creationPolicy Create; it
    /// must overlap nothing that the network is peered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_prefix: Option<String>,
}

/// A subnet of the virtual network.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// The name of the subnet.
    #[serde(default = "Subnet::default_name")]
    pub name: String,

    /// Its IPv4 address range, such as 10.20.0.0/22, inside the network's and with room for
    /// maxNodes and the five addresses that Azure keeps. Required with creationPolicy Create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_prefix: Option<String>,
}

impl Subnet {
    fn default_name() -> String {
        "default".to_owned()
    }
}

impl Default for Subnet {
    fn default() -> Self {
        Self {
            name: Self::default_name(),
            address_prefix: None,
        }
    }
}

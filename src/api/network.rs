//! Where the nodes live: `spec.network`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CreationPolicy;
use super::rules::{
    forbidden, invalid, ipv4_range, no_host_bits, no_reserved_range, required, resource_group_name,
};

/// The virtual network and subnet of the nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = required(
        ".virtualNetwork.addressPrefix",
        "self.creationPolicy == 'UseExisting' || has(self.virtualNetwork.addressPrefix)",
        "virtualNetwork.addressPrefix is required with creationPolicy Create and Adopt: give an IPv4 range that overlaps nothing the network is peered with, or use an existing network by creationPolicy UseExisting",
    ),
    validation = required(
        ".subnet.addressPrefix",
        "self.creationPolicy == 'UseExisting' || has(self.subnet.addressPrefix)",
        "subnet.addressPrefix is required with creationPolicy Create and Adopt: give a range inside virtualNetwork.addressPrefix, or use an existing subnet by creationPolicy UseExisting",
    ),
    validation = forbidden(
        ".virtualNetwork.addressPrefix",
        "self.creationPolicy != 'UseExisting' || !has(self.virtualNetwork.addressPrefix)",
        "virtualNetwork.addressPrefix must be left out with creationPolicy UseExisting: the network has its range already",
    ),
    validation = forbidden(
        ".subnet.addressPrefix",
        "self.creationPolicy != 'UseExisting' || !has(self.subnet.addressPrefix)",
        "subnet.addressPrefix must be left out with creationPolicy UseExisting: the subnet has its range already",
    ),
    validation = forbidden(
        ".peerings",
        "self.creationPolicy != 'UseExisting' || !has(self.peerings) || size(self.peerings) == 0",
        "peerings must be left out with creationPolicy UseExisting: the network is never changed, so its owner makes its peerings",
    ),
    validation = invalid(
        ".peerings",
        "!has(self.peerings) || self.peerings.all(peering, self.peerings.exists_one(other, other.remoteVirtualNetworkId.lowerAscii() == peering.remoteVirtualNetworkId.lowerAscii()))",
        "peerings must name each network once; Azure compares ids without case",
    ),
    validation = invalid(
        ".subnet.addressPrefix",
        "!has(self.virtualNetwork.addressPrefix) || !has(self.subnet.addressPrefix) || !isCIDR(self.virtualNetwork.addressPrefix) || !isCIDR(self.subnet.addressPrefix) || cidr(self.virtualNetwork.addressPrefix).containsCIDR(self.subnet.addressPrefix)",
        "subnet.addressPrefix must lie inside virtualNetwork.addressPrefix",
    ),
)]
pub struct Network {
    /// The virtual network.
    pub virtual_network: VirtualNetwork,

    /// The subnet of that network which the nodes take their addresses from.
    #[serde(default)]
    pub subnet: Subnet,

    /// Create makes network and subnet and removes them with the cluster; UseExisting uses what
    /// is there and never changes it; Adopt takes over the network of that name, which then is as
    /// if made.
    #[serde(default)]
    pub creation_policy: CreationPolicy,

    /// Other networks that are to reach the nodes, as the one that this Kubernetes cluster lives in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["remoteVirtualNetworkId".into()]))]
    pub peerings: Vec<Peering>,

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

/// A peering with another virtual network. Traffic flows once both networks have their side of it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peering {
    /// The ARM id of the other virtual network.
    #[schemars(length(max = 360))]
    #[x_kube(validation = (
        r"self.matches(r'^/(?i:subscriptions)/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/(?i:resourceGroups)/[-\p{L}\p{Nd}_.()]{0,89}[-\p{L}\p{Nd}_()]/(?i:providers/Microsoft\.Network/virtualNetworks)/[A-Za-z0-9][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_]$')",
        "remoteVirtualNetworkId must be the ARM id of a virtual network: `az network vnet show --query id` prints it",
    ))]
    pub remote_virtual_network_id: String,

    /// Create makes the other network's side of the peering too, and removes it with the cluster;
    /// Leave leaves that to the network's owner.
    #[serde(default)]
    pub remote: RemoteSide,
}

/// Who makes the other network's side of a peering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemoteSide {
    /// The operator; its identity needs the right to.
    #[default]
    Create,
    /// The owner of the other network.
    Leave,
}

/// A virtual network in the subscription of the workspace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetwork {
    /// The name of the virtual network.
    #[schemars(length(max = 64))]
    #[x_kube(validation = (
        "self.matches(r'^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_]$')",
        "virtualNetwork.name must be 2 to 64 letters, digits and -_., start with a letter or digit and end with a letter, digit or _",
    ))]
    pub name: String,

    /// Its resource group. Left out, the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 90))]
    #[x_kube(validation = resource_group_name())]
    pub resource_group: Option<String>,

    /// Its IPv4 address range, such as 10.20.0.0/16. Required with creationPolicy Create; it
    /// must overlap nothing that the network is peered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49))]
    #[x_kube(
        validation = ipv4_range(),
        validation = no_host_bits(),
        validation = no_reserved_range(),
    )]
    pub address_prefix: Option<String>,
}

/// A subnet of the virtual network.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// The name of the subnet.
    #[schemars(length(max = 80))]
    #[x_kube(validation = (
        "self.matches(r'^[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?$')",
        "subnet.name must be 1 to 80 letters, digits and -_., start with a letter or digit and end with a letter, digit or _",
    ))]
    #[serde(default = "Subnet::default_name")]
    pub name: String,

    /// Its IPv4 address range, such as 10.20.0.0/22, inside the network's and with room for
    /// maxNodes and the five addresses that Azure keeps. Required with creationPolicy Create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49))]
    #[x_kube(
        validation = ipv4_range(),
        validation = no_host_bits(),
        validation = no_reserved_range(),
    )]
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

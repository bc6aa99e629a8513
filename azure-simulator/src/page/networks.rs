//! Virtual networks and their subnets.

use maud::{Markup, html};
use serde_json::Value;

use crate::azure::Transaction;
use crate::kinds;

/// Networks that are shown.
const MOST_NETWORKS: usize = 50;

pub(super) struct Networks {
    networks: Vec<Network>,
    more: usize,
}

struct Network {
    name: String,
    provisioning: String,
    address_space: String,
    /// Name and address prefix.
    subnets: Vec<(String, String)>,
}

impl Networks {
    pub(super) fn seen(transaction: &Transaction<'_>) -> Self {
        let documents = &transaction.state.documents;
        let found = documents.of_type("Microsoft.Network/virtualNetworks");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let networks = found.iter().take(MOST_NETWORKS).map(|network| {
            let properties = &network.body["properties"];
            let prefixes = properties["addressSpace"]["addressPrefixes"].as_array();
            let prefixes: Vec<String> = prefixes.into_iter().flatten().map(text).collect();
            Network {
                name: network.id.name().to_owned(),
                provisioning: text(&properties["provisioningState"]),
                address_space: prefixes.join(", "),
                subnets: kinds::subnets_of(transaction, &network.id)
                    .map(|subnet| {
                        let prefix = text(&subnet.body["properties"]["addressPrefix"]);
                        (subnet.id.name().to_owned(), prefix)
                    })
                    .collect(),
            }
        });
        Self {
            networks: networks.collect(),
            more: found.len().saturating_sub(MOST_NETWORKS),
        }
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            @if self.networks.is_empty() {
                p.none { "No network." }
            }
            @for network in &self.networks {
                p {
                    strong { (network.name) } " " (network.address_space) ", " (network.provisioning)
                    @for (name, prefix) in &network.subnets {
                        br;
                        "subnet " (name) " " (prefix)
                    }
                }
            }
            @if self.more > 0 {
                p.none { "And " (self.more) " more: " a href="/world" { "world" } }
            }
        }
    }
}

//! Peerings of virtual networks: one side each, connected once both are there.
//!
//! The states are the OpenAPI's. Microsoft's rule `Azure.VNET.PeerState` (PSRule for Azure) says that
//! both are `Connected` when there is a peering from each side; `Initiated` before that and
//! `Disconnected` after the end of the other side are in Check Point's "GSL Knowledge Base".

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::ArmRequest;
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::kinds::body_checks::only_known;
use crate::kinds::network_operation::{begin_deletion, begin_write};
use crate::kinds::network_request::{
    is_going, network_of, overwritten, reference_not_found, to_be_deleted,
};
use crate::kinds::network_state::{check_idle, new_etag, set_state};
use crate::kinds::{Kind, NETWORK_VERSIONS};
use crate::physics::Event;
use crate::resource_id::ResourceId;

const TYPE: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings";
/// What Azure assumes where a peering does not say.
const DEFAULTS: [(&str, bool); 4] = [
    ("allowVirtualNetworkAccess", true),
    ("allowForwardedTraffic", false),
    ("allowGatewayTransit", false),
    ("useRemoteGateways", false),
];

pub(crate) struct Peering;

impl Kind for Peering {
    fn resource_type(&self) -> &'static str {
        TYPE
    }

    fn api_versions(&self) -> &'static [&'static str] {
        NETWORK_VERSIONS
    }

    fn view(&self, transaction: &Transaction<'_>, document: &Document) -> Value {
        shown(transaction, document)
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let given = request.object()?;
        only_known(
            given,
            &["id", "name", "type", "etag", "properties"],
            "a peering",
        )?;
        let properties = &given["properties"];
        let mut known = vec![
            "remoteVirtualNetwork",
            "remoteAddressSpace",
            "remoteVirtualNetworkAddressSpace",
            "peeringState",
            "peeringSyncLevel",
            "provisioningState",
            "doNotVerifyRemoteGateways",
        ];
        known.extend(DEFAULTS.map(|(name, _)| name));
        only_known(properties, &known, "a peering's properties")?;
        let network = network_of(transaction, request)?;
        let text = properties["remoteVirtualNetwork"]["id"].as_str();
        let remote = text
            .and_then(ResourceId::parse)
            .filter(|remote| remote.key() != network.key())
            .and_then(|remote| transaction.state.documents.get(&remote));
        let Some(remote) = remote.map(|found| found.id.clone()) else {
            let text = text.unwrap_or_default();
            return Err(reference_not_found(text, &request.id));
        };
        check_other_side(transaction, request, &network, &remote)?;
        let existing = overwritten(transaction, request, &network)?;
        let id = match &existing {
            Some(found) => found.id.clone(),
            None => network.child("virtualNetworkPeerings", Some(request.id.name())),
        };
        let mut stored = json!({
            "remoteVirtualNetwork": {"id": remote.to_string()},
            "peeringState": "Initiated",
            "provisioningState": "Succeeded",
        });
        for (name, default) in DEFAULTS {
            stored[name] = json!(properties[name].as_bool().unwrap_or(default));
        }
        let body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": TYPE,
            "etag": new_etag(),
            "properties": stored,
        });
        transaction.state.documents.store(id.clone(), body);
        if let Some(other) = counterpart(transaction, &network, &remote) {
            for key in [id.key(), other] {
                set_peering_state(transaction, &key, "Connected");
            }
        }
        let existed = existing.is_some();
        let shown = |transaction: &Transaction<'_>| {
            let document = transaction.state.documents.get(&request.id)?;
            Some(self.view(transaction, document))
        };
        Ok(begin_write(transaction, request, network, existed, shown))
    }

    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let Some(found) = to_be_deleted(transaction, request)? else {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        };
        let going = is_going(&found);
        let remote = remote_of(&found);
        let id = found.id;
        let network = network_of(transaction, request)?;
        if !going {
            check_idle(transaction, &network, request)?;
            let other = remote.and_then(|remote| counterpart(transaction, &network, &remote));
            if let Some(other) = other {
                set_peering_state(transaction, &other, "Disconnected");
            }
            set_state(transaction, &network, "Updating");
            if let Some(body) = transaction.state.documents.body_mut(&id.key()) {
                body["properties"]["provisioningState"] = json!("Deleting");
            }
        }
        // A child of a network goes as a subnet does.
        Ok(begin_deletion(transaction, request, |operation| {
            Event::SubnetDeleted {
                network,
                subnet: id,
                operation,
            }
        }))
    }
}

/// Peerings of a network, as it shows them.
pub(crate) fn all_of(transaction: &Transaction<'_>, network: &ResourceId) -> Vec<Value> {
    transaction
        .state
        .documents
        .members(&collection(network), Order::OldestFirst, None)
        .map(|peering| shown(transaction, peering))
        .collect()
}

/// Keys of the peerings of a network.
pub(crate) fn keys_of(transaction: &Transaction<'_>, network: &ResourceId) -> Vec<String> {
    transaction
        .state
        .documents
        .members(&collection(network), Order::OldestFirst, None)
        .map(|peering| peering.id.key())
        .collect()
}

fn collection(network: &ResourceId) -> ResourceId {
    network.child("virtualNetworkPeerings", None)
}

fn remote_of(peering: &Document) -> Option<ResourceId> {
    ResourceId::parse(peering.body["properties"]["remoteVirtualNetwork"]["id"].as_str()?)
}

/// The peering of `remote` that leads back to `network`, by its key.
fn counterpart(
    transaction: &Transaction<'_>,
    network: &ResourceId,
    remote: &ResourceId,
) -> Option<String> {
    transaction
        .state
        .documents
        .members(&collection(remote), Order::OldestFirst, None)
        .find(|peering| remote_of(peering).is_some_and(|id| id.key() == network.key()))
        .map(|peering| peering.id.key())
}

/// A side that has lost its other one must be made again before that can be (azurerm issue 14051).
fn check_other_side(
    transaction: &Transaction<'_>,
    request: &ArmRequest,
    network: &ResourceId,
    remote: &ResourceId,
) -> Result<(), ArmError> {
    let other = counterpart(transaction, network, remote)
        .and_then(|key| transaction.state.documents.by_key(&key))
        .filter(|other| other.body["properties"]["peeringState"] == "Disconnected");
    let Some(other) = other else {
        return Ok(());
    };
    Err(ArmError::new(
        StatusCode::BAD_REQUEST,
        "RemotePeeringIsDisconnected",
        format!(
            "Cannot create or update peering {} because remote peering {} referencing parent virtual network {network} \
             is in Disconnected state. Update or re-create the remote peering to get it back to Initiated state. Peering \
             gets Disconnected when remote vnet or remote peering is deleted and re-created.",
            request.id, other.id,
        ),
    ))
}

/// The other sides of a network's peerings lose theirs.
pub(crate) fn disconnect(transaction: &mut Transaction<'_>, network: &ResourceId) {
    let others: Vec<String> = transaction
        .state
        .documents
        .members(&collection(network), Order::OldestFirst, None)
        .filter_map(|peering| counterpart(transaction, network, &remote_of(peering)?))
        .collect();
    for key in others {
        set_peering_state(transaction, &key, "Disconnected");
    }
}

fn set_peering_state(transaction: &mut Transaction<'_>, key: &str, state: &str) {
    if let Some(body) = transaction.state.documents.body_mut(key) {
        body["properties"]["peeringState"] = json!(state);
    }
}

fn shown(transaction: &Transaction<'_>, document: &Document) -> Value {
    let mut body = document.body.clone();
    let remote = remote_of(document).and_then(|id| transaction.state.documents.get(&id));
    if let Some(remote) = remote {
        let space = &remote.body["properties"]["addressSpace"];
        body["properties"]["remoteAddressSpace"] = space.clone();
        body["properties"]["remoteVirtualNetworkAddressSpace"] = space.clone();
    }
    body["properties"]["peeringSyncLevel"] = json!("FullyInSync");
    body
}

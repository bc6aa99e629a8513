//! Virtual networks (contract section 11): PUT replaces the subnets.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::body_checks::{Form, check_forms, checked_tags, location_of, only_known};
use crate::kinds::network_operation::{begin_deletion, begin_write, patch_tags};
use crate::kinds::network_request::{invalid_name, is_going, overwritten, to_be_deleted};
use crate::kinds::network_state::{
    check_idle, check_prefixes_stay, check_ranges, check_unused, new_etag, prefixes, set_state,
    subnet_prefixes, subnets_of,
};
use crate::kinds::{Kind, NETWORK_VERSIONS, network_security_group, peering, subnet};
use crate::physics::Event;
use crate::resource_id::ResourceId;
use crate::world::World;

const TYPE: &str = "Microsoft.Network/virtualNetworks";

pub(crate) struct VirtualNetwork;

impl Kind for VirtualNetwork {
    fn resource_type(&self) -> &'static str {
        TYPE
    }

    fn api_versions(&self) -> &'static [&'static str] {
        NETWORK_VERSIONS
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip"],
            _ => &[],
        }
    }

    fn view(&self, transaction: &Transaction<'_>, document: &Document) -> Value {
        let mut body = document.body.clone();
        let subnets: Vec<Value> = subnets_of(transaction, &document.id)
            .map(|subnet| subnet.body.clone())
            .collect();
        body["properties"]["subnets"] = Value::Array(subnets);
        let peerings = peering::all_of(transaction, &document.id);
        body["properties"]["virtualNetworkPeerings"] = Value::Array(peerings);
        body
    }

    fn stored(&self, transaction: &Transaction<'_>, id: &ResourceId) -> Option<Value> {
        let document = transaction.state.documents.get(id)?;
        Some(self.view(transaction, document))
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let body = request.object()?;
        only_known(
            body,
            &[
                "id",
                "name",
                "type",
                "etag",
                "location",
                "tags",
                "properties",
            ],
            "a virtual network",
        )?;
        let wanted = Wanted::read(&transaction.settings.world, &request.id, body)?;
        let existing = overwritten(transaction, request, &request.id)?;
        let id = existing
            .as_ref()
            .map_or(&request.id, |found| &found.id)
            .clone();
        check_peerings(transaction, &id, &body["properties"])?;
        for (name, properties) in &wanted.subnets {
            let own = id.child("subnets", Some(name));
            network_security_group::check_named(transaction, &own, properties)?;
            subnet::check_delegations(transaction, &own, properties)?;
            check_prefixes_stay(transaction, &own, properties)?;
        }
        let names: Vec<String> = wanted
            .subnets
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        let dropped: Vec<ResourceId> = subnets_of(transaction, &id)
            .filter(|subnet| !names.contains(&subnet.id.name().to_lowercase()))
            .map(|subnet| subnet.id.clone())
            .collect();
        for subnet in &dropped {
            check_unused(transaction, subnet)?;
        }
        for subnet in &dropped {
            transaction.state.documents.remove(&subnet.key());
        }
        wanted.store(transaction, &id, existing.as_ref());
        let existed = existing.is_some();
        let shown = |transaction: &Transaction<'_>| self.stored(transaction, &request.id);
        Ok(begin_write(transaction, request, id, existed, shown))
    }

    /// Only tags can be patched.
    fn patch(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        patch_tags(transaction, request, "a virtual network")?;
        self.get(transaction, request)
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
        let network = found.id;
        if !going {
            check_idle(transaction, &network, request)?;
            let subnets: Vec<ResourceId> = subnets_of(transaction, &network)
                .map(|subnet| subnet.id.clone())
                .collect();
            for subnet in &subnets {
                check_unused(transaction, subnet)?;
            }
            set_state(transaction, &network, "Deleting");
        }
        Ok(begin_deletion(transaction, request, |operation| {
            Event::NetworkDeleted { network, operation }
        }))
    }
}

/// Peerings that are there may come back in the body of their network; others are made by
/// themselves.
fn check_peerings(
    transaction: &Transaction<'_>,
    network: &ResourceId,
    properties: &Value,
) -> Result<(), ArmError> {
    let known = peering::keys_of(transaction, network);
    for given in properties["virtualNetworkPeerings"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let name = given["name"].as_str().unwrap_or_default();
        let id = network.child("virtualNetworkPeerings", Some(name));
        if !known.contains(&id.key()) {
            return Err(ArmError::refused(
                "A new peering in the body of its virtual network",
            ));
        }
    }
    Ok(())
}

/// A PUT body, checked.
struct Wanted {
    location: String,
    tags: Value,
    properties: Value,
    subnets: Vec<(String, Value)>,
}

impl Wanted {
    fn read(world: &World, id: &ResourceId, body: &Value) -> Result<Self, ArmError> {
        check_name(id.name())?;
        let location = location_of(world, body, TYPE)?;
        let properties = &body["properties"];
        only_known(
            properties,
            &[
                "addressSpace",
                "dhcpOptions",
                "subnets",
                "virtualNetworkPeerings",
                "enableDdosProtection",
                "encryption",
                "flowTimeoutInMinutes",
                "provisioningState",
                "resourceGuid",
            ],
            "a virtual network's properties",
        )?;
        check_forms(
            properties,
            &[
                ("addressSpace", Form::Object),
                ("dhcpOptions", Form::Object),
                ("subnets", Form::Objects),
                ("virtualNetworkPeerings", Form::Objects),
                ("enableDdosProtection", Form::Flag),
                ("encryption", Form::Object),
            ],
            "a virtual network's properties",
        )?;
        only_known(
            &properties["addressSpace"],
            &["addressPrefixes"],
            "an address space",
        )?;
        let space = prefixes(&properties["addressSpace"]["addressPrefixes"], id.name())?;
        if space.is_empty() {
            return Err(ArmError::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequestFormat",
                format!("Virtual network {} has no address space.", id.name()),
            ));
        }
        let mut subnets: Vec<(String, Value)> = Vec::new();
        let mut taken = Vec::new();
        for item in properties["subnets"].as_array().into_iter().flatten() {
            only_known(
                item,
                &["id", "name", "type", "etag", "properties"],
                "a subnet",
            )?;
            let name = item["name"].as_str().unwrap_or_default();
            subnet::check_name(name)?;
            subnet::check_properties(&item["properties"])?;
            let own = subnet_prefixes(&item["properties"], name)?;
            check_ranges(id.name(), &space, name, &own, &taken)?;
            taken.extend(own);
            subnets.push((name.to_owned(), item["properties"].clone()));
        }
        Ok(Self {
            location: location.to_owned(),
            tags: checked_tags(body)?,
            properties: properties.clone(),
            subnets,
        })
    }

    fn store(
        self,
        transaction: &mut Transaction<'_>,
        id: &ResourceId,
        existing: Option<&Document>,
    ) {
        let guid = match existing {
            Some(found) => found.body["properties"]["resourceGuid"].clone(),
            None => json!(Uuid::new_v4()),
        };
        let mut body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": TYPE,
            "etag": new_etag(),
            "location": self.location,
            "tags": self.tags,
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": guid,
                "addressSpace": self.properties["addressSpace"],
                "virtualNetworkPeerings": [],
                "enableDdosProtection": self.properties["enableDdosProtection"] == true,
            },
        });
        for field in ["dhcpOptions", "encryption", "flowTimeoutInMinutes"] {
            if !self.properties[field].is_null() {
                body["properties"][field] = self.properties[field].clone();
            }
        }
        transaction.state.documents.store(id.clone(), body);
        for (name, properties) in self.subnets {
            subnet::store(transaction, id, &name, &properties);
        }
    }
}

/// 2 to 64 characters (contract section 11).
fn check_name(name: &str) -> Result<(), ArmError> {
    let bytes = name.as_bytes();
    let fits = (2..=64).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .last()
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
    if fits {
        return Ok(());
    }
    Err(invalid_name(name))
}

//! Resource groups: those of the world, read only.

use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::kinds::Kind;
use crate::resource_id::ResourceId;

pub(crate) struct ResourceGroup;

impl Kind for ResourceGroup {
    fn resource_type(&self) -> &'static str {
        "Microsoft.Resources/resourceGroups"
    }

    fn api_versions(&self) -> &'static [&'static str] {
        &[
            "2020-06-01",
            "2021-04-01",
            "2022-09-01",
            "2023-07-01",
            "2024-03-01",
            "2024-07-01",
            "2024-11-01",
            "2025-03-01",
            "2025-04-01",
        ]
    }
}

/// The id of a group of the world.
pub(crate) fn id_of(subscription: &str, group: &str) -> ResourceId {
    ResourceId {
        subscription: subscription.to_owned(),
        resource_group: Some(group.to_owned()),
        provider: String::new(),
        segments: Vec::new(),
    }
}

pub(crate) fn create(transaction: &mut Transaction<'_>, group: &str) {
    let world = &transaction.settings.world;
    let id = id_of(&world.subscription_id, group);
    let body: Value = json!({
        "id": id.to_string(),
        "name": group,
        "type": "Microsoft.Resources/resourceGroups",
        "location": world.location,
        "tags": {},
        "properties": {"provisioningState": "Succeeded"},
    });
    transaction.state.documents.insert(id, body);
}

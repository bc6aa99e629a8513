//! Resource groups: those of the world, read only.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::Kind;
use crate::resource_id::ResourceId;

pub(crate) struct ResourceGroup;

/// Api-versions of Microsoft.Resources that its clients send.
pub(crate) const VERSIONS: &[&str] = &[
    "2020-06-01",
    "2021-04-01",
    "2022-09-01",
    "2023-07-01",
    "2024-03-01",
    "2024-07-01",
    "2024-11-01",
    "2025-03-01",
    "2025-04-01",
];

impl Kind for ResourceGroup {
    fn resource_type(&self) -> &'static str {
        "Microsoft.Resources/resourceGroups"
    }

    fn api_versions(&self) -> &'static [&'static str] {
        VERSIONS
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &[]
    }

    /// All of them on one page.
    fn list(&self, transaction: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        let world = &transaction.settings.world;
        let groups: Vec<&Value> = world
            .resource_groups
            .iter()
            .filter_map(|group| {
                let id = id_of(&world.subscription_id, group);
                transaction.state.documents.get(&id)
            })
            .map(|found| &found.body)
            .collect();
        Ok(Answer::ok(json!({"value": groups})))
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

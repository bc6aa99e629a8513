//! Resource providers: all that are known are registered (`GET …/providers`, `POST …/register`).

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::{self, Kind, resource_group};
use crate::world::World;

pub(crate) struct Provider;

impl Kind for Provider {
    fn resource_type(&self) -> &'static str {
        "Microsoft.Resources/providers"
    }

    fn api_versions(&self) -> &'static [&'static str] {
        resource_group::VERSIONS
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &["$expand"]
    }

    fn get(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        find(&transaction.settings.world, request.id.name())
    }

    fn list(&self, transaction: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        let all: Vec<Value> = providers(&transaction.settings.world)
            .into_values()
            .collect();
        Ok(Answer::ok(json!({"value": all})))
    }

    /// Registering again what is registered changes nothing.
    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        if !action.eq_ignore_ascii_case("register") {
            return Err(kinds::not_allowed(&format!("POST {action} of a provider")));
        }
        find(&transaction.settings.world, request.id.name())
    }
}

fn find(world: &World, namespace: &str) -> Result<Answer, ArmError> {
    let found = providers(world)
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(namespace));
    match found {
        Some((_, provider)) => Ok(Answer::ok(provider)),
        None => Err(ArmError::new(
            StatusCode::NOT_FOUND,
            "InvalidResourceNamespace",
            format!("The resource namespace '{namespace}' is invalid."),
        )
        .refusing(format!("provider {namespace}"))),
    }
}

/// What the kinds add up to, by namespace.
fn providers(world: &World) -> BTreeMap<&'static str, Value> {
    let mut types: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for kind in kinds::all() {
        if let Some((namespace, name)) = kind.resource_type().split_once('/') {
            let versions: Vec<&str> = kind.api_versions().iter().rev().copied().collect();
            types.entry(namespace).or_default().push(json!({
                "resourceType": name,
                "locations": [world.location],
                "apiVersions": versions,
                "defaultApiVersion": versions.iter().find(|one| !one.ends_with("preview")),
                "capabilities": "None",
            }));
        }
    }
    types
        .into_iter()
        .map(|(namespace, types)| {
            let provider = json!({
                "id": format!("/subscriptions/{}/providers/{namespace}", world.subscription_id),
                "namespace": namespace,
                "resourceTypes": types,
                "registrationState": "Registered",
                "registrationPolicy": "RegistrationRequired",
            });
            (namespace, provider)
        })
        .collect()
}

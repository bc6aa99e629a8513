//! `GET locations/{loc}/quotas`: cores of each family in the region, and how many of them each
//! workspace may take; `POST locations/{loc}/updateQuotas` changes the latter (contract section 6).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::body_checks::only_known;
use crate::kinds::usages::family_name;
use crate::kinds::{Kind, not_allowed, vm_sizes};
use crate::resource_id::ResourceId;
use crate::world::World;

pub(crate) struct Quotas;

impl Kind for Quotas {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/locations/quotas"
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &[]
    }

    fn list(&self, transaction: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        let world = &transaction.settings.world;
        let families = families(world);
        let workspaces = transaction
            .state
            .documents
            .of_type("Microsoft.MachineLearningServices/workspaces");
        let quota = &transaction.state.physics.quota;
        let mut rows = Vec::new();
        for family in &families {
            let subscription = format!("/subscriptions/{}", world.subscription_id);
            rows.push(row(
                &subscription,
                "vmFamily",
                family,
                quota.family_limit(family),
            ));
            for workspace in &workspaces {
                let id = workspace.id.to_string();
                let limit = quota.workspace_limit(&workspace.id.key(), family);
                rows.push(row(&id, "workspaces", family, limit));
            }
        }
        Ok(Answer::ok(json!({"value": rows})))
    }
}

fn row(scope: &str, kind: &str, family: &str, limit: u64) -> Value {
    let name = name_of(family);
    json!({
        "id": format!("{scope}/quotas/{}", name.replace(' ', "_")),
        "type": format!("Microsoft.MachineLearningServices/{kind}/quotas"),
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
    })
}

fn families(world: &World) -> BTreeSet<String> {
    vm_sizes::all(world)
        .iter()
        .filter_map(|size| size["family"].as_str().map(str::to_owned))
        .collect()
}

/// `Standard DSv2 Family Cluster Dedicated vCPUs`; with `_` for its spaces the last part of an id.
fn name_of(family: &str) -> String {
    format!("{} Cluster Dedicated vCPUs", family_name(family))
}

/// `locations/{loc}`, for what is done to it.
pub(crate) struct Location;

impl Kind for Location {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/locations"
    }

    fn get(&self, _: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        Err(not_allowed("GET of a location"))
    }

    fn list(&self, _: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        Err(not_allowed("GET of locations"))
    }

    /// Each limit has a status of its own; the answer is 200 whatever they are.
    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        if !action.eq_ignore_ascii_case("updateQuotas") {
            return Err(not_allowed(&format!("POST {action} of a location")));
        }
        let body = request.object()?;
        only_known(body, &["value", "location"], "an update of quotas")?;
        let mut rows = Vec::new();
        for given in body["value"].as_array().into_iter().flatten() {
            only_known(given, &["id", "type", "limit", "unit"], "a quota")?;
            let Some(limit) = given["limit"].as_u64() else {
                return Err(ArmError::bad_request(format!(
                    "The limit {} of a quota is no number of cores.",
                    given["limit"]
                )));
            };
            let status = set_limit(transaction, given["id"].as_str().unwrap_or_default(), limit);
            let mut row = given.clone();
            row["status"] = json!(status);
            rows.push(row);
        }
        transaction.retry_short_pools();
        Ok(Answer::ok(json!({"value": rows, "nextLink": null})))
    }
}

/// Sets the limit that an id of a workspace's quota names, and tells how that went: the words are
/// the OpenAPI's.
fn set_limit(transaction: &mut Transaction<'_>, id: &str, limit: u64) -> &'static str {
    let Some(id) = ResourceId::parse(id) else {
        return "Failure";
    };
    let named = id.name().replace('_', " ");
    let Some(workspace) = id.parent().map(|workspace| workspace.key()) else {
        return "Failure";
    };
    if transaction.state.documents.by_key(&workspace).is_none() {
        return "Failure";
    }
    let family = families(&transaction.settings.world)
        .into_iter()
        .find(|family| name_of(family).eq_ignore_ascii_case(&named));
    let Some(family) = family else {
        return "InvalidVMFamilyName";
    };
    let physics = &mut transaction.state.physics;
    if limit > physics.quota.family_limit(&family) {
        return "InvalidQuotaExceedsSubscriptionLimit";
    }
    let least: u64 = physics
        .pools
        .values()
        .filter(|pool| {
            let machine = &pool.machine;
            machine.workspace == workspace && machine.family == family && !machine.low_priority
        })
        .map(|pool| pool.machine.cores.saturating_mul(pool.least as u64))
        .sum();
    if limit < least {
        return "InvalidQuotaBelowClusterMinimum";
    }
    physics.quota.limit_workspace(&workspace, &family, limit);
    "Success"
}

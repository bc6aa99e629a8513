//! `GET locations/{loc}/quotas`: cores of each family in the region, and how many of them each
//! workspace may take, which is all of them here (contract section 6).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::usages::family_name;
use crate::kinds::{Kind, vm_sizes};

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
        let sizes = vm_sizes::all(world);
        let families: BTreeSet<&str> = sizes
            .iter()
            .filter_map(|size| size["family"].as_str())
            .collect();
        let workspaces = transaction
            .state
            .documents
            .of_type("Microsoft.MachineLearningServices/workspaces");
        let quota = &transaction.state.physics.quota;
        let mut rows = Vec::new();
        for family in families {
            let subscription = format!("/subscriptions/{}", world.subscription_id);
            rows.push(row(
                &subscription,
                "vmFamily",
                family,
                quota.family_limit(family),
            ));
            for workspace in &workspaces {
                let id = workspace.id.to_string();
                rows.push(row(&id, "workspaces", family, quota.family_limit(family)));
            }
        }
        Ok(Answer::ok(json!({"value": rows})))
    }
}

fn row(scope: &str, kind: &str, family: &str, limit: u64) -> Value {
    let name = format!("{} Cluster Dedicated vCPUs", family_name(family));
    json!({
        "id": format!("{scope}/quotas/{}", name.replace(' ', "_")),
        "type": format!("Microsoft.MachineLearningServices/{kind}/quotas"),
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
    })
}

//! `GET locations/{loc}/usages`: how much of the quota the pools take (contract section 6).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::{Kind, vm_sizes};
use crate::world::World;

const CLUSTER_LIMIT: u64 = 500;
const FAMILY_CORE_LIMIT: u64 = 500;

pub(crate) struct Usages;

impl Kind for Usages {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/locations/usages"
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &[]
    }

    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let world = &transaction.settings.world;
        let mut families: BTreeMap<String, u64> = BTreeMap::new();
        let mut cores_of = BTreeMap::new();
        for size in vm_sizes::all(world) {
            let family = size["family"].as_str().unwrap_or_default().to_owned();
            families.entry(family.clone()).or_default();
            if let Some(name) = size["name"].as_str() {
                let cores = size["vCPUs"].as_u64().unwrap_or_default();
                cores_of.insert(name.to_uppercase(), (family, cores));
            }
        }
        let mut total = 0;
        for (key, pool) in &transaction.state.physics.pools {
            let size = transaction
                .state
                .documents
                .by_key(key)
                .and_then(|found| found.body["properties"]["properties"]["vmSize"].as_str());
            if let Some((family, cores)) = size.and_then(|size| cores_of.get(size)) {
                let used = cores * pool.nodes.len() as u64;
                total += used;
                *families.entry(family.clone()).or_default() += used;
            }
        }
        let id = format!("/subscriptions/{}/usages", world.subscription_id);
        let limit = |family: &str| family_limit(world, family);
        let all_limits: u64 = families.keys().map(|family| limit(family)).sum();
        let clusters = transaction.state.physics.pools.len() as u64;
        let mut rows = vec![
            row(&id, "totalCores", "Clusters", clusters, CLUSTER_LIMIT),
            row(
                &id,
                "dedicatedCores",
                "Total Cluster Dedicated Regional vCPUs",
                total,
                all_limits,
            ),
        ];
        for (family, used) in &families {
            let name = format!("{} Cluster Dedicated vCPUs", family_name(family));
            let id = format!("{id}/{}", name.replace(' ', "_"));
            rows.push(row(&id, "vmFamily", &name, *used, limit(family)));
        }
        for row in &mut rows {
            row["amlWorkspaceLocation"] = json!(request.id.root_name());
        }
        Ok(Answer::ok(json!({"value": rows, "nextLink": null})))
    }
}

fn row(id: &str, kind: &str, name: &str, used: u64, limit: u64) -> Value {
    json!({
        "id": id,
        "type": format!("Microsoft.MachineLearningServices/{kind}/usages"),
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
    })
}

/// Cores of a family that the subscription may have in its region.
pub(crate) fn family_limit(world: &World, family: &str) -> u64 {
    let known = world.family_core_limits.get(family);
    known.copied().unwrap_or(FAMILY_CORE_LIMIT)
}

/// `standardDSv2Family` is `Standard DSv2 Family`.
pub(crate) fn family_name(family: &str) -> String {
    let middle = family
        .trim_start_matches("standard")
        .trim_end_matches("Family");
    format!("Standard {middle} Family")
}

#[cfg(test)]
mod tests {
    #[test]
    fn families_are_named_as_usages_names_them() {
        assert_eq!(
            super::family_name("standardDSv2Family"),
            "Standard DSv2 Family"
        );
    }
}

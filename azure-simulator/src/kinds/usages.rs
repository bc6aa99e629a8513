//! `GET locations/{loc}/usages`: how much of the quota the pools take (contract section 6).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::{Kind, vm_sizes};

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
        let physics = &transaction.state.physics;
        let quota = &physics.quota;
        let families: BTreeSet<String> = vm_sizes::all(world)
            .iter()
            .filter_map(|size| size["family"].as_str().map(str::to_owned))
            .collect();
        let all_limits = families
            .iter()
            .map(|family| quota.family_limit(family))
            .fold(0, u64::saturating_add);
        let id = format!("/subscriptions/{}/usages", world.subscription_id);
        let mut rows = vec![
            row(
                &id,
                "totalCores",
                "Clusters",
                physics.clusters(),
                quota.cluster_limit(),
            ),
            row(
                &id,
                "dedicatedCores",
                "Total Cluster Dedicated Regional vCPUs",
                quota.used_dedicated(),
                quota.total_limit().unwrap_or(all_limits),
            ),
            row(
                &id,
                "lowPriorityCores",
                "Total Cluster LowPriority Regional vCPUs",
                quota.used_low_priority(),
                quota.low_priority_limit().unwrap_or(all_limits),
            ),
        ];
        for family in &families {
            let (name, row_id) = family_row(&id, family);
            let (used, limit) = (quota.used_of_family(family), quota.family_limit(family));
            rows.push(row(&row_id, "vmFamily", &name, used, limit));
            add_rows_of_workspaces(transaction, family, &mut rows);
        }
        for row in &mut rows {
            row["amlWorkspaceLocation"] = json!(request.id.root_name());
        }
        Ok(Answer::ok(json!({"value": rows, "nextLink": null})))
    }
}

/// Name and id of the row of a family, `home` being the usages of a subscription, workspace or compute.
fn family_row(home: &str, family: &str) -> (String, String) {
    let name = format!("{} Cluster Dedicated vCPUs", family_name(family));
    let id = format!("{home}/{}", name.replace(' ', "_"));
    (name, id)
}

/// What workspaces take of a family, each with its computes, as the specification's example has them.
fn add_rows_of_workspaces(transaction: &Transaction<'_>, family: &str, rows: &mut Vec<Value>) {
    let physics = &transaction.state.physics;
    let mut workspace = "";
    for (key, pool) in &physics.pools {
        let machine = &pool.machine;
        let Some(compute) = transaction.state.documents.by_key(key) else {
            continue;
        };
        if machine.low_priority || machine.family != family {
            continue;
        }
        let limit = physics.quota.workspace_limit(&machine.workspace, family);
        if workspace != machine.workspace {
            workspace = &machine.workspace;
            let mut home = compute.id.clone();
            home.segments.truncate(1);
            let (name, id) = family_row(&format!("{home}/usages"), family);
            let used = physics.quota.used_of_workspace(workspace, family);
            rows.push(row(&id, "workspaces", &name, used, limit));
        }
        let (name, id) = family_row(&format!("{}/usages", compute.id), family);
        let used = machine.cores.saturating_mul(pool.nodes.len() as u64);
        rows.push(row(&id, "workspaces/computes", &name, used, limit));
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

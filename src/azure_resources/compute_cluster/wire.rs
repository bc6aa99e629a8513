//! The bodies of an AmlCompute (contract section 6; recorded exchange `compute-put-get-patch`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::azure_resources::ownership::Tags;

#[derive(Clone, Debug, Serialize)]
pub struct Want {
    pub location: String,
    pub tags: Tags,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identities>,
    pub properties: OuterWant,
}

/// The managed identities of a pool. What Azure adds to each of them, it reads from nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identities {
    #[serde(rename = "type", default)]
    pub kind: String,
    /// By ARM id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_assigned_identities: Option<BTreeMap<String, Nothing>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nothing {}

impl Identities {
    /// `None` for a pool without an identity.
    pub fn of(ids: impl IntoIterator<Item = String>, has_its_own: bool) -> Option<Self> {
        let ids: BTreeMap<_, _> = ids.into_iter().map(|id| (id, Nothing {})).collect();
        let kind = match (has_its_own, ids.is_empty()) {
            (false, true) => return None,
            (true, true) => "SystemAssigned",
            (false, false) => "UserAssigned",
            (true, false) => "SystemAssigned,UserAssigned",
        };
        Some(Self {
            kind: kind.into(),
            user_assigned_identities: (!ids.is_empty()).then_some(ids),
        })
    }

    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.user_assigned_identities
            .iter()
            .flatten()
            .map(|(id, _)| id)
    }

    pub fn has(&self, id: &str) -> bool {
        self.ids().any(|held| held.eq_ignore_ascii_case(id))
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OuterWant {
    pub compute_type: &'static str,
    pub description: String,
    pub properties: InnerWant,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InnerWant {
    pub vm_size: String,
    pub vm_priority: &'static str,
    pub os_type: &'static str,
    pub scale_settings: ScaleSettings,
    pub subnet: SubnetReference,
    pub enable_node_public_ip: bool,
    pub remote_login_port_public_access: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleSettings {
    #[serde(default)]
    pub min_node_count: Option<u32>,
    #[serde(default)]
    pub max_node_count: Option<u32>,
    #[serde(default)]
    pub node_idle_time_before_scale_down: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetReference {
    pub id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Have {
    #[serde(default)]
    pub tags: Option<Tags>,
    #[serde(default)]
    pub identity: Option<Identities>,
    pub properties: Outer,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outer {
    #[serde(default)]
    pub compute_type: Option<String>,
    #[serde(default)]
    pub provisioning_state: Option<String>,
    #[serde(default)]
    pub provisioning_errors: Option<Vec<ProvisioningError>>,
    #[serde(default)]
    pub properties: Option<Inner>,
}

/// An entry of `provisioningErrors` and of the inner `errors`: ARM's error, wrapped or bare.
#[derive(Clone, Debug, Deserialize)]
pub struct ProvisioningError {
    #[serde(default)]
    error: Option<Box<ProvisioningError>>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl fmt::Display for ProvisioningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return error.fmt(f);
        }
        write!(
            f,
            "{}: {}",
            self.code.as_deref().unwrap_or("no code"),
            self.message.as_deref().unwrap_or("no message")
        )
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inner {
    #[serde(default)]
    pub vm_size: Option<String>,
    #[serde(default)]
    pub vm_priority: Option<String>,
    #[serde(default)]
    pub scale_settings: Option<ScaleSettings>,
    #[serde(default)]
    pub subnet: Option<SubnetReference>,
    #[serde(default)]
    pub allocation_state: Option<String>,
    #[serde(default)]
    pub errors: Option<Vec<ProvisioningError>>,
    #[serde(default)]
    pub current_node_count: Option<u32>,
    #[serde(default)]
    pub target_node_count: Option<u32>,
    #[serde(default)]
    pub node_state_counts: Option<NodeStateCounts>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStateCounts {
    #[serde(default)]
    pub idle_node_count: Option<u32>,
    #[serde(default)]
    pub running_node_count: Option<u32>,
    #[serde(default)]
    pub preparing_node_count: Option<u32>,
    #[serde(default)]
    pub unusable_node_count: Option<u32>,
    #[serde(default)]
    pub leaving_node_count: Option<u32>,
    #[serde(default)]
    pub preempted_node_count: Option<u32>,
}

/// The answer of `listNodes`; its list is called `nodes`, not `value`.
#[derive(Clone, Debug, Deserialize)]
pub struct PoolNodes {
    #[serde(default)]
    pub nodes: Vec<PoolNode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNode {
    #[serde(default)]
    pub private_ip_address: Option<String>,
    /// The job that runs on it.
    #[serde(default)]
    pub run_id: Option<String>,
}

/// Inner properties that a PUT may hold (contract section 6: the others are read-only).
const WRITABLE_INNER: [&str; 8] = [
    "vmSize",
    "vmPriority",
    "osType",
    "scaleSettings",
    "subnet",
    "enableNodePublicIp",
    "isolatedNetwork",
    "remoteLoginPortPublicAccess",
];

pub(super) fn keep_writable(properties: &mut Value) {
    let Some(outer) = properties.as_object_mut() else {
        return;
    };
    outer.retain(|name, value| {
        ["computeType", "description", "properties"].contains(&name.as_str()) && !value.is_null()
    });
    if let Some(inner) = outer.get_mut("properties").and_then(Value::as_object_mut) {
        inner.retain(|name, value| WRITABLE_INNER.contains(&name.as_str()) && !value.is_null());
    }
}

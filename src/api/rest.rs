//! When a cluster stops spending by itself: `spec.idleAction`, `spec.budget`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::required;
use super::schema::quantity;

/// What becomes of a cluster that has been idle for `idleTimeoutSeconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdleAction {
    /// Workers and head end, as with `suspend`.
    #[default]
    Suspend,
    /// The workers end; head and scheduler stay, with what the head's own worker can hold, and work brings the workers
    /// back.
    ScaleToZero,
}

/// What the nodes of a cluster may cost, in the currency that `status.cost` names and by Azure's own estimate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = required(
    ".maxPerHour",
    "has(self.maxPerHour) || has(self.maxTotal)",
    "budget must say maxPerHour, maxTotal or both: leave budget out to have no limit",
))]
pub struct Budget {
    /// What all nodes together may cost in an hour, such as "12.50".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = (
        "type(self) == int ? int(self) > 0 : isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('0')) > 0",
        "budget.maxPerHour must be an amount of money greater than 0, such as \"12.50\"",
    ))]
    pub max_per_hour: Option<Quantity>,

    /// What the cluster may cost from its first node on, such as "500".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = (
        "type(self) == int ? int(self) > 0 : isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('0')) > 0",
        "budget.maxTotal must be an amount of money greater than 0, such as \"500\"",
    ))]
    pub max_total: Option<Quantity>,

    /// What happens beyond it: Warn says so in a condition; Suspend also suspends the cluster at maxTotal, and asks for
    /// no more workers than maxPerHour pays for.
    #[serde(default)]
    pub action: BudgetAction,
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BudgetAction {
    /// The condition `OverBudget` says so.
    #[default]
    Warn,
    /// At `maxTotal` the cluster is suspended, too, until it is raised; no more workers are asked for than `maxPerHour`
    /// pays for.
    Suspend,
}

/// What becomes of running jobs when the spec changes what they were started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    /// Workers are replaced one by one, and hand over their data; the head stays as it is until it ends.
    #[default]
    RollingUpdate,
    /// The head is replaced too: what the workers hold is lost.
    Recreate,
}

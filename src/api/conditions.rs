//! The conditions of a DaskCluster: which there are, and their three values.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};

/// A condition of a DaskCluster. The order is that of [`ConditionType::ALL`] and of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// What the manifest asks for holds.
    Ready,
    /// A change of the spec is being worked in (kstatus).
    Reconciling,
    /// Something needs the user; no retry mends it (kstatus).
    Stalled,
    /// Nothing that was looked at before the first spend stands in its way.
    PreflightPassed,
    /// Virtual network and subnet are there.
    NetworkReady,
    /// The pool takes jobs.
    ComputeReady,
    /// Every data asset is registered.
    DatasetsReady,
    /// The environment is registered.
    EnvironmentReady,
    /// The scheduler answers on its own route.
    SchedulerReady,
    /// As many workers as wanted have registered with the scheduler.
    WorkersReady,
    /// The Secret with the credentials is being deleted, or nobody lets a cluster into Azure that is Ready all the
    /// same; said only while it is so.
    CredentialsTrouble,
    /// No job is left, or will be soon, because the manifest or a policy in it says so. False where that comes, is
    /// forbidden, or has left the scheduler; otherwise it is not said.
    Suspended,
    /// Jobs that run lack a change of the spec; said only then.
    ChangesPending,
    /// The nodes cost more than `spec.budget` allows; said only then.
    OverBudget,
}

impl ConditionType {
    /// Every condition, in the order in which the status lists them.
    pub const ALL: [Self; 14] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::PreflightPassed,
        Self::NetworkReady,
        Self::ComputeReady,
        Self::DatasetsReady,
        Self::EnvironmentReady,
        Self::SchedulerReady,
        Self::WorkersReady,
        Self::CredentialsTrouble,
        Self::Suspended,
        Self::ChangesPending,
        Self::OverBudget,
    ];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::PreflightPassed => "PreflightPassed",
            Self::NetworkReady => "NetworkReady",
            Self::ComputeReady => "ComputeReady",
            Self::DatasetsReady => "DatasetsReady",
            Self::EnvironmentReady => "EnvironmentReady",
            Self::SchedulerReady => "SchedulerReady",
            Self::WorkersReady => "WorkersReady",
            Self::CredentialsTrouble => "CredentialsTrouble",
            Self::Suspended => "Suspended",
            Self::ChangesPending => "ChangesPending",
            Self::OverBudget => "OverBudget",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known whether it holds.
    Unknown,
}

impl ConditionStatus {
    /// The word as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The schema of `status.conditions`: a list keyed by type. The type of `k8s_openapi` says
/// neither the key nor the limits that the API conventions give.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One aspect of the cluster's state.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "Which aspect.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one word; docs/conditions.md explains each.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                },
                "message": {
                    "description": "Why, in a sentence, and what to do next.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "observedGeneration": {
                    "description": "The generation of the spec that it speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "When its status changed last.",
                    "type": "string",
                    "format": "date-time",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::ConditionType;

    #[test]
    fn all_holds_each_condition_at_its_place_under_its_own_name() {
        for (place, condition) in ConditionType::ALL.into_iter().enumerate() {
            assert_eq!(condition as usize, place);
            assert_eq!(condition.as_str(), format!("{condition:?}"));
        }
    }
}

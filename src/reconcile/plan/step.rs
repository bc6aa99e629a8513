use std::fmt;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use crate::api::{ConditionType, Reason};
use crate::azure::{Lane, ResourceId};
use crate::azure_resources::AzureKind;
use crate::kubernetes_children::HeldConnection;
use crate::reconcile::observed::SecretReference;

/// One effect. Idempotent, and safe when the plan is stale.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub action: Action,
    pub why: String,
    /// Where it is told as an event of its own.
    pub reason: Option<Reason>,
    /// The condition that tells how it went.
    pub stage: ConditionType,
    /// When it fails, nothing after it is done.
    pub gates: bool,
    /// How urgent it is among all that is asked of Azure.
    pub lane: Lane,
    /// What somebody with the rights can do where ours do not reach.
    pub remedy: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    EnsureFinalizer,
    RemoveFinalizer,
    /// Puts the in-use finalizer on the credentials Secret.
    HoldCredentials(SecretReference),
    ReleaseCredentials(SecretReference),
    PutAzure {
        kind: &'static str,
        id: ResourceId,
        api_version: &'static str,
        body: Value,
        /// Only while what is there has this etag: a body that carries along what others put there must not undo
        /// what they did since.
        if_match: Option<String>,
    },
    PatchAzure {
        kind: &'static str,
        id: ResourceId,
        api_version: &'static str,
        body: Value,
    },
    DeleteAzure {
        kind: &'static str,
        id: ResourceId,
        api_version: &'static str,
        query: &'static [(&'static str, &'static str)],
        /// Only while what is there has this etag, so that nothing goes with it that came since.
        if_match: Option<String>,
    },
    CancelJob {
        id: ResourceId,
        api_version: &'static str,
    },
    CreateChild(Child),
    UpdateChild(Child),
    DeleteEndpointSlice {
        name: String,
    },
    RetireWorkers {
        count: u32,
        /// Ids of the jobs whose workers go before others; empty is the scheduler's own order.
        first: Vec<String>,
    },
}

/// A child of the cluster in Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    ConnectionSecret(HeldConnection),
}

impl Child {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "Service",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::ConnectionSecret(_) => "Secret",
        }
    }
}

impl Step {
    pub fn new(action: Action, stage: ConditionType, why: impl Into<String>) -> Self {
        Self {
            action,
            why: why.into(),
            reason: None,
            stage,
            gates: false,
            lane: Lane::UserChange,
            remedy: None,
        }
    }

    #[must_use]
    pub fn gating(self) -> Self {
        Self {
            gates: true,
            ..self
        }
    }

    #[must_use]
    pub fn on_lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    pub fn put<K: AzureKind>(id: ResourceId, body: Value, why: &str) -> Self {
        let stage = K::stage(&id);
        let action = Action::PutAzure {
            kind: K::NAME,
            id,
            api_version: K::API_VERSION,
            body,
            if_match: None,
        };
        // A head that cannot be submitted takes its workers with it: without it they are of no use.
        let gates = stage == ConditionType::SchedulerReady;
        Self {
            gates,
            ..Self::new(action, stage, why)
        }
    }

    /// What is decided from what is there holds only while that is unchanged, where its kind has etags.
    #[must_use]
    pub fn if_unchanged(mut self, have: &Value) -> Self {
        if let Action::PutAzure { if_match, .. } | Action::DeleteAzure { if_match, .. } =
            &mut self.action
        {
            *if_match = have.get("etag").and_then(Value::as_str).map(str::to_owned);
        }
        self
    }

    pub fn patch<K: AzureKind>(id: ResourceId, body: Value, why: &str) -> Self {
        let stage = K::stage(&id);
        let action = Action::PatchAzure {
            kind: K::NAME,
            id,
            api_version: K::API_VERSION,
            body,
        };
        Self::new(action, stage, why)
    }

    pub fn delete<K: AzureKind>(id: ResourceId, why: &str) -> Self {
        let stage = K::stage(&id);
        let action = Action::DeleteAzure {
            kind: K::NAME,
            id,
            api_version: K::API_VERSION,
            query: K::DELETE_QUERY,
            if_match: None,
        };
        Self::new(action, stage, why)
    }

    /// Names the effect, whatever its content: failures are counted by it.
    pub fn key(&self) -> String {
        self.action.to_string()
    }
}

impl Action {
    /// Makes or changes something, so that a stage is not ready while it is in the plan.
    pub fn provisions(&self) -> bool {
        match self {
            Self::PutAzure { .. }
            | Self::PatchAzure { .. }
            | Self::CreateChild(_)
            | Self::UpdateChild(_) => true,
            Self::EnsureFinalizer
            | Self::RemoveFinalizer
            | Self::HoldCredentials(_)
            | Self::ReleaseCredentials(_)
            | Self::DeleteAzure { .. }
            | Self::CancelJob { .. }
            | Self::DeleteEndpointSlice { .. }
            | Self::RetireWorkers { .. } => false,
        }
    }

    /// Writes to this resource.
    pub fn is_of(&self, resource: &ResourceId) -> bool {
        match self {
            Self::PutAzure { id, .. }
            | Self::PatchAzure { id, .. }
            | Self::DeleteAzure { id, .. }
            | Self::CancelJob { id, .. } => id == resource,
            _ => false,
        }
    }

    /// Makes or changes something in Azure.
    pub fn writes_azure(&self) -> bool {
        matches!(self, Self::PutAzure { .. } | Self::PatchAzure { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsureFinalizer => f.write_str("put our finalizer on the DaskCluster"),
            Self::RemoveFinalizer => f.write_str("take our finalizer off the DaskCluster"),
            Self::HoldCredentials(secret) => write!(f, "hold Secret {}", secret.name),
            Self::ReleaseCredentials(secret) => write!(f, "release Secret {}", secret.name),
            Self::PutAzure { kind, id, .. } => write!(f, "PUT {kind} {}", id.title()),
            Self::PatchAzure { kind, id, .. } => write!(f, "PATCH {kind} {}", id.title()),
            Self::DeleteAzure { kind, id, .. } => write!(f, "DELETE {kind} {}", id.title()),
            Self::CancelJob { id, .. } => write!(f, "cancel Job {}", id.name()),
            Self::CreateChild(child) => write!(f, "create {}", child.kind()),
            Self::UpdateChild(child) => write!(f, "update {}", child.kind()),
            Self::DeleteEndpointSlice { .. } => f.write_str("delete EndpointSlice"),
            Self::RetireWorkers { count, .. } => write!(f, "retire {count} workers"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.why)
    }
}

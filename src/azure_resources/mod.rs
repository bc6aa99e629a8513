//! What a cluster is in Azure: one folder a kind, each behind [`AzureKind`] and one line in [`KINDS`].
//!
//! Pure: no `async`, no client, no clock, no environment (`tests/purity.rs` scans for that).

mod compute_cluster;
mod data_asset;
mod engine;
mod environment;
pub mod job;
pub mod ownership;
mod subnet;
#[cfg(test)]
mod tests;
mod virtual_network;
mod virtual_network_peering;

pub use compute_cluster::{
    ComputeCluster, ComputeHave, Machine, NodeStateCounts, PoolNode, PoolNodes, Shortage,
};
pub use data_asset::DataAsset;
pub(crate) use engine::overdue;
pub use engine::{Echo, Gone, KindPlan, Leaving, Registration, Scene};
pub use environment::Environment;
pub use job::Job;
pub use subnet::{Have as SubnetHave, Subnet};
pub use virtual_network::VirtualNetwork;
pub use virtual_network_peering::VirtualNetworkPeering;

use jiff::SignedDuration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{ConditionType, Reason};
use crate::azure::{Class, ErrorBody, ResourceId, Verdict};
use crate::cluster::Place;

/// The newest api-version that the contract describes (section 0, 1).
const MACHINE_LEARNING_API_VERSION: &str = "2025-12-01";

/// Every kind, in the order of creation; deletion runs it backwards.
pub const KINDS: &[Registration] = &[
    engine::register::<VirtualNetwork>(),
    engine::register::<Subnet>(),
    engine::register::<VirtualNetworkPeering>(),
    engine::register::<ComputeCluster>(),
    engine::register::<DataAsset>(),
    engine::register::<Environment>(),
    engine::register::<Job>(),
];

/// One kind of Azure resource, as data: what a manifest wants of it, and what an answer of Azure means.
pub trait AzureKind: 'static {
    /// The kind in a word: metric label and part of what users read, e.g. `ComputeCluster`.
    const NAME: &'static str;
    /// ARM's name of the kind, e.g. `Microsoft.MachineLearningServices/workspaces/computes`.
    const RESOURCE_TYPE: &'static str;
    const API_VERSION: &'static str;
    /// The condition that tells how this kind stands.
    const STAGE: ConditionType;
    /// Names of the kinds that must be ready before anything of this one is written.
    const AFTER: &'static [&'static str];
    /// Query parameters that Azure asks for on DELETE.
    const DELETE_QUERY: &'static [(&'static str, &'static str)] = &[];
    /// How this kind leaves with its cluster.
    const LEAVING: LeavingRule;
    /// What Azure has not made or changed by then is stuck.
    const SETTLES_WITHIN: SignedDuration = SignedDuration::from_mins(10);
    /// What Azure has not deleted by then is stuck.
    const GOES_WITHIN: SignedDuration = SignedDuration::from_mins(15);
    /// What it is called when something of this name differs where Azure changes nothing in place.
    const CONFLICT: Refusal = Refusal {
        reason: Reason::NotOurs,
        way_out: "delete it, or choose another name",
    };
    /// How long one that was deleted to be made again must have been gone; `None` for a kind that is never replaced.
    const MADE_AGAIN_AFTER: Option<SignedDuration> = None;

    /// The PUT body: only fields that we own.
    type Want: Serialize;
    /// The GET body: only fields that we read.
    type Have: DeserializeOwned;

    /// What the manifest asks for, given what is there. Empty where the manifest uses nothing of this kind.
    fn want(scene: &Scene<'_>) -> Vec<Wanted<Self::Want>>;

    /// The ids that a cluster may have made, known without a valid manifest: what is looked at, and what goes
    /// when it goes. Empty for a kind that stays, and for one that is found by LIST.
    fn places(_: &Place) -> Vec<ResourceId> {
        Vec::new()
    }

    /// The condition that a resource of this kind reports to, where one kind serves two stages.
    fn stage(_id: &ResourceId) -> ConditionType {
        Self::STAGE
    }

    /// The tags of a GET body.
    fn tags(have: &Value) -> ownership::Tags {
        ownership::tags_of(have)
    }

    /// Does what is there differ from what is wanted, in fields that we own?
    fn drift(want: &Self::Want, have: &Self::Have) -> Drift;

    fn health(have: &Self::Have) -> Health;

    /// Why one of somebody else's that is well does not fit this cluster, which waiting does not mend: the condition's
    /// reason, and what to do.
    fn misfit(
        _scene: &Scene<'_>,
        _id: &ResourceId,
        _have: &Self::Have,
    ) -> Option<(Reason, String)> {
        None
    }

    /// The PUT body for one whose last write Azure did not carry through.
    fn again(want: &Self::Want, _have: &Self::Have) -> Option<Value> {
        serde_json::to_value(want).ok()
    }

    /// What else lies in it and would go with it: then it is left behind. Names it, as `subnets of others (web) are`.
    fn held_by_others(_: &Place, _have: &Value) -> Option<String> {
        None
    }

    /// What somebody with the rights can do where ours do not reach.
    fn remedy(_: &Scene<'_>, _id: &ResourceId) -> Option<String> {
        None
    }

    /// Takes out of the `properties` of a GET body what must not stand in a PUT body.
    fn writable(properties: &mut Value) {
        if let Some(properties) = properties.as_object_mut() {
            properties.remove("provisioningState");
        }
    }
}

/// How a kind leaves when its cluster is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavingRule {
    /// Deleted when it carries our tag, unless `deletionPolicy` is `Retain`.
    Delete,
    /// As `Delete`, but without tags of its own: it is ours when its parent is.
    DeleteWithParent,
    /// As `Delete`, but without tags of its own: its name proves it, as the cluster's UID is part of it.
    DeleteByName,
    /// A shared version: it stays.
    Stay,
    /// Jobs are ended, whatever the policy.
    End,
}

/// One resource that a manifest asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<B> {
    pub id: ResourceId,
    pub standing: Standing<B>,
}

/// On what terms a cluster has a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing<B> {
    /// Made by us and tagged with the cluster's UID; one of this name without that tag is left alone and told.
    Own(B),
    /// Made by us, but without tags of its own: its parent's tags or its own derived name speak for it.
    OwnWithoutTags(B),
    /// Somebody else's, taken over by our tags unless another cluster's are there, and from then on as `Own`. Refused
    /// with `absent` where it is not there.
    Adopt { body: B, absent: Refusal },
    /// Made when absent; a version shared by everybody, so it has no owner and never changes.
    Shared(B),
    /// Ours and there; nothing about it can be changed.
    Keep,
    /// Somebody else's: used as it is, never written. Refused with `absent` where it is not there.
    Use { absent: Refusal },
    /// Not written now, for this reason; nothing of the kind is ready meanwhile.
    Later { reason: Reason, message: String },
}

/// What somebody has to mend, and how: the condition's reason, and the end of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub way_out: &'static str,
}

/// How what is there differs from what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    None,
    /// Azure changes these fields in place.
    Update {
        fields: Vec<String>,
        change: Change,
    },
    /// Azure cannot change these fields in place.
    Replace {
        fields: Vec<String>,
    },
}

impl Drift {
    /// Of a version, which Azure never changes: what Azure does not tell is taken to be as wanted.
    fn of_version(field: &str, wanted: &str, have: Option<&str>) -> Self {
        if have.is_none_or(|have| have == wanted) {
            Self::None
        } else {
            Self::Replace {
                fields: vec![field.to_owned()],
            }
        }
    }
}

/// The request that mends a drift.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Put(Value),
    Patch(Value),
}

/// How a resource is, in Azure's own words where it fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    Ready,
    /// On its way; says what it waits for.
    Settling(String),
    /// Never well again, by Azure's rules: deleted and made again where it is ours. Says why.
    Spent(String),
    Failed {
        verdict: Verdict,
        message: String,
    },
    /// Well, but of no use to a cluster; for what the manifest asks to use as it is, waiting mends nothing.
    Unfit {
        reason: Reason,
        message: String,
    },
}

impl Health {
    /// Reads ARM's `provisioningState` (contract section 6); a missing one means `Succeeded` (section 4).
    fn of_provisioning_state(state: Option<&str>, what: &str, errors: &[ErrorBody]) -> Self {
        match state {
            None | Some("Succeeded") => Self::Ready,
            Some("Failed" | "Canceled") => Self::Failed {
                verdict: verdict_of(errors),
                message: format!(
                    "{what} failed to provision{}{}",
                    if errors.is_empty() { "" } else { ": " },
                    told(errors)
                ),
            },
            Some(other) => Self::Settling(format!("{what} is {other}")),
        }
    }
}

/// The first error that Azure tells says what it means; without any it is Azure's own trouble.
pub(crate) fn verdict_of(errors: &[ErrorBody]) -> Verdict {
    errors
        .first()
        .map_or_else(|| Class::Unavailable.into(), ErrorBody::verdict)
}

/// Azure's own words.
pub(crate) fn told(errors: &[ErrorBody]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

//! Whether a cluster rests, and what ends that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{IdleAction, RestReason, RestStatus};
use crate::reconcile::{Observed, ValidCluster};

/// The rest that a cluster is in, or comes to now.
pub(crate) fn rest(cluster: &ValidCluster, observed: &Observed) -> Option<RestStatus> {
    let told = observed.told.rest.as_ref();
    let begins = |reason, action| RestStatus {
        reason,
        action,
        since: Time(observed.seen_at),
        generation: observed.generation,
        wake: observed.annotations.wake.clone(),
    };
    if cluster.suspend {
        let told = told.filter(|told| told.reason == RestReason::Suspended);
        return Some(
            told.cloned()
                .unwrap_or_else(|| begins(RestReason::Suspended, IdleAction::Suspend)),
        );
    }
    None
}

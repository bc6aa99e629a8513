//! How what Azure accepted came to its end, and how long that took, as far as looks tell. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::azure::{Operation, ResourceId};
use crate::azure_resources::job::JobFacts;
use crate::azure_resources::{
    AzureKind as _, ComputeCluster, Job, Subnet, VirtualNetwork, VirtualNetworkPeering,
};
use crate::lookup::Lookup;

/// The request that an operation began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationVerb {
    Put,
    Patch,
    Delete,
    /// The cancel of a job.
    Post,
}

impl OperationVerb {
    /// A label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Post => "POST",
        }
    }

    /// Those that Azure answers with an operation for resources of this kind.
    pub fn of(kind: &str) -> &'static [Self] {
        match kind {
            ComputeCluster::NAME => &[Self::Put, Self::Patch, Self::Delete],
            VirtualNetwork::NAME | VirtualNetworkPeering::NAME | Subnet::NAME => {
                &[Self::Put, Self::Delete]
            }
            Job::NAME => &[Self::Post],
            _ => &[],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationResult {
    Succeeded,
    Failed,
}

impl OperationResult {
    pub const ALL: [Self; 2] = [Self::Succeeded, Self::Failed];

    /// A label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// What a write of ours began.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub id: ResourceId,
    pub kind: &'static str,
    pub verb: OperationVerb,
    pub operation: Operation,
}

/// An operation that has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedOperation {
    /// As in [`crate::azure_resources::AzureKind::NAME`].
    pub kind: &'static str,
    pub verb: OperationVerb,
    pub result: OperationResult,
    /// From Azure's answer to the look that found it ended.
    pub took: Duration,
}

/// An operation that is waited for.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    kind: &'static str,
    verb: OperationVerb,
    since: Timestamp,
    is_over: bool,
}

impl UnderWay {
    pub(super) fn since(now: Timestamp, kind: &'static str, verb: OperationVerb) -> Self {
        Self {
            kind,
            verb,
            since: now,
            is_over: false,
        }
    }

    /// Takes note of what a look found of its resource. Tells its end once.
    pub(super) fn see(
        &mut self,
        found: Option<&Lookup<Value>>,
        now: Timestamp,
    ) -> Option<EndedOperation> {
        if self.is_over {
            return None;
        }
        let course = course(self.verb, found);
        self.is_over = course != Course::UnderWay;
        let Course::Ended(result) = course else {
            return None;
        };
        Some(EndedOperation {
            kind: self.kind,
            verb: self.verb,
            result,
            took: Duration::try_from(now.duration_since(self.since)).unwrap_or_default(),
        })
    }
}

/// What a look says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    UnderWay,
    Ended(OperationResult),
    /// Somebody took the resource away meanwhile: how the operation ended nobody knows.
    Lost,
}

fn course(verb: OperationVerb, found: Option<&Lookup<Value>>) -> Course {
    let body = match found {
        Some(Lookup::Present(body)) => body,
        Some(Lookup::Absent) if verb == OperationVerb::Delete => {
            return Course::Ended(OperationResult::Succeeded);
        }
        Some(Lookup::Absent) => return Course::Lost,
        Some(Lookup::NotAsked | Lookup::Unavailable(_)) | None => return Course::UnderWay,
    };
    let state = body
        .pointer("/properties/provisioningState")
        .and_then(Value::as_str);
    match (verb, state) {
        (OperationVerb::Post, _) => {
            let has_ended = JobFacts::read(body).is_some_and(|job| job.status.is_terminal());
            if has_ended {
                Course::Ended(OperationResult::Succeeded)
            } else {
                Course::UnderWay
            }
        }
        (_, Some("Failed" | "Canceled")) => Course::Ended(OperationResult::Failed),
        // A delete that Azure gave up leaves the resource as it was.
        (OperationVerb::Delete, Some("Succeeded")) => Course::Ended(OperationResult::Failed),
        (OperationVerb::Put | OperationVerb::Patch, Some("Succeeded")) => {
            Course::Ended(OperationResult::Succeeded)
        }
        _ => Course::UnderWay,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Reason;
    use crate::lookup::Trouble;
    use crate::reconcile::fixtures::{noon, seconds_after_noon};

    #[test]
    fn an_operation_ends_with_the_state_that_its_verb_is_after() {
        let state = |state: &str| {
            Some(Lookup::Present(
                json!({"properties": {"provisioningState": state}}),
            ))
        };
        let job = |status: &str| {
            Some(Lookup::Present(
                json!({"name": "j", "properties": {"jobType": "Command", "status": status}}),
            ))
        };
        let unavailable = || {
            Some(Lookup::Unavailable(Trouble::passing(
                Reason::AzureUnreachable,
                "no answer",
            )))
        };
        let succeeded = Course::Ended(OperationResult::Succeeded);
        let failed = Course::Ended(OperationResult::Failed);
        use OperationVerb::{Delete, Patch, Post, Put};
        for (verb, found, expected) in [
            (Put, state("Creating"), Course::UnderWay),
            (Put, state("Succeeded"), succeeded),
            (Patch, state("Succeeded"), succeeded),
            (Put, state("Failed"), failed),
            (Put, Some(Lookup::Absent), Course::Lost),
            (Put, unavailable(), Course::UnderWay),
            (Put, None, Course::UnderWay),
            (Delete, state("Deleting"), Course::UnderWay),
            (Delete, Some(Lookup::Absent), succeeded),
            (Delete, state("Succeeded"), failed),
            (Delete, state("Failed"), failed),
            (Delete, Some(Lookup::NotAsked), Course::UnderWay),
            (Post, job("CancelRequested"), Course::UnderWay),
            (Post, job("Canceled"), succeeded),
            (Post, job("Completed"), succeeded),
        ] {
            assert_eq!(course(verb, found.as_ref()), expected, "{verb:?} {found:?}");
        }
    }

    #[test]
    fn an_operation_is_told_once_with_the_time_that_it_took() {
        let state =
            |state: &str| Lookup::Present(json!({"properties": {"provisioningState": state}}));
        let mut pool = UnderWay::since(noon(), ComputeCluster::NAME, OperationVerb::Put);
        assert_eq!(
            pool.see(Some(&state("Creating")), seconds_after_noon(60)),
            None
        );
        let ended = pool.see(Some(&state("Succeeded")), seconds_after_noon(150));
        let expected = EndedOperation {
            kind: "ComputeCluster",
            verb: OperationVerb::Put,
            result: OperationResult::Succeeded,
            took: Duration::from_secs(150),
        };
        assert_eq!(ended, Some(expected));
        assert_eq!(
            pool.see(Some(&state("Failed")), seconds_after_noon(160)),
            None
        );
        let mut taken_away = UnderWay::since(noon(), ComputeCluster::NAME, OperationVerb::Put);
        assert_eq!(taken_away.see(Some(&Lookup::Absent), noon()), None);
        assert_eq!(
            taken_away.see(Some(&state("Succeeded")), noon()),
            None,
            "it is another's"
        );
    }
}

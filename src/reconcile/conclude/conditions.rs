//! Verdicts as conditions: since when each has its status, and what is not told anew.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::retelling;
use crate::api::{ConditionStatus, ConditionType, DaskClusterStatus, Reason};

/// A condition without its times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) status: ConditionStatus,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn of(condition: &Condition) -> Self {
        Self {
            status: match condition.status.as_str() {
                "True" => ConditionStatus::True,
                "False" => ConditionStatus::False,
                _ => ConditionStatus::Unknown,
            },
            reason: Reason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == condition.reason)
                .unwrap_or(Reason::Pending),
            message: condition.message.clone(),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

pub(super) fn held(status: &DaskClusterStatus, condition: ConditionType) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|held| held.type_ == condition.as_str())
}

/// The longest message that Kubernetes takes into a condition.
const MAX_MESSAGE: usize = 32_768;

pub(super) fn conditions(
    before: &DaskClusterStatus,
    verdicts: Vec<(ConditionType, Verdict)>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|(kind, verdict)| {
            let status = verdict.status.as_str().to_owned();
            let known = held(before, kind).filter(|held| held.status == status);
            let since = known.map(|held| held.last_transition_time.clone());
            let mut message = verdict.message;
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            if let Some(known) = known
                && known.reason == verdict.reason.as_str()
                && retelling::is_the_same(&known.message, &message)
            {
                message.clone_from(&known.message);
            }
            Condition {
                type_: kind.as_str().to_owned(),
                status,
                reason: verdict.reason.as_str().to_owned(),
                message,
                observed_generation: Some(generation),
                last_transition_time: since.unwrap_or(Time(now)),
            }
        })
        .collect()
}

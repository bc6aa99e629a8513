//! How old an answer may be. Pure.

use std::time::Duration;

use serde_json::Value;

/// Whether anything of the cluster that asks is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Moving,
    Settled,
}

/// Long enough that the clusters of one workspace share a LIST, short enough that a person sees no lag.
const MOVING: Duration = Duration::from_millis(200);
const SETTLED: Duration = Duration::from_secs(30);
const HARDLY_EVER_CHANGES: Duration = Duration::from_secs(300);
const NEVER_CHANGES: Duration = Duration::from_secs(3600);

pub(super) fn job_list_max_age(pace: Pace) -> Duration {
    match pace {
        Pace::Moving => MOVING,
        Pace::Settled => SETTLED,
    }
}

/// `body` is what was seen, `None` for nothing.
pub(super) fn max_age(resource_type: &str, body: Option<&Value>, pace: Pace) -> Duration {
    let Some(body) = body else {
        return job_list_max_age(pace);
    };
    if state(body).is_some_and(|state| state != "Succeeded") {
        return Duration::ZERO;
    }
    let kind = resource_type.to_ascii_lowercase();
    if kind.ends_with("/versions") {
        return NEVER_CHANGES;
    }
    if kind.ends_with("/computes") {
        return job_list_max_age(pace);
    }
    match pace {
        Pace::Moving => SETTLED,
        Pace::Settled => HARDLY_EVER_CHANGES,
    }
}

/// It was there, and nobody was deleting it.
pub(super) fn was_to_stay(body: Option<&Value>) -> bool {
    body.is_some_and(|body| state(body) != Some("Deleting"))
}

fn state(body: &Value) -> Option<&str> {
    body.pointer("/properties/provisioningState")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_being_deleted_was_not_to_stay() {
        let in_state = |state: &str| json!({"properties": {"provisioningState": state}});
        assert!(was_to_stay(Some(&in_state("Succeeded"))));
        assert!(was_to_stay(Some(&json!({}))));
        assert!(!was_to_stay(Some(&in_state("Deleting"))));
        assert!(!was_to_stay(None));
    }

    #[test]
    fn what_moves_is_looked_at_each_time_and_what_never_changes_hardly_ever() {
        let versions = "Microsoft.MachineLearningServices/workspaces/data/versions";
        let network = "Microsoft.Network/virtualNetworks";
        let pool = "Microsoft.MachineLearningServices/workspaces/computes";
        let succeeded = json!({"properties": {"provisioningState": "Succeeded"}});
        let updating = json!({"properties": {"provisioningState": "Updating"}});
        for (kind, body, pace, expected) in [
            (network, Some(&updating), Pace::Settled, Duration::ZERO),
            (
                network,
                Some(&succeeded),
                Pace::Settled,
                HARDLY_EVER_CHANGES,
            ),
            (network, Some(&succeeded), Pace::Moving, SETTLED),
            (pool, Some(&succeeded), Pace::Moving, MOVING),
            (pool, Some(&succeeded), Pace::Settled, SETTLED),
            (versions, Some(&json!({})), Pace::Moving, NEVER_CHANGES),
            (versions, None, Pace::Moving, MOVING),
        ] {
            assert_eq!(
                max_age(kind, body, pace),
                expected,
                "{kind} {body:?} {pace:?}"
            );
        }
    }
}

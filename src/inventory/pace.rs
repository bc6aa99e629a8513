//! How often to look. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::azure::Retry;

/// Whether anything of the cluster that asks is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Moving,
    Settled,
}

/// While something moves: a look after a quarter of the time since the last change, so that what takes a second is
/// seen within a quarter of one, and what takes minutes is not asked for each second.
const QUICKEST: Duration = Duration::from_millis(100);
const SLOWEST_WHILE_MOVING: Duration = Duration::from_secs(15);
/// Lists and pools of clusters that are as they should be: what somebody else does there is seen that soon.
const SETTLED: Duration = Duration::from_secs(30);
/// Networks and workspaces, which hardly ever change.
const STEADY: Duration = Duration::from_secs(300);
/// Versions of assets, which never do.
const IMMUTABLE: Duration = Duration::from_secs(3600);

/// Until the next look at something that was read, or changed, so long ago.
pub(super) fn while_moving(since_change: Duration) -> Duration {
    (since_change / 4).clamp(QUICKEST, SLOWEST_WHILE_MOVING)
}

/// Until the next look at a list, or at a pool by itself.
pub(super) fn of_list(pace: Pace, since_change: Duration) -> Duration {
    match pace {
        Pace::Moving => while_moving(since_change),
        Pace::Settled => SETTLED,
    }
}

/// Until the next look at what is read by its id. `body` is what was seen, `None` for nothing.
pub(super) fn of_resource(
    resource_type: &str,
    body: Option<&Value>,
    pace: Pace,
    since_change: Duration,
) -> Duration {
    let Some(body) = body else {
        return of_list(pace, since_change);
    };
    if state(body).is_some_and(|state| state != "Succeeded") {
        return while_moving(since_change);
    }
    if resource_type.to_ascii_lowercase().ends_with("/versions") {
        return IMMUTABLE;
    }
    match pace {
        Pace::Moving => SETTLED,
        Pace::Settled => STEADY,
    }
}

/// Until the next try after so many failures in a row. What somebody mends is noticed soon: a read costs little.
pub(super) fn after_failure(retry: Retry, failures: u32) -> Duration {
    match retry {
        Retry::After(_) => retry.delay(failures, 0.0),
        Retry::Backoff | Retry::Slow | Retry::Scarce | Retry::OnChange => {
            retry.delay(failures, 0.0).min(SLOWEST_WHILE_MOVING)
        }
    }
}

/// It was there, and nobody was deleting it.
pub(super) fn was_to_stay(body: Option<&Value>) -> bool {
    body.is_some_and(|body| state(body) != Some("Deleting"))
}

fn state(body: &Value) -> Option<&str> {
    body.pointer("/properties/provisioningState")?.as_str()
}

/// What looking again and again may cost one principal in one subscription: a fifth of ARM's bucket of reads
/// (contract section 1), so that four fifths are left for what users wait for.
#[derive(Debug)]
pub(super) struct Allowance {
    reads: f64,
    at: Duration,
}

const READS_AT_MOST: f64 = 250.0 / 5.0;
const READS_PER_SECOND: f64 = 25.0 / 5.0;

impl Allowance {
    pub(super) fn full(now: Duration) -> Self {
        Self {
            reads: READS_AT_MOST,
            at: now,
        }
    }

    /// Takes so many reads.
    ///
    /// # Errors
    /// How long it takes until there are so many. A list longer than the whole allowance waits for a full one, and
    /// leaves a debt.
    pub(super) fn take(&mut self, reads: u32, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.reads = (self.reads + passed * READS_PER_SECOND).min(READS_AT_MOST);
        self.at = now;
        let needed = f64::from(reads).min(READS_AT_MOST);
        if self.reads < needed {
            return Err(Duration::from_secs_f64(
                (needed - self.reads) / READS_PER_SECOND,
            ));
        }
        self.reads -= f64::from(reads);
        Ok(())
    }
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
    fn what_moves_is_looked_at_often_and_what_never_changes_hardly_ever() {
        let versions = "Microsoft.MachineLearningServices/workspaces/data/versions";
        let network = "Microsoft.Network/virtualNetworks";
        let succeeded = json!({"properties": {"provisioningState": "Succeeded"}});
        let updating = json!({"properties": {"provisioningState": "Updating"}});
        let seconds = Duration::from_secs;
        for (kind, body, pace, since_change, expected) in [
            (network, Some(&updating), Pace::Settled, 8, seconds(2)),
            (network, Some(&updating), Pace::Settled, 0, QUICKEST),
            (network, Some(&succeeded), Pace::Settled, 8, STEADY),
            (network, Some(&succeeded), Pace::Moving, 8, SETTLED),
            (network, None, Pace::Moving, 3600, SLOWEST_WHILE_MOVING),
            (network, None, Pace::Settled, 0, SETTLED),
            (versions, Some(&json!({})), Pace::Moving, 0, IMMUTABLE),
            (versions, None, Pace::Moving, 4, seconds(1)),
        ] {
            assert_eq!(
                of_resource(kind, body, pace, seconds(since_change)),
                expected,
                "{kind} {body:?} {pace:?} {since_change}"
            );
        }
    }

    #[test]
    fn a_read_that_was_refused_is_tried_again_soon_and_never_before_azure_asks() {
        let seconds = Duration::from_secs;
        assert_eq!(after_failure(Retry::Backoff, 1), seconds(1));
        for retry in [Retry::Backoff, Retry::Slow, Retry::OnChange] {
            assert_eq!(after_failure(retry, 10), SLOWEST_WHILE_MOVING);
        }
        assert_eq!(after_failure(Retry::After(seconds(40)), 1), seconds(40));
    }

    #[test]
    fn looking_again_and_again_takes_a_fifth_of_the_reads_and_no_more() {
        let mut allowance = Allowance::full(Duration::ZERO);
        let hour = 3600;
        let mut taken = 0;
        for tenth in 0..hour * 10 {
            let now = Duration::from_millis(tenth * 100);
            while allowance.take(3, now).is_ok() {
                taken += 3;
            }
        }
        let most = READS_AT_MOST + READS_PER_SECOND * 3600.0;
        assert!(
            f64::from(taken) <= most && f64::from(taken) > most - 10.0,
            "{taken}"
        );
    }

    #[test]
    fn a_list_longer_than_the_whole_allowance_is_read_and_paid_for_afterwards() {
        let mut allowance = Allowance::full(Duration::ZERO);
        assert_eq!(allowance.take(100, Duration::ZERO), Ok(()));
        let full_again = Duration::from_secs(20);
        assert_eq!(allowance.take(100, Duration::ZERO), Err(full_again));
        assert_eq!(allowance.take(100, full_again), Ok(()));
    }
}

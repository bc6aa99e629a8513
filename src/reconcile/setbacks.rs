//! Failures in a row, by step: what spaces the tries. Pure: time and chance are passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::act::Acted;
use super::plan::{Action, Aftermath};
use super::region::Usage;
use crate::api::Reason;
use crate::azure::Retry;
use crate::azure_resources::Shortage;
use crate::lookup::Trouble;

/// A step that failed and waits for its next try.
#[derive(Clone, Debug, PartialEq)]
pub struct Setback {
    pub trouble: Trouble,
    pub failures: u32,
    pub not_before: Timestamp,
    pub course: Course,
    /// Cores that were free when the usages were first read after a refusal for want of quota.
    pub free: Option<u64>,
}

/// How far the step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// The request failed.
    #[default]
    Refused,
    /// Azure took the request and failed afterwards.
    Fell,
    /// It fell, and Azure has taken the next request: what came of that is not known yet.
    TriedAgain,
}

/// How often the usages are read again that a step waits for.
pub const USAGES_LAST: Duration = Duration::from_secs(60);

/// What comes back at once would come back in a circle.
const SOONEST: Duration = Duration::from_millis(250);

impl Setback {
    pub fn refused(trouble: Trouble, failures: u32, not_before: Timestamp) -> Self {
        Self {
            trouble,
            failures,
            not_before,
            course: Course::default(),
            free: None,
        }
    }

    /// Its time has come, or what it lacked has.
    pub fn is_due(&self, now: Timestamp, usages: Option<&[Usage]>) -> bool {
        self.not_before <= now || usages.is_some_and(|usages| self.has_room(usages))
    }

    /// More cores are free than there were, and enough. That there were enough all the time says that Azure counts in
    /// another way, and no look at the usages ends that.
    fn has_room(&self, usages: &[Usage]) -> bool {
        let room = || {
            let shortage = self.shortage()?;
            let free = shortage.free(usages)?;
            Some(free > self.free? && shortage.is_met_by(free))
        };
        room().unwrap_or(false)
    }

    /// The quota that does not suffice, where Azure named it.
    pub fn shortage(&self) -> Option<Shortage> {
        (self.trouble.reason == Reason::QuotaExceeded)
            .then(|| Shortage::read(&self.trouble.message))
            .flatten()
    }

    /// What stands in the way, with the numbers of a quota that does not suffice.
    pub fn told(&self, usages: Option<&[Usage]>) -> Trouble {
        let message = self.shortage().map_or_else(
            || self.trouble.message.clone(),
            |shortage| {
                let told = shortage.told(usages.unwrap_or_default()).to_string();
                format!("{told}; {}", self.trouble.message)
            },
        );
        Trouble {
            message,
            ..self.trouble.clone()
        }
    }
}

/// What a later plan respects.
#[derive(Clone, Debug, Default)]
pub struct Setbacks(pub(super) BTreeMap<String, Setback>);

impl Setbacks {
    pub fn by_step(&self) -> &BTreeMap<String, Setback> {
        &self.0
    }

    /// Something waits for quota.
    pub fn want_usages(&self) -> bool {
        self.0
            .values()
            .any(|setback| setback.trouble.reason == Reason::QuotaExceeded)
    }

    /// Remembers what was free when a quota was first found too small.
    pub fn see_usages(&mut self, usages: &[Usage]) {
        for setback in self.0.values_mut().filter(|setback| setback.free.is_none()) {
            setback.free = setback
                .shortage()
                .and_then(|shortage| shortage.free(usages));
        }
    }

    /// Counts what failed, now or after it had been accepted, forgets what was done, and tells the failures when they
    /// are tried again. What waits for its turn within Azure's rate limit has not failed. `chance` draws from 0 up to 1. Returns the reason of each new failure.
    pub fn learn(
        &mut self,
        aftermaths: &[Aftermath],
        acted: &mut Acted,
        now: Timestamp,
        mut chance: impl FnMut() -> f64,
    ) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for aftermath in aftermaths {
            match aftermath {
                Aftermath::Holds { step } => {
                    self.0.remove(step);
                }
                Aftermath::Fell {
                    step,
                    trouble,
                    retry,
                } => {
                    reasons.push(trouble.reason);
                    let setback = self.after(step, trouble, *retry, now, chance());
                    let course = Course::Fell;
                    self.0.insert(step.clone(), Setback { course, ..setback });
                }
            }
        }
        for step in acted.done() {
            let key = step.key();
            match self.0.get_mut(&key) {
                Some(setback)
                    if setback.course != Course::Refused
                        && matches!(step.action, Action::PutAzure { .. }) =>
                {
                    setback.course = Course::TriedAgain;
                }
                _ => {
                    self.0.remove(&key);
                }
            }
        }
        for failure in acted.failed_mut() {
            if failure.trouble.reason != Reason::WaitingForBudget {
                reasons.push(failure.trouble.reason);
            }
            let key = failure.step.key();
            let setback = self.after(&key, &failure.trouble, failure.retry, now, chance());
            failure.next_try = Some(setback.not_before);
            self.0.insert(key, setback);
        }
        reasons
    }

    /// The setback that follows those of the same step.
    fn after(
        &self,
        step: &str,
        trouble: &Trouble,
        retry: Retry,
        now: Timestamp,
        jitter: f64,
    ) -> Setback {
        let before = self.0.get(step);
        let failures = before.map_or(0, |setback| setback.failures);
        // It has not failed, and when its turn comes is known.
        let (failures, delay) = if trouble.reason == Reason::WaitingForBudget {
            (failures, trouble.retry_after.unwrap_or_default())
        } else {
            let failures = failures.saturating_add(1);
            let own = retry.delay(failures, jitter);
            let asked = trouble
                .retry_after
                .map(|asked| Retry::After(asked).delay(1, jitter));
            (failures, own.max(asked.unwrap_or_default()))
        };
        let delay = delay.max(SOONEST);
        let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::ZERO);
        Setback {
            trouble: trouble.clone(),
            failures,
            not_before: now.saturating_add(delay).unwrap_or(now),
            course: before.map_or(Course::Refused, |setback| match setback.course {
                Course::Refused => Course::Refused,
                Course::Fell | Course::TriedAgain => Course::Fell,
            }),
            free: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ConditionType;
    use crate::reconcile::fixtures::{noon, seconds_after_noon};
    use crate::reconcile::plan::Step;

    fn usages(used: u64, limit: u64) -> Vec<Usage> {
        let name = "Standard DSv2 Family Cluster Dedicated vCPUs";
        let row = json!({"type": "Microsoft.MachineLearningServices/vmFamily/usages",
                         "currentValue": used, "limit": limit, "name": {"value": name}});
        vec![serde_json::from_value(row).unwrap()]
    }

    fn refused() -> Setbacks {
        let message = "ClusterMinNodesExceedCoreQuota: The specified subscription has a Standard DSv2 family vCPU quota of 6 and cannot accomodate for at least 1 requested managed compute nodes which maps to 8 vCPUs.";
        let trouble = Trouble::passing(Reason::QuotaExceeded, message);
        let mut setbacks = Setbacks::default();
        let fell = Aftermath::Fell {
            step: "PUT".into(),
            trouble,
            retry: Retry::Scarce,
        };
        setbacks.learn(&[fell], &mut Acted::default(), noon(), || 0.0);
        setbacks
    }

    #[test]
    fn a_step_that_lacks_quota_is_due_as_soon_as_more_is_free_and_enough() {
        let mut setbacks = refused();
        let is_due = |setbacks: &Setbacks, usages: &[Usage], second| {
            setbacks.by_step()["PUT"].is_due(seconds_after_noon(second), Some(usages))
        };
        assert!(setbacks.want_usages());
        assert!(
            !is_due(&setbacks, &usages(0, 100), 1),
            "before what was free is known"
        );
        setbacks.see_usages(&usages(0, 6));
        for (free, due) in [
            (usages(0, 6), false),
            (usages(0, 7), false),
            (usages(0, 8), true),
        ] {
            assert_eq!(is_due(&setbacks, &free, 1), due, "{free:?}");
        }
        assert!(
            is_due(&setbacks, &usages(0, 6), 60),
            "at a slow pace in any case"
        );
    }

    #[test]
    fn quota_that_was_free_all_the_time_is_no_news() {
        let mut setbacks = refused();
        setbacks.see_usages(&usages(0, 100));
        let setback = &setbacks.by_step()["PUT"];
        assert!(!setback.is_due(seconds_after_noon(1), Some(&usages(0, 100))));
    }

    #[test]
    fn a_quota_that_does_not_suffice_is_told_with_family_need_use_and_limit() {
        let setbacks = refused();
        let told = setbacks.by_step()["PUT"].told(Some(&usages(4, 6)));
        assert!(
            told.message.starts_with(
                "quota Standard DSv2 family vCPUs: 8 needed, 4 of 6 in use; ClusterMinNodes"
            ),
            "{}",
            told.message
        );
    }

    fn step() -> Step {
        let action = Action::RetireWorkers {
            count: 1,
            first: Vec::new(),
        };
        Step::new(action, ConditionType::WorkersReady, "fewer are wanted")
    }

    /// Failures that are counted, and milliseconds until the next try.
    fn learnt(
        setbacks: &mut Setbacks,
        reason: Reason,
        retry: Retry,
        asked: Option<u64>,
    ) -> (u32, i64) {
        let trouble = Trouble {
            retry_after: asked.map(Duration::from_millis),
            ..Trouble::passing(reason, "because")
        };
        let mut acted = Acted::failed_at(step(), trouble, retry);
        let start = Timestamp::UNIX_EPOCH;
        setbacks.learn(&[], &mut acted, start, || 0.4);
        let setback = &setbacks.by_step()[&step().key()];
        assert!(acted.next_tries().eq([setback.not_before]));
        (setback.failures, setback.not_before.as_millisecond())
    }

    #[test]
    fn waiting_for_a_turn_neither_counts_as_a_failure_nor_makes_the_next_wait_longer() {
        let mut setbacks = Setbacks::default();
        let mut wait = |asked| {
            let turn = Duration::from_millis(asked);
            learnt(
                &mut setbacks,
                Reason::WaitingForBudget,
                Retry::After(turn),
                Some(asked),
            )
        };
        for asked in [4000, 4000, 300] {
            assert_eq!(wait(asked), (0, asked as i64));
        }
        assert_eq!(
            learnt(&mut setbacks, Reason::AzureError, Retry::Backoff, None),
            (1, 1100)
        );
        let turn = Retry::After(Duration::from_secs(3));
        let waits = learnt(&mut setbacks, Reason::WaitingForBudget, turn, Some(3000));
        assert_eq!(waits, (1, 3000));
        assert_eq!(
            learnt(&mut setbacks, Reason::AzureError, Retry::Backoff, None),
            (2, 2200)
        );
    }

    #[test]
    fn what_azure_asks_to_wait_is_kept_to_whatever_the_error_and_stretched() {
        for (retry, asked, expected) in [
            (Retry::After(Duration::from_secs(20)), 20_000, 22_000),
            (Retry::Backoff, 20_000, 22_000),
            (Retry::Slow, 20_000, 33_000),
            (Retry::Slow, 100_000, 110_000),
        ] {
            let mut setbacks = Setbacks::default();
            let learnt = learnt(&mut setbacks, Reason::AzureError, retry, Some(asked));
            assert_eq!(learnt, (1, expected), "{retry:?}");
        }
    }
}

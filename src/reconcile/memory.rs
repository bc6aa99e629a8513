//! What one process remembers of a cluster between two reconciles. All of it may be lost: it saves requests and spaces
//! tries, and no decision about what exists rests on it.

use jiff::Timestamp;

use super::act::Setbacks;
use super::conclude::Next;
use super::plan::Finding;
use super::preflight::Preflight;
use crate::inventory::Pace;

#[derive(Clone, Debug)]
pub struct ClusterMemory {
    pub setbacks: Setbacks,
    pub pace: Pace,
    /// When the plan's text last changed.
    pub changed_at: Timestamp,
    pub plan: String,
    pub generation: i64,
    /// Who asked Azure last.
    principal: Option<String>,
    pub last_status_write: Option<Timestamp>,
    /// What was found before the first spend of this generation, once it has passed.
    pub passed: Option<Preflight>,
    /// The request for a look at everything anew that was seen last.
    pub request: Option<String>,
    /// Everything is to be looked at anew.
    pub doubts: bool,
    /// What the last plan found, so that it is counted and told once.
    pub findings: Vec<Finding>,
}

impl ClusterMemory {
    pub fn new(now: Timestamp) -> Self {
        Self {
            setbacks: Setbacks::default(),
            pace: Pace::Moving,
            changed_at: now,
            plan: String::new(),
            generation: 0,
            principal: None,
            last_status_write: None,
            passed: None,
            request: None,
            doubts: false,
            findings: Vec::new(),
        }
    }

    /// A changed spec is a new chance for what failed.
    pub fn see_generation(&mut self, generation: i64) {
        if self.generation != generation {
            self.generation = generation;
            self.setbacks = Setbacks::default();
            self.passed = None;
            self.pace = Pace::Moving;
        }
    }

    /// Somebody asks for a look at everything anew, as if nothing were remembered. `handled` is what status tells.
    pub fn see_request(&mut self, request: Option<&str>, handled: Option<&str>) {
        let Some(request) = request else { return };
        if handled == Some(request) || self.request.as_deref() == Some(request) {
            return;
        }
        self.request = Some(request.to_owned());
        self.setbacks = Setbacks::default();
        self.passed = None;
        self.pace = Pace::Moving;
        self.doubts = true;
    }

    /// What has passed is not looked at again in the same generation.
    pub fn see_preflight(&mut self, preflight: Option<&Preflight>) {
        if let Some(preflight) = preflight.filter(|preflight| preflight.has_passed()) {
            self.passed = Some(preflight.clone());
        }
    }

    /// Another identity, or another secret of the same one, is a new chance too.
    pub fn see_principal(&mut self, principal: Option<&str>) {
        if let Some(principal) = principal
            && self.principal.as_deref() != Some(principal)
        {
            self.principal = Some(principal.to_owned());
            self.setbacks = Setbacks::default();
            self.pace = Pace::Moving;
        }
    }

    /// Says whether the plan differs from the one before.
    pub fn see_plan(&mut self, plan: String, now: Timestamp) -> bool {
        let is_new = self.plan != plan;
        if is_new {
            self.plan = plan;
            self.changed_at = now;
        }
        is_new
    }

    /// Those of the plan's findings that the plan before did not have.
    pub fn see_findings(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let before = std::mem::replace(&mut self.findings, findings.to_vec());
        let is_new = |finding: &&Finding| !before.contains(finding);
        findings.iter().filter(is_new).cloned().collect()
    }

    /// What is at rest is looked at less closely.
    pub fn see_next(&mut self, next: Next) {
        self.pace = match next {
            Next::AtRest => Pace::Settled,
            Next::After(_) | Next::Never => Pace::Moving,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::lookup::Trouble;
    use crate::reconcile::Setback;
    use crate::reconcile::fixtures::noon;

    fn after_a_setback() -> ClusterMemory {
        let mut memory = ClusterMemory::new(noon());
        memory.see_generation(1);
        memory.see_principal(Some("tenant/client old"));
        let setback = Setback {
            trouble: Trouble::passing(Reason::AuthorizationFailed, "may not"),
            failures: 9,
            not_before: noon(),
        };
        memory.setbacks.0.insert("PUT".to_owned(), setback);
        memory
    }

    #[test]
    fn a_new_spec_and_a_new_secret_are_new_chances_and_a_look_that_failed_is_none() {
        let mut same = after_a_setback();
        same.see_generation(1);
        same.see_principal(Some("tenant/client old"));
        same.see_principal(None);
        same.see_principal(Some("tenant/client old"));
        assert_eq!(same.setbacks.0.len(), 1);
        let mut rotated = after_a_setback();
        rotated.see_principal(Some("tenant/client new"));
        let mut changed = after_a_setback();
        changed.see_generation(2);
        assert!(rotated.setbacks.0.is_empty() && changed.setbacks.0.is_empty());
    }
}

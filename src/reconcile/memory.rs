//! What one process remembers of a cluster between two reconciles. All of it may be lost: it saves requests and spaces
//! tries, and no decision about what exists rests on it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::conclude::Next;
use super::observed::OperationFacts;
use super::operations::{Beginning, EndedOperation, UnderWay};
use super::plan::Finding;
use super::preflight::Preflight;
use super::setbacks::Setbacks;
use crate::azure::{ErrorBody, Operation, ResourceId};
use crate::inventory::Pace;
use crate::lookup::Lookup;
use crate::scaling::Recommendations;

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
    pub waits: Waits,
    /// The last operation of each resource that a write of ours began.
    pub operations: BTreeMap<ResourceId, Begun>,
    /// What was found before the first spend of this generation, once it has passed.
    pub passed: Option<Preflight>,
    /// The request for a look at everything anew that was seen last.
    pub request: Option<String>,
    /// Everything is to be looked at anew.
    pub doubts: bool,
    /// How many workers were of use lately, for the autoscaler.
    pub recommendations: Recommendations,
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
            waits: Waits::default(),
            operations: BTreeMap::new(),
            passed: None,
            request: None,
            doubts: false,
            recommendations: Recommendations::default(),
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

/// An operation that a write of ours began.
#[derive(Clone, Debug)]
pub struct Begun {
    pub operation: Operation,
    /// Why it failed, as far as that was told.
    pub error: Option<ErrorBody>,
    under_way: UnderWay,
}

impl ClusterMemory {
    /// Takes note of the operations that writes have begun, and forgets those of what is looked at no longer.
    pub(super) fn see_operations(
        &mut self,
        begun: Vec<Beginning>,
        looked_at: &BTreeMap<ResourceId, Lookup<Value>>,
        now: Timestamp,
    ) {
        let begun = begun.into_iter().map(|beginning| {
            let begun = Begun {
                operation: beginning.operation,
                error: None,
                under_way: UnderWay::since(now, beginning.kind, beginning.verb),
            };
            (beginning.id, begun)
        });
        self.operations.extend(begun);
        self.operations.retain(|id, _| looked_at.contains_key(id));
    }

    /// The operations that this look found ended, each once.
    pub fn ended_operations(
        &mut self,
        looked_at: &BTreeMap<ResourceId, Lookup<Value>>,
        now: Timestamp,
    ) -> Vec<EndedOperation> {
        let begun = self.operations.iter_mut();
        begun
            .filter_map(|(id, begun)| begun.under_way.see(looked_at.get(id), now))
            .collect()
    }

    pub fn operation_facts(&self) -> BTreeMap<ResourceId, OperationFacts> {
        let facts = |begun: &Begun| {
            Some(OperationFacts {
                id: begun.operation.id()?.to_owned(),
                error: begun.error.clone(),
            })
        };
        self.operations
            .iter()
            .filter_map(|(id, begun)| Some((id.clone(), facts(begun)?)))
            .collect()
    }
}

/// Since when what is on its way has been seen in the state that it is in. Azure does not tell.
#[derive(Clone, Debug, Default)]
pub struct Waits(BTreeMap<ResourceId, (String, Timestamp)>);

impl Waits {
    /// Takes note of the states of a look that came through, and says since when each of them lasts.
    pub fn see<'a>(
        &mut self,
        resources: impl Iterator<Item = (&'a ResourceId, &'a Lookup<Value>)>,
        now: Timestamp,
    ) -> BTreeMap<ResourceId, Timestamp> {
        for (id, found) in resources {
            let state = match found {
                Lookup::Present(body) => on_its_way(body),
                Lookup::Absent => None,
                Lookup::NotAsked | Lookup::Unavailable(_) => continue,
            };
            match state {
                None => {
                    self.0.remove(id);
                }
                Some(state) if self.0.get(id).is_some_and(|(held, _)| held == state) => {}
                Some(state) => {
                    self.0.insert(id.clone(), (state.to_owned(), now));
                }
            }
        }
        let since = self.0.iter().map(|(id, (_, since))| (id.clone(), *since));
        since.collect()
    }
}

/// The word for a state that Azure means to leave by itself (contract sections 6 and 7).
fn on_its_way(body: &Value) -> Option<&str> {
    let word = |pointer| body.pointer(pointer).and_then(Value::as_str);
    word("/properties/provisioningState")
        .filter(|state| !["Succeeded", "Failed", "Canceled"].contains(state))
        .or_else(|| word("/properties/status").filter(|status| *status == "CancelRequested"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Reason;
    use crate::lookup::Trouble;
    use crate::reconcile::Setback;
    use crate::reconcile::fixtures::{noon, seconds_after_noon};

    #[test]
    fn a_state_lasts_since_it_was_first_seen_and_a_failed_look_ends_nothing() {
        let id: ResourceId = "/subscriptions/0/resourceGroups/rg".parse().unwrap();
        let pool =
            |state: &str| Lookup::Present(json!({"properties": {"provisioningState": state}}));
        let mut waits = Waits::default();
        let mut see = |found: Lookup<Value>, seconds| {
            let since = waits.see([(&id, &found)].into_iter(), seconds_after_noon(seconds));
            since.get(&id).copied()
        };
        assert_eq!(see(pool("Creating"), 0), Some(noon()));
        assert_eq!(see(pool("Creating"), 60), Some(noon()));
        assert_eq!(see(Lookup::NotAsked, 61), Some(noon()));
        assert_eq!(see(pool("Deleting"), 62), Some(seconds_after_noon(62)));
        assert_eq!(see(pool("Succeeded"), 63), None);
        let job = Lookup::Present(json!({"properties": {"status": "CancelRequested"}}));
        assert_eq!(see(job, 64), Some(seconds_after_noon(64)));
        assert_eq!(see(Lookup::Absent, 65), None);
    }

    fn after_a_setback() -> ClusterMemory {
        let mut memory = ClusterMemory::new(noon());
        memory.see_generation(1);
        memory.see_principal(Some("tenant/client old"));
        let setback = Setback::refused(
            Trouble::passing(Reason::AuthorizationFailed, "may not"),
            9,
            noon(),
        );
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

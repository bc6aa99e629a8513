//! Step 3: ([`Wanted`], [`Observed`]) → [`Plan`]. Pure: every choice is made here, none while acting.

mod children;
mod cluster;
mod finding;
mod leaving;
mod stages;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use cluster::CONNECTION;
pub use finding::{Finding, Response};
pub(crate) use leaving::is_about_credentials;
pub use stages::SchedulerStage;
pub(crate) use stages::{pool_refusal, registered_workers};
pub use step::{Action, Child, Step};

use std::collections::BTreeSet;
use std::fmt;

use super::observed::Observed;
use super::preflight::{Check, Obstacle, Preflight};
use super::validate::Wanted;
use crate::api::{ConditionType, RECONCILE_POLICY, Reason, ReconcilePolicy};
use crate::azure::{ResourceId, Retry};
use crate::azure_resources::job::Lineup;
use crate::azure_resources::{Gone, KindPlan};
use crate::dask::Target;
use crate::lookup::Trouble;
use crate::scaling::Aim;

/// What to do now, what to wait for, and what stands in the way. Its text is what golden tests, dry runs and
/// events show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In order. A step that [gates](Step::gates) and fails ends the others.
    pub steps: Vec<Step>,
    /// What would be done, were not something before it in the way.
    pub held_up: Vec<Step>,
    pub waits: Vec<Wait>,
    pub blocked: Vec<Blocked>,
    /// Stages of which this look says nothing: what was told of them last still stands.
    pub unseen: BTreeSet<ConditionType>,
    /// What annotations keep from being done, and which: see [`Reason::DryRun`] and its like.
    pub withheld: Vec<Step>,
    pub withheld_by: Option<Reason>,
    /// What was found before the first spend; `None` where it was not looked for.
    pub preflight: Option<Preflight>,
    pub follow: Follow,
    /// The jobs of the cluster, in order for what it is to have now; `None` while they cannot be listed, or nobody is to
    /// touch them.
    pub lineup: Option<Lineup>,
    /// What somebody did in Azure, and what is done about it. It stands in the way of nothing.
    pub findings: Vec<Finding>,
    /// What is as the spec asks for, with the fingerprint of what that is.
    pub as_wanted: Vec<(ResourceId, String)>,
    /// What is about to be deleted to be made again, or is gone by now.
    pub replaced: Vec<(ResourceId, Gone)>,
    /// What has become of writes that Azure had accepted.
    pub aftermaths: Vec<Aftermath>,
}

/// What has become of a write that Azure had accepted.
/// `step` is its [`Step::key`].
#[derive(Clone, Debug, PartialEq)]
pub enum Aftermath {
    /// After an earlier failure it holds now.
    Holds { step: String },
    /// It failed: `retry` says when the step is worth another try.
    Fell {
        step: String,
        trouble: Trouble,
        retry: Retry,
    },
}

/// Which scheduler is to be asked for its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Follow {
    /// Whoever is asked now: this look does not say.
    #[default]
    AsBefore,
    Nobody,
    This(Target),
}

/// Something that comes by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    pub stage: ConditionType,
    pub reason: Reason,
    pub message: String,
}

/// Something that stands in the way. A `stage` of `Ready` stands in the way of everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    pub stage: ConditionType,
    pub trouble: Trouble,
}

impl Plan {
    /// What the cluster is to have now.
    pub fn aim(&self) -> Option<&Aim> {
        self.lineup.as_ref().map(|lineup| &lineup.aim)
    }

    fn wait(&mut self, stage: ConditionType, reason: Reason, message: impl Into<String>) {
        self.waits.push(Wait {
            stage,
            reason,
            message: message.into(),
        });
    }

    fn block(&mut self, stage: ConditionType, trouble: Trouble) {
        self.blocked.push(Blocked { stage, trouble });
    }

    fn add(&mut self, share: KindPlan) {
        self.steps.extend(share.steps);
        self.waits.extend(share.waits);
        self.blocked.extend(share.blocked);
        self.aftermaths.extend(share.aftermaths);
        self.findings.extend(share.findings);
        self.as_wanted.extend(share.as_wanted);
        self.replaced.extend(share.replaced);
    }

    /// Nothing to do, nothing to wait for, nothing in the way.
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty()
            && self.held_up.is_empty()
            && self.waits.is_empty()
            && self.blocked.is_empty()
            && self.unseen.is_empty()
    }

    /// Does nothing, and keeps what would be done to tell it.
    fn withhold(&mut self, by: Reason) {
        self.withheld = std::mem::take(&mut self.steps);
        self.withheld_by = Some(by);
    }

    fn tell_unknown_policy(&mut self, policy: &str) {
        let message = format!(
            "nothing is written, as the annotation {RECONCILE_POLICY} says '{policy}': write manage, observe or detach-on-delete, or take it off"
        );
        let trouble = Trouble::lasting(Reason::UnknownPolicy, message);
        let finding = Obstacle {
            check: Check::Annotations,
            stops: true,
            stage: ConditionType::Ready,
            trouble: trouble.clone(),
        };
        let preflight = self.preflight.get_or_insert_default();
        preflight.findings.insert(0, finding);
        self.block(ConditionType::Ready, trouble);
    }

    /// What stands in the way of nothing yet.
    fn warnings(&self) -> impl Iterator<Item = &Obstacle> {
        let findings = self.preflight.iter().flat_map(|found| &found.findings);
        findings.filter(|finding| !finding.stops)
    }

    /// Moves the steps that failed before and whose time has not come from what to do to what stands in the way.
    fn respect_setbacks(&mut self, observed: &Observed) {
        let steps = std::mem::take(&mut self.steps);
        let usages = observed.usages.present().map(|usages| &**usages);
        let mut gated = false;
        for step in steps {
            match observed.setbacks.get(&step.key()) {
                Some(setback) if !setback.is_due(observed.seen_at, usages) => {
                    gated |= step.gates;
                    self.block(step.stage, setback.told(usages));
                }
                _ if gated && step.action.provisions() => self.held_up.push(step),
                _ if gated => {}
                _ => self.steps.push(step),
            }
        }
    }
}

/// What a stage says whose step is not done because an earlier one failed.
pub(super) fn held_up(step: &Step) -> String {
    format!("{} waits until what stands in the way is gone", step.action)
}

/// The whole decision.
pub fn plan(wanted: &Wanted, observed: &Observed) -> Plan {
    let mut plan = match wanted {
        Wanted::Cluster(cluster) => cluster::plan(cluster, observed),
        Wanted::Nothing(place) => leaving::plan(place, observed),
        Wanted::Unknown(errors) => {
            let mut plan = Plan::default();
            plan.block(
                ConditionType::Ready,
                Trouble::lasting(Reason::InvalidSpec, errors.to_string()),
            );
            plan
        }
    };
    plan.respect_setbacks(observed);
    // To let a manifest go that was only observed writes nothing to Azure.
    let lets_go = matches!(wanted, Wanted::Nothing(_))
        && observed.annotations.policy == ReconcilePolicy::Observe;
    match &observed.annotations.policy {
        _ if observed.annotations.dry_run => plan.withhold(Reason::DryRun),
        ReconcilePolicy::Manage | ReconcilePolicy::DetachOnDelete => {}
        ReconcilePolicy::Observe if lets_go => {}
        ReconcilePolicy::Observe => plan.withhold(Reason::ObservedOnly),
        ReconcilePolicy::Unknown(policy) => {
            plan.withhold(Reason::UnknownPolicy);
            plan.tell_unknown_policy(policy);
        }
    }
    plan
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_settled()
            && self.findings.is_empty()
            && self.withheld.is_empty()
            && self.warnings().next().is_none()
        {
            return f.write_str("nothing to do\n");
        }
        for finding in &self.findings {
            writeln!(f, "found {} {finding}", finding.stage)?;
        }
        for step in &self.steps {
            writeln!(f, "do    {step}")?;
        }
        for step in &self.withheld {
            writeln!(f, "hold  {step}")?;
        }
        for step in &self.held_up {
            writeln!(
                f,
                "wait  {} {}: {}",
                step.stage,
                Reason::Pending,
                held_up(step)
            )?;
        }
        for wait in &self.waits {
            writeln!(f, "wait  {} {}: {}", wait.stage, wait.reason, wait.message)?;
        }
        for Blocked { stage, trouble } in &self.blocked {
            let lasting = if trouble.lasting {
                " (until somebody mends it)"
            } else {
                ""
            };
            writeln!(
                f,
                "block {stage} {}{lasting}: {}",
                trouble.reason, trouble.message
            )?;
        }
        for Obstacle { stage, trouble, .. } in self.warnings() {
            writeln!(f, "warn  {stage} {}: {}", trouble.reason, trouble.message)?;
        }
        for stage in &self.unseen {
            writeln!(f, "look  {stage}: not seen yet")?;
        }
        Ok(())
    }
}

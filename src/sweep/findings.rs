//! What a sweep makes of what it has seen. Pure: time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::SweepSettings;
use crate::api::Priority;
use crate::azure::ResourceId;
use crate::azure_resources::job::JobFacts;
use crate::azure_resources::ownership::{CLUSTER, INSTANCE, OWNER, RETAINED, Tags};
use crate::names::{JobName, Slot, job_name_of, job_prefix_of};

/// What becomes of orphans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrphanPolicy {
    /// They are told.
    #[default]
    Report,
    /// What costs money is taken away once its grace has passed.
    Remove,
}

/// A sweep that would take more than this takes nothing: something else is wrong.
const MOST_REMOVED: usize = 20;
/// The same, as a share of all that carries our tag: one in so many.
const MOST_REMOVED_OF: usize = 5;
/// How long a job has ended before it is archived: people look at what just happened.
const ARCHIVED_AFTER: Duration = Duration::from_secs(900);

/// Something in Azure that carries the tags of this operator.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Carrier {
    pub(super) id: ResourceId,
    pub(super) tags: Tags,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Network,
    Pool(Pool),
    Job(Box<JobFacts>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pool {
    pub(super) location: String,
    pub(super) vm_size: String,
    pub(super) priority: Priority,
    pub(super) nodes: u32,
    pub(super) being_deleted: bool,
}

/// Something that no DaskCluster owns any more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Orphan {
    pub(super) carrier: Carrier,
    pub(super) since: Timestamp,
}

/// What a sweep has come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    pub(super) orphans: Vec<Orphan>,
    /// What is taken away now.
    pub(super) remove: Vec<Carrier>,
    /// Why less is taken away than the policy says.
    pub(super) held_back: Option<String>,
    /// Ended jobs to archive: experiment and id.
    pub(super) archive: Vec<(String, String)>,
}

/// `living`: the UIDs of all DaskClusters that exist, those that are being deleted among them. `known`: since when
/// each id was an orphan at the sweep before.
pub(super) fn findings(
    carriers: &[Carrier],
    living: &BTreeSet<String>,
    known: &BTreeMap<ResourceId, Timestamp>,
    settings: SweepSettings,
    now: Timestamp,
) -> Findings {
    let orphans: Vec<Orphan> = carriers
        .iter()
        .filter(|carrier| carrier.is_orphan(living))
        .map(|carrier| Orphan {
            carrier: carrier.clone(),
            since: known.get(&carrier.id).copied().unwrap_or(now),
        })
        .collect();
    let (remove, held_back) = match settings.orphans {
        OrphanPolicy::Report => (Vec::new(), None),
        OrphanPolicy::Remove => removable(&orphans, carriers.len(), settings.grace, now),
    };
    Findings {
        orphans,
        remove,
        held_back,
        archive: archivable(carriers, living, now),
    }
}

fn removable(
    orphans: &[Orphan],
    all: usize,
    grace: Duration,
    now: Timestamp,
) -> (Vec<Carrier>, Option<String>) {
    let due: Vec<_> = orphans
        .iter()
        .filter(|orphan| orphan.carrier.costs_money() && has_passed(orphan.since, grace, now))
        .map(|orphan| orphan.carrier.clone())
        .collect();
    if due.len() > MOST_REMOVED || due.len() * MOST_REMOVED_OF > all {
        let message = format!(
            "{} of the {all} resources that carry our tag would be removed, which is more than {MOST_REMOVED} or than one in {MOST_REMOVED_OF}: nothing is; remove them by hand if they are to go",
            due.len()
        );
        return (Vec::new(), Some(message));
    }
    (due, None)
}

/// Worker jobs that have ended, but the newest of a slot whose cluster lives: it keeps the number. People look for the
/// runs of heads.
fn archivable(
    carriers: &[Carrier],
    living: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<(String, String)> {
    let jobs = carriers.iter().filter_map(|carrier| match &carrier.what {
        What::Job(facts) => Some((carrier, facts, job_name_of(&facts.id)?)),
        What::Network | What::Pool(_) => None,
    });
    let mut newest: BTreeMap<(&str, Slot), JobName> = BTreeMap::new();
    for (_, facts, name) in jobs.clone() {
        let slot = (job_prefix_of(&facts.id).unwrap_or_default(), name.slot);
        let held = newest.entry(slot).or_insert(name);
        *held = (*held).max(name);
    }
    let keeps_the_number = |facts: &JobFacts, name: JobName| {
        newest.get(&(job_prefix_of(&facts.id).unwrap_or_default(), name.slot)) == Some(&name)
    };
    jobs.filter(|(_, facts, name)| {
        name.slot != Slot::Head
            && facts.status.is_terminal()
            && facts
                .ended_at
                .or(facts.created_at)
                .is_some_and(|at| has_passed(at, ARCHIVED_AFTER, now))
    })
    .filter(|(carrier, facts, name)| {
        !carrier.is_owned_by_one_of(living) || !keeps_the_number(facts, *name)
    })
    .filter_map(|(_, facts, _)| Some((facts.experiment.clone()?, facts.id.clone())))
    .collect()
}

fn has_passed(since: Timestamp, time: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|passed| passed >= time)
}

impl Carrier {
    /// Whether this operator made it.
    pub(super) fn is_of(&self, instance: &str) -> bool {
        self.tag(INSTANCE) == Some(instance) && self.tag(OWNER).is_some()
    }

    /// `namespace/name` of the DaskCluster that it was made for.
    pub(super) fn cluster(&self) -> Option<(&str, &str)> {
        self.tag(CLUSTER)?.split_once('/')
    }

    pub(super) fn owner(&self) -> Option<&str> {
        self.tag(OWNER)
    }

    /// A network costs nothing by itself, and others may lie in it.
    fn costs_money(&self) -> bool {
        matches!(self.what, What::Pool(_) | What::Job(_))
    }

    fn is_owned_by_one_of(&self, living: &BTreeSet<String>) -> bool {
        self.owner().is_some_and(|uid| living.contains(uid))
    }

    fn is_orphan(&self, living: &BTreeSet<String>) -> bool {
        let is_left = match &self.what {
            What::Network => true,
            What::Pool(pool) => !pool.being_deleted,
            What::Job(facts) => !facts.status.is_terminal() && !facts.status.is_leaving(),
        };
        is_left && self.tag(RETAINED).is_none() && !self.is_owned_by_one_of(living)
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.tags
            .iter()
            .find(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests;

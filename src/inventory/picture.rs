//! What one principal has seen of one workspace and what lies around it, what is to be looked at next, and whom a
//! change concerns. Pure: time is passed in.

mod item;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use self::item::{Item, List, PlaceInList, Written, fail, kept};
use super::pace::{self, Allowance, Pace};
use super::wrote::Wrote;
use crate::api::Reason;
use crate::azure::{ResourceId, Retry};
use crate::azure_resources::{AzureKind as _, ComputeCluster, Job, VirtualNetwork};
use crate::lookup::{Lookup, Trouble};
use crate::names::{ClusterIdentity, job_prefix_of};

/// A cluster that has not asked for a resource for so long has no interest in it any more.
const INTEREST_LASTS: Duration = Duration::from_secs(900);
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// One request to Azure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    List(Listed),
    /// A resource by its id, with its API version.
    One(ResourceId, &'static str),
}

/// What is read by one LIST for all clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listed {
    /// All computes of the workspace.
    Computes,
    /// Its active jobs that carry an owner's tag.
    Jobs,
}

impl Listed {
    /// The list that a resource stands in.
    fn of(id: &ResourceId) -> Option<Self> {
        let kind = id.resource_type();
        if kind.eq_ignore_ascii_case(ComputeCluster::RESOURCE_TYPE) {
            Some(Self::Computes)
        } else if kind.eq_ignore_ascii_case(Job::RESOURCE_TYPE) {
            Some(Self::Jobs)
        } else {
            None
        }
    }
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Found {
    /// The resources of a list, and how many pages they came in. Nothing where the workspace does not exist.
    Listed(Vec<(ResourceId, Value)>, u32),
    /// The resource, or nothing.
    One(Option<Value>),
    Failed(Trouble, Retry),
}

/// A read that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) read: Read,
    /// What it takes of the allowance; nothing for what somebody waits for.
    pub(super) cost: Option<u32>,
    pub(super) pace: Pace,
}

pub(super) struct Picture {
    workspace: ResourceId,
    lists: BTreeMap<Listed, List>,
    /// By the id in lower case, as Azure compares them (contract section 1).
    items: BTreeMap<String, Item>,
    clusters: BTreeMap<ClusterIdentity, Pace>,
    /// Clusters by what the ids of their jobs begin with.
    by_job_prefix: BTreeMap<String, ClusterIdentity>,
    under_way: BTreeSet<Read>,
    began_at: Duration,
    changed_at: Duration,
    /// What was read before is not believed any more.
    trusted_since: Duration,
}

impl Picture {
    pub(super) fn new(workspace: ResourceId, now: Duration) -> Self {
        Self {
            workspace,
            lists: BTreeMap::from([
                (Listed::Computes, List::default()),
                (Listed::Jobs, List::default()),
            ]),
            items: BTreeMap::new(),
            clusters: BTreeMap::new(),
            by_job_prefix: BTreeMap::new(),
            under_way: BTreeSet::new(),
            began_at: now,
            changed_at: now,
            trusted_since: Duration::ZERO,
        }
    }

    /// The cluster is looked at.
    pub(super) fn follow(&mut self, cluster: &ClusterIdentity, pace: Pace) {
        if self.clusters.insert(cluster.clone(), pace).is_none() {
            self.by_job_prefix
                .insert(cluster.job_prefix(), cluster.clone());
        }
    }

    /// Nobody looks at these clusters any more.
    pub(super) fn forget(&mut self, of: impl Fn(&ClusterIdentity) -> bool) {
        self.clusters.retain(|cluster, _| !of(cluster));
        self.by_job_prefix.retain(|_, cluster| !of(cluster));
        for item in self.items.values_mut() {
            item.interest.retain(|cluster, _| !of(cluster));
        }
    }

    /// How old the oldest of its lists is, since it began where one has never been read; nothing while nobody looks.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        let read_at = |list: &List| list.read_at.unwrap_or(self.began_at);
        let oldest = self.lists.values().map(read_at).min()?;
        self.has_followers().then(|| now.saturating_sub(oldest))
    }

    pub(super) fn has_followers(&self) -> bool {
        !self.clusters.is_empty()
    }

    /// What is known of a resource; `None` until a look that counts has come back. `cluster` is interested from now on.
    pub(super) fn resource(
        &mut self,
        cluster: &ClusterIdentity,
        id: &ResourceId,
        api_version: &'static str,
        now: Duration,
    ) -> Option<Lookup<Value>> {
        let list = Listed::of(id);
        let trusted_since = self.trusted_since;
        let item = self
            .items
            .entry(key(id))
            .or_insert_with(|| Item::new(id.clone(), api_version, now));
        item.interest.insert(cluster.clone(), now);
        let list = list.and_then(|list| self.lists.get(&list));
        item.known(list, trusted_since)
    }

    /// The jobs of a cluster; `None` until a look that counts has come back.
    pub(super) fn jobs(
        &self,
        cluster: &ClusterIdentity,
    ) -> Option<Result<BTreeMap<ResourceId, Value>, Trouble>> {
        let list = self.lists.get(&Listed::Jobs)?;
        if let Some(failed) = &list.failed {
            return Some(Err(failed.trouble.clone()));
        }
        if list.read_at.is_none_or(|at| at < self.trusted_since) {
            return None;
        }
        let mut jobs = BTreeMap::new();
        for item in self.jobs_of(cluster) {
            match item.known(Some(list), self.trusted_since)? {
                Lookup::Present(body) => {
                    jobs.insert(item.id.clone(), body);
                }
                Lookup::Absent | Lookup::NotAsked => {}
                Lookup::Unavailable(trouble) => return Some(Err(trouble)),
            }
        }
        Some(Ok(jobs))
    }

    fn jobs_of(&self, cluster: &ClusterIdentity) -> impl Iterator<Item = &Item> {
        let prefix = format!("{}/jobs/{}", key(&self.workspace), cluster.job_prefix());
        self.items
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(_, item)| item)
    }

    /// The cluster that looks at this job, going by its id.
    fn cluster_of_job(&self, id: &ResourceId) -> Option<&ClusterIdentity> {
        let job = Some(id).filter(|id| Listed::of(id) == Some(Listed::Jobs))?;
        self.by_job_prefix.get(job_prefix_of(job.name())?)
    }

    /// What is to be read now, and how long it is until there is more by itself. What is returned counts as under way.
    ///
    /// At most so many, and no more than is allowed: who has waited longest goes first, and nobody goes before who
    /// cannot go yet, but for what costs nothing.
    pub(super) fn take(
        &mut self,
        at_most: usize,
        allowance: &mut Allowance,
        now: Duration,
    ) -> (Vec<Due>, Duration) {
        let (due, mut next) = self.due(now);
        let mut taken = Vec::new();
        let mut exhausted = false;
        for due in due.into_iter() {
            if taken.len() == at_most {
                break;
            }
            match due.cost {
                Some(_) if exhausted => continue,
                Some(reads) => {
                    if let Err(wait) = allowance.take(reads, now) {
                        exhausted = true;
                        next = next.min(wait);
                        continue;
                    }
                }
                None => {}
            }
            self.under_way.insert(due.read.clone());
            taken.push(due);
        }
        (taken, next)
    }

    /// Everything that is to be read now, who has waited longest first.
    fn due(&mut self, now: Duration) -> (Vec<Due>, Duration) {
        self.let_interest_lapse(now);
        let pace = self.pace();
        let since_change = now.saturating_sub(self.changed_at);
        let mut due = Vec::new();
        let mut next = LONGEST_SLEEP;
        let mut consider = |read: Read, at: Duration, cost: Option<u32>, pace: Pace| {
            if self.under_way.contains(&read) {
                return;
            }
            if at <= now {
                due.push((at, Due { read, cost, pace }));
            } else {
                next = next.min(at - now);
            }
        };
        let mut moving = self.moving_pools();
        let pages = self.lists[&Listed::Computes].pages.max(1);
        // Pools that move are read by themselves where that takes fewer reads than the list.
        let computes_move = moving.len() > pages as usize;
        if computes_move {
            moving.clear();
        }
        for (&of, list) in &self.lists {
            let moves = match of {
                Listed::Jobs => pace,
                Listed::Computes if computes_move => pace,
                Listed::Computes => Pace::Settled,
            };
            let told_at = list.read_at.filter(|at| *at >= self.trusted_since);
            let at = match (&list.failed, told_at) {
                (Some(failed), _) => failed.not_before,
                (None, Some(at)) => at + pace::of_list(moves, since_change),
                (None, None) => Duration::ZERO,
            };
            let is_first = list.failed.is_none() && told_at.is_none();
            let cost = (!is_first).then_some(list.pages.max(1));
            consider(Read::List(of), at, cost, pace);
        }
        for (key, item) in &self.items {
            let wanted = match item.listed {
                None => item.due_by_itself(self.trusted_since, now, self.pace_of(item)),
                Some(_) => item.due_beside_its_list(now, moving.contains(key.as_str())),
            };
            if let Some((at, cost)) = wanted {
                let read = Read::One(item.id.clone(), item.api_version);
                consider(read, at, cost, pace);
            }
        }
        due.sort_by_key(|(at, _)| *at);
        (due.into_iter().map(|(_, due)| due).collect(), next)
    }

    /// Takes note of what a read that began at `begun` has found. Returns whom it concerns.
    pub(super) fn learn(
        &mut self,
        read: &Read,
        found: Found,
        begun: Duration,
        now: Duration,
    ) -> BTreeSet<ClusterIdentity> {
        self.under_way.remove(read);
        let mut concerned = BTreeSet::new();
        if let Found::Failed(trouble, _) = &found
            && trouble.reason == Reason::WaitingForBudget
            && self.is_known(read)
        {
            // What was seen before is good for a little longer.
            return concerned;
        }
        match (read, found) {
            (Read::List(of), Found::Listed(found, pages)) => {
                self.learn_list(*of, found, pages, begun, now, &mut concerned);
            }
            (Read::List(of), Found::Failed(trouble, retry)) => {
                let list = self.lists.entry(*of).or_default();
                if fail(&mut list.failed, trouble, retry, now) {
                    concerned.extend(self.clusters.keys().cloned());
                }
            }
            (Read::One(id, _), Found::One(body)) => {
                let was_missing = self.is_missing(id);
                self.learn_one(id, body, begun, now, &mut concerned);
                if let Some(item) = self.items.get_mut(&key(id)).filter(|_| was_missing) {
                    item.place = PlaceInList::LeftOut(now);
                }
            }
            (Read::One(id, _), Found::Failed(trouble, retry)) => {
                if let Some(item) = self.items.get_mut(&key(id))
                    && fail(&mut item.failed, trouble, retry, now)
                {
                    concerned.extend(self.interested_in(id));
                }
            }
            (Read::List(_), Found::One(_)) | (Read::One(..), Found::Listed(..)) => {}
        }
        concerned
    }

    /// Believes nothing that was read before `now`.
    pub(super) fn doubt(&mut self, now: Duration) {
        self.trusted_since = now;
        for item in self.items.values_mut() {
            if let PlaceInList::LeftOut(_) = item.place {
                item.place = PlaceInList::Missing;
            }
        }
    }

    /// Takes note of a write of `cluster`. Returns whom else it concerns.
    pub(super) fn wrote(
        &mut self,
        cluster: &ClusterIdentity,
        id: &ResourceId,
        api_version: &'static str,
        wrote: Wrote,
        now: Duration,
    ) -> BTreeSet<ClusterIdentity> {
        self.changed_at = now;
        self.doubt_network_of(id, now);
        let item = self
            .items
            .entry(key(id))
            .or_insert_with(|| Item::new(id.clone(), api_version, now));
        item.changed_at = now;
        let before = item.body.clone();
        match wrote.of(before.as_ref()) {
            Some(body) => {
                item.body = body.map(|body| kept(id, body));
                item.told_at = Some(now);
                item.failed = None;
                item.doubted_at = None;
                item.place = PlaceInList::Shown;
                item.written = Some(Written { at: now, before });
            }
            None => item.doubted_at = Some(now),
        }
        item.interest
            .keys()
            .filter(|other| *other != cluster)
            .cloned()
            .collect()
    }

    fn learn_list(
        &mut self,
        of: Listed,
        found: Vec<(ResourceId, Value)>,
        pages: u32,
        begun: Duration,
        now: Duration,
        concerned: &mut BTreeSet<ClusterIdentity>,
    ) {
        let list = self.lists.entry(of).or_default();
        if list.failed.take().is_some() || list.read_at.is_none_or(|at| at < self.trusted_since) {
            concerned.extend(self.clusters.keys().cloned());
        }
        list.read_at = Some(begun);
        list.pages = pages;
        let mut shown = BTreeSet::new();
        for (id, body) in found {
            shown.insert(key(&id));
            self.learn_one(&id, Some(body), begun, now, concerned);
        }
        for (key, item) in &mut self.items {
            if item.listed == Some(of) && !shown.contains(key) {
                item.is_missing(begun, now);
            }
        }
        let by_job_prefix = &self.by_job_prefix;
        self.items.retain(|key, item| {
            let is_known = item.body.is_some() || item.doubted_at.is_some();
            let is_looked_at = !item.interest.is_empty()
                || job_prefix_of(item.id.name())
                    .is_some_and(|prefix| by_job_prefix.contains_key(prefix) && is_known);
            item.listed != Some(of) || shown.contains(key) || is_looked_at
        });
    }

    fn learn_one(
        &mut self,
        id: &ResourceId,
        found: Option<Value>,
        begun: Duration,
        now: Duration,
        concerned: &mut BTreeSet<ClusterIdentity>,
    ) {
        let found = found.map(|body| kept(id, body));
        let item = self
            .items
            .entry(key(id))
            .or_insert_with(|| Item::new(id.clone(), Job::API_VERSION, now));
        let was_awaited = item.told_at.is_none_or(|at| at < self.trusted_since)
            || item.doubted_at.is_some_and(|at| at < begun);
        let recovered = item.failed.take().is_some();
        item.told_at = item.told_at.max(Some(begun));
        item.doubted_at = item.doubted_at.filter(|at| *at >= begun);
        let mut changed = false;
        if !item.written_hides(found.as_ref(), begun, now) {
            changed = item.body != found;
            if found.is_none() && pace::was_to_stay(item.body.as_ref()) {
                // Somebody took it away, and perhaps what it lay in: then more is gone than what is looked at often.
                self.trusted_since = begun;
            }
            item.body = found;
            item.place = PlaceInList::Shown;
        }
        let is_gone = changed && item.body.is_none();
        if changed {
            item.changed_at = now;
            self.changed_at = now;
        }
        if is_gone {
            self.doubt_network_of(id, now);
        }
        if changed || recovered || was_awaited {
            concerned.extend(self.interested_in(id));
        }
    }

    fn interested_in(&self, id: &ResourceId) -> impl Iterator<Item = ClusterIdentity> {
        let item = self.items.get(&key(id));
        let by_interest = item.into_iter().flat_map(|item| item.interest.keys());
        by_interest.chain(self.cluster_of_job(id)).cloned()
    }

    /// Subnets and peerings stand in the body of their network too, and change its etag.
    fn doubt_network_of(&mut self, id: &ResourceId, now: Duration) {
        let network = id.parent().filter(|parent| {
            let kind = parent.resource_type();
            kind.eq_ignore_ascii_case(VirtualNetwork::RESOURCE_TYPE)
        });
        if let Some(held) = network.and_then(|network| self.items.get_mut(&key(&network))) {
            held.doubted_at = Some(now);
        }
    }

    fn is_known(&self, read: &Read) -> bool {
        match read {
            Read::List(of) => self
                .lists
                .get(of)
                .is_some_and(|list| list.read_at.is_some()),
            Read::One(id, _) => {
                let item = self.items.get(&key(id));
                item.is_some_and(|item| item.told_at.is_some())
            }
        }
    }

    fn is_missing(&self, id: &ResourceId) -> bool {
        let item = self.items.get(&key(id));
        item.is_some_and(|item| item.place == PlaceInList::Missing)
    }

    fn pace(&self) -> Pace {
        if self.clusters.values().any(|pace| *pace == Pace::Moving) {
            Pace::Moving
        } else {
            Pace::Settled
        }
    }

    fn pace_of(&self, item: &Item) -> Pace {
        let moves = |cluster: &ClusterIdentity| self.clusters.get(cluster) == Some(&Pace::Moving);
        if item.interest.keys().any(moves) {
            Pace::Moving
        } else {
            Pace::Settled
        }
    }

    /// Keys of the pools of clusters that move.
    fn moving_pools(&self) -> BTreeSet<&str> {
        self.items
            .iter()
            .filter(|(_, item)| item.listed == Some(Listed::Computes))
            .filter(|(_, item)| self.pace_of(item) == Pace::Moving)
            .map(|(key, _)| key.as_str())
            .collect()
    }

    fn let_interest_lapse(&mut self, now: Duration) {
        for item in self.items.values_mut() {
            item.interest
                .retain(|_, at| now.saturating_sub(*at) < INTEREST_LASTS);
        }
        self.items.retain(|_, item| {
            item.listed.is_some() || !item.interest.is_empty() || item.doubted_at.is_some()
        });
    }
}

fn key(id: &ResourceId) -> String {
    id.to_string().to_ascii_lowercase()
}

#[cfg(test)]
mod tests;

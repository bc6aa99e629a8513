//! What is known of one resource, or of one list. Pure: time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::Listed;
use crate::azure::{ResourceId, Retry};
use crate::azure_resources::job::{JobFacts, without_payload};
use crate::inventory::pace::{self, Pace};
use crate::lookup::{Lookup, Trouble};
use crate::names::ClusterIdentity;

/// Azure's reads may lag behind a write for so long: what they showed before it is no news
/// (contract section 14, "404 right after 201").
const READS_LAG: Duration = Duration::from_secs(30);
/// What is there though its list leaves it out, as a job that somebody archived, is asked for by its id so often.
const LEFT_OUT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct List {
    pub(super) read_at: Option<Duration>,
    pub(super) pages: u32,
    pub(super) failed: Option<Failed>,
}

pub(super) struct Item {
    pub(super) id: ResourceId,
    /// The list that it stands in.
    pub(super) listed: Option<Listed>,
    pub(super) api_version: &'static str,
    pub(super) body: Option<Value>,
    /// When the read or write began that told it.
    pub(super) told_at: Option<Duration>,
    pub(super) changed_at: Duration,
    pub(super) failed: Option<Failed>,
    pub(super) written: Option<Written>,
    /// Nobody knows what became of a write: only what was read since then counts.
    pub(super) doubted_at: Option<Duration>,
    pub(super) place: PlaceInList,
    /// Who asked for it, and when for the last time.
    pub(super) interest: BTreeMap<ClusterIdentity, Duration>,
}

/// Whether the list shows a resource. That it does not is no absence yet: lists lag, and leave out what was archived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceInList {
    Shown,
    /// The list leaves it out, and its id has not been asked yet.
    Missing,
    /// It was there by its id, then.
    LeftOut(Duration),
}

pub(super) struct Failed {
    pub(super) trouble: Trouble,
    pub(super) times: u32,
    pub(super) not_before: Duration,
}

/// A write of ours that reads may not show yet.
pub(super) struct Written {
    pub(super) at: Duration,
    pub(super) before: Option<Value>,
}

impl Item {
    pub(super) fn new(id: ResourceId, api_version: &'static str, now: Duration) -> Self {
        Self {
            listed: Listed::of(&id),
            id,
            api_version,
            body: None,
            told_at: None,
            changed_at: now,
            failed: None,
            written: None,
            doubted_at: None,
            place: PlaceInList::Shown,
            interest: BTreeMap::new(),
        }
    }

    /// `list`: the one that it stands in, if any.
    pub(super) fn known(
        &self,
        list: Option<&List>,
        trusted_since: Duration,
    ) -> Option<Lookup<Value>> {
        let failed = list.and_then(|list| list.failed.as_ref());
        if let Some(failed) = self.failed.as_ref().or(failed) {
            return Some(Lookup::Unavailable(failed.trouble.clone()));
        }
        let listed_at = list.and_then(|list| list.read_at);
        let told_at = self.told_at.max(listed_at.filter(|_| self.body.is_none()));
        if self.doubted_at.is_some() || told_at.is_none_or(|at| at < trusted_since) {
            return None;
        }
        Some(match &self.body {
            Some(body) => Lookup::Present(body.clone()),
            None => Lookup::Absent,
        })
    }

    /// When to read what stands in no list, and what that costs.
    pub(super) fn due_by_itself(
        &self,
        trusted_since: Duration,
        now: Duration,
        pace: Pace,
    ) -> Option<(Duration, Option<u32>)> {
        if let Some(again) = self.again() {
            return Some(again);
        }
        let Some(told_at) = self.told_at.filter(|at| *at >= trusted_since) else {
            return Some((Duration::ZERO, None));
        };
        let since_change = now.saturating_sub(self.changed_at);
        let kind = self.id.resource_type();
        let wait = pace::of_resource(&kind, self.body.as_ref(), pace, since_change);
        Some((told_at + wait, Some(1)))
    }

    /// When to read by its id what stands in a list, and what that costs: `moves` where the list is read too seldom.
    pub(super) fn due_beside_its_list(
        &self,
        now: Duration,
        moves: bool,
    ) -> Option<(Duration, Option<u32>)> {
        if let Some(again) = self.again() {
            return Some(again);
        }
        match self.place {
            PlaceInList::Missing => return Some((Duration::ZERO, Some(1))),
            PlaceInList::LeftOut(at) => return Some((at + LEFT_OUT, Some(1))),
            PlaceInList::Shown => {}
        }
        let told_at = self.told_at.filter(|_| moves)?;
        let since_change = now.saturating_sub(self.changed_at);
        Some((told_at + pace::while_moving(since_change), Some(1)))
    }

    /// When to read again what a read or a write has left unknown, and what that costs.
    pub(super) fn again(&self) -> Option<(Duration, Option<u32>)> {
        let failed = self.failed.as_ref();
        let failed = failed.map(|failed| (failed.not_before, Some(1)));
        failed.or_else(|| self.doubted_at.map(|_| (Duration::ZERO, None)))
    }

    /// Its list leaves it out.
    pub(super) fn is_missing(&mut self, begun: Duration, now: Duration) {
        let is_news = self.body.is_some() && self.told_at.is_none_or(|at| at < begun);
        if !is_news || self.written_hides(None, begun, now) {
            return;
        }
        match self.place {
            // Nothing becomes of a job any more that has ended; it was archived.
            _ if self.has_ended() => self.told_at = Some(begun),
            PlaceInList::Shown => self.place = PlaceInList::Missing,
            PlaceInList::Missing | PlaceInList::LeftOut(_) => {}
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        let facts = self.body.as_ref().and_then(JobFacts::read);
        facts.is_some_and(|facts| facts.status.is_terminal())
    }

    /// Whether a write of ours hides what was found: Azure did not know of it yet when it answered.
    pub(super) fn written_hides(
        &mut self,
        found: Option<&Value>,
        begun: Duration,
        now: Duration,
    ) -> bool {
        let Some(written) = &self.written else {
            return false;
        };
        let lags = now.saturating_sub(written.at) < READS_LAG && found == written.before.as_ref();
        if begun < written.at || lags {
            return true;
        }
        self.written = None;
        false
    }
}

/// What is held of a body.
pub(super) fn kept(id: &ResourceId, body: Value) -> Value {
    match Listed::of(id) {
        Some(Listed::Jobs) => without_payload(body),
        Some(Listed::Computes) | None => body,
    }
}

/// Notes a failure. Says whether that is news.
pub(super) fn fail(
    failed: &mut Option<Failed>,
    trouble: Trouble,
    retry: Retry,
    now: Duration,
) -> bool {
    let before = failed.take();
    let times = before
        .as_ref()
        .map_or(0, |failed| failed.times)
        .saturating_add(1);
    let is_news = before.is_none_or(|failed| failed.trouble.reason != trouble.reason);
    *failed = Some(Failed {
        not_before: now + pace::after_failure(retry, times),
        trouble,
        times,
    });
    is_news
}

//! Who is next: lanes by their order, inside a lane each cluster in turn (start-time fair
//! queueing, as Kubernetes' API priority and fairness does it). Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Errand, Lane};

/// How long after its turn a place is kept for one that said it would come again.
const KEPT: Duration = Duration::from_secs(60);

/// How often places are looked through for those that nobody came for.
const TIDIED: Duration = Duration::from_secs(10);

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    lane: Lane,
    place: Place,
}

/// The round of the lane in which it is served, and who came first among those of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    round: u64,
    number: u64,
}

/// For whom: one cluster, or nobody in particular.
type Flow = Option<Arc<str>>;

/// Whose place it is, and since when.
#[derive(Debug)]
struct Holder {
    flow: Flow,
    since: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [LaneQueue; Lane::ALL.len()],
    numbers: u64,
    tidied: Duration,
}

#[derive(Debug, Default)]
struct LaneQueue {
    /// The round of the last one that was served.
    round: u64,
    waiting: BTreeMap<Place, Holder>,
    /// Places of those who went away and will come again, and until when each is kept.
    kept: BTreeMap<Place, (Holder, Duration)>,
    /// The round that a flow's next request has at the earliest.
    next_rounds: HashMap<Flow, u64>,
}

impl Queue {
    /// Takes a place: the first that is kept for the cluster, or a new one.
    pub(super) fn enter(&mut self, errand: &Errand, now: Duration) -> Ticket {
        if now.saturating_sub(self.tidied) >= TIDIED {
            self.tidied = now;
            self.lanes.iter_mut().for_each(|lane| lane.tidy(now));
        }
        let number = self.numbers;
        self.numbers += 1;
        let lane = &mut self.lanes[errand.lane as usize];
        let place = lane.enter(&errand.cluster, number, now);
        Ticket {
            lane: errand.lane,
            place,
        }
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<Ticket> {
        Lane::ALL.into_iter().find_map(|lane| {
            let (place, _) = self.lanes[lane as usize].waiting.first_key_value()?;
            Some(Ticket {
                lane,
                place: *place,
            })
        })
    }

    /// Serves one that waits, and says since when it did.
    pub(super) fn serve(&mut self, ticket: Ticket) -> Option<Duration> {
        let lane = &mut self.lanes[ticket.lane as usize];
        let holder = lane.waiting.remove(&ticket.place)?;
        // One whose place was kept may come from a round that is over.
        lane.round = lane.round.max(ticket.place.round);
        Some(holder.since)
    }

    /// Lets one that waits go away. Its place is kept until some time after `turn`, when it is
    /// expected again; with `None` it is not. False if it does not wait any more.
    pub(super) fn leave(&mut self, ticket: Ticket, turn: Option<Duration>) -> bool {
        let lane = &mut self.lanes[ticket.lane as usize];
        let Some(holder) = lane.waiting.remove(&ticket.place) else {
            return false;
        };
        if let Some(turn) = turn {
            let until = turn.saturating_add(KEPT);
            lane.kept.insert(ticket.place, (holder, until));
        }
        true
    }

    /// How many are served before this one, as things stand.
    pub(super) fn before(&self, ticket: Ticket) -> usize {
        let above: usize = self.lanes[..ticket.lane as usize]
            .iter()
            .map(|lane| lane.waiting.len() + lane.kept.len())
            .sum();
        let lane = &self.lanes[ticket.lane as usize];
        let waiting = lane.waiting.range(..ticket.place).count();
        above + waiting + lane.kept.range(..ticket.place).count()
    }

    /// Nobody waits, and nobody is expected again.
    pub(super) fn is_empty(&self) -> bool {
        let is_empty = |lane: &LaneQueue| lane.waiting.is_empty() && lane.kept.is_empty();
        self.lanes.iter().all(is_empty)
    }
}

impl Ticket {
    pub(super) fn lane(self) -> Lane {
        self.lane
    }
}

impl LaneQueue {
    fn enter(&mut self, flow: &Flow, number: u64, now: Duration) -> Place {
        let kept = self
            .kept
            .iter()
            .find(|(_, (holder, until))| holder.flow == *flow && *until >= now)
            .map(|(place, _)| *place);
        if let Some(place) = kept
            && let Some((holder, _)) = self.kept.remove(&place)
        {
            self.waiting.insert(place, holder);
            return place;
        }
        let next = self.next_rounds.entry(flow.clone()).or_default();
        let round = self.round.max(*next);
        *next = round + 1;
        let place = Place { round, number };
        let holder = Holder {
            flow: flow.clone(),
            since: now,
        };
        self.waiting.insert(place, holder);
        place
    }

    /// Forgets places that nobody came for, and clusters that would begin anew anyway.
    fn tidy(&mut self, now: Duration) {
        self.kept.retain(|_, (_, until)| *until >= now);
        let kept = self.kept.values().map(|(holder, _)| holder);
        let holders = self.waiting.values().chain(kept);
        let present: HashSet<&Flow> = holders.map(|holder| &holder.flow).collect();
        let soon = self.round + 1;
        self.next_rounds
            .retain(|flow, next| *next == soon || *next > soon && present.contains(flow));
    }
}

#[cfg(test)]
mod tests;

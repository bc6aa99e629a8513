//! Where requests wait for their turn, and where their answers tell what is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::{Notify, oneshot};

use super::allowance::{Allowance, Estimate, Passage, Remaining};
use super::queue::Ticket;
use super::{Errand, OperationType};
use crate::azure::observer::{AdmittedRequest, RequestObserver};
use crate::clock::Clock;

/// How long a request waits here for its turn. One whose turn is later goes away and comes again.
const PATIENCE: Duration = Duration::from_secs(2);

/// So long before its turn it is asked to come, so that it is here when that comes.
const EARLY: Duration = Duration::from_secs(1);

/// The budgets of all principals. Clones share them.
#[derive(Clone)]
pub struct Budgets(Arc<Registry>);

struct Registry {
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
    gates: Mutex<HashMap<Key, Gates>>,
}

/// Principal and subscription.
type Key = (Arc<str>, String);

/// One for each type of operation, at the place of its number.
type Gates = Arc<[Arc<Gate>; OperationType::ALL.len()]>;

/// It is not the turn of a request yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many go before it.
    pub(crate) before: usize,
    /// When it should come again.
    pub(crate) wait: Duration,
}

impl Refusal {
    /// Of one whom nobody lets through any more.
    fn at_once() -> Self {
        Self {
            before: 0,
            wait: Duration::ZERO,
        }
    }
}

impl Budgets {
    #[must_use]
    pub fn new(clock: Clock, observer: Arc<dyn RequestObserver>) -> Self {
        Self(Arc::new(Registry {
            clock,
            observer,
            gates: Mutex::default(),
        }))
    }

    /// The fewest tokens that any principal seems to have left in any subscription; nothing if
    /// nobody has asked for anything yet.
    #[must_use]
    pub fn least_left(&self, operation: OperationType) -> Option<f64> {
        let now = self.0.clock.elapsed();
        let gates = lock(&self.0.gates);
        let left = gates
            .values()
            .map(|gates| lock(&gates[operation as usize].state).allowance.left(now));
        left.reduce(f64::min)
    }

    /// Waits for the turn of a request, for a short time.
    pub(crate) async fn turn(
        &self,
        principal: &Arc<str>,
        subscription: &str,
        operation: OperationType,
        errand: &Errand,
    ) -> Result<Slot, Refusal> {
        let gates = self.gates(principal, subscription);
        Gate::turn(&gates[operation as usize], errand).await
    }

    fn gates(&self, principal: &Arc<str>, subscription: &str) -> Gates {
        let Registry {
            clock,
            observer,
            gates,
        } = &*self.0;
        let key = (Arc::clone(principal), subscription.to_ascii_lowercase());
        let mut gates = lock(gates);
        if let Some(known) = gates.get(&key) {
            return Arc::clone(known);
        }
        let now = clock.elapsed();
        gates.retain(|_, gates| {
            Arc::strong_count(gates) > 1
                || !gates
                    .iter()
                    .all(|gate| lock(&gate.state).allowance.is_idle(now))
        });
        let made = OperationType::ALL.map(|operation| {
            Arc::new(Gate {
                clock: clock.clone(),
                observer: Arc::clone(observer),
                operation,
                state: Mutex::new(State {
                    allowance: Allowance::new(operation, now),
                    waiting: HashMap::new(),
                    is_driven: false,
                }),
                changed: Notify::new(),
            })
        });
        Arc::clone(gates.entry(key).or_insert(Arc::new(made)))
    }
}

/// One allowance, and those who wait before it.
struct Gate {
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
    operation: OperationType,
    state: Mutex<State>,
    /// Whether more might be let through than was known.
    changed: Notify,
}

struct State {
    allowance: Allowance,
    waiting: HashMap<Ticket, oneshot::Sender<Slot>>,
    /// A task lets through who waits, as long as anybody does.
    is_driven: bool,
}

/// A request's place before a gate; one that is let go of is free, unless it is kept.
struct Place<'a> {
    gate: &'a Arc<Gate>,
    ticket: Ticket,
    turn: oneshot::Receiver<Slot>,
    /// The place is there for the next request, which may hold it already.
    is_kept: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let mut state = lock(&self.gate.state);
        // Not there any more if its turn has come.
        if state.waiting.remove(&self.ticket).is_some() {
            state.allowance.forget(self.ticket);
            drop(state);
            self.gate.changed.notify_one();
        }
    }
}

impl Gate {
    async fn turn(self: &Arc<Self>, errand: &Errand) -> Result<Slot, Refusal> {
        let mut place = self.enter(errand);
        self.let_through();
        if let Ok(slot) = place.turn.try_recv() {
            return Ok(slot);
        }
        if self.estimate(place.ticket).wait <= PATIENCE {
            self.keep_driven();
            tokio::select! {
                biased;
                turn = &mut place.turn => return turn.map_err(|_| Refusal::at_once()),
                () = self.clock.sleep(PATIENCE) => {}
            }
        }
        let Some(refusal) = self.postpone(&mut place) else {
            // Its turn came just now.
            return (&mut place.turn).await.map_err(|_| Refusal::at_once());
        };
        self.observer.request_postponed(errand.lane, self.operation);
        Err(refusal)
    }

    fn enter(self: &Arc<Self>, errand: &Errand) -> Place<'_> {
        let (sender, turn) = oneshot::channel();
        let mut state = lock(&self.state);
        let ticket = state.allowance.enter(errand, self.clock.elapsed());
        state.waiting.insert(ticket, sender);
        Place {
            gate: self,
            ticket,
            turn,
            is_kept: false,
        }
    }

    fn estimate(&self, ticket: Ticket) -> Estimate {
        lock(&self.state)
            .allowance
            .estimate(ticket, self.clock.elapsed())
    }

    /// Lets one go away whose place is kept; nothing if its turn has come.
    fn postpone(&self, place: &mut Place<'_>) -> Option<Refusal> {
        let ticket = place.ticket;
        let now = self.clock.elapsed();
        let mut state = lock(&self.state);
        let estimate = state.allowance.estimate(ticket, now);
        if !state.allowance.postpone(ticket, estimate, now) {
            return None;
        }
        state.waiting.remove(&ticket);
        place.is_kept = true;
        drop(state);
        self.changed.notify_one();
        Some(Refusal {
            before: estimate.before,
            wait: estimate.wait.saturating_sub(EARLY),
        })
    }

    fn let_through(self: &Arc<Self>) {
        let mut turns = Vec::new();
        {
            let mut state = lock(&self.state);
            let now = self.clock.elapsed();
            while let Some(admitted) = state.allowance.admit(now) {
                turns.push((state.waiting.remove(&admitted.ticket), admitted));
            }
        }
        for (waiting, admitted) in turns {
            let slot = Slot {
                gate: Arc::clone(self),
                passage: Some(admitted.passage),
                told: Remaining::default(),
            };
            self.observer.request_admitted(&AdmittedRequest {
                lane: admitted.ticket.lane(),
                operation: self.operation,
                waited: admitted.waited,
            });
            // Who has gone meanwhile lets go of the slot.
            if let Some(waiting) = waiting {
                let _ = waiting.send(slot);
            }
        }
    }

    /// Has somebody let through who waits, as time passes and as answers come.
    fn keep_driven(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.state).is_driven, true) {
            return;
        }
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(due) = gate.next_due() {
                tokio::select! {
                    () = gate.clock.sleep(due) => {}
                    () = gate.changed.notified() => {}
                }
                gate.let_through();
            }
        });
    }

    /// How long until the next one may go; nothing once nobody waits, which ends the driving.
    fn next_due(&self) -> Option<Duration> {
        let mut state = lock(&self.state);
        let due = state.allowance.due(self.clock.elapsed());
        state.is_driven = due.is_some();
        due
    }
}

/// Leave to send one request. It ends when it is let go of.
pub(crate) struct Slot {
    gate: Arc<Gate>,
    passage: Option<Passage>,
    told: Remaining,
}

impl Slot {
    /// Takes note of what the head of an answer says remains.
    pub(crate) fn hear(&mut self, headers: &HeaderMap) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        let (of_principal, of_all) = headers_of(self.gate.operation);
        self.told = Remaining {
            of_principal: number(of_principal),
            of_all: number(of_all),
        };
    }

    /// The answer was that there were too many requests; `asked` is how long Azure asks to wait.
    pub(crate) fn throttled(mut self, asked: Option<Duration>) {
        let Some(passage) = self.passage.take() else {
            return;
        };
        let now = self.gate.clock.elapsed();
        lock(&self.gate.state)
            .allowance
            .throttle(passage, asked, rand::random(), now);
        self.gate.observer.request_throttled(self.gate.operation);
        self.gate.changed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(passage) = self.passage.take() else {
            return;
        };
        let now = self.gate.clock.elapsed();
        lock(&self.gate.state)
            .allowance
            .end(passage, self.told, now);
        self.gate.changed.notify_one();
    }
}

/// What remains for the principal, and for all of them together (contract section 1).
fn headers_of(operation: OperationType) -> (&'static str, &'static str) {
    match operation {
        OperationType::Read => (
            "x-ms-ratelimit-remaining-subscription-reads",
            "x-ms-ratelimit-remaining-subscription-global-reads",
        ),
        OperationType::Write => (
            "x-ms-ratelimit-remaining-subscription-writes",
            "x-ms-ratelimit-remaining-subscription-global-writes",
        ),
        OperationType::Delete => (
            "x-ms-ratelimit-remaining-subscription-deletes",
            "x-ms-ratelimit-remaining-subscription-global-deletes",
        ),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

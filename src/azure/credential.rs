//! The token that goes with every request: kept, renewed early, shared by all who act as the same
//! identity.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::entra::{Entra, Token};
use super::error::Error;
use super::identity::Identity;
use super::observer::{EndedRequest, RequestObserver};
use super::token_source::TokenSources;
use crate::clock::Clock;

/// A token is renewed this long before it ends, or when a fifth of its life is left; up to half as
/// long again earlier, so that not all are renewed at once.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
const SPREAD: f64 = 0.5;

/// While a token is still good, a failed renewal is tried again after this time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Gives out tokens for ARM. Clones share the token.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    entra: Entra,
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
    /// Tokens of many identities that begin together are not all renewed together.
    spread: f64,
    state: RwLock<State>,
    /// Held by the one who asks Entra; the others wait for what it brings.
    asking: Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Why Entra was last asked in vain.
    failure: Option<Error>,
    /// How often Entra has been asked.
    asked: u64,
}

/// A token, and the readings of the clock at which it is due for renewal and ends.
#[derive(Clone)]
struct Held {
    token: Token,
    due: Duration,
    end: Duration,
}

impl Credential {
    /// A credential for `identity` in the cloud of `endpoint`. Nothing is asked yet.
    #[must_use]
    pub fn new(
        identity: Identity,
        endpoint: &Endpoint,
        sources: TokenSources,
        clock: Clock,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        let entra = Entra::new(identity, endpoint, sources, clock.clone());
        let spread = rand::random_range(0.0..1.0);
        Self::of(entra, clock, observer, spread)
    }

    /// `spread` is this one's place among those that are renewed at about the same time, 0 to 1.
    pub(super) fn of(
        entra: Entra,
        clock: Clock,
        observer: Arc<dyn RequestObserver>,
        spread: f64,
    ) -> Self {
        Self(Arc::new(Inner {
            entra,
            clock,
            observer,
            spread,
            state: RwLock::default(),
            asking: Mutex::default(),
        }))
    }

    /// Makes sure that there is a token: the way to check an identity before anything else.
    pub async fn check(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    /// Whom tokens are for ([`Identity::name`]).
    pub(super) fn name(&self) -> String {
        self.0.entra.identity().name()
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<Token, Error> {
        let inner = &self.0;
        let (held, asked) = inner.look();
        let now = inner.clock.elapsed();
        match held {
            Some(held) if now < held.due => Ok(held.token),
            Some(held) if now < held.end => {
                // Still good: one renews it, the others go on, and a failure costs nothing yet.
                let Ok(_asking) = inner.asking.try_lock() else {
                    return Ok(held.token);
                };
                let renewed = inner.ask(None).await;
                Ok(renewed.unwrap_or_else(|_| {
                    inner.postpone_renewal();
                    held.token
                }))
            }
            _ => inner.ask_unless_answered(asked, None).await,
        }
    }

    /// A token other than `refused`, which Azure did not accept; with the `claims` that it asked
    /// for.
    pub(super) async fn renew(
        &self,
        refused: &Token,
        claims: Option<&str>,
    ) -> Result<Token, Error> {
        let inner = &self.0;
        let (held, asked) = inner.look();
        match held {
            Some(held) if held.token != *refused => Ok(held.token),
            _ => inner.ask_unless_answered(asked, claims).await,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("identity", self.0.entra.identity())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn look(&self) -> (Option<Held>, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.held.clone(), state.asked)
    }

    /// Asks Entra, unless someone else has done so since the count was `asked`: then their answer
    /// is taken, a failure too, so that a crowd does not wait for one deadline after the other.
    async fn ask_unless_answered(&self, asked: u64, claims: Option<&str>) -> Result<Token, Error> {
        let _asking = self.asking.lock().await;
        if let Some(answer) = self.answer_since(asked) {
            return answer;
        }
        self.ask(claims).await
    }

    fn answer_since(&self, asked: u64) -> Option<Result<Token, Error>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.asked == asked {
            return None;
        }
        match (&state.failure, &state.held) {
            (Some(failure), _) => Some(Err(failure.clone())),
            (None, Some(held)) => Some(Ok(held.token.clone())),
            (None, None) => None,
        }
    }

    async fn ask(&self, claims: Option<&str>) -> Result<Token, Error> {
        let started = self.clock.elapsed();
        let outcome = self.entra.ask(claims).await;
        let now = self.clock.elapsed();
        let (status, error) = match &outcome {
            Ok(_) => (Some(200), None),
            Err(error) => (error.status(), Some(error.category())),
        };
        self.observer.request_ended(&EndedRequest {
            verb: self.entra.verb(),
            target: &self.entra.attempt().target,
            status,
            duration: now.saturating_sub(started),
            error,
        });
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        match outcome {
            Ok((token, life)) => {
                let margin = RENEWED_BEFORE.min(life / 5);
                let margin = margin.mul_f64(1.0 + SPREAD * self.spread);
                state.failure = None;
                state.held = Some(Held {
                    token: token.clone(),
                    due: now + (life - margin),
                    end: now + life,
                });
                Ok(token)
            }
            Err(error) => {
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn postpone_renewal(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &mut state.held {
            held.due = now + RENEWAL_PAUSE;
        }
    }
}

#[cfg(test)]
mod tests;

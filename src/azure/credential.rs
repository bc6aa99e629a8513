//! The token that goes with every request: kept, renewed early, shared by all who act as the same
//! identity.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::entra::{Entra, Token};
use super::error::Error;
use super::identity::Identity;
use super::observer::{EndedRequest, RequestObserver};
use crate::clock::Clock;

/// A token is renewed this long before it ends, or when a fifth of its life is left.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// While a token is still good, a failed renewal is tried again after this time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Gives out tokens for ARM. Clones share the token.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    entra: Entra,
    clock: Clock,
    observer: Arc<dyn RequestObserver>,
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
    /// A credential for `identity` in the cloud of `endpoint`. Nothing is asked yet. The timeout
    /// of `http` is the longest that a caller waits for Entra.
    #[must_use]
    pub fn new(
        identity: Identity,
        endpoint: &Endpoint,
        http: Client,
        clock: Clock,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        let entra = Entra::new(identity, endpoint, Arc::new(http), clock.clone());
        Self::of(entra, clock, observer)
    }

    pub(super) fn of(entra: Entra, clock: Clock, observer: Arc<dyn RequestObserver>) -> Self {
        Self(Arc::new(Inner {
            entra,
            clock,
            observer,
            state: RwLock::default(),
            asking: Mutex::default(),
        }))
    }

    /// Makes sure that there is a token: the way to check an identity before anything else.
    pub async fn check(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    /// Whom tokens are for: the tenant and its application. No secret.
    pub(super) fn principal(&self) -> String {
        let (tenant, client) = self.0.entra.identity().names();
        format!("{tenant}/{client}")
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
                let renewed = inner.ask().await;
                Ok(renewed.unwrap_or_else(|_| {
                    inner.postpone_renewal();
                    held.token
                }))
            }
            _ => inner.ask_unless_answered(asked).await,
        }
    }

    /// A token other than `refused`, which Azure did not accept.
    pub(super) async fn renew(&self, refused: &Token) -> Result<Token, Error> {
        let inner = &self.0;
        let (held, asked) = inner.look();
        match held {
            Some(held) if held.token != *refused => Ok(held.token),
            _ => inner.ask_unless_answered(asked).await,
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
    async fn ask_unless_answered(&self, asked: u64) -> Result<Token, Error> {
        let _asking = self.asking.lock().await;
        if let Some(answer) = self.answer_since(asked) {
            return answer;
        }
        self.ask().await
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

    async fn ask(&self) -> Result<Token, Error> {
        let started = self.clock.elapsed();
        let outcome = self.entra.ask().await;
        let now = self.clock.elapsed();
        let (status, error) = match &outcome {
            Ok(_) => (Some(200), None),
            Err(error) => (error.status(), Some(error.category())),
        };
        self.observer.request_ended(&EndedRequest {
            verb: "POST",
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

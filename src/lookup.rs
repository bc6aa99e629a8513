//! What a look at something found. A failed look is never taken for "absent".

use std::time::Duration;

use crate::api::Reason;

/// The outcome of looking at one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup<T> {
    Absent,
    Present(T),
    /// Nobody looked: nothing that follows needs it yet.
    NotAsked,
    /// The look itself failed; nothing follows for what was looked at.
    Unavailable(Trouble),
}

impl<T> Lookup<T> {
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::NotAsked | Self::Unavailable(_) => None,
        }
    }
}

/// Something that did not work, in the words that a user reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub reason: Reason,
    /// What failed, Azure's own code and request id, and what to do next.
    pub message: String,
    /// Trying again mends nothing: the user has to change something.
    pub lasting: bool,
    /// What the other side asked us to wait at least.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    pub fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            lasting: false,
            retry_after: None,
        }
    }

    /// The same, but tried again: nothing is given up while a cluster leaves.
    #[must_use]
    pub fn not_lasting(self) -> Self {
        Self {
            lasting: false,
            ..self
        }
    }

    /// What somebody else can do about it, where our own rights do not reach.
    #[must_use]
    pub fn with_remedy(mut self, remedy: &str) -> Self {
        if self.reason == Reason::AuthorizationFailed {
            self.message = format!("{}; {remedy}", self.message);
        }
        self
    }

    pub fn lasting(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            lasting: true,
            ..Self::passing(reason, message)
        }
    }
}

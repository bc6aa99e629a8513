//! What Azure lets one principal ask of one subscription, and who of us asks next
//! (docs/decisions/012-azure-budget.md).
//!
//! ARM counts reads, writes and deletes of a principal in token buckets and refuses what finds its
//! bucket empty. Here a request waits for its turn instead: the lane decides first, then the turn
//! of its cluster. [`bucket`], [`queue`] and [`allowance`] are pure, with time passed in; [`gate`]
//! is the way in for requests.

mod allowance;
mod bucket;
mod gate;
mod queue;

use std::sync::Arc;

use reqwest::Method;

pub use gate::Budgets;
pub(super) use gate::Slot;

/// How urgent a request is. Higher lanes go first, and the last tokens are kept for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Takes apart what costs money.
    Delete,
    /// Does what a manifest asks for.
    UserChange,
    /// Looks at what moves.
    Poll,
    /// Looks at what is settled, and mends what somebody else changed.
    Drift,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Delete, Self::UserChange, Self::Poll, Self::Drift];

    /// The lane as a label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::UserChange => "user_change",
            Self::Poll => "poll",
            Self::Drift => "drift",
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// How urgent it is.
    pub lane: Lane,
    /// For whom, so that inside a lane everybody has a turn. `None` is one more of them: those who
    /// ask for nobody in particular share a turn.
    pub cluster: Option<Arc<str>>,
}

impl Default for Errand {
    /// A look for nobody in particular.
    fn default() -> Self {
        Self {
            lane: Lane::Poll,
            cluster: None,
        }
    }
}

/// What ARM counts apart from each other (contract section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationType {
    /// GET.
    Read,
    /// PUT, PATCH and POST.
    Write,
    /// DELETE.
    Delete,
}

impl OperationType {
    /// Every type, at the place of its number.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    pub(super) fn of(verb: &Method) -> Self {
        match *verb {
            Method::GET | Method::HEAD => Self::Read,
            Method::DELETE => Self::Delete,
            _ => Self::Write,
        }
    }

    /// The type as ARM's headers and the labels of metrics name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Delete => "deletes",
        }
    }
}

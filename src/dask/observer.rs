//! Who wants to know about every look at a scheduler, so that it can be counted.

use super::wire::Retired;

/// The result of a look that was answered; that of others is [`Error::category`](super::Error::category).
pub const ANSWERED: &str = "ok";

/// Called on the poller's tasks, so it must not block.
pub trait SchedulerObserver: Send + Sync {
    /// Takes note of a look at a scheduler: [`ANSWERED`], or the error's category.
    fn polled(&self, result: &'static str);

    /// Takes note of what a scheduler answered that was asked to let workers go.
    fn retired(&self, answer: &Retired);
}

/// Takes note of nothing.
#[cfg(test)]
pub(super) struct Unobserved;

#[cfg(test)]
impl SchedulerObserver for Unobserved {
    fn polled(&self, _: &'static str) {}

    fn retired(&self, _: &Retired) {}
}

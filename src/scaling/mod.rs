//! How many workers, which to let go, and when to rest. Pure: a decision is a value that says why.

mod aim;
mod autoscale;
mod letting_go;
mod rest;
mod rollout;

pub use aim::Aim;
pub(crate) use aim::aim;
pub use autoscale::{Decision, Recommendations};
pub(crate) use letting_go::about;
pub use letting_go::{LettingGo, Waiting, letting_go};
pub(crate) use rollout::{pending_changes, updates};

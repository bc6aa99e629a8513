//! How many workers, which to let go, when to rest, and what it costs. Pure: a decision is a value that says why.

mod aim;
mod autoscale;
pub(crate) mod cost;
mod letting_go;
pub(crate) mod rest;
mod rollout;

pub use aim::Aim;
pub(crate) use aim::aim;
pub use autoscale::{Decision, Recommendations, Useful};
pub use letting_go::{LettingGo, Waiting, letting_go};
pub(crate) use letting_go::{about, closing};
pub use rest::end_all;
pub(crate) use rollout::{is_under_way, pending_changes, updates};

//! How many workers, which to let go, and when to rest. Pure: a decision is a value that says why.

mod aim;
mod autoscale;
mod letting_go;
mod rest;

pub use aim::Aim;
pub(crate) use aim::aim;
pub use autoscale::{Decision, Recommendations, Useful};
pub use letting_go::{LettingGo, letting_go};

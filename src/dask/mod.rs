//! The Dask scheduler over HTTP: the routes that our bootstrap adds to it, and the poller that asks them off the
//! reconcile path. What a scheduler answers is never trusted for ownership.

mod client;
mod error;
mod observer;
mod poller;
mod wire;

pub use client::DaskClient;
pub use error::Error;
pub use observer::{ANSWERED, SchedulerObserver};
pub use poller::{
    Poller, Retirement, RetirementOutcome, SchedulerSight, Silence, Target, WorkerSeen,
};
#[cfg(test)]
pub(crate) use wire::HOLDS_DATA;
pub(crate) use wire::job_of;
pub use wire::{Load, Retired, State, Worker};

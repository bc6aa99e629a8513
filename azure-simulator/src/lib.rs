//! Azure Machine Learning on one machine: Entra, ARM and the AML data plane over HTTPS, with
//! compute pools whose nodes boot and leave, and jobs that are real processes.
//!
//! - `simulator`, `world`, `timings`, `faults`: what users of the library see
//! - `server`, `routes`, `tls`: the wire; `exchange_log`, `meter`: what was seen on it
//! - `azure`, `documents`, `due`, `clock`: the state, changed in transactions, and its time
//! - `entra`, `arm`, `data_plane`, `storage`: the planes; `kinds`: what is special about a resource
//!   type
//! - `metadata`: what a virtual machine is told about itself
//! - `page`: what people look at
//! - `physics`: what happens by itself; `processes`: what happens outside; `pretend`: jobs that only
//!   pretend to run

mod answer;
mod arm;
mod azure;
mod behaviour;
mod cli;
mod clock;
mod control;
mod data_plane;
mod documents;
mod due;
mod entra;
mod exchange_log;
mod faults;
mod files;
mod given_out;
mod kinds;
mod metadata;
mod meter;
mod page;
mod physics;
mod place;
mod pretend;
mod problem;
mod processes;
mod resource_id;
mod routes;
mod server;
mod simulator;
mod storage;
mod texts;
mod timings;
mod tls;
mod world;

pub use cli::{Cli, CliError};
pub use clock::{NotAPace, Pace};
pub use entra::{JsonWebKey, JsonWebKeySet};
pub use faults::Fault;
pub use faults::action::{Action as FaultAction, FaultAnswer, RetryAfterForm};
pub use physics::node_addresses::NoFreeAddresses;
pub use place::Place;
pub use simulator::{Simulator, StartError};
pub use timings::Timings;
pub use tls::TlsError;
pub use world::{
    AfterLoss, Cancel, Client, DataMapping, EndOfJobs, EnvironmentMapping, FederatedCredential,
    Jobs, LongRunning, NetworkConflict, NodeAddressing, PoolNodeLimits, Unproven, Workspace, World,
    WorldError,
};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a thread that panicked while it held the lock is no reason to stop the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

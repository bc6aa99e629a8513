//! Jobs that only pretend: `--jobs pretend`, for load tests and nothing else.
//!
//! No process is started. A job that the operator calls a head is a stand-in for a Dask scheduler: it
//! publishes the tags that the real one publishes, and answers the HTTP routes that the operator's
//! bootstrap adds to it. A job that it calls a worker registers there, holds what it is told to hold,
//! and ends when it is retired, told to, or without its scheduler. Nothing is computed.
//! `tests/bootstrap/test_pretend.py` holds the stand-in against real Dask.

pub(crate) mod life;
pub(crate) mod listeners;
mod routes;
pub(crate) mod scheduler;

use std::collections::HashMap;
use std::net::Ipv4Addr;

use scheduler::Scheduler;

/// All stand-ins of a world.
#[derive(Debug, Default)]
pub(crate) struct Pretend {
    /// Schedulers by the key of their head's run.
    pub(crate) schedulers: HashMap<String, Scheduler>,
    /// The key of the head's run, by that of a worker's.
    heads: HashMap<String, String>,
}

/// Something to be done about the routes of a head.
#[derive(Debug)]
pub(crate) enum Order {
    /// Answer on this address.
    Listen { run: String, address: Ipv4Addr },
    /// The head is gone, and every connection with it.
    HangUp { run: String },
}

/// What a stand-in is told by the control port; what is absent stays as it is.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Told {
    /// Keys that the worker holds.
    pub(crate) keys: Option<u64>,
    /// Bytes of them.
    pub(crate) nbytes: Option<u64>,
    /// Tasks that it works on.
    pub(crate) processing: Option<u64>,
    /// Those among them that have seceded.
    pub(crate) long_running: Option<u64>,
    /// `running` or `paused`.
    pub(crate) status: Option<scheduler::Status>,
    /// Clients of the head's scheduler.
    pub(crate) clients: Option<u64>,
    /// Tasks that wait at the head's scheduler for any worker.
    pub(crate) queued: Option<u64>,
    /// Tasks that wait there for a worker that nobody is.
    pub(crate) unrunnable: Option<u64>,
    /// What the tasks that wait for any worker, and those that are worked on, still take of one thread.
    pub(crate) work_seconds: Option<f64>,
    /// How many workers the head's scheduler would like.
    pub(crate) adaptive_target: Option<u64>,
    /// It ends with this exit code.
    pub(crate) exit: Option<i64>,
}

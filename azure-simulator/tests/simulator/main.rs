//! The simulator as its clients see it: over the wire, and on the machine that it runs on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod client;
mod compute;
mod control;
mod data_plane;
mod entra;
mod faults;
mod fixtures;
mod instances;
mod job_inputs;
mod job_outputs;
mod jobs;
mod limits;
mod lists;
mod losses;
mod malformed;
mod meter;
mod namespace;
mod network;
mod page;
mod paths;
mod pools;
mod pretend;
mod processes;
mod run_history;
mod storage;
mod sturdy;
mod throttling;
mod time;
mod wire;
mod workspaces;

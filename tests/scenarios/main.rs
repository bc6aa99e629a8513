//! The real controller, in this process, between a real API server and a simulated Azure whose jobs
//! are real Dask processes.
//!
//! | file | what it shows |
//! |---|---|
//! | `create.rs` | from a manifest to Ready: what is written, how often, and what the status says |

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

#[path = "../support/control_plane.rs"]
mod control_plane;
mod harness;
mod kubernetes_calls;

mod create;

//! How an autoscaled cluster moves: one decision after the other, each told before the next.
//!
//! | file | what it shows |
//! |---|---|
//! | `properties.rs` | what holds of every series: load that changes, workers that die, nodes that are refused, answers that are late or missing, a clock that jumps |
//! | `replay.rs` | what is decided over series that were recorded from real Dask |
//! | `model.rs` | a pool and a scheduler that react to the decisions; `benches/scaling.rs` has the same |

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

mod model;
mod properties;
mod replay;
mod sight;

//! The CustomResourceDefinition on a real API server: what it takes, what it fills in, what it
//! refuses and in which words.
//!
//! | file | what it shows |
//! |---|---|
//! | `definition.rs` | the definition itself: no warning, no null, a maximum everywhere |
//! | `accepted.rs` | manifests that are taken, and the defaults that are filled in |
//! | `refused.rs` | each rule on what a manifest holds, broken once or more |
//! | `immutable.rs` | each rule on what may change: add, change, remove and null |

#[path = "../support/control_plane.rs"]
mod control_plane;
mod manifest;
mod server;

mod accepted;
mod definition;
mod immutable;
mod refused;

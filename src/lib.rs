//! The operator.

pub mod api;

//! How many workers, and which to let go. Pure: a decision is a value that says why.

mod letting_go;

pub use letting_go::{LettingGo, letting_go};

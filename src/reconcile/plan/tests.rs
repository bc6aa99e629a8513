//! Plans as golden text, one file a test in `golden/`; `UPDATE_GOLDEN=1` writes them anew.

mod children;
mod head_pool;
mod leaving;
mod lifecycle;
mod operations;
mod owning;
mod peerings;
mod policy;
mod rest;
mod trouble;
mod updates;

use std::path::Path;

use crate::reconcile::fixtures::World;

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test says whether to write golden texts anew"
)]
#[track_caller]
fn assert_plan(golden: &str, world: &World) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/reconcile/plan/golden")
        .join(golden)
        .with_extension("txt");
    let text = world.plan().to_string();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let held = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
    assert_eq!(text, held, "{}", path.display());
}

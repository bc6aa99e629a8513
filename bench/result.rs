//! What a benchmark has measured, for `bench/results`; shared by the benchmarks of both crates.

use std::path::Path;

use serde_json::{Value, json};

/// Writes `{name}.json` for the benchmark of a crate: its `result`, with the machine it was measured on.
pub(crate) fn write(name: &str, mut result: Value) -> std::io::Result<()> {
    result["machine"] = machine();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("bench/results"))
        .find(|folder| folder.is_dir())
        .ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::write(folder.join(format!("{name}.json")), format!("{result:#}\n"))
}

fn machine() -> Value {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    })
}

//! Series of `tests/series`, one JSON a line: seconds since the beginning, and what a real Dask scheduler had to do and
//! who its workers were. What was recorded does not react to what is decided; the golden files are the decisions.
//! `UPDATE_GOLDEN=1` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dask_azureml_operator::dask::{Load, Worker};
use serde::Deserialize;
use serde_json::json;

use crate::sight::Sight;

#[derive(Deserialize)]
struct Look {
    at: f64,
    load: Load,
    workers: Vec<Worker>,
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path)
}

/// Name and looks of every series.
fn series() -> Vec<(String, Vec<Look>)> {
    let mut found: Vec<_> = fs::read_dir(folder("series"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let looks = text.lines().map(|line| serde_json::from_str(line).unwrap());
            (name, looks.collect())
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Windows that fit series of a few minutes.
fn sight() -> Sight {
    let autoscaling = json!({
        "minReplicas": 0, "maxReplicas": 10, "targetDurationSeconds": 60,
        "scaleUpStabilizationSeconds": 10, "scaleDownStabilizationSeconds": 30,
        "maxScaleUpStep": 5, "maxScaleDownPercent": 50,
    });
    Sight::of(&autoscaling, false)
}

/// The slot of a recorded worker: its name counts from any number.
fn as_ours(workers: &[Worker]) -> Vec<Worker> {
    let slots = workers.iter().enumerate();
    let renamed = slots.map(|(slot, worker)| Worker {
        name: crate::sight::worker(Some(slot), 1, 0).name,
        ..worker.clone()
    });
    renamed.collect()
}

/// A line for each decision that status would tell, and how often the number turned round.
fn replay(looks: &[Look]) -> (String, Vec<u32>) {
    let mut sight = sight();
    // A recording begins before its workers do. Those that it begins with are wanted.
    let begin = looks.iter().position(|look| !look.workers.is_empty());
    let looks = &looks[begin.unwrap_or(0)..];
    let first = looks.iter().take_while(|look| look.at < looks[0].at + 3.0);
    let at_first = first.map(|look| look.workers.len()).max().unwrap_or(0);
    sight.observed.told.desired_replicas = Some(u32::try_from(at_first).unwrap());
    let mut told = String::new();
    let mut numbers = Vec::new();
    let mut caveat = None;
    for look in looks {
        sight.set_time(look.at);
        sight.set_jobs((0..look.workers.len()).map(|slot| (slot, "Running")));
        sight.set_answer(look.load.clone(), as_ours(&look.workers));
        let (decision, changed) = sight.decide();
        if changed || told.is_empty() || decision.caveat != caveat {
            writeln!(told, "{:>5.0} s  {}", look.at, decision.why).unwrap();
            caveat = decision.caveat;
        }
        if changed {
            numbers.push(decision.replicas);
        }
    }
    (told, numbers)
}

#[test]
fn recorded_series_lead_to_the_golden_decisions() {
    let series = series();
    assert!(series.len() >= 5, "the series are there");
    for (name, looks) in &series {
        let (told, numbers) = replay(looks);
        let golden = folder("scaling/golden").join(format!("{name}.txt"));
        if is_to_be_written() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        assert_eq!(told, expected, "{name}");
        let turns = numbers
            .windows(3)
            .filter(|three| (three[0] < three[1]) != (three[1] < three[2]))
            .count();
        assert!(turns <= 2, "{name} flaps: {numbers:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no settings but this one"
)]
fn is_to_be_written() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

//! One cluster from 1 worker to 99 and back, on an Azure without delays whose limits of requests are enforced.
//!
//! Says how long it takes from the change of the manifest until the last job is submitted, and until the last worker has
//! left in peace; the bucket of writes is full before each round. `make bench` writes `bench/results/breath.json`. Jobs only
//! pretend: no data is moved.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first surprise, and has the machine's own time"
)]

#[path = "../tests/support/control_plane.rs"]
mod control_plane;
#[path = "../tests/scenarios/harness.rs"]
mod harness;
#[path = "../tests/scenarios/kubernetes_calls.rs"]
mod kubernetes_calls;
#[path = "../bench/result.rs"]
mod result;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use azure_simulator::{Jobs, World};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use harness::Line;

const ROUNDS: usize = 5;
const FEW: u32 = 1;
const MANY: u32 = 99;

#[tokio::main]
async fn main() {
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let world = World {
        jobs: Jobs::Pretend,
        throttling: true,
        family_core_limits: BTreeMap::from([("standardDSv2Family".to_owned(), 100_000)]),
        total_core_limit: None,
        ..World::default().without_delays()
    };
    let line = Line::start_in(world).await;
    line.until_operator_is_ready().await;
    let mut manifest = line.manifest("breath", FEW);
    manifest["spec"]["compute"]["maxNodes"] = json!(100);
    line.apply(&manifest).await;
    line.wait_until_ready("breath").await;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        // The bucket of writes is full again: 200 at 10 a second.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let submitted = breathe(&line, MANY).await;
        let left = breathe(&line, FEW).await;
        eprintln!(
            "round {round} of {ROUNDS}: {MANY} submitted in {:.2} s, {FEW} left after {:.2} s",
            submitted.0.as_secs_f64(),
            left.0.as_secs_f64()
        );
        rounds.push((submitted, left));
    }
    let median = |of: fn(&(Breath, Breath)) -> Duration| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort();
        all[all.len() / 2].as_secs_f64()
    };
    let writes = |of: fn(&(Breath, Breath)) -> usize| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let result = json!({
        "what": format!("one cluster from {FEW} worker to {MANY} and back; the bucket of writes is full and holds 200"),
        "rounds": ROUNDS,
        "up": {
            "last_job_submitted_seconds": median(|(up, _)| up.0),
            "azure_writes": writes(|(up, _)| up.1),
        },
        "down": {
            "last_job_ended_seconds": median(|(_, down)| down.0),
            "azure_writes": writes(|(_, down)| down.1),
        },
    });
    println!("{result:#}");
    result::write("breath", result).expect("the results can be written");
}

/// How long it took, and how many writes Azure took for it.
type Breath = (Duration, usize);

/// Scales, and waits until so many worker jobs have neither ended nor are missing.
async fn breathe(line: &Line, replicas: u32) -> Breath {
    line.forget_requests();
    let patch: Patch<Value> = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let began = Instant::now();
    line.clusters()
        .patch_scale("breath", &PatchParams::default(), &patch)
        .await
        .expect("the scale subresource takes it");
    let deadline = Duration::from_secs(120);
    loop {
        let alive = line.worker_jobs_that_have_not_ended();
        if alive == replicas as usize {
            break;
        }
        assert!(began.elapsed() < deadline, "{alive} of {replicas}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    line.wait_for("breath", "the status tells it", |cluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| {
            status.replicas == Some(replicas)
                && status
                    .workers
                    .as_ref()
                    .is_some_and(|workers| workers.pending == 0)
        })
    })
    .await;
    (took, line.azure_writes().len())
}

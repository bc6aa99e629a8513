//! From the manifest to Ready on an Azure without delays, and beside it the same Dask processes started by hand.
//!
//! Says how long both take, what the operator wrote to Azure and how often it called Kubernetes. `make bench` prints a
//! table and writes `bench/results/apply_to_ready.json`.

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

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use harness::{Line, wait_for};

const WORKERS: u32 = 3;
const ROUNDS: usize = 5;

/// What one cluster cost.
struct Made {
    took: Duration,
    azure_writes: usize,
    azure_writes_repeated: usize,
    kubernetes_calls: usize,
    status_writes: usize,
    status_writes_unchanged: usize,
}

#[tokio::main]
async fn main() {
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut made = Vec::new();
    let mut by_hand = Vec::new();
    for round in 1..=ROUNDS {
        made.push(by_operator().await);
        by_hand.push(started_by_hand().await);
        eprintln!(
            "round {round} of {ROUNDS}: operator {:.2} s, by hand {:.2} s",
            made[round - 1].took.as_secs_f64(),
            by_hand[round - 1].as_secs_f64()
        );
    }
    report(&mut made, &mut by_hand);
}

async fn by_operator() -> Made {
    let line = Line::start().await;
    line.until_operator_is_ready().await;
    let manifest = line.manifest("bench", WORKERS);
    let started = Instant::now();
    line.apply(&manifest).await;
    line.wait_until_ready("bench").await;
    let took = started.elapsed();

    let writes = line.azure_writes();
    let mut distinct = writes.clone();
    distinct.sort();
    distinct.dedup();
    let calls = line.kube_calls();
    let status_writes: Vec<_> = calls.iter().filter(|call| call.is_status_write()).collect();
    let unchanged = status_writes
        .windows(2)
        .filter(|pair| pair[0].body == pair[1].body)
        .count();
    let made = Made {
        took,
        azure_writes: writes.len(),
        azure_writes_repeated: writes.len() - distinct.len(),
        kubernetes_calls: calls.len(),
        status_writes: status_writes.len(),
        status_writes_unchanged: unchanged,
    };
    line.delete("bench").await;
    line.wait_until_gone("bench").await;
    made
}

/// A scheduler and its workers, all started at once as a person would in a shell; until the last has registered.
async fn started_by_hand() -> Duration {
    let (port, dashboard) = (free_port(), free_port());
    let address = format!("tcp://127.0.0.1:{port}");
    let started = Instant::now();
    let mut processes = vec![dask(&[
        "scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--dashboard-address",
        &format!("127.0.0.1:{dashboard}"),
    ])];
    for _ in 0..WORKERS {
        processes.push(dask(&[
            "worker",
            &address,
            "--nthreads",
            "1",
            "--dashboard-address",
            "127.0.0.1:0",
        ]));
    }
    let counts = format!("http://127.0.0.1:{dashboard}/json/counts.json");
    let http = reqwest::Client::new();
    wait_for("all workers have registered", async || {
        let told = async { http.get(&counts).send().await?.json::<Value>().await }.await;
        match told {
            Ok(told) if told["workers"] == WORKERS => Ok(()),
            Ok(told) => Err(told.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let took = started.elapsed();
    for mut process in processes.into_iter().rev() {
        process
            .kill()
            .await
            .expect("a process of ours can be ended");
    }
    took
}

fn dask(arguments: &[&str]) -> Child {
    Command::new("python")
        .args(["-m", "dask"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("python is on the PATH, as `make bench` sees to")
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port of loopback is free")
        .port()
}

fn report(made: &mut [Made], by_hand: &mut [Duration]) {
    made.sort_by_key(|made| made.took);
    by_hand.sort();
    let (operator, hand) = (
        made[ROUNDS / 2].took.as_secs_f64(),
        by_hand[ROUNDS / 2].as_secs_f64(),
    );
    let most = |count: fn(&Made) -> usize| made.iter().map(count).max().unwrap_or_default();
    let result = json!({
        "what": "one cluster from apply to Ready on an Azure without delays, against the same Dask processes by hand",
        "workers": WORKERS,
        "rounds": ROUNDS,
        "operator_seconds": {"median": operator, "all": made.iter().map(|made| made.took.as_secs_f64()).collect::<Vec<_>>()},
        "by_hand_seconds": {"median": hand, "all": by_hand.iter().map(Duration::as_secs_f64).collect::<Vec<_>>()},
        "ratio": operator / hand,
        "azure_writes": most(|made| made.azure_writes),
        "azure_writes_repeated": most(|made| made.azure_writes_repeated),
        "kubernetes_calls": most(|made| made.kubernetes_calls),
        "status_writes": most(|made| made.status_writes),
        "status_writes_unchanged": most(|made| made.status_writes_unchanged),
    });
    let rows = [
        ("apply to Ready, median (s)", format!("{operator:.2}"), ""),
        (
            "the same processes by hand, median (s)",
            format!("{hand:.2}"),
            "",
        ),
        ("ratio", format!("{:.2}", operator / hand), "<= 2"),
        (
            "Azure writes",
            result["azure_writes"].to_string(),
            "8, each once",
        ),
        (
            "… repeated",
            result["azure_writes_repeated"].to_string(),
            "0",
        ),
        (
            "Kubernetes API calls",
            result["kubernetes_calls"].to_string(),
            "<= 10",
        ),
        ("status writes", result["status_writes"].to_string(), ""),
        (
            "… that change nothing",
            result["status_writes_unchanged"].to_string(),
            "0",
        ),
    ];
    println!("{:40} {:>8}  goal", "measure (most of all rounds)", "value");
    for (measure, value, goal) in rows {
        println!("{measure:40} {value:>8}  {goal}");
    }
    result::write("apply_to_ready", result).expect("the results can be written");
}

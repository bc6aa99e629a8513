//! Many clusters of one principal within Azure's rate limit, alone and beside somebody who takes half of it.
//!
//! Time is simulated on both sides, so seconds are Azure's. `make bench` prints a table and writes
//! `bench/results/azure_budget.json`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first surprise, and has the machine's own time"
)]

#[path = "../tests/azure_budget/traffic.rs"]
mod traffic;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dask_azureml_operator::azure::Lane;
use serde_json::{Value, json};

use traffic::{Done, Traffic, widest_gap};

struct Load {
    name: &'static str,
    clusters: usize,
    /// Of each cluster.
    writes: usize,
    /// Of somebody else, each second.
    strangers: usize,
}

const LOADS: [Load; 4] = [
    Load {
        name: "50 clusters x 40 writes, alone",
        clusters: 50,
        writes: 40,
        strangers: 0,
    },
    Load {
        name: "50 clusters x 40 writes, beside 5 writes a second of somebody else",
        clusters: 50,
        writes: 40,
        strangers: 5,
    },
    // A network, a subnet, a pool, an environment, a head and four workers.
    Load {
        name: "200 clusters x 9 writes, alone",
        clusters: 200,
        writes: 9,
        strangers: 0,
    },
    Load {
        name: "200 clusters x 9 writes, beside 5 writes a second of somebody else",
        clusters: 200,
        writes: 9,
        strangers: 5,
    },
];

/// By then the full bucket of the start is spent.
const SPENT: usize = 300;

// On one thread time moves only when everybody has reacted to what happened.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut results = Vec::new();
    for load in &LOADS {
        let result = measure(load).await;
        println!("{}", load.name);
        for (measure, value) in result.as_object().unwrap() {
            println!("    {measure:48} {value}");
        }
        results.push(json!({"load": load.name, "measured": result}));
    }
    let result = json!({
        "what": "writes of many clusters of one principal through the budget, against enforced buckets of 200 and 10 a second, in simulated time",
        "loads": results,
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results");
    std::fs::create_dir_all(&folder).expect("the results' folder can be made");
    let text = serde_json::to_string_pretty(&result).expect("numbers and text");
    std::fs::write(folder.join("azure_budget.json"), text + "\n")
        .expect("the results can be written");
}

async fn measure(load: &Load) -> Value {
    let traffic = Traffic::start().await;
    let wishes: BTreeMap<String, usize> = (0..load.clusters)
        .map(|number| (format!("cluster-{number:03}"), load.writes))
        .collect();
    let clusters = wishes
        .iter()
        .map(|(name, count)| traffic.write(name.clone(), Lane::UserChange, *count));
    let when_spent = async |name: &str, lane| {
        while traffic.seen().count() < SPENT {
            tokio::task::yield_now().await;
        }
        traffic.write(name.to_owned(), lane, 1).await;
    };
    let started = Instant::now();
    let strangers = traffic
        .pass_time_during(load.strangers, async {
            tokio::join!(
                futures::future::join_all(clusters),
                when_spent("small", Lane::UserChange),
                when_spent("leaving", Lane::Delete),
            );
        })
        .await;
    let real = started.elapsed();
    let seen = traffic.seen();
    let done = seen.done();
    let last = done.last().unwrap().at;
    let took = |name: &str| seconds(done.iter().find(|done| done.cluster == name).unwrap().took);
    json!({
        "writes": done.len(),
        "seconds": seconds(last),
        "writes_of_somebody_else": strangers,
        "refused_with_429": seen.throttled.load(Ordering::SeqCst),
        "postponed": seen.postponed.load(Ordering::SeqCst),
        "wait_of_a_cluster_of_one_that_comes_late_seconds": took("small"),
        "wait_of_a_delete_that_comes_late_seconds": took("leaving"),
        "widest_gap_between_clusters_writes": widest_gap(&done, &wishes),
        "first_and_last_cluster_done_seconds": ends(&done),
        "real_seconds": seconds(real),
    })
}

/// When the first cluster of many writes had all of them, and when the last one had.
fn ends(done: &[Done]) -> [f64; 2] {
    let mut ends: BTreeMap<&str, Duration> = BTreeMap::new();
    for done in done
        .iter()
        .filter(|done| done.cluster.starts_with("cluster"))
    {
        ends.insert(&done.cluster, done.at);
    }
    let (first, last) = (ends.values().min(), ends.values().max());
    [*first.unwrap(), *last.unwrap()].map(seconds)
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}

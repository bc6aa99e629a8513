//! Two hundred clusters with four workers each on one workspace whose limits of requests are enforced.
//!
//! First alone on the identity, then at rest, then beside somebody who eats half of the budget. `make bench` prints a
//! table and writes `bench/results/fleet.json`. Jobs only pretend: nothing is computed.

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
#[path = "../tests/scenarios/owner.rs"]
mod owner;
#[path = "../bench/result.rs"]
mod result;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use azure_simulator::{Jobs, World};
use kube::api::ListParams;
use serde_json::{Value, json};

use harness::{Line, is_ready};
use owner::Owner;

const CLUSTERS: usize = 200;
const WORKERS: u32 = 4;
/// Clusters that are made beside the one who eats half of the budget.
const CLUSTERS_BESIDE_ANOTHER: usize = 50;
const AT_REST: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() {
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let world = World {
        jobs: Jobs::Pretend,
        throttling: true,
        cluster_limit: 2500,
        family_core_limits: BTreeMap::from([("standardDSv2Family".to_owned(), 100_000)]),
        total_core_limit: None,
        ..World::default().without_delays()
    };
    let line = Line::start_in(world).await;
    line.until_operator_is_ready().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    line.azure.reset_meter();

    let started = Instant::now();
    for number in 0..CLUSTERS {
        line.apply(&manifest(&line, &format!("fleet-{number:03}")))
            .await;
    }
    let applied = started.elapsed();
    until_ready(&line, CLUSTERS).await;
    let took = started.elapsed();
    let alone = Cost::of(&line);

    // What was still on its way comes to rest.
    tokio::time::sleep(Duration::from_secs(60)).await;
    line.forget_requests();
    line.azure.reset_meter();
    tokio::time::sleep(AT_REST).await;
    let at_rest = Cost::of(&line);
    let calls = line.kube_calls();
    let kubernetes_writes = calls.iter().filter(|call| call.is_write()).count();

    line.forget_requests();
    line.azure.reset_meter();
    let another = tokio::spawn(owner.eats_half_of_the_budget());
    let started = Instant::now();
    for number in 0..CLUSTERS_BESIDE_ANOTHER {
        line.apply(&manifest(&line, &format!("beside-{number:03}")))
            .await;
    }
    until_ready(&line, CLUSTERS + CLUSTERS_BESIDE_ANOTHER).await;
    let took_beside = started.elapsed();
    another.abort();
    let beside = Cost::of(&line);

    let bound = bound(CLUSTERS);
    let result = json!({
        "what": "clusters with four workers each (pool and five jobs) on one workspace with Azure's limits of requests",
        "clusters": CLUSTERS,
        "alone": {
            "seconds": took.as_secs_f64(),
            "seconds_to_apply": applied.as_secs_f64(),
            "bound_seconds": bound.as_secs_f64(),
            "ratio": took.as_secs_f64() / bound.as_secs_f64(),
            "cost": alone.json(),
        },
        "at_rest": {
            "seconds": AT_REST.as_secs_f64(),
            "reads_per_minute": per_minute(at_rest.reads),
            "kubernetes_writes": kubernetes_writes,
            "cost": at_rest.json(),
        },
        "beside_another_who_eats_half": {
            "clusters": CLUSTERS_BESIDE_ANOTHER,
            "seconds": took_beside.as_secs_f64(),
            "throttled_of_ours_percent": 100.0 * beside.throttled_of_ours() / beside.requests_of_ours(),
            "cost": beside.json(),
        },
    });
    println!("{result:#}");
    result::write("fleet", result).expect("the results can be written");
}

fn manifest(line: &Line, name: &str) -> Value {
    let mut manifest = line.manifest(name, WORKERS);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.insert(
        "network".to_owned(),
        json!({
            "virtualNetwork": {"name": "shared-vnet"},
            "subnet": {"name": "default"},
            "creationPolicy": "UseExisting",
        }),
    );
    // Each has a pool of its own, of a name that is derived.
    manifest["spec"]["compute"] = json!({"vmSize": "STANDARD_DS13_V2", "maxNodes": 10});
    manifest
}

/// Every write once, and a listing of nodes for each cluster, at ARM's rate after the burst that it grants.
fn bound(clusters: usize) -> Duration {
    let writes = clusters * (1 + 1 + WORKERS as usize + 1) + 1;
    Duration::from_secs_f64(writes.saturating_sub(200) as f64 / 10.0)
}

async fn until_ready(line: &Line, count: usize) {
    let begun = Instant::now();
    let mut told = 0;
    loop {
        let clusters = line.clusters().list(&ListParams::default()).await.unwrap();
        let ready = clusters.iter().filter(|cluster| is_ready(cluster)).count();
        if ready == count {
            return;
        }
        if ready / 25 != told {
            told = ready / 25;
            eprintln!(
                "{ready} of {count} are Ready after {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
        assert!(
            begun.elapsed() < Duration::from_secs(1200),
            "{ready} of {count} are Ready"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn per_minute(count: usize) -> f64 {
    count as f64 * 60.0 / AT_REST.as_secs_f64()
}

/// Requests to ARM since they were last forgotten.
#[derive(Default)]
struct Cost {
    reads: usize,
    /// POSTs that only read, which ARM counts as writes: jobs of the simulator publish loopback addresses, which lie in
    /// no subnet.
    listings_of_nodes: usize,
    writes: usize,
    repeated: usize,
    throttled: usize,
    of_another: usize,
    throttled_of_another: usize,
}

impl Cost {
    fn of(line: &Line) -> Self {
        let mut cost = Self::default();
        let mut written: BTreeMap<String, usize> = BTreeMap::new();
        for exchange in line.exchanges() {
            let (request, answer) = (&exchange["request"], &exchange["answer"]);
            let (method, path) = (request["method"].as_str(), request["path"].as_str());
            let (Some(method), Some(path)) = (method, path) else {
                continue;
            };
            if !path.starts_with("/subscriptions/") {
                continue;
            }
            let throttled = answer["status"] == 429;
            if path.contains(owner::EATEN) {
                cost.of_another += 1;
                cost.throttled_of_another += usize::from(throttled);
                continue;
            }
            cost.throttled += usize::from(throttled);
            if path.ends_with("/listNodes") {
                cost.listings_of_nodes += 1;
            } else if method == "GET" {
                cost.reads += 1;
            } else if !throttled {
                cost.writes += 1;
                *written.entry(format!("{method} {path}")).or_default() += 1;
            }
        }
        cost.repeated = written.values().filter(|times| **times > 1).count();
        cost
    }

    fn requests_of_ours(&self) -> f64 {
        (self.reads + self.listings_of_nodes + self.writes + self.throttled) as f64
    }

    fn throttled_of_ours(&self) -> f64 {
        self.throttled as f64
    }

    fn json(&self) -> Value {
        json!({
            "reads": self.reads,
            "listings_of_nodes": self.listings_of_nodes,
            "writes": self.writes,
            "writes_repeated": self.repeated,
            "throttled": self.throttled,
            "requests_of_another": self.of_another,
            "throttled_of_another": self.throttled_of_another,
        })
    }
}

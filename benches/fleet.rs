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
    // A subnet with an address for each of 1,250 nodes.
    let network = owner.network("fleet-vnet");
    let body = json!({
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": ["10.32.0.0/16"]}},
    });
    network.put(body).await;
    let subnet = json!({"properties": {"addressPrefix": "10.32.0.0/20"}});
    network.child("subnets", "default").put(subnet).await;

    let started = Instant::now();
    for number in 0..CLUSTERS {
        line.apply(&manifest(&line, &format!("fleet-{number:03}")))
            .await;
    }
    let applied = started.elapsed();
    until_ready(&line, CLUSTERS).await;
    let took = started.elapsed();
    let alone = Cost::so_far(&line).await;

    // What was still on its way comes to rest.
    tokio::time::sleep(Duration::from_secs(60)).await;
    line.forget_requests();
    let before = Cost::so_far(&line).await;
    tokio::time::sleep(AT_REST).await;
    let at_rest = Cost::so_far(&line).await.since(before);
    let calls = line.kube_calls();
    let kubernetes_writes = calls.iter().filter(|call| call.is_write()).count();

    let before = Cost::so_far(&line).await;
    let another = tokio::spawn(owner.eats_half_of_the_budget());
    let started = Instant::now();
    for number in 0..CLUSTERS_BESIDE_ANOTHER {
        line.apply(&manifest(&line, &format!("beside-{number:03}")))
            .await;
    }
    until_ready(&line, CLUSTERS + CLUSTERS_BESIDE_ANOTHER).await;
    let took_beside = started.elapsed();
    another.abort();
    let beside = Cost::so_far(&line).await.since(before);

    let bound = bound(alone);
    let result = json!({
        "what": "clusters with four workers each (pool and five jobs) on one workspace with Azure's limits of requests",
        "clusters": CLUSTERS,
        "alone": {
            "seconds": took.as_secs_f64(),
            "seconds_to_apply": applied.as_secs_f64(),
            "bound_seconds": bound.as_secs_f64(),
            "ratio": took.as_secs_f64() / bound.as_secs_f64(),
            "cost": alone.json(once(CLUSTERS) + 1),
        },
        "at_rest": {
            "seconds": AT_REST.as_secs_f64(),
            "reads_per_minute": per_minute(at_rest.reads),
            "kubernetes_writes": kubernetes_writes,
            "cost": at_rest.json(0),
        },
        "beside_another_who_eats_half": {
            "clusters": CLUSTERS_BESIDE_ANOTHER,
            "seconds": took_beside.as_secs_f64(),
            "throttled_of_ours_percent": 100.0 * beside.throttled as f64 / beside.requests() as f64,
            "cost": beside.json(once(CLUSTERS_BESIDE_ANOTHER)),
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
            "virtualNetwork": {"name": "fleet-vnet"},
            "subnet": {"name": "default"},
            "creationPolicy": "UseExisting",
        }),
    );
    // Each has a pool of its own, of a name that is derived.
    manifest["spec"]["compute"] = json!({"vmSize": "STANDARD_DS13_V2", "maxNodes": 10});
    manifest
}

/// So many writes make each pool and job once.
fn once(clusters: usize) -> u64 {
    (clusters * (1 + 1 + WORKERS as usize)) as u64
}

/// How long ARM's bucket of writes takes for what was sent: at its rate, after the burst that it grants.
fn bound(cost: Cost) -> Duration {
    let sent = cost.writes + cost.listings_of_nodes;
    Duration::from_secs_f64(sent.saturating_sub(200) as f64 / 10.0)
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

fn per_minute(count: u64) -> f64 {
    count as f64 * 60.0 / AT_REST.as_secs_f64()
}

/// What the operator asked of ARM, by its own count, and how it was answered.
#[derive(Clone, Copy, Default)]
struct Cost {
    reads: u64,
    /// POSTs that only read, which ARM counts as writes: jobs of the simulator publish loopback addresses, which lie in
    /// no subnet.
    listings_of_nodes: u64,
    writes: u64,
    throttled: u64,
}

impl Cost {
    async fn so_far(line: &Line) -> Self {
        let mut cost = Self::default();
        for (labels, count) in line.metric("dask_azureml_azure_requests_total").await {
            if !labels.contains("target=\"Microsoft.") {
                continue;
            }
            let of = if labels.contains("status=\"429\"") {
                &mut cost.throttled
            } else if labels.contains("verb=\"GET\"") {
                &mut cost.reads
            } else if labels.contains("verb=\"POST\"") && labels.contains("/computes\"") {
                &mut cost.listings_of_nodes
            } else {
                &mut cost.writes
            };
            *of += count;
        }
        cost
    }

    fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            listings_of_nodes: self.listings_of_nodes - before.listings_of_nodes,
            writes: self.writes - before.writes,
            throttled: self.throttled - before.throttled,
        }
    }

    fn requests(self) -> u64 {
        self.reads + self.listings_of_nodes + self.writes + self.throttled
    }

    /// `once`: how many writes make each thing once.
    fn json(self, once: u64) -> Value {
        json!({
            "reads": self.reads,
            "listings_of_nodes": self.listings_of_nodes,
            "writes": self.writes,
            "writes_beyond_once": self.writes.saturating_sub(once),
            "throttled": self.throttled,
        })
    }
}

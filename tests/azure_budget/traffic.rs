//! Clusters that write to a simulated Azure with enforced buckets, all as one principal, as the
//! operator does it: side by side, and again when a write was sent away. Time is both sides' own
//! and moves only when nothing is under way.

#![allow(dead_code, reason = "tests and bench read different figures")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_simulator::{Simulator, World};
use dask_azureml_operator::azure::{
    AdmittedRequest, ArmClient, Budgets, Class, Credential, EndedRequest, Endpoint, Errand,
    HttpSettings, Identity, Lane, OperationType, RequestObserver, ResourceId, Retry, Roots,
    TokenSources, WithoutKubernetes, http_client,
};
use dask_azureml_operator::clock::{Clock, ManualClock};
use futures::StreamExt as _;
use serde_json::{Value, json};

const API_VERSION: &str = "2025-12-01";

/// As many requests of one cluster are under way at once as the operator sends.
const SIDE_BY_SIDE: usize = 8;

/// By so much time moves at once.
const TICK: Duration = Duration::from_millis(100);

/// A simulated Azure with enforced buckets, one principal, and the time of both.
pub(crate) struct Traffic {
    pub(crate) azure: Simulator,
    hand: ManualClock,
    clock: Clock,
    client: ArmClient,
    http: reqwest::Client,
    seen: Arc<Seen>,
}

/// What the clusters' own requests came to.
#[derive(Default)]
pub(crate) struct Seen {
    under_way: AtomicUsize,
    pub(crate) sent: AtomicUsize,
    pub(crate) throttled: AtomicUsize,
    pub(crate) postponed: AtomicUsize,
    done: Mutex<Vec<Done>>,
}

/// A write that Azure took.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) cluster: String,
    pub(crate) lane: Lane,
    /// Since the start.
    pub(crate) at: Duration,
    /// Since its cluster wanted it.
    pub(crate) took: Duration,
}

impl RequestObserver for Seen {
    fn request_ended(&self, request: &EndedRequest<'_>) {
        if request.target != "token" {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn request_admitted(&self, _: &AdmittedRequest) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    fn request_postponed(&self, _: Lane, _: OperationType) {
        self.postponed.fetch_add(1, Ordering::SeqCst);
    }

    fn request_throttled(&self, _: OperationType) {
        self.throttled.fetch_add(1, Ordering::SeqCst);
    }
}

impl Seen {
    /// In the order in which Azure took them.
    pub(crate) fn done(&self) -> Vec<Done> {
        self.done.lock().expect("no writer panics").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.done.lock().expect("no writer panics").len()
    }
}

impl Traffic {
    pub(crate) async fn start() -> Self {
        // Whoever is first in this process has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World {
            throttling: true,
            ..World::default().without_delays().with_manual_time()
        };
        let azure = Simulator::start(world).await.expect("free ports");
        let hand = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().expect("a time"));
        let clock = hand.clock();
        let seen = Arc::new(Seen::default());
        let arm = azure.arm_url();
        let endpoint = Endpoint::new(Some(&arm), Some(&arm), None).expect("an address");
        let http = http_client(&HttpSettings {
            roots: Roots::File(azure.directory().join("ca.crt")),
            ..HttpSettings::default()
        })
        .expect("an HTTP client");
        let env = azure.env();
        let identity =
            Identity::from_secret("weather", |key| env.get(key).cloned()).expect("an identity");
        let observer: Arc<dyn RequestObserver> = seen.clone();
        let sources = TokenSources::new(http.clone(), None, Arc::new(WithoutKubernetes))
            .expect("an HTTP client without TLS");
        let credential = Credential::new(
            identity,
            &endpoint,
            sources,
            clock.clone(),
            observer.clone(),
        );
        let budgets = Budgets::new(clock.clone(), observer.clone());
        let client = ArmClient::new(
            endpoint,
            credential,
            http.clone(),
            clock.clone(),
            observer,
            budgets,
        );
        Self {
            azure,
            hand,
            clock,
            client,
            http,
            seen,
        }
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// `count` writes of a cluster, as many side by side as one has.
    pub(crate) async fn write(&self, cluster: String, lane: Lane, count: usize) {
        let workspace: ResourceId = self.azure.workspace_id().parse().expect("an id");
        let client = self.client.on_errand(Errand {
            lane,
            cluster: Some(cluster.as_str().into()),
        });
        let wanted = self.clock.elapsed();
        futures::stream::iter(0..count)
            .for_each_concurrent(SIDE_BY_SIDE, |number| {
                let (client, cluster) = (&client, &cluster);
                let asset = workspace
                    .child("data", &format!("{cluster}-{number}"))
                    .and_then(|asset| asset.child("versions", "1"))
                    .expect("a name");
                async move {
                    self.put(client, &asset).await;
                    let at = self.clock.elapsed();
                    let done = Done {
                        cluster: cluster.clone(),
                        lane,
                        at,
                        took: at - wanted,
                    };
                    self.seen.done.lock().expect("no writer panics").push(done);
                }
            })
            .await;
    }

    async fn put(&self, client: &ArmClient, id: &ResourceId) {
        loop {
            let error = match client.put(id, API_VERSION, &asset()).await {
                Ok(_) => return,
                Err(error) => error,
            };
            let wait = match (error.class(), error.retry()) {
                (Class::OutOfBudget | Class::Throttled, Retry::After(wait)) => wait,
                other => panic!("{other:?}: {error}"),
            };
            self.clock.sleep(wait).await;
        }
    }

    /// Lets time pass while `work` is done. Each second somebody else, who has no manners, sends
    /// `strangers` writes as the same principal; says how many of these Azure took.
    pub(crate) async fn pass_time_during(
        &self,
        strangers: usize,
        work: impl Future<Output = ()>,
    ) -> usize {
        let mut work = std::pin::pin!(work);
        let token = self.token().await;
        let mut taken = 0;
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = &mut work => return taken,
                () = self.quiet() => {}
            }
            if ticks.is_multiple_of(10) {
                for _ in 0..strangers {
                    taken += usize::from(self.strangers_write(&token).await);
                }
            }
            ticks += 1;
            // Azure's time first: the operator never thinks that more has passed.
            self.azure.advance(TICK).await;
            self.hand.advance(TICK);
        }
    }

    /// Until every request that was let through has its answer.
    async fn quiet(&self) {
        let mut quiet = 0;
        while quiet < 20 {
            tokio::task::yield_now().await;
            let is_quiet = self.seen.under_way.load(Ordering::SeqCst) == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    async fn token(&self) -> String {
        let env = self.azure.env();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &env["AZURE_CLIENT_ID"]),
            ("client_secret", &env["AZURE_CLIENT_SECRET"]),
            ("scope", "https://management.azure.com/.default"),
        ];
        let tenant = &env["AZURE_TENANT_ID"];
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.azure.arm_url());
        let answer = self.http.post(url).form(&form).send().await;
        let answer: Value = answer.expect("an answer").json().await.expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    async fn strangers_write(&self, token: &str) -> bool {
        let path = format!("{}/data/stranger/versions/1", self.azure.workspace_id());
        let url = format!("{}{path}?api-version={API_VERSION}", self.azure.arm_url());
        let request = self.http.put(url).bearer_auth(token).json(&asset());
        let answer = request.send().await.expect("an answer");
        answer.status().is_success()
    }
}

fn asset() -> Value {
    json!({"properties": {"dataType": "uri_folder", "dataUri": "https://x.test/y"}})
}

/// By how many writes the cluster that had most of its own done was ever ahead of the one that had
/// fewest, as long as both still wanted more. `wanted` is how many each wants.
pub(crate) fn widest_gap(done: &[Done], wanted: &BTreeMap<String, usize>) -> usize {
    let mut left = wanted.clone();
    let mut had: BTreeMap<&str, usize> = wanted.keys().map(|name| (name.as_str(), 0)).collect();
    let mut widest = 0;
    for done in done {
        let Some(left_of) = left.get_mut(&done.cluster) else {
            continue;
        };
        *left_of -= 1;
        *had.entry(&done.cluster).or_default() += 1;
        if *left_of == 0 {
            left.remove(&done.cluster);
        }
        let unfinished = || left.keys().map(|name| had[name.as_str()]);
        if let (Some(most), Some(fewest)) = (unfinished().max(), unfinished().min()) {
            widest = widest.max(most - fewest);
        }
    }
    widest
}

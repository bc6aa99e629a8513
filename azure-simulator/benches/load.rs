//! How fast the simulator is and how much it holds: `cargo bench -p azure-simulator -- [NAME…]`.
//!
//! Names are `gets`, `clusters`, `processes`. Where none is given, all of them are measured and
//! `bench/results/azure_simulator_load.json` is written. Nothing here fails for being slow: the numbers
//! are for reading.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and ends where something goes wrong"
)]

#[path = "../../bench/result.rs"]
mod result;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_simulator::{Simulator, Timings, World};
use futures::future::join_all;
use reqwest::{Certificate, Method};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const CLUSTERS: usize = 1000;
const JOBS_OF_A_CLUSTER: usize = 10;
/// Characters of the program that each job of the operator carries.
const PROGRAM: usize = 20_000;
const PROCESSES: usize = 100;
const CONNECTIONS: usize = 8;
/// For how long GETs are sent.
const MEASURED: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !named("--bench") {
        return;
    }
    let all = arguments.iter().all(|argument| argument.starts_with('-'));
    let wanted = |name: &str| all || named(name);
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("another cryptography provider was installed before");
    }
    let mut measured = json!({"what": "how fast azure-simulator is, and how much it holds"});
    if wanted("gets") {
        measured["gets"] = gets();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if wanted("clusters") {
        measured["clusters"] = runtime.block_on(clusters());
    }
    if wanted("processes") {
        measured["processes"] = runtime.block_on(processes());
    }
    println!("{measured:#}");
    if all {
        result::write("azure_simulator_load", measured).unwrap();
    }
}

struct Client {
    http: reqwest::Client,
    arm: String,
    token: String,
    workspace: String,
}

impl Client {
    async fn of(simulator: &Simulator) -> Self {
        let ca = Certificate::from_pem(simulator.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .http1_only()
            .no_proxy()
            .build()
            .unwrap();
        let env = simulator.env();
        let form = [
            ("client_id", env["AZURE_CLIENT_ID"].as_str()),
            ("client_secret", &env["AZURE_CLIENT_SECRET"]),
            ("grant_type", "client_credentials"),
            ("scope", "https://management.azure.com/.default"),
        ];
        let url = format!(
            "{}{}/oauth2/v2.0/token",
            env["AZURE_AUTHORITY_HOST"], env["AZURE_TENANT_ID"]
        );
        let answer = http.post(url).form(&form).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        Self {
            http,
            arm: simulator.arm_url(),
            token: answer["access_token"].as_str().unwrap().to_owned(),
            workspace: simulator.workspace_id(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}{}/{path}?api-version=2025-12-01",
            self.arm, self.workspace
        )
    }

    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Value {
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn put(&self, path: &str, body: &Value) {
        self.send(Method::PUT, &self.url(path), Some(body)).await;
    }

    async fn get(&self, url: &str) -> Value {
        self.send(Method::GET, url, None).await
    }

    async fn make_pool(&self, name: &str, most: usize) {
        let scale = json!({"minNodeCount": 0, "maxNodeCount": most});
        let inner = json!({"vmSize": "Standard_DS3_v2", "scaleSettings": scale});
        let properties = json!({"computeType": "AmlCompute", "properties": inner});
        let tags = json!({"dask-azureml-owner": name});
        let body = json!({"location": "eastus", "tags": tags, "properties": properties});
        self.put(&format!("computes/{name}"), &body).await;
    }

    async fn make_environment(&self) {
        let body = json!({"properties": {"image": "i"}});
        self.put("environments/plain/versions/1", &body).await;
    }

    fn job(&self, pool: &str, command: &str, variables: &Value) -> Value {
        json!({"properties": {
            "jobType": "Command",
            "command": command,
            "computeId": format!("{}/computes/{pool}", self.workspace),
            "environmentId": format!("{}/environments/plain/versions/1", self.workspace),
            "environmentVariables": variables,
        }})
    }
}

/// Resident memory of this process in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<f64>().unwrap() / 1024.0
}

/// GETs of a compute over keep-alive TLS. The simulator has a runtime of one thread, and so one core; the
/// clients are threads that do no more than HTTP asks of them. On a machine that is busy with other things,
/// clients included, the requests a second are what was left over; `a_second_of_its_core` is what the
/// simulator's thread does in a second of processor time, as the kernel counts it.
fn gets() -> Value {
    let (started, simulator) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let one_thread = std::thread::spawn(move || {
        let mut one = tokio::runtime::Builder::new_current_thread();
        one.enable_all().build().unwrap().block_on(async {
            let world = World::default().without_delays();
            let simulator = Simulator::start(world).await.unwrap();
            let client = Client::of(&simulator).await;
            client.make_pool("pool", 1).await;
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            let ca = simulator.ca_pem().to_owned();
            started.send((client, ca, thread)).unwrap();
            ended.await.unwrap_err();
        });
    });
    let (client, ca, thread) = simulator.recv().unwrap();
    let thread = Path::new("/proc").join(thread);
    let used = cpu_of(&thread);
    let begun = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut connection = Connection::to(&client, &ca);
            std::thread::spawn(move || {
                let mut count: u64 = 0;
                while begun.elapsed() < MEASURED {
                    connection.get();
                    count += 1;
                }
                (count, cpu_of("/proc/thread-self".as_ref()))
            })
        })
        .collect();
    let clients: Vec<_> = clients.into_iter().map(|one| one.join().unwrap()).collect();
    let took = begun.elapsed();
    let cores = (cpu_of(&thread) - used).div_duration_f64(took);
    drop(end);
    one_thread.join().unwrap();
    let count: u64 = clients.iter().map(|(count, _)| count).sum();
    let of_clients: Duration = clients.iter().map(|(_, used)| *used).sum();
    let a_second = count as f64 / took.as_secs_f64();
    json!({
        "connections": CONNECTIONS,
        "goal_a_second_of_its_core": 3000,
        "a_second_of_its_core": (a_second / cores).round(),
        "a_second": a_second.round(),
        "cores_of_the_simulator": rounded(cores),
        "cores_of_the_clients": rounded(of_clients.div_duration_f64(took)),
    })
}

/// A client that costs little beside what it measures: one request, again and again.
struct Connection {
    tls: StreamOwned<ClientConnection, TcpStream>,
    request: Vec<u8>,
}

impl Connection {
    fn to(client: &Client, ca: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let settings = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let authority = client.arm.trim_start_matches("https://");
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::new(settings), name).unwrap();
        let tcp = TcpStream::connect(authority).unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = client.url("computes/pool");
        let path = url.strip_prefix(&client.arm).unwrap();
        let token = &client.token;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        Self {
            tls: StreamOwned::new(tls, tcp),
            request: request.into_bytes(),
        }
    }

    fn get(&mut self) {
        self.tls.write_all(&self.request).unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let read = self.tls.read(&mut part).unwrap();
            assert_ne!(read, 0, "the connection was closed");
            answer.extend_from_slice(&part[..read]);
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let head = std::str::from_utf8(&answer[..end]).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if answer.len() >= end + 4 + length.unwrap() {
                return;
            }
        }
    }
}

/// What a thread has had of the processors, by its folder in `/proc`.
fn cpu_of(thread: &Path) -> Duration {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// To hundredths: the rest is noise.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The memory of many clusters whose jobs pretend to run, and a LIST of all their jobs.
async fn clusters() -> Value {
    let mut world = World::default().with_manual_time().with_pretended_jobs();
    world.cluster_limit = 2 * CLUSTERS as u64;
    let family = "standardDSv2Family".to_owned();
    world.family_core_limits.insert(family, 1_000_000);
    world.token_lifetime_seconds = 1_000_000;
    let empty = resident();
    let simulator = Simulator::start(world).await.unwrap();
    let client = Client::of(&simulator).await;
    client.make_environment().await;
    let begun = Instant::now();
    for cluster in 0..CLUSTERS {
        // A name cannot end in a dash and digits.
        client
            .make_pool(&format!("pool{cluster}"), JOBS_OF_A_CLUSTER)
            .await;
    }
    simulator.advance(Duration::from_secs(60)).await;
    for cluster in 0..CLUSTERS {
        let jobs = (0..JOBS_OF_A_CLUSTER).map(|job| {
            let client = &client;
            async move {
                let variables = match job {
                    0 => json!({"DASK_AZUREML_ROLE": "head", "DASK_AZUREML_TOKEN_SHA256": "0",
                                "DASK_AZUREML_BOOTSTRAP": "x".repeat(PROGRAM)}),
                    _ => json!({"DASK_AZUREML_ROLE": "worker",
                                "DASK_AZUREML_HEAD_RUN": format!("dask-{cluster}-0"),
                                "DASK_AZUREML_BOOTSTRAP": "x".repeat(PROGRAM)}),
                };
                let pool = format!("pool{cluster}");
                let body = client.job(&pool, "python bootstrap.py", &variables);
                client
                    .put(&format!("jobs/dask-{cluster}-{job}"), &body)
                    .await;
            }
        });
        join_all(jobs).await;
    }
    simulator.advance(Duration::from_secs(600)).await;
    let meter = simulator.meter();
    let running = meter["nodes"]["by_state"]["running"]["seconds"].as_f64();
    let (full, made) = (resident(), begun.elapsed().as_secs_f64());
    let pages = list(&client).await;
    let begun = Instant::now();
    let text = simulator.world().to_string();
    json!({
        "clusters": CLUSTERS,
        "jobs_of_each": JOBS_OF_A_CLUSTER,
        "node_seconds_with_a_job": running,
        "made_in_seconds": rounded(made),
        // With the clients of this process, and what was there before the world.
        "memory_mb": full.round(),
        "memory_mb_of_the_world": (full - empty).round(),
        "goal_memory_mb": 400,
        "list": pages,
        "control_world": {
            "mb": rounded(text.len() as f64 / 1e6),
            "seconds": rounded(begun.elapsed().as_secs_f64()),
        },
    })
}

/// Reads all pages of the jobs. Where a page costs more the more came before it, the last ones take
/// longer than the first.
async fn list(client: &Client) -> Value {
    let mut next = Some(client.url("jobs"));
    let mut pages = Vec::new();
    let mut jobs = 0;
    while let Some(url) = next {
        let begun = Instant::now();
        let page = client.get(&url).await;
        pages.push(begun.elapsed().as_secs_f64() * 1e3);
        jobs += page["value"].as_array().unwrap().len();
        next = page["nextLink"].as_str().map(str::to_owned);
    }
    let tenth = pages.len().div_ceil(10);
    let median = |pages: &[f64]| {
        let mut pages = pages.to_vec();
        pages.sort_by(f64::total_cmp);
        pages[pages.len() / 2]
    };
    let (first, last) = (
        median(&pages[..tenth]),
        median(&pages[pages.len() - tenth..]),
    );
    json!({
        "jobs": jobs,
        "pages": pages.len(),
        "seconds": rounded(pages.iter().sum::<f64>() / 1e3),
        "ms_of_the_first_pages": rounded(first),
        "ms_of_the_last_pages": rounded(last),
        "last_to_first": rounded(last / first),
    })
}

/// Real processes: started, ended and reaped.
async fn processes() -> Value {
    let mut world = World::default().with_timings(Timings::none());
    let family = "standardDSv2Family".to_owned();
    world.family_core_limits.insert(family, 1_000_000);
    let simulator = Simulator::start(world).await.unwrap();
    let client = Client::of(&simulator).await;
    client.make_environment().await;
    client.make_pool("pool", PROCESSES).await;
    let begun = Instant::now();
    let jobs = (0..PROCESSES).map(|job| {
        let client = &client;
        async move {
            let body = client.job("pool", "true", &json!({}));
            client.put(&format!("jobs/j{job}"), &body).await;
        }
    });
    join_all(jobs).await;
    loop {
        let world = simulator.world();
        let jobs = world["jobs"].as_array().unwrap().iter();
        let done = jobs.filter(|job| job["status"] == "Completed").count();
        if done == PROCESSES {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    json!({
        "jobs": PROCESSES,
        "seconds": rounded(begun.elapsed().as_secs_f64()),
        "zombies": zombies_below(simulator.supervisor_pid()) + zombies_below(std::process::id()),
    })
}

/// Zombies that are children of a process.
fn zombies_below(parent: u32) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let rest = stat
                .rsplit_once(')')
                .map(|(_, rest)| rest)
                .unwrap_or_default();
            let mut fields = rest.split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
        })
        .count()
}

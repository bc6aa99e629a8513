//! Up and down with a client at work: no key is lost, no result wrong, nothing computed twice by our doing.

use std::process::Stdio;
use std::time::Duration;

use dask_azureml_operator::api::DaskCluster;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::{Line, is_ready};

/// Scatters known keys, keeps results, and computes until it is told to end; then it looks whether everything is still
/// there and right. Each task writes its name into a file when it runs.
const CLIENT: &str = r#"
import collections, sys, threading
from distributed import Client, wait

scheduler, log = sys.argv[1:]
client = Client(scheduler, timeout=30)

def square(n, name):
    with open(log, "a") as file:
        file.write(name + "\n")
    return n * n

known = {f"known-{n}": bytes([n]) * 200_000 for n in range(16)}
scattered = client.scatter(known)
kept = [client.submit(square, n, f"kept-{n}", key=f"kept-{n}") for n in range(64)]
wait(kept)

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
rounds = 0
while not ended.is_set():
    names = [f"round-{rounds}-{n}" for n in range(8)]
    results = [client.submit(square, n, name, key=name) for n, name in enumerate(names)]
    assert client.gather(results) == [n * n for n in range(8)], rounds
    rounds += 1

assert client.gather(scattered) == known
assert client.gather(kept) == [n * n for n in range(64)]
suspicious = client.run_on_scheduler(
    lambda dask_scheduler: sum(prefix.suspicious for prefix in dask_scheduler.task_prefixes.values())
)
assert suspicious == 0, suspicious
with open(log) as file:
    ran = collections.Counter(file.read().split())
twice = {name: times for name, times in ran.items() if times > 1}
assert not twice, twice
assert len(ran) == 64 + 8 * rounds, (len(ran), rounds)
print("rounds", rounds, flush=True)
"#;

/// A client that computes all the while.
struct Computing {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Computing {
    async fn start(scheduler: &str, log: &std::path::Path) -> Self {
        let mut child = Command::new("python")
            .args(["-c", CLIENT, scheduler])
            .arg(log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python is on the PATH, as `make test` sees to");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut computing = Self {
            child,
            input,
            output,
        };
        assert_eq!(computing.line().await, "ready");
        computing
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        tokio::time::timeout(Duration::from_secs(120), read)
            .await
            .expect("the client goes on")
            .expect("its output can be read");
        line.trim().to_owned()
    }

    /// Says how many rounds it computed, once all that it held has been found.
    async fn end(mut self) -> u32 {
        self.input.shutdown().await.expect("the pipe closes");
        drop(self.input);
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        tokio::time::timeout(Duration::from_secs(120), read)
            .await
            .expect("the client ends")
            .expect("its output can be read");
        let status = self.child.wait().await.expect("it can be waited for");
        assert!(status.success(), "the client failed: see its output above");
        let rounds = line.trim().strip_prefix("rounds ").expect("rounds");
        rounds.parse().expect("a number")
    }
}

fn ready(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

async fn scale(line: &Line, name: &str, replicas: u32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    line.clusters()
        .patch_scale(name, &PatchParams::default(), &patch)
        .await
        .expect("the scale subresource takes it");
}

/// All of the worker jobs are there that are wanted, and no other, and their workers have registered.
async fn until_scaled(line: &Line, name: &str, replicas: u32) {
    line.wait_for(name, "it has its size", |cluster| {
        let status = cluster.status.as_ref();
        is_ready(cluster)
            && status.and_then(|status| status.replicas) == Some(replicas)
            // The head's own worker stays.
            && ready(cluster) == Some(replicas + 1)
    })
    .await;
    let scale = line.clusters().get_scale(name).await.expect("it is served");
    let status = scale.status.expect("a status");
    assert_eq!(u32::try_from(status.replicas), Ok(replicas));
    let selector = status.selector.unwrap_or_default();
    let uid = line
        .clusters()
        .get(name)
        .await
        .expect("it is there")
        .metadata
        .uid;
    let uid = uid.expect("a UID");
    assert_eq!(selector, format!("azureml.dask.dev/cluster-uid={uid}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_computes_on_while_its_cluster_breathes_and_its_operator_is_killed_twice_a_step() {
    let mut line = Line::start().await;
    let mut manifest = line.manifest("breath", 8);
    manifest["spec"]["scheduler"] = json!({"runWorker": true});
    manifest["spec"]["compute"]["maxNodes"] = json!(10);
    line.apply(&manifest).await;
    let cluster = line.wait_until_ready("breath").await;
    let scheduler = cluster.status.and_then(|status| status.scheduler);
    let scheduler = scheduler.and_then(|scheduler| scheduler.address);
    let log = line.azure.directory().join("tasks-that-ran");
    let client = Computing::start(&scheduler.expect("an address"), &log).await;

    let mut before = 8;
    for replicas in [2, 6, 0, 3] {
        scale(&line, "breath", replicas).await;
        line.wait_for("breath", "the new size has been seen", |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.observed_generation == cluster.metadata.generation)
        })
        .await;
        line.restart_operator();
        line.wait_for("breath", "a first worker has come or gone", |cluster| {
            ready(cluster).is_some_and(|ready| ready != before + 1)
        })
        .await;
        line.restart_operator();
        until_scaled(&line, "breath", replicas).await;
        before = replicas;
    }

    let rounds = client.end().await;
    assert!(rounds > 20, "the client came to {rounds} rounds only");
    let cancelled: Vec<_> = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.ends_with("/cancel"))
        .collect();
    assert!(cancelled.is_empty(), "{cancelled:?}");
}

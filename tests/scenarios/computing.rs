//! A Dask user who computes while the cluster changes, and notices nothing.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::DEADLINE;

/// Persists a frame, scatters known keys, keeps results, and computes until it is told to end; then it looks whether
/// everything is still there and right. Each task writes its name into a file when it runs.
const CLIENT: &str = r#"
import collections, sys, threading
import dask.dataframe
import pandas
from distributed import Client, futures_of, wait

scheduler, log = sys.argv[1:]
client = Client(scheduler, timeout=30)

def note(name):
    with open(log, "a") as file:
        file.write(name + "\n")

def square(n, name):
    note(name)
    return n * n

def squares(part):
    note(f"part-{part.n.iloc[0]}")
    return part.assign(square=part.n ** 2)

numbers = pandas.DataFrame({"n": range(1600)})
frame = dask.dataframe.from_pandas(numbers, npartitions=16)
frame = frame.map_partitions(squares, meta={"n": "i8", "square": "i8"}).persist()
known = {f"known-{n}": bytes([n]) * 200_000 for n in range(16)}
scattered = client.scatter(known)
kept = [client.submit(square, n, f"kept-{n}", key=f"kept-{n}") for n in range(64)]
wait([frame, *kept])

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
parts = pandas.concat(client.gather(futures_of(frame)))
assert parts.equals(numbers.assign(square=numbers.n ** 2)), parts
suspicious = client.run_on_scheduler(
    lambda dask_scheduler: sum(prefix.suspicious for prefix in dask_scheduler.task_prefixes.values())
)
assert suspicious == 0, suspicious
with open(log) as file:
    ran = collections.Counter(file.read().split())
twice = {name: times for name, times in ran.items() if times > 1}
assert not twice, twice
assert len(ran) == 16 + 64 + 8 * rounds, (len(ran), rounds)
print("rounds", rounds, flush=True)
"#;

/// A client that computes all the while.
pub(crate) struct Computing {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Computing {
    /// `directory` is where it notes what has run.
    pub(crate) async fn start(scheduler: &str, directory: &Path) -> Self {
        let mut child = Command::new("python")
            .args(["-c", CLIENT, scheduler])
            .arg(directory.join("tasks-that-ran"))
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
        assert_eq!(line_of(&mut computing.output).await, "ready");
        computing
    }

    /// Says how many rounds it computed, once all that it held has been found.
    pub(crate) async fn end(self) -> u32 {
        let Self {
            mut child,
            mut input,
            mut output,
        } = self;
        input.shutdown().await.expect("the pipe closes");
        drop(input);
        let told = line_of(&mut output).await;
        let status = child.wait().await.expect("it can be waited for");
        assert!(status.success(), "the client failed: see its output above");
        let rounds = told.strip_prefix("rounds ").expect("rounds");
        rounds.parse().expect("a number")
    }
}

async fn line_of(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    let read = output.read_line(&mut line);
    tokio::time::timeout(DEADLINE, read)
        .await
        .expect("the client goes on")
        .expect("its output can be read");
    line.trim().to_owned()
}

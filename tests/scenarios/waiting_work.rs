//! Work that lasts until it is let go, for so many workers as are wanted.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::dask_client;
use crate::harness::Line;

/// What Dask is told that each of the tasks takes.
const SECONDS_EACH: u32 = 20;
/// In which all work should be done: `autoscaling.targetDurationSeconds`, which the manifest gives.
const TARGET_SECONDS: u32 = 60;

/// Tasks that wait for a file. A worker runs two of them at a time: its other threads are for who else computes.
pub(crate) struct WaitingWork {
    gate: PathBuf,
    script: JoinHandle<()>,
}

impl WaitingWork {
    pub(crate) fn worker_env() -> Value {
        json!([{"name": "DASK_DISTRIBUTED__WORKER__RESOURCES__PLACE", "value": "2"}])
    }

    /// So much that so many workers do it in time, of so many threads each, and the head's own beside them.
    pub(crate) fn for_workers(line: &Line, scheduler: &str, workers: u32, threads: u32) -> Self {
        let tasks = (workers + 1) * threads * TARGET_SECONDS / SECONDS_EACH - 1;
        let directory = line.azure.directory();
        let gate = directory.join(format!("gate-{workers}"));
        let log = directory.join(format!("waited-{workers}"));
        // Each work is of a kind of its own, whose duration Dask does not know.
        let script = format!(
            "import collections, os, time
import dask

def waits(number):
    with open({log:?}, 'a') as file:
        file.write(f'{{number}}\\n')
    while not os.path.exists({gate:?}):
        time.sleep(0.05)
    return number

durations = {{'distributed.scheduler.default-task-durations.waits{workers}': '{SECONDS_EACH}s'}}
client.run_on_scheduler(lambda: dask.config.set(durations) and None)
keys = [f'waits{workers}-{{number}}' for number in range({tasks})]
futures = client.map(waits, range({tasks}), key=keys, resources={{'place': 1}})
assert client.gather(futures) == list(range({tasks}))
with open({log:?}) as file:
    ran = collections.Counter(file.read().split())
assert len(ran) == {tasks} and set(ran.values()) == {{1}}, ran
"
        );
        let scheduler = scheduler.to_owned();
        let script = tokio::spawn(async move { dask_client::run(&scheduler, &script).await });
        Self { gate, script }
    }

    /// The tasks end, and each has run once and has its result.
    pub(crate) async fn release(self) {
        std::fs::write(&self.gate, "").expect("the directory can be written");
        self.script.await.expect("the script ends well");
    }
}

//! A Dask user: Python with a real `distributed.Client`.

use tokio::process::Command;

use crate::harness::DEADLINE;

/// Runs a script that finds its `client` connected to the scheduler.
pub(crate) async fn run(scheduler: &str, script: &str) {
    let program = format!(
        "from distributed import Client\nclient = Client({scheduler:?}, timeout=30)\n{script}\n"
    );
    let mut command = Command::new("python");
    command.args(["-c", &program]).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .expect("the script ends in time")
        .expect("python is on the PATH, as `make test` sees to");
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

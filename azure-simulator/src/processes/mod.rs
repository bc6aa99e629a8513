//! The processes of jobs: their directories, environments and inputs, and the supervisor that is
//! their parent.

pub(crate) mod inputs;
pub(crate) mod launch;
pub(crate) mod outputs;
mod placeholders;
pub(crate) mod ranks;
pub(crate) mod supervisor;
pub(crate) mod tree;
pub(crate) mod variables;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::azure::Azure;
use crate::pretend::{self, listeners::Listeners};
use launch::Launch;
use supervisor::{Report, Supervisor};

/// Folder of a run's directory for what a job finds on its nodes after the first.
pub(crate) const OTHER_NODES: &str = "nodes";

/// Not Azure's: the variable by which a process knows the address of its node.
pub(crate) const NODE_ADDRESS: &str = "AZURE_SIMULATOR_NODE_ADDRESS";

/// The log of the process of a rank, as Azure ML names it.
pub(crate) fn log_of(rank: usize) -> String {
    format!("user_logs/std_log_process_{rank:02}.txt")
}

/// How much of the end of a log goes into a run's error.
const TAIL_BYTES: usize = 1500;

/// Something to be done with the processes of a run; keys are those of the job. Has no `Debug`: variables
/// of a job may be secrets.
pub(crate) enum Order {
    Launch(Box<Launch>),
    /// SIGTERM to the process of each rank.
    Terminate(String),
    /// SIGKILL to all of them.
    Kill(String),
    /// There are none: about the routes of a stand-in.
    Pretend(pretend::Order),
}

impl Order {
    /// The run whose report follows for certain. How long a process takes to end by itself is its
    /// own affair.
    pub(crate) fn awaited(&self) -> Option<&str> {
        match self {
            Self::Launch(launch) => Some(&launch.run),
            Self::Kill(run) | Self::Pretend(pretend::Order::Listen { run, .. }) => Some(run),
            Self::Terminate(_) | Self::Pretend(pretend::Order::HangUp { .. }) => None,
        }
    }
}

/// Carries out orders and brings back reports, until the simulator ends.
pub(crate) async fn run(
    azure: Arc<Azure>,
    supervisor: Arc<Supervisor>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut reports: mpsc::UnboundedReceiver<Report>,
) {
    let mut listeners = Listeners::default();
    // The rank that failed first, of runs that are about to end.
    let mut failed = HashMap::new();
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Launch(launch) => {
                    tokio::spawn(prepare_and_start(azure.clone(), supervisor.clone(), launch));
                }
                Order::Terminate(run) => supervisor.terminate(&run),
                Order::Kill(run) => supervisor.kill(&run),
                Order::Pretend(order) => listeners.obey(&azure, order),
            },
            report = reports.recv() => match report {
                Some(Report::Started { run, keeper }) => {
                    azure.transact(|transaction| transaction.process_started(&run, keeper));
                }
                Some(Report::Failed { run, process }) => {
                    failed.insert(run, process);
                }
                Some(Report::Exited { run, code }) => {
                    let rank = failed.remove(&run).unwrap_or_default();
                    exited(&azure, &run, code, &log_of(rank)).await;
                }
                None => {
                    tracing::error!("the supervisor of jobs has ended, and all jobs with it");
                    azure.transact(|transaction| transaction.processes_lost());
                    return;
                }
            },
        }
    }
}

async fn prepare_and_start(
    azure: Arc<Azure>,
    supervisor: Arc<Supervisor>,
    mut launch: Box<Launch>,
) {
    let run = launch.run.clone();
    let token = launch.issue_token(&azure);
    let ready = tokio::task::spawn_blocking(move || launch.prepare(&token)).await;
    let problem = match ready {
        Ok(Ok(start)) => {
            supervisor.start(&start);
            return;
        }
        Ok(Err(problem)) => problem.run_error(),
        Err(_) => {
            launch::Problem::NodeFailed("the preparation was interrupted".to_owned()).run_error()
        }
    };
    azure.transact(|transaction| transaction.launch_failed(&run, problem));
}

/// The last process of a run is gone; `log` is of the one that the run ends with.
async fn exited(azure: &Azure, run: &str, code: i64, log: &str) {
    let directory = azure.transact(|transaction| {
        let run = transaction.state.physics.runs.get(run);
        run.map(|run| run.directory.clone())
    });
    let tail = match directory {
        Some(directory) if code != 0 => tail(&directory.join(log)).await,
        _ => String::new(),
    };
    azure.transact(|transaction| transaction.process_ended(run, code, (log, &tail)));
}

/// The end of a log, from the beginning of a line.
async fn tail(log: &Path) -> String {
    let bytes = tokio::fs::read(log).await.unwrap_or_default();
    let start = bytes.len().saturating_sub(TAIL_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]).into_owned();
    match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.trim_end().to_owned(),
        _ => text.trim_end().to_owned(),
    }
}

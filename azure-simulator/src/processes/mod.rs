//! The processes of jobs: their directories, environments and inputs, and the supervisor that is
//! their parent.

pub(crate) mod inputs;
pub(crate) mod launch;
pub(crate) mod supervisor;
pub(crate) mod tree;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::azure::Azure;
use crate::pretend::{self, listeners::Listeners};
use launch::Launch;
use supervisor::{Report, Supervisor};

/// The log of a job, as Azure ML names it.
pub(crate) const LOG: &str = "user_logs/std_log_process_00.txt";

/// How much of the end of a log goes into a run's error.
const TAIL_BYTES: usize = 1500;

/// Something to be done with the processes of a run; keys are those of the job.
#[derive(Debug)]
pub(crate) enum Order {
    Launch(Box<Launch>),
    /// SIGTERM to the first process.
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
                Some(report) => take(&azure, report).await,
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

async fn take(azure: &Azure, report: Report) {
    match report {
        Report::Started { run, keeper } => {
            azure.transact(|transaction| transaction.process_started(&run, keeper));
        }
        Report::Exited { run, code } => {
            let directory = azure.transact(|transaction| {
                let run = transaction.state.physics.runs.get(&run);
                run.map(|run| run.directory.clone())
            });
            let tail = match directory {
                Some(directory) if code != 0 => tail(&directory.join(LOG)).await,
                _ => String::new(),
            };
            azure.transact(|transaction| transaction.process_ended(&run, code, &tail));
        }
    }
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

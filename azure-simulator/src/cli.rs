//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Pace;
use crate::place::Place;
use crate::simulator::{Simulator, StartError};
use crate::world::{Jobs, NodeAddressing, World};

/// Azure Machine Learning on one machine.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is ended by SIGTERM or SIGINT; everything it started ends with it.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Loopback address of Entra, ARM and the data plane (HTTPS); port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Loopback address of the control port (HTTP).
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Folder for certificates, `env` (written last) and the directories of jobs.
    #[arg(long)]
    directory: PathBuf,
    /// World file (JSON): what exists at the start, data, environments, timings.
    #[arg(long)]
    world: Option<PathBuf>,
    /// Whether jobs are processes, or only pretend to run (for load tests).
    #[arg(long, value_enum)]
    jobs: Option<Jobs>,
    /// Where nodes are found: on loopback addresses, or on those of their subnet, in a network
    /// namespace in which that range is local.
    #[arg(long, value_enum)]
    node_addresses: Option<NodeAddressing>,
    /// How much faster than in Azure time runs, `instant` for no delays at all, or `manual` for none
    /// but what the control port advances.
    #[arg(long)]
    time_scale: Option<Pace>,
}

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// It did not start.
    #[error("the simulator cannot be started")]
    Start(#[from] StartError),
    /// Signals cannot be waited for.
    #[error("signals cannot be received")]
    Signals(#[from] std::io::Error),
}

impl Cli {
    /// Does what was asked.
    pub async fn run(self) -> Result<(), CliError> {
        let Command::Serve(serve) = self.command;
        // Before the start, so that no signal finds nobody waiting.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut world = match &serve.world {
            Some(file) => World::from_file(file).map_err(StartError::World)?,
            None => World::default(),
        };
        if let Some(pace) = serve.time_scale {
            world.time_scale = pace;
        }
        if let Some(addresses) = serve.node_addresses {
            world.node_addresses = addresses;
        }
        if let Some(jobs) = serve.jobs {
            world.jobs = jobs;
        }
        if world.jobs == Jobs::Pretend {
            tracing::warn!("jobs only pretend to run: no process is started, nothing is computed");
        }
        let place = Place {
            listen: serve.listen,
            control: serve.control,
            directory: Some(serve.directory),
            ..Place::default()
        };
        let simulator = Simulator::start_at(world, place).await?;
        tracing::info!(
            arm = simulator.arm_url(),
            control = simulator.control_url(),
            directory = %simulator.directory().display(),
            "ready"
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

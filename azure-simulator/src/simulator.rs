//! A simulator as a value: started in a few lines, ended with all it started when dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::azure::{Azure, Settings};
use crate::clock::Pace;
use crate::faults::Fault;
use crate::files::write_at_once;
use crate::physics::node_addresses::{NoFreeAddresses, NodeAddresses};
use crate::place::{ENV, OwnDirectory, Place, env, env_file, prepare_directory};
use crate::processes::supervisor::Supervisor;
use crate::storage::sas::SigningKey;
use crate::tls::{self, TlsError};
use crate::world::{NodeAddressing, World, WorldError};
use crate::{control, metadata, page, processes, server};

/// A simulator that cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The world does not make sense.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A port is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address that is not of this machine's loopback.
    #[error(
        "{0} is not a loopback address: jobs are commands that anyone who reaches it could run"
    )]
    NotLoopback(SocketAddr),
    /// The directory cannot be written.
    #[error("cannot write below {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No addresses for nodes.
    #[error(transparent)]
    Addresses(#[from] NoFreeAddresses),
    /// The parent of all jobs cannot be started.
    #[error("cannot start the supervisor of jobs, which needs python3 on the PATH")]
    Supervisor(#[source] std::io::Error),
}

/// A running simulator. Dropping it ends its listeners, its jobs and whatever they started.
///
/// ```no_run
/// # async fn example() -> Result<(), azure_simulator::StartError> {
/// use azure_simulator::{Simulator, World};
///
/// let azure = Simulator::start(World::default().without_delays()).await?;
/// println!("{} {:?}", azure.arm_url(), azure.env());
/// # Ok(()) }
/// ```
pub struct Simulator {
    azure: Arc<Azure>,
    supervisor: Arc<Supervisor>,
    tasks: Vec<JoinHandle<()>>,
    ca_pem: String,
    env: BTreeMap<String, String>,
    _own_directory: Option<OwnDirectory>,
}

impl Simulator {
    /// Starts on free ports, in a folder of its own.
    pub async fn start(world: World) -> Result<Self, StartError> {
        Self::start_at(world, Place::default()).await
    }

    /// Starts at a place.
    pub async fn start_at(world: World, place: Place) -> Result<Self, StartError> {
        let world = world.checked()?;
        let (directory, own_directory) = match place.directory {
            Some(directory) => (directory, None),
            None => {
                let own = OwnDirectory::new();
                (own.0.clone(), Some(own))
            }
        };
        prepare_directory(&directory, &world, &place.path).map_err(|source| {
            StartError::Directory {
                path: directory.clone(),
                source,
            }
        })?;
        let directory = directory.canonicalize().unwrap_or(directory);
        let listener = listen(place.listen).await?;
        let control_listener = listen(place.control).await?;
        let tls = tls::prepare(&directory)?;
        let address = local(&listener, place.listen)?;
        let control = local(&control_listener, place.control)?;
        let addresses = NodeAddresses::claim(std::process::id())?;
        let (supervisor, reports) =
            Supervisor::start_in(&directory).map_err(StartError::Supervisor)?;
        let supervisor = Arc::new(supervisor);
        let (orders, ordered) = mpsc::unbounded_channel();
        let settings = Settings {
            world,
            authority: address.to_string(),
            control_url: format!("http://{control}"),
            directory: directory.clone(),
            signing_key: SigningKey::new(),
            path: place.path,
            exchanges: place.exchanges,
        };
        let env = env(&settings, control);
        let azure = Arc::new(Azure::new(settings, addresses, orders));
        let time = azure.clone();
        let control_routes = control::router(azure.clone())
            .merge(page::router(azure.clone()))
            .layer(middleware::from_fn(control::visitors::only_of_this_machine));
        let mut tasks = vec![
            tokio::spawn(server::serve(
                azure.clone(),
                listener,
                TlsAcceptor::from(tls.config),
            )),
            tokio::spawn(async move { time.run_time().await }),
            tokio::spawn(processes::run(
                azure.clone(),
                supervisor.clone(),
                ordered,
                reports,
            )),
            tokio::spawn(async move {
                if let Err(problem) = axum::serve(control_listener, control_routes).await {
                    tracing::error!(%problem, "the control port is closed");
                }
            }),
        ];
        if azure.settings.world.node_addresses == NodeAddressing::Subnet {
            tasks.push(tokio::spawn(metadata::serve(azure.clone())));
        }
        let simulator = Self {
            azure,
            supervisor,
            tasks,
            ca_pem: tls.ca_pem,
            env,
            _own_directory: own_directory,
        };
        write_at_once(&directory.join(ENV), &env_file(&simulator.env)).map_err(|source| {
            StartError::Directory {
                path: directory,
                source,
            }
        })?;
        Ok(simulator)
    }

    /// The variables that point a client here, as `DIR/env` has them.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Where ARM is (and Entra, and the data plane): `https://127.0.0.1:PORT`.
    pub fn arm_url(&self) -> String {
        self.azure.settings.base_url()
    }

    /// Where the control port is: `http://127.0.0.1:PORT`.
    pub fn control_url(&self) -> String {
        self.azure.settings.control_url.clone()
    }

    /// The certificate of the simulator's own CA.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The folder that everything is written below.
    pub fn directory(&self) -> &Path {
        &self.azure.settings.directory
    }

    /// What it was started with.
    pub fn settings(&self) -> &World {
        &self.azure.settings.world
    }

    /// ARM id of the first workspace.
    pub fn workspace_id(&self) -> String {
        let world = &self.azure.settings.world;
        world
            .workspaces
            .first()
            .map_or_else(String::new, |workspace| {
                format!(
                    "/subscriptions/{}/resourceGroups/{}/providers/\
                 Microsoft.MachineLearningServices/workspaces/{}",
                    world.subscription_id,
                    world.resource_group_of(workspace),
                    workspace.name,
                )
            })
    }

    /// Everything that exists, as `GET /world` shows it.
    pub fn world(&self) -> Value {
        control::world::shown(&self.azure)
    }

    /// Every request and its answer, oldest first, without secrets.
    pub fn exchanges(&self) -> Vec<Value> {
        let lines = self.azure.exchanges.lines();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Forgets the exchanges so far.
    pub fn forget_exchanges(&self) {
        self.azure.exchanges.clear();
    }

    /// What clients and nodes have cost, as `GET /meter` shows it.
    pub fn meter(&self) -> Value {
        control::metered(&self.azure)
    }

    /// Counts from 0 again.
    pub fn reset_meter(&self) {
        control::reset_meters(&self.azure);
    }

    /// Sets a fault.
    pub fn fault(&self, fault: Fault) {
        self.azure.faults.add(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.azure.faults.clear();
    }

    /// Runs on at another pace.
    pub fn set_pace(&self, pace: Pace) {
        self.azure.clock.set_pace(pace);
        self.azure.transact(|_| ());
    }

    /// Lets so much of Azure's time pass at once, at any pace. Everything that is due happens, each
    /// thing at its own time; returns when all that was ordered of processes meanwhile (starts and
    /// kills) has come about. Processes themselves take real time: wait for what they do.
    pub async fn advance(&self, by: Duration) {
        self.azure.advance(by).await;
    }

    /// The world is as it was at the start, but for its pace and the tokens that were issued.
    pub async fn reset(&self) {
        control::begin_anew(&self.azure).await;
    }

    /// Every token of clients expires now.
    pub fn expire_tokens(&self) {
        let now = self.azure.clock.now().timestamp;
        self.azure.tokens.expire_all(now);
    }

    /// No token of clients that was issued until now is taken any more: ARM asks for a newer one in
    /// the claims of its challenge.
    pub fn revoke_tokens(&self) {
        let now = self.azure.clock.now().timestamp;
        self.azure.tokens.revoke_all(now);
    }

    /// Process id of the parent of all jobs.
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor.pid()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.supervisor.end();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|source| StartError::Listen { address, source })
}

//! A simulator as a value: started in a few lines, ended with all it started when dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::azure::{Azure, Settings};
use crate::clock::Pace;
use crate::data_plane::signed_links::SigningKey;
use crate::faults::Fault;
use crate::files::write_at_once;
use crate::physics::node_addresses::{NoFreeAddresses, NodeAddresses};
use crate::processes::launch::WITHOUT_PYTHON;
use crate::processes::supervisor::Supervisor;
use crate::tls::{self, TlsError};
use crate::world::{World, WorldError};
use crate::{control, processes, server};

const ENV: &str = "env";

/// Where a simulator listens and writes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Of Entra, ARM and the data plane (TLS).
    pub listen: SocketAddr,
    /// Of the control port.
    pub control: SocketAddr,
    /// Everything is written below it. A folder of its own that goes with the simulator where
    /// `None`.
    pub directory: Option<PathBuf>,
    /// `PATH` of the jobs.
    pub path: String,
}

impl Default for Place {
    /// Free ports on 127.0.0.1, a folder of its own, the `PATH` of this process.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: None,
            path: own_path(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "jobs inherit the PATH of whoever starts them"
)]
fn own_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())
}

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
    control: SocketAddr,
    ca_pem: String,
    env: BTreeMap<String, String>,
    /// Removed at the end.
    own_directory: Option<PathBuf>,
}

impl Simulator {
    /// Starts on free ports, in a folder of its own.
    pub async fn start(world: World) -> Result<Self, StartError> {
        Self::start_at(world, Place::default()).await
    }

    /// Starts at a place.
    pub async fn start_at(world: World, place: Place) -> Result<Self, StartError> {
        let world = world.checked()?;
        let own_directory = place.directory.is_none();
        let directory = place.directory.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("azure-simulator-{}", Uuid::new_v4().simple()))
        });
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
            directory: directory.clone(),
            signing_key: SigningKey::new(),
            path: place.path,
        };
        let env = env(&settings, control);
        let azure = Arc::new(Azure::new(settings, addresses, orders));
        let time = azure.clone();
        let control_routes = control::router(azure.clone());
        let tasks = vec![
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
        let simulator = Self {
            azure,
            supervisor,
            tasks,
            control,
            ca_pem: tls.ca_pem,
            env,
            own_directory: own_directory.then_some(directory.clone()),
        };
        write_at_once(&directory.join(ENV), &simulator.env_file()).map_err(|source| {
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
        format!("http://{}", self.control)
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
        control::world(&self.azure)
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

    /// Requests by kind and writes that changed nothing, as `GET /meter` shows them.
    pub fn meter(&self) -> Value {
        self.azure.meter.shown()
    }

    /// Counts from 0 again.
    pub fn reset_meter(&self) {
        self.azure.meter.reset();
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

    /// Every token of clients expires now.
    pub fn expire_tokens(&self) {
        let now = self.azure.clock.now().timestamp;
        self.azure.tokens.expire_all(now);
    }

    /// Process id of the parent of all jobs.
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor.pid()
    }

    fn env_file(&self) -> String {
        self.env
            .iter()
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
            .collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.supervisor.end();
        if let Some(directory) = &self.own_directory
            && let Err(problem) = std::fs::remove_dir_all(directory)
        {
            tracing::warn!(%problem, "the simulator's folder cannot be removed");
        }
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

/// An empty world's folder: nothing is left of a simulator that ran here before but its CA.
fn prepare_directory(directory: &Path, world: &World, path: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for left in [ENV, "jobs", WITHOUT_PYTHON] {
        let left = directory.join(left);
        let removed = if left.is_dir() {
            std::fs::remove_dir_all(&left)
        } else {
            std::fs::remove_file(&left)
        };
        match removed {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => return Err(problem),
            _ => {}
        }
    }
    if world
        .environments
        .iter()
        .any(|mapping| mapping.python == Some(false))
    {
        link_tools_but_python(&directory.join(WITHOUT_PYTHON), path)?;
    }
    Ok(())
}

fn link_tools_but_python(folder: &Path, path: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for from in std::env::split_paths(path) {
        let Ok(tools) = std::fs::read_dir(from) else {
            continue;
        };
        for tool in tools.flatten() {
            let name = tool.file_name();
            let text = name.to_string_lossy();
            let ours = ["python", "pypy", "dask", "pip", "pyenv"];
            let link = folder.join(&name);
            if !ours.iter().any(|word| text.starts_with(word)) && !link.exists() {
                // A name that stands twice in the PATH, once as a broken link, stays the first.
                let _ = std::os::unix::fs::symlink(tool.path(), link);
            }
        }
    }
    Ok(())
}

fn env(settings: &Settings, control: SocketAddr) -> BTreeMap<String, String> {
    let world = &settings.world;
    let base = settings.base_url();
    let client = world.clients.first();
    let workspace = world.workspaces.first();
    let bundle = settings.directory.join(tls::CA_BUNDLE);
    [
        ("AZURE_AUTHORITY_HOST", format!("{base}/")),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", base),
        ("SSL_CERT_FILE", bundle.to_string_lossy().into_owned()),
        ("AZURE_TENANT_ID", world.tenant_id.clone()),
        (
            "AZURE_CLIENT_ID",
            client.map(|c| c.client_id.clone()).unwrap_or_default(),
        ),
        (
            "AZURE_CLIENT_SECRET",
            client.map(|c| c.client_secret.clone()).unwrap_or_default(),
        ),
        ("AZURE_SUBSCRIPTION_ID", world.subscription_id.clone()),
        (
            "AZURE_RESOURCE_GROUP",
            workspace.map_or_else(
                || world.resource_groups[0].clone(),
                |workspace| world.resource_group_of(workspace).to_owned(),
            ),
        ),
        (
            "AZURE_ML_WORKSPACE",
            workspace
                .map(|workspace| workspace.name.clone())
                .unwrap_or_default(),
        ),
        ("AZURE_SIMULATOR_CONTROL", format!("http://{control}")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

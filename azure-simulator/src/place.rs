//! Where a simulator is: its addresses, its folder, and the variables that lead to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::azure::Settings;
use crate::processes::variables::WITHOUT_PYTHON;
use crate::storage::blobs::ROOT as STORAGE;
use crate::tls;
use crate::world::World;

/// File of the folder that is written last: who waits for it finds all others.
pub(crate) const ENV: &str = "env";

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
    /// Folder that every exchange is written to at once, in a file of this simulator's own: for a check over
    /// all tests. `AZURE_SIMULATOR_EXCHANGES` names it where nobody else does.
    pub exchanges: Option<PathBuf>,
}

impl Default for Place {
    /// Free ports on 127.0.0.1, a folder of its own, the `PATH` of this process.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: None,
            path: own_path(),
            exchanges: exchanges_folder(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulators of all tests are told in one place"
)]
fn exchanges_folder() -> Option<PathBuf> {
    std::env::var_os("AZURE_SIMULATOR_EXCHANGES").map(PathBuf::from)
}

#[expect(
    clippy::disallowed_methods,
    reason = "jobs inherit the PATH of whoever starts them"
)]
fn own_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())
}

/// A folder for one simulator, which goes with it.
pub(crate) struct OwnDirectory(pub(crate) PathBuf);

impl OwnDirectory {
    pub(crate) fn new() -> Self {
        let name = format!("azure-simulator-{}", Uuid::new_v4().simple());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%problem, "the simulator's folder cannot be removed");
            }
            _ => {}
        }
    }
}

/// An empty world's folder: nothing is left of a simulator that ran here before but its CA.
pub(crate) fn prepare_directory(
    directory: &Path,
    world: &World,
    path: &str,
) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for left in [ENV, "jobs", STORAGE, WITHOUT_PYTHON] {
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

/// The variables that point a client here.
pub(crate) fn env(settings: &Settings, control: SocketAddr) -> BTreeMap<String, String> {
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

/// Those variables as a shell reads them.
pub(crate) fn env_file(env: &BTreeMap<String, String>) -> String {
    env.iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
        .collect()
}

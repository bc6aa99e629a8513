//! A real Kubernetes control plane (etcd, API server, controller manager) for the tests of one
//! binary: started by the first test that asks, shared by all, ended with the process.
//!
//! A test binary includes this file by `#[path = "../support/control_plane.rs"]`.

#![allow(dead_code, reason = "each test binary uses a part of its own")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dask_azureml_operator::api;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use tokio::sync::OnceCell;

/// How long etcd and the API server may take until they answer; 5 s are usual.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// How long the API server may take to serve a new CustomResourceDefinition; 1 s is usual.
const ESTABLISHED_DEADLINE: Duration = Duration::from_secs(30);

/// How many there may be in one binary.
pub(crate) const MOST: usize = 2;

/// A running control plane and the way into it.
pub(crate) struct ControlPlane {
    kubeconfig: PathBuf,
    config: Config,
    crd_installed: OnceCell<()>,
    /// The launcher ends everything it started once its standard input is closed, which the
    /// end of this process does, however it comes.
    _launcher: Child,
}

impl ControlPlane {
    /// The control plane of this test binary.
    ///
    /// # Panics
    /// If there is no launcher or it does not get ready: a test that needs Kubernetes fails
    /// without it, and is not skipped.
    pub(crate) async fn shared() -> &'static Self {
        Self::one_of_many(0).await
    }

    /// One of [`MOST`], by its number: for tests whose operators would meet on a shared one.
    ///
    /// # Panics
    /// As [`Self::shared`].
    #[expect(clippy::panic, reason = "a test says why it cannot run")]
    pub(crate) async fn one_of_many(number: usize) -> &'static Self {
        static RUNNING: [OnceCell<ControlPlane>; MOST] = [const { OnceCell::const_new() }; MOST];
        RUNNING[number]
            .get_or_init(|| async {
                let (kubeconfig, launcher) = tokio::task::spawn_blocking(move || start(number))
                    .await
                    .expect("starting does not panic")
                    .unwrap_or_else(|problem| panic!("{problem}"));
                let read = Kubeconfig::read_from(&kubeconfig).expect("the kubeconfig is valid");
                let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .expect("the kubeconfig is complete");
                Self {
                    kubeconfig,
                    config,
                    crd_installed: OnceCell::new(),
                    _launcher: launcher,
                }
            })
            .await
    }

    /// A client as cluster admin. Each test has a runtime of its own, which a client does not
    /// outlive, so each takes a client of its own.
    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("the kubeconfig of the launcher is complete")
    }

    /// How a client as cluster admin reaches the API server.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// Where the kubeconfig of the cluster admin stands, for programs that a test starts.
    pub(crate) fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// A fresh namespace whose name starts with `prefix`.
    pub(crate) async fn namespace(&self, prefix: &str) -> String {
        let wanted = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{prefix}-")),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(self.client())
            .create(&PostParams::default(), &wanted)
            .await
            .expect("the API server takes a namespace")
            .name_any()
    }

    /// Makes the API server serve `DaskCluster`, once for all tests.
    pub(crate) async fn install_crd(&self) {
        self.crd_installed
            .get_or_init(|| async {
                let crd = api::crd();
                let name = crd.name_any();
                let definitions = Api::<CustomResourceDefinition>::all(self.client());
                definitions
                    .patch(
                        &name,
                        &PatchParams::apply("tests").force(),
                        &Patch::Apply(&crd),
                    )
                    .await
                    .expect("the API server takes the CustomResourceDefinition");
                let established =
                    await_condition(definitions, &name, conditions::is_crd_established());
                tokio::time::timeout(ESTABLISHED_DEADLINE, established)
                    .await
                    .expect("the CustomResourceDefinition is established in time")
                    .expect("the CustomResourceDefinition can be watched");
            })
            .await;
    }
}

/// Starts the launcher and waits until it says that it is ready; else says why it is not.
fn start(number: usize) -> Result<(PathBuf, Child), String> {
    let launcher = launcher()?;
    let directory = fresh_directory(number).map_err(|error| format!("no run folder: {error}"))?;
    let log_path = directory.join("launcher.log");
    let log = File::create(&log_path).map_err(|error| format!("no log: {error}"))?;
    let mut child = Command::new(&launcher)
        .arg("--directory")
        .arg(&directory)
        .arg("--until-stdin-closes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", launcher.display()))?;

    let stdout = child.stdout.take().ok_or("the launcher has no output")?;
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.trim() == "ready");
        // Nobody listens any more once the deadline has passed.
        let _ = said.send(ready);
    });
    if heard.recv_timeout(START_DEADLINE) != Ok(true) {
        let _ = child.kill();
        return Err(format!(
            "the control plane did not get ready within {} s; {} says:\n{}",
            START_DEADLINE.as_secs(),
            log_path.display(),
            fs::read_to_string(&log_path).unwrap_or_default()
        ));
    }
    Ok((directory.join("kubeconfig"), child))
}

/// The launcher: `DASK_AZUREML_CONTROL_PLANE`, else the newest one in the cache folder.
#[expect(
    clippy::disallowed_methods,
    reason = "a test binary has no settings to read them from"
)]
fn launcher() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("DASK_AZUREML_CONTROL_PLANE") {
        return Ok(PathBuf::from(path));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_default()
        .join("dask-azureml-operator");
    let mut found: Vec<_> = fs::read_dir(&cache)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("control-plane-")
        })
        .map(|entry| entry.path().join("bin/control-plane"))
        .filter(|path| path.is_file())
        .collect();
    found.sort_by_key(|path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    });
    found.pop().ok_or_else(|| {
        format!(
            "no control plane to test against: `make test` builds one into {}, or \
             DASK_AZUREML_CONTROL_PLANE names a launcher",
            cache.display()
        )
    })
}

/// A run folder of this process for the control plane of that number; those of processes that have ended are removed.
fn fresh_directory(number: usize) -> std::io::Result<PathBuf> {
    const PREFIX: &str = "control-plane-of-";
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_string_lossy();
        if let Some(pid) = owner.strip_prefix(PREFIX)
            && !Path::new("/proc").join(pid).exists()
        {
            // Another test binary may be removing it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let directory = parent
        .join(format!("{PREFIX}{}", std::process::id()))
        .join(number.to_string());
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

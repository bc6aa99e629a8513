//! How a job comes to run on its nodes: what it needs there is gathered, and put in place.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::azure::{Azure, Transaction};
use crate::data_plane::run_files::{OUTPUTS, WORK};
use crate::entra::run_token;
use crate::physics::run::run_error;
use crate::processes::inputs::{self, Input, copy};
use crate::processes::outputs::{self, Output};
use crate::processes::placeholders::replaced;
use crate::processes::ranks::{self, Rank};
use crate::processes::supervisor::{Command, Start};
use crate::processes::{OTHER_NODES, log_of, variables};

/// Why a job does not come to run on its node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("input {input} cannot be mounted from {uri}: {reason}")]
    Mount {
        input: String,
        uri: String,
        reason: &'static str,
    },
    #[error("the node failed: {0}")]
    NodeFailed(String),
    #[error("the node failed: {0}")]
    Directory(#[from] std::io::Error),
}

impl Problem {
    /// What run history shows.
    pub(crate) fn run_error(&self) -> Value {
        match self {
            Self::Mount { input, uri, reason } => run_error(
                "UserError",
                &format!(
                    "{{\"NonCompliant\":\"DataAccessError({reason})\"}} {{\"code\": \
                     \"data-capability.UriMountSession.PyFuseError\", \"target\": \"{input}\", \
                     \"category\": \"UserError\", \"error_details\": [{{\"key\": \
                     \"NonCompliantReason\", \"value\": \"DataAccessError({reason})\"}}, {{\"key\": \
                     \"Uri\", \"value\": \"{uri}\"}}]}}"
                ),
            ),
            Self::NodeFailed(_) | Self::Directory(_) => {
                run_error("ServiceError", &self.to_string())
            }
        }
    }
}

/// Everything needed to start a job on its node. Has no `Debug`: variables of a job may be secrets.
pub(crate) struct Launch {
    pub(crate) run: String,
    workspace: String,
    directory: PathBuf,
    command: String,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Whether variables tell where these are, beside the placeholders of the command.
    variables_of_inputs_and_outputs: bool,
    /// The folder of the job's code asset.
    code: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    ranks: Vec<Rank>,
    /// The variables that the job brings along: they go before all others.
    own: BTreeMap<String, String>,
    id: String,
}

/// Gathers what the job's process needs, from its document and its node.
pub(crate) fn plan(transaction: &Transaction<'_>, key: &str) -> Result<Launch, Problem> {
    let absent = |what: &str| Problem::NodeFailed(format!("{what} is gone"));
    let physics = &transaction.state.physics;
    let run = physics.runs.get(key).ok_or_else(|| absent("the run"))?;
    let job = transaction
        .state
        .documents
        .by_key(key)
        .ok_or_else(|| absent("the job"))?;
    let pool = physics
        .pools
        .get(&run.pool)
        .ok_or_else(|| absent("the compute"))?;
    let address = |id: &String| {
        pool.nodes
            .iter()
            .find(|node| node.id == *id)
            .map(|node| node.address)
    };
    let addresses: Option<Vec<Ipv4Addr>> = run.nodes.iter().map(address).collect();
    let addresses = addresses.ok_or_else(|| absent("the node"))?;
    let settings = transaction.settings;
    let properties = &job.body["properties"];
    let mut environment = variables::of_azure_ml(settings, job, properties);
    environment.insert(
        "PATH".to_owned(),
        variables::path(
            settings,
            transaction.state.documents.by_key(&run.environment),
        ),
    );
    let mut own = BTreeMap::new();
    for (name, value) in properties["environmentVariables"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let value = transaction.state.texts.text(value).unwrap_or_default();
        own.insert(name.clone(), value.to_owned());
    }
    Ok(Launch {
        run: key.to_owned(),
        workspace: run.workspace.clone(),
        directory: run.directory.clone(),
        command: properties["command"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        inputs: inputs::of(transaction, job),
        outputs: outputs::of(transaction, job)?,
        variables_of_inputs_and_outputs: settings.world.unproven.input_and_output_variables,
        code: inputs::code(transaction, properties)?,
        environment,
        ranks: ranks::of(properties, &addresses),
        own,
        id: run.id.clone(),
    })
}

impl Launch {
    /// A token for this run: the data plane takes it.
    pub(crate) fn issue_token(&mut self, azure: &Azure) -> String {
        let issued = run_token::issue(azure, &self.workspace, &self.id);
        self.environment.insert(
            "AZUREML_RUN_TOKEN_EXPIRY".to_owned(),
            issued.expires.as_second().to_string(),
        );
        issued.token
    }

    /// Makes the directories and the inputs on each node; blocks.
    pub(crate) fn prepare(self, token: &str) -> Result<Start, Problem> {
        let nodes = self.ranks.iter().map(|rank| rank.node + 1).max();
        let nodes = nodes.unwrap_or_default();
        std::fs::create_dir_all(self.directory.join("user_logs"))?;
        // A job that runs again does so on other machines; only its logs are kept elsewhere.
        let others = self.directory.join(OTHER_NODES);
        if others.exists() {
            std::fs::remove_dir_all(&others)?;
        }
        let mut places = Vec::new();
        for node in 0..nodes {
            places.push(self.prepare_node(node, token)?);
        }
        if nodes > 1 {
            self.share_outputs(&places)?;
        }
        let mut processes = Vec::new();
        for (number, rank) in self.ranks.into_iter().enumerate() {
            let place = &places[rank.node];
            let mut environment = self.environment.clone();
            environment.extend(rank.environment);
            environment.extend(self.own.clone());
            environment.extend(place.given.clone());
            for (name, value) in &place.usual {
                environment
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
            processes.push(Command {
                command: place.command.clone(),
                directory: place.work.clone(),
                log: self.directory.join(log_of(number)),
                environment,
            });
        }
        let mut writable = vec![self.directory];
        writable.extend(self.outputs.iter().map(|output| output.folder().to_owned()));
        Ok(Start {
            run: self.run,
            read_only: self.inputs.iter().filter_map(Input::read_only).collect(),
            writable,
            processes,
        })
    }

    /// Makes what the job finds on one of its nodes.
    fn prepare_node(&self, node: usize, token: &str) -> Result<Place, Problem> {
        let root = match node {
            0 => self.directory.clone(),
            other => self.directory.join(OTHER_NODES).join(other.to_string()),
        };
        let work = root.join(WORK);
        let mounts = root.join("cap/data-capability/wd");
        for folder in [&root.join("exe"), &root.join("cap"), &root.join("tmp")] {
            if folder.exists() {
                std::fs::remove_dir_all(folder)?;
            }
        }
        for folder in [&work, &mounts, &root.join("tmp")] {
            std::fs::create_dir_all(folder)?;
        }
        if let Some(code) = &self.code {
            copy(code, &work)?;
        }
        let mut command = self.command.clone();
        let mut given = BTreeMap::new();
        for input in &self.inputs {
            let place = input.provide(&mounts)?;
            command = replaced(&command, ("inputs", &input.name), &place);
            if self.variables_of_inputs_and_outputs {
                given.insert(format!("AZURE_ML_INPUT_{}", input.name), place);
            }
        }
        for output in &self.outputs {
            let place = output.provide()?;
            command = replaced(&command, ("outputs", &output.name), &place);
            if self.variables_of_inputs_and_outputs {
                given.insert(format!("AZURE_ML_OUTPUT_{}", output.name), place);
            }
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let usual = BTreeMap::from([
            ("MLFLOW_TRACKING_TOKEN".to_owned(), token.to_owned()),
            ("AZUREML_RUN_TOKEN".to_owned(), token.to_owned()),
            ("HOME".to_owned(), text(&root)),
            ("TMPDIR".to_owned(), text(&root.join("tmp"))),
        ]);
        Ok(Place {
            work,
            command,
            given,
            usual,
        })
    }

    /// What any node leaves in `outputs/` becomes an artifact.
    fn share_outputs(&self, places: &[Place]) -> Result<(), Problem> {
        let shared = self.directory.join(WORK).join(OUTPUTS);
        std::fs::create_dir_all(&shared)?;
        for place in places.iter().skip(1) {
            let own = place.work.join(OUTPUTS);
            if own.is_dir() {
                // The code brought it along, and it is in the first node's already.
                std::fs::remove_dir_all(&own)?;
            }
            std::os::unix::fs::symlink(&shared, &own)?;
        }
        Ok(())
    }
}

/// What a job finds on one of its nodes.
struct Place {
    work: PathBuf,
    /// With the inputs and outputs of this node put in.
    command: String,
    /// Variables that say where they are.
    given: BTreeMap<String, String>,
    /// Variables that the job may set otherwise.
    usual: BTreeMap<String, String>,
}

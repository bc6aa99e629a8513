//! What a job's process gets: directory, environment, inputs (contract section 9).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use uuid::Uuid;

use crate::arm::cloud_metadata;
use crate::azure::{Azure, Settings, Transaction};
use crate::data_plane::run_files::{OUTPUTS, WORK};
use crate::documents::Document;
use crate::entra::run_token;
use crate::kinds;
use crate::physics::run::run_error;
use crate::processes::inputs::{Input, Source, copy};
use crate::processes::ranks::{self, Rank};
use crate::processes::supervisor::{Command, Start};
use crate::processes::{OTHER_NODES, log_of};
use crate::resource_id::ResourceId;
use crate::storage::uri;

/// Folder of a world's directory with every tool of the `PATH` but Python.
pub(crate) const WITHOUT_PYTHON: &str = "image-without-python";

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

/// Everything needed to start a job on its node.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) run: String,
    workspace: String,
    directory: PathBuf,
    command: String,
    inputs: Vec<Input>,
    outputs: Vec<(String, PathBuf)>,
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
    let mut environment = base_environment(settings, job, properties);
    environment.insert(
        "PATH".to_owned(),
        path_of(
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
        inputs: inputs_of(transaction, job, properties),
        outputs: outputs_of(transaction, job, properties)?,
        code: code_of(transaction, properties)?,
        environment,
        ranks: ranks::of(properties, &addresses),
        own,
        id: run.id.clone(),
    })
}

fn base_environment(
    settings: &Settings,
    job: &Document,
    properties: &Value,
) -> BTreeMap<String, String> {
    let mut home = job.id.clone();
    home.segments.truncate(1);
    let experiment = properties["experimentName"].as_str().unwrap_or_default();
    let guid = kinds::workspace_guid(&home);
    let experiment_id = Uuid::new_v5(&guid, experiment.as_bytes()).to_string();
    let base = settings.base_url();
    let bundle = settings.directory.join("ca-bundle.crt");
    let id = job.id.name();
    let group = home.resource_group.as_deref().unwrap_or_default();
    [
        ("AZUREML_RUN_ID", id),
        ("AZUREML_ARM_SUBSCRIPTION", home.subscription.as_str()),
        ("AZUREML_ARM_RESOURCEGROUP", group),
        ("AZUREML_ARM_WORKSPACE_NAME", home.name()),
        ("AZUREML_ARM_PROJECT_NAME", experiment),
        ("AZUREML_EXPERIMENT_ID", &experiment_id),
        ("AZUREML_WORKSPACE_ID", &guid.to_string()),
        ("AZUREML_SERVICE_ENDPOINT", &base),
        (
            "AZUREML_DISCOVERY_SERVICE_ENDPOINT",
            &format!("{base}/discovery"),
        ),
        (
            "MLFLOW_TRACKING_URI",
            &format!("azureml://{}/mlflow/v1.0{home}?", settings.authority),
        ),
        ("MLFLOW_RUN_ID", id),
        ("MLFLOW_EXPERIMENT_ID", &experiment_id),
        ("MLFLOW_EXPERIMENT_NAME", experiment),
        // Not Azure's: what clients within the job need to find this cloud and to trust it.
        ("SSL_CERT_FILE", &bundle.to_string_lossy()),
        ("REQUESTS_CA_BUNDLE", &bundle.to_string_lossy()),
        ("AZUREML_CURRENT_CLOUD", cloud_metadata::NAME),
        ("ARM_CLOUD_METADATA_URL", &cloud_metadata::url(settings)),
        ("LANG", "C.UTF-8"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The folder of the job's image in front of the simulator's own `PATH`.
fn path_of(settings: &Settings, environment: Option<&Document>) -> String {
    let own = settings.path.clone();
    let Some(environment) = environment else {
        return own;
    };
    let image = environment.body["properties"]["image"].as_str();
    let name = environment
        .id
        .parent()
        .map(|parent| parent.name().to_owned());
    let mapping = settings.world.environments.iter().find(|mapping| {
        let by_image = mapping.image.is_some() && mapping.image.as_deref() == image;
        by_image || (mapping.name.is_some() && mapping.name == name)
    });
    match mapping {
        Some(mapping) if mapping.python == Some(false) => {
            let folder = settings.directory.join(WITHOUT_PYTHON);
            folder.to_string_lossy().into_owned()
        }
        Some(mapping) => match &mapping.path {
            Some(folder) => format!("{}:{own}", folder.display()),
            None => own,
        },
        None => own,
    }
}

fn inputs_of(transaction: &Transaction<'_>, job: &Document, properties: &Value) -> Vec<Input> {
    let workspace = workspace_of(job);
    let mut inputs = Vec::new();
    for (name, input) in properties["inputs"].as_object().into_iter().flatten() {
        let source = if input["jobInputType"] == "literal" {
            Source::Text(input["value"].as_str().unwrap_or_default().to_owned())
        } else {
            let uri = resolved(
                transaction,
                &job.id,
                input["uri"].as_str().unwrap_or_default(),
            );
            let path = uri::local_path(transaction, &workspace, &uri);
            match input["mode"].as_str() {
                Some("Direct") => Source::Text(uri),
                Some("Download") => Source::Downloaded { uri, path },
                mode => Source::Mounted {
                    uri,
                    path,
                    read_only: mode != Some("ReadWriteMount"),
                },
            }
        };
        let name = name.clone();
        inputs.push(Input { name, source });
    }
    inputs
}

fn workspace_of(job: &Document) -> ResourceId {
    let mut workspace = job.id.clone();
    workspace.segments.truncate(1);
    workspace
}

/// The folders that outputs go to: where their URI says, else in the default datastore.
fn outputs_of(
    transaction: &Transaction<'_>,
    job: &Document,
    properties: &Value,
) -> Result<Vec<(String, PathBuf)>, Problem> {
    let workspace = workspace_of(job);
    let mut outputs = Vec::new();
    for (name, output) in properties["outputs"].as_object().into_iter().flatten() {
        if name == kinds::DEFAULT_OUTPUT {
            continue;
        }
        let uri = output["uri"].as_str().map_or_else(
            || {
                format!(
                    "azureml://datastores/workspaceblobstore/paths/azureml/{}/{name}/",
                    job.id.name()
                )
            },
            str::to_owned,
        );
        let path = uri::local_path(transaction, &workspace, &uri);
        let path = path.ok_or_else(|| Problem::Mount {
            input: name.clone(),
            uri,
            reason: "NotFound",
        })?;
        outputs.push((name.clone(), path));
    }
    Ok(outputs)
}

/// The folder that a job's code asset was uploaded to.
fn code_of(transaction: &Transaction<'_>, properties: &Value) -> Result<Option<PathBuf>, Problem> {
    let Some(id) = properties["codeId"].as_str().and_then(ResourceId::parse) else {
        return Ok(None);
    };
    let stored = transaction.state.documents.get(&id);
    let uri = stored
        .and_then(|code| code.body["properties"]["codeUri"].as_str())
        .map(uri::plain);
    let mut workspace = id;
    workspace.segments.truncate(1);
    let path = uri
        .as_ref()
        .and_then(|uri| uri::local_path(transaction, &workspace, uri));
    path.map(Some).ok_or_else(|| Problem::Mount {
        input: "code".to_owned(),
        uri: uri.unwrap_or_default(),
        reason: "NotFound",
    })
}

/// The URI that a data asset stands for, or the URI itself.
fn resolved(transaction: &Transaction<'_>, job: &ResourceId, uri: &str) -> String {
    kinds::data_asset(uri, job)
        .and_then(|asset| transaction.state.documents.get(&asset))
        .and_then(|found| found.body["properties"]["dataUri"].as_str())
        .unwrap_or(uri)
        .to_owned()
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
        writable.extend(self.outputs.into_iter().map(|(_, folder)| folder));
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
            given.insert(format!("AZURE_ML_INPUT_{}", input.name), place);
        }
        for (name, folder) in &self.outputs {
            std::fs::create_dir_all(folder)?;
            let place = folder.to_string_lossy().into_owned();
            command = replaced(&command, ("outputs", name), &place);
            given.insert(format!("AZURE_ML_OUTPUT_{name}"), place);
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

/// Puts `value` where the command says `${{inputs.name}}` or `${{outputs.name}}`.
fn replaced(command: &str, (kind, name): (&str, &str), value: &str) -> String {
    let mut result = String::new();
    let mut rest = command;
    while let Some(at) = rest.find("${{") {
        let Some(length) = rest[at..].find("}}") else {
            break;
        };
        let inside = rest[at + 3..at + length].trim();
        result.push_str(&rest[..at]);
        if inside.split_once('.') == Some((kind, name)) {
            result.push_str(value);
        } else {
            result.push_str(&rest[at..at + length + 2]);
        }
        rest = &rest[at + length + 2..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_input_is_replaced() {
        assert_eq!(
            replaced(
                "run a=${{inputs.a}} b=${{ inputs.ab }} c=${{outputs.a}}",
                ("inputs", "a"),
                "/mnt/x"
            ),
            "run a=/mnt/x b=${{ inputs.ab }} c=${{outputs.a}}"
        );
    }
}

//! What a head or worker job is submitted with. The names of the variables are the bootstrap's interface
//! (`src/bootstrap/dask_azureml.py`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::lineup::Lineup;
use super::started_with::{SPEC_TAG, started_with};
use super::wire::{HEAD_TAG, Input, JobIdentity, Resources, Want, WantProperties};
use crate::api::DatasetMode;
use crate::azure_resources::Scene;
use crate::azure_resources::data_asset::wire_type;
use crate::names::{JobName, Slot};
use crate::reconcile::{ValidCluster, ValidDataset};

/// The program that heads and workers run.
const BOOTSTRAP: &str = include_str!("../../bootstrap/dask_azureml.py");

/// gzip + base64 of [`BOOTSTRAP`]: it travels in one environment variable, so that no blob has to be uploaded.
static ENCODED_BOOTSTRAP: LazyLock<String> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder
        .write_all(BOOTSTRAP.as_bytes())
        .and_then(|()| encoder.finish());
    base64::engine::general_purpose::STANDARD
        .encode(written.expect("writing to memory does not fail"))
});

/// POSIX shell without `$` (Azure ML replaces `${{…}}`); `exec` so that signals reach Python.
const COMMAND: &str = "exec python -c \"import base64,gzip,os;\
source=gzip.decompress(base64.b64decode(os.environ.pop('DASK_AZUREML_BOOTSTRAP')));\
exec(compile(source,'dask_azureml.py','exec'))\"";

pub(super) fn encoded_bootstrap() -> &'static str {
    &ENCODED_BOOTSTRAP
}

pub(super) fn body(scene: &Scene<'_>, lineup: &Lineup, name: JobName) -> Want {
    let cluster = scene.cluster;
    let identity = &cluster.place.identity;
    let head = identity.job_id(lineup.head.name());
    let mut tags = cluster.owner.tags(&cluster.user_tags);
    tags.insert(SPEC_TAG.into(), started_with(cluster, name.slot));
    let (display_name, mut environment_variables) = match name.slot {
        Slot::Head => (
            format!("{} head", identity.name),
            head_variables(scene, lineup),
        ),
        Slot::Worker(slot) => {
            tags.insert(HEAD_TAG.into(), head.clone());
            (
                format!("{} worker {slot:02}", identity.name),
                worker_variables(cluster, head),
            )
        }
    };
    environment_variables.extend(shared_variables(scene));
    Want {
        properties: WantProperties {
            job_type: "Command",
            display_name,
            experiment_name: cluster.experiment_name.clone(),
            tags,
            compute_id: cluster.place.pool_of(name.slot).to_string(),
            environment_id: cluster.environment.id.to_string(),
            command: command(&cluster.datasets),
            environment_variables,
            inputs: cluster.datasets.iter().map(input).collect(),
            resources: Resources { instance_count: 1 },
            identity: cluster.compute.identities.first().map(|id| JobIdentity {
                identity_type: "Managed",
                resource_id: id.clone(),
            }),
        },
    }
}

fn head_variables(scene: &Scene<'_>, lineup: &Lineup) -> BTreeMap<String, String> {
    let cluster = scene.cluster;
    let mut variables = cluster.scheduler.env.clone();
    let token = scene.head_token(lineup);
    let own: [(&str, String); 5] = [
        ("DASK_AZUREML_ROLE", "head".into()),
        (
            "DASK_AZUREML_TOKEN_SHA256",
            token.map(|token| token.sha256()).unwrap_or_default(),
        ),
        (
            "DASK_AZUREML_RUN_WORKER",
            cluster.scheduler.run_worker.to_string(),
        ),
        (
            "DASK_AZUREML_JUPYTER",
            cluster.scheduler.jupyter.to_string(),
        ),
        (
            "DASK_AZUREML_WORKER_ENV",
            json!(cluster.worker.env).to_string(),
        ),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    variables
}

fn worker_variables(cluster: &ValidCluster, head: String) -> BTreeMap<String, String> {
    let mut variables = cluster.worker.env.clone();
    variables.insert("DASK_AZUREML_ROLE".into(), "worker".into());
    variables.insert("DASK_AZUREML_HEAD_RUN".into(), head);
    variables
}

fn shared_variables(scene: &Scene<'_>) -> BTreeMap<String, String> {
    let cluster = scene.cluster;
    let datasets: Vec<_> = cluster
        .datasets
        .iter()
        .map(|dataset| {
            let mut entry = json!({
                "name": dataset.name,
                "input": input_name(&dataset.name),
                "mode": match dataset.mode {
                    DatasetMode::Mount => "Mount",
                    DatasetMode::Download => "Download",
                    DatasetMode::Direct => "Direct",
                },
            });
            if let Some(path) = &dataset.path {
                entry["path"] = json!(path);
            }
            entry
        })
        .collect();
    let optional = [
        (
            "DASK_AZUREML_SUBNET",
            scene
                .observed
                .subnet_prefix(cluster)
                .map(|prefix| prefix.to_string()),
        ),
        (
            "DASK_AZUREML_WORKER_THREADS",
            cluster.worker.threads.map(|threads| threads.to_string()),
        ),
        (
            "DASK_AZUREML_WORKER_MEMORY_LIMIT",
            cluster.worker.memory_limit.map(|bytes| bytes.to_string()),
        ),
    ];
    let mut variables: BTreeMap<String, String> = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    variables.insert(
        "DASK_AZUREML_BOOTSTRAP".into(),
        encoded_bootstrap().to_owned(),
    );
    variables.insert(
        "DASK_AZUREML_START_TIMEOUT_SECONDS".into(),
        cluster.scheduler.start_timeout_seconds.to_string(),
    );
    variables.insert("DASK_AZUREML_DATASETS".into(), json!(datasets).to_string());
    variables
}

/// Key of a dataset among a job's inputs: Azure ML allows letters, digits and `_` there.
fn input_name(dataset: &str) -> String {
    format!("dataset_{}", dataset.to_lowercase().replace('-', "_"))
}

fn input(dataset: &ValidDataset) -> (String, Input) {
    let mode = match dataset.mode {
        DatasetMode::Mount => "ReadOnlyMount",
        DatasetMode::Download => "Download",
        DatasetMode::Direct => "Direct",
    };
    let input = Input {
        job_input_type: wire_type(dataset.kind),
        uri: dataset.id.to_string(),
        mode,
    };
    (input_name(&dataset.name), input)
}

fn command(datasets: &[ValidDataset]) -> String {
    let mut command = COMMAND.to_owned();
    for dataset in datasets {
        let input = input_name(&dataset.name);
        command.push_str(&format!(" {input}=${{{{inputs.{input}}}}}"));
    }
    command
}

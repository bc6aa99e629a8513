//! What a job was started with: a tag of its run that names each field of the spec with a hash, so that a change of the
//! spec is found in Azure at every look, and never remembered.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::wire::JobFacts;
use crate::api::DatasetMode;
use crate::azure_resources::data_asset::wire_type;
use crate::azure_resources::ownership::Tags;
use crate::names::{JobName, Slot};
use crate::reconcile::ValidCluster;

/// Tag of a job: `field=hash` of everything in the spec that it was given, separated by commas. A job without it was
/// started by an older operator.
pub(super) const SPEC_TAG: &str = "dask-azureml-spec";

/// The field that gives the head a worker of its own.
pub(super) const RUN_WORKER: &str = "scheduler.runWorker";

/// The value of [`SPEC_TAG`] for a job of this slot.
pub(super) fn started_with(cluster: &ValidCluster, slot: Slot) -> String {
    let pairs = fields(cluster, slot).map(|(field, hash)| format!("{field}={hash}"));
    pairs.collect::<Vec<_>>().join(",")
}

/// The jobs that were started with something else than the spec says now, each with the fields. What a job does not tell,
/// because an older operator started it, counts as up to date.
pub(crate) fn outdated(
    cluster: &ValidCluster,
    jobs: &BTreeMap<JobName, JobFacts>,
) -> BTreeMap<JobName, Vec<&'static str>> {
    // All workers have the same.
    let of_head: Vec<_> = fields(cluster, Slot::Head).collect();
    let of_worker: Vec<_> = fields(cluster, Slot::Worker(0)).collect();
    let fields = |slot| match slot {
        Slot::Head => &of_head,
        Slot::Worker(_) => &of_worker,
    };
    jobs.iter()
        .map(|(name, facts)| (*name, changed(fields(name.slot), facts)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect()
}

/// Jobs with these tags were started with more than one value of a field.
pub(crate) fn differ_in(field: &str, tags: &[Tags]) -> bool {
    let hash = |tags: &Tags| {
        let told = tags.get(SPEC_TAG)?;
        let mut pairs = told.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| *name == field)
            .map(|(_, hash)| hash.to_owned())
    };
    let hashes: BTreeSet<String> = tags.iter().filter_map(hash).collect();
    hashes.len() > 1
}

fn changed(wanted: &[(&'static str, String)], facts: &JobFacts) -> Vec<&'static str> {
    let Some(told) = facts.tags.get(SPEC_TAG) else {
        return Vec::new();
    };
    let told: BTreeMap<&str, &str> = told
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let differs =
        |(field, hash): &&(&'static str, String)| told.get(field).is_some_and(|told| told != hash);
    wanted
        .iter()
        .filter(differs)
        .map(|(field, _)| *field)
        .collect()
}

/// What a job of this slot is given of the spec. How long it may take to start is no part of it: what runs has started.
fn fields(cluster: &ValidCluster, slot: Slot) -> impl Iterator<Item = (&'static str, String)> {
    let is_head = slot == Slot::Head;
    // The head's own worker has the settings of the others.
    let has_worker = !is_head || cluster.scheduler.run_worker;
    let mut datasets: Vec<_> = cluster
        .datasets
        .iter()
        .map(|dataset| {
            let mode = match dataset.mode {
                DatasetMode::Mount => "Mount",
                DatasetMode::Download => "Download",
                DatasetMode::Direct => "Direct",
            };
            json!([
                dataset.id.to_string(),
                wire_type(dataset.kind),
                mode,
                dataset.path
            ])
        })
        .collect();
    // Their order in the manifest means nothing.
    datasets.sort_by_key(ToString::to_string);
    let (scheduler, worker) = (&cluster.scheduler, &cluster.worker);
    let all = [
        (true, "environment", json!(cluster.environment.written)),
        (true, "datasets", json!(datasets)),
        (true, "tags", json!(cluster.user_tags)),
        (true, "experimentName", json!(cluster.experiment_name)),
        (is_head, RUN_WORKER, json!(cluster.scheduler.run_worker)),
        (is_head, "scheduler.jupyter", json!(scheduler.jupyter)),
        (is_head, "scheduler.env", json!(scheduler.env)),
        (has_worker, "worker.threads", json!(worker.threads)),
        (has_worker, "worker.memoryLimit", json!(worker.memory_limit)),
        (has_worker, "worker.env", json!(worker.env)),
    ];
    all.into_iter()
        .filter(|(is_given, _, _)| *is_given)
        .map(|(_, field, value)| (field, hash(&value.to_string())))
}

/// Eight hexadecimal digits: two values of one field have the same once in four billion changes.
fn hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

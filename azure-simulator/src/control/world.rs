//! `GET /world`: everything that exists, as one looks at it.

use serde_json::{Value, json};

use crate::azure::{Azure, Transaction};
use crate::documents::Document;
use crate::kinds;
use crate::physics::run::{Process, Run};
use crate::processes::tree::ProcessTree;
use crate::processes::{log_of, ranks};

/// Everything that exists.
pub(crate) fn shown(azure: &Azure) -> Value {
    let tree = ProcessTree::read();
    azure.transact(|transaction| {
        json!({
            "jobs_are": azure.settings.world.jobs.word(),
            "resource_groups": plain(transaction, ""),
            "workspaces": plain(transaction, "Microsoft.MachineLearningServices/workspaces"),
            "networks": networks(transaction),
            "computes": computes(transaction),
            "jobs": jobs(transaction, &tree),
            "data": plain(transaction, "Microsoft.MachineLearningServices/workspaces/data/versions"),
            "environments": plain(
                transaction,
                "Microsoft.MachineLearningServices/workspaces/environments/versions",
            ),
        })
    })
}

/// Id, name and tags of everything of a type, and its properties.
fn plain(transaction: &Transaction<'_>, resource_type: &str) -> Vec<Value> {
    let found = transaction.state.documents.of_type(resource_type);
    found
        .into_iter()
        .map(|document| {
            let properties = &document.body["properties"];
            let tags = document.body.get("tags").or_else(|| properties.get("tags"));
            json!({
                "id": document.body["id"],
                "name": document.body["name"],
                "tags": tags,
                "properties": properties,
            })
        })
        .collect()
}

fn networks(transaction: &Transaction<'_>) -> Vec<Value> {
    transaction
        .state
        .documents
        .of_type("Microsoft.Network/virtualNetworks")
        .into_iter()
        .map(|network| {
            let subnets: Vec<Value> = kinds::subnets_of(transaction, &network.id)
                .map(|subnet| {
                    json!({
                        "id": subnet.body["id"],
                        "name": subnet.body["name"],
                        "addressPrefix": subnet.body["properties"]["addressPrefix"],
                    })
                })
                .collect();
            json!({
                "id": network.body["id"],
                "name": network.body["name"],
                "tags": network.body["tags"],
                "provisioningState": network.body["properties"]["provisioningState"],
                "addressSpace": network.body["properties"]["addressSpace"],
                "subnets": subnets,
            })
        })
        .collect()
}

fn computes(transaction: &Transaction<'_>) -> Vec<Value> {
    let physics = &transaction.state.physics;
    transaction
        .state
        .documents
        .of_type("Microsoft.MachineLearningServices/workspaces/computes")
        .into_iter()
        .map(|compute| {
            let body = kinds::shown::compute(transaction, compute);
            let pool = physics.pools.get(&compute.id.key());
            let nodes: Vec<Value> = pool
                .into_iter()
                .flat_map(|pool| &pool.nodes)
                .map(|node| {
                    let run = node.run.as_deref().and_then(|run| physics.runs.get(run));
                    json!({
                        "id": node.id,
                        "address": node.address,
                        "state": node.state.word(),
                        "job": run.map(|run| &run.id),
                    })
                })
                .collect();
            let inner = &body["properties"]["properties"];
            json!({
                "id": body["id"],
                "name": body["name"],
                "tags": body["tags"],
                "provisioningState": body["properties"]["provisioningState"],
                "allocationState": pool.map(|pool| pool.allocation()),
                "vmSize": inner["vmSize"],
                "vmPriority": inner["vmPriority"],
                "scaleSettings": inner["scaleSettings"],
                "subnet": inner["subnet"]["id"],
                "queued": pool.map_or(0, |pool| pool.queue.len()),
                "nodes": nodes,
            })
        })
        .collect()
}

fn jobs(transaction: &Transaction<'_>, tree: &ProcessTree) -> Vec<Value> {
    let physics = &transaction.state.physics;
    transaction
        .state
        .documents
        .of_type("Microsoft.MachineLearningServices/workspaces/jobs")
        .into_iter()
        .map(|job| {
            let body = kinds::shown::job(transaction, job);
            let run = physics.runs.get(&job.id.key());
            let pids = match run.map(|run| run.process) {
                Some(Process::Keeper(keeper)) => tree.below(keeper),
                _ => Vec::new(),
            };
            json!({
                "id": body["id"],
                "name": body["name"],
                "status": body["properties"]["status"],
                "tags": body["properties"]["tags"],
                "experiment": body["properties"]["experimentName"],
                "compute": body["properties"]["computeId"],
                "archived": body["properties"]["isArchived"],
                "node": run.and_then(|run| run.node()),
                "nodes": run.map(|run| &run.nodes),
                "directory": run.map(|run| &run.directory),
                "error": run.and_then(|run| run.error.as_ref()),
                "processes": run.map(|run| processes(job, run)),
                "pids": pids,
            })
        })
        .collect()
}

/// The processes of a job that has nodes: by rank, on which node each is and what it writes to.
fn processes(job: &Document, run: &Run) -> Vec<Value> {
    ranks::nodes(&job.body["properties"], run.nodes.len())
        .enumerate()
        .map(|(rank, node)| json!({"rank": rank, "node": run.nodes[node], "log": log_of(rank)}))
        .collect()
}

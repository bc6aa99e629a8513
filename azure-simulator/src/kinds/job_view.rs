//! What a GET of a job shows: its document with status, services and times (contract section 7).

use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::documents::Document;
use crate::kinds::{job_services, workspace};
use crate::physics::pool::NodeState;
use crate::physics::run::{JobStatus, Run};
use jiff::Timestamp;

/// The tag in which Azure tells what the job's compute is doing.
pub(crate) const COMPUTE_TARGET_STATUS: &str = "_aml_system_ComputeTargetStatus";

pub(crate) fn view(transaction: &Transaction<'_>, document: &Document) -> Value {
    let mut body = document.body.clone();
    let key = document.id.key();
    let properties = &mut body["properties"];
    if let Some(fields) = properties.as_object_mut() {
        fields.remove("_given");
    }
    let texts = &transaction.state.texts;
    texts.restore(&mut properties["environmentVariables"]);
    properties["services"] = job_services::shown(transaction, document);
    let Some(run) = transaction.state.physics.runs.get(&key) else {
        return body;
    };
    properties["status"] = json!(run.status.word());
    if !run.status.is_terminal()
        && let Some(text) = compute_target_status(transaction, &key)
    {
        properties["tags"][COMPUTE_TARGET_STATUS] = json!(text);
    }
    let server = &mut properties["properties"];
    server["_azureml.ComputeTargetType"] = json!("amlctrain");
    server["_azureml.ClusterName"] = json!(cluster_name(document));
    server["ProcessInfoFile"] = json!("azureml-logs/process_info.json");
    server["ProcessStatusFile"] = json!("azureml-logs/process_status.json");
    if let Some(started) = run.started {
        server["StartTimeUtc"] = json!(utc(started));
    }
    if let Some(ended) = run.ended.filter(|_| run.status.is_terminal()) {
        server["EndTimeUtc"] = json!(utc(ended));
    }
    body
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn cluster_name(document: &Document) -> &str {
    document.body["properties"]["computeId"]
        .as_str()
        .and_then(|id| id.rsplit('/').next())
        .unwrap_or_default()
}

/// `None` until the job has been queued.
pub(crate) fn compute_target_status(transaction: &Transaction<'_>, key: &str) -> Option<String> {
    let run = transaction.state.physics.runs.get(key)?;
    if matches!(run.status, JobStatus::Starting | JobStatus::Preparing) {
        return None;
    }
    let pool = transaction.state.physics.pools.get(&run.pool)?;
    // The order of the recorded text, which a JSON map would sort.
    Some(format!(
        "{{\"AllocationState\":\"{}\",\"PreparingNodeCount\":{},\"RunningNodeCount\":{},\
         \"CurrentNodeCount\":{}}}",
        pool.allocation().to_lowercase(),
        pool.count(NodeState::Preparing),
        pool.count(NodeState::Running),
        pool.nodes.len(),
    ))
}

/// The run of a job by its workspace's guid, as `mfeOperationResults` names it.
pub(crate) fn find_by_guid<'a>(
    transaction: &'a mut Transaction<'_>,
    guid: &str,
    job: &str,
) -> Option<&'a mut Run> {
    let documents = &transaction.state.documents;
    let home = documents
        .of_type("Microsoft.MachineLearningServices/workspaces")
        .into_iter()
        .find(|found| workspace::guid_of(&found.id).to_string() == guid)?;
    let id = home.id.child("jobs", Some(job));
    transaction.state.physics.runs.get_mut(&id.key())
}

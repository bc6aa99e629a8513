//! Outputs of a job that become versions of data assets when it has completed (contract sections 7
//! and 8).

use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::clock::timestamp_text;
use crate::documents::Order;
use crate::kinds::data_version::DATA;
use crate::processes::outputs;
use crate::resource_id::ResourceId;

/// Makes an asset version of each output of a job that has a name for one. Says why where one cannot
/// be made: versions do not change.
pub(crate) fn register(transaction: &mut Transaction<'_>, job: &str) -> Result<(), String> {
    let Some(job) = transaction.state.documents.by_key(job) else {
        return Ok(());
    };
    let outputs = job.body["properties"]["outputs"].as_object();
    let mut wanted = Vec::new();
    for (name, output) in outputs.into_iter().flatten() {
        if let Some(asset) = output["assetName"].as_str() {
            let container = job.id.root().child("data", Some(asset));
            let given = json!({
                "dataType": output["jobOutputType"],
                "dataUri": outputs::uri_of(job, name, output),
                "description": output["description"],
            });
            let version = output["assetVersion"].as_str().map(str::to_owned);
            wanted.push((container, version, given));
        }
    }
    let author = job.body["systemData"].clone();
    for (container, version, given) in wanted {
        let version = version.unwrap_or_else(|| next_version(transaction, &container));
        let id = container.child("versions", Some(&version));
        if transaction.state.documents.get(&id).is_some() {
            return Err(format!(
                "The data asset '{}' has a version '{version}' already, which cannot be changed.",
                container.name(),
            ));
        }
        let properties = (DATA.normalise)(&id, &given).map_err(|error| error.message)?;
        let body = json!({
            "id": id.to_string(),
            "name": version,
            "type": DATA.version_type,
            "properties": properties,
            "systemData": made_now(transaction, &author),
        });
        transaction.state.documents.insert(id, body);
    }
    Ok(())
}

/// The number after the highest one.
fn next_version(transaction: &Transaction<'_>, container: &ResourceId) -> String {
    let versions = container.child("versions", None);
    let members = transaction
        .state
        .documents
        .members(&versions, Order::OldestFirst, None);
    let highest = members
        .filter_map(|version| version.id.name().parse::<u64>().ok())
        .max();
    highest
        .map_or(1, |highest| highest.saturating_add(1))
        .to_string()
}

/// `systemData` of what a job made now in the name of who submitted it.
fn made_now(transaction: &Transaction<'_>, job: &Value) -> Value {
    let now = timestamp_text(transaction.now.timestamp);
    json!({
        "createdAt": now,
        "createdBy": job["createdBy"],
        "createdByType": job["createdByType"],
        "lastModifiedAt": now,
        "lastModifiedBy": job["createdBy"],
        "lastModifiedByType": job["createdByType"],
    })
}

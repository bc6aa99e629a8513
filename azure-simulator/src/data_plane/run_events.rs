//! What a run's own code tells run history of it (contract section 10).
//!
//! An event is `{timestamp, name, data}` with `data` as an object or as its JSON in a string:
//! Microsoft's clients have sent both.

use serde_json::{Value, json};

use crate::azure::Transaction;
use crate::data_plane::error::DataPlaneError;
use crate::data_plane::{DataPlaneRequest, find};

const PREFIX: &str = "Microsoft.MachineLearning.Run.";

/// Takes an event in. Heartbeats change nothing, as the node has its own; warnings and errors are the
/// run's. The other events would set the status, which is the system's own for a submitted run.
pub(crate) fn post(
    transaction: &mut Transaction<'_>,
    request: &DataPlaneRequest,
    run: &str,
    event: &Value,
) -> Result<(), DataPlaneError> {
    let id = request.job_id(run);
    find(transaction, &id)?;
    let name = event["name"].as_str().unwrap_or_default();
    let Some(kind) = name.strip_prefix(PREFIX) else {
        return Err(DataPlaneError::refused(format!("The run event '{name}'")));
    };
    let data = data_of(event)?;
    let Some(tracked) = transaction.state.physics.runs.get_mut(&id.key()) else {
        return Ok(());
    };
    match kind {
        "Heartbeat" => {}
        "Warning" => tracked.warnings.push(json!({
            "source": data["Source"],
            "message": data["Message"],
        })),
        "Error" if data["ErrorResponse"]["error"].is_object() => {
            tracked.error = Some(data["ErrorResponse"].clone());
        }
        "Error" => {
            return Err(DataPlaneError::bad_request(
                "The data of an error event needs an ErrorResponse with an error.",
            ));
        }
        _ => return Err(DataPlaneError::refused(format!("The run event '{name}'"))),
    }
    Ok(())
}

fn data_of(event: &Value) -> Result<Value, DataPlaneError> {
    match &event["data"] {
        Value::String(text) => serde_json::from_str(text).map_err(|problem| {
            DataPlaneError::bad_request(format!("The data of the event is no JSON: {problem}"))
        }),
        data => Ok(data.clone()),
    }
}

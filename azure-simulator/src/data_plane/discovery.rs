//! Where the services of a workspace are: all at the same address.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use crate::answer::Answer;
use crate::azure::Azure;

/// `GET {discoveryUrl}`, which needs no token (contract section 1).
pub(crate) async fn map(State(azure): State<Arc<Azure>>) -> Answer {
    let base = azure.settings.base_url();
    Answer::ok(json!({
        "api": base,
        "history": base,
        "mlflow": base,
        "artifact": base,
        "metric": base,
    }))
}

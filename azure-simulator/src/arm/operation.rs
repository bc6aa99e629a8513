//! Long-running operations and the URLs they are polled at (contract section 4).

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha512};
use uuid::Uuid;

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::faults::action::{Consequence, Fate};
use crate::problem::Problem;
use crate::resource_id::ResourceId;

/// Operations that are remembered after they ended; the oldest are forgotten first.
const REMEMBERED: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OperationId(Uuid);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Succeeded,
    Failed(Problem),
}

/// Has no `Debug`: its URL is signed.
struct Operation {
    number: u64,
    progress: Progress,
    /// The query of the polling URL, which must come back verbatim.
    query: String,
    /// How a fault wants it to go.
    fate: Option<Fate>,
    /// What its result shows when it has succeeded, where that is there.
    resource: Option<ResourceId>,
}

#[derive(Default)]
pub(crate) struct Operations {
    by_id: HashMap<OperationId, Operation>,
    order: BTreeMap<u64, OperationId>,
    last: u64,
}

impl Operations {
    fn begin(&mut self, query: String, fate: Option<Fate>) -> OperationId {
        let id = OperationId(Uuid::new_v4());
        self.last += 1;
        self.order.insert(self.last, id);
        self.by_id.insert(
            id,
            Operation {
                number: self.last,
                progress: Progress::Running,
                query,
                fate,
                resource: None,
            },
        );
        while self.order.len() > REMEMBERED {
            if let Some((_, old)) = self.order.pop_first() {
                self.by_id.remove(&old);
            }
        }
        id
    }

    pub(crate) fn succeed(&mut self, id: OperationId) {
        if let Some(operation) = self.by_id.get_mut(&id) {
            operation.progress = Progress::Succeeded;
        }
    }

    pub(crate) fn fail(&mut self, id: OperationId, problem: Problem) {
        if let Some(operation) = self.by_id.get_mut(&id) {
            operation.progress = Progress::Failed(problem);
        }
    }

    /// The resource that the result of the operation of this name shows.
    pub(crate) fn resource(&self, id: &str) -> Option<&ResourceId> {
        let id = OperationId(Uuid::parse_str(id).ok()?);
        self.by_id.get(&id)?.resource.as_ref()
    }

    /// How a fault wants the operation to go.
    pub(crate) fn fate(&self, id: OperationId) -> Option<&Fate> {
        self.by_id.get(&id)?.fate.as_ref()
    }

    fn progress(&mut self, id: &str, query: &str) -> Result<Progress, ArmError> {
        let known = Uuid::parse_str(id)
            .ok()
            .and_then(|id| self.by_id.get_mut(&OperationId(id)));
        let Some(operation) = known else {
            return Err(ArmError::new(
                StatusCode::NOT_FOUND,
                "NotFound",
                format!("The operation '{id}' was not found."),
            ));
        };
        if operation.query != query {
            return Err(ArmError::bad_request(format!(
                "The query of operation '{id}' (number {}) did not come back verbatim.",
                operation.number
            )));
        }
        if let Some(Fate::Unavailable { polls }) = &mut operation.fate
            && *polls > 0
        {
            *polls -= 1;
            return Err(unavailable());
        }
        Ok(operation.progress.clone())
    }
}

/// What polling is answered where a fault wants it so.
pub(crate) fn unavailable() -> ArmError {
    ArmError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailable",
        "The service is unavailable.",
    )
}

/// A status URL of a compute operation, signed at the length that real ones have.
pub(crate) fn begin_compute_operation(
    transaction: &mut Transaction<'_>,
    api_version: &str,
) -> (OperationId, String) {
    let query = format!("api-version={api_version}&service=new&{}", signature());
    let fate = fate_of(transaction);
    let id = transaction.state.operations.begin(query.clone(), fate);
    let url = format!(
        "{}/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/{}/\
         computeOperationsStatus/{}?{query}",
        transaction.settings.base_url(),
        transaction.settings.world.subscription_id,
        transaction.settings.world.location,
        id.0,
    );
    (id, url)
}

/// The result URL of an operation of a workspace: where it has succeeded, it shows the workspace.
pub(crate) fn begin_workspace_operation(
    transaction: &mut Transaction<'_>,
    api_version: &str,
    workspace: &ResourceId,
) -> (OperationId, String) {
    let query = format!("api-version={api_version}&{}", signature());
    let fate = fate_of(transaction);
    let id = transaction.state.operations.begin(query.clone(), fate);
    if let Some(operation) = transaction.state.operations.by_id.get_mut(&id) {
        operation.resource = Some(workspace.clone());
    }
    let url = format!(
        "{}/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/{}/\
         workspaceOperationsStatus/{}?{query}",
        transaction.settings.base_url(),
        transaction.settings.world.subscription_id,
        transaction.settings.world.location,
        id.0,
    );
    (id, url)
}

/// Status URL and result URL of a network operation.
pub(crate) fn begin_network_operation(
    transaction: &mut Transaction<'_>,
    api_version: &str,
) -> (OperationId, String, String) {
    let query = format!("api-version={api_version}&{}", signature());
    let fate = fate_of(transaction);
    let id = transaction.state.operations.begin(query.clone(), fate);
    let url = |word: &str| {
        format!(
            "{}/subscriptions/{}/providers/Microsoft.Network/locations/{}/{word}/{}?{query}",
            transaction.settings.base_url(),
            transaction.settings.world.subscription_id,
            transaction.settings.world.location,
            id.0,
        )
    };
    (id, url("operations"), url("operationResults"))
}

/// What a fault makes of the operation that this transaction begins.
fn fate_of(transaction: &mut Transaction<'_>) -> Option<Fate> {
    match transaction.consequence.take() {
        Some(Consequence::Operation(fate)) => Some(fate),
        other => {
            transaction.consequence = other;
            None
        }
    }
}

/// What `Azure-AsyncOperation` points to: always 200 with a status.
pub(crate) fn status(
    transaction: &mut Transaction<'_>,
    id: &str,
    query: &str,
) -> Result<Answer, ArmError> {
    let running = &transaction.settings.world.operations.running_status;
    Ok(Answer::ok(
        match transaction.state.operations.progress(id, query)? {
            Progress::Running => json!({"status": running}),
            Progress::Succeeded => json!({"status": "Succeeded", "percentComplete": 100.0}),
            Progress::Failed(problem) => json!({"status": "Failed", "error": problem.inner()}),
        },
    ))
}

/// What `Location` points to: 202 while running, then the final answer.
pub(crate) fn result(
    transaction: &mut Transaction<'_>,
    id: &str,
    query: &str,
) -> Result<Answer, ArmError> {
    Ok(match transaction.state.operations.progress(id, query)? {
        Progress::Running => Answer::empty(StatusCode::ACCEPTED),
        Progress::Succeeded => {
            let state = &transaction.state;
            let resource = state.operations.resource(id);
            match resource.and_then(|resource| state.documents.get(resource)) {
                Some(found) => Answer::ok(found.body.clone()),
                None => Answer::empty(StatusCode::NO_CONTENT),
            }
        }
        Progress::Failed(problem) => {
            return Err(ArmError::new(
                StatusCode::CONFLICT,
                &problem.code,
                problem.message,
            ));
        }
    })
}

/// `t`, `c`, `s` and `h`: ticks, certificate, signature and hash, 3 to 4 kB in all.
fn signature() -> String {
    let seed = Uuid::new_v4();
    let block = |salt: u8| {
        let mut hash = Sha512::new();
        hash.update([salt]);
        hash.update(seed.as_bytes());
        URL_SAFE_NO_PAD.encode(hash.finalize())
    };
    let certificate: String = (0..34).map(block).collect();
    let proof: String = (34..38).map(block).collect();
    let ticks = seed.as_u128() % 1_000_000_000_000_000_000;
    format!(
        "t={ticks:018}&c={certificate}&s={proof}&h={}",
        &block(99)[..43]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_long_as_the_real_ones() {
        let length = signature().len();
        assert!((3000..4000).contains(&length), "{length}");
    }

    #[test]
    fn the_query_of_an_operation_must_come_back_verbatim() {
        let mut operations = Operations::default();
        let id = operations.begin("api-version=1&s=x".to_owned(), None);
        let name = id.0.to_string();
        assert_eq!(
            operations.progress(&name, "api-version=1&s=x").unwrap(),
            Progress::Running
        );
        assert!(operations.progress(&name, "api-version=1").is_err());
        operations.succeed(id);
        assert_eq!(
            operations.progress(&name, "api-version=1&s=x").unwrap(),
            Progress::Succeeded
        );
    }
}

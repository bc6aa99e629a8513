//! The AML data plane: MLflow, run history, artifacts (contract section 10). What a run tracks is
//! one store with the ARM job: its tags are the job's tags.

pub(crate) mod artifacts;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod experiments;
pub(crate) mod metrics_v1;
pub(crate) mod mlflow;
pub(crate) mod run_artifacts;
pub(crate) mod run_events;
pub(crate) mod run_files;
pub(crate) mod run_history;
pub(crate) mod run_search;

use http::{HeaderMap, Method, Uri};
use serde_json::Value;

use crate::arm::request::{Query, decoded};
use crate::azure::{Azure, Transaction};
use crate::documents::Document;
use crate::entra::{Audience, Principal};
use crate::physics::run::Run;
use crate::problem::Problem;
use crate::resource_id::ResourceId;
use error::DataPlaneError;

/// A request of the data plane, below a workspace.
pub(crate) struct DataPlaneRequest {
    pub(crate) method: Method,
    /// The workspace, as it is stored.
    pub(crate) workspace: ResourceId,
    /// What follows the workspace, decoded, without slashes at its ends.
    pub(crate) rest: Vec<String>,
    pub(crate) query: Query,
}

impl DataPlaneRequest {
    /// Takes `/{plane}/{version}{WS}/…` apart, for a caller whose token is known.
    pub(crate) fn read(
        azure: &Azure,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, DataPlaneError> {
        let now = azure.clock.now().timestamp;
        let principal = azure
            .tokens
            .check(&azure.settings, headers, Audience::DataPlane, now)
            .map_err(DataPlaneError::unauthorized)?;
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        // plane, version, then `subscriptions/s/resourceGroups/g/providers/p/workspaces/w`.
        let unknown = || DataPlaneError::not_found(format!("No route matches '{}'.", uri.path()));
        let scope = parts.get(2..10).ok_or_else(unknown)?;
        let id = ResourceId::parse(&decoded(&scope.join("/"))).ok_or_else(unknown)?;
        let workspace = azure
            .transact(|transaction| {
                let found = transaction.state.documents.get(&id);
                found.map(|found| found.id.clone())
            })
            .ok_or_else(|| {
                DataPlaneError::not_found(format!("Workspace '{}' was not found.", id.name()))
            })?;
        if let Principal::Run { workspace: own } = &principal
            && *own != workspace.key()
        {
            return Err(DataPlaneError::forbidden(
                "The run token is of another workspace.",
            ));
        }
        Ok(Self {
            method: method.clone(),
            workspace,
            rest: parts[10..].iter().map(|part| decoded(part)).collect(),
            query: Query::parse(uri.query().unwrap_or_default()),
        })
    }

    pub(crate) fn route(&self) -> Vec<&str> {
        self.rest.iter().map(String::as_str).collect()
    }

    pub(crate) fn job_id(&self, run: &str) -> ResourceId {
        self.workspace.child("jobs", Some(run))
    }
}

/// A job and its run.
pub(crate) struct Tracked<'a> {
    pub(crate) document: &'a Document,
    pub(crate) run: &'a Run,
    /// Why it does not get a node, where that is known.
    pub(crate) shortage: Option<&'a Problem>,
}

impl<'a> Tracked<'a> {
    pub(crate) fn of(
        transaction: &'a Transaction<'_>,
        document: &'a Document,
        run: &'a Run,
    ) -> Self {
        let pool = transaction.state.physics.pools.get(&run.pool);
        let short = pool.and_then(|pool| pool.shortage.as_ref());
        Self {
            document,
            run,
            shortage: run.held.as_ref().or(short),
        }
    }

    pub(crate) fn properties(&self) -> &Value {
        &self.document.body["properties"]
    }

    pub(crate) fn experiment(&self) -> &str {
        self.properties()["experimentName"]
            .as_str()
            .unwrap_or_default()
    }
}

pub(crate) fn find<'a>(
    transaction: &'a Transaction<'_>,
    id: &ResourceId,
) -> Result<Tracked<'a>, DataPlaneError> {
    let document = transaction.state.documents.get(id);
    let run = transaction.state.physics.runs.get(&id.key());
    match (document, run) {
        (Some(document), Some(run)) => Ok(Tracked::of(transaction, document, run)),
        _ => Err(DataPlaneError::not_found(format!(
            "Run with id {} was not found.",
            id.name()
        ))),
    }
}

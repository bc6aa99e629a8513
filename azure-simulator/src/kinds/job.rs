//! Jobs (contract section 7): PUT is synchronous, ids are spent for ever, cancel takes time.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::paging;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::documents::{Document, Order};
use crate::kinds::{Kind, asset_version, job_check, job_update, job_view, system_data, workspace};
use crate::physics::run::{JobStatus, Process, Run};
use crate::resource_id::ResourceId;

pub(crate) struct Job;

/// The least that the specification allows, in seconds.
const DELETE_RETRY_AFTER: &str = "10";

impl Kind for Job {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/workspaces/jobs"
    }

    fn query_parameters(&self, verb: &Verb) -> &'static [&'static str] {
        match verb {
            Verb::List => &["$skip", "jobType", "tag", "listViewType", "properties"],
            _ => &[],
        }
    }

    fn view(&self, transaction: &Transaction<'_>, document: &Document) -> Value {
        job_view::view(transaction, document)
    }

    fn not_found(&self, id: &ResourceId) -> ArmError {
        job_not_found(id)
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let mut wanted = job_check::Wanted::read(&request.id, request.object()?)?;
        let variables = &mut wanted.properties["environmentVariables"];
        transaction.state.texts.shorten(variables);
        let existing = transaction.state.documents.get(&request.id).cloned();
        let unproven = &transaction.settings.world.unproven;
        if let Some(found) = existing {
            let changed = job_update::changed(unproven, &found, &wanted.properties)?;
            if let Some(stored) = transaction.state.documents.body_mut(&found.id.key()) {
                *stored = changed;
            }
            return self.get(transaction, request);
        }
        if transaction.state.documents.is_spent(&request.id.key()) {
            return Err(job_update::immutable(unproven, "Name"));
        }
        let references = job_check::References::resolve(transaction, &wanted.properties)?;
        let id = asset_version::with_stored_workspace(transaction, &request.id);
        let body = json!({
            "id": id.to_string(),
            "name": id.name(),
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "properties": wanted.properties,
            "systemData": system_data(transaction, request, None),
        });
        let run = new_run(transaction, &id, references);
        transaction.state.documents.insert(id.clone(), body);
        transaction.submit(id.key(), run);
        let shown = transaction
            .state
            .documents
            .get(&id)
            .map(|document| self.view(transaction, document));
        let location = format!(
            "{}{id}?api-version={}",
            transaction.settings.base_url(),
            request.api_version()
        );
        Ok(Answer::json(StatusCode::CREATED, shown.unwrap_or_default())
            .header("location", location))
    }

    /// `tag` filters by key only (contract section 0.8).
    fn list(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let order = match transaction.settings.world.unproven.newest_jobs_first {
            true => Order::NewestFirst,
            false => Order::OldestFirst,
        };
        let after = paging::position(request)?;
        let archived = asset_version::archived_wanted(request)?;
        let kind = request.query.get("jobType");
        let tag = request.query.get("tag");
        let asked = request.query.get("properties").unwrap_or_default();
        let found = transaction
            .state
            .documents
            .members(&request.id, order, after)
            .filter(|document| {
                let properties = &document.body["properties"];
                archived.is_none_or(|archived| (properties["isArchived"] == true) == archived)
                    && tag.is_none_or(|tag| properties["tags"].get(tag).is_some())
                    && kind.is_none_or(|kind| properties["jobType"] == kind)
                    && asset_version::has_all(&properties["properties"], asked)
            });
        Ok(Answer::ok(paging::page(
            transaction.settings,
            request,
            found,
            |document| self.view(transaction, document),
        )))
    }

    /// Only a job that has ended can be deleted; its id stays spent (contract sections 4 and 7).
    fn delete(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
    ) -> Result<Answer, ArmError> {
        let key = request.id.key();
        let ended = match transaction.state.physics.runs.get(&key) {
            None => return Ok(Answer::empty(StatusCode::NO_CONTENT)),
            Some(run) => run.status.is_terminal(),
        };
        if !ended {
            return Err(ArmError::user(format!(
                "Run {} cannot be deleted before it has ended.",
                request.id.name()
            )));
        }
        let location = result_url(transaction, request, "jd");
        transaction.state.documents.spend(&key);
        transaction.state.physics.runs.remove(&key);
        Ok(Answer::empty(StatusCode::ACCEPTED)
            .header("location", location)
            .header("retry-after", DELETE_RETRY_AFTER)
            .header("x-ms-async-operation-timeout", "PT1H"))
    }

    fn act(
        &self,
        transaction: &mut Transaction<'_>,
        request: &ArmRequest,
        action: &str,
    ) -> Result<Answer, ArmError> {
        if !action.eq_ignore_ascii_case("cancel") {
            return Err(super::not_allowed(&format!("POST {action} of a job")));
        }
        let Some(found) = transaction.state.documents.get(&request.id) else {
            return Err(job_not_found(&request.id));
        };
        let id = found.id.clone();
        if !transaction.request_cancel(&id.key()) {
            return Ok(Answer::empty(StatusCode::OK));
        }
        let location = result_url(transaction, request, "jc");
        Ok(Answer::json(StatusCode::ACCEPTED, Value::Null)
            .header("location", location)
            .header("x-ms-async-operation-timeout", "PT1H"))
    }
}

/// Where a cancel (`jc`) or a delete (`jd`) of a job is polled.
fn result_url(transaction: &Transaction<'_>, request: &ArmRequest, word: &str) -> String {
    let mut home = request.id.clone();
    home.segments.truncate(1);
    let world = &transaction.settings.world;
    format!(
        "{}/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/{}/\
         mfeOperationResults/{word}:{}:{}?api-version={}",
        transaction.settings.base_url(),
        world.subscription_id,
        world.location,
        workspace::guid_of(&home),
        request.id.name(),
        request.api_version(),
    )
}

fn job_not_found(id: &ResourceId) -> ArmError {
    ArmError::front_end_not_found(format!(
        "Run {} was not found in workspace {}.",
        id.name(),
        id.root_name(),
    ))
}

fn new_run(
    transaction: &Transaction<'_>,
    id: &ResourceId,
    references: job_check::References,
) -> Run {
    let settings = transaction.settings;
    // Ids are unique in a workspace; the first one of the world has the plain names.
    let first = settings.world.workspaces.first();
    let folder = match first {
        Some(first) if first.name.eq_ignore_ascii_case(id.root_name()) => id.name().to_owned(),
        _ => format!("{}@{}", id.name(), id.root_name()),
    };
    let mut home = id.clone();
    home.segments.truncate(1);
    Run {
        id: id.name().to_owned(),
        workspace: home.key(),
        pool: references.compute.key(),
        environment: references.environment.key(),
        status: JobStatus::Starting,
        instances: references.instances,
        nodes: Vec::new(),
        process: Process::None,
        attempt: 0,
        lost: false,
        ending: None,
        timeout_seconds: references.timeout_seconds,
        held: None,
        unavailable_polls: 0,
        error: None,
        warnings: Vec::new(),
        created: transaction.now.timestamp,
        started: None,
        ended: None,
        directory: settings.directory.join("jobs").join(folder),
        metrics: Vec::new(),
        metrics_v1: Vec::new(),
        parameters: std::collections::BTreeMap::new(),
    }
}

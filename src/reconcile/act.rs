//! Step 4: [`Plan`] → [`Acted`]. Executes and decides nothing; what fails becomes a fact.

use futures::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;

use super::observe::Azure;
use super::operations::{Beginning, OperationVerb};
use super::plan::{Action, Follow, Plan, Step};
use super::trouble;
use crate::api::Reason;
use crate::azure::{ArmClient, Class, Errand, Error, Operation, Response, Retry};
use crate::azure_resources::{AzureKind as _, Job};
use crate::clock::Clock;
use crate::inventory::Wrote;
use crate::kubernetes::ClusterWriter;
use crate::lookup::Trouble;
use crate::names::ClusterIdentity;

/// Azure requests of one cluster that are under way at once.
const SIDE_BY_SIDE: usize = 8;

/// What became of each step.
#[derive(Clone, Debug, Default)]
pub struct Acted {
    pub(super) done: Vec<Step>,
    pub(super) failed: Vec<Failure>,
    /// What Azure goes on working on.
    pub(super) begun: Vec<Beginning>,
}

#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub step: Step,
    pub trouble: Trouble,
    pub retry: Retry,
    /// Set by whoever counts failures.
    pub next_try: Option<Timestamp>,
}

impl Acted {
    #[cfg(test)]
    pub(crate) fn taken(steps: Vec<Step>) -> Self {
        Self {
            done: steps,
            ..Self::default()
        }
    }

    #[cfg(test)]
    pub(crate) fn failed_at(step: Step, trouble: Trouble, retry: Retry) -> Self {
        let failure = Failure {
            step,
            trouble,
            retry,
            next_try: None,
        };
        Self {
            failed: vec![failure],
            ..Self::default()
        }
    }

    pub fn done(&self) -> impl Iterator<Item = &Step> {
        self.done.iter()
    }

    pub fn failures(&self) -> impl Iterator<Item = (&Step, &Trouble)> {
        self.failed
            .iter()
            .map(|failure| (&failure.step, &failure.trouble))
    }

    pub(super) fn failed_mut(&mut self) -> &mut [Failure] {
        &mut self.failed
    }

    /// A step that gates has failed: what comes after it was not done.
    pub fn was_cut_short(&self) -> bool {
        self.failed.iter().any(|failure| failure.step.gates)
    }

    pub fn next_tries(&self) -> impl Iterator<Item = Timestamp> {
        self.failed.iter().filter_map(|failure| failure.next_try)
    }
}

/// The hands: who writes to Kubernetes, to Azure, and asks the scheduler.
pub(super) struct Hands<'a> {
    pub cluster: &'a ClusterIdentity,
    pub kubernetes: &'a ClusterWriter<'a>,
    pub azure: Option<&'a Azure>,
    pub poller: &'a crate::dask::Poller,
    pub clock: &'a Clock,
}

/// Gates one after the other, then everything else in order, with Azure writes of one kind side by side.
pub(super) async fn act(plan: &Plan, hands: &Hands<'_>) -> Acted {
    let mut acted = Acted::default();
    match &plan.follow {
        Follow::AsBefore => {}
        Follow::Nobody => hands.poller.follow(hands.cluster, None),
        Follow::This(target) => hands.poller.follow(hands.cluster, Some(target.clone())),
    }
    for batch in plan.steps.chunk_by(may_run_together) {
        let outcomes: Vec<_> = futures::stream::iter(batch.to_vec())
            .map(|step| async move {
                let outcome = hands.take(&step).await;
                (step, outcome)
            })
            .buffered(SIDE_BY_SIDE)
            .collect()
            .await;
        let mut stop = false;
        for (step, outcome) in outcomes {
            match outcome {
                Ok(begun) => {
                    acted.begun.extend(begun);
                    acted.done.push(step);
                }
                Err((trouble, retry)) => {
                    let trouble = match &step.remedy {
                        Some(remedy) => trouble.with_remedy(remedy),
                        None => trouble,
                    };
                    stop |= step.gates;
                    acted.failed.push(Failure {
                        step,
                        trouble,
                        retry,
                        next_try: None,
                    });
                }
            }
        }
        if stop {
            break;
        }
    }
    acted
}

fn may_run_together(one: &Step, other: &Step) -> bool {
    if one.gates || other.gates {
        return false;
    }
    match (&one.action, &other.action) {
        (Action::PutAzure { kind, .. }, Action::PutAzure { kind: other, .. }) => kind == other,
        (Action::CancelJob { .. }, Action::CancelJob { .. }) => true,
        _ => false,
    }
}

/// The operation that a step has begun in Azure, if any.
type Outcome = Result<Option<Beginning>, (Trouble, Retry)>;

impl Hands<'_> {
    async fn take(&self, step: &Step) -> Outcome {
        tracing::info!(step = %step, "acting");
        let kubernetes = |doing: &str, result: Result<(), kube::Error>| match result {
            Ok(()) => Ok(None),
            Err(error) => Err((trouble::of_kubernetes(doing, &error), Retry::Backoff)),
        };
        let doing = step.action.to_string();
        match &step.action {
            Action::EnsureFinalizer => {
                kubernetes(&doing, self.kubernetes.set_finalizer(true).await)
            }
            Action::RemoveFinalizer => {
                kubernetes(&doing, self.kubernetes.set_finalizer(false).await)
            }
            Action::HoldCredentials(secret) => kubernetes(
                &doing,
                self.kubernetes
                    .hold_secret(&secret.name, &secret.uid, true)
                    .await,
            ),
            Action::ReleaseCredentials(secret) => kubernetes(
                &doing,
                self.kubernetes
                    .hold_secret(&secret.name, &secret.uid, false)
                    .await,
            ),
            Action::CreateChild(child) => match self.kubernetes.create(child).await {
                Ok(()) => Ok(None),
                Err(trouble) if trouble.lasting => Err((trouble, Retry::Slow)),
                Err(trouble) => Err((trouble, Retry::Backoff)),
            },
            Action::UpdateChild(child) => kubernetes(&doing, self.kubernetes.update(child).await),
            Action::DeleteEndpointSlice { name } => {
                kubernetes(&doing, self.kubernetes.delete_slice(name).await)
            }
            Action::RetireWorkers { count, first } => {
                self.poller.retire(self.cluster, *count, first.clone());
                Ok(None)
            }
            Action::PutAzure { .. }
            | Action::PatchAzure { .. }
            | Action::DeleteAzure { .. }
            | Action::CancelJob { .. } => self.write_azure(step).await,
        }
    }

    /// The client for a step: it asks for this cluster, as urgently as the step is.
    fn client(&self, azure: &Azure, step: &Step) -> ArmClient {
        azure.client.on_errand(Errand {
            lane: step.lane,
            cluster: Some(self.cluster.uid.as_str().into()),
        })
    }

    async fn write_azure(&self, step: &Step) -> Outcome {
        let Some(azure) = self.azure else {
            let message = "there is no identity to write to Azure with";
            return Err((
                Trouble::passing(Reason::CredentialsMissing, message),
                Retry::Slow,
            ));
        };
        let client = self.client(azure, step);
        let mut own = None;
        if let Action::PutAzure { id, .. } = &step.action {
            own = azure.sight.begin_write(id, azure.looked_at);
            if own.is_none() {
                return Ok(None);
            }
        }
        let (id, api_version, answer) = match &step.action {
            Action::PutAzure {
                id,
                api_version,
                body,
                if_match,
                ..
            } => {
                let answer = match if_match {
                    Some(etag) => client.put_if_match(id, api_version, body, etag).await,
                    None => client.put(id, api_version, body).await,
                };
                (id, *api_version, answer)
            }
            Action::PatchAzure {
                id,
                api_version,
                body,
                ..
            } => (id, *api_version, client.patch(id, api_version, body).await),
            Action::DeleteAzure {
                id,
                api_version,
                query,
                if_match,
                ..
            } => {
                let answer = match if_match {
                    Some(etag) => client.delete_if_match(id, api_version, query, etag).await,
                    None => client.delete(id, api_version, query).await,
                };
                (id, *api_version, answer)
            }
            Action::CancelJob { id, api_version } => (
                id,
                *api_version,
                client.post(id, "cancel", api_version, None).await,
            ),
            _ => return Ok(None),
        };
        // One that was not sent changed nothing.
        let is_unsent = |error: &Error| error.class() == Class::OutOfBudget;
        if !answer.as_ref().is_err_and(is_unsent) {
            let left = what_is_left(&step.action, &answer);
            azure.sight.wrote(id, api_version, left);
            if let Some(write) = own {
                write.ended(self.clock.now());
            }
        }
        match answer {
            Ok(answer) => Ok(answer
                .operation
                .and_then(|operation| beginning(&step.action, operation))),
            // Who takes away what is gone has done it.
            Err(error) if error.is_not_found() && !step.action.writes_azure() => Ok(None),
            Err(error) => Err((trouble::of_azure(&error), error.retry())),
        }
    }
}

fn beginning(action: &Action, operation: Operation) -> Option<Beginning> {
    let (kind, verb, id) = match action {
        Action::PutAzure { kind, id, .. } => (*kind, OperationVerb::Put, id),
        Action::PatchAzure { kind, id, .. } => (*kind, OperationVerb::Patch, id),
        Action::DeleteAzure { kind, id, .. } => (*kind, OperationVerb::Delete, id),
        Action::CancelJob { id, .. } => (Job::NAME, OperationVerb::Post, id),
        _ => return None,
    };
    Some(Beginning {
        id: id.clone(),
        kind,
        verb,
        operation,
    })
}

/// What is there after a write, as far as its answer tells.
fn what_is_left(action: &Action, answer: &Result<Response, Error>) -> Wrote {
    let accepted = |answer: &Response| answer.status == StatusCode::ACCEPTED;
    match (action, answer) {
        (Action::PutAzure { .. } | Action::PatchAzure { .. }, Ok(answer)) => {
            answer.body.clone().map_or(Wrote::Unknown, Wrote::Resource)
        }
        (Action::DeleteAzure { .. }, Ok(answer)) if accepted(answer) => Wrote::Deleting,
        (Action::DeleteAzure { .. }, Ok(_)) => Wrote::Gone,
        (Action::DeleteAzure { .. }, Err(error)) if error.is_not_found() => Wrote::Gone,
        (Action::CancelJob { .. }, Ok(answer)) if accepted(answer) => Wrote::Cancelling,
        _ => Wrote::Unknown,
    }
}

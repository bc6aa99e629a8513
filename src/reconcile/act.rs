//! Step 4: [`Plan`] → [`Acted`]. Executes and decides nothing; what fails becomes a fact.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;

use super::plan::{Action, Follow, Plan, Step};
use super::trouble;
use crate::access::AzureAccess;
use crate::azure::Retry;
use crate::inventory::Inventory;
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
    pub azure: Option<&'a AzureAccess>,
    pub inventory: &'a Inventory,
    pub poller: &'a crate::dask::Poller,
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
                Ok(()) => acted.done.push(step),
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

type Outcome = Result<(), (Trouble, Retry)>;

impl Hands<'_> {
    async fn take(&self, step: &Step) -> Outcome {
        tracing::info!(step = %step, "acting");
        let kubernetes = |doing: &str, result: Result<(), kube::Error>| {
            result.map_err(|error| (trouble::of_kubernetes(doing, &error), Retry::Backoff))
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
            Action::CreateChild(child) => self.kubernetes.create(child).await.map_err(|trouble| {
                let retry = if trouble.lasting {
                    Retry::Slow
                } else {
                    Retry::Backoff
                };
                (trouble, retry)
            }),
            Action::UpdateChild(child) => kubernetes(&doing, self.kubernetes.update(child).await),
            Action::DeleteEndpointSlice { name } => {
                kubernetes(&doing, self.kubernetes.delete_slice(name).await)
            }
            Action::RetireWorkers { count } => {
                self.poller.retire(self.cluster, *count);
                Ok(())
            }
            Action::PutAzure { .. }
            | Action::PatchAzure { .. }
            | Action::DeleteAzure { .. }
            | Action::CancelJob { .. } => self.write_azure(&step.action).await,
        }
    }

    async fn write_azure(&self, action: &Action) -> Outcome {
        let Some(azure) = self.azure else {
            let message = "there is no identity to write to Azure with";
            return Err((
                Trouble::passing(crate::api::Reason::CredentialsMissing, message),
                Retry::Slow,
            ));
        };
        let written = match action {
            Action::PutAzure {
                id,
                api_version,
                body,
                if_match,
                ..
            } => {
                let client = &azure.client;
                let answer = match if_match {
                    Some(etag) => client.put_if_match(id, api_version, body, etag).await,
                    None => client.put(id, api_version, body).await,
                };
                self.inventory
                    .wrote(
                        azure,
                        id,
                        answer.as_ref().ok().and_then(|answer| answer.body.clone()),
                    )
                    .await;
                answer.map(drop)
            }
            Action::PatchAzure {
                id,
                api_version,
                body,
                ..
            } => {
                let answer = azure.client.patch(id, api_version, body).await;
                self.inventory.wrote(azure, id, None).await;
                answer.map(drop)
            }
            Action::DeleteAzure {
                id,
                api_version,
                query,
                if_match,
                ..
            } => {
                let client = &azure.client;
                let answer = match if_match {
                    Some(etag) => client.delete_if_match(id, api_version, query, etag).await,
                    None => client.delete(id, api_version, query).await,
                };
                self.inventory.wrote(azure, id, None).await;
                match answer {
                    Err(error) if error.is_not_found() => Ok(()),
                    answer => answer.map(drop),
                }
            }
            Action::CancelJob { id, api_version } => {
                let answer = azure.client.post(id, "cancel", api_version, None).await;
                self.inventory.wrote(azure, id, None).await;
                match answer {
                    Err(error) if error.is_not_found() => Ok(()),
                    answer => answer.map(drop),
                }
            }
            _ => Ok(()),
        };
        written.map_err(|error| (trouble::of_azure(&error), error.retry()))
    }
}

/// Failures in a row, by step: what a later plan respects.
#[derive(Clone, Debug, Default)]
pub struct Setbacks(pub std::collections::BTreeMap<String, super::observed::Setback>);

impl Setbacks {
    /// Counts what failed, forgets what was done, and tells the failures when they are tried again.
    pub fn learn(&mut self, acted: &mut Acted, now: Timestamp) {
        for step in acted.done() {
            self.0.remove(&step.key());
        }
        for failure in acted.failed_mut() {
            let failures = self
                .0
                .get(&failure.step.key())
                .map_or(0, |setback| setback.failures)
                .saturating_add(1);
            let delay = trouble::delay(failure.retry, failures).max(Duration::from_millis(250));
            let not_before = now
                .saturating_add(
                    jiff::SignedDuration::try_from(delay).unwrap_or(jiff::SignedDuration::ZERO),
                )
                .unwrap_or(now);
            failure.next_try = Some(not_before);
            let setback = super::observed::Setback {
                trouble: failure.trouble.clone(),
                failures,
                not_before,
            };
            self.0.insert(failure.step.key(), setback);
        }
    }
}

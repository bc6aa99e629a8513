//! Step 4: [`Plan`] → [`Acted`]. Executes and decides nothing; what fails becomes a fact.

use std::time::Duration;

use futures::StreamExt as _;
use http::StatusCode;
use jiff::Timestamp;

use super::observe::Azure;
use super::plan::{Action, Follow, Plan, Step};
use super::trouble;
use crate::api::Reason;
use crate::azure::{ArmClient, Class, Errand, Error, Response, Retry};
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
    pub azure: Option<&'a Azure>,
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
            _ => return Ok(()),
        };
        // One that was not sent changed nothing.
        let is_unsent = |error: &Error| error.class() == Class::OutOfBudget;
        if !answer.as_ref().is_err_and(is_unsent) {
            let left = what_is_left(&step.action, &answer);
            azure.sight.wrote(id, api_version, left);
        }
        let written = match answer {
            // Who takes away what is gone has done it.
            Err(error) if error.is_not_found() && !step.action.writes_azure() => Ok(()),
            answer => answer.map(drop),
        };
        written.map_err(|error| (trouble::of_azure(&error), error.retry()))
    }
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

/// Failures in a row, by step: what a later plan respects.
#[derive(Clone, Debug, Default)]
pub struct Setbacks(pub std::collections::BTreeMap<String, super::observed::Setback>);

impl Setbacks {
    /// Counts what failed, forgets what was done, and tells the failures when they are tried again. What waits for
    /// its turn within Azure's rate limit has not failed. `jitter` is drawn from 0 to 1.
    pub fn learn(&mut self, acted: &mut Acted, now: Timestamp, jitter: f64) {
        for step in acted.done() {
            self.0.remove(&step.key());
        }
        for failure in acted.failed_mut() {
            let before = self
                .0
                .get(&failure.step.key())
                .map_or(0, |setback| setback.failures);
            let asked = failure.trouble.retry_after;
            let (failures, delay) = if failure.trouble.reason == Reason::WaitingForBudget {
                (before, asked.unwrap_or_default())
            } else {
                let failures = before.saturating_add(1);
                let own = trouble::delay(failure.retry, failures);
                let asked = asked.map(|asked| asked.mul_f64(1.0 + JITTER * jitter));
                (failures, own.max(asked.unwrap_or_default()))
            };
            let delay = delay.max(Duration::from_millis(250));
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

/// By how much a wait that Azure asked for is made longer at most, so that not all come back at once.
const JITTER: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ConditionType;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn step() -> Step {
        let action = Action::RetireWorkers { count: 1 };
        Step::new(action, ConditionType::WorkersReady, "fewer are wanted")
    }

    /// Failures that are counted, and milliseconds until the next try.
    fn learnt(
        setbacks: &mut Setbacks,
        reason: Reason,
        retry: Retry,
        asked: Option<u64>,
    ) -> (u32, i64) {
        let mut acted = Acted::default();
        acted.failed.push(Failure {
            step: step(),
            trouble: Trouble {
                retry_after: asked.map(Duration::from_millis),
                ..Trouble::passing(reason, "because")
            },
            retry,
            next_try: None,
        });
        setbacks.learn(&mut acted, NOW, 0.5);
        let setback = &setbacks.0[&step().key()];
        assert_eq!(acted.failed[0].next_try, Some(setback.not_before));
        (setback.failures, setback.not_before.as_millisecond())
    }

    #[test]
    fn waiting_for_a_turn_neither_counts_as_a_failure_nor_makes_the_next_wait_longer() {
        let mut setbacks = Setbacks::default();
        let mut wait = |asked| {
            let turn = Duration::from_millis(asked);
            learnt(
                &mut setbacks,
                Reason::WaitingForBudget,
                Retry::After(turn),
                Some(asked),
            )
        };
        for asked in [4000, 4000, 300] {
            assert_eq!(wait(asked), (0, asked as i64));
        }
        assert_eq!(
            learnt(&mut setbacks, Reason::AzureError, Retry::Backoff, None),
            (1, 1000)
        );
        let turn = Retry::After(Duration::from_secs(3));
        let waits = learnt(&mut setbacks, Reason::WaitingForBudget, turn, Some(3000));
        assert_eq!(waits, (1, 3000));
        assert_eq!(
            learnt(&mut setbacks, Reason::AzureError, Retry::Backoff, None),
            (2, 2000)
        );
    }

    #[test]
    fn what_azure_asks_to_wait_is_kept_to_whatever_the_error_and_stretched() {
        for (retry, asked, expected) in [
            (Retry::After(Duration::from_secs(20)), 20_000, 21_000),
            (Retry::Backoff, 20_000, 21_000),
            (Retry::Slow, 20_000, 30_000),
            (Retry::Slow, 100_000, 105_000),
        ] {
            let mut setbacks = Setbacks::default();
            let learnt = learnt(&mut setbacks, Reason::AzureError, retry, Some(asked));
            assert_eq!(learnt, (1, expected), "{retry:?}");
        }
    }
}

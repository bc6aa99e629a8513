//! The task that takes the Lease, renews it, and lets it go.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use prometheus::IntCounter;
use tokio::sync::{oneshot, watch};

use super::decision::{Decision, Office, Record, Seen, Why, after_failure, decide};
use super::lead::{Claim, Told};
use super::{LeaseSettings, Lost};
use crate::clock::Clock;
use crate::kubernetes_children::MANAGER;

/// On the Lease: the instance of the operator that holds it.
const INSTANCE_ANNOTATION: &str = "azureml.dask.dev/instance";
/// Tries to let the lease go: who comes after us has to wait for its end otherwise.
const RELEASE_TRIES: u32 = 3;
/// How long they may take together: the process is about to be killed.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Campaign {
    pub(super) leases: Api<Lease>,
    pub(super) settings: LeaseSettings,
    pub(super) clock: Clock,
    pub(super) tell: watch::Sender<Told>,
    pub(super) transitions: IntCounter,
    pub(super) view: View,
}

/// What the task knows.
pub(super) struct View {
    seen: Seen,
    office: Office,
    /// The Lease as it is, as far as we know; `None` where it has to be looked at before anything is written.
    held: Option<Lease>,
    /// What went wrong last, so that it is logged once.
    trouble: Option<String>,
    /// Whose lease it is, where that is none of our instance.
    stranger: Option<String>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            seen: Seen::default(),
            office: Office::Standby,
            held: None,
            trouble: None,
            stranger: None,
        }
    }
}

impl Campaign {
    /// Goes on until the lead is lost, or until it is to be laid down.
    pub(super) async fn run(mut self, mut resign: oneshot::Receiver<()>) -> Result<(), Lost> {
        loop {
            let clock = self.clock.clone();
            self.moved();
            let turn = async {
                let wait = self.turn().await?;
                clock.sleep(wait).await;
                Ok::<_, Why>(())
            };
            tokio::select! {
                biased;
                // A sender that is gone is the end of the process as well.
                _ = &mut resign => break,
                went = turn => if let Err(why) = went {
                    self.tell(Claim::None);
                    return Err(Lost { lease: self.settings.name, why });
                },
            }
        }
        self.tell(Claim::None);
        self.release().await;
        Ok(())
    }

    /// One look, where it is needed, and one write, where that follows from it. How long to wait then.
    async fn turn(&mut self) -> Result<Duration, Why> {
        if self.view.office == Office::Standby || self.view.held.is_none() {
            match self.within(self.leases.get_opt(&self.settings.name)).await {
                Ok(lease) => self.note(lease),
                Err(error) => return self.failed("read", &error),
            }
        }
        let settings = &self.settings;
        let (me, timing, now) = (&settings.holder, settings.timing, self.clock.elapsed());
        let view = &self.view;
        match decide(&view.seen, view.office, me, timing, now, rand::random()) {
            Decision::Wait(wait) => {
                self.view.trouble = None;
                Ok(wait)
            }
            Decision::Lost(why) => Err(why),
            Decision::Create | Decision::TakeOver | Decision::Renew => self.claim().await,
        }
    }

    async fn claim(&mut self) -> Result<Duration, Why> {
        let sent = self.clock.elapsed();
        let lease = claimed(self.view.held.take(), &self.settings, self.clock.now());
        let params = params();
        let write = async {
            if lease.metadata.resource_version.is_some() {
                self.leases
                    .replace(&self.settings.name, &params, &lease)
                    .await
            } else {
                self.leases.create(&params, &lease).await
            }
        };
        match self.within(write).await {
            Ok(lease) => {
                self.note(Some(lease));
                self.view.trouble = None;
                if self.view.office == Office::Standby {
                    tracing::info!(
                        lease = self.settings.name,
                        holder = self.settings.holder,
                        "this operator leads"
                    );
                    self.transitions.inc();
                }
                self.view.office = Office::Leads { sent };
                self.tell(Claim::Until(sent + self.settings.timing.good_for()));
                Ok(Duration::ZERO)
            }
            // Somebody else was first: who, is told by a look.
            Err(Unanswered::Failed(error)) if is_conflict(&error) => {
                self.view.held = None;
                Ok(Duration::ZERO)
            }
            // It may have taken effect all the same; the next look tells.
            Err(error) => self.failed("written", &error),
        }
    }

    /// Takes note of the Lease as it is now.
    fn note(&mut self, lease: Option<Lease>) {
        let settings = &self.settings;
        let (me, duration) = (&settings.holder, settings.timing.duration);
        let before = self.view.seen.holder().map(str::to_owned);
        let record = lease.as_ref().map(record);
        self.view
            .seen
            .note(record, me, self.clock.elapsed(), duration);
        let holder = self.view.seen.holder();
        if let Some(holder) =
            holder.filter(|holder| *holder != me && before.as_deref() != Some(*holder))
        {
            tracing::info!(lease = settings.name, holder, "another operator leads");
        }
        let stranger = lease.as_ref().and_then(instance_of);
        let stranger =
            stranger.filter(|instance| holder.is_some() && *instance != settings.instance);
        if let Some(stranger) = stranger.filter(|_| stranger != self.view.stranger.as_deref()) {
            tracing::warn!(
                lease = settings.name,
                "the lease is held by the operator {stranger}, which is none of ours ({}): give one of them another --lease-name, or neither works while the other does",
                settings.instance
            );
        }
        self.view.stranger = stranger.map(str::to_owned);
        self.view.held = lease;
    }

    fn failed(&mut self, what: &str, error: &Unanswered) -> Result<Duration, Why> {
        self.view.held = None;
        let told = format!(
            "the lease {} could not be {what}: {error}",
            self.settings.name
        );
        if self.view.trouble.as_ref() != Some(&told) {
            tracing::warn!("{told}");
            self.view.trouble = Some(told);
        }
        let (timing, now) = (self.settings.timing, self.clock.elapsed());
        match after_failure(self.view.office, timing, now, rand::random()) {
            Decision::Wait(wait) => Ok(wait),
            Decision::Lost(why) => Err(why),
            Decision::Create | Decision::TakeOver | Decision::Renew => Ok(Duration::ZERO),
        }
    }

    /// Lets the lease go if it is ours, so that another one takes it at once.
    async fn release(&self) {
        let name = &self.settings.name;
        tokio::select! {
            () = self.tries_to_release() => {}
            () = self.clock.sleep(RELEASE_WITHIN) => {
                tracing::warn!(lease = name, "the lease could not be let go in time");
            }
        }
    }

    async fn tries_to_release(&self) {
        for _ in 0..RELEASE_TRIES {
            match self.try_release().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, lease = self.settings.name, "the lease could not be let go");
                }
            }
        }
    }

    /// It is looked at first: what was under way when we resigned may have changed it.
    async fn try_release(&self) -> Result<(), Unanswered> {
        let name = &self.settings.name;
        let Some(lease) = self.within(self.leases.get_opt(name)).await? else {
            return Ok(());
        };
        if record(&lease).holder.as_ref() != Some(&self.settings.holder) {
            return Ok(());
        }
        let lease = released(lease, self.clock.now());
        self.within(self.leases.replace(name, &params(), &lease))
            .await?;
        tracing::info!(lease = name, "the lease is let go");
        Ok(())
    }

    /// Gives a request up that takes too long.
    async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Unanswered> {
        tokio::select! {
            answer = request => answer.map_err(|error| Unanswered::Failed(Box::new(error))),
            () = self.clock.sleep(self.settings.timing.answer_within()) => Err(Unanswered::TooLate),
        }
    }

    fn moved(&self) {
        let now = self.clock.elapsed();
        self.tell.send_modify(|told| told.moved = Some(now));
    }

    fn tell(&self, claim: Claim) {
        self.tell.send_modify(|told| told.claim = claim);
    }
}

/// A request to the API server that did not succeed. It may have taken effect.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("no answer in time")]
    TooLate,
    #[error(transparent)]
    Failed(Box<kube::Error>),
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.into()),
        ..PostParams::default()
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds;
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
    }
}

fn instance_of(lease: &Lease) -> Option<&str> {
    let annotations = lease.metadata.annotations.as_ref()?;
    annotations.get(INSTANCE_ANNOTATION).map(String::as_str)
}

/// The Lease with us as its holder. Its version stays, so that the write fails if somebody else's came before.
fn claimed(lease: Option<Lease>, settings: &LeaseSettings, now: Timestamp) -> Lease {
    let mut lease = lease.unwrap_or_default();
    lease.metadata.name = Some(settings.name.clone());
    lease
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(INSTANCE_ANNOTATION.to_owned(), settings.instance.clone());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_ref() != Some(&settings.holder) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(
            spec.lease_transitions
                .map_or(0, |times| times.saturating_add(1)),
        );
    }
    spec.holder_identity = Some(settings.holder.clone());
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(settings.timing.duration.as_secs()).ok();
    lease
}

/// The Lease with nobody as its holder. Kubernetes takes no empty duration, and others read it: a second, as client-go
/// has it.
fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(now));
    lease
}

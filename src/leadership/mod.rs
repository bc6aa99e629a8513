//! Which of several operators works: the one that holds a Lease (docs/decisions/026-leadership.md).
//!
//! A claim is asked for at each write, where it goes out, and ends by itself before anybody else may take the lease. Who
//! loses the lead ends: a new process knows nothing of what the old one believed.

mod campaign;
mod decision;
mod lead;
#[cfg(test)]
mod tests;
mod writes;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use prometheus::IntCounter;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::campaign::{Campaign, View};
use self::lead::Told;
use crate::clock::Clock;
use crate::kubernetes::Caches;

pub use self::decision::{Timing, Why};
pub use self::lead::{Lead, NotLeading};
pub(crate) use self::writes::only_while_leading;

/// The Lease, and who we are to it.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// That of the API server's client, where there is none: a pod's own, or the kubeconfig's.
    pub namespace: Option<String>,
    pub name: String,
    /// Nobody else's, not even that of the same pod's process before.
    pub holder: String,
    /// Told to others, so that two operators that share a lease by mistake find out.
    pub instance: String,
    pub timing: Timing,
}

/// The lead was lost, or the task that holds it: the process has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this operator does not lead any more: it has lost the lease {lease}, as {why}")]
pub struct Lost {
    pub lease: String,
    pub why: Why,
}

/// One that may come to lead.
pub(crate) struct Candidate {
    settings: LeaseSettings,
    clock: Clock,
    tell: watch::Sender<Told>,
}

impl Candidate {
    pub(crate) fn new(settings: LeaseSettings, clock: Clock) -> (Self, Lead) {
        let (tell, lead) = Lead::new(clock.clone(), settings.timing.duration);
        let candidate = Self {
            settings,
            clock,
            tell,
        };
        (candidate, lead)
    }

    /// Competes from now on, once the caches are filled: who sees nothing would only keep others from working.
    pub(crate) fn stand(
        self,
        client: &Client,
        caches: Caches,
        transitions: IntCounter,
    ) -> Standing {
        let namespace = self.settings.namespace.as_deref();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace());
        let campaign = Campaign {
            leases: Api::<Lease>::namespaced(client.clone(), namespace),
            settings: self.settings,
            clock: self.clock,
            tell: self.tell,
            transitions,
            view: View::default(),
        };
        let (resign, mut resigned) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = &mut resigned => Ok(()),
                () = caches.filled() => campaign.run(resigned).await,
            }
        });
        Standing { resign, task }
    }
}

/// The task of a candidate.
pub(crate) struct Standing {
    resign: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Lost>>,
}

/// Why the task ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("the task that holds the lease has ended")]
    Task(#[source] tokio::task::JoinError),
}

impl Standing {
    /// Waits until the task ends by itself, which it does only for a reason.
    pub(crate) async fn ended(&mut self) -> Ended {
        match (&mut self.task).await {
            Ok(Err(lost)) => Ended::Lost(lost),
            // It ends well only after `resign`, which takes it away.
            Ok(Ok(())) => std::future::pending().await,
            Err(error) => Ended::Task(error),
        }
    }

    /// Writes nothing from now on, and lets the lease go.
    pub(crate) async fn resign(self) {
        // One that has ended already cannot hear it, and holds nothing.
        let _ = self.resign.send(());
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease was not let go");
        }
    }
}

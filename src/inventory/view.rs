//! One principal's look at one workspace: a task that reads what is due and wakes whom it concerns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};

use super::pace::{Allowance, Pace};
use super::picture::{Due, Found, Listed, Picture, Read};
use super::questions::{Answer, Question, Questions};
use super::under_way::{WriteUnderWay, WritesUnderWay};
use super::wrote::Wrote;
use crate::access::AzureAccess;
use crate::api::Reason;
use crate::azure::{ArmClient, Errand, Error, Lane, ResourceId, Retry};
use crate::azure_resources::{AzureKind as _, ComputeCluster, Job, ownership};
use crate::clock::Clock;
use crate::lookup::{Lookup, Trouble};
use crate::names::ClusterIdentity;
use crate::reconcile::trouble;

/// Reads of one view that are under way at once.
const SIDE_BY_SIDE: usize = 16;

pub(super) struct View {
    access: AzureAccess,
    workspace: ResourceId,
    clock: Clock,
    allowance: Arc<Mutex<Allowance>>,
    wake: mpsc::UnboundedSender<ClusterIdentity>,
    picture: Mutex<Picture>,
    questions: Mutex<Questions>,
    writes: WritesUnderWay,
    /// Counts the reads that came back.
    learned: watch::Sender<u64>,
    sooner: Notify,
}

impl View {
    pub(super) fn new(
        access: AzureAccess,
        workspace: ResourceId,
        clock: Clock,
        allowance: Arc<Mutex<Allowance>>,
        wake: mpsc::UnboundedSender<ClusterIdentity>,
    ) -> Self {
        Self {
            picture: Mutex::new(Picture::new(workspace.clone(), clock.elapsed())),
            questions: Mutex::default(),
            writes: WritesUnderWay::default(),
            access,
            workspace,
            clock,
            allowance,
            wake,
            learned: watch::Sender::new(0),
            sooner: Notify::new(),
        }
    }

    /// Who looks, and at what.
    pub(super) fn eyes(&self) -> (&AzureAccess, &ResourceId) {
        (&self.access, &self.workspace)
    }

    /// How old its oldest list is; nothing while nobody looks.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.picture().age(now)
    }

    pub(super) fn follow(&self, cluster: &ClusterIdentity, pace: Pace) {
        self.picture().follow(cluster, pace);
    }

    /// Says whether anybody still looks.
    pub(super) fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) -> bool {
        lock(&self.questions).forget(&of);
        let mut picture = self.picture();
        picture.forget(of);
        picture.has_followers()
    }

    pub(super) async fn resource(
        &self,
        cluster: &ClusterIdentity,
        id: &ResourceId,
        api_version: &'static str,
    ) -> Lookup<Value> {
        let known = |now| self.picture().resource(cluster, id, api_version, now);
        self.once_known(known).await
    }

    pub(super) async fn jobs(
        &self,
        cluster: &ClusterIdentity,
    ) -> Result<BTreeMap<ResourceId, Value>, Trouble> {
        self.once_known(|_| self.picture().jobs(cluster)).await
    }

    pub(super) fn begin_write(
        &self,
        id: &ResourceId,
        looked_at: Timestamp,
    ) -> Option<WriteUnderWay> {
        self.writes.begin(id, looked_at)
    }

    pub(super) fn doubt(&self, cluster: &ClusterIdentity) {
        self.picture().doubt(self.clock.elapsed());
        lock(&self.questions).forget(|other| other == cluster);
        self.sooner.notify_one();
    }

    /// The answer to what is asked once; it is waited for.
    pub(super) async fn answer(
        self: &Arc<Self>,
        cluster: &ClusterIdentity,
        question: &Question,
    ) -> Lookup<Answer> {
        self.once_known(|now| {
            let (answer, is_new) = lock(&self.questions).ask(cluster, question, now);
            if is_new {
                let (view, cluster, question) =
                    (Arc::clone(self), cluster.clone(), question.clone());
                tokio::spawn(async move { view.put(&cluster, &question).await });
            }
            Some(answer).filter(|answer| !matches!(answer, Lookup::NotAsked))
        })
        .await
    }

    async fn put(&self, cluster: &ClusterIdentity, question: &Question) {
        let answer = question.put_to(&self.access).await;
        let now = self.clock.elapsed();
        let is_news = lock(&self.questions).learn(cluster, question, answer, now);
        self.learned.send_modify(|count| *count += 1);
        self.tell(is_news.then(|| cluster.clone()));
    }

    pub(super) fn wrote(
        &self,
        cluster: &ClusterIdentity,
        id: &ResourceId,
        api_version: &'static str,
        wrote: Wrote,
    ) {
        let now = self.clock.elapsed();
        let concerned = self.picture().wrote(cluster, id, api_version, wrote, now);
        self.tell(concerned);
        self.sooner.notify_one();
    }

    /// Waits for the first look that tells; what has been seen before is told at once.
    async fn once_known<T>(&self, known: impl Fn(Duration) -> Option<T>) -> T {
        let mut learned = self.learned.subscribe();
        loop {
            if let Some(found) = known(self.clock.elapsed()) {
                return found;
            }
            self.sooner.notify_one();
            learned
                .changed()
                .await
                .expect("the sender lives in the view that this future borrows");
        }
    }

    /// Reads what is due, for as long as the view is there.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let at_most = SIDE_BY_SIDE.saturating_sub(under_way.len());
            let now = self.clock.elapsed();
            let (due, next) = self
                .picture()
                .take(at_most, &mut lock(&self.allowance), now);
            under_way.extend(due.into_iter().map(|due| self.read(due)));
            tokio::select! {
                Some(()) = under_way.next() => {}
                () = self.sooner.notified() => {}
                () = self.clock.sleep(next) => {}
            }
        }
    }

    async fn read(&self, Due { read, pace, .. }: Due) {
        let client = self.access.client.on_errand(Errand {
            lane: match pace {
                Pace::Moving => Lane::Poll,
                Pace::Settled => Lane::Drift,
            },
            cluster: None,
        });
        let begun = self.clock.elapsed();
        let found = match &read {
            Read::List(of) => self.list(&client, *of).await,
            Read::One(id, api_version) => match client.get(id, api_version).await {
                Ok(answer) => Found::One(answer.body),
                Err(error) => absent_or_failed(&error, Found::One(None)),
            },
        };
        let now = self.clock.elapsed();
        let concerned = self.picture().learn(&read, found, begun, now);
        self.learned.send_modify(|count| *count += 1);
        self.tell(concerned);
    }

    async fn list(&self, client: &ArmClient, of: Listed) -> Found {
        // Jobs are filtered by the tag's key alone (contract section 0, 8).
        let (kind, query): (_, &[_]) = match of {
            Listed::Computes => ("computes", &[]),
            Listed::Jobs => ("jobs", &[("tag", ownership::OWNER)]),
        };
        let api_version = match of {
            Listed::Computes => ComputeCluster::API_VERSION,
            Listed::Jobs => Job::API_VERSION,
        };
        let collection = match self.workspace.collection(kind) {
            Ok(collection) => collection,
            Err(error) => {
                let trouble = Trouble::lasting(Reason::InvalidSpec, error.to_string());
                return Found::Failed(trouble, Retry::OnChange);
            }
        };
        match client.list(&collection, api_version, query).await {
            Ok(listing) => {
                let named = listing.items.into_iter().filter_map(|body| {
                    let id = self
                        .workspace
                        .child(kind, body.get("name")?.as_str()?)
                        .ok()?;
                    Some((id, body))
                });
                Found::Listed(named.collect(), listing.pages)
            }
            Err(error) => absent_or_failed(&error, Found::Listed(Vec::new(), 1)),
        }
    }

    fn tell(&self, concerned: impl IntoIterator<Item = ClusterIdentity>) {
        for cluster in concerned {
            // The receiver lives as long as the controller; without one nobody is left to wake.
            let _ = self.wake.send(cluster);
        }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        lock(&self.picture)
    }
}

fn absent_or_failed(error: &Error, absent: Found) -> Found {
    let trouble = trouble::of_azure(error);
    // That its whole group is missing is another story than that it is: another field is to be mended.
    if error.is_not_found() && trouble.reason != Reason::ResourceGroupNotFound {
        return absent;
    }
    Found::Failed(trouble, error.retry())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

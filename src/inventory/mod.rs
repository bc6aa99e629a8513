//! What Azure has, as it was last seen. Azure has no watch, so the inventory looks: one LIST of computes and one of
//! jobs per workspace and principal serve every cluster there, networks and assets are read by their ids, and whoever
//! a change concerns is woken. Facts only: nothing here decides.

mod pace;
mod picture;
mod questions;
mod regions;
mod under_way;
mod view;
mod wrote;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::pace::Allowance;
use self::questions::{Answer, Question};
use self::view::{View, lock};
use crate::access::AzureAccess;
use crate::azure::{ErrorBody, Operation, ResourceId};
use crate::azure_resources::PoolNode;
use crate::clock::Clock;
use crate::lookup::{Lookup, Trouble};
use crate::names::ClusterIdentity;
use crate::reconcile::{JobFailure, Usage, VmSize};

pub use pace::Pace;
pub use regions::Regions;
pub use under_way::WriteUnderWay;
pub use wrote::Wrote;

/// Whose eyes see which workspace: what one principal may read says nothing about another.
type Key = (String, ResourceId);
/// Identity and subscription, as Azure counts requests.
type Payer = (Arc<str>, String);

/// The views of all workspaces.
pub struct Inventory {
    clock: Clock,
    wake: mpsc::UnboundedSender<ClusterIdentity>,
    regions: Arc<Regions>,
    views: Mutex<Views>,
    allowances: Mutex<HashMap<Payer, Arc<Mutex<Allowance>>>>,
    workspaces: Mutex<HashMap<ResourceId, Followed>>,
}

/// How long a workspace counts after the last cluster on it was looked at.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

struct Followed {
    access: AzureAccess,
    at: Duration,
}

/// What is looked at, and by whom.
#[derive(Default)]
struct Views {
    kept: HashMap<Key, Kept>,
    followed: HashMap<ClusterIdentity, Key>,
}

struct Kept {
    view: Arc<View>,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inventory {
    /// `wake` hears of every cluster that something has changed for.
    pub fn new(clock: Clock, wake: mpsc::UnboundedSender<ClusterIdentity>) -> Self {
        Self {
            regions: Arc::new(Regions::new(clock.clone())),
            clock,
            wake,
            views: Mutex::default(),
            allowances: Mutex::default(),
            workspaces: Mutex::default(),
        }
    }

    /// What `cluster` sees of its workspace and what lies around it, through these eyes and no others from now on.
    pub fn follow(
        &self,
        cluster: &ClusterIdentity,
        access: &AzureAccess,
        workspace: &ResourceId,
        pace: Pace,
    ) -> AzureSight {
        let followed = Followed {
            access: access.clone(),
            at: self.clock.elapsed(),
        };
        lock(&self.workspaces).insert(workspace.clone(), followed);
        let key = (access.principal.clone(), workspace.clone());
        let mut views = lock(&self.views);
        let Views { kept, followed } = &mut *views;
        let before = followed.insert(cluster.clone(), key.clone());
        if let Some(before) = before.filter(|before| *before != key)
            && let Some(held) = kept.get(&before)
            && !held.view.forget(|other| other == cluster)
        {
            kept.remove(&before);
        }
        let kept = kept
            .entry(key)
            .or_insert_with(|| self.keep(access, workspace));
        kept.view.follow(cluster, pace);
        AzureSight {
            cluster: cluster.clone(),
            regions: Arc::clone(&self.regions),
            view: Arc::clone(&kept.view),
        }
    }

    /// How old the oldest list is that a cluster depends on, if one does.
    pub fn age(&self) -> Option<Duration> {
        let now = self.clock.elapsed();
        let views = lock(&self.views);
        let ages = views.kept.values().filter_map(|kept| kept.view.age(now));
        ages.max()
    }

    /// What regions offer, whoever asks.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Looks no longer for these clusters.
    pub fn forget(&self, of: impl Fn(&ClusterIdentity) -> bool) {
        let mut views = lock(&self.views);
        views.followed.retain(|cluster, _| !of(cluster));
        views.kept.retain(|_, kept| kept.view.forget(&of));
    }

    /// The workspaces that a cluster has been on lately, and the eyes that saw each last.
    pub fn workspaces(&self) -> Vec<(AzureAccess, ResourceId)> {
        let now = self.clock.elapsed();
        let mut workspaces = lock(&self.workspaces);
        workspaces.retain(|_, followed| now.saturating_sub(followed.at) < REMEMBERED);
        workspaces
            .iter()
            .map(|(workspace, followed)| (followed.access.clone(), workspace.clone()))
            .collect()
    }

    fn keep(&self, access: &AzureAccess, workspace: &ResourceId) -> Kept {
        let payer = (
            Arc::clone(&access.name),
            workspace.subscription_id().to_owned(),
        );
        let now = self.clock.elapsed();
        let allowance = Arc::clone(
            lock(&self.allowances)
                .entry(payer)
                .or_insert_with(|| Arc::new(Mutex::new(Allowance::full(now)))),
        );
        let view = Arc::new(View::new(
            access.clone(),
            workspace.clone(),
            self.clock.clone(),
            allowance,
            self.wake.clone(),
        ));
        let task = tokio::spawn(Arc::clone(&view).keep());
        Kept { view, task }
    }
}

/// One cluster's look at Azure. Everything is answered from memory; what has never been seen is waited for.
#[derive(Clone)]
pub struct AzureSight {
    cluster: ClusterIdentity,
    regions: Arc<Regions>,
    view: Arc<View>,
}

impl AzureSight {
    /// One resource. It is looked at from now on, and the cluster is woken when it changes.
    pub async fn resource(&self, id: &ResourceId, api_version: &'static str) -> Lookup<Value> {
        self.view.resource(&self.cluster, id, api_version).await
    }

    /// Every job of the cluster that is active or has been seen before.
    ///
    /// # Errors
    /// What keeps us from knowing them.
    pub async fn jobs(&self) -> Result<BTreeMap<ResourceId, Value>, Trouble> {
        self.view.jobs(&self.cluster).await
    }

    /// Believes nothing of what was read before: everything is read again before anything more is told of it.
    pub fn doubt(&self) {
        self.view.doubt(&self.cluster);
    }

    /// The nodes of a pool, as they were when this head was asked about, with the address of the node that it had
    /// published.
    pub async fn pool_nodes(
        &self,
        pool: &ResourceId,
        head: &str,
        published: Option<&str>,
    ) -> Lookup<Vec<PoolNode>> {
        let question = Question::Nodes {
            pool: pool.clone(),
            head: head.to_owned(),
            published: published.map(str::to_owned),
        };
        match self.view.answer(&self.cluster, &question).await {
            Lookup::Present(Answer::Nodes(nodes)) => Lookup::Present(nodes),
            Lookup::Unavailable(trouble) => Lookup::Unavailable(trouble),
            Lookup::Present(Answer::Failure(_) | Answer::Operation(_))
            | Lookup::Absent
            | Lookup::NotAsked => Lookup::NotAsked,
        }
    }

    /// Why an operation failed, as far as Azure tells.
    pub async fn operation_failure(&self, operation: &Operation) -> Option<ErrorBody> {
        let question = Question::Operation(operation.clone());
        match self.view.answer(&self.cluster, &question).await {
            Lookup::Present(Answer::Operation(error)) => error,
            _ => None,
        }
    }

    /// The sizes of virtual machine that `location` offers.
    pub async fn vm_sizes(&self, location: &str) -> Lookup<Arc<[VmSize]>> {
        let (access, workspace) = self.view.eyes();
        self.regions.vm_sizes(access, workspace, location).await
    }

    /// The quotas of the subscription in `location`, as they were `at_most_old` ago.
    pub async fn usages(&self, location: &str, at_most_old: Duration) -> Lookup<Arc<[Usage]>> {
        let (access, workspace) = self.view.eyes();
        self.regions
            .usages(access, workspace, location, at_most_old)
            .await
    }

    /// Why a job failed, in Azure's and its own words, by the workspace's data plane.
    pub async fn job_failure(
        &self,
        workspace: &ResourceId,
        discovery_url: &str,
        job: &str,
    ) -> Option<JobFailure> {
        let question = Question::Failure {
            workspace: workspace.clone(),
            discovery_url: discovery_url.to_owned(),
            job: job.to_owned(),
        };
        match self.view.answer(&self.cluster, &question).await {
            Lookup::Present(Answer::Failure(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Before a resource is made that was looked at then; `None` where another cluster makes it or has made it since,
    /// as then the next look finds it.
    pub fn begin_write(&self, id: &ResourceId, looked_at: Timestamp) -> Option<WriteUnderWay> {
        self.view.begin_write(id, looked_at)
    }

    /// Takes note of a write.
    pub fn wrote(&self, id: &ResourceId, api_version: &'static str, wrote: Wrote) {
        self.view.wrote(&self.cluster, id, api_version, wrote);
    }
}

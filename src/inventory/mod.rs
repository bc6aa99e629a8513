//! What Azure has, as it was last seen. One LIST of jobs per workspace and interval serves every cluster there, and
//! what does not move is not read again and again. Facts only: nothing here decides.

mod freshness;
mod vm_sizes;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::access::AzureAccess;
use crate::api::Reason;
use crate::azure::{Error, ResourceId};
use crate::azure_resources::{AzureKind as _, Job, VirtualNetwork, ownership};
use crate::clock::Clock;
use crate::lookup::Lookup;
use crate::reconcile::trouble;

pub use freshness::Pace;
pub use vm_sizes::VmSizes;

/// Whose eyes saw it: what one identity may read says nothing about another.
type Key = (String, ResourceId);
/// The jobs of one workspace that carry our tag.
type JobList = Arc<BTreeMap<ResourceId, Value>>;
/// Locked while a LIST is under way, so that who comes meanwhile takes its answer.
type JobSlot = Arc<tokio::sync::Mutex<Option<Seen<JobList>>>>;

/// Answers of Azure and their age.
pub struct Inventory {
    clock: Clock,
    seen: Mutex<HashMap<Key, Seen<Option<Value>>>>,
    jobs: Mutex<HashMap<Key, JobSlot>>,
    surprises: AtomicU64,
}

#[derive(Clone)]
struct Seen<T> {
    what: T,
    /// On the clock's monotonic reading.
    at: Duration,
}

impl Inventory {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            seen: Mutex::default(),
            jobs: Mutex::default(),
            surprises: AtomicU64::new(0),
        }
    }

    /// How often something was gone that nobody here had taken away. After each time, what was seen before is
    /// forgotten.
    pub fn surprises(&self) -> u64 {
        self.surprises.load(Ordering::Relaxed)
    }

    /// One resource, no older than its kind allows at this pace.
    pub async fn resource(
        &self,
        access: &AzureAccess,
        id: &ResourceId,
        api_version: &str,
        pace: Pace,
    ) -> Lookup<Value> {
        let key = (access.principal.clone(), id.clone());
        let now = self.clock.elapsed();
        let held = lock(&self.seen).get(&key).cloned();
        if let Some(held) = &held
            && now.saturating_sub(held.at)
                < freshness::max_age(&id.resource_type(), held.what.as_ref(), pace)
        {
            return held.what.clone().map_or(Lookup::Absent, Lookup::Present);
        }
        let what = match access.client.get(id, api_version).await {
            Ok(answer) => answer.body,
            Err(error) => match trouble::of_azure(&error) {
                // That its whole group is missing is another story than that it is: another field is to be mended.
                trouble if trouble.reason == Reason::ResourceGroupNotFound => {
                    return Lookup::Unavailable(trouble);
                }
                _ if error.is_not_found() => None,
                trouble => return Lookup::Unavailable(trouble),
            },
        };
        if what.is_none() && held.is_some_and(|held| freshness::was_to_stay(held.what.as_ref())) {
            // Somebody took it away, and perhaps what it lay in: then more is gone than what is looked at often.
            lock(&self.seen).retain(|(principal, _), _| *principal != access.principal);
            self.surprises.fetch_add(1, Ordering::Relaxed);
        }
        lock(&self.seen).insert(
            key,
            Seen {
                what: what.clone(),
                at: now,
            },
        );
        what.map_or(Lookup::Absent, Lookup::Present)
    }

    /// Every job of the workspace that carries an owner's tag, ended ones included.
    pub async fn jobs(
        &self,
        access: &AzureAccess,
        workspace: &ResourceId,
        pace: Pace,
    ) -> Lookup<JobList> {
        let slot = self.job_slot(access, workspace);
        let mut held = slot.lock().await;
        let now = self.clock.elapsed();
        if let Some(seen) = held.as_ref()
            && now.saturating_sub(seen.at) < freshness::job_list_max_age(pace)
        {
            return Lookup::Present(Arc::clone(&seen.what));
        }
        match list_jobs(access, workspace).await {
            Ok(jobs) => {
                let what = Arc::new(jobs);
                *held = Some(Seen {
                    what: Arc::clone(&what),
                    at: now,
                });
                Lookup::Present(what)
            }
            Err(error) if error.is_not_found() => Lookup::Absent,
            Err(error) => Lookup::Unavailable(trouble::of_azure(&error)),
        }
    }

    /// Takes note of a write: what Azure answered to it is what is there, and without an answer nothing is known.
    pub async fn wrote(&self, access: &AzureAccess, id: &ResourceId, answer: Option<Value>) {
        lock(&self.seen).remove(&(access.principal.clone(), id.clone()));
        // Subnets and peerings stand in the body of their network too, and change its etag.
        if let Some(network) = id.parent().filter(is_virtual_network) {
            lock(&self.seen).remove(&(access.principal.clone(), network));
        }
        let is_job = id.resource_type().eq_ignore_ascii_case(Job::RESOURCE_TYPE);
        let Some(workspace) = id.parent().filter(|_| is_job) else {
            return;
        };
        let slot = self.job_slot(access, &workspace);
        let mut held = slot.lock().await;
        match (held.as_mut(), answer) {
            (Some(seen), Some(body)) => {
                Arc::make_mut(&mut seen.what).insert(id.clone(), body);
            }
            _ => *held = None,
        }
    }

    fn job_slot(&self, access: &AzureAccess, workspace: &ResourceId) -> JobSlot {
        let key = (access.principal.clone(), workspace.clone());
        Arc::clone(lock(&self.jobs).entry(key).or_default())
    }
}

fn is_virtual_network(id: &ResourceId) -> bool {
    id.resource_type()
        .eq_ignore_ascii_case(VirtualNetwork::RESOURCE_TYPE)
}

async fn list_jobs(
    access: &AzureAccess,
    workspace: &ResourceId,
) -> Result<BTreeMap<ResourceId, Value>, Error> {
    let Ok(collection) = workspace.collection("jobs") else {
        return Ok(BTreeMap::new());
    };
    // The filter is by the tag's key alone (contract section 0, 8); archived ones still hold their id.
    let query = [("tag", ownership::OWNER), ("listViewType", "All")];
    let jobs = access
        .client
        .list(&collection, Job::API_VERSION, &query)
        .await?;
    let named = jobs.into_iter().filter_map(|job| {
        let id = workspace.child("jobs", job.get("name")?.as_str()?).ok()?;
        Some((id, job))
    });
    Ok(named.collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What a region offers and how much of its quota is used: one read serves all clusters of a principal there. Who asks
//! waits for what is new enough; the read itself goes on without him.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Mutex as Turn;

use super::view::lock;
use crate::access::AzureAccess;
use crate::api::Reason;
use crate::azure::{Collection, Errand, Lane, ResourceId};
use crate::azure_resources::{AzureKind as _, ComputeCluster};
use crate::clock::Clock;
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::{Usage, VmSize, trouble};

/// Regions get new sizes a few times a year.
const SIZES_LAST: Duration = Duration::from_secs(24 * 3600);
/// A read that failed is not made again by the next cluster that asks.
const FAILURES_LAST: Duration = Duration::from_secs(60);

/// Principal, subscription and location: what one principal may read says nothing about another.
type Region = (String, String, String);

/// What is known of regions.
pub struct Regions {
    clock: Clock,
    vm_sizes: Shared<VmSize>,
    usages: Shared<Usage>,
}

type Shared<T> = Mutex<HashMap<Region, Arc<Turn<Option<Told<T>>>>>>;

struct Told<T> {
    at: Duration,
    what: Result<Arc<[T]>, Trouble>,
    /// It could not be read again since, and is still told.
    failed_at: Option<Duration>,
}

impl Regions {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            vm_sizes: Shared::default(),
            usages: Shared::default(),
        }
    }

    /// The sizes that `location` offers; none where nobody can tell.
    pub async fn vm_sizes(
        &self,
        access: &AzureAccess,
        workspace: &ResourceId,
        location: &str,
    ) -> Lookup<Arc<[VmSize]>> {
        let of = (access, workspace, location);
        self.of(&self.vm_sizes, of, "vmSizes", SIZES_LAST, true)
            .await
    }

    /// The quotas of the subscription in `location`, as they were `at_most_old` ago.
    pub async fn usages(
        &self,
        access: &AzureAccess,
        workspace: &ResourceId,
        location: &str,
        at_most_old: Duration,
    ) -> Lookup<Arc<[Usage]>> {
        let of = (access, workspace, location);
        self.of(&self.usages, of, "usages", at_most_old, false)
            .await
    }

    /// One read at a time of each list; who comes meanwhile takes its answer. `outlives`: what was read is told on while
    /// it cannot be read again.
    async fn of<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        shared: &Shared<T>,
        (access, workspace, location): (&AzureAccess, &ResourceId, &str),
        kind: &str,
        at_most_old: Duration,
        outlives: bool,
    ) -> Lookup<Arc<[T]>> {
        let Some(collection) = collection(workspace, location, kind) else {
            return Lookup::Present(Arc::default());
        };
        let region = (
            access.principal.clone(),
            workspace.subscription_id().to_owned(),
            location.to_owned(),
        );
        let turn = Arc::clone(lock(shared).entry(region).or_default());
        let mut told = turn.lock_owned().await;
        let now = self.clock.elapsed();
        let lasts = |told: &&Told<T>| {
            let age = now.saturating_sub(told.at);
            let has_failed = told
                .failed_at
                .is_some_and(|at| now.saturating_sub(at) < FAILURES_LAST);
            has_failed
                || age
                    < told
                        .what
                        .as_ref()
                        .map_or(FAILURES_LAST.min(at_most_old), |_| at_most_old)
        };
        if let Some(told) = told.as_ref().filter(lasts) {
            return told.lookup();
        }
        let client = access.client.on_errand(Errand {
            lane: Lane::Poll,
            cluster: None,
        });
        let read = tokio::spawn(async move {
            let what = match client
                .list(&collection, ComputeCluster::API_VERSION, &[])
                .await
            {
                Ok(listed) => Ok(listed
                    .items
                    .into_iter()
                    .filter_map(|item| serde_json::from_value(item).ok())
                    .collect()),
                Err(error) => Err(trouble::of_azure(&error)),
            };
            match (&mut *told, what) {
                (Some(known @ Told { what: Ok(_), .. }), Err(_)) if outlives => {
                    known.failed_at = Some(now);
                    known.lookup()
                }
                (told, what) => {
                    let read = Told {
                        at: now,
                        what,
                        failed_at: None,
                    };
                    told.insert(read).lookup()
                }
            }
        });
        // A task ends early only with the whole process.
        read.await.unwrap_or_else(|error| {
            Lookup::Unavailable(Trouble::passing(Reason::AzureError, error.to_string()))
        })
    }
}

impl<T> Told<T> {
    fn lookup(&self) -> Lookup<Arc<[T]>> {
        match &self.what {
            Ok(items) => Lookup::Present(Arc::clone(items)),
            Err(trouble) => Lookup::Unavailable(trouble.clone()),
        }
    }
}

fn collection(workspace: &ResourceId, location: &str, kind: &str) -> Option<Collection> {
    ResourceId::subscription(workspace.subscription_id())
        .and_then(|subscription| {
            subscription.resource("Microsoft.MachineLearningServices", "locations", location)
        })
        .and_then(|location| location.collection(kind))
        .ok()
}

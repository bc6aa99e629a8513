use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::view::lock;
use crate::access::AzureAccess;
use crate::azure::{Error, ResourceId};
use crate::azure_resources::{AzureKind as _, ComputeCluster, Usage};
use crate::clock::Clock;
use crate::reconcile::USAGES_LAST;

/// Subscription and location.
type Region = (String, String);

/// How much of the quotas of regions is used, read at most once a minute for all clusters that wait for quota.
pub struct Usages {
    clock: Clock,
    held: Mutex<HashMap<Region, (Duration, Vec<Usage>)>>,
}

impl Usages {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            held: Mutex::default(),
        }
    }

    /// The usages of `location`; empty where nobody can tell.
    ///
    /// # Errors
    /// Azure's.
    pub async fn of(
        &self,
        access: &AzureAccess,
        workspace: &ResourceId,
        location: &str,
    ) -> Result<Vec<Usage>, Error> {
        let region = (workspace.subscription_id().to_owned(), location.to_owned());
        let now = self.clock.elapsed();
        if let Some((at, usages)) = lock(&self.held).get(&region)
            && now.saturating_sub(*at) < USAGES_LAST
        {
            return Ok(usages.clone());
        }
        let collection = ResourceId::subscription(workspace.subscription_id())
            .and_then(|subscription| {
                subscription.resource("Microsoft.MachineLearningServices", "locations", location)
            })
            .and_then(|location| location.collection("usages"));
        let Ok(collection) = collection else {
            return Ok(Vec::new());
        };
        let listed = access
            .client
            .list(&collection, ComputeCluster::API_VERSION, &[])
            .await?;
        let usages: Vec<Usage> = listed.items.iter().filter_map(Usage::read).collect();
        lock(&self.held).insert(region, (now, usages.clone()));
        Ok(usages)
    }
}

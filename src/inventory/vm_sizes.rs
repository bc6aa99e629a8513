use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::access::AzureAccess;
use crate::azure::{Error, ResourceId};
use crate::azure_resources::{AzureKind as _, ComputeCluster};
use crate::clock::Clock;
use crate::reconcile::VmSize;

/// Regions get new sizes a few times a year.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Subscription and location.
type Region = (String, String);

/// The sizes of virtual machine that regions offer, kept for a day.
pub struct VmSizes {
    clock: Clock,
    held: Mutex<HashMap<Region, (Duration, Vec<VmSize>)>>,
}

impl VmSizes {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            held: Mutex::default(),
        }
    }

    /// The sizes that `location` offers; empty where nobody can tell.
    ///
    /// # Errors
    /// Azure's.
    pub async fn of(
        &self,
        access: &AzureAccess,
        workspace: &ResourceId,
        location: &str,
    ) -> Result<Vec<VmSize>, Error> {
        let region = (workspace.subscription_id().to_owned(), location.to_owned());
        let now = self.clock.elapsed();
        if let Some(sizes) = self.held(&region, now) {
            return Ok(sizes);
        }
        let collection = ResourceId::subscription(workspace.subscription_id())
            .and_then(|subscription| {
                subscription.resource("Microsoft.MachineLearningServices", "locations", location)
            })
            .and_then(|location| location.collection("vmSizes"));
        let Ok(collection) = collection else {
            return Ok(Vec::new());
        };
        let listed = access
            .client
            .list(&collection, ComputeCluster::API_VERSION, &[])
            .await?;
        let sizes: Vec<VmSize> = listed
            .items
            .into_iter()
            .filter_map(|size| serde_json::from_value(size).ok())
            .collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(region, (now, sizes.clone()));
        Ok(sizes)
    }

    fn held(&self, region: &Region, now: Duration) -> Option<Vec<VmSize>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, sizes) = held.get(region)?;
        (now.saturating_sub(*at) < MAX_AGE).then(|| sizes.clone())
    }
}

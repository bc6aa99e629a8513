//! Validate, look and plan for a manifest that may be in no Kubernetes cluster, by the same steps as a reconcile. Reads
//! only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::mpsc;

use super::forecast::{Forecast, forecast};
use super::memory::ClusterMemory;
use super::observe::{Reader, identity};
use super::observed::{Credentials, Observed, SecretReference, WorkerSubmission};
use super::told::Told;
use super::validate::{Defaults, SpecErrors, Wanted, validate};
use crate::access::AzureAccess;
use crate::api::{Annotations, DaskCluster};
use crate::clock::Clock;
use crate::dask::SchedulerSight;
use crate::inventory::{Inventory, Pace};
use crate::kubernetes::FINALIZER;
use crate::kubernetes_children::HeldConnection;
use crate::lookup::{Lookup, Trouble};
use crate::scaling::Recommendations;
use crate::token::Token;

/// What stands under the names of a cluster's children in Kubernetes.
pub struct Children {
    pub service: Lookup<Service>,
    pub endpoint_slice: Lookup<EndpointSlice>,
    pub connection: Lookup<Secret>,
}

/// What a look without a reconcile needs.
pub struct Preview {
    pub access: AzureAccess,
    pub clock: Clock,
    pub defaults: Defaults,
    pub worker_submission: WorkerSubmission,
}

impl Preview {
    /// What would be done for this object, and what keeps us from telling: a part of Azure that could not be asked.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub async fn of(
        &self,
        cluster: &DaskCluster,
        children: Children,
    ) -> Result<(Forecast, Option<Trouble>), SpecErrors> {
        let valid = validate(cluster, &self.defaults)?;
        let identity = identity(cluster);
        // Nobody is to be woken: one look is all there is.
        let (wake, _asleep) = mpsc::unbounded_channel();
        let inventory = Inventory::new(self.clock.clone(), wake);
        let workspace = &valid.place.workspace;
        let sight = inventory.follow(&identity, &self.access, workspace, Pace::Settled);
        let mut observed = self.before_the_look(cluster, children);
        let reader = Reader {
            sight: &sight,
            memory: &mut ClusterMemory::new(self.clock.now()),
            doubts: false,
        };
        reader.look_at_cluster(&valid, &mut observed).await;
        let unasked = [
            unavailable(&observed.workspace),
            unavailable(&observed.jobs_listed),
        ];
        let forecast = forecast(&Wanted::Cluster(Box::new(valid)), &observed);
        Ok((forecast, unasked.into_iter().flatten().next()))
    }

    fn before_the_look(&self, cluster: &DaskCluster, children: Children) -> Observed {
        let finalizers = cluster.metadata.finalizers.iter().flatten();
        let has_finalizer = finalizers.into_iter().any(|name| name == FINALIZER);
        let secret = cluster.spec.credentials_secret_name.clone();
        let identity = identity(cluster);
        Observed {
            seen_at: self.clock.now(),
            generation: 0,
            recommendations: Recommendations::default(),
            annotations: Annotations::default(),
            worker_submission: self.worker_submission,
            namespace_is_going: false,
            has_finalizer,
            is_abandoned: false,
            credentials: Credentials {
                secret: secret.map(|name| SecretReference {
                    name,
                    uid: String::new(),
                }),
                // The one follows the other in the same reconcile.
                held: has_finalizer,
                going: false,
                trouble: None,
                last_user: true,
                releasable: Vec::new(),
            },
            workspace: Lookup::NotAsked,
            vm_sizes: Lookup::NotAsked,
            usages: Lookup::NotAsked,
            passed: None,
            told: Told::by(cluster),
            resources: BTreeMap::new(),
            jobs_listed: Lookup::NotAsked,
            job_failures: BTreeMap::new(),
            pool_nodes: Lookup::NotAsked,
            service: children.service,
            endpoint_slice: children.endpoint_slice,
            connection: match children.connection {
                Lookup::Present(secret) => {
                    Lookup::Present(HeldConnection::read(&secret, &identity))
                }
                Lookup::Absent => Lookup::Absent,
                Lookup::NotAsked => Lookup::NotAsked,
                Lookup::Unavailable(trouble) => Lookup::Unavailable(trouble),
            },
            scheduler: SchedulerSight::default(),
            setbacks: BTreeMap::new(),
            since: BTreeMap::new(),
            operations: BTreeMap::new(),
            fresh_token: Token::draw(),
        }
    }
}

fn unavailable<T>(found: &Lookup<T>) -> Option<Trouble> {
    match found {
        Lookup::Unavailable(trouble) => Some(trouble.clone()),
        Lookup::Present(_) | Lookup::Absent | Lookup::NotAsked => None,
    }
}

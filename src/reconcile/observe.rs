//! Step 2: look. Only reads, from the watches' caches, from Azure and from what the poller knows.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::Context;
use super::memory::ClusterMemory;
use super::observed::{Credentials, Observed, SecretReference, Workspace};
use super::plan::SchedulerStage;
use super::setbacks::USAGES_LAST;
use super::told::Told;
use super::validate::{ValidCluster, Wanted};
use crate::access::{AzureAccess, Granted, Source};
use crate::api::{Annotations, DaskCluster, Reason};
use crate::azure::{ArmClient, ResourceId};
use crate::azure_resources::job::{JobFacts, Lineup, Occupant};
use crate::azure_resources::{AzureKind as _, ComputeCluster, KINDS, Scene, Subnet};
use crate::cluster::Place;
use crate::inventory::AzureSight;
use crate::kubernetes::{ABANDON_ANNOTATION, FINALIZER, NAMESPACE_CREDENTIALS};
use crate::kubernetes_children::{HeldConnection, connection_secret_name, service_name};
use crate::lookup::{Lookup, Trouble};
use crate::names::{ClusterIdentity, Slot};
use crate::token::Token;

/// How old what is told of a quota may be: right after a change, and at most.
const QUOTA_IS_NEW: Duration = Duration::from_secs(15);
const QUOTA_IS_OLD: Duration = Duration::from_secs(300);

/// What was seen, and the way to Azure that it was seen by.
pub(super) struct Look {
    pub observed: Observed,
    pub azure: Option<Azure>,
}

/// One cluster's eyes and hands.
pub(super) struct Azure {
    pub client: ArmClient,
    pub sight: AzureSight,
    /// Not before what is known was asked for.
    pub looked_at: Timestamp,
}

pub(super) async fn observe(
    context: &Context,
    cluster: &DaskCluster,
    wanted: &Wanted,
    memory: &mut ClusterMemory,
) -> Look {
    let identity = identity(cluster);
    let (credentials, access) = credentials(context, cluster, &identity).await;
    memory.see_principal(access.as_ref().map(|access| access.principal.as_str()));
    let mut observed = kubernetes_sight(context, cluster, &identity, credentials, memory);
    let place = match wanted {
        Wanted::Cluster(valid) => &valid.place,
        Wanted::Nothing(place) => place,
        Wanted::Unknown(_) => {
            return Look {
                observed,
                azure: None,
            };
        }
    };
    let Some(access) = access else {
        return Look {
            observed,
            azure: None,
        };
    };
    let sight = context
        .inventory
        .follow(&identity, &access, &place.workspace, memory.pace);
    let azure = Azure {
        client: access.client.clone(),
        sight,
        looked_at: observed.seen_at,
    };
    let doubts = std::mem::take(&mut memory.doubts);
    if doubts {
        azure.sight.doubt();
    }
    let reader = Reader {
        sight: &azure.sight,
        memory,
        doubts,
    };
    match wanted {
        Wanted::Cluster(valid) => reader.look_at_cluster(valid, &mut observed).await,
        // It goes whatever is there, and an Azure that does not answer must not keep it.
        Wanted::Nothing(_) if observed.is_abandoned => {}
        Wanted::Nothing(place) => reader.look_at_place(place, &mut observed).await,
        Wanted::Unknown(_) => {}
    }
    observed.since = memory
        .waits
        .see(observed.resources.iter(), observed.seen_at);
    Look {
        observed,
        azure: Some(azure),
    }
}

pub fn identity(cluster: &DaskCluster) -> ClusterIdentity {
    ClusterIdentity {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
    }
}

/// What a standby does for a cluster: has its credentials at hand, and a token of them, so that it can work at once when
/// it comes to lead. Azure itself is not asked, and what does not go well is for the leader to tell.
pub(crate) async fn warm(cluster: &DaskCluster, context: &Context) {
    let identity = identity(cluster);
    let (_, access) = credentials(context, cluster, &identity).await;
    if let Some(access) = access
        && let Err(error) = access.client.warm().await
    {
        tracing::debug!(%error, cluster = identity.name, "a standby got no token");
    }
}

async fn credentials(
    context: &Context,
    cluster: &DaskCluster,
    identity: &ClusterIdentity,
) -> (Credentials, Option<AzureAccess>) {
    let (namespace, sight) = (&identity.namespace, &context.sight);
    let named = cluster.spec.credentials_secret_name.as_deref();
    let namespace_has_one = sight.credentials(namespace, NAMESPACE_CREDENTIALS);
    let source = context.access.source(named, namespace_has_one.is_some());
    let name = source.as_ref().ok().and_then(Source::secret);
    let watched = name.and_then(|name| sight.credentials(namespace, name));
    let metadata = watched.as_ref().map(|secret| &secret.metadata);
    let granted = match &source {
        Ok(source) => {
            let version = metadata.and_then(|metadata| metadata.resource_version.as_deref());
            context.access.of(namespace, source, version).await
        }
        Err(trouble) => Err(trouble.clone()),
    };
    let (trouble, granted) = match granted {
        Ok(granted) => (None, Some(granted)),
        Err(trouble) => (Some(trouble), None),
    };
    // Also of a Secret that holds nothing of use any more: our finalizer may stand on it.
    let uid = granted
        .as_ref()
        .and_then(|granted| granted.secret_uid.clone())
        .or_else(|| metadata.and_then(|metadata| metadata.uid.clone()));
    let others = name
        .map(|name| sight.users(namespace, name))
        .unwrap_or_default();
    let forgotten = sight.forgotten_secrets(namespace);
    let credentials = Credentials {
        secret: name.zip(uid).map(|(name, uid)| SecretReference {
            name: name.to_owned(),
            uid,
        }),
        held: name.is_some_and(|name| sight.in_use(namespace, name).is_some()),
        going: metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some()),
        trouble,
        last_user: others.iter().all(|user| *user == identity.name),
        releasable: forgotten
            .into_iter()
            .map(|(name, uid)| SecretReference { name, uid })
            .collect(),
    };
    (credentials, granted.map(|Granted { access, .. }| access))
}

fn kubernetes_sight(
    context: &Context,
    cluster: &DaskCluster,
    identity: &ClusterIdentity,
    credentials: Credentials,
    memory: &ClusterMemory,
) -> Observed {
    let sight = &context.sight;
    let namespace = &identity.namespace;
    let service = service_name(identity);
    let connection = sight.connection(namespace, &connection_secret_name(identity));
    Observed {
        seen_at: context.clock.now(),
        generation: cluster.metadata.generation.unwrap_or_default(),
        recommendations: memory.recommendations.clone(),
        annotations: Annotations::read(cluster.metadata.annotations.as_ref()),
        worker_submission: context.worker_submission,
        namespace_is_going: sight.namespace_is_going(namespace),
        has_finalizer: cluster
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
        is_abandoned: cluster
            .annotations()
            .get(ABANDON_ANNOTATION)
            .is_some_and(|value| value == "true"),
        credentials,
        workspace: Lookup::NotAsked,
        vm_sizes: Lookup::NotAsked,
        usages: Lookup::NotAsked,
        passed: memory.passed.clone(),
        resources: BTreeMap::new(),
        jobs_listed: Lookup::NotAsked,
        job_failures: BTreeMap::new(),
        pool_nodes: Lookup::NotAsked,
        service: present(sight.service(namespace, &service)),
        endpoint_slice: present(sight.slice(namespace, &service)),
        connection: connection.map_or(Lookup::Absent, |secret| {
            Lookup::Present(HeldConnection::read(&secret, identity))
        }),
        scheduler: context.poller.sight(identity),
        told: Told::by(cluster),
        setbacks: memory.setbacks.by_step().clone(),
        since: BTreeMap::new(),
        operations: memory.operation_facts(),
        fresh_token: Token::draw(),
    }
}

fn present<T: Clone>(held: Option<std::sync::Arc<T>>) -> Lookup<T> {
    held.map_or(Lookup::Absent, |held| Lookup::Present((*held).clone()))
}

fn go_with_the_group<T>(found: &mut Lookup<T>) {
    if let Lookup::Unavailable(trouble) = found
        && trouble.reason == Reason::ResourceGroupNotFound
    {
        *found = Lookup::Absent;
    }
}

/// Reads of Azure for one cluster, and nothing else.
pub(super) struct Reader<'a> {
    pub sight: &'a AzureSight,
    pub memory: &'a mut ClusterMemory,
    /// Nothing that was read before counts.
    pub doubts: bool,
}

impl Reader<'_> {
    pub(super) async fn look_at_cluster(mut self, cluster: &ValidCluster, observed: &mut Observed) {
        let place = &cluster.place;
        self.look_at_workspace(place, observed).await;
        if observed.workspace.present().is_none() {
            return;
        }
        self.look_at_region(place, observed).await;
        let scene = Scene {
            cluster,
            observed,
            lineup: None,
        };
        let ids: Vec<_> = KINDS
            .iter()
            .flat_map(|kind| {
                (kind.look_at)(&scene)
                    .into_iter()
                    .map(|id| (id, kind.api_version))
            })
            .collect();
        self.look_at(ids, observed).await;
        if place.network.is_none()
            && let Some(subnet) = observed.pool_subnet(place)
        {
            self.look_at(vec![(subnet, Subnet::API_VERSION)], observed)
                .await;
        }
        self.look_at_failed_operations(observed).await;
        self.look_at_jobs(observed).await;
        let Ok(lineup) = observed.lineup_of(cluster) else {
            return;
        };
        self.look_at_pool_nodes(cluster, &lineup, observed).await;
        self.look_at_failures(place, &lineup, observed).await;
    }

    async fn look_at_place(self, place: &Place, observed: &mut Observed) {
        self.look_at_workspace(place, observed).await;
        let ids = KINDS.iter().flat_map(|kind| {
            (kind.places)(place)
                .into_iter()
                .map(|id| (id, kind.api_version))
        });
        self.look_at(ids.collect(), observed).await;
        // What was in a group that is gone is gone.
        go_with_the_group(&mut observed.workspace);
        observed.resources.values_mut().for_each(go_with_the_group);
        self.look_at_jobs(observed).await;
    }

    async fn look_at_workspace(&self, place: &Place, observed: &mut Observed) {
        let found = self
            .sight
            .resource(&place.workspace, ComputeCluster::API_VERSION)
            .await;
        observed.workspace = match found {
            Lookup::Present(body) => Workspace::read(&body).map_or_else(
                || {
                    Lookup::Unavailable(Trouble::passing(
                        Reason::AzureError,
                        "Azure's answer for the workspace names no location",
                    ))
                },
                Lookup::Present,
            ),
            Lookup::Absent => Lookup::Absent,
            Lookup::NotAsked => Lookup::NotAsked,
            Lookup::Unavailable(trouble) => Lookup::Unavailable(trouble),
        };
    }

    /// Sizes and, as long as nothing has passed, quota: what stands in the way is looked at again and again, at a pace
    /// that slows down.
    async fn look_at_region(&mut self, place: &Place, observed: &mut Observed) {
        let Some(location) = observed.location().map(str::to_owned) else {
            return;
        };
        observed.vm_sizes = self.sight.vm_sizes(&location).await;
        // The quota of somebody else's pool is theirs; what its nodes cost is told.
        if !place.compute_is_ours {
            return;
        }
        // Quota is looked at before the first spend, and while something waits for it.
        let is_awaited = self.memory.setbacks.want_usages();
        if self.memory.passed.is_some() && !is_awaited {
            return;
        }
        let since_change = observed.seen_at.duration_since(self.memory.changed_at);
        let since_change = Duration::try_from(since_change).unwrap_or_default();
        let at_most_old = match self.doubts {
            true => Duration::ZERO,
            false if is_awaited => USAGES_LAST,
            false => (since_change / 4).clamp(QUOTA_IS_NEW, QUOTA_IS_OLD),
        };
        observed.usages = self.sight.usages(&location, at_most_old).await;
        if let Lookup::Present(usages) = &observed.usages {
            self.memory.setbacks.see_usages(usages);
            observed.setbacks = self.memory.setbacks.by_step().clone();
        }
    }

    async fn look_at(&self, ids: Vec<(ResourceId, &'static str)>, observed: &mut Observed) {
        let looks = ids.into_iter().map(|(id, api_version)| async move {
            let found = self.sight.resource(&id, api_version).await;
            (id, found)
        });
        let found = futures::future::join_all(looks).await;
        observed.resources.extend(found);
    }

    /// Asks why Azure did not carry a write through.
    async fn look_at_failed_operations(&mut self, observed: &mut Observed) {
        for (id, begun) in &mut self.memory.operations {
            let has_failed = observed
                .resources
                .get(id)
                .and_then(Lookup::present)
                .is_some_and(|body| {
                    body.pointer("/properties/provisioningState") == Some(&"Failed".into())
                });
            if has_failed && begun.error.is_none() {
                begun.error = self.sight.operation_failure(&begun.operation).await;
            }
        }
        observed.operations = self.memory.operation_facts();
    }

    async fn look_at_jobs(&self, observed: &mut Observed) {
        observed.jobs_listed = match self.sight.jobs().await {
            Ok(jobs) => {
                let found = jobs
                    .into_iter()
                    .map(|(id, body)| (id, Lookup::Present(body)));
                observed.resources.extend(found);
                Lookup::Present(())
            }
            Err(trouble) => Lookup::Unavailable(trouble),
        };
    }

    /// Lists the nodes when only they can say whether the head's address is one of theirs, or where it is.
    async fn look_at_pool_nodes(
        &self,
        cluster: &ValidCluster,
        lineup: &Lineup,
        observed: &mut Observed,
    ) {
        let scene = Scene {
            cluster,
            observed,
            lineup: Some(lineup),
        };
        let stage = SchedulerStage::of(&scene, lineup);
        if stage.needs_nodes(&scene) {
            let published = match &stage {
                SchedulerStage::Doubted(address) => Some(address.head_node.as_str()),
                _ => None,
            };
            let head = cluster.place.identity.job_id(lineup.head.name());
            let pool = cluster.place.pool_of(Slot::Head);
            observed.pool_nodes = self.sight.pool_nodes(pool, &head, published).await;
        }
    }

    /// Asks why the newest jobs of vacant slots failed.
    async fn look_at_failures(&self, place: &Place, lineup: &Lineup, observed: &mut Observed) {
        let workspace = observed.workspace.present();
        let Some(discovery) = workspace.and_then(|workspace| workspace.discovery_url.clone())
        else {
            return;
        };
        let vacant = std::iter::once(&lineup.head).chain(&lineup.workers);
        let failed = vacant.filter_map(|occupant| match occupant {
            Occupant::Vacant {
                last: Some(last),
                failures: 1..,
                ..
            } => Some(&**last),
            Occupant::Vacant { .. } | Occupant::Alive(_) => None,
        });
        for JobFacts { id, .. } in failed.take(FAILURES_AT_MOST) {
            let failure = self.sight.job_failure(&place.workspace, &discovery, id);
            if let Some(failure) = failure.await {
                observed.job_failures.insert(id.clone(), failure);
            }
        }
    }
}

/// Of how many failed workers the logs are read: the first ones tell the story.
const FAILURES_AT_MOST: usize = 3;

//! Step 2: look. Only reads, from the watches' caches, from Azure and from what the poller knows.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;

use super::Context;
use super::memory::ClusterMemory;
use super::observed::{Credentials, JobFailure, Observed, SecretReference, Workspace};
use super::plan::SchedulerStage;
use super::trouble;
use super::validate::{ValidCluster, Wanted};
use crate::access::{AzureAccess, Granted};
use crate::api::{Annotations, DaskCluster, Reason};
use crate::azure::{ArmClient, ResourceId};
use crate::azure_resources::job::{JobFacts, Lineup, Occupant};
use crate::azure_resources::{
    AzureKind as _, ComputeCluster, KINDS, PoolNode, PoolNodes, Scene, Subnet,
};
use crate::cluster::Place;
use crate::inventory::{AzureSight, Regions};
use crate::kubernetes::FINALIZER;
use crate::kubernetes_children::{HeldConnection, connection_secret_name, service_name};
use crate::lookup::{Lookup, Trouble};
use crate::names::ClusterIdentity;
use crate::token::Token;

/// How old what is told of a quota may be: right after a change, and at most.
const QUOTA_IS_NEW: Duration = Duration::from_secs(15);
const QUOTA_IS_OLD: Duration = Duration::from_secs(300);
/// The log of a job's first (and for us only) process (contract section 10).
const JOB_LOG: &str = "user_logs/std_log_process_00.txt";
/// Bytes of a failed job's log that are shown.
const LOG_TAIL: usize = 1024;

/// What was seen, and the way to Azure that it was seen by.
pub(super) struct Look {
    pub observed: Observed,
    pub azure: Option<Azure>,
}

/// One cluster's eyes and hands.
pub(super) struct Azure {
    pub client: ArmClient,
    pub sight: AzureSight,
}

pub(super) async fn observe(
    context: &Context,
    cluster: &DaskCluster,
    wanted: &Wanted,
    memory: &mut ClusterMemory,
) -> Look {
    let identity = identity(cluster);
    let (credentials, access) = credentials(context, cluster, &identity).await;
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
    };
    if memory.doubts {
        azure.sight.doubt();
    }
    let reader = Reader {
        regions: &context.regions,
        access: &access,
        sight: &azure.sight,
        memory,
    };
    match wanted {
        Wanted::Cluster(valid) => reader.look_at_cluster(valid, &mut observed).await,
        Wanted::Nothing(place) => reader.look_at_place(place, &mut observed).await,
        Wanted::Unknown(_) => {}
    }
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

async fn credentials(
    context: &Context,
    cluster: &DaskCluster,
    identity: &ClusterIdentity,
) -> (Credentials, Option<AzureAccess>) {
    let namespace = &identity.namespace;
    let name = cluster.spec.credentials_secret_name.as_deref();
    let in_use = name.and_then(|name| context.sight.in_use(namespace, name));
    let version = in_use
        .as_ref()
        .and_then(|secret| secret.metadata.resource_version.clone());
    let granted = context.access.of(cluster, version.as_deref()).await;
    let (trouble, granted) = match granted {
        Ok(granted) => (None, Some(granted)),
        Err(trouble) => (Some(trouble), None),
    };
    let reference = |uid: &str| {
        Some(SecretReference {
            name: name?.to_owned(),
            uid: uid.to_owned(),
        })
    };
    let others = name
        .map(|name| context.sight.users(namespace, name))
        .unwrap_or_default();
    let forgotten = context.sight.forgotten_secrets(namespace);
    let credentials = Credentials {
        secret: granted
            .as_ref()
            .and_then(|granted| reference(granted.secret_uid.as_deref()?)),
        held: in_use.is_some(),
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
        annotations: Annotations::read(cluster.metadata.annotations.as_ref()),
        worker_submission: context.worker_submission,
        namespace_is_going: sight.namespace_is_going(namespace),
        has_finalizer: cluster
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER),
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
        setbacks: memory.setbacks.0.clone(),
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
    pub regions: &'a Regions,
    pub access: &'a AzureAccess,
    pub sight: &'a AzureSight,
    pub memory: &'a mut ClusterMemory,
}

impl Reader<'_> {
    pub(super) async fn look_at_cluster(mut self, cluster: &ValidCluster, observed: &mut Observed) {
        let place = &cluster.place;
        self.look_at_workspace(place, observed).await;
        if observed.workspace.present().is_none() {
            return;
        }
        if place.compute_is_ours {
            self.look_at_region(place, observed).await;
        }
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
        self.look_at_jobs(observed).await;
        let Ok(lineup) = observed.lineup(place, cluster.worker.replicas) else {
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
        observed.vm_sizes = self
            .regions
            .vm_sizes(self.access, &place.workspace, &location)
            .await;
        if self.memory.passed.is_some() {
            return;
        }
        let since_change = observed.seen_at.duration_since(self.memory.changed_at);
        let at_most_old = if std::mem::take(&mut self.memory.doubts) {
            Duration::ZERO
        } else {
            let since_change = Duration::try_from(since_change).unwrap_or_default();
            (since_change / 4).clamp(QUOTA_IS_NEW, QUOTA_IS_OLD)
        };
        observed.usages = self
            .regions
            .usages(self.access, &place.workspace, &location, at_most_old)
            .await;
    }

    async fn look_at(&self, ids: Vec<(ResourceId, &'static str)>, observed: &mut Observed) {
        let looks = ids.into_iter().map(|(id, api_version)| async move {
            let found = self.sight.resource(&id, api_version).await;
            (id, found)
        });
        let found = futures::future::join_all(looks).await;
        observed.resources.extend(found);
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

    /// Lists the nodes when only they can say whether the head's address is one of theirs, once a head.
    async fn look_at_pool_nodes(
        &mut self,
        cluster: &ValidCluster,
        lineup: &Lineup,
        observed: &mut Observed,
    ) {
        let head = cluster.place.identity.job_id(lineup.head.name());
        if let Some((of, nodes)) = &self.memory.pool_nodes
            && *of == head
        {
            observed.pool_nodes = Lookup::Present(nodes.clone());
        }
        let scene = Scene {
            cluster,
            observed,
            lineup: Some(lineup),
        };
        if !matches!(
            SchedulerStage::of(&scene, lineup),
            SchedulerStage::Doubted(_)
        ) {
            return;
        }
        let answer = self
            .access
            .client
            .post(
                &cluster.place.compute,
                "listNodes",
                ComputeCluster::API_VERSION,
                None,
            )
            .await;
        observed.pool_nodes = match answer {
            Ok(answer) => {
                let nodes: Vec<PoolNode> = answer
                    .body
                    .and_then(|body| serde_json::from_value::<PoolNodes>(body).ok())
                    .map(|nodes| nodes.nodes)
                    .unwrap_or_default();
                self.memory.pool_nodes = Some((head, nodes.clone()));
                Lookup::Present(nodes)
            }
            Err(error) => Lookup::Unavailable(trouble::of_azure(&error)),
        };
    }

    /// Asks why the newest jobs of vacant slots failed, once a job.
    async fn look_at_failures(&mut self, place: &Place, lineup: &Lineup, observed: &mut Observed) {
        let vacant = std::iter::once(&lineup.head).chain(&lineup.workers);
        let failed: Vec<&JobFacts> = vacant
            .filter_map(|occupant| match occupant {
                Occupant::Vacant {
                    last: Some(last),
                    failures: 1..,
                    ..
                } => Some(&**last),
                Occupant::Vacant { .. } | Occupant::Alive(_) => None,
            })
            .collect();
        self.memory
            .job_failures
            .retain(|id, _| failed.iter().any(|job| job.id == *id));
        for job in failed.into_iter().take(FAILURES_AT_MOST) {
            if !self.memory.job_failures.contains_key(&job.id)
                && let Some(failure) = self.why_failed(place, observed, &job.id).await
            {
                self.memory.job_failures.insert(job.id.clone(), failure);
            }
        }
        observed.job_failures.clone_from(&self.memory.job_failures);
    }

    async fn why_failed(
        &self,
        place: &Place,
        observed: &Observed,
        job: &str,
    ) -> Option<JobFailure> {
        let discovery = observed.workspace.present()?.discovery_url.clone()?;
        // The data plane may be private while ARM is not: then the job's state alone is told.
        let told = async {
            let plane = self
                .access
                .client
                .data_plane(&place.workspace, &discovery)
                .await?;
            let details = plane.run_details(job).await?;
            let log_tail = match details.logs.get(JOB_LOG) {
                Some(log) => Some(plane.log_tail(log, LOG_TAIL).await?)
                    .filter(|tail| !tail.trim().is_empty()),
                None => None,
            };
            Ok::<_, crate::azure::Error>(JobFailure {
                error: details
                    .error
                    .map(|error| format!("{}: {}", error.code, error.message)),
                log_tail: log_tail.map(|tail| tail.trim().to_owned()),
            })
        };
        match told.await {
            Ok(failure) => Some(failure),
            Err(error) => {
                tracing::warn!(%error, job, "why the job failed could not be read");
                Some(JobFailure {
                    error: None,
                    log_tail: None,
                })
            }
        }
    }
}

/// Of how many failed workers the logs are read: the first ones tell the story.
const FAILURES_AT_MOST: usize = 3;

//! Where a cluster lies in Azure: known from its spec alone, valid or not, since deletion needs it too.

use crate::api::{CreationPolicy, DaskCluster, DeletionPolicy, HeadComputePolicy, RemoteSide};
use crate::azure::ResourceId;
use crate::names::{ClusterIdentity, JobName, Slot};

/// The ids of what a cluster has in Azure, and which of it is the cluster's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub identity: ClusterIdentity,
    pub workspace: ResourceId,
    pub network: Option<NetworkPlace>,
    pub compute: ResourceId,
    /// `compute.creationPolicy` is `Create` or `Adopt`: it is the cluster's own, once it carries our tags.
    pub compute_is_ours: bool,
    /// The pool of the head alone; without one the head runs on `compute` too.
    pub head_compute: Option<HeadPlace>,
    pub deletion_policy: DeletionPolicy,
    /// Names of the datasets that are registered when they are not there. Their versions outlive the cluster, as does
    /// the environment's.
    pub registered_datasets: Vec<String>,
    pub registers_environment: bool,
}

/// The pool of the head alone.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPlace {
    pub id: ResourceId,
    /// `scheduler.compute.creationPolicy` is `Create`: it is the cluster's own, once it carries our tags.
    pub is_ours: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPlace {
    pub virtual_network: ResourceId,
    pub subnet: ResourceId,
    /// `network.creationPolicy` is `Create` or `Adopt`: it is the cluster's own, once it carries our tags.
    pub is_ours: bool,
    pub peerings: Vec<PeeringPlace>,
}

/// The two sides of a peering.
#[derive(Clone, Debug, PartialEq)]
pub struct PeeringPlace {
    /// In the cluster's network.
    pub near: ResourceId,
    /// In the other network.
    pub far: ResourceId,
    /// `remote` is `Create`: the far side is the cluster's own too.
    pub makes_far: bool,
}

impl PeeringPlace {
    /// The sides that the cluster makes.
    pub fn own_sides(&self) -> impl Iterator<Item = &ResourceId> {
        std::iter::once(&self.near).chain(self.makes_far.then_some(&self.far))
    }
}

/// A cluster without a place: the API server never stores one, as its schema demands all of it.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("metadata.{0} is missing")]
    Metadata(&'static str),
    #[error("{field} gives no Azure resource id")]
    Id {
        field: &'static str,
        #[source]
        source: crate::azure::InvalidResourceId,
    },
}

impl Place {
    /// # Errors
    /// When metadata lacks a name, namespace or UID, or a name of the spec cannot stand in a resource id.
    pub fn of(cluster: &DaskCluster) -> Result<Self, PlaceError> {
        let metadata = &cluster.metadata;
        let identity = ClusterIdentity {
            namespace: metadata
                .namespace
                .clone()
                .ok_or(PlaceError::Metadata("namespace"))?,
            name: metadata.name.clone().ok_or(PlaceError::Metadata("name"))?,
            uid: metadata.uid.clone().ok_or(PlaceError::Metadata("uid"))?,
        };
        let spec = &cluster.spec;
        let subscription = &spec.workspace.subscription_id;
        let group = |group: &str| format!("/subscriptions/{subscription}/resourceGroups/{group}");
        let workspace = parse(
            "spec.workspace",
            &format!(
                "{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
                group(&spec.workspace.resource_group),
                spec.workspace.name
            ),
        )?;
        let network = spec
            .network
            .as_ref()
            .map(|network| {
                let named = &network.virtual_network;
                let virtual_network = parse(
                    "spec.network.virtualNetwork",
                    &format!(
                        "{}/providers/Microsoft.Network/virtualNetworks/{}",
                        group(
                            named
                                .resource_group
                                .as_ref()
                                .unwrap_or(&spec.workspace.resource_group)
                        ),
                        named.name
                    ),
                )?;
                let subnet = child(
                    "spec.network.subnet",
                    &virtual_network,
                    "subnets",
                    &network.subnet.name,
                )?;
                let peerings = network.peerings.iter().map(|peering| {
                    let field = "spec.network.peerings";
                    let remote = parse(field, &peering.remote_virtual_network_id)?;
                    let name = identity.peering_name(&remote);
                    Ok(PeeringPlace {
                        near: child(field, &virtual_network, PEERINGS, &name)?,
                        far: child(field, &remote, PEERINGS, &name)?,
                        makes_far: peering.remote == RemoteSide::Create,
                    })
                });
                Ok(NetworkPlace {
                    peerings: peerings.collect::<Result<_, _>>()?,
                    virtual_network,
                    subnet,
                    is_ours: network.creation_policy != CreationPolicy::UseExisting,
                })
            })
            .transpose()?;
        let compute_name = spec
            .compute
            .name
            .clone()
            .unwrap_or_else(|| identity.compute_name());
        let head_compute = spec.scheduler.compute.as_ref().map(|compute| {
            let derived = || identity.head_compute_name();
            let name = compute.name.clone().unwrap_or_else(derived);
            Ok(HeadPlace {
                id: child("spec.scheduler.compute.name", &workspace, "computes", &name)?,
                is_ours: compute.creation_policy == HeadComputePolicy::Create,
            })
        });
        Ok(Self {
            head_compute: head_compute.transpose()?,
            compute: child("spec.compute.name", &workspace, "computes", &compute_name)?,
            compute_is_ours: spec.compute.creation_policy != CreationPolicy::UseExisting,
            deletion_policy: spec.deletion_policy,
            registered_datasets: spec
                .datasets
                .iter()
                .filter(|dataset| dataset.uri.is_some())
                .map(|dataset| dataset.name.clone())
                .collect(),
            registers_environment: spec
                .environment
                .as_ref()
                .is_none_or(|environment| environment.name.is_none()),
            identity,
            workspace,
            network,
        })
    }

    /// The network, where it is the cluster's to make and to remove.
    pub fn own_network(&self) -> Option<&NetworkPlace> {
        self.network.as_ref().filter(|network| network.is_ours)
    }

    /// The pool that jobs of this slot run on.
    pub fn pool_of(&self, slot: Slot) -> &ResourceId {
        match (slot, &self.head_compute) {
            (Slot::Head, Some(head)) => &head.id,
            (Slot::Head, None) | (Slot::Worker(_), _) => &self.compute,
        }
    }

    /// All pools that jobs of the cluster run on, the workers' first.
    pub fn pools(&self) -> impl Iterator<Item = &ResourceId> {
        let head = self.head_compute.iter().map(|head| &head.id);
        std::iter::once(&self.compute).chain(head)
    }

    /// Those of them that are the cluster's to make and to remove.
    pub fn own_pools(&self) -> impl Iterator<Item = &ResourceId> {
        self.pools().filter(|pool| self.is_own_pool(pool))
    }

    pub fn is_own_pool(&self, pool: &ResourceId) -> bool {
        match &self.head_compute {
            Some(head) if head.id == *pool => head.is_ours,
            _ => self.compute_is_ours && *pool == self.compute,
        }
    }

    /// The id of one of the cluster's jobs.
    pub fn job(&self, name: JobName) -> ResourceId {
        self.workspace
            .child("jobs", &self.identity.job_id(name))
            .expect("a job id holds only lower-case letters, digits and '-'")
    }
}

const PEERINGS: &str = "virtualNetworkPeerings";

fn parse(field: &'static str, text: &str) -> Result<ResourceId, PlaceError> {
    text.parse()
        .map_err(|source| PlaceError::Id { field, source })
}

fn child(
    field: &'static str,
    parent: &ResourceId,
    kind: &str,
    name: &str,
) -> Result<ResourceId, PlaceError> {
    parent
        .child(kind, name)
        .map_err(|source| PlaceError::Id { field, source })
}

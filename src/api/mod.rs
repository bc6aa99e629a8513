//! What users write and read: the `DaskCluster` of `azureml.dask.dev/v1alpha1`, its spec, its
//! status, and the reasons that conditions and events share.
//!
//! Nothing here talks to anybody and nothing here decides: a type, its defaults and the rules
//! that the API server enforces stand together, one subject a file.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each type, with its visibility, into the body of a function"
)]

mod annotations;
mod autoscaling;
mod compute;
mod conditions;
mod dataset;
mod environment;
mod environment_variables;
mod network;
mod reason;
mod rest;
mod rules;
mod scheduler;
mod schema;
mod spec;
mod status;
mod tags;
mod worker;

pub use annotations::{
    Annotations, DO_NOT_DISRUPT, DRY_RUN, RECONCILE_POLICY, RECONCILE_REQUESTED_AT,
    ReconcilePolicy, WAKE,
};
pub use autoscaling::Autoscaling;
pub use compute::{Compute, ComputeIdentity, HeadCompute, HeadComputePolicy, Priority};
pub use conditions::{ConditionStatus, ConditionType};
pub use dataset::{Dataset, DatasetMode, DatasetType};
pub use environment::Environment;
pub use environment_variables::EnvVar;
pub use network::{Network, Peering, RemoteSide, Subnet, VirtualNetwork};
pub use reason::Reason;
pub use rest::{Budget, BudgetAction, IdleAction, UpdatePolicy};
pub use scheduler::Scheduler;
pub use schema::{CrdYamlError, crd, crd_yaml};
pub use spec::{
    CreationPolicy, DaskCluster, DaskClusterSpec, DeletionPolicy, DriftPolicy, WorkspaceRef,
};
pub use status::{
    AccruedCost, AutoscalingStatus, ComingRest, ComputeStatus, CostStatus, DaskClusterStatus,
    DatasetStatus, NodeCounts, PendingChange, Phase, ResourceStatus, RestReason, RestStatus,
    RunStatus, SchedulerStatus, WorkerCounts,
};
pub use worker::Worker;

/// The API group of every custom resource, finalizer, label and annotation of the operator.
pub const GROUP: &str = "azureml.dask.dev";

/// The annotation by which a user allows one replacement; the condition `ReplaceNeeded` gives its value.
pub const ALLOW_REPLACE: &str = "azureml.dask.dev/allow-replace";

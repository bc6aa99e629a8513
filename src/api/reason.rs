//! Why a condition or an event says what it says: one enum for both, for metric labels and for
//! `docs/conditions.md`.

use std::fmt;

/// The reason of a condition or an event. Each variant says what it means and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The cluster was seen and nothing was done yet. Wait: the next reconcile starts.
    Pending,
    /// Work goes on and nothing is wrong. The message says what is being waited for.
    Progressing,
    /// What the condition speaks of holds. Nothing to do.
    Ready,
    /// Azure is making or changing a resource. Wait: the message names the resource and its state.
    Provisioning,
    /// The job is submitted and the process has not answered yet. Wait until `startTimeoutSeconds`.
    Starting,
    /// Jobs are queued until the pool has booted nodes. Wait; if it lasts, look at the quota and at
    /// the pool's own errors in the message.
    WaitingForNodes,
    /// The cluster is being taken apart. Wait: the message names what is still there.
    Deleting,
    /// The annotation `azureml.dask.dev/dry-run` keeps this from being done. Take it off to have it done.
    DryRun,
    /// The annotation `azureml.dask.dev/reconcile-policy` is `observe`, which keeps this from being done. Take
    /// it off to have it done.
    ObservedOnly,
    /// The annotation `azureml.dask.dev/reconcile-policy` has a value that means nothing, so nothing is written.
    /// Write `manage`, `observe` or `detach-on-delete`, or take it off.
    UnknownPolicy,
    /// The spec asks for something that the API server could not check. Mend the field that the
    /// message names.
    InvalidSpec,
    /// A resource of that name exists and was not made by this DaskCluster. Choose another name, or
    /// `creationPolicy: UseExisting` or `Adopt`.
    NotOurs,
    /// Another DaskCluster has a resource of that name; the message says which. Choose another name, or
    /// delete that DaskCluster first.
    AlreadyOwned,
    /// A resource is about to be taken over by `creationPolicy: Adopt`. Nothing to do: the message says
    /// what will be changed in it.
    Adopting,
    /// Somebody changed, in Azure, fields that the spec speaks of. Nothing to do with
    /// `driftPolicy: Correct`; with `Report`, change them back, or change the spec.
    Drifted,
    /// Somebody deleted, in Azure, a resource of this DaskCluster. Nothing to do: it is made again.
    DeletedInAzure,
    /// A resource differs from the spec in fields that Azure cannot change in place. Allow its
    /// replacement by the annotation that the message gives.
    ReplaceNeeded,
    /// A resource is deleted and made again, as its annotation allows. Wait: the message says how far it
    /// is.
    Replacing,
    /// The other side of a peering is not there. Its network's owner runs the command in the message.
    PeeringPending,
    /// The workspace has a managed network, so its pools cannot be reached from outside. Use a
    /// workspace without one.
    ManagedNetwork,
    /// The existing pool lies in no subnet of a virtual network, so its nodes cannot be reached.
    /// Use a pool inside one.
    NoSubnet,
    /// The workspace does not exist. Mend `spec.workspace.name`, or make the workspace.
    WorkspaceNotFound,
    /// The resource group does not exist. Mend `spec.workspace.resourceGroup`, or make the group.
    ResourceGroupNotFound,
    /// The subscription does not exist or the identity cannot see it. Mend
    /// `spec.workspace.subscriptionId`, or grant the identity a role in it.
    SubscriptionNotFound,
    /// The credentials Secret, or a key of it, is not there, or the operator does not lend its own
    /// identity. Make the Secret with the keys that the message names.
    CredentialsMissing,
    /// Microsoft Entra refused the credentials. Renew the client secret, and check tenant and
    /// client id.
    CredentialsRefused,
    /// Somebody deletes the Secret with the credentials while the cluster needs it to leave Azure.
    /// It stays until the cluster is gone: delete the cluster, or name another Secret.
    SecretBeingDeleted,
    /// The DaskCluster was let go by the annotation `azureml.dask.dev/abandon`. Remove by hand what
    /// the message names.
    Abandoned,
    /// The identity may not do what was asked. Grant it the role that the message names on the
    /// scope that the message names.
    AuthorizationFailed,
    /// The region of the workspace does not offer the VM size. Choose another
    /// `spec.compute.vmSize`.
    VmSizeUnknown,
    /// Nothing stands in the way of a start, but of something that the manifest allows later. The message lists
    /// it.
    PassedWithWarnings,
    /// The subscription's or the workspace's quota of cores is used up. Ask Azure for more, or ask
    /// for fewer nodes.
    QuotaExceeded,
    /// Azure has no machines of that size to give, or the subnet has no address left. Wait, or choose another size,
    /// region or subnet.
    NoCapacity,
    /// The subnet has fewer free addresses than the cluster needs nodes at once. Use a larger subnet, free
    /// addresses, or ask for fewer nodes.
    SubnetFull,
    /// Azure asked the operator to slow down. Wait: it goes on by itself.
    Throttled,
    /// It is not the cluster's turn within Azure's rate limit, which it shares with others. Wait:
    /// the message says how long.
    WaitingForBudget,
    /// Azure failed to do its part. Wait: it is tried again; the message holds Azure's own code and
    /// request id for a support case.
    AzureError,
    /// Azure could not be reached. Check DNS, proxy and firewall of the operator; it is tried
    /// again.
    AzureUnreachable,
    /// Azure refused the request as it was written. Mend the field that Azure's message names.
    RejectedByAzure,
    /// An Azure Policy forbids the resource. Ask its owner for an exemption, or change the spec to
    /// what it allows.
    PolicyDenied,
    /// A lock on the subscription, resource group or resource forbids the change. Remove the lock.
    ScopeLocked,
    /// Azure works on a resource for longer than that ever takes. The message names the operation for a support case,
    /// and the way out.
    OperationStuck,
    /// Azure was told to cancel a job and has not ended it in time. The message says what holds on to it.
    CancelStuck,
    /// The pool that `UseExisting` names does not exist. Mend `spec.compute.name`, or use
    /// `creationPolicy: Create`.
    PoolNotFound,
    /// The pool that `scheduler.compute` names is LowPriority, lies in another subnet than the workers or lacks the identity
    /// that reads the data. Do what the message says.
    PoolUnfit,
    /// The virtual network or subnet that `UseExisting` names does not exist. Mend `spec.network`,
    /// or use `creationPolicy: Create`.
    NetworkNotFound,
    /// A dataset without a `uri` is not registered in the workspace. Register it, or give its
    /// `uri`.
    DatasetNotFound,
    /// The data asset of that name and version points somewhere else, and versions cannot be
    /// changed. Give another `version`.
    DatasetConflict,
    /// Azure Machine Learning could not mount or download a dataset. Check its `uri` and the
    /// permissions of the datastore or identity.
    DatasetUnmountable,
    /// The environment of that name and version is not registered in the workspace. Register it, or
    /// give an `image`.
    EnvironmentNotFound,
    /// The environment of that name and version holds something else, and versions cannot be
    /// changed. Give another version.
    EnvironmentConflict,
    /// A Service of the cluster's name exists and is not ours. Remove it, or give the DaskCluster
    /// another name.
    ServiceNotOurs,
    /// A Secret of the cluster's name exists and is not ours. Remove it, or give the DaskCluster
    /// another name.
    SecretNotOurs,
    /// The head's job ended in failure. The message holds the last lines of its log.
    HeadFailed,
    /// The head's job did not start, or its scheduler did not answer, within
    /// `spec.scheduler.startTimeoutSeconds`. Look at the pool and into the log of the head's run, or
    /// raise the limit.
    HeadStartTimeout,
    /// The scheduler published an address that the operator cannot reach. Open the network path
    /// (peering, firewall) to the address and port in the message.
    SchedulerUnreachable,
    /// What answers at the scheduler's address does not prove that it is this cluster's scheduler.
    /// Find out what listens there.
    SchedulerUntrusted,
    /// The token that guards the scheduler's routes is gone from the connection Secret, and the
    /// running scheduler accepts no other. Cancel the head's job: a new head is started, with a
    /// new token.
    TokenLost,
    /// The scheduler answered before and does not answer any more. Wait: a new head is started if
    /// its job has ended.
    SchedulerLost,
    /// Fewer workers than wanted have registered, and more are on their way. Wait.
    WorkersStarting,
    /// Workers end soon after they start. The message holds the last lines of a log; starts are
    /// spaced out.
    WorkersFailing,
    /// Workers hand over their data and leave. Wait.
    Retiring,
    /// Workers are to go, and what they hold fits nowhere else. Free the data, add workers, or set
    /// `spec.worker.scaleDownGraceSeconds`: after it they go all the same.
    DataHeld,
    /// A worker has ended with data that was nowhere else; the message says how much. What depends on it is
    /// computed again, as far as Dask can; scattered data is gone.
    DataLost,
    /// The number of wanted workers has changed; the message says why. Nothing to do.
    Scaled,
    /// Nothing runs, as the manifest asks for it. Set `spec.suspend` to false to bring it back.
    Suspended,
    /// The cluster was idle for `spec.idleTimeoutSeconds`. Change the spec, or give the annotation
    /// `azureml.dask.dev/wake` another value, to wake it.
    Idle,
    /// The cluster is about to end for idleness. Submit work, or raise `spec.idleTimeoutSeconds`, if it is still
    /// wanted.
    IdleSoon,
    /// The cluster has reached `spec.maxLifetimeSeconds`. Wake it as an idle one.
    LifetimeReached,
    /// Within a day the head ends, by Azure's limit for jobs or by `spec.maxLifetimeSeconds`. Save what is in
    /// memory.
    LifetimeEnding,
    /// The nodes cost more than `spec.budget` allows. Raise the budget, or ask for less.
    OverBudget,
    /// Jobs run that were started before a change of the spec. The message says what it waits for.
    ChangesPending,
    /// Workers are replaced one by one, as the spec has changed what they run with. Wait.
    Updating,
    /// The annotation `azureml.dask.dev/do-not-disrupt` keeps workers from being let go. Take it off to have it
    /// done.
    DisruptionForbidden,
    /// A worker did not register within `spec.worker.startTimeoutSeconds`, so its job is ended and another
    /// takes its place. Look into its log.
    StartTimeout,
    /// The environment lacks Dask's `distributed`. Add it to the image or to the conda file.
    ImageWithoutDask,
    /// A resource in Azure carries the tags of a DaskCluster that does not exist any more. Remove it,
    /// or tag it as retained.
    Orphaned,
    /// Such a resource was removed, as the operator's setting says.
    OrphanRemoved,
}

impl Reason {
    /// Something is wrong, as opposed to under way or as it should be: what says so is an event of type `Warning`.
    #[must_use]
    pub fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Pending
                | Self::Progressing
                | Self::Ready
                | Self::Provisioning
                | Self::Starting
                | Self::WaitingForNodes
                | Self::WaitingForBudget
                | Self::Deleting
                | Self::DryRun
                | Self::ObservedOnly
                | Self::Adopting
                | Self::Replacing
                | Self::WorkersStarting
                | Self::Retiring
                | Self::Scaled
                | Self::Suspended
                | Self::Idle
                | Self::LifetimeReached
                | Self::ChangesPending
                | Self::Updating
                | Self::DisruptionForbidden
        )
    }

    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 78] = [
        Self::Pending,
        Self::Progressing,
        Self::Ready,
        Self::Provisioning,
        Self::Starting,
        Self::WaitingForNodes,
        Self::Deleting,
        Self::DryRun,
        Self::ObservedOnly,
        Self::UnknownPolicy,
        Self::InvalidSpec,
        Self::NotOurs,
        Self::AlreadyOwned,
        Self::Adopting,
        Self::Drifted,
        Self::DeletedInAzure,
        Self::ReplaceNeeded,
        Self::Replacing,
        Self::PeeringPending,
        Self::ManagedNetwork,
        Self::NoSubnet,
        Self::WorkspaceNotFound,
        Self::ResourceGroupNotFound,
        Self::SubscriptionNotFound,
        Self::CredentialsMissing,
        Self::CredentialsRefused,
        Self::SecretBeingDeleted,
        Self::Abandoned,
        Self::AuthorizationFailed,
        Self::VmSizeUnknown,
        Self::PassedWithWarnings,
        Self::QuotaExceeded,
        Self::NoCapacity,
        Self::SubnetFull,
        Self::Throttled,
        Self::WaitingForBudget,
        Self::AzureError,
        Self::AzureUnreachable,
        Self::RejectedByAzure,
        Self::PolicyDenied,
        Self::ScopeLocked,
        Self::OperationStuck,
        Self::CancelStuck,
        Self::PoolNotFound,
        Self::PoolUnfit,
        Self::NetworkNotFound,
        Self::DatasetNotFound,
        Self::DatasetConflict,
        Self::DatasetUnmountable,
        Self::EnvironmentNotFound,
        Self::EnvironmentConflict,
        Self::ServiceNotOurs,
        Self::SecretNotOurs,
        Self::HeadFailed,
        Self::HeadStartTimeout,
        Self::SchedulerUnreachable,
        Self::SchedulerUntrusted,
        Self::TokenLost,
        Self::SchedulerLost,
        Self::WorkersStarting,
        Self::WorkersFailing,
        Self::Retiring,
        Self::DataHeld,
        Self::DataLost,
        Self::Scaled,
        Self::Suspended,
        Self::Idle,
        Self::IdleSoon,
        Self::LifetimeReached,
        Self::LifetimeEnding,
        Self::OverBudget,
        Self::ChangesPending,
        Self::Updating,
        Self::DisruptionForbidden,
        Self::StartTimeout,
        Self::ImageWithoutDask,
        Self::Orphaned,
        Self::OrphanRemoved,
    ];

    /// The CamelCase word that conditions, events and metrics carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Ready => "Ready",
            Self::Provisioning => "Provisioning",
            Self::Starting => "Starting",
            Self::WaitingForNodes => "WaitingForNodes",
            Self::Deleting => "Deleting",
            Self::DryRun => "DryRun",
            Self::ObservedOnly => "ObservedOnly",
            Self::UnknownPolicy => "UnknownPolicy",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotOurs => "NotOurs",
            Self::AlreadyOwned => "AlreadyOwned",
            Self::Adopting => "Adopting",
            Self::Drifted => "Drifted",
            Self::DeletedInAzure => "DeletedInAzure",
            Self::ReplaceNeeded => "ReplaceNeeded",
            Self::Replacing => "Replacing",
            Self::PeeringPending => "PeeringPending",
            Self::ManagedNetwork => "ManagedNetwork",
            Self::NoSubnet => "NoSubnet",
            Self::WorkspaceNotFound => "WorkspaceNotFound",
            Self::ResourceGroupNotFound => "ResourceGroupNotFound",
            Self::SubscriptionNotFound => "SubscriptionNotFound",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::SecretBeingDeleted => "SecretBeingDeleted",
            Self::Abandoned => "Abandoned",
            Self::AuthorizationFailed => "AuthorizationFailed",
            Self::VmSizeUnknown => "VmSizeUnknown",
            Self::PassedWithWarnings => "PassedWithWarnings",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NoCapacity => "NoCapacity",
            Self::SubnetFull => "SubnetFull",
            Self::Throttled => "Throttled",
            Self::WaitingForBudget => "WaitingForBudget",
            Self::AzureError => "AzureError",
            Self::AzureUnreachable => "AzureUnreachable",
            Self::RejectedByAzure => "RejectedByAzure",
            Self::PolicyDenied => "PolicyDenied",
            Self::ScopeLocked => "ScopeLocked",
            Self::OperationStuck => "OperationStuck",
            Self::CancelStuck => "CancelStuck",
            Self::PoolNotFound => "PoolNotFound",
            Self::PoolUnfit => "PoolUnfit",
            Self::NetworkNotFound => "NetworkNotFound",
            Self::DatasetNotFound => "DatasetNotFound",
            Self::DatasetConflict => "DatasetConflict",
            Self::DatasetUnmountable => "DatasetUnmountable",
            Self::EnvironmentNotFound => "EnvironmentNotFound",
            Self::EnvironmentConflict => "EnvironmentConflict",
            Self::ServiceNotOurs => "ServiceNotOurs",
            Self::SecretNotOurs => "SecretNotOurs",
            Self::HeadFailed => "HeadFailed",
            Self::HeadStartTimeout => "HeadStartTimeout",
            Self::SchedulerUnreachable => "SchedulerUnreachable",
            Self::SchedulerUntrusted => "SchedulerUntrusted",
            Self::TokenLost => "TokenLost",
            Self::SchedulerLost => "SchedulerLost",
            Self::WorkersStarting => "WorkersStarting",
            Self::WorkersFailing => "WorkersFailing",
            Self::Retiring => "Retiring",
            Self::DataHeld => "DataHeld",
            Self::DataLost => "DataLost",
            Self::Scaled => "Scaled",
            Self::Suspended => "Suspended",
            Self::Idle => "Idle",
            Self::IdleSoon => "IdleSoon",
            Self::LifetimeReached => "LifetimeReached",
            Self::LifetimeEnding => "LifetimeEnding",
            Self::OverBudget => "OverBudget",
            Self::ChangesPending => "ChangesPending",
            Self::Updating => "Updating",
            Self::DisruptionForbidden => "DisruptionForbidden",
            Self::StartTimeout => "StartTimeout",
            Self::ImageWithoutDask => "ImageWithoutDask",
            Self::Orphaned => "Orphaned",
            Self::OrphanRemoved => "OrphanRemoved",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn all_holds_each_reason_at_its_place_under_its_own_name() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(reason.as_str(), format!("{reason:?}"));
        }
    }
}

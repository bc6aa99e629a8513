//! How long things take: the profile of contract section 14, every number a knob.

use serde::Deserialize;

/// Durations in seconds at pace 1. Numbers marked "recorded" were measured on Azure; the others
/// are within what its documentation and users tell.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timings {
    /// Before any request is answered (recorded: 0.025 to 0.3).
    pub request_seconds: f64,
    /// PUT or PATCH of a compute until `Succeeded` (recorded: 10).
    pub compute_write_seconds: f64,
    /// `Resizing` until `Steady` of a pool of no nodes (recorded: 8 to 10).
    pub pool_settle_seconds: f64,
    /// A node from asked for to ready (180 to 360).
    pub node_boot_seconds: f64,
    /// A node from `leaving` to gone.
    pub node_leave_seconds: f64,
    /// How long a preempted node is shown, and keeps its cores and its address.
    pub preempted_node_seconds: f64,
    /// How long an unusable node is shown, and keeps its cores and its address.
    pub unusable_node_seconds: f64,
    /// DELETE of a compute that has no nodes.
    pub compute_delete_seconds: f64,
    /// DELETE of a compute that has nodes (60 to 300).
    pub compute_delete_with_nodes_seconds: f64,
    /// How long a subnet stays in use after the compute in it is gone.
    pub subnet_release_seconds: f64,
    /// PUT or PATCH of a workspace until `Succeeded`.
    pub workspace_write_seconds: f64,
    /// DELETE of a workspace; its computes take their own time besides.
    pub workspace_delete_seconds: f64,
    /// PUT of a virtual network or subnet until `Succeeded`.
    pub network_write_seconds: f64,
    /// DELETE of a virtual network or subnet.
    pub network_delete_seconds: f64,
    /// A job from `Starting` to `Queued` with a cached image (5 to 30).
    pub job_start_seconds: f64,
    /// Image build of an environment with a conda file or build context, once (600 to 1200).
    pub image_build_seconds: f64,
    /// A job from its node to `Running`: image pull, mounts.
    pub job_launch_seconds: f64,
    /// `Finalizing`.
    pub job_finalize_seconds: f64,
    /// A cancel until the processes are killed (10 to 90).
    pub cancel_seconds: f64,
    /// How long a job is `NotResponding` whose node is gone, until Azure believes it.
    pub not_responding_seconds: f64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            request_seconds: 0.1,
            compute_write_seconds: 10.0,
            pool_settle_seconds: 9.0,
            node_boot_seconds: 240.0,
            node_leave_seconds: 30.0,
            preempted_node_seconds: 60.0,
            unusable_node_seconds: 600.0,
            compute_delete_seconds: 10.0,
            compute_delete_with_nodes_seconds: 120.0,
            subnet_release_seconds: 60.0,
            workspace_write_seconds: 30.0,
            workspace_delete_seconds: 30.0,
            network_write_seconds: 5.0,
            network_delete_seconds: 10.0,
            job_start_seconds: 10.0,
            image_build_seconds: 900.0,
            job_launch_seconds: 20.0,
            job_finalize_seconds: 10.0,
            cancel_seconds: 30.0,
            not_responding_seconds: 180.0,
        }
    }
}

impl Timings {
    /// Nothing takes time; a test then sets the one duration that it is about.
    #[must_use]
    pub fn none() -> Self {
        Self {
            request_seconds: 0.0,
            compute_write_seconds: 0.0,
            pool_settle_seconds: 0.0,
            node_boot_seconds: 0.0,
            node_leave_seconds: 0.0,
            preempted_node_seconds: 0.0,
            unusable_node_seconds: 0.0,
            compute_delete_seconds: 0.0,
            compute_delete_with_nodes_seconds: 0.0,
            subnet_release_seconds: 0.0,
            workspace_write_seconds: 0.0,
            workspace_delete_seconds: 0.0,
            network_write_seconds: 0.0,
            network_delete_seconds: 0.0,
            job_start_seconds: 0.0,
            image_build_seconds: 0.0,
            job_launch_seconds: 0.0,
            job_finalize_seconds: 0.0,
            cancel_seconds: 0.0,
            not_responding_seconds: 0.0,
        }
    }
}

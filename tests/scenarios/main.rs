//! The real controller, in this process, between a real API server and a simulated Azure whose jobs
//! are real Dask processes.
//!
//! | file | what it shows |
//! |---|---|
//! | `create.rs` | from a manifest to Ready: what is written, how often, and what the status says |
//! | `at_rest.rs` | a cluster that is Ready costs no write |
//! | `credentials.rs` | who a cluster is in Azure and who reads its data: whose Secret, a rotated one, one that goes, none |
//! | `autoscaling.rs` | workers follow the work of a real client, from none to three and back |
//! | `elastic.rs` | up and down under a client that computes, by hand and by the autoscaler, with operators killed in each step |
//! | `letting_go.rs` | workers that hold data which fits nowhere, and those that never come |
//! | `idle.rs` | clusters that nobody uses: warned, at rest, awake again |
//! | `budget.rs` | clusters whose money is spent |
//! | `scale.rs` | workers go by retirement with their data, and join |
//! | `delete.rs` | what is left after a cluster or its whole namespace |
//! | `existing.rs` | pools and networks of somebody else |
//! | `head_pool.rs` | a pool for the head alone: Azure takes the workers' nodes and not the scheduler |
//! | `orphans.rs` | what nobody owns any more |
//! | `owning.rs` | what is ours: drift, adoption, what is contested, what others have in it |
//! | `peerings.rs` | both sides of a peering |
//! | `rest.rs` | clusters that are suspended, rest and come back |
//! | `restart.rs` | operators that are killed on the way |
//! | `loss.rs` | jobs that die |
//! | `weather.rs` | requests that Azure refuses, loses or forgets, and operations that fail or hang: how often each is written |
//! | `preflight.rs` | what is found before the first spend, and nothing is written meanwhile |
//! | `policy.rs` | annotations that keep the operator's hands off, and a look on request |
//! | `turns.rs` | users who change their mind on the way: scale to nothing, delete, switch autoscaling on and off |
//! | `updates.rs` | changes of the spec on running clusters, and clusters that share a pool |
//! | `plan.rs` | the program's `plan` changes nothing |
//! | `told_to_end.rs` | an operator that is told to end before it could begin |
//! | `metrics.rs` | what the operator counts of itself while a cluster lives |
//! | `skew.rs` | objects and a CRD of another release |
//! | `throttled.rs` | what an answer that there are too many requests does to all others |
//! | `endpoint_slice.rs` | which addresses Kubernetes takes behind the Service |

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

mod computing;
#[path = "../support/control_plane.rs"]
mod control_plane;
mod credentials;
mod dask_client;
mod harness;
mod kubernetes_calls;
mod owner;
mod waiting_work;

mod at_rest;
mod autoscaling;
mod budget;
mod create;
mod delete;
mod elastic;
mod endpoint_slice;
mod existing;
mod head_pool;
mod idle;
mod letting_go;
mod loss;
mod metrics;
mod orphans;
mod owning;
mod peerings;
mod plan;
mod policy;
mod preflight;
mod rest;
mod restart;
mod scale;
mod skew;
mod throttled;
mod told_to_end;
mod turns;
mod updates;
mod weather;

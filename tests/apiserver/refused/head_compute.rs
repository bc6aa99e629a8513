//! The pool of the head alone.

use serde_json::{Value, json};

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{adopted_pool, existing_pool, least, set, story};

const COMPUTE: &str = "/spec/scheduler/compute";

fn with(base: Value, compute: Value, field: &'static str, says: &'static str) -> Refusal {
    refusal(base, &[set(COMPUTE, compute)], field, says)
}

pub(super) fn head_compute() -> Vec<Refusal> {
    let mut refusals = vec![
        with(
            story(),
            json!({"creationPolicy": "UseExisting"}),
            "spec.scheduler.compute.name",
            "name is required with creationPolicy UseExisting",
        ),
        with(
            story(),
            json!({"name": "heads", "vmSize": "STANDARD_DS3_V2", "creationPolicy": "UseExisting"}),
            "spec.scheduler.compute.vmSize",
            "the head's pool has its size already",
        ),
        with(
            story(),
            json!({"name": "heads", "creationPolicy": "Adopt"}),
            "spec.scheduler.compute.creationPolicy",
            "supported values: \"Create\", \"UseExisting\"",
        ),
        with(
            story(),
            json!({"name": "DS13-cluster"}),
            "spec.scheduler.compute.name",
            "leave scheduler.compute out to run the head beside the workers",
        ),
        with(
            adopted_pool(),
            json!({}),
            "spec.scheduler.compute.vmSize",
            "give the size of the head's node",
        ),
        with(
            existing_pool(),
            json!({"vmSize": "STANDARD_DS3_V2"}),
            "spec.scheduler.compute.creationPolicy",
            "name a Dedicated pool of the same subnet",
        ),
        refusal(
            story(),
            &[set(COMPUTE, json!({})), set("/spec/compute/maxNodes", 38)],
            "spec.worker.replicas",
            "worker.replicas takes more nodes than compute.maxNodes allows",
        ),
        refusal(
            story(),
            &[
                set(COMPUTE, json!({})),
                set("/spec/compute/maxNodes", 50),
                set("/spec/autoscaling", json!({"maxReplicas": 51})),
            ],
            "spec.autoscaling.maxReplicas",
            "autoscaling.maxReplicas takes more nodes than compute.maxNodes allows",
        ),
    ];
    for (prefix, nodes) in [
        ("10.20.0.0/26", 59),
        ("10.20.0.0/28", 11),
        ("10.20.0.0/30", 1),
    ] {
        refusals.push(refusal(
            least(),
            &[
                set(COMPUTE, json!({})),
                set("/spec/network/subnet/addressPrefix", prefix),
                set("/spec/compute/maxNodes", nodes),
                set("/spec/worker/replicas", 0),
            ],
            "spec.network.subnet.addressPrefix",
            "and the head's node, which scheduler.compute adds",
        ));
    }
    refusals.extend(values(
        COMPUTE,
        [json!({"name": "ab"}), json!({"name": "1heads"})],
        "spec.scheduler.compute.name",
        "compute.name must be 3 to 24",
    ));
    refusals.extend(values(
        COMPUTE,
        [json!({"name": "heads-1"})],
        "spec.scheduler.compute.name",
        "must not end in - and digits",
    ));
    refusals.extend(values(
        COMPUTE,
        [json!({"vmSize": "Standard DS3"})],
        "spec.scheduler.compute.vmSize",
        "vmSize must be the name of a VM size",
    ));
    refusals
}

#[tokio::test]
async fn pools_that_the_head_cannot_have_for_itself_are_refused() {
    all_refused(head_compute()).await;
}

//! The pool of virtual machines.

use serde_json::json;

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{READER, adopted_pool, existing_pool, remove, set, story};

pub(super) fn compute() -> Vec<Refusal> {
    let mut refusals = vec![
        refusal(
            story(),
            &[remove("/spec/compute")],
            "spec.compute",
            "Required value",
        ),
        refusal(
            story(),
            &[remove("/spec/compute/vmSize")],
            "spec.compute.vmSize",
            "vmSize is required with creationPolicy Create",
        ),
        refusal(
            existing_pool(),
            &[set("/spec/compute/vmSize", "STANDARD_DS13_V2")],
            "spec.compute.vmSize",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            existing_pool(),
            &[remove("/spec/compute/name")],
            "spec.compute.name",
            "name is required with creationPolicy UseExisting",
        ),
        refusal(
            adopted_pool(),
            &[remove("/spec/compute/name")],
            "spec.compute.name",
            "name is required with creationPolicy UseExisting and Adopt",
        ),
        refusal(
            adopted_pool(),
            &[remove("/spec/network")],
            "spec.network",
            "network is required",
        ),
        refusal(
            adopted_pool(),
            &[set("/spec/network", story()["spec"]["network"].clone())],
            "spec.network.creationPolicy",
            "a pool that exists lies in a network that exists",
        ),
        refusal(
            story(),
            &[
                set("/spec/compute/minNodes", 50),
                set("/spec/compute/maxNodes", 49),
            ],
            "spec.compute.minNodes",
            "must not be greater than maxNodes",
        ),
        refusal(
            story(),
            &[set("/spec/compute/maxNodes", 39)],
            "spec.worker.replicas",
            "lower worker.replicas or raise compute.maxNodes",
        ),
    ];
    for (field, value) in [
        ("priority", json!("LowPriority")),
        ("minNodes", json!(1)),
        ("maxNodes", json!(99)),
        ("idleSecondsBeforeScaleDown", json!(121)),
    ] {
        refusals.push(refusal(
            existing_pool(),
            &[set(&format!("/spec/compute/{field}"), value)],
            "spec.compute.creationPolicy",
            "do nothing with creationPolicy UseExisting",
        ));
    }
    refusals.push(refusal(
        existing_pool(),
        &[set(
            "/spec/compute/identity",
            json!({"userAssigned": [READER]}),
        )],
        "spec.compute.identity",
        "must be left out with creationPolicy UseExisting",
    ));
    refusals.extend(values(
        "/spec/compute/identity",
        [json!({})],
        "spec.compute.identity.userAssigned",
        "Required value",
    ));
    refusals.extend(values(
        "/spec/compute/identity/userAssigned",
        [
            json!(["reader"]),
            json!([READER.replace("ManagedIdentity", "Compute")]),
            json!([READER, format!("{READER}/more")]),
        ],
        "spec.compute.identity.userAssigned",
        "must hold ARM ids such as",
    ));
    refusals.extend(values(
        "/spec/compute/identity/userAssigned",
        [json!([])],
        "spec.compute.identity.userAssigned",
        "should have at least 1 items",
    ));
    refusals.extend(values(
        "/spec/compute/identity/userAssigned",
        [json!([READER, READER])],
        "spec.compute.identity.userAssigned[1]",
        "Duplicate value",
    ));
    refusals.extend(values(
        "/spec/compute/name",
        ["", "ds", "1pool", "-pool", "ds13_pool"],
        "spec.compute.name",
        "compute.name must be 3 to 24",
    ));
    refusals.extend(values(
        "/spec/compute/name",
        ["ds13-1", "pool-0", "pool--42"],
        "spec.compute.name",
        "must not end in - and digits",
    ));
    refusals.extend(values(
        "/spec/compute/vmSize",
        ["", "D2", "_DS13", "STANDARD DS13"],
        "spec.compute.vmSize",
        "must be the name of a VM size",
    ));
    refusals.extend(values(
        "/spec/compute/priority",
        ["Spot"],
        "spec.compute.priority",
        "supported values: \"Dedicated\", \"LowPriority\"",
    ));
    refusals.extend(values(
        "/spec/compute/creationPolicy",
        ["Take"],
        "spec.compute.creationPolicy",
        "supported values: \"Create\", \"UseExisting\", \"Adopt\"",
    ));
    refusals.extend(values(
        "/spec/compute/minNodes",
        [-1],
        "spec.compute.minNodes",
        "greater than or equal to 0",
    ));
    refusals.extend(values(
        "/spec/compute/maxNodes",
        [0],
        "spec.compute.maxNodes",
        "greater than or equal to 1",
    ));
    refusals.extend(values(
        "/spec/compute/maxNodes",
        [101],
        "spec.compute.maxNodes",
        "less than or equal to 100",
    ));
    refusals.extend(values(
        "/spec/compute/idleSecondsBeforeScaleDown",
        [59],
        "spec.compute.idleSecondsBeforeScaleDown",
        "greater than or equal to 60",
    ));
    refusals.extend(values(
        "/spec/compute/idleSecondsBeforeScaleDown",
        [86_401],
        "spec.compute.idleSecondsBeforeScaleDown",
        "less than or equal to 86400",
    ));
    refusals
}

#[tokio::test]
async fn pools_that_azure_would_refuse_are_refused() {
    all_refused(compute()).await;
}

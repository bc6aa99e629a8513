use std::collections::BTreeSet;

use azure_simulator::{Fault, FaultAnswer, Pace, Timings, World};
use dask_azureml_operator::api::DaskCluster;
use serde_json::{Value, json};

use crate::dask_client;
use crate::harness::{Line, condition, is_ready, wait_for};
use crate::owner::Owner;

/// Two workers at low priority, and a Dedicated pool of the head's own.
fn manifest(line: &Line, name: &str) -> Value {
    let mut manifest = line.manifest(name, 2);
    manifest["spec"]["compute"]["priority"] = json!("LowPriority");
    manifest["spec"]["compute"]["idleSecondsBeforeScaleDown"] = json!(60);
    manifest["spec"]["scheduler"] = json!({"runWorker": true, "compute": {"name": "head-pool"}});
    manifest
}

/// The nodes of a pool that run a job, by id.
fn nodes(line: &Line, pool: &str) -> BTreeSet<String> {
    let world = line.azure.world();
    let mut pools = world["computes"].as_array().into_iter().flatten();
    let nodes = pools.find(|found| found["name"] == pool);
    let nodes = nodes.and_then(|found| found["nodes"].as_array());
    let running = nodes
        .into_iter()
        .flatten()
        .filter(|node| node["state"] == "running" && node["job"].is_string());
    running
        .map(|node| node["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// The names of the pools that there are.
fn pools(line: &Line) -> Vec<String> {
    let world = line.azure.world();
    let pools = world["computes"].as_array().into_iter().flatten();
    pools
        .map(|pool| pool["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// Whether Azure takes this node back.
async fn preempt(line: &Line, node: &str) -> bool {
    let url = format!("{}/nodes/{node}/preempt", line.azure.control_url());
    let answer = reqwest::Client::new().post(url).send().await;
    answer.expect("the simulator answers").status().is_success()
}

fn scheduler(cluster: &DaskCluster) -> String {
    let status = cluster.status.as_ref().expect("a status");
    let scheduler = status.scheduler.as_ref().expect("a scheduler");
    scheduler.address.clone().expect("an address")
}

fn run(cluster: &DaskCluster) -> Option<String> {
    cluster.status.as_ref()?.run.as_ref()?.name.clone()
}

fn ready(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_takes_the_nodes_of_the_workers_and_the_scheduler_lives_on() {
    let line = Line::start().await;
    line.apply(&manifest(&line, "spot")).await;
    let before = line.wait_until_ready("spot").await;
    assert_eq!(pools(&line).len(), 2, "{:?}", pools(&line));
    let [head] = Vec::from_iter(nodes(&line, "head-pool"))
        .try_into()
        .expect("a node");
    assert!(!preempt(&line, &head).await, "the head's node is Dedicated");
    dask_client::run(
        &scheduler(&before),
        r#"
workers = client.scheduler_info(n_workers=-1)["workers"]
own = [address for address, worker in workers.items() if "-head-1." in str(worker["id"])]
kept = client.scatter(b"kept", workers=own)
client.publish_dataset(kept=kept)
"#,
    )
    .await;

    let taken = nodes(&line, "ds13-cluster");
    assert_eq!(taken.len(), 2, "{taken:?}");
    for node in &taken {
        assert!(preempt(&line, node).await, "{node} is at low priority");
    }
    wait_for("the workers' jobs run on other nodes", async || {
        let now = nodes(&line, "ds13-cluster");
        let all_new = now.len() == 2 && now.is_disjoint(&taken);
        all_new.then_some(()).ok_or(format!("{now:?}"))
    })
    .await;
    dask_client::run(
        &scheduler(&before),
        r#"
client.wait_for_workers(3, timeout=50)
assert client.get_dataset("kept").result() == b"kept"
assert client.gather(client.map(lambda n: n * n, range(30))) == [n * n for n in range(30)]
"#,
    )
    .await;
    let after = line
        .wait_for("spot", "head and workers are there", |cluster| {
            is_ready(cluster) && ready(cluster) == Some(3)
        })
        .await;
    assert_eq!(scheduler(&after), scheduler(&before));
    assert_eq!(run(&after), run(&before));
    assert_eq!(Vec::from_iter(nodes(&line, "head-pool")), [head]);

    line.delete("spot").await;
    line.wait_until_gone("spot").await;
    assert_eq!(pools(&line), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_the_address_of_a_head_that_azure_has_started_again() {
    let line = Line::start().await;
    let mut on_spot = line.manifest("nomad", 1);
    on_spot["spec"]["compute"]["priority"] = json!("LowPriority");
    line.apply(&on_spot).await;
    let before = line.wait_until_ready("nomad").await;
    let head = run(&before).expect("a head");

    // The next start can neither take the old address back nor publish its own.
    line.azure.fault(Fault {
        count: None,
        ..Fault::answer(
            "POST",
            "/runs/log-batch",
            FaultAnswer::error(503, "ServiceUnavailable"),
        )
    });
    let world = line.azure.world();
    let mut pools = world["computes"].as_array().into_iter().flatten();
    let pool = pools.find(|pool| pool["name"] == "ds13-cluster");
    let mut of_pool = pool
        .and_then(|pool| pool["nodes"].as_array())
        .into_iter()
        .flatten();
    let node = of_pool.find(|node| node["job"].as_str() == Some(&head));
    let node = node.and_then(|node| node["id"].as_str()).expect("its node");
    assert!(preempt(&line, node).await);
    line.wait_for("nomad", "the same job runs again", |cluster| {
        let status = cluster.status.as_ref();
        let again = status
            .and_then(|status| status.run.as_ref())
            .is_some_and(|run| {
                run.name.as_ref() == Some(&head) && run.status.as_deref() == Some("Running")
            });
        again && status.is_some_and(|status| status.scheduler.is_none())
    })
    .await;
    line.wait_for_event(|event| event.contains("Azure ML starts the same job again"))
        .await;

    line.azure.clear_faults();
    let after = line
        .wait_for("nomad", "its worker has found the head", |cluster| {
            is_ready(cluster) && ready(cluster) == Some(1)
        })
        .await;
    assert_ne!(scheduler(&after), scheduler(&before));
    assert_eq!(run(&after).as_ref(), Some(&head));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_cluster_has_no_node_in_either_pool_and_comes_back_to_both() {
    // Everything happens at once, but that a node idles for its three seconds before it goes.
    let line = Line::start_in(World {
        timings: Timings::none(),
        time_scale: Pace::Scaled(20.0),
        ..World::default()
    })
    .await;
    line.apply(&manifest(&line, "sleeper")).await;
    let cluster = line.wait_until_ready("sleeper").await;
    let told = cluster
        .status
        .and_then(|status| status.nodes)
        .unwrap_or_default();
    assert_eq!((told.own, told.max), (3, 11));

    let mut suspended = manifest(&line, "sleeper");
    suspended["spec"]["suspend"] = json!(true);
    line.apply(&suspended).await;
    line.wait_for("sleeper", "no node is left", |cluster| {
        let nodes = cluster.status.as_ref().and_then(|status| status.nodes);
        condition(cluster, "Ready").starts_with("True Suspended")
            && nodes.is_some_and(|nodes| nodes.current == 0)
    })
    .await;
    assert_eq!(nodes(&line, "head-pool").len(), 0);

    line.apply(&manifest(&line, "sleeper")).await;
    line.wait_for("sleeper", "head and workers are back", |cluster| {
        is_ready(cluster) && ready(cluster) == Some(3)
    })
    .await;
    assert_eq!(nodes(&line, "head-pool").len(), 1);
    assert_eq!(nodes(&line, "ds13-cluster").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_somebody_else_runs_the_head_and_is_left_as_it_was() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let shared = |line: &Line| {
        let world = line.azure.world();
        let mut pools = world["computes"].as_array().into_iter().flatten();
        let pool = pools
            .find(|pool| pool["name"] == "shared-pool")
            .expect("it is there");
        [&pool["tags"], &pool["scaleSettings"]].map(Clone::clone)
    };
    let before = shared(&line);
    line.forget_requests();

    let mut manifest = manifest(&line, "guest");
    manifest["spec"]["network"] = json!({
        "virtualNetwork": {"name": "shared-vnet"}, "creationPolicy": "UseExisting",
    });
    manifest["spec"]["scheduler"]["compute"] =
        json!({"name": "shared-pool", "creationPolicy": "UseExisting"});
    line.apply(&manifest).await;
    line.wait_until_ready("guest").await;
    assert_eq!(nodes(&line, "shared-pool").len(), 1);
    assert_eq!(nodes(&line, "ds13-cluster").len(), 2);
    line.delete("guest").await;
    line.wait_until_gone("guest").await;

    assert_eq!(pools(&line), ["shared-pool"]);
    assert_eq!(shared(&line), before);
    let touched: Vec<_> = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.contains("/computes/shared-pool"))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
}

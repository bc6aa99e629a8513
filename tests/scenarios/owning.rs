use dask_azureml_operator::api::DaskCluster;
use serde_json::{Value, json};

use crate::harness::{Line, condition, is_ready, wait_for};
use crate::owner::Owner;

/// A cluster of a head alone, in a network and on a pool of its own.
async fn running(line: &Line, name: &str, change: impl FnOnce(&mut Value)) {
    let mut manifest = line.manifest(name, 0);
    change(&mut manifest["spec"]);
    line.apply(&manifest).await;
    line.wait_until_ready(name).await;
    line.wait_for(name, "the status holds what was applied", |cluster| {
        let resources = cluster.status.iter().flat_map(|status| &status.resources);
        resources
            .filter(|resource| resource.applied_spec.is_some())
            .count()
            >= 3
    })
    .await;
}

/// Whatever is written now is written by an operator that looks at everything anew.
fn look_anew(line: &mut Line) {
    line.kill_operator();
    line.forget_requests();
    line.start_operator();
}

/// Waits for more looks than any write needs, so that one more would be there.
async fn a_few_looks_later(line: &Line) {
    let before = line.reconciles().await;
    for round in 0..3_u32 {
        for cluster in line
            .clusters()
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
        {
            let name = cluster.metadata.name.unwrap();
            line.annotate(&name, "tests/poke", Some(&round.to_string()))
                .await;
        }
        wait_for("the operator has reconciled", async || {
            let now = line.reconciles().await;
            (now > before + u64::from(round))
                .then_some(())
                .ok_or(format!("{now} reconciles"))
        })
        .await;
    }
}

fn writes_to(line: &Line, part: &str) -> Vec<String> {
    let writes = line.azure_writes().into_iter();
    let verbs = writes.filter(|write| write.contains(part));
    verbs
        .map(|write| write.split(' ').next().unwrap().to_owned())
        .collect()
}

fn smaller(pool: &mut Value) {
    pool["properties"]["properties"]["scaleSettings"] =
        json!({"minNodeCount": 1, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT30M"});
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_set_back_once_and_what_is_theirs_stays() {
    let mut line = Line::start().await;
    running(&line, "tidy", |_| {}).await;
    let owner = Owner::signed_in(&line).await;
    let (pool, network) = (owner.pool("ds13-cluster"), owner.network("dask-vnet"));
    line.kill_operator();
    pool.edit(|pool| {
        smaller(pool);
        pool["tags"]["cost-center"] = json!("7");
    })
    .await;
    let web = json!({"properties": {"addressPrefix": "10.20.8.0/24"}});
    network.child("subnets", "web").put(web).await;
    network
        .edit(|network| {
            network["tags"]["team"] = json!("platform");
            network["tags"]["dask-azureml-cluster"] = json!("somebody/else");
        })
        .await;
    look_anew(&mut line);

    wait_for("pool and network are as the spec asks for", async || {
        let told = (pool.get().await.unwrap(), network.get().await.unwrap());
        let limit = &told.0["properties"]["properties"]["scaleSettings"]["maxNodeCount"];
        let is_back = *limit == 10 && told.1["tags"]["dask-azureml-cluster"] != "somebody/else";
        is_back.then_some(()).ok_or(format!("{told:?}"))
    })
    .await;
    a_few_looks_later(&line).await;
    assert_eq!(writes_to(&line, "/computes/"), ["PATCH"]);
    assert_eq!(writes_to(&line, "/virtualNetworks/"), ["PUT"]);
    assert_eq!(line.azure_writes().len(), 2, "{:?}", line.azure_writes());
    let scale = &pool.get().await.unwrap()["properties"]["properties"]["scaleSettings"];
    assert_eq!(
        (&scale["minNodeCount"], &scale["maxNodeCount"]),
        (&json!(0), &json!(10))
    );
    assert_eq!(pool.get().await.unwrap()["tags"]["cost-center"], "7");
    let network = network.get().await.unwrap();
    assert_eq!(network["tags"]["team"], "platform");
    assert_eq!(
        network["properties"]["subnets"].as_array().unwrap().len(),
        2
    );
    for path in [
        "scaleSettings.maxNodeCount",
        "scaleSettings.nodeIdleTimeBeforeScaleDown",
        "tags.dask-azureml-cluster",
    ] {
        line.wait_for_event(|event| event.starts_with("Drifted: ") && event.contains(path))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn report_tells_and_writes_nothing() {
    let mut line = Line::start().await;
    running(&line, "watcher", |spec| {
        spec["driftPolicy"] = json!("Report")
    })
    .await;
    let owner = Owner::signed_in(&line).await;
    line.kill_operator();
    owner.pool("ds13-cluster").edit(smaller).await;
    look_anew(&mut line);
    let cluster = line
        .wait_for("watcher", "the drift is told", |cluster| {
            condition(cluster, "ComputeReady").starts_with("True Drifted: ")
        })
        .await;
    assert!(is_ready(&cluster), "the cluster works on");
    assert!(condition(&cluster, "ComputeReady").contains("scaleSettings.maxNodeCount"));
    a_few_looks_later(&line).await;
    assert_eq!(line.azure_writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_lost_the_owners_tag_is_neither_written_nor_deleted_until_it_is_given_back() {
    let mut line = Line::start().await;
    running(&line, "orphan", |_| {}).await;
    let owner = Owner::signed_in(&line).await;
    let pool = owner.pool("ds13-cluster");
    line.kill_operator();
    let mut tag = Value::Null;
    pool.edit(|pool| {
        smaller(pool);
        tag = pool["tags"]
            .as_object_mut()
            .unwrap()
            .remove("dask-azureml-owner")
            .unwrap();
    })
    .await;
    look_anew(&mut line);
    let told = line
        .wait_for("orphan", "the missing tag is told", |cluster| {
            condition(cluster, "ComputeReady").starts_with("False NotOurs: ")
        })
        .await;
    assert!(condition(&told, "ComputeReady").contains("az tag update --operation merge"));
    a_few_looks_later(&line).await;
    assert_eq!(line.azure_writes(), [""; 0]);

    line.delete("orphan").await;
    line.wait_for("orphan", "the deletion says what it lacks", |cluster| {
        condition(cluster, "Ready").contains("has lost the tag dask-azureml-owner")
    })
    .await;
    a_few_looks_later(&line).await;
    assert_eq!(
        writes_to(&line, "/computes/"),
        [""; 0],
        "it is not proven to be ours"
    );
    line.kill_operator();
    pool.edit(|pool| pool["tags"]["dask-azureml-owner"] = tag)
        .await;
    line.start_operator();
    line.wait_until_gone("orphan").await;
    assert!(pool.get().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_manifest_that_names_the_same_pool_is_told_whose_it_is() {
    let line = Line::start().await;
    running(&line, "first", |_| {}).await;
    line.forget_requests();
    line.apply(&line.manifest("second", 0)).await;
    let told = line
        .wait_for("second", "the owner is told", |cluster| {
            condition(cluster, "Stalled").starts_with("True AlreadyOwned: ")
        })
        .await;
    let first = format!("{}/first", line.namespace);
    for stage in ["ComputeReady", "NetworkReady"] {
        assert!(condition(&told, stage).contains(&first), "{stage}");
    }
    line.delete("second").await;
    line.wait_until_gone("second").await;
    assert_eq!(line.azure_writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_nobody_is_taken_over_by_its_tags_and_then_by_its_limits_and_goes_with_the_cluster()
 {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let pool = owner.pool("shared-pool");
    line.forget_requests();
    let mut manifest = line.manifest("heir", 0);
    manifest["spec"]["network"] = json!({
        "virtualNetwork": {"name": "shared-vnet"}, "subnet": {"name": "default"}, "creationPolicy": "UseExisting",
    });
    manifest["spec"]["compute"] =
        json!({"name": "shared-pool", "maxNodes": 10, "creationPolicy": "Adopt"});
    line.apply(&manifest).await;
    line.wait_until_ready("heir").await;
    assert_eq!(writes_to(&line, "/computes/"), ["PUT", "PATCH"]);
    let body = pool.get().await.unwrap();
    assert_eq!(body["tags"]["team"], "platform");
    assert_eq!(
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"],
        10
    );
    line.wait_for_event(|event| event.starts_with("Adopting: ") && event.contains("maxNodeCount"))
        .await;

    line.delete("heir").await;
    line.wait_until_gone("heir").await;
    assert!(pool.get().await.is_none());
    assert_eq!(writes_to(&line, "/virtualNetworks/"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_in_which_somebody_has_a_subnet_stays_with_that_subnet() {
    let line = Line::start().await;
    running(&line, "tenant", |_| {}).await;
    let owner = Owner::signed_in(&line).await;
    let network = owner.network("dask-vnet");
    let web = network.child("subnets", "web");
    web.put(json!({"properties": {"addressPrefix": "10.20.8.0/24"}}))
        .await;
    line.delete("tenant").await;
    line.wait_until_gone("tenant").await;
    assert!(web.get().await.is_some());
    assert!(network.child("subnets", "default").get().await.is_none());
    assert_eq!(
        network.get().await.unwrap()["tags"]["dask-azureml-retained"],
        "true"
    );
    line.wait_for_event(|event| {
        event.contains("VirtualNetwork dask-vnet") && event.contains("stays")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_somebody_deleted_is_told_and_made_again_once() {
    let mut line = Line::start().await;
    running(&line, "phoenix", |_| {}).await;
    let owner = Owner::signed_in(&line).await;
    let pool = owner.pool("ds13-cluster");
    line.kill_operator();
    pool.delete().await;
    wait_for("the pool is gone", async || {
        pool.get()
            .await
            .map_or(Ok(()), |pool| Err(pool.to_string()))
    })
    .await;
    look_anew(&mut line);
    wait_for("the pool is there again", async || {
        pool.get()
            .await
            .map(drop)
            .ok_or_else(|| "it is gone".to_owned())
    })
    .await;
    line.wait_until_ready("phoenix").await;
    assert_eq!(writes_to(&line, "/computes/"), ["PUT"]);
    line.wait_for_event(|event| {
        event.starts_with("DeletedInAzure: ") && event.contains("ds13-cluster")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_another_size_is_deleted_only_as_the_annotation_allows_and_not_made_again_at_once()
 {
    let mut line = Line::start().await;
    running(&line, "swap", |_| {}).await;
    let owner = Owner::signed_in(&line).await;
    let pool = owner.pool("ds13-cluster");
    line.kill_operator();
    let mut body = pool.get().await.unwrap();
    pool.delete().await;
    wait_for("the pool is gone", async || {
        pool.get()
            .await
            .map_or(Ok(()), |pool| Err(pool.to_string()))
    })
    .await;
    let inner = json!({
        "vmSize": "STANDARD_DS3_V2",
        "scaleSettings": body["properties"]["properties"]["scaleSettings"],
        "subnet": body["properties"]["properties"]["subnet"],
    });
    body = json!({
        "location": body["location"], "tags": body["tags"],
        "properties": {"computeType": "AmlCompute", "properties": inner},
    });
    pool.put(body).await;
    look_anew(&mut line);
    let needs = |cluster: &DaskCluster| condition(cluster, "ComputeReady");
    let told = line
        .wait_for("swap", "the annotation is asked for", |cluster| {
            needs(cluster).starts_with("False ReplaceNeeded: ")
        })
        .await;
    a_few_looks_later(&line).await;
    assert_eq!(writes_to(&line, "/computes/"), [""; 0]);

    let message = needs(&told);
    let (_, allowance) = message.rsplit_once('=').unwrap();
    line.annotate("swap", "azureml.dask.dev/allow-replace", Some(allowance))
        .await;
    line.wait_for("swap", "the pool is gone, and that is told", |cluster| {
        needs(cluster).contains("Replacing: ComputeCluster ds13-cluster is gone")
    })
    .await;
    line.restart_operator();
    line.until_operator_is_ready().await;
    a_few_looks_later(&line).await;
    assert_eq!(
        writes_to(&line, "/computes/"),
        ["DELETE"],
        "it waits, also after a restart"
    );
    assert!(pool.get().await.is_none());
}

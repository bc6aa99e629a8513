use std::time::Duration;

use azure_simulator::World;
use dask_azureml_operator::api::DaskCluster;
use serde_json::{Value, json};

use crate::computing::Computing;
use crate::dask_client;
use crate::harness::{Line, condition, is_ready, wait_for};
use crate::owner::Owner;

fn scheduler(cluster: &DaskCluster) -> String {
    let status = cluster.status.as_ref().expect("a status");
    let scheduler = status.scheduler.as_ref().expect("a scheduler");
    scheduler.address.clone().expect("an address")
}

fn head(cluster: &DaskCluster) -> Option<String> {
    cluster.status.as_ref()?.run.as_ref()?.name.clone()
}

fn workers(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

fn pending(cluster: &DaskCluster) -> Value {
    json!(
        cluster
            .status
            .as_ref()
            .map(|status| &status.pending_changes)
    )
}

/// Names of the running jobs, without the cluster's part.
fn running(line: &Line) -> Vec<String> {
    let running = line.jobs_with_status("Running");
    let mut slots: Vec<_> = running
        .iter()
        .filter_map(|job| {
            let mut parts = job.rsplitn(3, '-');
            let (incarnation, slot) = (parts.next()?, parts.next()?);
            Some(format!("{slot}-{incarnation}"))
        })
        .collect();
    slots.sort();
    slots
}

fn job_writes(line: &Line) -> Vec<String> {
    let writes = line.azure_writes().into_iter();
    writes.filter(|write| write.contains("/jobs/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_replaced_one_by_one_with_their_data_while_the_head_stays() {
    let line = Line::start().await;
    let mut manifest = line.manifest("rolling", 3);
    line.apply(&manifest).await;
    let before = line.wait_until_ready("rolling").await;
    dask_client::run(
        &scheduler(&before),
        "parts = client.scatter([bytes([n]) * 100_000 for n in range(12)])
client.publish_dataset(parts, name='kept')",
    )
    .await;
    line.forget_requests();

    manifest["spec"]["worker"]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    line.apply(&manifest).await;
    let mut fewest = u32::MAX;
    let after = wait_for("every worker has what the spec says", async || {
        let cluster = line.clusters().get("rolling").await.expect("it is there");
        fewest = fewest.min(workers(&cluster).unwrap_or(0));
        let is_done = is_ready(&cluster)
            && pending(&cluster) == json!([])
            && running(&line).len() == 4
            && running(&line)
                .iter()
                .all(|job| job == "head-1" || !is_first_of_three(job));
        let told = format!(
            "{:?} {}",
            running(&line),
            condition(&cluster, "WorkersReady")
        );
        is_done.then_some(cluster).ok_or(told)
    })
    .await;
    assert!(fewest >= 2, "{fewest} workers at one time");
    assert_eq!(head(&after), head(&before), "the head stays");
    let writes = job_writes(&line);
    let cancelled = writes.iter().any(|write| write.ends_with("/cancel"));
    assert!(!cancelled && writes.len() == 3, "{writes:#?}");
    dask_client::run(
        &scheduler(&after),
        "found = client.gather(client.get_dataset('kept'))
assert found == [bytes([n]) * 100_000 for n in range(12)]
greetings = client.run(lambda: __import__('os').environ.get('GREETING'))
assert list(greetings.values()) == ['hello'] * 3, greetings",
    )
    .await;
}

fn is_first_of_three(job: &str) -> bool {
    ["w00-1", "w01-1", "w02-1"].contains(&job)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_killed_in_the_middle_of_a_rollout_replace_every_worker_once_under_a_client() {
    let mut line = Line::start().await;
    let mut manifest = line.manifest("rolling", 3);
    line.apply(&manifest).await;
    let before = line.wait_until_ready("rolling").await;
    let client = Computing::start(&scheduler(&before), line.azure.directory()).await;
    line.forget_requests();

    manifest["spec"]["worker"]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    line.apply(&manifest).await;
    // For each new worker that is submitted an old one goes: a kill after each of these.
    for step in 1..=3 {
        wait_for("one more worker is submitted", async || {
            let written = job_writes(&line);
            (written.len() >= step)
                .then_some(())
                .ok_or(format!("{written:?}"))
        })
        .await;
        line.restart_operator();
        until_gone(&line, step).await;
        line.restart_operator();
    }
    let after = line
        .wait_for(
            "rolling",
            "every worker has what the spec says",
            |cluster| is_ready(cluster) && pending(cluster) == json!([]),
        )
        .await;
    let running = running(&line);
    let is_new = |job: &&String| *job != "head-1" && !is_first_of_three(job);
    let new_ones = running.iter().filter(is_new).count();
    assert_eq!((running.len(), new_ones), (4, 3), "{running:?}");
    assert_eq!(line.jobs_with_status("Completed").len(), 3);
    assert_eq!(job_writes(&line).len(), 3, "{:#?}", job_writes(&line));
    assert_eq!(head(&after), head(&before), "the head stays");
    let rounds = client.end().await;
    assert!(rounds > 20, "the client came to {rounds} rounds only");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_work_cost_no_worker_that_does() {
    let line = Line::start().await;
    let mut manifest = line.manifest("broken", 2);
    line.apply(&manifest).await;
    let before = line.wait_until_ready("broken").await;
    line.forget_requests();

    // No Python starts with that.
    manifest["spec"]["worker"]["env"] = json!([{"name": "PYTHONHOME", "value": "/nowhere"}]);
    line.apply(&manifest).await;
    line.wait_for("broken", "the second try has failed as well", |cluster| {
        condition(cluster, "WorkersReady").contains("w02-2 ended Failed")
    })
    .await;
    assert_eq!(running(&line), ["head-1", "w00-1", "w01-1"]);
    let told = line.clusters().get("broken").await.expect("it is there");
    let told = condition(&told, "ChangesPending");
    assert!(told.contains("failed with the new settings"), "{told}");
    let writes = job_writes(&line);
    assert!(
        writes.iter().all(|write| write.contains("w02-")),
        "{writes:#?}"
    );

    manifest["spec"]["worker"]["env"] = json!([]);
    line.apply(&manifest).await;
    let mended = line
        .wait_for("broken", "the old settings are there again", |cluster| {
            is_ready(cluster) && pending(cluster) == json!([])
        })
        .await;
    assert_eq!(head(&mended), head(&before));
    assert_eq!(running(&line), ["head-1", "w00-1", "w01-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_concerns_the_head_waits_until_it_is_to_be_recreated() {
    let line = Line::start().await;
    let mut manifest = line.manifest("stubborn", 1);
    line.apply(&manifest).await;
    let before = line.wait_until_ready("stubborn").await;
    line.forget_requests();

    manifest["spec"]["scheduler"]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    manifest["spec"]["compute"]["maxNodes"] = json!(20);
    manifest["spec"]["compute"]["idleSecondsBeforeScaleDown"] = json!(300);
    line.apply(&manifest).await;
    let waiting = line
        .wait_for("stubborn", "the change waits", |cluster| {
            is_ready(cluster) && condition(cluster, "ChangesPending").starts_with("True")
        })
        .await;
    assert_eq!(
        pending(&waiting),
        json!([{
            "component": "head", "fields": ["scheduler.env"], "jobs": 1,
            "waitsFor": "the head to end, or updatePolicy Recreate",
        }])
    );
    wait_for("the pool has its new limits", async || {
        let computes = line.azure.world()["computes"].to_string();
        let has =
            computes.contains("20") && (computes.contains("300") || computes.contains("PT5M"));
        has.then_some(()).ok_or(computes)
    })
    .await;
    assert_eq!(job_writes(&line), [""; 0], "no job is touched");

    manifest["spec"]["updatePolicy"] = json!("Recreate");
    line.apply(&manifest).await;
    let after = line
        .wait_for("stubborn", "another head has its worker", |cluster| {
            is_ready(cluster)
                && head(cluster) != head(&before)
                && workers(cluster) == Some(1)
                && pending(cluster) == json!([])
        })
        .await;
    assert_eq!(
        running(&line),
        ["head-2", "w01-1"].map(String::from),
        "{:?}",
        head(&after)
    );
    assert_eq!(condition(&after, "ChangesPending"), "");
    let events = line.events().await;
    let told = events.iter().any(|event| {
        event.starts_with("Updating: head job")
            && event.contains("replaced for a change of the spec")
    });
    assert!(told, "{events:#?}");
}

/// A cluster on the pool of somebody else.
fn guest(line: &Line, name: &str, replicas: u32) -> Value {
    let mut manifest = line.manifest(name, replicas);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.remove("network");
    spec.insert(
        "compute".to_owned(),
        json!({"name": "shared-pool", "creationPolicy": "UseExisting"}),
    );
    manifest
}

/// Somebody else's pool of so many nodes.
async fn shared_pool(line: &Line, nodes: u32) {
    let owner = Owner::signed_in(line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let pool = owner.pool("shared-pool");
    pool.edit(|body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(nodes);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_on_one_pool_count_and_let_go_their_own_jobs_only() {
    let line = Line::start().await;
    shared_pool(&line, 4).await;
    line.apply(&guest(&line, "one", 1)).await;
    line.apply(&guest(&line, "two", 1)).await;
    let one = line.wait_until_ready("one").await;
    let two = line.wait_until_ready("two").await;
    let replicas =
        |cluster: &DaskCluster| cluster.status.as_ref().and_then(|status| status.replicas);
    assert_eq!((replicas(&one), replicas(&two)), (Some(1), Some(1)));
    line.forget_requests();

    line.apply(&guest(&line, "one", 0)).await;
    line.wait_for("one", "its workers are gone", |cluster| {
        is_ready(cluster) && replicas(cluster) == Some(0)
    })
    .await;
    let two = line.clusters().get("two").await.expect("it is there");
    assert!(is_ready(&two));
    assert_eq!((replicas(&two), workers(&two)), (Some(1), Some(1)));
    assert_eq!(job_writes(&line), [""; 0], "workers go by retirement");
}

const KEEP_PARTS: &str = "parts = client.scatter([bytes([n]) * 100_000 for n in range(12)])
client.publish_dataset(parts, name='kept')";

const FIND_PARTS: &str = "found = client.gather(client.get_dataset('kept'))
assert found == [bytes([n]) * 100_000 for n in range(12)]
greetings = client.run(lambda: __import__('os').environ.get('GREETING'))
assert list(greetings.values()) == ['hello'] * 2, greetings";

#[tokio::test(flavor = "multi_thread")]
async fn where_a_cluster_fills_a_pool_an_old_worker_goes_before_its_successor_comes() {
    let line = Line::start().await;
    shared_pool(&line, 3).await;
    let mut manifest = guest(&line, "filling", 2);
    line.apply(&manifest).await;
    let before = line.wait_until_ready("filling").await;
    dask_client::run(&scheduler(&before), KEEP_PARTS).await;
    line.forget_requests();

    manifest["spec"]["worker"]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    line.apply(&manifest).await;
    let mut most = 0;
    let after = wait_for("every worker has what the spec says", async || {
        most = most.max(line.worker_jobs_that_have_not_ended());
        let cluster = line.clusters().get("filling").await.expect("it is there");
        let is_done = is_ready(&cluster)
            && pending(&cluster) == json!([])
            && running(&line) == ["head-1", "w00-2", "w01-2"];
        let told = format!("{:?} {}", running(&line), pending(&cluster));
        is_done.then_some(cluster).ok_or(told)
    })
    .await;
    assert_eq!(most, 2, "no job waits for a node that cannot come");
    assert_eq!(line.cancelled_jobs(), [""; 0]);
    assert_eq!(job_writes(&line).len(), 2, "{:#?}", job_writes(&line));
    dask_client::run(&scheduler(&after), FIND_PARTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_fill_a_pool_a_new_worker_waits_until_an_old_one_makes_room_for_it() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    shared_pool(&line, 5).await;
    let mut manifest = guest(&line, "patient", 2);
    line.apply(&manifest).await;
    line.apply(&guest(&line, "other", 1)).await;
    let before = line.wait_until_ready("patient").await;
    line.wait_until_ready("other").await;
    let others = line.jobs_with_status("Running");
    let others: Vec<_> = others
        .into_iter()
        .filter(|job| !is_of(job, &before))
        .collect();
    dask_client::run(&scheduler(&before), KEEP_PARTS).await;
    line.forget_requests();

    manifest["spec"]["worker"]["env"] = json!([{"name": "GREETING", "value": "hello"}]);
    line.apply(&manifest).await;
    until_one_waits_for_a_node(&line, 1).await;
    line.pass(Duration::from_secs(40)).await;
    line.have_reconciled("patient", 3).await;
    let running = line.jobs_with_status("Running");
    assert_eq!(running.len(), 5, "nobody goes yet: {running:?}");

    // Each new worker waits for a minute, as the pool has no node more.
    for step in 1..=2 {
        until_one_waits_for_a_node(&line, step).await;
        line.pass(Duration::from_secs(90)).await;
        until_gone(&line, step).await;
    }
    let after = line
        .wait_for(
            "patient",
            "every worker has what the spec says",
            |cluster| {
                is_ready(cluster)
                    && pending(cluster) == json!([])
                    && workers(cluster) == Some(2)
                    && line.worker_jobs_that_have_not_ended() == 3
            },
        )
        .await;
    assert_eq!(head(&after), head(&before), "the head stays");
    let running = line.jobs_with_status("Running");
    for other in &others {
        assert!(running.contains(other), "{other} is another cluster's");
    }
    dask_client::run(&scheduler(&after), FIND_PARTS).await;
}

/// The newest of so many new workers.
async fn until_one_waits_for_a_node(line: &Line, submitted: usize) {
    wait_for("a new worker waits for a node", async || {
        let (written, queued) = (job_writes(line), line.jobs_with_status("Queued"));
        (written.len() == submitted && queued.len() == 1)
            .then_some(())
            .ok_or(format!("{written:?} {queued:?}"))
    })
    .await;
}

/// So many workers have been retired.
async fn until_gone(line: &Line, workers: usize) {
    wait_for("one more worker has gone", async || {
        let gone = line.jobs_with_status("Completed");
        (gone.len() >= workers)
            .then_some(())
            .ok_or(format!("{gone:?}"))
    })
    .await;
}

/// Whether a job is one of this cluster's.
fn is_of(job: &str, cluster: &DaskCluster) -> bool {
    let head = head(cluster).expect("a head");
    let prefix = head.strip_suffix("-head-1").expect("the first head");
    job.starts_with(prefix)
}

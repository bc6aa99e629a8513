use std::collections::BTreeMap;
use std::time::Duration;

use dask_azureml_operator::clock::Clock;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;

use crate::harness::{Line, wait_for};

/// Kubernetes API calls that a cluster with three workers may take until it is Ready, and within
/// which time; a slower machine sees one more step of progress every five seconds.
const CALLS: usize = 10;
const CALLS_WITHIN: Duration = Duration::from_secs(12);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_get_ready_and_every_azure_resource_is_written_once() {
    let line = Line::start().await;
    let clock = Clock::system();
    let applied = clock.elapsed();
    line.apply(&line.manifest("thrifty", 3)).await;
    let cluster = line.wait_until_ready("thrifty").await;
    let took = clock.elapsed().saturating_sub(applied);

    let status = cluster.status.expect("a status");
    let workers = status.workers.expect("counts of workers");
    assert_eq!((workers.desired, workers.ready), (3, 3));
    assert_eq!(workers.cores, 3);
    assert_eq!(status.replicas, Some(3));
    let run = status.run.expect("the head's run");
    assert_eq!(run.status.as_deref(), Some("Running"));
    let scheduler = status.scheduler.expect("the scheduler's addresses");
    let address = scheduler.address.expect("an address");
    assert!(address.starts_with("tcp://127."), "{address}");

    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for write in line.azure_writes() {
        *writes.entry(write).or_default() += 1;
    }
    let repeated: Vec<_> = writes.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "written more than once: {repeated:#?}");
    let jobs = writes.keys().filter(|write| write.contains("/jobs/"));
    assert_eq!(jobs.count(), 4, "a head and three workers: {writes:#?}");
    assert_eq!(
        writes.len(),
        8,
        "network, subnet, pool, environment and four jobs: {writes:#?}"
    );

    let calls = line.kube_calls();
    let told: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {}", call.method, call.path))
        .collect();
    let slower_by = took.saturating_sub(CALLS_WITHIN).as_secs_f64() / PROGRESS_EVERY.as_secs_f64();
    assert!(
        calls.len() <= CALLS + slower_by.ceil() as usize,
        "{} Kubernetes API calls in {took:?}: {told:#?}",
        calls.len()
    );
    let status_writes: Vec<_> = calls.iter().filter(|call| call.is_status_write()).collect();
    for pair in status_writes.windows(2) {
        assert_ne!(
            pair[0].body, pair[1].body,
            "a status write that changes nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_on_loopback_has_a_service_without_endpoints_and_a_connection_secret() {
    let line = Line::start().await;
    line.apply(&line.manifest("local", 1)).await;
    let status = line
        .wait_until_ready("local")
        .await
        .status
        .expect("a status");
    let scheduler = status.scheduler.expect("the scheduler's addresses");
    assert_eq!(scheduler.service, None);

    let ours = ListParams::default().labels("app.kubernetes.io/instance=local");
    let services = Api::<Service>::namespaced(line.client.clone(), &line.namespace);
    let slices = Api::<EndpointSlice>::namespaced(line.client.clone(), &line.namespace);
    assert_eq!(services.list(&ours).await.expect("Services").items.len(), 1);
    assert_eq!(slices.list(&ours).await.expect("slices").items.len(), 0);

    let secrets = Api::<Secret>::namespaced(line.client.clone(), &line.namespace);
    let connection = secrets
        .get("local-connection")
        .await
        .expect("a connection Secret");
    let data = connection.data.expect("entries");
    assert_eq!(
        Some(String::from_utf8_lossy(&data["scheduler-address"].0).into_owned()),
        scheduler.address
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_tells_once_that_it_has_come_about() {
    let line = Line::start().await;
    line.apply(&line.manifest("told", 1)).await;
    line.wait_until_ready("told").await;
    let stages = [
        "NetworkReady",
        "ComputeReady",
        "DatasetsReady",
        "EnvironmentReady",
        "SchedulerReady",
        "WorkersReady",
    ];
    // They are published after the status is written.
    wait_for("every stage is told", async || {
        let events = line.events().await;
        let times = stages.map(|stage| {
            let note = format!("Ready: {stage} is True");
            events.iter().filter(|event| **event == note).count()
        });
        (times == [1; 6])
            .then_some(())
            .ok_or(format!("{events:#?}"))
    })
    .await;
}

use std::collections::BTreeMap;

use crate::harness::Line;

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_get_ready_and_every_azure_resource_is_written_once() {
    let line = Line::start().await;
    line.apply(&line.manifest("thrifty", 3)).await;
    let cluster = line.wait_until_ready("thrifty").await;

    let status = cluster.status.expect("a status");
    let workers = status.workers.expect("counts of workers");
    assert_eq!((workers.desired, workers.ready), (3, 3));
    assert_eq!(status.replicas, Some(3));

    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for write in line.azure_writes() {
        *writes.entry(write).or_default() += 1;
    }
    let repeated: Vec<_> = writes.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "written more than once: {repeated:#?}");
    let jobs = writes.keys().filter(|write| write.contains("/jobs/"));
    assert_eq!(jobs.count(), 4, "a head and three workers: {writes:#?}");
}

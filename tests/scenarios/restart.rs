use std::collections::BTreeMap;

use azure_simulator::{Pace, Timings, World};
use serde_json::json;

use crate::harness::{Line, wait_for};

/// An operator is killed once this many writes have reached Azure: with the network under way, with
/// pool and environment under way, and between two jobs.
const KILLED_AFTER_WRITES: [usize; 4] = [1, 2, 4, 6];

#[tokio::test(flavor = "multi_thread")]
async fn operators_killed_on_the_way_are_succeeded_by_one_that_writes_nothing_twice() {
    // Each request takes a moment, so that a kill falls between two.
    let world = World {
        timings: Timings {
            request_seconds: 0.1,
            ..Timings::none()
        },
        time_scale: Pace::Scaled(1.0),
        ..World::default()
    };
    let mut line = Line::start_in(world).await;
    line.apply(&line.manifest("phoenix", 2)).await;
    for writes in KILLED_AFTER_WRITES {
        wait_for("enough is written to Azure", async || {
            let written = line.azure_writes().len();
            (written >= writes)
                .then_some(())
                .ok_or(format!("{written} of {writes}"))
        })
        .await;
        line.restart_operator();
    }
    let cluster = line.wait_until_ready("phoenix").await;
    let workers = cluster
        .status
        .and_then(|status| status.workers)
        .expect("counts of workers");
    assert_eq!((workers.desired, workers.ready), (2, 2));

    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for write in line.azure_writes() {
        *written.entry(write).or_default() += 1;
    }
    let twice: Vec<_> = written.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
    let jobs = written.keys().filter(|write| write.contains("/jobs/"));
    assert_eq!(jobs.count(), 3, "{written:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cluster_that_was_there_before_the_operator_is_seen() {
    let mut line = Line::without_operator(World::default().without_delays()).await;
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        let mut manifest = line.manifest(name, 1);
        // What comes of them is not the question.
        manifest["spec"]["credentialsSecretName"] = json!("none");
        line.apply(&manifest).await;
    }
    line.start_operator();
    for name in names {
        line.wait_for(name, "the spec has been seen", |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.observed_generation == Some(1))
        })
        .await;
    }
}

//! Many clusters of one principal on a simulated Azure that enforces its rate limit: nobody is
//! refused, nobody waits for ever, and what is urgent goes first.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use dask_azureml_operator::azure::Lane;

use traffic::{Traffic, widest_gap};

const CLUSTERS: usize = 50;
/// By then the full bucket of the start is spent, and whoever comes has to wait.
const SPENT: usize = 300;

/// What each cluster wants to write: together all but the two writes of those who come later.
fn wishes(all: usize) -> BTreeMap<String, usize> {
    let clusters = CLUSTERS - 2;
    let writes = all - 2;
    (0..clusters)
        .map(|number| {
            let more = usize::from(number < writes % clusters);
            (format!("cluster-{number:02}"), writes / clusters + more)
        })
        .collect()
}

/// All clusters write, and when the bucket is spent a small one comes and one that is deleted.
async fn everybody_writes(traffic: &Traffic, wishes: &BTreeMap<String, usize>) {
    let clusters = wishes
        .iter()
        .map(|(name, count)| traffic.write(name.clone(), Lane::UserChange, *count));
    let when_spent = async |name: &str, lane| {
        while traffic.seen().count() < SPENT {
            tokio::task::yield_now().await;
        }
        traffic.write(name.to_owned(), lane, 1).await;
    };
    tokio::join!(
        futures::future::join_all(clusters),
        when_spent("small", Lane::UserChange),
        when_spent("leaving", Lane::Delete),
    );
}

#[tokio::test]
async fn two_thousand_writes_of_fifty_clusters_meet_no_refusal_and_take_turns() {
    let traffic = Traffic::start().await;
    let wishes = wishes(2000);
    traffic
        .pass_time_during(0, everybody_writes(&traffic, &wishes))
        .await;
    let meter = traffic.azure.meter();
    assert_eq!(meter["throttled"]["writes"], 0, "{meter}");
    assert_eq!(meter["requests"]["writes"], 2000, "no write twice");
    let done = traffic.seen().done();
    assert_eq!(done.len(), 2000);
    // 200 are there at once but for those that are kept for deletes, 10 come back in a second.
    let last = done.last().unwrap().at.as_secs_f64();
    assert!((180.0..200.0).contains(&last), "{last}");
    let place = |name: &str| {
        let place = done.iter().position(|done| done.cluster == name);
        place.unwrap() - SPENT
    };
    assert!(place("leaving") <= 10, "{}", place("leaving"));
    assert!(place("small") <= 2 * CLUSTERS, "{}", place("small"));
    let gap = widest_gap(&done, &wishes);
    assert!(gap <= 8, "{gap}");
    assert!(traffic.seen().postponed.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn beside_somebody_who_takes_half_few_are_refused_and_nobody_starves() {
    let traffic = Traffic::start().await;
    let wishes = wishes(1000);
    let strangers = traffic
        .pass_time_during(5, everybody_writes(&traffic, &wishes))
        .await;
    let seen = traffic.seen();
    let done = seen.done();
    assert_eq!(done.len(), 1000);
    let seconds = done.last().unwrap().at.as_secs_f64();
    assert!(
        strangers as f64 > 0.9 * 5.0 * seconds,
        "{strangers} in {seconds} s"
    );
    let throttled = seen.throttled.load(Ordering::SeqCst);
    assert!(throttled * 100 < 1000, "{throttled} were refused");
    let gap = widest_gap(&done, &wishes);
    assert!(gap <= 8, "{gap}");
    // What comes back and is not taken by the other is not wasted.
    assert!(seconds < 250.0, "{seconds}");
}

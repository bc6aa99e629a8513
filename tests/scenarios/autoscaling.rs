use std::time::Duration;

use azure_simulator::World;
use dask_azureml_operator::api::DaskCluster;
use serde_json::json;

use crate::dask_client;
use crate::harness::{Line, is_ready};

/// 300 tasks of a fifth of a second. Dask knows none of their names, and takes each for half a second as long as nobody
/// is there to run one: 150 s of work, for three workers of one thread and a target of 60 s.
const WORK: &str = "
import time

def slow(number):
    time.sleep(0.2)
    return number

futures = [client.submit(slow, n, key=f'part{n}-x', pure=False) for n in range(300)]
results = client.gather(futures)
assert results == list(range(300)), results
del futures
";

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaled_cluster_goes_up_under_load_and_back_to_nothing_and_every_result_is_right() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    let mut manifest = line.manifest("breathing", 0);
    manifest["spec"]["worker"] = json!({"threads": 1});
    manifest["spec"]["autoscaling"] = json!({
        "minReplicas": 0, "maxReplicas": 3, "targetDurationSeconds": 60,
        "scaleUpStabilizationSeconds": 1, "scaleDownStabilizationSeconds": 5,
        "maxScaleDownPercent": 100,
    });
    line.apply(&manifest).await;
    let cluster = line.wait_until_ready("breathing").await;
    let ready_since = ready_since(&cluster);
    let scheduler = cluster.status.and_then(|status| status.scheduler);
    let scheduler = scheduler.and_then(|scheduler| scheduler.address);
    let scheduler = scheduler.expect("an address");
    // The size to start with is let go: nothing is to be done.
    line.hurry(20);
    line.wait_for("breathing", "nobody is wanted", |cluster| has(cluster, 0))
        .await;
    line.hurry(1);

    let (_, peak) = tokio::join!(
        dask_client::run(&scheduler, WORK),
        line.wait_for("breathing", "three are wanted and there", |cluster| {
            has(cluster, 3)
        })
    );
    let decision = peak.status.and_then(|status| status.autoscaling);
    let decision = decision.map(|autoscaling| autoscaling.decision);
    assert!(
        decision
            .as_ref()
            .is_some_and(|line| line.starts_with("want 3: ")),
        "{decision:?}"
    );

    line.hurry(20);
    let quiet = line
        .wait_for("breathing", "nobody is left", |cluster| has(cluster, 0))
        .await;
    assert!(is_ready(&quiet), "{:?}", quiet.status);
    assert_eq!(
        self::ready_since(&quiet),
        ready_since,
        "Ready has not moved meanwhile"
    );
    assert!(line.was_told("Scaled").await);
    let in_peace = line.jobs_with_status("Completed");
    assert!(
        in_peace.len() >= 3,
        "workers end by themselves: {in_peace:?}"
    );
    assert!(line.elapsed() > Duration::from_secs(60));
}

/// So many worker jobs are wanted, and so many there are.
fn has(cluster: &DaskCluster, replicas: u32) -> bool {
    let Some(status) = &cluster.status else {
        return false;
    };
    let wanted = status
        .autoscaling
        .as_ref()
        .map(|autoscaling| autoscaling.desired_replicas);
    let ready = status.workers.as_ref().map(|workers| workers.ready);
    wanted == Some(replicas) && status.replicas == Some(replicas) && ready == Some(replicas)
}

fn ready_since(cluster: &DaskCluster) -> Option<String> {
    let status = cluster.status.as_ref()?;
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    Some(format!("{:?}", ready.last_transition_time))
}

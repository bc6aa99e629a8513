use dask_azureml_operator::api::DaskCluster;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Line, is_ready};
use crate::owner::Owner;

const DRY_RUN: &str = "azureml.dask.dev/dry-run";
const POLICY: &str = "azureml.dask.dev/reconcile-policy";
const REQUESTED_AT: &str = "azureml.dask.dev/reconcile-requested-at";

fn has_reason(cluster: &DaskCluster, condition: &str, reason: &str) -> bool {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|held| held.type_ == condition && held.reason == reason)
}

/// Nothing but the status of DaskClusters.
fn assert_only_status_was_written(line: &Line) {
    assert_eq!(line.azure_writes(), Vec::<String>::new());
    let calls = line.kube_calls();
    let others: Vec<_> = calls
        .iter()
        .filter(|call| call.is_write() && !call.is_status_write())
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_everything_writes_nothing_and_then_does_it() {
    let line = Line::start().await;
    let mut manifest = line.manifest("rehearsal", 2);
    manifest["metadata"]["annotations"] = json!({DRY_RUN: "true"});
    line.apply(&manifest).await;
    let told = line
        .wait_for("rehearsal", "the plan is told", |cluster| {
            has_reason(cluster, "NetworkReady", "DryRun")
        })
        .await;
    let plan = told.status.and_then(|status| status.planned_changes);
    let plan = plan.expect("a dry run tells what it would do");
    for line in [
        "+ VirtualNetwork dask-vnet: it is not there",
        "+ ComputeCluster ds13-cluster: it is not there",
        "+ Service rehearsal-scheduler: clients find the scheduler by it",
        "as it is asked for now   3 nodes      2.223 USD an hour",
        "Azure: 7 to create, 0 to change, 0 to delete.",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    assert_only_status_was_written(&line);

    line.annotate("rehearsal", DRY_RUN, None).await;
    let ready = line.wait_until_ready("rehearsal").await;
    assert_eq!(ready.status.and_then(|status| status.planned_changes), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_is_not_made_and_not_taken_away() {
    let line = Line::start().await;
    let mut manifest = line.manifest("watched", 1);
    manifest["metadata"]["annotations"] = json!({POLICY: "observe"});
    line.apply(&manifest).await;
    line.wait_for("watched", "it is told what is not done", |cluster| {
        has_reason(cluster, "NetworkReady", "ObservedOnly")
    })
    .await;
    assert_only_status_was_written(&line);

    line.annotate("watched", POLICY, Some("manage")).await;
    line.wait_until_ready("watched").await;
    line.annotate("watched", POLICY, Some("observe")).await;
    line.forget_requests();
    let scaled = json!({"spec": {"worker": {"replicas": 3}}});
    line.clusters()
        .patch("watched", &PatchParams::default(), &Patch::Merge(scaled))
        .await
        .expect("the API server takes more workers");
    line.wait_for(
        "watched",
        "it is told that no workers are added",
        |cluster| has_reason(cluster, "WorkersReady", "ObservedOnly"),
    )
    .await;
    assert_only_status_was_written(&line);

    line.delete("watched").await;
    line.wait_until_gone("watched").await;
    assert_eq!(line.azure_writes(), Vec::<String>::new());
    assert_eq!(line.jobs_with_status("Running").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_detached_goes_on_in_azure_and_says_so_there() {
    let line = Line::start().await;
    line.apply(&line.manifest("leaver", 1)).await;
    line.wait_until_ready("leaver").await;
    line.annotate("leaver", POLICY, Some("detach-on-delete"))
        .await;
    line.forget_requests();
    line.delete("leaver").await;
    line.wait_until_gone("leaver").await;

    let world = line.azure.world();
    assert_eq!(line.jobs_with_status("Running").len(), 2);
    for held in [&world["computes"][0], &world["networks"][0]] {
        assert_eq!(held["tags"]["dask-azureml-retained"], "true", "{held}");
    }
    let writes = line.azure_writes();
    // The tags alone: no job is cancelled, nothing is deleted.
    let is_tag = |write: &String| {
        write.starts_with("PUT ")
            && (write.ends_with("/computes/ds13-cluster") || write.ends_with("/dask-vnet"))
    };
    assert!(writes.iter().all(is_tag), "{writes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_means_nothing_is_told_and_nothing_is_written() {
    let line = Line::start().await;
    let mut manifest = line.manifest("typo", 1);
    manifest["metadata"]["annotations"] = json!({POLICY: "detach-on-delet"});
    line.apply(&manifest).await;
    line.wait_for("typo", "the typo is told", |cluster| {
        has_reason(cluster, "Stalled", "UnknownPolicy")
    })
    .await;
    assert_only_status_was_written(&line);
    line.annotate("typo", POLICY, None).await;
    line.wait_until_ready("typo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_on_request_reads_everything_anew_and_is_acknowledged() {
    let line = Line::start().await;
    line.apply(&line.manifest("asked", 1)).await;
    line.wait_until_ready("asked").await;
    line.forget_requests();
    line.annotate("asked", REQUESTED_AT, Some("after lunch"))
        .await;
    let handled = line
        .wait_for("asked", "the request is acknowledged", |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| {
                status.last_handled_reconcile_at.as_deref() == Some("after lunch")
            })
        })
        .await;
    assert!(is_ready(&handled));
    let exchanges = line.exchanges();
    let paths: Vec<_> = exchanges
        .iter()
        .filter_map(|exchange| exchange["request"]["path"].as_str())
        .collect();
    for read in [
        "/computes",
        "/jobs",
        "/virtualNetworks/dask-vnet",
        "/usages",
    ] {
        assert!(
            paths.iter().any(|path| path.ends_with(read)),
            "{read} in {paths:#?}"
        );
    }
    assert_only_status_was_written(&line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_was_asked_for_is_taken_once_also_by_a_cluster_on_somebody_elses_pool() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let mut manifest = line.manifest("guest", 1);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.remove("network");
    let pool = json!({"name": "shared-pool", "creationPolicy": "UseExisting"});
    spec.insert("compute".to_owned(), pool);
    line.apply(&manifest).await;
    line.wait_until_ready("guest").await;

    line.annotate("guest", REQUESTED_AT, Some("after lunch"))
        .await;
    line.wait_for("guest", "the request is acknowledged", |cluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| {
            status.last_handled_reconcile_at.as_deref() == Some("after lunch")
        })
    })
    .await;
    line.forget_requests();
    line.have_reconciled("guest", 10).await;
    let exchanges = line.exchanges();
    let looks = exchanges
        .iter()
        .filter_map(|exchange| exchange["request"]["path"].as_str())
        .filter(|path| path.ends_with("/workspaces/ws-dask"));
    // It is looked at every five minutes; each further look at everything would show here.
    assert!(looks.count() <= 1, "{exchanges:#?}");
}

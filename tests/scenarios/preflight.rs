use azure_simulator::World;
use dask_azureml_operator::api::DaskCluster;
use serde_json::json;

use crate::harness::{Line, is_ready};

const FAMILY: &str = "standardDSv2Family";
/// Of STANDARD_DS13_V2.
const CORES_OF_A_NODE: u64 = 8;

fn with_family_cores(cores: u64) -> World {
    let mut world = World::default().without_delays();
    world.family_core_limits.insert(FAMILY.to_owned(), cores);
    world
}

/// Status and reason of `PreflightPassed`, and what it says.
fn preflight(cluster: &DaskCluster) -> Option<(String, String)> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let held = conditions
        .iter()
        .find(|condition| condition.type_ == "PreflightPassed")?;
    Some((
        format!("{} {}", held.status, held.reason),
        held.message.clone(),
    ))
}

fn is_told(cluster: &DaskCluster, wanted: &str) -> bool {
    preflight(cluster).is_some_and(|(told, _)| told == wanted)
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_of_need_minus_one_stops_the_first_write_until_azure_gives_more() {
    let need = 3 * CORES_OF_A_NODE;
    let line = Line::start_in(with_family_cores(need - 1)).await;
    line.apply(&line.manifest("short", 2)).await;
    let stopped = line
        .wait_for("short", "too little quota is told", |cluster| {
            is_told(cluster, "False QuotaExceeded")
        })
        .await;
    let (_, message) = preflight(&stopped).expect("it is told");
    assert!(
        message.contains("3 nodes take 24 vCPUs at once"),
        "{message}"
    );
    assert!(message.contains("23 of 23 are free"), "{message}");
    assert_eq!(line.azure_writes(), Vec::<String>::new());

    let grown = json!({"family_cores": {FAMILY: need}});
    let answer = reqwest::Client::new()
        .post(format!("{}/quota", line.azure.control_url()))
        .json(&grown)
        .send()
        .await;
    assert!(answer.is_ok_and(|answer| answer.status().is_success()));
    let ready = line.wait_until_ready("short").await;
    // It can start, and never grow to its ten nodes.
    assert!(
        is_told(&ready, "True PassedWithWarnings"),
        "{:?}",
        preflight(&ready)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_without_any_quota_write_nothing_share_one_read_and_go_at_once() {
    let line = Line::start_in(with_family_cores(0)).await;
    let names = ["one", "two", "three"];
    for name in names {
        let mut manifest = line.manifest(name, 1);
        manifest["spec"]["compute"]["name"] = json!(format!("pool-{name}"));
        manifest["spec"]["network"]["virtualNetwork"]["name"] = json!(format!("vnet-{name}"));
        line.apply(&manifest).await;
    }
    for name in names {
        line.wait_for(name, "no quota is told", |cluster| {
            is_told(cluster, "False QuotaExceeded")
        })
        .await;
    }
    let exchanges = line.exchanges();
    let reads = exchanges.iter().filter(|exchange| {
        let path = exchange["request"]["path"].as_str();
        path.is_some_and(|path| path.ends_with("/usages"))
    });
    // On a busy machine the last of them may come when the first read is too old.
    assert!(reads.count() < names.len());
    for name in names {
        line.delete(name).await;
        line.wait_until_gone(name).await;
    }
    assert_eq!(line.azure_writes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_told_at_once_and_nothing_is_made_for_it() {
    let line = Line::start().await;
    let mut manifest = line.manifest("lacking", 1);
    manifest["spec"]["environment"] = json!({"name": "theirs", "version": "7"});
    manifest["spec"]["datasets"] = json!([
        {"name": "one", "version": "1"},
        {"name": "two", "version": "2"},
    ]);
    line.apply(&manifest).await;
    let stopped = line
        .wait_for("lacking", "what is missing is told", |cluster| {
            is_told(cluster, "False DatasetNotFound")
        })
        .await;
    let (_, message) = preflight(&stopped).expect("it is told");
    for missing in ["DataAsset one:1", "DataAsset two:2", "Environment theirs:7"] {
        assert!(message.contains(missing), "{message}");
    }
    assert!(!is_ready(&stopped));
    assert_eq!(line.azure_writes(), Vec::<String>::new());
}

use std::collections::BTreeMap;
use std::time::Duration;

use azure_simulator::{DataMapping, Fault, FaultAction, FaultAnswer, Jobs, RetryAfterForm, World};
use dask_azureml_operator::api::DaskCluster;
use serde_json::{Value, json};

use crate::harness::{Line, is_ready, wait_for};
use crate::owner::Owner;

/// Every kind of write that a cluster makes in its life: method, and what the path of the first of them holds.
const WRITES: [(&str, &str); 11] = [
    ("PUT", "/virtualNetworks/dask-vnet"),
    ("PUT", "/subnets/"),
    ("PUT", "/computes/"),
    ("PUT", "/environments/"),
    ("PUT", "/data/"),
    ("PUT", "/jobs/"),
    ("PATCH", "/computes/"),
    ("POST", "/cancel"),
    ("DELETE", "/computes/"),
    ("DELETE", "/subnets/"),
    ("DELETE", "/virtualNetworks/dask-vnet"),
];

/// What is asked is how often something is written, so no job runs.
fn world() -> World {
    World {
        jobs: Jobs::Pretend,
        data: vec![DataMapping {
            uri: "wasbs://isd@store.blob.core.windows.net/isd".to_owned(),
            path: env!("CARGO_MANIFEST_DIR").into(),
        }],
        ..World::default().without_delays()
    }
}

fn manifest(line: &Line) -> Value {
    let mut manifest = line.manifest("weathered", 1);
    manifest["spec"]["datasets"] =
        json!([{"name": "isd", "uri": "wasbs://isd@store.blob.core.windows.net/isd"}]);
    manifest
}

/// From the manifest to Ready, through a change of the pool, to the end.
async fn live_through(line: &Line) {
    let mut manifest = manifest(line);
    line.apply(&manifest).await;
    line.wait_until_ready("weathered").await;
    manifest["spec"]["compute"]["maxNodes"] = json!(11);
    line.apply(&manifest).await;
    line.wait_for("weathered", "the pool has its new limit", |cluster| {
        is_ready(cluster) && taken(line, "PATCH", "/computes/") > 0
    })
    .await;
    line.delete("weathered").await;
    line.wait_until_gone("weathered").await;
}

/// How often each write was answered, by `METHOD path` and whether Azure took it; a lost answer is one that it took.
fn answers(line: &Line) -> BTreeMap<(String, bool), usize> {
    let mut answers = BTreeMap::new();
    for exchange in line.exchanges() {
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let (Some(method), Some(path)) = (request["method"].as_str(), request["path"].as_str())
        else {
            continue;
        };
        if method == "GET" || !path.starts_with("/subscriptions/") || path.ends_with("/listNodes") {
            continue;
        }
        let ok = response["status"]
            .as_u64()
            .is_some_and(|status| status < 300);
        *answers.entry((format!("{method} {path}"), ok)).or_default() += 1;
    }
    answers
}

/// How often Azure took a write whose `METHOD path` begins and goes on like this.
fn taken(line: &Line, method: &str, part: &str) -> usize {
    let answers = answers(line);
    let of = answers
        .iter()
        .filter(|((write, ok), _)| *ok && write.starts_with(method) && write.contains(part));
    of.map(|(_, times)| times).sum()
}

/// Azure took every write once, each kind of them was made, and `refused` others it did not take.
fn assert_taken_once(line: &Line, refused: usize) {
    let answers = answers(line);
    let twice: Vec<_> = answers
        .iter()
        .filter(|((_, ok), times)| *ok && **times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:#?}");
    for (method, part) in WRITES {
        assert!(
            taken(line, method, part) > 0,
            "{method} {part}: {answers:#?}"
        );
    }
    let others: usize = answers
        .iter()
        .filter(|((_, ok), _)| !ok)
        .map(|(_, times)| times)
        .sum();
    assert_eq!(others, refused, "{answers:#?}");
}

fn condition<'a>(cluster: &'a DaskCluster, kind: &str) -> Option<(&'a str, &'a str)> {
    let status = cluster.status.as_ref()?;
    let condition = status.conditions.iter().find(|held| held.type_ == kind)?;
    Some((condition.reason.as_str(), condition.message.as_str()))
}

fn has_reason(cluster: &DaskCluster, kind: &str, reason: &str) -> bool {
    condition(cluster, kind).is_some_and(|(held, _)| held == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_made_again_whose_answer_was_lost() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    for (method, path) in WRITES {
        line.azure
            .fault(Fault::once(method, path, FaultAction::LoseAnswer));
    }
    live_through(&line).await;
    assert_taken_once(&line, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_at_every_step_costs_one_request_each() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    for (method, path) in WRITES {
        let throttle = FaultAction::Throttle {
            retry_after_seconds: 20,
            form: RetryAfterForm::Seconds,
        };
        line.azure.fault(Fault::once(method, path, throttle));
    }
    line.hurry(20);
    live_through(&line).await;
    assert_taken_once(&line, WRITES.len());
    assert!(line.elapsed() >= Duration::from_secs(20) * 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azure_refuses_for_now_is_told_and_asked_for_again_later() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    let refusals = [
        (
            "PUT",
            "/virtualNetworks/dask-vnet",
            409,
            "AnotherOperationInProgress",
            2,
        ),
        (
            "PUT",
            "/subnets/",
            429,
            "RetryableErrorDueToAnotherOperation",
            1,
        ),
        ("PUT", "/computes/", 403, "RequestDisallowedByPolicy", 1),
        ("PUT", "/environments/", 409, "ScopeLocked", 1),
        ("PUT", "/data/", 503, "ServiceUnavailable", 1),
        ("PUT", "/jobs/", 403, "AuthorizationFailed", 1),
        ("POST", "/cancel", 500, "InternalServerError", 1),
        ("DELETE", "/computes/", 409, "ScopeLocked", 2),
        ("DELETE", "/subnets/", 400, "InUseSubnetCannotBeDeleted", 2),
        (
            "DELETE",
            "/virtualNetworks/dask-vnet",
            400,
            "SomethingNew",
            1,
        ),
    ];
    for (method, path, status, code, times) in refusals {
        let answer = FaultAnswer::error(status, code);
        line.azure
            .fault(Fault::answer(method, path, answer).times(times));
    }
    line.hurry(20);
    live_through(&line).await;
    let refused: u64 = refusals.iter().map(|(.., times)| times).sum();
    assert_taken_once(&line, usize::try_from(refused).unwrap());
    for reason in ["PolicyDenied", "ScopeLocked", "AuthorizationFailed"] {
        assert!(line.was_told(reason).await, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_right_after_a_201_and_a_stale_list_are_no_absence() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    let hidden = || FaultAction::NotFoundFor { seconds: 2.0 };
    for path in ["/virtualNetworks/dask-vnet", "/computes/", "/jobs/"] {
        line.azure.fault(Fault::once("PUT", path, hidden()));
    }
    for list in ["/jobs", "/computes"] {
        let stale = FaultAction::StaleFor { seconds: 4.0 };
        line.azure.fault(Fault::once("GET", list, stale));
    }
    live_through(&line).await;
    assert_taken_once(&line, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_the_middle_costs_one_request() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.azure
        .fault(Fault::once("PUT", "/computes/", FaultAction::ExpireToken));
    live_through(&line).await;
    assert_taken_once(&line, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azure_did_not_carry_through_is_written_once_more() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    for (path, code) in [
        // Networks do not say why: their operations do.
        ("/virtualNetworks/dask-vnet", "NetcfgSubnetRangesOverlap"),
        ("/computes/", "AllocationFailed"),
    ] {
        let failure = FaultAction::FailOperation {
            code: code.to_owned(),
            message: "try again".to_owned(),
        };
        line.azure.fault(Fault::once("PUT", path, failure));
    }
    line.hurry(20);
    line.apply(&manifest(&line)).await;
    line.wait_until_ready("weathered").await;
    // A subnet that failed would show on its network too.
    for part in ["/virtualNetworks/dask-vnet", "/computes/"] {
        let puts = answers(&line);
        let puts: Vec<_> = puts
            .iter()
            .filter(|((write, ok), _)| {
                *ok && write.starts_with("PUT")
                    && write.contains(part)
                    && !write.contains("/subnets/")
            })
            .collect();
        assert!(puts.iter().all(|(_, times)| **times == 2), "{puts:#?}");
    }
    for reason in ["RejectedByAzure", "NoCapacity"] {
        assert!(line.was_told(reason).await, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_never_comes_is_told_with_its_operation_and_not_written_again() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.azure
        .fault(Fault::once("PUT", "/computes/", FaultAction::HangOperation));
    line.hurry(600);
    line.apply(&manifest(&line)).await;
    let cluster = line
        .wait_for("weathered", "the operation is told as stuck", |cluster| {
            has_reason(cluster, "ComputeReady", "OperationStuck")
        })
        .await;
    let (_, message) = condition(&cluster, "ComputeReady").expect("a condition");
    assert!(
        message.contains("Creating") && message.contains(", operation "),
        "{message}"
    );
    assert!(
        !message.contains('?') && !message.contains("http"),
        "{message}"
    );
    assert_eq!(taken(&line, "PUT", "/computes/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_does_not_suffice_is_asked_a_few_times_an_hour_until_it_grows() {
    let hour = Duration::from_secs(3600);
    let line = Line::start_with_time_in_our_hands(World {
        family_core_limits: BTreeMap::from([("standardDSv2Family".to_owned(), 80)]),
        ..world()
    })
    .await;
    // The quota goes to others after it was looked at, and before the pool is asked for.
    let a_while = FaultAction::Delay { seconds: 5.0 };
    line.azure
        .fault(Fault::once("PUT", "/virtualNetworks/", a_while));
    line.apply(&manifest(&line)).await;
    wait_for("the quota is looked at", async || {
        let exchanges = line.exchanges();
        let mut paths = exchanges
            .iter()
            .filter_map(|one| one["request"]["path"].as_str());
        let asked = paths.any(|path| path.ends_with("/usages"));
        asked.then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    change_quota(&line, 0).await;
    line.hurry(300);
    let told = |cluster: &DaskCluster, numbers: &str| {
        condition(cluster, "ComputeReady")
            .is_some_and(|(reason, message)| reason == "QuotaExceeded" && message.contains(numbers))
    };
    line.wait_for("weathered", "the quota is named", |cluster| {
        told(
            cluster,
            "quota Standard DSv2 family vCPUs: 8 needed, 0 of 0 in use",
        )
    })
    .await;
    line.wait_until_elapsed(hour).await;
    let first_hour = taken(&line, "PUT", "/computes/");
    assert!((2..=12).contains(&first_hour), "{first_hour}");

    let began = line.elapsed();
    change_quota(&line, 7).await;
    line.wait_for("weathered", "the quota is named", |cluster| {
        told(cluster, "8 needed, 0 of 7 in use")
    })
    .await;
    line.wait_until_elapsed(began + hour).await;
    let second_hour = taken(&line, "PUT", "/computes/") - first_hour;
    assert!((1..=8).contains(&second_hour), "{second_hour}");

    change_quota(&line, 80).await;
    line.hurry(20);
    line.wait_until_ready("weathered").await;
    let last = taken(&line, "PUT", "/computes/") - first_hour - second_hour;
    assert!((1..=2).contains(&last), "{last}");
}

async fn change_quota(line: &Line, cores: u64) {
    let answer = reqwest::Client::new()
        .post(format!(
            "{}/quota",
            line.azure.control_url().trim_end_matches('/')
        ))
        .json(&json!({"family_cores": {"standardDSv2Family": cores}}))
        .send()
        .await
        .expect("the control port answers");
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_hangs_ends_with_the_pool_under_it() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.apply(&manifest(&line)).await;
    line.wait_until_ready("weathered").await;
    line.azure
        .fault(Fault::once("POST", "/cancel", FaultAction::HangOperation));
    line.delete("weathered").await;
    line.hurry(300);
    line.wait_until_gone("weathered").await;
    let world = line.azure.world();
    assert_eq!(
        (&world["computes"], &world["networks"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(taken(&line, "DELETE", "/computes/"), 1);
    let cancels = answers(&line);
    let cancels: Vec<_> = cancels
        .iter()
        .filter(|((write, _), _)| write.ends_with("/cancel"))
        .collect();
    assert_eq!(cancels.len(), 2, "{cancels:?}");
    assert!(cancels.iter().all(|(_, times)| **times == 1), "{cancels:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_workspace_is_gone_leaves_with_its_network_and_asks_for_nothing_else() {
    let mut line = Line::start_with_time_in_our_hands(world()).await;
    line.apply(&manifest(&line)).await;
    line.wait_until_ready("weathered").await;
    // Azure takes the pools of a workspace away with it, and tells nobody of either.
    line.kill_operator();
    let owner = Owner::signed_in(&line).await;
    owner.pool("ds13-cluster").delete().await;
    let gone = FaultAnswer::error(404, "ResourceNotFound");
    let everything = Fault {
        method: None,
        ..Fault::answer("GET", "/workspaces/", gone)
    };
    line.azure.fault(everything.always());
    line.forget_requests();
    line.start_operator();
    line.wait_for(
        "weathered",
        "that the workspace is gone is told",
        |cluster| has_reason(cluster, "Ready", "WorkspaceNotFound"),
    )
    .await;
    assert_eq!(line.azure_writes(), Vec::<String>::new());
    line.delete("weathered").await;
    line.wait_until_gone("weathered").await;
    let world = line.azure.world();
    assert_eq!(world["networks"], json!([]));
    let writes = line.azure_writes();
    let others: Vec<_> = writes
        .iter()
        .filter(|write| !write.contains("/virtualNetworks/"))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_somebody_deletes_in_the_portal_is_made_again_once() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.apply(&manifest(&line)).await;
    line.wait_until_ready("weathered").await;
    Owner::signed_in(&line)
        .await
        .pool("ds13-cluster")
        .delete()
        .await;
    line.hurry(30);
    line.wait_for("weathered", "the pool is there again", |cluster| {
        is_ready(cluster) && taken(&line, "PUT", "/computes/") == 2
    })
    .await;
    assert_eq!(
        taken(&line, "PUT", "/virtualNetworks/"),
        2,
        "network and subnet"
    );
}

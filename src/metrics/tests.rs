//! What is counted, as the page tells it.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;

use super::*;
use crate::api::ConditionType;
use crate::azure::{AdmittedRequest, Lane, OperationType, RequestObserver as _};

#[test]
fn the_page_tells_of_the_budget_by_lane_and_type_of_operation_alone() {
    let metrics = Metrics::new().unwrap();
    let budgets = Budgets::new(Clock::system(), Arc::new(metrics.clone()));
    metrics.show_budgets(budgets).unwrap();
    let (lane, operation) = (Lane::UserChange, OperationType::Write);
    metrics.request_admitted(&AdmittedRequest {
        lane,
        operation,
        waited: Duration::from_secs(3),
    });
    metrics.request_postponed(lane, operation);
    metrics.request_postponed(lane, operation);
    metrics.request_throttled(OperationType::Delete);
    let page = metrics.page().unwrap();
    for line in [
        r#"dask_azureml_azure_budget_turns_total{lane="user_change",operation="writes",turn="taken"} 1"#,
        r#"dask_azureml_azure_budget_turns_total{lane="user_change",operation="writes",turn="postponed"} 2"#,
        r#"dask_azureml_azure_budget_wait_seconds_bucket{lane="user_change",le="2"} 0"#,
        r#"dask_azureml_azure_budget_wait_seconds_bucket{lane="user_change",le="5"} 1"#,
        r#"dask_azureml_azure_throttles_total{operation="deletes"} 1"#,
    ] {
        assert!(page.lines().any(|told| told == line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn what_remains_is_shown_as_it_is_when_the_page_is_read() {
    let metrics = Metrics::new().unwrap();
    let hand = crate::clock::ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let budgets = Budgets::new(hand.clock(), Arc::new(metrics.clone()));
    metrics.show_budgets(budgets.clone()).unwrap();
    let remaining = |operation| {
        let page = metrics.page().unwrap();
        let name = format!("dask_azureml_azure_budget_remaining{{operation=\"{operation}\"}} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&name).map(str::to_owned))
    };
    assert_eq!(remaining("reads"), None, "nobody has asked for anything");
    let slot = budgets
        .turn(&"one".into(), "0", OperationType::Read, &Default::default())
        .await
        .ok()
        .unwrap();
    assert_eq!(remaining("reads").as_deref(), Some("249"));
    assert_eq!(remaining("writes").as_deref(), Some("200"));
    drop(slot);
    hand.advance(Duration::from_secs(1));
    assert_eq!(remaining("reads").as_deref(), Some("250"));
}

fn assert_told(metrics: &Metrics, lines: &[&str]) {
    let page = metrics.page().unwrap();
    for line in lines {
        assert!(page.lines().any(|told| told == *line), "{line}\n{page}");
    }
}

#[test]
fn counters_start_at_0_for_all_that_is_known_beforehand() {
    assert_told(
        &Metrics::new().unwrap(),
        &[
            r#"dask_azureml_reconciles_total{reason="",result="Report"} 0"#,
            r#"dask_azureml_reconcile_duration_seconds_count 0"#,
            r#"dask_azureml_reconcile_step_duration_seconds_count{step="observe"} 0"#,
            r#"dask_azureml_status_writes_total 0"#,
            r#"dask_azureml_setbacks_total{reason="QuotaExceeded"} 0"#,
            r#"dask_azureml_drift_total{field="",kind="ComputeCluster",response="made-again"} 0"#,
            r#"dask_azureml_azure_budget_turns_total{lane="drift",operation="reads",turn="postponed"} 0"#,
            r#"dask_azureml_azure_budget_wait_seconds_count{lane="delete"} 0"#,
            r#"dask_azureml_azure_throttles_total{operation="writes"} 0"#,
            r#"dask_azureml_azure_operation_duration_seconds_count{kind="ComputeCluster",result="failed",verb="PUT"} 0"#,
            r#"dask_azureml_azure_operation_duration_seconds_count{kind="Job",result="succeeded",verb="POST"} 0"#,
            r#"dask_azureml_orphans{kind="Job"} 0"#,
            r#"dask_azureml_orphans_hourly_cost{kind="ComputeCluster"} 0"#,
            r#"dask_azureml_stage_duration_seconds_count{stage="ready"} 0"#,
            r#"dask_azureml_retirements_total{outcome="lost"} 0"#,
            r#"dask_azureml_scale_decisions_total{direction="down"} 0"#,
            r#"dask_azureml_scheduler_polls_total{result="Unreachable"} 0"#,
        ],
    );
}

#[test]
fn each_fact_moves_its_own_metric() {
    use crate::dask::{ANSWERED, Retired, SchedulerObserver as _};
    use crate::reconcile::{OperationResult, OperationVerb, StartStage};

    let metrics = Metrics::new().unwrap();
    metrics.count_reconcile(Ok(Reason::Provisioning), Duration::from_millis(70));
    metrics.count_step(TimedStep::Act, Duration::from_secs(2));
    metrics.count_status_write();
    metrics.count_setbacks(&[Reason::QuotaExceeded, Reason::QuotaExceeded]);
    metrics.count_operation(&EndedOperation {
        kind: "ComputeCluster",
        verb: OperationVerb::Put,
        result: OperationResult::Succeeded,
        took: Duration::from_secs(130),
    });
    metrics.count_stage(&StageReached {
        stage: StartStage::Pool,
        after: Duration::from_secs(100),
    });
    metrics.count_scaling(3, 1);
    metrics.count_scaling(1, 2);
    metrics.count_let_go(LetGo {
        cancelled: 2,
        lost: 1,
    });
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    metrics.retired(&Retired {
        retired: names(&["a", "b"]),
        refused: names(&["c"]),
        leaving: names(&["d"]),
        ..Retired::default()
    });
    metrics.polled(ANSWERED);
    metrics.polled("Untrusted");
    metrics.tell_orphans(&[("Job", None), ("ComputeCluster", Some(1.5))]);
    metrics.tell_orphans(&[("ComputeCluster", Some(1.5))]);
    assert_told(
        &metrics,
        &[
            r#"dask_azureml_reconciles_total{reason="Provisioning",result="ok"} 1"#,
            r#"dask_azureml_reconcile_duration_seconds_bucket{le="0.05"} 0"#,
            r#"dask_azureml_reconcile_duration_seconds_bucket{le="0.1"} 1"#,
            r#"dask_azureml_reconcile_step_duration_seconds_bucket{step="act",le="5"} 1"#,
            r#"dask_azureml_status_writes_total 1"#,
            r#"dask_azureml_setbacks_total{reason="QuotaExceeded"} 2"#,
            r#"dask_azureml_azure_operation_duration_seconds_bucket{kind="ComputeCluster",result="succeeded",verb="PUT",le="120"} 0"#,
            r#"dask_azureml_azure_operation_duration_seconds_bucket{kind="ComputeCluster",result="succeeded",verb="PUT",le="180"} 1"#,
            r#"dask_azureml_stage_duration_seconds_sum{stage="pool"} 100"#,
            r#"dask_azureml_scale_decisions_total{direction="down"} 1"#,
            r#"dask_azureml_scale_decisions_total{direction="up"} 1"#,
            r#"dask_azureml_retirements_total{outcome="told"} 3"#,
            r#"dask_azureml_retirements_total{outcome="verified"} 2"#,
            r#"dask_azureml_retirements_total{outcome="refused"} 1"#,
            r#"dask_azureml_retirements_total{outcome="cancelled"} 2"#,
            r#"dask_azureml_retirements_total{outcome="lost"} 1"#,
            r#"dask_azureml_scheduler_polls_total{result="ok"} 1"#,
            r#"dask_azureml_scheduler_polls_total{result="Untrusted"} 1"#,
            // What was found before and is no more.
            r#"dask_azureml_orphans{kind="Job"} 0"#,
            r#"dask_azureml_orphans{kind="ComputeCluster"} 1"#,
            r#"dask_azureml_orphans_hourly_cost{kind="ComputeCluster"} 1.5"#,
        ],
    );
}

#[test]
fn the_tags_that_somebody_changed_are_one_field_whatever_they_are_called() {
    use crate::reconcile::Response;

    let metrics = Metrics::new().unwrap();
    metrics.count_finding(&Finding {
        stage: ConditionType::ComputeReady,
        kind: "ComputeCluster",
        title: "ds13".to_owned(),
        fields: vec!["tags.cost-centre".to_owned(), "tags.owner".to_owned()],
        response: Response::SetBack,
    });
    assert_told(
        &metrics,
        &[r#"dask_azureml_drift_total{field="tags",kind="ComputeCluster",response="set-back"} 2"#],
    );
}

#[test]
fn who_waits_and_how_old_the_inventory_is_is_looked_up_when_the_page_is_read() {
    let hand = crate::clock::ManualClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let metrics = Metrics::new().unwrap();
    let backlog = Backlog::new(hand.clock());
    metrics.show_backlog(&backlog).unwrap();
    let age = hand.clock();
    metrics
        .show_inventory_age(move || Some(age.elapsed()))
        .unwrap();
    backlog.wait(&kube::runtime::reflector::ObjectRef::new("noaa").within("weather"));
    hand.advance(Duration::from_secs(7));
    assert_told(
        &metrics,
        &[
            r#"dask_azureml_reconcile_queue{state="waiting"} 1"#,
            r#"dask_azureml_reconcile_queue{state="running"} 0"#,
            "dask_azureml_oldest_unreconciled_seconds 7",
            "dask_azureml_inventory_age_seconds 7",
        ],
    );
}

#[test]
fn the_build_and_the_process_are_told() {
    let metrics = Metrics::new().unwrap();
    let page = metrics.page().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("dask_azureml_build_info{{revision=\"\",version=\"{version}\"}} 1");
    let is_there = |start: &str| page.lines().any(|line| line.starts_with(start));
    assert!(
        is_there(&build) || option_env!("DASK_AZUREML_REVISION").is_some(),
        "{page}"
    );
    assert!(is_there("process_resident_memory_bytes "), "{page}");
    assert!(is_there("process_cpu_seconds_total "), "{page}");
}

#[tokio::test]
async fn what_is_asked_of_the_api_server_is_counted_with_its_answer_or_without() {
    let metrics = Metrics::new().unwrap();
    let forbids = tower::service_fn(|request: Request<Body>| async move {
        if request.uri().path().ends_with("/secrets") {
            return Err(std::io::Error::other("cut off"));
        }
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::FORBIDDEN;
        Ok(answer)
    });
    let client = metrics.counted(Client::new(forbids, "weather"));
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        client.send(request).await
    };
    let services = ask("/api/v1/namespaces/weather/services/scheduler").await;
    assert_eq!(services.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(ask("/api/v1/secrets").await.is_err());
    assert_told(
        &metrics,
        &[
            r#"dask_azureml_kubernetes_requests_total{resource="services",status="403",verb="get"} 1"#,
            r#"dask_azureml_kubernetes_requests_total{resource="secrets",status="none",verb="list"} 1"#,
        ],
    );
}

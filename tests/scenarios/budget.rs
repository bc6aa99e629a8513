use std::time::Duration;

use azure_simulator::{Jobs, World};
use serde_json::{Value, json};

use crate::harness::{Line, condition, is_ready};
use crate::rest::{
    assert_nothing_is_connected_to, has_no_node, is_at_rest, manifest, quick, runs, status,
};

/// Head and worker cost 1.482 USD an hour: this is spent within two minutes.
const LITTLE: &str = "0.04";

/// No job has anything to do.
fn world() -> World {
    World {
        jobs: Jobs::Pretend,
        ..quick()
    }
}

fn with_budget(line: &Line, max_total: &str, action: &str) -> Value {
    let budget = json!({"maxTotal": max_total, "action": action});
    manifest(line, "dear", 1, |spec| spec["budget"] = budget)
}

fn number(amount: &str) -> f64 {
    amount.parse().expect("an amount of money")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_money_is_spent_rests_until_there_is_more() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.apply(&with_budget(&line, LITTLE, "Suspend")).await;
    line.wait_until_ready("dear").await;
    line.hurry(20);
    let cluster = line.wait_for("dear", "it rests", is_at_rest).await;
    let told = condition(&cluster, "Suspended");
    assert!(told.starts_with("True OverBudget: "), "{told}");
    let told = condition(&cluster, "OverBudget");
    assert!(told.starts_with("True OverBudget: "), "{told}");
    assert_nothing_is_connected_to(&cluster);
    let cost = status(&cluster).cost.expect("it has cost something");
    let spent = number(&cost.accrued.amount.0);
    // Up to when its last job has ended.
    assert!(
        (number(LITTLE)..2.0 * number(LITTLE)).contains(&spent),
        "{cost:?}"
    );
    line.wait_for_event(|event| event.starts_with("OverBudget: Suspended is True"))
        .await;

    line.wait_for("dear", "the pool has no node", has_no_node)
        .await;
    line.forget_requests();
    line.annotate("dear", "azureml.dask.dev/wake", Some("please"))
        .await;
    line.have_reconciled("dear", 5).await;
    assert_eq!(line.azure_writes(), [""; 0], "it has no money to wake");
    let cluster = line.clusters().get("dear").await.expect("it is there");
    assert!(is_at_rest(&cluster));

    line.apply(&with_budget(&line, "500", "Suspend")).await;
    let cluster = line.wait_for("dear", "it works again", runs).await;
    assert_eq!(condition(&cluster, "Suspended"), "");
    assert_eq!(condition(&cluster, "OverBudget"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_only_warns_is_told_and_ends_nothing() {
    let line = Line::start_with_time_in_our_hands(world()).await;
    line.apply(&with_budget(&line, LITTLE, "Warn")).await;
    line.wait_until_ready("dear").await;
    line.forget_requests();
    line.hurry(20);
    let told = |event: &str| {
        event.starts_with("OverBudget: OverBudget is True: the nodes have cost as much as")
    };
    line.wait_for_event(told).await;
    // As much again.
    line.wait_until_elapsed(line.elapsed() + Duration::from_secs(100))
        .await;
    let cluster = line.clusters().get("dear").await.expect("it is there");
    let told = condition(&cluster, "OverBudget");
    assert!(told.starts_with("True OverBudget: "), "{told}");
    assert!(is_ready(&cluster) && runs(&cluster));
    assert_eq!(line.azure_writes(), [""; 0]);
    assert_eq!(line.worker_jobs_that_have_not_ended(), 1);
}

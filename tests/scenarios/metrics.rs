//! What the operator counts of itself while a cluster is made, scaled and taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use azure_simulator::{Fault, FaultAnswer, World};
use dask_azureml_operator::api::DaskCluster;

use crate::harness::{Line, is_ready, wait_for};

/// A page that Prometheus reads: what is told of each series, by its name with its labels.
struct Page(BTreeMap<String, f64>);

impl Page {
    async fn of(line: &Line) -> Self {
        let text = line.metrics_page().await;
        assert_is_well_formed(&text);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(samples.map(sample).collect())
    }

    /// The sum of all series of this name that have all of these labels.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = self.0.iter().filter(|(series, _)| {
            let (own, rest) = series.split_once('{').unwrap_or((series.as_str(), ""));
            own == name && labels.iter().all(|label| rest.contains(label))
        });
        of_name.map(|(_, value)| value).sum()
    }
}

fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a series and its value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    (series.to_owned(), value)
}

/// What `promtool check metrics` would look at: help and type of every name before its samples, each series once, names
/// that end as their type asks for, and counters in whole numbers that are not negative.
fn assert_is_well_formed(page: &str) {
    let mut kind = ("", "");
    let mut helped = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap_or((help, ""));
            assert!(helped.insert(name) && !text.is_empty(), "{line}");
            continue;
        }
        if let Some(told) = line.strip_prefix("# TYPE ") {
            kind = told.split_once(' ').expect("a name and its type");
            let (name, of) = kind;
            assert!(helped.contains(name), "no help: {line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (series, value) = sample(line);
        let name = series.split('{').next().unwrap_or_default();
        let (of_name, of) = kind;
        let own = match of {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|part| name == format!("{of_name}{part}")),
            _ => name == of_name,
        };
        assert!(own, "{line} stands below {of_name}");
        assert!(of == "gauge" || value >= 0.0, "{line}");
        assert!(seen.insert(series), "twice: {line}");
    }
}

fn workers(cluster: &DaskCluster) -> Option<u32> {
    Some(cluster.status.as_ref()?.workers.as_ref()?.ready)
}

async fn until_workers(line: &Line, wanted: u32) {
    line.wait_for("counted", "it has its size", |cluster| {
        is_ready(cluster) && workers(cluster) == Some(wanted)
    })
    .await;
}

/// Series of the operator itself: what does not grow with clusters.
const AT_MOST: usize = 900;

#[tokio::test(flavor = "multi_thread")]
async fn a_life_of_a_cluster_moves_the_metrics_that_tell_of_it() {
    let line = Line::start().await;
    line.until_operator_is_ready().await;
    let before = Page::of(&line).await;
    for name in [
        "dask_azureml_stage_duration_seconds_count",
        "dask_azureml_scale_decisions_total",
        "dask_azureml_retirements_total",
        "dask_azureml_scheduler_polls_total",
        "dask_azureml_azure_operation_duration_seconds_count",
    ] {
        let is_there = before.0.keys().any(|series| series.starts_with(name));
        assert!(
            is_there && before.sum(name, &[]) == 0.0,
            "{name} begins at 0"
        );
    }

    line.apply(&line.manifest("counted", 3)).await;
    line.wait_until_ready("counted").await;
    let made = Page::of(&line).await;
    for stage in ["network", "pool", "scheduler", "workers", "ready"] {
        let label = format!("stage=\"{stage}\"");
        let count = made.sum("dask_azureml_stage_duration_seconds_count", &[&label]);
        assert_eq!(count, 1.0, "{stage}");
    }
    let operations = "dask_azureml_azure_operation_duration_seconds_count";
    for kind in ["kind=\"ComputeCluster\"", "kind=\"VirtualNetwork\""] {
        let succeeded = made.sum(operations, &[kind, "verb=\"PUT\"", "result=\"succeeded\""]);
        assert!(succeeded >= 1.0, "{kind}");
    }
    assert_eq!(made.sum(operations, &["result=\"failed\""]), 0.0);
    assert!(made.sum("dask_azureml_scheduler_polls_total", &["result=\"ok\""]) > 0.0);
    let asked = "dask_azureml_kubernetes_requests_total";
    for labels in [
        ["resource=\"daskclusters\"", "verb=\"watch\""],
        ["resource=\"daskclusters/status\"", "verb=\"patch\""],
        ["resource=\"services\"", "verb=\"create\""],
        ["resource=\"events\"", "verb=\"create\""],
    ] {
        assert!(made.sum(asked, &labels) > 0.0, "{labels:?}\n{:?}", made.0);
    }
    assert_eq!(
        made.sum(asked, &["resource=\"other\""]),
        0.0,
        "{:?}",
        made.0
    );
    assert!(
        made.sum(
            "dask_azureml_reconcile_step_duration_seconds_count",
            &["step=\"act\""]
        ) > 0.0
    );
    let ready = ["result=\"ok\"", "reason=\"Ready\""];
    assert!(
        made.sum("dask_azureml_reconciles_total", &ready)
            > before.sum("dask_azureml_reconciles_total", &ready)
    );

    line.apply(&line.manifest("counted", 1)).await;
    until_workers(&line, 1).await;
    line.apply(&line.manifest("counted", 2)).await;
    until_workers(&line, 2).await;
    let scaled = Page::of(&line).await;
    let decisions = |direction| scaled.sum("dask_azureml_scale_decisions_total", &[direction]);
    assert_eq!(decisions("direction=\"down\""), 1.0);
    assert_eq!(decisions("direction=\"up\""), 1.0);
    let gone = |outcome| scaled.sum("dask_azureml_retirements_total", &[outcome]);
    assert_eq!(
        gone("outcome=\"verified\""),
        2.0,
        "two workers handed over their data"
    );
    assert!(gone("outcome=\"told\"") >= 2.0);
    assert_eq!(gone("outcome=\"lost\""), 0.0);
    let started = scaled.sum(
        "dask_azureml_stage_duration_seconds_count",
        &["stage=\"ready\""],
    );
    assert_eq!(started, 1.0, "a change of its size is no start");

    line.delete("counted").await;
    line.wait_until_gone("counted").await;
    wait_for("nobody waits for a reconcile", async || {
        let page = Page::of(&line).await;
        let queue = page.sum("dask_azureml_reconcile_queue", &[]);
        let age = page.sum("dask_azureml_inventory_age_seconds", &[]);
        let nothing = queue == 0.0 && age == 0.0;
        nothing
            .then_some(())
            .ok_or(format!("queue {queue}, age {age}"))
    })
    .await;
    let left = Page::of(&line).await;
    assert!(left.sum(operations, &["verb=\"DELETE\"", "result=\"succeeded\""]) >= 1.0);
    let own = left
        .0
        .keys()
        .filter(|series| series.starts_with("dask_azureml_"));
    let own = own.count();
    println!("{own} series of the operator itself");
    assert!(own <= AT_MOST, "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_ages_while_azure_does_not_answer() {
    let line = Line::start_with_time_in_our_hands(World::default().without_delays()).await;
    line.until_operator_is_ready().await;
    line.apply(&line.manifest("counted", 1)).await;
    line.wait_until_ready("counted").await;
    let page = Page::of(&line).await;
    let age = page.sum("dask_azureml_inventory_age_seconds", &[]);
    assert!(age < 60.0, "{age}");
    let away = FaultAnswer::error(503, "ServiceUnavailable");
    line.azure
        .fault(Fault::answer("GET", "/workspaces/", away).always());
    line.pass(Duration::from_secs(600)).await;
    let page = Page::of(&line).await;
    let age = page.sum("dask_azureml_inventory_age_seconds", &[]);
    assert!(age >= 600.0, "{age}");
}

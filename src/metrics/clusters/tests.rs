//! What a scrape tells of objects.

use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::reconcile::fixtures::{dask_cluster, noon, seconds_after_noon};

fn cluster(name: &str, status: Value) -> DaskCluster {
    let mut cluster = dask_cluster(|spec| spec["budget"] = json!({"maxTotal": "500"}));
    cluster.metadata.name = Some(name.to_owned());
    cluster.metadata.generation = Some(3);
    cluster.status = serde_json::from_value(status).unwrap();
    cluster
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": noon().to_string(), "observedGeneration": 2,
    })
}

/// A minute after noon.
fn scrape(clusters: &[DaskCluster]) -> String {
    let hand = crate::clock::ManualClock::starting_at(seconds_after_noon(60));
    scrape_of(clusters, Lead::always(hand.clock()))
}

fn scrape_of(clusters: &[DaskCluster], lead: Lead) -> String {
    let (reader, mut writer) = store();
    for cluster in clusters {
        writer.apply_watcher_event(&Event::Apply(cluster.clone()));
    }
    let hand = crate::clock::ManualClock::starting_at(seconds_after_noon(60));
    let registry = prometheus::Registry::new();
    let collector = ClusterCollector::new(reader, hand.clock(), lead).unwrap();
    registry.register(Box::new(collector)).unwrap();
    // The first scrape is not to be seen in the second.
    registry.gather();
    let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    page.unwrap()
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("{series} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_scrape_tells_what_the_status_says_and_what_has_come_about_since() {
    let status = json!({
        "observedGeneration": 2,
        "conditions": [condition("Ready", "False", "QuotaExceeded"), condition("Reconciling", "True", "Progressing")],
        "nodes": {"unusable": 2, "running": 5},
        "workers": {"desired": 9, "pending": 4, "ready": 5, "cores": 40, "memory": "2Gi"},
        "idleSince": seconds_after_noon(20).to_string(),
        "cost": {"hourly": "6", "currency": "USD",
            "accrued": {"amount": "1.5", "asOf": noon().to_string()}},
        "pendingChanges": [{"component": "workers", "fields": ["worker.env"], "jobs": 3}],
    });
    let page = scrape(&[cluster("noaa", status)]);
    let of = r#"name="noaa",namespace="weather""#;
    for (series, expected) in [
        (
            format!(
                "daskcluster_status_condition{{{of},reason=\"QuotaExceeded\",status=\"False\",type=\"Ready\"}}"
            ),
            1.0,
        ),
        (
            format!("daskcluster_condition_age_seconds{{{of},type=\"Ready\"}}"),
            60.0,
        ),
        (format!("daskcluster_generation_lag{{{of}}}"), 1.0),
        (format!("daskcluster_nodes{{{of},state=\"unusable\"}}"), 2.0),
        (
            format!("daskcluster_workers{{{of},state=\"pending\"}}"),
            4.0,
        ),
        (format!("daskcluster_cores{{{of}}}"), 40.0),
        (
            format!("daskcluster_memory_bytes{{{of}}}"),
            f64::from(1_u32 << 31),
        ),
        (format!("daskcluster_idle_seconds{{{of}}}"), 40.0),
        (
            format!("daskcluster_hourly_cost{{currency=\"USD\",{of}}}"),
            6.0,
        ),
        (
            format!("daskcluster_accrued_cost{{currency=\"USD\",{of}}}"),
            1.6,
        ),
        (format!("daskcluster_budget_limit{{{of}}}"), 500.0),
        (
            format!("daskcluster_pending_changes{{component=\"workers\",{of}}}"),
            3.0,
        ),
    ] {
        assert_eq!(value(&page, &series), Some(expected), "{series}\n{page}");
    }
    let reconciling = format!("daskcluster_condition_age_seconds{{{of},type=\"Reconciling\"}}");
    assert_eq!(value(&page, &reconciling), None, "its age is not shown");
    assert!(
        !page.contains("daskcluster_deletion_age_seconds{"),
        "{page}"
    );
}

#[test]
fn an_object_without_a_status_or_with_one_of_another_release_is_told_of_all_the_same() {
    let new = cluster("new", json!({}));
    let mut going = cluster(
        "going",
        json!({"phase": "Running", "cost": {"hourly": "x", "currency": "USD",
        "accrued": {"amount": "y", "asOf": noon().to_string()}}}),
    );
    going.metadata.deletion_timestamp = Some(Time(seconds_after_noon(50)));
    let page = scrape(&[new, going]);
    let lag = r#"daskcluster_generation_lag{name="new",namespace="weather"}"#;
    assert_eq!(value(&page, lag), Some(3.0), "{page}");
    let age = r#"daskcluster_deletion_age_seconds{name="going",namespace="weather"}"#;
    assert_eq!(value(&page, age), Some(10.0), "{page}");
    assert!(!page.contains("hourly_cost{"), "{page}");
}

#[test]
fn one_cluster_has_at_most_40_series() {
    let conditions: Vec<_> = ConditionType::ALL
        .iter()
        .map(|kind| condition(kind.as_str(), "True", "Ready"))
        .collect();
    let mut full = cluster(
        "full",
        json!({
            "conditions": conditions, "nodes": {}, "workers": {"memory": "1"}, "idleSince": noon().to_string(),
            "cost": {"hourly": "6", "currency": "USD", "accrued": {"amount": "1", "asOf": noon().to_string()}},
            "pendingChanges": [
                {"component": "head", "fields": [], "jobs": 1}, {"component": "workers", "fields": [], "jobs": 3},
            ],
        }),
    );
    full.metadata.deletion_timestamp = Some(Time(noon()));
    let page = scrape(&[full]);
    let series = page.lines().filter(|line| line.starts_with("daskcluster_"));
    let series = series.count();
    assert!((30..=40).contains(&series), "{series}\n{page}");
}

#[test]
fn what_is_gone_or_has_changed_leaves_no_series_behind() {
    let (reader, mut writer) = store();
    let hand = crate::clock::ManualClock::starting_at(noon());
    let registry = prometheus::Registry::new();
    let collector =
        ClusterCollector::new(reader, hand.clock(), Lead::always(hand.clock())).unwrap();
    registry.register(Box::new(collector)).unwrap();
    let mut scrape = |event: Event<DaskCluster>| {
        writer.apply_watcher_event(&event);
        let families = registry.gather();
        prometheus::TextEncoder::new()
            .encode_to_string(&families)
            .unwrap()
    };
    let of = |reason| {
        cluster(
            "noaa",
            json!({"conditions": [condition("Ready", "False", reason)]}),
        )
    };
    assert!(scrape(Event::Apply(of("QuotaExceeded"))).contains("QuotaExceeded"));
    let changed = scrape(Event::Apply(of("Deleting")));
    assert!(
        changed.contains("Deleting") && !changed.contains("QuotaExceeded"),
        "{changed}"
    );
    let gone = scrape(Event::Delete(of("Deleting")));
    assert!(!gone.contains("noaa"), "{gone}");
}

#[test]
fn only_the_operator_that_leads_tells_of_clusters() {
    use std::time::Duration;

    let hand = crate::clock::ManualClock::starting_at(noon());
    let lead = Lead::until(hand.clock(), Duration::from_secs(12));
    let clusters = [cluster("noaa", json!({}))];
    assert!(scrape_of(&clusters, lead.clone()).contains("daskcluster_info"));
    hand.advance(Duration::from_secs(12));
    assert_eq!(scrape_of(&clusters, lead), "");
}

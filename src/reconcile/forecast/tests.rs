//! Forecasts as golden text.

use std::path::Path;

use serde_json::json;

use super::{Forecast, Side, Verb, forecast};
use crate::api::{Annotations, ReconcilePolicy};
use crate::lookup::Lookup;
use crate::reconcile::fixtures::{World, usages};

fn forecast_of(world: &World) -> Forecast {
    forecast(&world.wanted, &world.observed)
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test says whether to write golden texts anew"
)]
#[track_caller]
fn assert_forecast(golden: &str, world: &World) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/reconcile/forecast/golden")
        .join(golden)
        .with_extension("txt");
    let text = forecast_of(world).to_string();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let held = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
    assert_eq!(text, held, "{}", path.display());
}

#[test]
fn a_new_cluster_is_foretold_to_its_last_job() {
    let world = World::empty(|_| {}).with(|observed| observed.has_finalizer = false);
    assert_forecast("new_cluster", &world);
}

#[test]
fn a_pool_of_the_heads_own_is_foretold_with_its_own_price() {
    let world = World::empty(|spec| {
        spec["compute"]["priority"] = json!("LowPriority");
        spec["scheduler"]["compute"] = json!({});
    });
    assert_forecast("head_pool", &world);
    let cost = forecast_of(&world).to_json()["cost"].clone();
    assert_eq!(cost["min"], json!({"nodes": 0, "perHour": 0.0}));
    assert_eq!(cost["now"], json!({"nodes": 3, "perHour": 1.037}));
    assert_eq!(cost["max"], json!({"nodes": 101, "perHour": 15.541}));
    assert_eq!(cost["head"]["priority"], "Dedicated");
    assert_eq!(cost["head"]["nodePerHour"], 0.741);
}

#[test]
fn nothing_is_foretold_of_a_cluster_that_is_as_it_should_be() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]);
    assert!(forecast_of(&world).is_empty());
    assert_forecast("as_it_should_be", &world);
}

#[test]
fn what_stops_the_first_spend_is_told_with_all_else_that_was_found() {
    let world = World::empty(|_| {}).with(|observed| {
        observed.usages = Lookup::Present(usages(16, 800).into());
    });
    let forecast = forecast_of(&world);
    assert!(
        forecast
            .changes
            .iter()
            .all(|change| change.side != Side::Azure)
    );
    assert_forecast("too_little_quota", &world);
}

#[test]
fn a_deletion_is_foretold_to_its_end() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]).deleted();
    assert_forecast("deletion", &world);
}

#[test]
fn a_drift_is_told_as_a_change_of_what_is_there() {
    let world = World::answering(2, &["head-1", "w00-1", "w01-1"]).pool("Succeeded", |body| {
        body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(7);
    });
    let forecast = forecast_of(&world);
    let pool: Vec<_> = forecast
        .changes
        .iter()
        .map(|change| (change.verb, change.kind))
        .collect();
    assert_eq!(pool, [(Verb::Change, "ComputeCluster")]);
}

#[test]
fn what_annotations_keep_from_being_done_is_foretold_all_the_same() {
    let bare = World::empty(|_| {});
    for annotations in [
        Annotations {
            dry_run: true,
            ..Annotations::default()
        },
        Annotations {
            policy: ReconcilePolicy::Observe,
            ..Annotations::default()
        },
        Annotations {
            policy: ReconcilePolicy::Unknown("x".into()),
            ..Annotations::default()
        },
    ] {
        let kept = bare
            .clone()
            .with(|observed| observed.annotations = annotations);
        assert_eq!(kept.plan().steps, []);
        assert_eq!(forecast_of(&kept).changes, forecast_of(&bare).changes);
    }
}

#[test]
fn programs_read_the_same_as_people() {
    let world = World::empty(|_| {}).with(|observed| {
        observed.usages = Lookup::Present(usages(80, 800).into());
    });
    let told = forecast_of(&world).to_json();
    assert_eq!(told["name"], "noaa-isd");
    assert_eq!(told["preflight"]["passed"], true);
    assert_eq!(told["preflight"]["findings"][0]["reason"], "QuotaExceeded");
    assert_eq!(told["preflight"]["findings"][0]["stops"], false);
    assert_eq!(told["cost"]["now"], json!({"nodes": 3, "perHour": 2.223}));
    assert_eq!(told["cost"]["max"], json!({"nodes": 100, "perHour": 74.1}));
    let changes = told["changes"].as_array().unwrap();
    assert_eq!(changes[0]["verb"], "create");
    let in_azure = changes.iter().filter(|change| change["in"] == "Azure");
    assert!(in_azure.clone().count() > 5);
    assert!(in_azure.clone().all(|change| change["id"].is_string()));
}

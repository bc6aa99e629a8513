//! Files in the repository that are generated from the sources are what the sources say.

use std::fs;
use std::path::Path;

use dask_azureml_operator::{api, metrics, settings_page};

#[test]
fn the_crd_in_the_repository_is_the_one_that_the_operator_prints() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/daskclusters.azureml.dask.dev.yaml");
    let written = fs::read_to_string(&path).unwrap_or_default();
    let printed = api::crd_yaml().expect("the definition can be written as YAML");
    assert!(
        written == printed,
        "crds/daskclusters.azureml.dask.dev.yaml is out of date: run `make generate`, which is \
         `dask-azureml-operator crd > crds/daskclusters.azureml.dask.dev.yaml`"
    );
}

#[test]
fn the_page_of_metrics_is_the_one_that_the_operator_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let written = fs::read_to_string(&path).unwrap_or_default();
    let printed = metrics::page().expect("no two metrics have one name");
    assert!(
        written == printed,
        "docs/metrics.md is out of date: run `make generate`, which is `dask-azureml-operator metrics > docs/metrics.md`"
    );
}

#[test]
fn the_page_of_settings_is_the_one_that_the_operator_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == settings_page::page(),
        "docs/settings.md is out of date: run `make generate`, which is `dask-azureml-operator settings > docs/settings.md`"
    );
}

#[test]
fn the_chart_installs_the_crd_of_the_repository() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &str| {
        fs::read_to_string(
            repository
                .join(folder)
                .join("daskclusters.azureml.dask.dev.yaml"),
        )
        .expect("the CRD is there")
    };
    assert!(
        read("crds") == read("charts/dask-azureml-operator/files/crds"),
        "the chart's copy of the CRD is out of date: run `make generate`"
    );
}

#[test]
fn the_crd_stays_under_100_kb() {
    let printed = api::crd_yaml().expect("the definition can be written as YAML");
    assert!(printed.len() < 100_000, "{} bytes", printed.len());
}

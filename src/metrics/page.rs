//! `docs/metrics.md`, out of the definitions.

use std::fmt::Write as _;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;

use super::Metrics;
use super::clusters::CLUSTER_METRICS;
use super::process::WHAT_TO_DO;
use crate::azure::Budgets;
use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::leadership::Lead;

/// The page.
///
/// # Errors
/// When two metrics have one name.
pub fn page() -> Result<String, prometheus::Error> {
    let mut page = String::from(
        "# Metrics\n\n\
         Made by `dask-azureml-operator metrics` (`make generate`): do not edit.\n\n\
         Prometheus reads them at `/metrics` on the port of `--metrics-listen`. As long as the API is `v1alpha1`, names and\n\
         labels may change with a minor version.\n\n\
         ## Of each DaskCluster\n\n\
         Read from the objects when Prometheus asks, so they are right after a restart, and gone with the object. Only the\n\
         operator that leads has them. Every series has the labels `namespace` and `name`; one cluster has at most 40.\n\
         `--cluster-metrics=false` keeps them off.\n\n\
         | metric | type | labels | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    for metric in &CLUSTER_METRICS {
        let labels = metric.labels.iter().copied();
        row(
            &mut page,
            metric.name,
            "gauge",
            labels,
            metric.help,
            metric.what_to_do,
        );
    }
    page.push_str(
        "\n## Of the operator\n\n\
         | metric | type | labels | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    let metrics = Metrics::new()?;
    let clock = Clock::system();
    let budgets = Budgets::new(clock.clone(), Arc::new(metrics.clone()));
    let mut defined = metrics.defined();
    let lead = Lead::always(clock.clone());
    let mut looked_up = super::reconciles::of_backlog(&Backlog::new(clock))?;
    looked_up.push(super::leadership::of_lead(lead)?);
    looked_up.push(super::azure::of_budgets(budgets)?);
    looked_up.push(super::azure::of_inventory(|| None)?);
    defined.extend(
        looked_up
            .into_iter()
            .map(|(definition, gauge)| definition.with(gauge)),
    );
    defined.sort_by_key(|(definition, _)| definition.name);
    for (definition, collector) in defined {
        row(
            &mut page,
            definition.name,
            kind(&*collector),
            definition.labels.iter().copied(),
            definition.help,
            definition.what_to_do,
        );
    }
    page.push_str(
        "\n## Of its process\n\n\
         | metric | type | labels | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    let process = ProcessCollector::for_self();
    for (name, what_to_do) in WHAT_TO_DO {
        let mut told = process.desc().into_iter();
        let help = told.find(|desc| desc.fq_name == name);
        let help = help.map_or("", |desc| desc.help.trim_end_matches('.'));
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        row(&mut page, name, kind, std::iter::empty(), help, what_to_do);
    }
    Ok(page)
}

fn kind(collector: &dyn Collector) -> &'static str {
    let families = collector.collect();
    match families.first().map(|family| family.get_field_type()) {
        Some(MetricType::COUNTER) => "counter",
        Some(MetricType::HISTOGRAM) => "histogram",
        _ => "gauge",
    }
}

fn row<'a>(
    page: &mut String,
    name: &str,
    kind: &str,
    labels: impl Iterator<Item = &'a str>,
    help: &str,
    what_to_do: &str,
) {
    let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
    // Writing to a String does not fail.
    let _ = writeln!(
        page,
        "| `{name}` | {kind} | {} | {help} | {what_to_do} |",
        labels.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_operator_and_its_process_has_a_row() {
        let page = page().unwrap();
        let metrics = Metrics::new().unwrap();
        let told = metrics.page().unwrap();
        let names = told.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut count = 0;
        for told in names {
            let (name, kind) = told.split_once(' ').unwrap();
            let row = page
                .lines()
                .find(|line| line.contains(&format!("| `{name}` | {kind} |")));
            assert!(row.is_some(), "{name} {kind}");
            count += 1;
        }
        assert!(count > 20, "{count}");
        for row in page.lines().filter(|line| line.starts_with("| `process_")) {
            assert!(!row.contains("|  |  |  |"), "{row}");
        }
    }
}

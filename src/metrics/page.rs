//! `docs/metrics.md`, out of the definitions.

use std::fmt::Write as _;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::proto::MetricType;

use super::Metrics;
use super::clusters::CLUSTER_METRICS;
use crate::azure::Budgets;
use crate::clock::Clock;

/// What a metric of the operator itself asks for.
const WHAT_TO_DO: [(&str, &str); 15] = [
    (
        "dask_azureml_azure_budget_remaining",
        "Near 0 for long: fewer clusters on one principal, or more principals.",
    ),
    (
        "dask_azureml_azure_budget_turns_total",
        "Many `postponed`: as above.",
    ),
    (
        "dask_azureml_azure_budget_wait_seconds",
        "The time that clusters lose to Azure's limits.",
    ),
    (
        "dask_azureml_azure_request_duration_seconds",
        "Slow reads make every change slow to be seen.",
    ),
    (
        "dask_azureml_azure_requests_total",
        "Status 401 and 403: credentials and roles. `none`: no answer came.",
    ),
    (
        "dask_azureml_azure_throttles_total",
        "Another program uses the same principal, or its limits are lower than documented.",
    ),
    (
        "dask_azureml_drift_total",
        "Somebody changes our resources in Azure; the event on the cluster names the field.",
    ),
    (
        "dask_azureml_leader",
        "Their sum is 1, but for seconds. 0 for long: nobody works; look at the Lease, and at the logs for why it cannot be taken.",
    ),
    (
        "dask_azureml_leader_transitions_total",
        "Many in an hour, over all pods: the API server is slow, or pods are killed.",
    ),
    (
        "dask_azureml_orphans",
        "Look at the log for the ids; `--orphans=remove` removes them.",
    ),
    (
        "dask_azureml_orphans_hourly_cost",
        "As above: this is what waiting costs.",
    ),
    (
        "dask_azureml_reconcile_duration_seconds",
        "What a look at a cluster takes, waiting for Azure included.",
    ),
    (
        "dask_azureml_reconciles_total",
        "Results other than `ok`: the log has the error.",
    ),
    (
        "dask_azureml_setbacks_total",
        "The page of conditions says what each reason asks for.",
    ),
    (
        "dask_azureml_status_writes_total",
        "A cluster at rest writes none.",
    ),
];

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
         operator that leads has them. Every series has the labels `namespace` and `name`; one cluster has at most 40. `--cluster-metrics=false` keeps them off.\n\n\
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
    let budgets = Budgets::new(Clock::system(), Arc::new(metrics.clone()));
    let budget = super::budget_gauge(budgets)?;
    let mut collectors = metrics.collectors();
    collectors.push(Box::new(budget));
    let lead = crate::leadership::Lead::always(Clock::system());
    collectors.push(Box::new(super::lead_gauge(lead)?));
    collectors.sort_by_key(|collector| name(&**collector));
    for collector in collectors {
        let Some(desc) = collector.desc().into_iter().next() else {
            continue;
        };
        let kind = match collector
            .collect()
            .first()
            .map(|family| family.get_field_type())
        {
            Some(MetricType::COUNTER) => "counter",
            Some(MetricType::HISTOGRAM) => "histogram",
            _ => "gauge",
        };
        let mut rows = WHAT_TO_DO.iter();
        let what_to_do = rows.find(|(name, _)| *name == desc.fq_name);
        let what_to_do = what_to_do.map_or("", |(_, what_to_do)| what_to_do);
        let labels = desc.variable_labels.iter().map(String::as_str);
        row(
            &mut page,
            &desc.fq_name,
            kind,
            labels,
            &desc.help,
            what_to_do,
        );
    }
    Ok(page)
}

fn name(collector: &dyn Collector) -> String {
    let desc = collector.desc().into_iter().next();
    desc.map(|desc| desc.fq_name.clone()).unwrap_or_default()
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
    fn every_metric_of_the_operator_says_what_to_do() {
        let page = page().unwrap();
        for (name, what_to_do) in WHAT_TO_DO {
            let row = page
                .lines()
                .find(|line| line.contains(&format!("`{name}`")));
            assert!(row.is_some_and(|row| row.contains(what_to_do)), "{name}");
        }
        let of_operator = page.split("## Of the operator").nth(1).unwrap();
        let rows = of_operator.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), WHAT_TO_DO.len(), "{of_operator}");
    }
}

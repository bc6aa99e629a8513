"""What the chart counts on and another branch brings. Empty once that is there: the tests say so."""

METRICS = {
    "dask_azureml_build_info",
    "dask_azureml_leader",
    "dask_azureml_leader_transitions_total",
    "dask_azureml_reconcile_queue",
    "dask_azureml_reconcile_step_duration_seconds",
    "dask_azureml_oldest_unreconciled_seconds",
    "dask_azureml_inventory_age_seconds",
    "dask_azureml_azure_operation_duration_seconds",
    "dask_azureml_stage_duration_seconds",
    "dask_azureml_retirements_total",
    "dask_azureml_scale_decisions_total",
    "dask_azureml_scheduler_polls_total",
    "dask_azureml_kubernetes_requests_total",
}
FLAGS = {"--leader-election", "--lease-name"}

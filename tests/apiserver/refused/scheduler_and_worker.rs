//! Head, workers and their environment variables.

use serde_json::json;

use super::{Refusal, all_refused, values};

pub(super) fn scheduler_and_worker() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/experimentName",
        ["", "-dask", "dask jobs", "${{x}}"],
        "spec.experimentName",
        "must start with a letter or digit",
    );
    refusals.extend(values(
        "/spec/scheduler/startTimeoutSeconds",
        [59],
        "spec.scheduler.startTimeoutSeconds",
        "greater than or equal to 60",
    ));
    refusals.extend(values(
        "/spec/scheduler/startTimeoutSeconds",
        [86_401],
        "spec.scheduler.startTimeoutSeconds",
        "less than or equal to 86400",
    ));
    refusals.extend(values(
        "/spec/worker/replicas",
        [-1],
        "spec.worker.replicas",
        "greater than or equal to 0",
    ));
    refusals.extend(values(
        "/spec/worker/replicas",
        [101],
        "spec.worker.replicas",
        "less than or equal to 100",
    ));
    refusals.extend(values(
        "/spec/worker/threads",
        [0],
        "spec.worker.threads",
        "greater than or equal to 1",
    ));
    refusals.extend(values(
        "/spec/worker/threads",
        [1025],
        "spec.worker.threads",
        "less than or equal to 1024",
    ));
    refusals.extend(values(
        "/spec/worker/memoryLimit",
        [
            json!("63Mi"),
            json!(67_108_863),
            json!("0.06Gi"),
            json!("-1Gi"),
            json!("much"),
            json!(""),
            json!("48 GB"),
        ],
        "spec.worker.memoryLimit",
        "must be a quantity of at least 64Mi",
    ));
    refusals.extend(values(
        "/spec/worker/memoryLimit",
        ["1".repeat(33)],
        "spec.worker.memoryLimit",
        "Too long: may not be more than 32",
    ));
    refusals.extend(values(
        "/spec/deletionPolicy",
        ["Orphan"],
        "spec.deletionPolicy",
        "supported values: \"Delete\", \"Retain\"",
    ));
    refusals
}

pub(super) fn environment_variables() -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let named = |name: &str| json!([{"name": name, "value": "x"}]);
    for (pointer, name, value, value_from, list) in [
        (
            "/spec/scheduler/env",
            "spec.scheduler.env[0].name",
            "spec.scheduler.env[0].value",
            "spec.scheduler.env[0].valueFrom",
            "spec.scheduler.env",
        ),
        (
            "/spec/worker/env",
            "spec.worker.env[0].name",
            "spec.worker.env[0].value",
            "spec.worker.env[0].valueFrom",
            "spec.worker.env",
        ),
    ] {
        refusals.extend(values(
            pointer,
            ["", "1A", "A-B", "A.B", "A B"].map(named),
            name,
            "must be letters, digits and _",
        ));
        refusals.extend(values(
            pointer,
            [
                "DASK_CONFIG",
                "DASK_ROOT_CONFIG",
                "DASK_config",
                "DASK_Root_Config",
            ]
            .map(named),
            name,
            "a file of Dask settings could turn the operator's own around",
        ));
        refusals.extend(values(
            pointer,
            [
                "AZUREML_RUN_ID",
                "AZURE_ML_INPUT",
                "AZ_BATCH_NODE_ID",
                "AZ_BATCHX",
                "MLFLOW_TRACKING_URI",
                "AZURE_SIMULATOR_NODE_ADDRESS",
                "DASK_AZUREML_ROLE",
                "DASK_azureml_role",
                "DASK_DISTRIBUTED",
                "DASK_distributed",
                "DASK_DISTRIBUTED__SCHEDULER",
                "DASK_DISTRIBUTED__WORKER",
                "DASK_DISTRIBUTED__NANNY",
                "DASK_DISTRIBUTED__SCHEDULER__HTTP",
                "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
                "DASK_DISTRIBUTED__Scheduler__Worker_TTL",
                "DASK_DISTRIBUTED__SCHEDULER__PRELOAD",
                "DASK_DISTRIBUTED__WORKER__preload",
                "DASK_DISTRIBUTED__NANNY__PRELOAD",
                "DASK_INTERNAL_INHERIT_CONFIG",
            ]
            .map(named),
            name,
            "is set by the operator or by Azure Machine Learning",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "x\u{0}y"}])],
            value,
            "must not hold a NUL",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "${{inputs.x}}"}])],
            value,
            "must not hold ${{",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "x".repeat(4097)}])],
            value,
            "Too long: may not be more than 4096",
        ));
        refusals.extend(values(
            pointer,
            [
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                json!([{"name": "A", "value": "x", "valueFrom": {}}]),
            ],
            value_from,
            "valueFrom is not supported",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A"}, {"name": "A", "value": "x"}])],
            match list {
                "spec.scheduler.env" => "spec.scheduler.env[1]",
                _ => "spec.worker.env[1]",
            },
            "Duplicate value",
        ));
        let many: Vec<_> = (0..65).map(|n| json!({"name": format!("A{n}")})).collect();
        refusals.extend(values(pointer, [many], list, "must have at most 64 items"));
    }
    refusals
}

#[tokio::test]
async fn sizes_and_times_out_of_range_are_refused() {
    all_refused(scheduler_and_worker()).await;
}

#[tokio::test]
async fn environment_variables_of_others_and_secrets_are_refused() {
    all_refused(environment_variables()).await;
}

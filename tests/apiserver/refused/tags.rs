//! Tags.

use serde_json::json;

use super::{Refusal, all_refused, values};

pub(super) fn tags() -> Vec<Refusal> {
    let keyed = |key: &str| json!({key: "x"});
    let mut refusals = values(
        "/spec/tags",
        [keyed(""), keyed(&"x".repeat(101))],
        "spec.tags",
        "must be 1 to 100 characters long",
    );
    refusals.extend(values(
        "/spec/tags",
        [
            "a<b", "a>b", "a%b", "a&b", "a\\b", "a?b", "a/b", "a\nb", "a\u{85}b",
        ]
        .map(keyed),
        "spec.tags",
        "must hold no control character",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"Team": "a", "team": "b"})],
        "spec.tags",
        "must differ in more than case",
    ));
    refusals.extend(values(
        "/spec/tags",
        [
            "dask-azureml-owner",
            "Dask-AzureML-x",
            "headnode",
            "Scheduler",
            "dashboard",
            "jupyter",
            "mlflow.user",
            "azureml.x",
            "_aml_x",
            "microsoftx",
            "Azure-x",
            "windows",
        ]
        .map(keyed),
        "spec.tags",
        "tags must not use headnode",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"a${{b": "x"}), json!({"a": "${{x}}"})],
        "spec.tags",
        "must not hold ${{",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"a": "x".repeat(257)})],
        "spec.tags.a",
        "Too long: may not be more than 256",
    ));
    let many: serde_json::Map<_, _> = (0..16).map(|n| (format!("k{n}"), json!("x"))).collect();
    refusals.extend(values(
        "/spec/tags",
        [many],
        "spec.tags",
        "must have at most 15 items",
    ));
    refusals
}

#[tokio::test]
async fn tags_that_azure_or_others_use_are_refused() {
    all_refused(tags()).await;
}

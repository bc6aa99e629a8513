//! What the containers run in.

use serde_json::json;

use super::{Refusal, all_refused, values};

pub(super) fn environment() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/environment",
        [
            json!({}),
            json!({"image": "dask:1", "name": "dask", "version": "1"}),
            json!({"condaFile": "x", "name": "dask", "version": "1"}),
        ],
        "spec.environment",
        "must hold either image, condaFile or both",
    );
    refusals.extend(values(
        "/spec/environment",
        [json!({"name": "dask"}), json!({"version": "1"})],
        "spec.environment",
        "must be given together",
    ));
    refusals.extend(values(
        "/spec/environment/image",
        [
            "",
            "dask image",
            "https://ghcr.io/dask/dask",
            "ghcr.io/Dask/dask",
            "dask:",
            "dask@sha256:1",
            "${{x}}",
        ],
        "spec.environment.image",
        "must be an image reference",
    ));
    refusals.extend(values(
        "/spec/environment/condaFile",
        [""],
        "spec.environment.condaFile",
        "should be at least 1 chars long",
    ));
    refusals.extend(values(
        "/spec/environment/condaFile",
        ["x".repeat(16_385)],
        "spec.environment.condaFile",
        "Too long: may not be more than 16384",
    ));
    refusals.extend(values(
        "/spec/environment",
        [json!({"name": "dask.env", "version": "1"})],
        "spec.environment.name",
        "must start with a letter or digit",
    ));
    refusals.extend(values(
        "/spec/environment",
        [
            json!({"name": "dask", "version": "latest"}),
            json!({"name": "dask", "version": "@1"}),
        ],
        "spec.environment.version",
        "must be one fixed version",
    ));
    refusals
}

#[tokio::test]
async fn environments_that_are_neither_made_nor_named_are_refused() {
    all_refused(environment()).await;
}

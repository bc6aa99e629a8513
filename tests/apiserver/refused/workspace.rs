//! The object's name, its workspace and its credentials.

use super::{Refusal, all_refused, refusal, values};
use crate::manifest::{remove, story};

pub(super) fn metadata_and_workspace() -> Vec<Refusal> {
    let mut refusals = values(
        "/metadata/name",
        ["noaa.isd", "9noaa", &"a".repeat(54)],
        "<nil>",
        "metadata.name must be at most 53",
    );
    refusals.extend(values(
        "/spec/workspace/subscriptionId",
        [
            "",
            "my-subscription",
            "11111111-2222-3333-4444-55555555555g",
        ],
        "spec.workspace.subscriptionId",
        "must be a GUID",
    ));
    refusals.extend(values(
        "/spec/workspace/resourceGroup",
        ["", "rg.", "rg dask", "rg/dask", "rg\u{301}"],
        "spec.workspace.resourceGroup",
        "must be the name of a resource group",
    ));
    refusals.extend(values(
        "/spec/workspace/resourceGroup",
        ["ü".repeat(91)],
        "spec.workspace.resourceGroup",
        "Too long: may not be more than 90",
    ));
    refusals.extend(values(
        "/spec/workspace/name",
        ["", "ws", "-ws", "ws.dask"],
        "spec.workspace.name",
        "workspace.name must be 3 to 33",
    ));
    for field in ["subscriptionId", "resourceGroup", "name"] {
        refusals.push(refusal(
            story(),
            &[remove(&format!("/spec/workspace/{field}"))],
            match field {
                "subscriptionId" => "spec.workspace.subscriptionId",
                "resourceGroup" => "spec.workspace.resourceGroup",
                _ => "spec.workspace.name",
            },
            "Required value",
        ));
    }
    refusals.push(refusal(
        story(),
        &[remove("/spec/workspace")],
        "spec.workspace",
        "Required value",
    ));
    refusals.extend(values(
        "/spec/credentialsSecretName",
        ["-azure", "Azure", "azure_credentials", "a..b"],
        "spec.credentialsSecretName",
        "must be the name of a Secret",
    ));
    refusals.extend(values(
        "/spec/credentialsSecretName",
        [""],
        "spec.credentialsSecretName",
        "should be at least 1 chars long",
    ));
    refusals
}

#[tokio::test]
async fn names_and_workspaces_that_cannot_be_are_refused() {
    all_refused(metadata_and_workspace()).await;
}

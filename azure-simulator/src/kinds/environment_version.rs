//! Environments: an image, with a conda file on top where one is given.

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::kinds::asset_version::AssetType;
use crate::kinds::body_checks::only_known;
use crate::kinds::data_version::texts;
use crate::resource_id::ResourceId;

pub(crate) static ENVIRONMENT: AssetType = AssetType {
    container_type: "Microsoft.MachineLearningServices/workspaces/environments",
    version_type: "Microsoft.MachineLearningServices/workspaces/environments/versions",
    noun: "environment",
    normalise,
    immutable: &["image", "condaFile", "osType"],
    shown_by_container: &[],
    act: None,
};

fn normalise(id: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "image",
            "condaFile",
            "build",
            "osType",
            "autoRebuild",
            "description",
            "tags",
            "properties",
            "isAnonymous",
            "isArchived",
            "stage",
            "environmentType",
        ],
        "an environment version's properties",
    )?;
    let name = id.parent().map(|parent| parent.name().to_owned());
    let name = name.unwrap_or_default();
    if name.to_lowercase().starts_with("azureml") {
        return Err(ArmError::user(format!(
            "The environment name '{name}' is reserved: names may not start with AzureML."
        )));
    }
    if !given["build"].is_null() {
        if !given["image"].is_null() {
            return Err(ArmError::user(
                "More than one of BaseImage, BaseDockerfile, and BuildContext were set; these are \
                 mutually exclusive properties.",
            ));
        }
        return Err(ArmError::refused("An environment with a build context"));
    }
    if given["image"].as_str().is_none_or(str::is_empty) {
        return Err(ArmError::user(
            "An environment needs an image or a build context.",
        ));
    }
    if given["osType"] == "Windows" {
        return Err(ArmError::refused("An environment for Windows"));
    }
    Ok(json!({
        "image": given["image"],
        "condaFile": given["condaFile"],
        "build": null,
        "osType": "Linux",
        "autoRebuild": given["autoRebuild"],
        "environmentType": "UserCreated",
        "inferenceConfig": null,
        "description": given["description"],
        "tags": texts(&given["tags"]),
        "properties": texts(&given["properties"]),
        "isAnonymous": given["isAnonymous"] == true,
        "isArchived": given["isArchived"] == true,
        "stage": given["stage"],
    }))
}

/// An image alone is pulled; a conda file on top of it is built once (contract section 8).
pub(crate) fn needs_image_build(transaction: &Transaction<'_>, key: &str) -> bool {
    transaction
        .state
        .documents
        .by_key(key)
        .is_some_and(|found| !found.body["properties"]["condaFile"].is_null())
}

//! Environments: an image, with a conda file on top where one is given, or what an image is built
//! from.

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::azure::Transaction;
use crate::kinds::asset_version::AssetType;
use crate::kinds::body_checks::{Form, check_forms, only_known};
use crate::kinds::data_version::texts;
use crate::resource_id::ResourceId;

pub(crate) static ENVIRONMENT: AssetType = AssetType {
    container_type: "Microsoft.MachineLearningServices/workspaces/environments",
    version_type: "Microsoft.MachineLearningServices/workspaces/environments/versions",
    noun: "environment",
    normalise,
    // What the OpenAPI lets a client give at creation only.
    immutable: &["image", "condaFile", "build", "osType", "inferenceConfig"],
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
            "inferenceConfig",
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
    check_forms(
        given,
        &[
            ("image", Form::Text),
            ("condaFile", Form::Text),
            ("stage", Form::Text),
        ],
        "an environment version's properties",
    )?;
    let rebuilds = ["Disabled", "OnBaseImageUpdate"];
    let rebuild = &given["autoRebuild"];
    if !rebuild.is_null()
        && !rebuild
            .as_str()
            .is_some_and(|word| rebuilds.contains(&word))
    {
        return Err(ArmError::user(format!(
            "The autoRebuild {rebuild} of an environment is not one of {}.",
            rebuilds.join(", ")
        )));
    }
    let name = id.parent().map(|parent| parent.name().to_owned());
    let name = name.unwrap_or_default();
    if name.to_lowercase().starts_with("azureml") {
        return Err(ArmError::user(format!(
            "The environment name '{name}' is reserved: names may not start with AzureML."
        )));
    }
    let (image, build) = (&given["image"], build_context(&given["build"])?);
    if !image.is_null() && !build.is_null() {
        return Err(ArmError::user(
            "More than one of BaseImage, BaseDockerfile, and BuildContext were set; these are \
             mutually exclusive properties.",
        ));
    }
    if build.is_null() && image.as_str().is_none_or(str::is_empty) {
        return Err(ArmError::user(
            "An environment needs an image or a build context.",
        ));
    }
    check_routes(&given["inferenceConfig"])?;
    if given["osType"] == "Windows" {
        return Err(ArmError::refused("An environment for Windows"));
    }
    Ok(json!({
        "image": image,
        "condaFile": given["condaFile"],
        "build": build,
        "osType": "Linux",
        "autoRebuild": given["autoRebuild"],
        "environmentType": "UserCreated",
        "inferenceConfig": given["inferenceConfig"],
        "description": given["description"],
        "tags": texts(&given["tags"]),
        "properties": texts(&given["properties"]),
        "isAnonymous": given["isAnonymous"] == true,
        "isArchived": given["isArchived"] == true,
        "stage": given["stage"],
    }))
}

/// Where an image is built from, with the OpenAPI's default filled in.
fn build_context(given: &Value) -> Result<Value, ArmError> {
    if given.is_null() {
        return Ok(Value::Null);
    }
    only_known(given, &["contextUri", "dockerfilePath"], "a build context")?;
    if given["contextUri"].as_str().is_none_or(str::is_empty) {
        return Err(ArmError::user("A build context needs a contextUri."));
    }
    Ok(json!({
        "contextUri": given["contextUri"],
        "dockerfilePath": given["dockerfilePath"].as_str().unwrap_or("Dockerfile"),
    }))
}

/// What only inference servers look at; each route needs a path and a port (OpenAPI `Route`).
fn check_routes(given: &Value) -> Result<(), ArmError> {
    let routes = ["livenessRoute", "readinessRoute", "scoringRoute"];
    only_known(given, &routes, "an inference configuration")?;
    for name in routes {
        let route = &given[name];
        only_known(route, &["path", "port"], "a route")?;
        let complete = route["path"].is_string() && route["port"].is_u64();
        if !route.is_null() && !complete {
            return Err(ArmError::user(format!(
                "The {name} of an inference configuration needs a path and a port."
            )));
        }
    }
    Ok(())
}

/// An image alone is pulled; a conda file on top of it, or a build context, is built once (contract
/// section 8).
pub(crate) fn needs_image_build(transaction: &Transaction<'_>, key: &str) -> bool {
    transaction
        .state
        .documents
        .by_key(key)
        .map(|found| &found.body["properties"])
        .is_some_and(|found| !found["condaFile"].is_null() || !found["build"].is_null())
}

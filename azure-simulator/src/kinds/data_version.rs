//! Data assets: a URI under a name and version.

use serde_json::{Value, json};

use crate::arm::error::ArmError;
use crate::kinds::asset_version::AssetType;
use crate::kinds::body_checks::only_known;
use crate::resource_id::ResourceId;

pub(crate) static DATA: AssetType = AssetType {
    container_type: "Microsoft.MachineLearningServices/workspaces/data",
    version_type: "Microsoft.MachineLearningServices/workspaces/data/versions",
    noun: "data",
    normalise,
    immutable: &["dataUri", "dataType"],
    shown_by_container: &["dataType"],
    act: None,
};

fn normalise(_: &ResourceId, given: &Value) -> Result<Value, ArmError> {
    only_known(
        given,
        &[
            "dataType",
            "dataUri",
            "description",
            "tags",
            "properties",
            "isAnonymous",
            "isArchived",
            "referencedUris",
        ],
        "a data version's properties",
    )?;
    let kind = given["dataType"].as_str().unwrap_or_default();
    if !["uri_folder", "uri_file", "mltable"].contains(&kind) {
        return Err(ArmError::user(format!(
            "The data type '{kind}' is not one of uri_folder, uri_file, mltable."
        )));
    }
    let uri = given["dataUri"].as_str().unwrap_or_default();
    let known = [
        "azureml://",
        "abfss://",
        "wasbs://",
        "wasb://",
        "https://",
        "http://",
    ];
    if !known.iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(ArmError::user(format!(
            "The data URI '{uri}' is not valid."
        )));
    }
    let mut properties = json!({
        "dataType": kind,
        "dataUri": uri,
        "description": given["description"],
        "tags": or_empty(&given["tags"]),
        "properties": or_empty(&given["properties"]),
        "isAnonymous": given["isAnonymous"] == true,
        "isArchived": given["isArchived"] == true,
    });
    if kind == "mltable" {
        properties["referencedUris"] = given["referencedUris"].clone();
    }
    Ok(properties)
}

pub(crate) fn or_empty(given: &Value) -> Value {
    if given.is_null() {
        json!({})
    } else {
        given.clone()
    }
}

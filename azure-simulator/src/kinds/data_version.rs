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
        "tags": texts(&given["tags"]),
        "properties": texts(&given["properties"]),
        "isAnonymous": given["isAnonymous"] == true,
        "isArchived": given["isArchived"] == true,
    });
    if kind == "mltable" {
        properties["referencedUris"] = given["referencedUris"].clone();
    }
    Ok(properties)
}

/// The tags or properties of an asset: `{}` where there are none, and strings whatever was given, as
/// azure-ai-ml gives a number in `hash_version`.
pub(crate) fn texts(given: &Value) -> Value {
    let given = given.as_object().into_iter().flatten();
    let texts = given.map(|(name, value)| match value {
        Value::Null | Value::String(_) => (name.clone(), value.clone()),
        other => (name.clone(), json!(other.to_string())),
    });
    Value::Object(texts.collect())
}

pub(crate) fn or_empty(given: &Value) -> Value {
    if given.is_null() {
        json!({})
    } else {
        given.clone()
    }
}

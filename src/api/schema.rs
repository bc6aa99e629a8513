//! The CustomResourceDefinition: what kube and schemars derive, made to fit Kubernetes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::DaskCluster;

/// The CustomResourceDefinition of `DaskCluster`, as the API server takes it.
///
/// Use this instead of [`CustomResourceExt::crd`], whose schema lets every optional field be
/// null and names integer formats that Kubernetes does not know.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = DaskCluster::crd();
    let schemas = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for schema in schemas {
        fit(schema);
    }
    crd
}

/// The CustomResourceDefinition as YAML, which `crds/` holds.
///
/// # Errors
/// None is known: the definition serializes to YAML as it does to JSON.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&crd())
}

/// An amount of memory, as a number of bytes or as text such as `48Gi`.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 32,
    })
}

/// An absent field is absent: null is dropped before defaults are filled in, unless the schema
/// allows it, and then it would stay, past every `has()` of a rule.
fn fit(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref() == Some("uint32") {
        schema.format = Some("int32".to_owned());
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut())
    {
        fit(property);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => fit(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(fit),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        fit(values);
    }
}

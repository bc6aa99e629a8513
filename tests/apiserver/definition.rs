//! The definition itself.

use dask_azureml_operator::api;
use http::Request;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;

fn schema() -> Value {
    let definition = serde_json::to_value(api::crd()).expect("the definition is JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with every schema below `schema` and the path of the field it describes.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            &format!("{path}{{}}"),
            &schema["additionalProperties"],
            visit,
        );
    }
}

#[tokio::test]
async fn the_api_server_takes_the_printed_yaml_without_a_warning_and_twice_without_a_change() {
    let control_plane = ControlPlane::shared().await;
    control_plane.install_crd().await;
    let client = control_plane.client();
    let yaml = api::crd_yaml().expect("the definition is YAML");

    let mut versions = Vec::new();
    for _ in 0..2 {
        let request = Request::builder()
            .method("PATCH")
            .uri("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/daskclusters.azureml.dask.dev?fieldManager=printed&force=true&fieldValidation=Strict")
            .header("content-type", "application/apply-patch+yaml")
            .body(yaml.clone().into_bytes().into())
            .expect("a valid request");
        let response = client.send(request).await.expect("the API server answers");
        assert!(response.status().is_success(), "{}", response.status());
        assert_eq!(response.headers().get("warning"), None);
        let body = json_of(response).await;
        versions.push(body["metadata"]["resourceVersion"].clone());
    }
    assert_eq!(versions[0], versions[1]);
}

async fn json_of(response: http::Response<kube::client::Body>) -> Value {
    let bytes = response
        .into_body()
        .collect_bytes()
        .await
        .expect("the body can be read");
    serde_json::from_slice(&bytes).expect("the body is JSON")
}

#[test]
fn kubectl_finds_it_by_its_short_name_and_shows_the_columns_of_a_cluster() {
    let definition = serde_json::to_value(api::crd()).expect("the definition is JSON");
    let spec = &definition["spec"];
    assert_eq!(spec["names"]["shortNames"], json!(["adsk"]));
    assert_eq!(spec["names"]["categories"], json!(["all"]));
    assert_eq!(
        spec["versions"][0]["subresources"],
        json!({
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.worker.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        })
    );
    let columns = spec["versions"][0]["additionalPrinterColumns"].as_array();
    let named = |wide: bool| {
        columns
            .into_iter()
            .flatten()
            .filter(|column| column["priority"].as_i64().unwrap_or(0) == i64::from(wide))
            .map(|column| column["name"].as_str().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(false),
        [
            "Phase",
            "Workers",
            "Desired",
            "Nodes",
            "Cores",
            "Memory",
            "Scheduler",
            "Age"
        ]
    );
    assert_eq!(
        named(true),
        ["Dashboard", "Run", "Reason", "Rest", "Cost/h"]
    );
}

#[test]
fn no_field_may_be_null() {
    walk("", &schema(), &mut |path, schema| {
        assert!(schema.get("nullable").is_none(), "{path} is nullable");
    });
}

#[test]
fn every_string_list_and_map_has_a_maximum() {
    walk("", &schema(), &mut |path, schema| {
        let bounded = match schema["type"].as_str() {
            Some("string") => {
                !schema["enum"].is_null()
                    || schema["format"] == "date-time"
                    || !schema["maxLength"].is_null()
            }
            Some("array") => !schema["maxItems"].is_null(),
            Some("object") if !schema["additionalProperties"].is_null() => {
                !schema["maxProperties"].is_null()
            }
            Some("integer") if path.starts_with(".spec") => {
                !schema["minimum"].is_null() && !schema["maximum"].is_null()
            }
            Some("object" | "integer" | "boolean") => true,
            None => schema["x-kubernetes-int-or-string"] == true && !schema["maxLength"].is_null(),
            Some(other) => panic!("{path} is a {other}"),
        };
        assert!(bounded, "{path} has no maximum: {schema}");
    });
}

#[test]
fn every_list_is_keyed() {
    walk("", &schema(), &mut |path, schema| {
        if schema["type"] == "array" {
            // A list of texts is keyed by the texts.
            let kind = match schema["items"]["type"].as_str() {
                Some("object") => "map",
                _ => "set",
            };
            assert_eq!(schema["x-kubernetes-list-type"], kind, "{path}");
        }
    });
}

#[test]
fn every_field_is_described() {
    walk("", &schema(), &mut |path, schema| {
        if path.is_empty() || path.ends_with("[]") || path.ends_with("{}") {
            return;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{path}: {description:?}");
        assert!(!description.contains('\n'), "{path}: {description:?}");
        assert!(
            description.len() < 400,
            "{path}: {} bytes",
            description.len()
        );
    });
}

#[test]
fn every_rule_has_a_message_and_no_two_the_same_in_one_place() {
    walk("", &schema(), &mut |path, schema| {
        let rules = schema["x-kubernetes-validations"].as_array();
        let mut messages: Vec<_> = rules
            .into_iter()
            .flatten()
            .map(|rule| rule["message"].as_str().unwrap_or_default())
            .collect();
        assert!(
            messages.iter().all(|message| message.len() > 20),
            "{path}: {messages:?}"
        );
        let all = messages.len();
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.len(), all, "{path}");
    });
}

/// The message of every rule of the schema, with the path of the schema it stands at.
pub(crate) fn messages() -> Vec<(String, String)> {
    let mut messages = Vec::new();
    walk("", &schema(), &mut |path, schema| {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = rule["message"].as_str().unwrap_or_default();
            messages.push((path.to_owned(), message.to_owned()));
        }
    });
    messages
}

/// The path of every optional field of the spec that stands in no list.
pub(crate) fn optional_fields() -> Vec<String> {
    let mut optional = Vec::new();
    walk("", &schema(), &mut |path, schema| {
        if !path.starts_with(".spec") || path.contains("[]") {
            return;
        }
        let required = schema["required"].as_array();
        for name in schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys())
        {
            if !required.is_some_and(|required| required.iter().any(|field| field == name)) {
                optional.push(format!("{}/{name}", path.replace('.', "/")));
            }
        }
    });
    optional
}

use serde_json::json;

use super::*;

#[test]
fn a_version_that_names_another_uri_is_a_conflict_and_nothing_to_mend() {
    let want = Want {
        properties: WantProperties {
            data_type: "uri_folder",
            data_uri: "azureml://d/a".into(),
            tags: Tags::new(),
        },
    };
    for (uri, expected) in [
        (json!("azureml://d/a"), Drift::None),
        (json!(null), Drift::None),
        (
            json!("azureml://d/b"),
            Drift::Replace {
                fields: vec!["uri".into()],
            },
        ),
    ] {
        let have: Have = serde_json::from_value(
            json!({"properties": {"dataUri": uri, "dataType": "UriFolder"}}),
        )
        .unwrap();
        assert_eq!(DataAsset::drift(&want, &have), expected);
    }
}

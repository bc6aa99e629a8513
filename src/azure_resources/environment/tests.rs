use serde_json::json;

use super::*;

#[test]
fn a_version_of_another_image_is_a_conflict_and_a_rewritten_conda_file_is_not() {
    let want = Want {
        properties: WantProperties {
            image: "ghcr.io/dask/dask:2026.8.0".into(),
            conda_file: Some("dependencies: []".into()),
            os_type: "Linux",
            tags: Tags::new(),
        },
    };
    for (image, expected) in [
        (json!("ghcr.io/dask/dask:2026.8.0"), Drift::None),
        (
            json!("alpine"),
            Drift::Replace {
                fields: vec!["image".into()],
            },
        ),
    ] {
        let have: Have = serde_json::from_value(
            json!({"properties": {"image": image, "condaFile": "dependencies:\n- pip"}}),
        )
        .unwrap();
        assert_eq!(Environment::drift(&want, &have), expected);
    }
}

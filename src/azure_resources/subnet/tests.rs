use serde_json::json;

use super::*;

#[test]
fn a_subnet_is_as_wanted_whether_azure_names_one_prefix_or_a_list() {
    let want = Want {
        properties: WantProperties {
            address_prefix: "10.20.0.0/22".into(),
        },
    };
    for (properties, expected) in [
        (json!({"addressPrefix": "10.20.0.0/22"}), Drift::None),
        (
            json!({"addressPrefixes": ["10.20.0.0/22"], "provisioningState": null}),
            Drift::None,
        ),
        (
            json!({"addressPrefix": "10.20.4.0/22"}),
            Drift::Replace {
                fields: vec!["properties.addressPrefix".into()],
            },
        ),
    ] {
        let have: Have = serde_json::from_value(json!({ "properties": properties })).unwrap();
        assert_eq!(Subnet::drift(&want, &have), expected);
    }
}

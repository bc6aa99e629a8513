//! Lists of assets and datastores: their order.

use azure_simulator::World;
use serde_json::{Value, json};

use crate::client::Azure;

async fn names(azure: &Azure, path: &str) -> Vec<String> {
    let list = azure.get(&azure.ml(path)).await.expect(200).body;
    let entries = list["value"].as_array().unwrap().clone();
    let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn versions_come_in_the_order_that_is_asked_for_and_newest_first_without_one() {
    let azure = Azure::start(World::default().with_manual_time()).await;
    let image = json!({"properties": {"image": "ghcr.io/dask/dask:latest"}});
    for version in ["1", "2", "3", "1"] {
        let path = azure.ml(&format!("environments/plain/versions/{version}"));
        let reply = azure.put(&path, image.clone()).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        azure.advance(1).await;
    }
    for (order, expected) in [
        ("createdtime", ["3", "2", "1"]),
        ("createdtime asc", ["1", "2", "3"]),
        ("modifiedtime", ["1", "3", "2"]),
        ("modifiedtime asc", ["2", "3", "1"]),
        ("string", ["3", "2", "1"]),
    ] {
        let path = format!("environments/plain/versions?$orderBy={order}");
        assert_eq!(names(&azure, &path).await, expected, "{order}");
    }
}

#[tokio::test]
async fn datastores_come_by_name_and_no_more_than_are_asked_for() {
    let azure = Azure::start(World::default()).await;
    let last = ["workspaceworkingdirectory", "workspacefilestore"];
    let found = names(&azure, "datastores?orderBy=name&count=2").await;
    assert_eq!(found, last);
    let found = names(&azure, "datastores?orderBy=name&orderByAsc=true").await;
    let expected = [
        "workspaceartifactstore",
        "workspaceblobstore",
        last[1],
        last[0],
    ];
    assert_eq!(found, expected);
}

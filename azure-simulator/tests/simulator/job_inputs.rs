//! What a job finds on its node: environment, image, inputs.

use std::io::Write as _;
use std::path::Path;

use azure_simulator::{EnvironmentMapping, World};
use serde_json::json;

use crate::client::Azure;

const WRITABLE: &str = "azureml://datastores/scratch/paths";
const STORE: &str = "wasbs://isd@store.blob.core.windows.net/isd";

fn world(data: &Path) -> World {
    World::default().without_delays().with_data(STORE, data)
}

fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("year=2013")).unwrap();
    std::fs::write(folder.path().join("year=2013/part.txt"), "rows").unwrap();
    folder
}

#[tokio::test]
async fn a_data_asset_is_mounted_at_a_path_of_the_jobs_own() {
    let data = data();
    let azure = Azure::start(world(data.path())).await.with_pool(1).await;
    let asset = json!({"properties": {"dataType": "uri_folder", "dataUri": format!("{STORE}/")}});
    azure
        .put(&azure.ml("data/noaa/versions/1"), asset)
        .await
        .expect(201);
    let id = format!("{}/data/noaa/versions/1", azure.workspace);
    let mut body = azure.job_body("echo ${{inputs.isd}}; cat ${{inputs.isd}}/*/*");
    body["properties"]["inputs"] = json!({
        "isd": {"jobInputType": "uri_folder", "uri": id, "mode": "ReadOnlyMount"},
    });
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let log = azure.log("j1");
    assert!(log.ends_with("\nrows"), "{log}");
    let place = log.lines().next().unwrap();
    assert!(
        place.contains("/jobs/j1/") && place.ends_with("/INPUT_isd"),
        "{place}"
    );
}

#[tokio::test]
async fn a_world_says_whether_variables_tell_where_inputs_and_outputs_are() {
    let data = data();
    for told in [true, false] {
        let mut world = world(data.path());
        world.unproven.input_and_output_variables = told;
        let azure = Azure::start(world).await.with_pool(1).await;
        let mut body = azure.job_body(
            "echo ${{inputs.isd}} ${{outputs.total}}; echo $AZURE_ML_INPUT_isd $AZURE_ML_OUTPUT_total",
        );
        body["properties"]["inputs"] = json!({"isd": {"jobInputType": "uri_folder", "uri": STORE}});
        body["properties"]["outputs"] = json!({"total": {"jobOutputType": "uri_folder"}});
        azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
        azure.job_is("j1", "Completed").await;
        let log = azure.log("j1");
        let (places, variables) = log.split_once('\n').unwrap();
        assert_eq!(variables.trim(), if told { places } else { "" });
    }
}

#[tokio::test]
async fn an_input_of_a_data_lake_is_the_folder_that_the_world_maps() {
    let data = data();
    let uri = "abfss://isd@lake.dfs.core.windows.net/noaa";
    let world = World::default()
        .without_delays()
        .with_data(uri, data.path());
    let azure = Azure::start(world).await.with_pool(1).await;
    let mut body = azure.job_body("cat ${{inputs.isd}}/part.txt");
    let part = format!("{uri}/year=2013");
    body["properties"]["inputs"] = json!({"isd": {"jobInputType": "uri_folder", "uri": part}});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    assert_eq!(azure.log("j1"), "rows");
}

/// Whether a process of this machine may have mounts of its own; says so loudly where not.
fn mounts_are_allowed() -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["-rm", "true"])
        .status();
    let allowed = tried.is_ok_and(|status| status.success());
    if !allowed {
        // Past the test harness, which keeps what a test that passes prints to itself.
        let told = b"SKIPPED: this machine allows no mount namespaces (unshare -rm)\n";
        std::io::stderr().write_all(told).unwrap();
    }
    allowed
}

#[tokio::test]
async fn a_mounted_input_cannot_be_written_and_an_output_below_it_can() {
    if !mounts_are_allowed() {
        return;
    }
    let data = data();
    let world = world(data.path()).with_data("azureml://datastores/d/paths", data.path());
    let azure = Azure::start(world).await.with_pool(1).await;
    let part = "year=2013/part.txt";
    let mut body = azure.job_body(&format!(
        "cat ${{{{inputs.folder}}}}/{part}; echo; \
         (echo more > ${{{{inputs.folder}}}}/{part}) || echo folder kept; \
         (echo more > ${{{{inputs.file}}}}) || echo file kept; \
         (rm $(readlink -f ${{{{inputs.folder}}}})/{part}) || echo behind it kept; \
         echo done > ${{{{outputs.result}}}}/done"
    ));
    body["properties"]["inputs"] = json!({
        "folder": {"jobInputType": "uri_folder", "uri": STORE, "mode": "ReadOnlyMount"},
        "file": {"jobInputType": "uri_file", "uri": format!("{STORE}/{part}")},
    });
    body["properties"]["outputs"] = json!({
        "result": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/d/paths/result"},
    });
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let log = azure.log("j1");
    for kept in ["rows\n", "folder kept", "file kept", "behind it kept"] {
        assert!(log.contains(kept), "{kept}: {log}");
    }
    let read = |path: &str| std::fs::read_to_string(data.path().join(path)).unwrap();
    assert_eq!(read(part), "rows");
    assert_eq!(read("result/done"), "done\n");
}

#[tokio::test]
async fn inputs_come_in_each_of_their_modes() {
    let (data, writable) = (data(), tempfile::tempdir().unwrap());
    let world = world(data.path()).with_data(WRITABLE, writable.path());
    let azure = Azure::start(world).await.with_pool(1).await;
    let mut body = azure.job_body(
        "echo ${{inputs.file}} ${{inputs.direct}} ${{inputs.rate}}; cat ${{inputs.file}}; \
         echo more > ${{inputs.copy}}/year=2013/part.txt; echo new > ${{inputs.both}}/new.txt",
    );
    let uri = format!("{STORE}/year=2013/part.txt");
    body["properties"]["inputs"] = json!({
        "file": {"jobInputType": "uri_file", "uri": uri, "mode": "ReadOnlyMount"},
        "direct": {"jobInputType": "uri_folder", "uri": "https://elsewhere/x", "mode": "Direct"},
        "copy": {"jobInputType": "uri_folder", "uri": STORE, "mode": "Download"},
        "both": {"jobInputType": "uri_folder", "uri": WRITABLE, "mode": "ReadWriteMount"},
        "rate": {"jobInputType": "literal", "value": "0.1"},
    });
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let log = azure.log("j1");
    assert!(
        log.ends_with("/part.txt https://elsewhere/x 0.1\nrows"),
        "{log}"
    );
    let kept = std::fs::read_to_string(data.path().join("year=2013/part.txt")).unwrap();
    assert_eq!(kept, "rows", "a downloaded input is a copy");
    let new = std::fs::read_to_string(writable.path().join("new.txt")).unwrap();
    assert_eq!(new, "new\n", "a writable mount is written through");
}

#[tokio::test]
async fn an_input_that_cannot_be_mounted_fails_the_job() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("ls ${{inputs.x}}");
    let uri = "azureml://datastores/none/paths/p/";
    body["properties"]["inputs"] = json!({"x": {"jobInputType": "uri_folder", "uri": uri}});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Failed").await;
    let error = azure.run("j1").await["error"]["error"]["message"].clone();
    let message = error.as_str().unwrap();
    assert!(
        message.contains("DataAccessError(NotFound)") && message.contains(uri),
        "{message}"
    );
    assert!(azure.nodes().is_empty(), "the node was given back");
}

#[tokio::test]
async fn a_job_has_the_environment_that_azure_ml_gives() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("env");
    body["properties"]["environmentVariables"] = json!({"OWN": "mine", "LANG": "C"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let log = azure.log("j1");
    let value = |name: &str| {
        let line = log
            .lines()
            .find(|line| line.starts_with(&format!("{name}=")));
        line.map(|line| line[name.len() + 1..].to_owned())
            .unwrap_or_default()
    };
    assert_eq!(
        (value("OWN"), value("LANG")),
        ("mine".to_owned(), "C".to_owned())
    );
    assert_eq!(value("AZUREML_RUN_ID"), "j1");
    assert_eq!(value("MLFLOW_RUN_ID"), "j1");
    assert_eq!(value("AZUREML_ARM_PROJECT_NAME"), "dask");
    let authority = azure.simulator.arm_url().replace("https://", "");
    let tracking = format!("azureml://{authority}/mlflow/v1.0{}?", azure.workspace);
    assert_eq!(value("MLFLOW_TRACKING_URI"), tracking);
    assert_eq!(value("MLFLOW_TRACKING_TOKEN").split('.').count(), 3);
    assert!(value("AZURE_SIMULATOR_NODE_ADDRESS").starts_with("127."));
    assert!(Path::new(&value("SSL_CERT_FILE")).is_file());
}

#[tokio::test]
async fn an_environment_decides_what_is_on_the_path() {
    use std::os::unix::fs::PermissionsExt as _;

    let tools = tempfile::tempdir().unwrap();
    let tool = tools.path().join("dask-worker-of-the-image");
    std::fs::write(&tool, "#!/bin/sh\necho from the image\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut world = World::default().without_delays();
    world.environments = vec![
        EnvironmentMapping {
            name: Some("plain".to_owned()),
            path: Some(tools.path().to_owned()),
            ..EnvironmentMapping::default()
        },
        EnvironmentMapping {
            image: Some("busybox".to_owned()),
            python: Some(false),
            ..EnvironmentMapping::default()
        },
    ];
    let azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("j1", "dask-worker-of-the-image").await;
    azure.job_is("j1", "Completed").await;
    assert_eq!(azure.log("j1"), "from the image\n");
    let bare = json!({"properties": {"image": "busybox"}});
    azure
        .put(&azure.ml("environments/bare/versions/1"), bare)
        .await
        .expect(201);
    let mut body = azure.job_body("exec python -c 'print(1)'");
    let environment = format!("{}/environments/bare/versions/1", azure.workspace);
    body["properties"]["environmentId"] = json!(environment);
    azure.put(&azure.ml("jobs/j2"), body).await.expect(201);
    azure.job_is("j2", "Failed").await;
    let error = azure.run("j2").await["error"]["error"]["message"].clone();
    assert!(
        error.as_str().unwrap().contains("python: not found"),
        "{error}"
    );
}

#[tokio::test]
async fn assets_keep_what_they_stand_for() {
    let mut world = World::default().without_delays();
    world.unproven.immutable_asset_status = 422;
    let azure = Azure::start(world).await;
    let path = azure.ml("data/noaa/versions/1");
    let body = |uri: &str, tag: &str| {
        let tags = json!({"made-by": tag});
        json!({"properties": {"dataType": "uri_folder", "dataUri": uri, "tags": tags}})
    };
    azure.put(&path, body("https://x/a", "1")).await.expect(201);
    let changed = azure
        .put(&path, body("https://x/a", "2"))
        .await
        .expect(200)
        .body;
    assert_eq!(changed["properties"]["tags"], json!({"made-by": "2"}));
    let other = azure.put(&path, body("https://x/b", "1")).await.expect(422);
    assert_eq!(other.code(), "UserError");
    // Nor what the OpenAPI lets nobody update, which was passed over.
    for (field, value) in [
        ("properties", json!({"a": "b"})),
        ("isAnonymous", json!(true)),
    ] {
        let mut kept = body("https://x/a", "1");
        kept["properties"][field] = value;
        azure.put(&path, kept).await.expect(422);
    }
    azure
        .put(&azure.ml("data/noaa/versions/2"), body("https://x/b", "1"))
        .await
        .expect(201);
    let container = azure.get(&azure.ml("data/noaa")).await.expect(200).body;
    let properties = &container["properties"];
    assert_eq!(
        (&properties["latestVersion"], &properties["nextVersion"]),
        (&json!("2"), &json!("3"))
    );
    let all = azure.get(&azure.ml("data")).await.expect(200).body;
    assert_eq!(all["value"].as_array().unwrap().len(), 1);
    let versions = azure
        .get(&azure.ml("data/noaa/versions"))
        .await
        .expect(200)
        .body;
    assert_eq!(versions["value"].as_array().unwrap().len(), 2);
    azure
        .get(&azure.ml("data/none/versions/1"))
        .await
        .expect(404);
    azure.delete(&path).await.expect(200);
    azure.delete(&path).await.expect(204);
    let environment = json!({"properties": {"image": "a", "build": {"contextUri": "https://x"}}});
    let both = azure
        .put(&azure.ml("environments/e/versions/1"), environment)
        .await
        .expect(400);
    assert!(
        both.message().contains("mutually exclusive"),
        "{}",
        both.message()
    );
}

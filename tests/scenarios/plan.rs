use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::Line;

/// The program itself, with the variables of the simulator and this kubeconfig.
async fn plan(line: &Line, kubeconfig: &Path, manifest: &Value, arguments: &[&str]) -> Output {
    plan_at(line, kubeconfig, &line.azure.arm_url(), manifest, arguments).await
}

async fn plan_at(
    line: &Line,
    kubeconfig: &Path,
    arm: &str,
    manifest: &Value,
    arguments: &[&str],
) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dask-azureml-operator"))
        .args(["plan", "--filename", "-"])
        .args(arguments)
        .envs(line.azure.env())
        .env("AZURE_RESOURCE_MANAGER_ENDPOINT", arm)
        .env("AZURE_AUTHORITY_HOST", arm)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = program.stdin.take().expect("its standard input");
    stdin
        .write_all(manifest.to_string().as_bytes())
        .await
        .expect("it reads the manifest");
    drop(stdin);
    program.wait_with_output().await.expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_kubernetes_cluster_the_plan_of_a_manifest_is_printed_and_nothing_changed() {
    let line = Line::without_operator(azure_simulator::World::default().without_delays()).await;
    let nowhere = line.azure.directory().join("no-kubeconfig");
    let manifest = line.manifest("sketch", 2);

    let printed = plan(&line, &nowhere, &manifest, &[]).await;
    let (told, notes) = (text(&printed.stdout), text(&printed.stderr));
    assert_eq!(printed.status.code(), Some(0), "{notes}");
    for line in [
        "DaskCluster default/sketch in workspace ws-dask",
        "+ ComputeCluster ds13-cluster: it is not there",
        "+ Job sketch-00000000-w01-1: it is not there",
        "at most                 10 nodes",
        "Azure: 7 to create, 0 to change, 0 to delete.",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(notes.contains("not in Kubernetes yet"), "{notes}");

    let printed = plan(&line, &nowhere, &manifest, &["--output", "json"]).await;
    let told: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(told["cost"]["now"]["nodes"], 3);
    assert_eq!(told["preflight"]["passed"], true, "{told:#}");

    assert_eq!(line.azure_writes(), Vec::<String>::new());
    let world = line.azure.world();
    assert_eq!(world["computes"], json!([]));
    assert_eq!(world["networks"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_invalid_and_an_azure_that_is_away_end_in_their_own_codes() {
    let line = Line::without_operator(azure_simulator::World::default().without_delays()).await;
    let nowhere = line.azure.directory().join("no-kubeconfig");
    let mut manifest = line.manifest("wrong", 2);
    manifest["spec"]["environment"] = json!({"condaFile": "dependencies: {"});
    let refused = plan(&line, &nowhere, &manifest, &[]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("condaFile"),
        "{}",
        text(&refused.stderr)
    );

    let manifest = line.manifest("unheard", 2);
    let away = plan_at(&line, &nowhere, "https://127.0.0.1:1", &manifest, &[]).await;
    assert_eq!(away.status.code(), Some(1));
    assert!(
        text(&away.stderr).contains("Azure could not be asked"),
        "{}",
        text(&away.stderr)
    );
    assert_eq!(text(&away.stdout), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_living_object_the_plan_takes_its_uid_and_finds_what_is_there() {
    let line = Line::start().await;
    let kubeconfig = line.control_plane;
    let kubeconfig = kubeconfig.kubeconfig_path();
    let mut manifest = line.manifest("alive", 1);
    // What the operator of this test runs by default is no default of the program's.
    manifest["spec"]["environment"] = json!({"image": "ghcr.io/dask/dask:2025.1"});
    line.apply(&manifest).await;
    line.wait_until_ready("alive").await;
    line.forget_requests();
    let namespace = [
        "--namespace",
        line.namespace.as_str(),
        "--instance",
        "tests/scenarios",
    ];

    let same = plan(&line, kubeconfig, &manifest, &namespace).await;
    let told = text(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    assert!(told.contains("Nothing would be done."), "{told}");

    let mut larger = manifest.clone();
    larger["spec"]["worker"]["replicas"] = json!(2);
    let told = text(&plan(&line, kubeconfig, &larger, &namespace).await.stdout);
    assert!(
        told.contains("Azure: 1 to create, 0 to change, 0 to delete."),
        "{told}"
    );

    // A rule that the API server holds.
    larger["spec"]["compute"]["vmSize"] = json!("STANDARD_D2_V2");
    let refused = plan(&line, kubeconfig, &larger, &namespace).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("vmSize"),
        "{}",
        text(&refused.stderr)
    );

    assert_eq!(line.azure_writes(), Vec::<String>::new());
    let living = line.clusters().get("alive").await.expect("it is there");
    assert_eq!(living.spec.worker.replicas, 1);
}

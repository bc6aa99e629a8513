//! Paths that climb, links that lead away: nothing outside the directory is read or written.

use std::collections::BTreeSet;
use std::path::Path;

use azure_simulator::{Place, Simulator, World};
use reqwest::Method;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::Azure;
use crate::storage::within;
use crate::sturdy::answered;

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
            found.insert(entry.path().to_string_lossy().into_owned());
        }
    }
    found
}

/// A simulator whose directory is some way below a file that says "hush".
async fn below_a_secret() -> (TempDir, Azure) {
    let outside = tempfile::tempdir().unwrap();
    let place = Place {
        directory: Some(outside.path().join("a/b/azure")),
        ..Place::default()
    };
    std::fs::write(outside.path().join("secret"), "hush").unwrap();
    let simulator = Simulator::start_at(World::default().without_delays(), place);
    let azure = Azure::of(simulator.await.unwrap()).await.with_pool(1).await;
    (outside, azure)
}

/// One request as it is: clients take `..` out of a path before they send it.
fn raw(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn no_path_leads_out_of_its_directory() {
    let (outside, azure) = below_a_secret().await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    let before = files(outside.path());
    let long = "x".repeat(5000);
    let climbs = [
        "../x",
        "../../../../../../secret",
        "..%2F..%2Fx",
        "%2e%2e/%2e%2e/x",
        "a/../../../x",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "a%00b",
        ".",
        "..",
        &long,
    ];
    let artifacts = format!("/artifact/v2.0{}/artifacts/ExperimentRun", azure.workspace);
    for climb in climbs {
        for path in [
            format!("{artifacts}/dcid.j1/content?path={climb}"),
            format!("{artifacts}/dcid.{climb}/content?path=x"),
            format!("/blob/{climb}"),
            azure.ml(&format!("jobs/{climb}")),
            azure.ml(&format!("data/{climb}/versions/1")),
            format!("/{climb}"),
        ] {
            for method in [Method::GET, Method::POST, Method::PUT] {
                let reply = azure.send_raw(method.clone(), &path, "hush").await;
                let status = reply.status;
                assert!(
                    status.is_client_error() && !reply.text.contains("hush"),
                    "{method} {}: {status} {}",
                    &path[..path.len().min(300)],
                    reply.text
                );
            }
        }
        let url = format!("{}/jobs/{climb}/log", azure.simulator.control_url());
        let answer = azure.http.get(url).send().await.unwrap();
        assert!(answer.status().is_client_error(), "log of {climb}");
    }
    assert_eq!(files(outside.path()), before);
    azure.still_serves().await;
}

#[tokio::test]
async fn no_path_as_it_is_sent_leads_out_of_its_directory() {
    let (outside, azure) = below_a_secret().await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    let (signed, _) = azure.upload("code").await;
    let before = files(outside.path());
    let up = "../".repeat(12);
    let encoded = "%2e%2e/".repeat(12);
    let climbs = [
        format!("{up}secret"),
        format!("{up}tmp/secret"),
        format!("{encoded}secret"),
        "..%2F".repeat(12) + "secret",
        format!("x/{up}secret"),
        "//etc/passwd".to_owned(),
        "%00".to_owned(),
        "a%00/../../secret".to_owned(),
        "x/".repeat(5000),
        "x".repeat(300),
        "..".to_owned(),
    ];
    let authorization = format!("Authorization: Bearer {}\r\n", azure.token);
    let blob_headers = "x-ms-blob-type: BlockBlob\r\n";
    let (base, query) = signed.split_once('?').unwrap();
    let base = base.strip_prefix(&azure.simulator.arm_url()).unwrap();
    let artifacts = format!("/artifact/v2.0{}/artifacts/ExperimentRun", azure.workspace);
    for climb in &climbs {
        for (path, headers) in [
            (format!("{base}/{climb}?{query}"), blob_headers),
            (
                format!("{artifacts}/dcid.j1/content?path={climb}"),
                &authorization,
            ),
            (
                format!("{artifacts}/{climb}/content?path=x"),
                &authorization,
            ),
            (azure.ml(&format!("jobs/{climb}")), &authorization),
            (
                azure.ml(&format!("codes/{climb}/versions/1")),
                &authorization,
            ),
            (format!("/{climb}"), &authorization),
        ] {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                let mut tls = azure.tls().await;
                let request = raw(method, &path, headers, "hush");
                tls.write_all(request.as_bytes()).await.unwrap();
                let answer = answered(&mut tls).await;
                let what = format!("{method} {}", &path[..path.len().min(300)]);
                assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
                assert!(!answer.contains("hush"), "{what}: {answer}");
            }
        }
        let control = azure.simulator.control_url();
        let authority = control.trim_start_matches("http://");
        for path in [
            format!("/jobs/{climb}/log"),
            format!("/runs/j1/files/{climb}"),
            format!("/runs/{climb}/files/x"),
            format!("/{climb}"),
        ] {
            let mut tcp = TcpStream::connect(authority).await.unwrap();
            tcp.write_all(raw("GET", &path, "", "").as_bytes())
                .await
                .unwrap();
            let answer = answered(&mut tcp).await;
            let what = &path[..path.len().min(300)];
            assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
            assert!(!answer.contains("hush"), "{what}: {answer}");
        }
    }
    assert_eq!(files(outside.path()), before);
    azure.still_serves().await;
}

/// A job that has left links to a folder, to a file and to nothing, all of them outside, beside a file of
/// its own.
async fn with_links(outside: &TempDir, azure: &Azure) {
    let links = format!(
        "mkdir -p outputs/folder && cd outputs && ln -s {0} away && ln -s {0}/secret known && \
         ln -s {0}/new new && echo own > own",
        outside.path().display()
    );
    azure.submit("j1", &links).await;
    azure.job_is("j1", "Completed").await;
}

/// Paths below a run's outputs that lead through a link of such a job.
const THROUGH_LINKS: [&str; 5] = ["away/secret", "away/new", "known", "new", "away/deep/new"];

#[tokio::test]
async fn no_blob_is_read_or_written_through_a_link_that_a_job_has_left() {
    let (outside, azure) = below_a_secret().await;
    with_links(&outside, &azure).await;
    let before = files(outside.path());
    let artifacts = format!("/artifact/v2.0{}/artifacts/ExperimentRun", azure.workspace);
    let info = format!("{artifacts}/dcid.j1/contentinfo?path=outputs/own");
    let info = azure.get(&info).await.expect(200);
    let own = info.body["contentUri"].as_str().unwrap();
    assert_eq!(azure.blob(Method::GET, own, "").await.text, "own\n");
    let (account, _) = own.split_once("/ExperimentRun").unwrap();
    let scope = [("scope", "https://storage.azure.com/.default")];
    let signed_in = azure.sign_in(&scope).await.expect(200).body;
    let token = signed_in["access_token"].as_str().unwrap();
    for name in THROUGH_LINKS {
        let url = format!("{account}/ExperimentRun/dcid.j1/outputs/{name}");
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            // A token lets at every blob, where a signature is of one.
            let request = azure.http.request(method.clone(), &url);
            let request = request.header("x-ms-blob-type", "BlockBlob");
            let request = request.header("x-ms-version", "2021-08-06");
            let answer = request.bearer_auth(token).body("hush").send().await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 400, "{method} {name}");
        }
    }
    assert_eq!(files(outside.path()), before);
    let secret = std::fs::read_to_string(outside.path().join("secret"));
    assert_eq!(secret.unwrap(), "hush");
}

#[tokio::test]
async fn no_artifact_is_read_or_written_through_a_link_that_a_job_has_left() {
    let (outside, azure) = below_a_secret().await;
    with_links(&outside, &azure).await;
    let before = files(outside.path());
    let run = format!(
        "/artifact/v2.0{}/artifacts/ExperimentRun/dcid.j1",
        azure.workspace
    );
    let own = azure.get(&format!("{run}/content?path=outputs/own")).await;
    assert_eq!(own.expect(200).text, "own\n");
    for name in THROUGH_LINKS {
        for (method, operation) in [
            (Method::GET, "content"),
            (Method::GET, "contentinfo"),
            (Method::POST, "content"),
        ] {
            let path = format!("{run}/{operation}?path=outputs/{name}");
            let reply = azure.send_raw(method.clone(), &path, "pwned").await;
            let answer = (reply.status.as_u16(), reply.text.contains("hush"));
            assert_eq!(answer, (400, false), "{method} {operation} {name}");
        }
    }
    assert_eq!(files(outside.path()), before);
    let secret = std::fs::read_to_string(outside.path().join("secret"));
    assert_eq!(secret.unwrap(), "hush");
}

#[tokio::test]
async fn no_list_of_artifacts_goes_through_a_link_in_the_place_of_outputs() {
    let (outside, azure) = below_a_secret().await;
    let link = format!("ln -s {} outputs", outside.path().display());
    azure.submit("j1", &link).await;
    azure.job_is("j1", "Completed").await;
    let list = format!(
        "/artifact/v2.0{}/artifacts/ExperimentRun/dcid.j1",
        azure.workspace
    );
    let reply = azure
        .get(&format!("{list}/content?path=outputs/secret"))
        .await;
    reply.expect(400);
    let list = format!(
        "/mlflow/v2.0{}/api/2.0/mlflow/artifacts/list",
        azure.workspace
    );
    for below in ["", "&path=outputs"] {
        let reply = azure
            .get(&format!("{list}?run_id=j1{below}"))
            .await
            .expect(200);
        assert!(!reply.text.contains("secret"), "{}", reply.text);
    }
}

#[tokio::test]
async fn an_artifact_that_would_be_file_and_folder_at_once_is_refused() {
    let (outside, azure) = below_a_secret().await;
    with_links(&outside, &azure).await;
    let run = format!(
        "/artifact/v2.0{}/artifacts/ExperimentRun/dcid.j1/content?path=",
        azure.workspace
    );
    let post = async |path: &str| {
        let path = format!("{run}{path}");
        azure.send_raw(Method::POST, &path, "x").await.status
    };
    assert_eq!(post("plots/a.png").await, 200);
    for path in [
        "plots",
        "plots/a.png/b",
        "plots/a.png/b/c",
        "outputs",
        "outputs/folder",
        "outputs/own/below",
        "user_logs",
    ] {
        assert_eq!(post(path).await, 400, "{path}");
    }
    for path in [
        "plots",
        "plots/a.png/b",
        "outputs/folder",
        "outputs/own/below",
    ] {
        azure.get(&format!("{run}{path}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_blob_that_would_be_file_and_folder_at_once_is_refused() {
    let azure = Azure::without_delays().await;
    let (signed, _) = azure.upload("code").await;
    let put = async |name: &str| {
        azure
            .blob(Method::PUT, &within(&signed, name), "x")
            .await
            .status
    };
    assert_eq!(put("a/b").await, 201);
    for name in ["a", "a/", "a/b/c", "a/b/c/d"] {
        assert_eq!(put(name).await, 400, "{name}");
    }
}

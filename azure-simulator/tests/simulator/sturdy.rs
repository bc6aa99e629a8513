//! Bad input: a clean answer in the 400s, and it keeps serving.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_simulator::{Place, Simulator, World};
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Azure, Reply};
use crate::fixtures::pool_body;

impl Azure {
    fn authority(&self) -> String {
        let url = self.simulator.arm_url();
        url.trim_start_matches("https://").to_owned()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.authority()).await.unwrap()
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.simulator.ca_pem().as_bytes());
        roots.add(ca.unwrap()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, self.tcp().await).await.unwrap()
    }

    /// Sends to a path as it is, with a body that need not be JSON.
    async fn send_raw(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        let url = format!("{}{path}", self.simulator.arm_url());
        let request = self.http.request(method, url).bearer_auth(&self.token);
        Reply::of(request.body(body).send().await.unwrap()).await
    }

    async fn still_serves(&self) {
        self.get(&self.ml("computes")).await.expect(200);
    }
}

/// What is answered until the connection ends; nothing more than a second of silence.
async fn answered(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A connection that is cut without a word is an answer too.
    let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes without a meaning, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn random_bytes_end_their_connection_and_no_other() {
    let azure = Azure::without_delays().await;
    for seed in 0..20 {
        let mut plain = azure.tcp().await;
        // Whoever is cut off while writing has its answer.
        let _ = plain.write_all(&noise(seed, 2000)).await;
        let _ = plain.shutdown().await;
        answered(&mut plain).await;
        let mut tls = azure.tls().await;
        let mut bytes = noise(seed, 2000);
        bytes.extend_from_slice(b"\r\n\r\n");
        let _ = tls.write_all(&bytes).await;
        let answer = answered(&mut tls).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    azure.still_serves().await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_has_its_answer() {
    let azure = Azure::without_delays().await;
    let mut tls = azure.tls().await;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        azure.ml("computes"),
        azure.token
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    tls.shutdown().await.unwrap();
    let answer = answered(&mut tls).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // In the middle of a head, in the middle of a body.
    for part in [
        "GET / HT".to_owned(),
        format!(
            "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{",
            azure.ml("jobs/j1")
        ),
    ] {
        let mut tls = azure.tls().await;
        tls.write_all(part.as_bytes()).await.unwrap();
        tls.shutdown().await.unwrap();
        let answer = answered(&mut tls).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(azure.simulator.world()["jobs"], json!([]));
    azure.still_serves().await;
}

#[tokio::test]
async fn five_hundred_idle_connections_are_no_burden() {
    let azure = Azure::without_delays().await;
    let mut idle = Vec::new();
    for number in 0..500 {
        if number % 50 == 0 {
            idle.push((None, Some(azure.tls().await)));
        } else {
            idle.push((Some(azure.tcp().await), None));
        }
    }
    azure.still_serves().await;
    azure
        .put(&azure.ml("computes/pool"), pool_body(1))
        .await
        .expect(201);
}

#[tokio::test]
async fn what_is_no_json_is_refused_wherever_it_is_sent() {
    let azure = Azure::without_delays().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [&[u8]; 6] = [
        b"{",
        b"\xff\xfe{}",
        b"nonsense",
        b"{\"properties\": {\"command\": \"a\x01b\"}}",
        deep.as_bytes(),
        b"[]",
    ];
    let run = format!("/history/v1.0{}/experiments/e/runs/r", azure.workspace);
    let mlflow = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs", azure.workspace);
    let targets = [
        (Method::PUT, azure.ml("jobs/j1")),
        (Method::PUT, azure.ml("computes/pool")),
        (Method::PATCH, azure.ml("computes/pool")),
        (Method::PUT, azure.network("virtualNetworks/v1")),
        (Method::PUT, azure.ml("data/d/versions/1")),
        (Method::PUT, azure.ml("environments/e/versions/1")),
        (Method::PATCH, run),
        (Method::POST, format!("{mlflow}/set-tag")),
        (Method::POST, format!("{mlflow}/search")),
        (Method::POST, "/tenant/oauth2/v2.0/token".to_owned()),
    ];
    for (method, path) in &targets {
        for body in bodies {
            let reply = azure.send_raw(method.clone(), path, body.to_vec()).await;
            assert!(
                reply.status.is_client_error(),
                "{method} {path} {:?}: {} {}",
                String::from_utf8_lossy(&body[..body.len().min(40)]),
                reply.status,
                reply.text
            );
        }
    }
    for path in ["/faults", "/clock", "/quota", "/pretend/x"] {
        for body in [&b"{"[..], b"[]", b"\"x\"", b""] {
            let url = format!("{}{path}", azure.simulator.control_url());
            let answer = azure
                .http
                .post(url)
                .body(body.to_vec())
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_client_error(), "{path}");
        }
    }
    azure.still_serves().await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_too_large() {
    let azure = Azure::without_delays().await;
    let body = vec![b'x'; 10 << 20];
    for path in [
        azure.ml("jobs/j1"),
        format!(
            "/mlflow/v2.0{}/api/2.0/mlflow/runs/set-tag",
            azure.workspace
        ),
    ] {
        let reply = azure.send_raw(Method::PUT, &path, body.clone()).await;
        assert_eq!(reply.status, 413);
    }
    // Over HTTP/1.1, from who sends everything before it reads anything.
    let mut tls = azure.tls().await;
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        azure.ml("jobs/j1"),
        body.len()
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.write_all(&body).await.unwrap();
    let answer = answered(&mut tls).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let url = format!("{}/faults", azure.simulator.control_url());
    let answer = azure.http.post(url).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    azure.still_serves().await;
}

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

#[tokio::test]
async fn no_path_leads_out_of_its_directory() {
    let outside = tempfile::tempdir().unwrap();
    let place = Place {
        directory: Some(outside.path().join("a/b/azure")),
        ..Place::default()
    };
    let simulator = Simulator::start_at(World::default().without_delays(), place);
    let azure = Azure::of(simulator.await.unwrap()).await.with_pool(1).await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    std::fs::write(outside.path().join("secret"), "hush").unwrap();
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
async fn no_job_starts_without_a_token_that_was_issued() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let stranger = Azure::without_delays().await;
    azure
        .submit("own", "echo $MLFLOW_TRACKING_TOKEN; sleep 1000")
        .await;
    let log = azure.job_says("own", "ey").await;
    let of_a_run = log.trim().to_owned();
    let mut parts = azure.token.split('.');
    let (head, claims) = (parts.next().unwrap(), parts.next().unwrap());
    let forged = format!("{head}.{claims}.{}", "A".repeat(43));
    let url = format!("{}{}", azure.simulator.arm_url(), azure.ml("jobs/stolen"));
    let body = azure.job_body("touch stolen");
    for authorization in [
        None,
        Some("Bearer ".to_owned()),
        Some("Bearer x.y.z".to_owned()),
        Some(format!("Basic {}", azure.token)),
        Some(format!("Bearer {}", stranger.token)),
        Some(format!("Bearer {forged}")),
        Some(format!("Bearer {of_a_run}")),
    ] {
        let mut request = azure.http.put(&url).json(&body);
        if let Some(authorization) = &authorization {
            request = request.header("authorization", authorization);
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, 401, "{authorization:?}");
    }
    let world = azure.simulator.world();
    let jobs: Vec<&Value> = world["jobs"].as_array().unwrap().iter().collect();
    assert_eq!(jobs.len(), 1, "only the owner's");
}

#[tokio::test]
async fn a_variable_as_long_as_a_program_comes_back_as_it_was() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("printf %s \"$PROGRAM\" | wc -c; sleep 1000");
    body["properties"]["environmentVariables"] = json!({"PROGRAM": "x".repeat(20_000)});
    let path = azure.ml("jobs/j1");
    azure.put(&path, body.clone()).await.expect(201);
    azure.job_says("j1", "20000").await;
    let shown = azure.job("j1").await["properties"]["environmentVariables"].clone();
    assert_eq!(shown, body["properties"]["environmentVariables"]);
    azure.put(&path, body.clone()).await.expect(200);
    body["properties"]["environmentVariables"] = json!({"PROGRAM": "y".repeat(20_000)});
    azure.put(&path, body).await.expect(400);
}

//! Bad input: a clean answer in the 400s, and it keeps serving.

use std::sync::Arc;
use std::time::Duration;

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

    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
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
    pub(crate) async fn send_raw(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let url = format!("{}{path}", self.simulator.arm_url());
        let request = self.http.request(method, url).bearer_auth(&self.token);
        Reply::of(request.body(body).send().await.unwrap()).await
    }

    pub(crate) async fn still_serves(&self) {
        self.get(&self.ml("computes")).await.expect(200);
    }
}

/// What is answered until the connection ends; nothing more than a second of silence.
pub(crate) async fn answered(stream: &mut (impl AsyncRead + Unpin)) -> String {
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
    azure.still_serves().await;
}

#[tokio::test]
async fn what_ends_before_its_end_changes_nothing() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let whole = azure.job_body("true").to_string();
    let put = |headers: &str, body: &str| {
        format!(
            "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{headers}\r\n\r\n{body}",
            azure.ml("jobs/j1"),
            azure.token
        )
    };
    let length = whole.len();
    let longer = format!("Content-Length: {}", length + 1);
    let chunked = "Transfer-Encoding: chunked";
    for part in [
        "GET / HT".to_owned(),
        // What came is a whole job, but more was said to come.
        put(&longer, &whole),
        put(&longer, "{"),
        put(chunked, &format!("{length:x}\r\n{whole}\r\n")),
        put(chunked, &format!("nonsense\r\n{whole}\r\n0\r\n\r\n")),
    ] {
        let mut tls = azure.tls().await;
        tls.write_all(part.as_bytes()).await.unwrap();
        tls.shutdown().await.unwrap();
        let answer = answered(&mut tls).await;
        let clean = answer.is_empty() || answer.starts_with("HTTP/1.1 400");
        assert!(clean, "{part}\n{answer}");
    }
    assert_eq!(azure.simulator.world()["jobs"], json!([]));
    // The same with its end is a job.
    let mut tls = azure.tls().await;
    let said = format!("Content-Length: {length}\r\nConnection: close");
    tls.write_all(put(&said, &whole).as_bytes()).await.unwrap();
    let answer = answered(&mut tls).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_or_has_no_end_is_refused() {
    let azure = Azure::without_delays().await;
    let long = "x".repeat(1 << 20);
    let path = azure.ml("jobs/j1");
    for head in [
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3"),
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -2"),
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: none"),
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Long: {long}"),
        format!("GET /{long} HTTP/1.1\r\nHost: x"),
        "GET /a b HTTP/1.1\r\nHost: x".to_owned(),
        "GET / HTTP/7.0\r\nHost: x".to_owned(),
    ] {
        let mut tls = azure.tls().await;
        // Whoever is cut off while writing has its answer.
        let _ = tls
            .write_all(format!("{head}\r\n\r\n{{}}").as_bytes())
            .await;
        let answer = answered(&mut tls).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{}: {answer}",
            &head[..head.len().min(200)]
        );
    }
    azure.still_serves().await;
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_at_once_end_their_connection_and_no_other() {
    let azure = Azure::without_delays().await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    };
    let (headers, reset, settings, go_away) = (1, 3, 4, 7);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(settings, 0, 0, &[]));
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        // GET https / by the static table, with both ends; CANCEL.
        bytes.extend(frame(headers, 0x5, stream, &[0x82, 0x87, 0x84]));
        bytes.extend(frame(reset, 0, stream, &[0, 0, 0, 8]));
    }
    let tls = azure.tls().await;
    let (mut reading, mut writing) = tokio::io::split(tls);
    let mut received = Vec::new();
    let (_, ended) = tokio::join!(
        // Whoever is cut off while writing has its answer.
        writing.write_all(&bytes),
        tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut received)),
    );
    assert!(ended.is_ok(), "the connection goes on");
    let mut frames = received.as_slice();
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *frames {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        frames = frames.get(9 + length..).unwrap_or_default();
    }
    assert!(kinds.contains(&go_away), "{kinds:?}");
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

#[tokio::test]
async fn numbers_that_nothing_can_be_counted_with_are_refused() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let last = azure.ml(&format!("computes?$skip={}", u64::MAX));
    let page = azure.get(&last).await.expect(200).body;
    assert_eq!(page["value"], json!([]));
    let last = azure.ml(&format!("data/d/versions/{}", u64::MAX));
    let data = json!({"properties": {"dataType": "uri_file", "dataUri": "https://x/y"}});
    azure.put(&last, data).await.expect(201);
    azure.get(&azure.ml("data/d")).await.expect(200);
    let fault = |action: Value| json!({"method": "GET", "path": "/nowhere", "action": action});
    for (path, body) in [
        ("/clock", json!({"scale": 1e300})),
        ("/clock", json!({"scale": 1e-300})),
        ("/clock", json!({"advance_seconds": 1e30})),
        ("/clock", json!({"advance_seconds": -1})),
        ("/nodes/none/preempt", json!({"notice_seconds": 1e30})),
        ("/nodes/none/preempt", json!({"notice_seconds": -5})),
        ("/nodes/none/fail", json!({"returns_after_seconds": 1e12})),
        ("/faults", fault(json!({"delay": {"seconds": 1e30}}))),
        ("/faults", fault(json!({"stale_for": {"seconds": -5}}))),
        (
            "/faults",
            fault(json!({"throttle": {"retry_after_seconds": 3, "from": "date"}})),
        ),
        ("/faults", fault(json!({"answer": {"status": 9999}}))),
        ("/faults", fault(json!({"answer": {"status": 100}}))),
        (
            "/faults",
            fault(json!({"answer": {"status": 409, "headers": {"a b": "c"}}})),
        ),
        (
            "/faults",
            fault(json!({"answer": {"status": 409, "headers": {"Content-Length": "7"}}})),
        ),
    ] {
        let told = format!("{path} {body}");
        let reply = azure.control(Method::POST, path, Some(body)).await;
        assert_eq!(reply.status, 400, "{told}: {}", reply.text);
    }
    let most = json!({"family_cores": {"standardDSv2Family": u64::MAX}});
    azure
        .control(Method::POST, "/quota", Some(most))
        .await
        .expect(200);
    let usages = format!(
        "/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/eastus/usages",
        azure.simulator.env()["AZURE_SUBSCRIPTION_ID"]
    );
    azure
        .get(&format!("{usages}?api-version=2025-12-01"))
        .await
        .expect(200);
    azure.still_serves().await;
}

#[tokio::test]
async fn a_world_whose_time_has_been_advanced_to_its_end_still_serves() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    for _ in 0..20 {
        let far = json!({"advance_seconds": 1e9});
        azure
            .control(Method::POST, "/clock", Some(far))
            .await
            .expect(200);
    }
    let control = azure.simulator.control_url();
    for path in ["/", "/world", "/meter", "/scheduledevents", "/clock"] {
        let status = azure
            .http
            .get(format!("{control}{path}"))
            .send()
            .await
            .unwrap()
            .status();
        assert_eq!(status, 200, "{path}");
    }
}

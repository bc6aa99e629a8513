//! The pages for people: they hold what the world holds, and nothing of it gets into their markup.

use azure_simulator::{Fault, FaultAction, Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, Reply, until};
use crate::fixtures::{network_body, pool_body};

const HOSTILE: &str = "<script>alert('x')</script>\"><img src=y onerror=alert(1)>&amp;";

impl Azure {
    async fn page(&self, path: &str) -> Reply {
        self.control(Method::GET, path, None).await
    }

    /// Where the Studio link of a job leads, below the control port.
    async fn run_page(&self, job: &str) -> String {
        let services = self.job(job).await["properties"]["services"].clone();
        let studio = services["Studio"]["endpoint"].as_str().unwrap().to_owned();
        let control = self.simulator.control_url();
        studio.strip_prefix(&control).unwrap().to_owned()
    }

    async fn mlflow_call(&self, call: &str, body: Value) {
        let path = format!("/mlflow/v2.0{}/api/2.0/mlflow/runs/{call}", self.workspace);
        self.send(Method::POST, &path, Some(body)).await.expect(200);
    }

    async fn upload_artifact(&self, run: &str, path: &str, content: &'static [u8]) {
        let url = format!(
            "{}/artifact/v2.0{}/artifacts/ExperimentRun/dcid.{run}/content",
            self.simulator.arm_url(),
            self.workspace
        );
        let sent = self.http.post(url).query(&[("path", path)]);
        let reply = sent.bearer_auth(&self.token).body(content).send().await;
        assert_eq!(reply.unwrap().status(), 200);
    }

    /// Waits until a page holds a text.
    async fn page_says(&self, path: &str, text: &str) -> String {
        until(&format!("{path} says {text}"), async || {
            let page = self.page(path).await.expect(200).text;
            page.contains(text).then_some(page)
        })
        .await
    }
}

/// Text as it stands in markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[tokio::test]
async fn an_empty_world_has_a_page() {
    let azure = Azure::without_delays().await;
    azure.simulator.forget_exchanges();
    let page = azure.page("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for text in [
        "No pool.",
        "No job.",
        "No request.",
        "No network.",
        "eastus",
    ] {
        assert!(page.text.contains(text), "{text}");
    }
}

#[tokio::test]
async fn the_page_shows_what_the_world_does() {
    let azure = Azure::without_delays().await.with_pool(3).await;
    let network = network_body(&[("workers", "10.20.0.0/22")]);
    let path = azure.network("virtualNetworks/v1");
    azure.put(&path, network).await.expect(201);
    for job in ["j1", "j2"] {
        azure.submit(job, "sleep 1000").await;
        azure.job_is(job, "Running").await;
    }
    azure.submit("j3", "exit 3").await;
    azure.job_is("j3", "Failed").await;
    let fault = Fault::once("PUT", "/never/", FaultAction::LoseAnswer);
    azure.simulator.fault(fault);
    let world = azure.simulator.world();
    let page = azure.page("/").await.expect(200).text;
    let told = |value: &Value| value.as_str().unwrap().to_owned();
    let mut expected = vec![
        told(&world["networks"][0]["name"]),
        told(&world["networks"][0]["subnets"][0]["addressPrefix"]),
        "1 fault set".to_owned(),
        // The other requests: that of the network, and the jobs'.
        "…/Network/virtualNetworks/v1".to_owned(),
        "…/ws-dask/jobs/j3".to_owned(),
        "pool (0.293 USD/h)".to_owned(),
    ];
    let compute = &world["computes"][0];
    expected.extend(
        ["name", "vmSize", "provisioningState", "allocationState"]
            .map(|field| told(&compute[field])),
    );
    let nodes = compute["nodes"].as_array().unwrap();
    assert!(nodes.len() >= 2, "{nodes:?}");
    for node in nodes {
        expected.extend(["id", "address", "state"].map(|field| told(&node[field])));
    }
    for job in world["jobs"].as_array().unwrap() {
        expected.extend(["name", "status", "experiment"].map(|field| told(&job[field])));
        let address = azure.run_page(job["name"].as_str().unwrap()).await;
        expected.push(format!("href=\"{address}\""));
    }
    for text in expected {
        assert!(page.contains(&text), "{text} in {page}");
    }
    assert!(page.contains("3 jobs: 1 Failed, 2 Running."), "{page}");
}

#[tokio::test]
async fn jobs_with_a_node_come_first_then_those_that_wait_then_those_that_ended() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("ended", "true").await;
    azure.job_is("ended", "Completed").await;
    azure.submit("runs", "sleep 1000").await;
    azure.job_is("runs", "Running").await;
    azure.submit("waits", "true").await;
    let page = azure.page("/").await.expect(200).text;
    let rows = page.split("<tr id=\"job-").skip(1);
    let order: Vec<&str> = rows
        .filter_map(|row| row.split_once('"')?.0.rsplit('/').next())
        .collect();
    assert_eq!(order, ["runs", "waits", "ended"]);
}

#[tokio::test]
async fn the_page_says_which_jobs_wait_and_why_a_pool_cannot_grow() {
    let timings = Timings {
        node_boot_seconds: 3600.0,
        ..Timings::none()
    };
    let azure = Azure::start(World::default().with_timings(timings)).await;
    let azure = azure.with_pool(4).await;
    azure
        .tell("/quota", json!({"family_cores": {"standardDSv2Family": 4}}))
        .await
        .expect(200);
    for job in ["j1", "j2"] {
        azure.submit(job, "true").await;
    }
    let page = azure.page("/").await.expect(200).text;
    for text in [
        "1 node: 1 preparing. 2 jobs wait.",
        "ClusterCoreQuotaReached",
        "2 Queued",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
}

#[tokio::test]
async fn a_thousand_nodes_are_a_letter_each_and_told_in_words_all_the_same() {
    let mut world = World::default().without_delays();
    world.family_core_limits = [("standardDSv2Family".to_owned(), 10_000)].into();
    let azure = Azure::start(world).await;
    let mut body = pool_body(100);
    body["properties"]["properties"]["scaleSettings"]["minNodeCount"] = json!(100);
    for pool in 0..10 {
        let path = azure.ml(&format!("computes/pool{pool}"));
        azure.put(&path, body.clone()).await.expect(201);
    }
    let page = azure.page("/").await.expect(200).text;
    assert_eq!(page.matches("100 nodes: 100 idle.").count(), 10);
    assert_eq!(page.matches("<li class=\"node letter idle\"").count(), 1000);
    assert_eq!(page.matches(">idle for ").count(), 1000);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[tokio::test]
async fn the_studio_link_of_a_job_is_the_page_of_its_run() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body("echo said by j1; exit 7");
    body["properties"]["displayName"] = json!("The first one");
    body["properties"]["tags"] =
        json!({"team": "weather", "dashboard": "http://127.0.0.9:8787/status"});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Failed").await;
    let path = azure.run_page("j1").await;
    assert_eq!(
        path,
        format!(
            "/runs/j1?wsid=/subscriptions/{}/resourcegroups/rg-dask/workspaces/ws-dask",
            azure.simulator.env()["AZURE_SUBSCRIPTION_ID"]
        ),
        "as Azure's, but for the host"
    );
    for (step, loss) in [(0, 4.0), (1, 2.0), (2, 1.25)] {
        let metric =
            json!({"run_id": "j1", "key": "loss", "value": loss, "timestamp": 1, "step": step});
        azure.mlflow_call("log-metric", metric).await;
    }
    let parameter = json!({"run_id": "j1", "key": "depth", "value": "12"});
    azure.mlflow_call("log-parameter", parameter).await;
    azure
        .upload_artifact("j1", "plots/map.png", b"not really a PNG")
        .await;
    let page = azure.page_says(&path, "said by j1").await;
    for text in [
        "Failed",
        "The first one",
        "status code 7",
        "weather",
        "href=\"http://127.0.0.9:8787/status\"",
        "loss",
        "1.25",
        "3 values from 1.25 to 4",
        "<polyline",
        "depth",
        "12",
        "user_logs/std_log_process_00.txt",
        "<img src=\"/runs/j1/files/plots/map.png?wsid=",
        "plain:1",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let file = path.replace("/j1?", "/j1/files/plots/map.png?");
    let file = azure.page(&file).await.expect(200);
    assert_eq!(file.header("content-type"), "image/png");
    assert_eq!(file.text, "not really a PNG");
}

#[tokio::test]
async fn what_others_named_is_text_and_never_markup() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let mut body = azure.job_body(&format!("cat <<'END'\n{HOSTILE}\nEND\nexit 1"));
    body["properties"]["displayName"] = json!(HOSTILE);
    body["properties"]["description"] = json!(HOSTILE);
    body["properties"]["experimentName"] = json!("dask");
    body["properties"]["tags"] = json!({"claim": HOSTILE, "link": format!("http://x/{HOSTILE}")});
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Failed").await;
    let mut pool = pool_body(1);
    pool["tags"] = json!({HOSTILE: HOSTILE});
    azure.put(&azure.ml("computes/pool"), pool).await;
    let metric = json!({"run_id": "j1", "key": HOSTILE, "value": 1, "timestamp": 1, "step": 0});
    azure.mlflow_call("log-metric", metric).await;
    let parameter = json!({"run_id": "j1", "key": HOSTILE, "value": HOSTILE});
    azure.mlflow_call("log-parameter", parameter).await;
    azure
        .upload_artifact(
            "j1",
            "<b>.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        )
        .await;
    azure
        .simulator
        .fault(Fault::once(HOSTILE, HOSTILE, FaultAction::LoseAnswer));
    azure
        .get(&format!("/{}", HOSTILE.replace('/', "%2F")))
        .await;
    let path = azure.run_page("j1").await;
    let run = azure.page_says(&path, "Error: ").await;
    let start = azure.page("/").await.expect(200).text;
    for page in [&run, &start] {
        for markup in ["<script>", "<img src=y", "<b>.svg"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert_eq!(page.matches("<script").count(), 1, "its own");
    }
    // Name, description, error, command, log, two tags, a parameter with its name, a metric.
    let found = run.matches(&escaped(HOSTILE)).count();
    assert!(found >= 9, "{found} in {run}");
    assert!(
        start.contains(&escaped(HOSTILE)),
        "the pool's tag in {start}"
    );
}

#[tokio::test]
async fn a_page_loads_and_runs_nothing_but_its_own_and_a_runs_files_nothing_at_all() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let page = azure.page("/").await.expect(200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.text.contains(" style="), "which that forbids");
    for (path, kind) in [
        ("/page/style.css", "text/css"),
        ("/page/live.js", "text/javascript"),
    ] {
        assert!(page.text.contains(path));
        let asset = azure.page(path).await.expect(200);
        assert!(asset.header("content-type").starts_with(kind));
        assert!(!asset.text.contains("://"), "nothing from elsewhere");
    }
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    azure
        .upload_artifact("j1", "evil.svg", b"<svg><script>alert(1)</script></svg>")
        .await;
    azure
        .upload_artifact("j1", "evil.html", b"<script>alert(1)</script>")
        .await;
    for (name, kind) in [
        ("evil.svg", "image/svg+xml"),
        ("evil.html", "text/plain; charset=utf-8"),
    ] {
        let file = azure
            .page(&format!("/runs/j1/files/{name}"))
            .await
            .expect(200);
        assert_eq!(file.header("content-type"), kind);
        let policy = file.header("content-security-policy");
        assert!(
            policy.starts_with("sandbox; default-src 'none'"),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    // A job that leaves a link to what is none of its run's.
    azure
        .submit(
            "j1",
            "mkdir -p outputs; ln -s /etc/hostname outputs/host.txt; echo x > outputs/x.txt",
        )
        .await;
    azure.job_is("j1", "Completed").await;
    azure.page("/runs/j1/files/outputs/x.txt").await.expect(200);
    for path in [
        "/runs/none",
        "/runs/%3Cscript%3E",
        "/runs/j1?wsid=/subscriptions/s/resourcegroups/g/workspaces/w",
        "/runs/j1/files/none.txt",
        "/runs/j1/files/outputs/host.txt",
        "/runs/j1/files/..%2F..%2Fenv",
        "/runs/none/files/outputs/x.txt",
    ] {
        let reply = azure.page(path).await.expect(404);
        assert!(!reply.text.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn jobs_of_one_name_in_two_workspaces_have_a_page_each() {
    let mut world = World::default().without_delays();
    let mut other = world.workspaces[0].clone();
    other.name = "ws-other".to_owned();
    world.workspaces.push(other);
    let mut azure = Azure::start(world).await.with_pool(1).await;
    azure.submit("j1", "echo from the first").await;
    azure.job_is("j1", "Completed").await;
    let first = azure.run_page("j1").await;
    azure.workspace = azure.workspace.replace("ws-dask", "ws-other");
    let azure = azure.with_pool(1).await;
    azure.submit("j1", "echo from the second").await;
    azure.job_is("j1", "Completed").await;
    let second = azure.run_page("j1").await;
    azure.page_says(&first, "from the first").await;
    azure.page_says(&second, "from the second").await;
    azure.page_says("/", "ws-other").await;
}

#[tokio::test]
async fn a_page_of_the_web_can_neither_read_nor_change_the_world() {
    let azure = Azure::start(World::default()).await;
    let url = format!("{}/reset", azure.simulator.control_url());
    for (name, value) in [
        ("Origin", "https://elsewhere.example"),
        ("Host", "rebound.example"),
    ] {
        let sent = reqwest::Client::new().post(&url).header(name, value).send();
        assert_eq!(sent.await.unwrap().status(), 403, "{name}");
    }
}

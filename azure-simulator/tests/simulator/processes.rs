//! Processes: all of a job's end with it, and all jobs end with the simulator, however it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use azure_simulator::World;
use serde_json::{Value, json};

use crate::client::{Azure, Reply, http_client, until};
use crate::fixtures::pool_body;

/// A shell and three more processes, two of which left its session and one its parent.
const TREE: &str =
    "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo ready; wait";

fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some(Some(state)) if state != 'Z')
}

async fn all_end(pids: &[u64]) {
    until(&format!("{pids:?} end"), async || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
}

async fn pids_of(job: impl AsyncFn() -> Value, count: usize) -> Vec<u64> {
    until("the job's processes", async || {
        let pids: Vec<u64> = job().await["pids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect();
        (pids.len() >= count).then_some(pids)
    })
    .await
}

fn kill(pid: u64) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// The process whose child `pid` is.
fn parent(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_cancel_kills_everything_a_job_started() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", TREE).await;
    azure.job_says("j1", "ready").await;
    let pids = pids_of(async || azure.job_in_world("j1"), 5).await;
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.job_is("j1", "Canceled").await;
    assert!(
        pids.iter().all(|pid| !is_alive(*pid)),
        "Canceled means that all are gone"
    );
    assert_eq!(azure.job_in_world("j1")["pids"], json!([]));
}

#[tokio::test]
async fn a_job_ends_with_its_first_process_and_leaves_nothing_behind() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let command = "(setsid sleep 1000 &) ; setsid sleep 1000 & echo $! > pid; exit 0";
    azure.submit("j1", command).await;
    azure.job_is("j1", "Completed").await;
    let file = azure.simulator.directory().join("jobs/j1/exe/wd/pid");
    let pid = std::fs::read_to_string(file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn dropping_a_simulator_ends_its_jobs_and_removes_its_folder() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", TREE).await;
    azure.job_says("j1", "ready").await;
    let pids = pids_of(async || azure.job_in_world("j1"), 5).await;
    let directory = azure.simulator.directory().to_owned();
    drop(azure);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!directory.exists());
}

#[tokio::test]
async fn jobs_end_when_their_supervisor_is_killed_and_are_told_as_failed() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", TREE).await;
    azure.job_says("j1", "ready").await;
    let pids = pids_of(async || azure.job_in_world("j1"), 5).await;
    kill(azure.simulator.supervisor_pid().into());
    all_end(&pids).await;
    azure.job_is("j1", "Failed").await;
}

#[tokio::test]
async fn a_job_that_kills_its_own_keeper_leaves_nothing_behind() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    azure.submit("other", "sleep 1000").await;
    azure.job_is("other", "Running").await;
    azure.submit("j1", TREE).await;
    azure.job_says("j1", "ready").await;
    let pids = pids_of(async || azure.job_in_world("j1"), 5).await;
    let supervisor = u64::from(azure.simulator.supervisor_pid());
    let keeper = pids
        .iter()
        .map(|pid| parent(*pid))
        .find(|pid| parent(*pid) == supervisor);
    kill(keeper.unwrap());
    all_end(&pids).await;
    azure.job_is("j1", "Failed").await;
    assert_eq!(azure.job("other").await["properties"]["status"], "Running");
}

#[tokio::test]
async fn a_hundred_jobs_leave_no_zombie() {
    let azure = Azure::without_delays().await.with_pool(50).await;
    for number in 0..100 {
        azure.submit(&format!("j{number}"), "true & true").await;
    }
    for number in 0..100 {
        azure.job_is(&format!("j{number}"), "Completed").await;
    }
    let supervisor = u64::from(azure.simulator.supervisor_pid());
    let children = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let rest = stat
                .rsplit_once(')')
                .map(|(_, rest)| rest.to_owned())
                .unwrap_or_default();
            rest.split_whitespace().nth(1) == Some(supervisor.to_string().as_str())
        });
    assert_eq!(children.count(), 0);
}

/// The program, started as a user would; killed if a test fails.
struct Program {
    process: Child,
    directory: tempfile::TempDir,
}

impl Program {
    async fn start(directory: tempfile::TempDir, arguments: &[&str]) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_azure-simulator"))
            .arg("serve")
            .arg("--directory")
            .arg(directory.path())
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self { process, directory };
        let file = program.directory.path().join("env");
        until("DIR/env", async || file.exists().then_some(())).await;
        program
    }

    fn env(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("env")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("export {name}='")));
        line.unwrap().trim_end_matches('\'').to_owned()
    }

    fn http(&self) -> reqwest::Client {
        let pem = std::fs::read_to_string(self.directory.path().join("ca.crt")).unwrap();
        http_client(&pem)
    }

    async fn world(&self) -> Value {
        let url = format!("{}/world", self.env("AZURE_SIMULATOR_CONTROL"));
        Reply::of(self.http().get(url).send().await.unwrap())
            .await
            .expect(200)
            .body
    }

    /// A job that runs [`TREE`], and its processes.
    async fn run_tree(&self) -> Vec<u64> {
        let http = self.http();
        let form = [
            ("client_id", self.env("AZURE_CLIENT_ID")),
            ("client_secret", self.env("AZURE_CLIENT_SECRET")),
            ("grant_type", "client_credentials".to_owned()),
            (
                "scope",
                format!("{}/.default", self.env("AZURE_RESOURCE_MANAGER_ENDPOINT")),
            ),
        ];
        let url = format!(
            "{}{}/oauth2/v2.0/token",
            self.env("AZURE_AUTHORITY_HOST"),
            self.env("AZURE_TENANT_ID")
        );
        let token = Reply::of(http.post(url).form(&form).send().await.unwrap())
            .await
            .expect(200);
        let token = token.body["access_token"].as_str().unwrap().to_owned();
        let workspace = format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/\
             workspaces/{}",
            self.env("AZURE_SUBSCRIPTION_ID"),
            self.env("AZURE_RESOURCE_GROUP"),
            self.env("AZURE_ML_WORKSPACE")
        );
        let base = self.env("AZURE_RESOURCE_MANAGER_ENDPOINT");
        let put = async |path: &str, body: Value| {
            let url = format!("{base}{workspace}/{path}?{}", crate::client::ML);
            let request = http.put(url).bearer_auth(&token).json(&body);
            Reply::of(request.send().await.unwrap()).await.expect(201)
        };
        put("computes/pool", pool_body(1)).await;
        put(
            "environments/e/versions/1",
            json!({"properties": {"image": "i"}}),
        )
        .await;
        let job = json!({"properties": {
            "jobType": "Command", "command": TREE,
            "computeId": format!("{workspace}/computes/pool"),
            "environmentId": format!("{workspace}/environments/e/versions/1"),
        }});
        put("jobs/j1", job).await;
        pids_of(async || self.world().await["jobs"][0].clone(), 5).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn everything_ends_when_the_program_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Program::start(directory, &["--time-scale", "instant"]).await;
    let pids = program.run_tree().await;
    program.process.kill().unwrap();
    all_end(&pids).await;
}

#[tokio::test]
async fn the_program_ends_in_order_on_sigterm_and_a_new_one_keeps_the_ca() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let mut program = Program::start(directory, &["--time-scale", "instant"]).await;
    let pids = program.run_tree().await;
    let http = program.http();
    let listen = program
        .env("AZURE_RESOURCE_MANAGER_ENDPOINT")
        .replace("https://", "");
    let pid = program.process.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(program.process.wait().unwrap().success());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let second = tempfile::tempdir().unwrap();
    copy_ca(&path, second.path());
    let again = Program::start(second, &["--listen", &listen]).await;
    let url = format!("{}/discovery", again.env("AZURE_RESOURCE_MANAGER_ENDPOINT"));
    assert_eq!(http.get(url).send().await.unwrap().status(), 200);
    assert_eq!(
        again.world().await["jobs"],
        json!([]),
        "a world starts empty"
    );
}

fn copy_ca(from: &Path, to: &Path) {
    for file in ["ca.crt", "ca.key"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[tokio::test]
async fn simulators_run_side_by_side_in_one_process() {
    let one = Azure::without_delays().await.with_pool(1).await;
    let other = Azure::start(World::default().without_delays())
        .await
        .with_pool(1)
        .await;
    one.submit("j1", "echo one").await;
    other.submit("j1", "echo other").await;
    one.job_is("j1", "Completed").await;
    other.job_is("j1", "Completed").await;
    assert_eq!(
        (one.log("j1"), other.log("j1")),
        ("one\n".to_owned(), "other\n".to_owned())
    );
    let mut stranger = other;
    stranger.token = one.token.clone();
    assert_eq!(
        stranger.get(&stranger.ml("jobs")).await.expect(401).code(),
        "InvalidAuthenticationToken"
    );
}

//! Jobs on several nodes: they get them all at once, a process each, and lose them all at once.

use std::time::Duration;

use azure_simulator::{Timings, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Azure, until};
use crate::fixtures::low_priority_body;

/// A `PyTorch` job on so many nodes, with so many processes on each.
fn on_nodes(azure: &Azure, command: &str, nodes: u64, processes: u64) -> Value {
    let mut body = azure.job_body(command);
    body["properties"]["resources"] = json!({"instanceCount": nodes});
    body["properties"]["distribution"] =
        json!({"distributionType": "PyTorch", "processCountPerInstance": processes});
    body
}

async fn submit_on_nodes(azure: &Azure, id: &str, command: &str, nodes: u64) -> Value {
    let body = on_nodes(azure, command, nodes, 1);
    let put = azure.put(&azure.ml(&format!("jobs/{id}")), body).await;
    put.expect(201).body
}

fn log_of(azure: &Azure, id: &str, rank: usize) -> String {
    let directory = azure.simulator.directory();
    let log = directory.join(format!("jobs/{id}/user_logs/std_log_process_{rank:02}.txt"));
    std::fs::read_to_string(log).unwrap_or_default()
}

fn nodes_of(azure: &Azure, id: &str) -> Vec<String> {
    let nodes = azure.job_in_world(id)["nodes"].clone();
    serde_json::from_value(nodes).unwrap()
}

#[tokio::test]
async fn each_rank_has_a_log_and_each_node_an_address_and_folder_of_its_own() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let command = "mkdir -p outputs; echo $RANK > outputs/rank-$RANK; echo $RANK > here; \
                   echo \"$RANK of $WORLD_SIZE on $AZURE_SIMULATOR_NODE_ADDRESS in $PWD\"";
    let body = on_nodes(&azure, command, 2, 2);
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Completed").await;
    let logs: Vec<String> = (0..4).map(|rank| log_of(&azure, "j1", rank)).collect();
    for (rank, log) in logs.iter().enumerate() {
        assert!(log.starts_with(&format!("{rank} of 4 on 127.")), "{log}");
    }
    let place = |rank: usize| logs[rank].split_once(" on ").unwrap().1;
    assert_eq!(place(0), place(1));
    assert_eq!(place(2), place(3));
    let (one, other) = (place(0).split_once(' '), place(2).split_once(' '));
    assert_ne!(one.unwrap().0, other.unwrap().0, "an address of its own");
    assert_ne!(one.unwrap().1, other.unwrap().1, "a folder of its own");
    let details = format!("/history/v1.0{}/runs/j1/details", azure.workspace);
    let details = azure.get(&details).await.expect(200).body;
    assert_eq!(details["logFiles"].as_object().unwrap().len(), 4);
    assert_eq!(details["compute"]["instanceCount"], 2);
    let artifacts = format!(
        "/history/v1.0{}/experiments/dask/runs/j1/artifacts",
        azure.workspace
    );
    let artifacts = azure.get(&artifacts).await.expect(200).body.to_string();
    for rank in 0..4 {
        assert!(
            artifacts.contains(&format!("outputs/rank-{rank}")),
            "{artifacts}"
        );
    }
}

#[tokio::test]
async fn workers_and_parameter_servers_of_tensorflow_are_told_where_each_other_is() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let mut body = on_nodes(&azure, "echo $TF_CONFIG", 2, 1);
    body["properties"]["resources"]["instanceType"] = json!("any");
    body["properties"]["distribution"] =
        json!({"distributionType": "TensorFlow", "parameterServerCount": 1});
    let job = azure.put(&azure.ml("jobs/tf"), body).await.expect(201).body;
    assert_eq!(job["properties"]["resources"]["instanceType"], "any");
    assert_eq!(job["properties"]["distribution"]["workerCount"], 2);
    azure.job_is("tf", "Completed").await;
    let told: Vec<Value> = (0..3)
        .map(|rank| serde_json::from_str(&log_of(&azure, "tf", rank)).unwrap())
        .collect();
    let cluster = told[0]["cluster"].clone();
    for (told, (kind, index)) in told.iter().zip([("worker", 0), ("worker", 1), ("ps", 0)]) {
        assert_eq!(told["task"], json!({"type": kind, "index": index}));
        assert_eq!(told["cluster"], cluster);
    }
    let mut everyone: Vec<&str> = Vec::new();
    for kind in ["worker", "ps"] {
        let tasks = cluster[kind].as_array().unwrap();
        everyone.extend(tasks.iter().filter_map(Value::as_str));
    }
    everyone.sort_unstable();
    everyone.dedup();
    assert_eq!(everyone.len(), 3, "a place of its own for each: {told:?}");
}

#[tokio::test]
async fn a_job_ends_when_every_rank_has_ended() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let command = "echo here; [ $RANK = 0 ] || until [ -e ../../../../go ]; do sleep 0.01; done";
    submit_on_nodes(&azure, "j1", command, 2).await;
    azure.job_says("j1", "here").await;
    until("rank 0 has ended", async || {
        (azure.job_in_world("j1")["pids"].as_array()?.len() < 3).then_some(())
    })
    .await;
    assert_eq!(azure.job("j1").await["properties"]["status"], "Running");
    let directory = azure.simulator.directory();
    std::fs::write(directory.join("jobs/j1/go"), "").unwrap();
    azure.job_is("j1", "Completed").await;
}

#[tokio::test]
async fn a_rank_that_fails_ends_the_others_and_its_log_tells_why() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let command = "if [ $RANK = 1 ]; then echo 'no such key'; exit 7; fi; sleep 1000";
    submit_on_nodes(&azure, "j1", command, 2).await;
    azure.job_is("j1", "Failed").await;
    assert_eq!(azure.job_in_world("j1")["pids"], json!([]));
    let error = azure.run("j1").await["error"]["error"]["message"].to_string();
    for part in ["status code 7", "std_log_process_01.txt", "no such key"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_cancel_ends_every_rank_and_frees_every_node() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    submit_on_nodes(&azure, "j1", "sleep 1000", 2).await;
    azure.job_is("j1", "Running").await;
    assert_eq!(nodes_of(&azure, "j1").len(), 2);
    azure.post(&azure.ml("jobs/j1/cancel")).await.expect(202);
    azure.job_is("j1", "Canceled").await;
    assert_eq!(azure.job_in_world("j1")["pids"], json!([]));
    let free = azure.nodes().iter().all(|node| node["state"] == "idle");
    assert!(free, "{:?}", azure.nodes());
}

#[tokio::test]
async fn a_job_waits_for_all_of_its_nodes_and_none_passes_it_meanwhile() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    azure.submit("first", "sleep 1000").await;
    azure.job_is("first", "Running").await;
    submit_on_nodes(&azure, "both", "sleep 1000", 2).await;
    azure.submit("last", "sleep 1000").await;
    let status = async |id: &str| azure.job(id).await["properties"]["status"].clone();
    assert_eq!(status("both").await, "Queued");
    assert_eq!(status("last").await, "Queued");
    azure.post(&azure.ml("jobs/first/cancel")).await.expect(202);
    azure.job_is("both", "Running").await;
    assert_eq!(status("last").await, "Queued");
    azure.post(&azure.ml("jobs/both/cancel")).await.expect(202);
    azure.job_is("last", "Running").await;
}

#[tokio::test]
async fn a_job_that_goes_while_it_waits_lets_those_behind_it_through() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    azure.submit("first", "sleep 1000").await;
    azure.job_is("first", "Running").await;
    submit_on_nodes(&azure, "both", "sleep 1000", 2).await;
    azure.submit("last", "sleep 1000").await;
    assert_eq!(azure.job("last").await["properties"]["status"], "Queued");
    azure.post(&azure.ml("jobs/both/cancel")).await.expect(202);
    azure.job_is("last", "Running").await;
}

#[tokio::test]
async fn a_job_on_more_nodes_than_its_pool_may_have_waits_and_stops_nobody() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    submit_on_nodes(&azure, "wide", "sleep 1000", 2).await;
    azure.submit("small", "sleep 1000").await;
    azure.job_is("small", "Running").await;
    assert_eq!(azure.job("wide").await["properties"]["status"], "Queued");
    azure
        .put(&azure.ml("computes/pool"), crate::fixtures::pool_body(3))
        .await
        .expect(201);
    azure.job_is("wide", "Running").await;
}

#[tokio::test]
async fn nodes_that_wait_for_others_stay_and_go_when_nobody_waits() {
    let timings = Timings {
        node_boot_seconds: 60.0,
        ..Timings::none()
    };
    let world = World::default().with_timings(timings).with_manual_time();
    let azure = Azure::start(world).await.with_pool(2).await;
    azure.submit("first", "sleep 1000").await;
    azure.simulator.advance(Duration::from_secs(61)).await;
    azure.job_is("first", "Running").await;
    submit_on_nodes(&azure, "both", "sleep 1000", 2).await;
    // Its second node has booted, and idles for longer than idle nodes may.
    azure.simulator.advance(Duration::from_secs(600)).await;
    let idle = |azure: &Azure| {
        let nodes = azure.nodes();
        nodes.iter().filter(|node| node["state"] == "idle").count()
    };
    assert_eq!(idle(&azure), 1, "{:?}", azure.nodes());
    azure.post(&azure.ml("jobs/both/cancel")).await.expect(202);
    azure.simulator.advance(Duration::from_secs(1)).await;
    assert_eq!(azure.nodes().len(), 1, "{:?}", azure.nodes());
}

#[tokio::test]
async fn a_preempted_node_takes_the_whole_job_along_and_it_runs_anew_on_as_many() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    azure
        .put(&azure.ml("computes/cheap"), low_priority_body(2))
        .await
        .expect(201);
    let mut body = on_nodes(&azure, "sleep 1000", 2, 1);
    body["properties"]["computeId"] = json!(format!("{}/computes/cheap", azure.workspace));
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Running").await;
    let before = nodes_of(&azure, "j1");
    azure
        .tell(&format!("/nodes/{}/preempt", before[1]), json!({}))
        .await
        .expect(204);
    let after = until("other nodes", async || {
        let nodes = nodes_of(&azure, "j1");
        (nodes.len() == 2 && !nodes.contains(&before[1])).then_some(nodes)
    })
    .await;
    assert!(after.contains(&before[0]), "the other one is still there");
    azure.job_is("j1", "Running").await;
}

#[tokio::test]
async fn cores_for_all_nodes_of_a_job_are_asked_of_the_quota() {
    let mut world = World::default().without_delays();
    world
        .family_core_limits
        .insert("standardDSv2Family".to_owned(), 6);
    let azure = Azure::start(world).await.with_pool(4).await;
    submit_on_nodes(&azure, "j1", "true", 2).await;
    azure.job_is("j1", "Failed").await;
    let error = azure.run("j1").await["error"]["error"].clone();
    assert_eq!(error["code"], "JobNodeCountExceedsCoreQuota");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("node count of 2 which maps to 8 vCPUs"),
        "{message}"
    );
}

#[tokio::test]
async fn services_are_told_of_the_first_node_or_of_all() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let mut body = on_nodes(&azure, "sleep 1000", 2, 1);
    body["properties"]["services"] = json!({
        "head": {"jobServiceType": "Custom", "port": 8787},
        "each": {"jobServiceType": "Custom", "port": 9100, "nodes": {"nodesValueType": "All"}},
    });
    let job = azure.put(&azure.ml("jobs/j1"), body).await.expect(201).body;
    let endpoint = job["properties"]["services"]["head"]["endpoint"].as_str();
    assert!(endpoint.unwrap().starts_with("https://8787-<nodeIndex>-"));
    azure.job_is("j1", "Running").await;
    let of_node = |node: &str| {
        format!(
            "/history/v1.0{}/runs/j1/serviceinstances/{node}",
            azure.workspace
        )
    };
    let names = |body: &Value| body["instances"].as_object().unwrap().len();
    assert_eq!(names(&azure.get(&of_node("0")).await.expect(200).body), 2);
    let second = azure.get(&of_node("1")).await.expect(200).body;
    assert_eq!(names(&second), 1);
    let endpoint = second["instances"]["each"]["endpoint"].as_str().unwrap();
    assert!(endpoint.starts_with("https://9100-1-"), "{endpoint}");
    azure.get(&of_node("2")).await.expect(400);
}

#[tokio::test]
async fn tools_beside_a_job_are_listed_and_not_started() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    let with = |services: Value| {
        let mut body = azure.job_body("sleep 1000");
        body["properties"]["services"] = services;
        body
    };
    for refused in [
        json!({"jobServiceType": "RayDashboard"}),
        json!({"jobServiceType": "Custom"}),
        json!({"jobServiceType": "VSCode", "port": "8080"}),
        json!({"jobServiceType": "VSCode", "properties": {"logDir": "x"}}),
    ] {
        let body = with(json!({"x": refused}));
        azure.put(&azure.ml("jobs/j1"), body).await.expect(400);
    }
    let log_dir = json!({"logDir": "outputs/tb"});
    let body = with(json!({
        "lab": {"jobServiceType": "JupyterLab"},
        "code": {"jobServiceType": "VSCode"},
        "shell": {"jobServiceType": "SSH", "properties": {"sshPublicKeys": "ssh-ed25519 A"}},
        "board": {"jobServiceType": "TensorBoard", "properties": log_dir},
    }));
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    let job = azure.job_is("j1", "Running").await;
    let board = job["properties"]["services"]["board"].clone();
    let expected = json!({
        "jobServiceType": "TensorBoard", "port": null, "endpoint": null, "status": "NotStarted",
        "errorMessage": null, "properties": log_dir, "nodes": null,
    });
    assert_eq!(board, expected);
    let path = format!(
        "/history/v1.0{}/runs/j1/serviceinstances/0",
        azure.workspace
    );
    let instances = azure.get(&path).await.expect(200).body["instances"].clone();
    assert_eq!(instances.as_object().unwrap().len(), 4);
    assert_eq!(instances["lab"]["status"], "NotStarted");
}

#[tokio::test]
async fn counts_that_make_no_sense_are_refused() {
    let azure = Azure::without_delays().await.with_pool(1).await;
    for (nodes, processes) in [(0, 1), (101, 1), (1, 0)] {
        let body = on_nodes(&azure, "true", nodes, processes);
        azure.put(&azure.ml("jobs/j1"), body).await.expect(400);
    }
}

#[tokio::test]
async fn people_see_every_node_of_a_job_with_its_processes_and_logs() {
    let azure = Azure::without_delays().await.with_pool(2).await;
    let command = "echo \"said by $RANK\"; exec sleep 1000";
    let body = on_nodes(&azure, command, 2, 2);
    azure.put(&azure.ml("jobs/j1"), body).await.expect(201);
    azure.job_is("j1", "Running").await;
    until("every process has spoken", async || {
        let said = (0..4).all(|rank| log_of(&azure, "j1", rank).contains("said by"));
        said.then_some(())
    })
    .await;
    let nodes = nodes_of(&azure, "j1");
    let processes = azure.job_in_world("j1")["processes"].clone();
    let expected = [(0, 0), (1, 0), (2, 1), (3, 1)].map(|(rank, node)| {
        let log = format!("user_logs/std_log_process_{rank:02}.txt");
        json!({"rank": rank, "node": nodes[node], "log": log})
    });
    assert_eq!(processes, json!(expected));
    let page = azure
        .control(Method::GET, "/runs/j1", None)
        .await
        .expect(200);
    let known = azure.nodes();
    for (node, ranks) in nodes.iter().zip(["0, 1", "2, 3"]) {
        let entry = known.iter().find(|one| one["id"] == *node).unwrap();
        let address = entry["address"].as_str().unwrap();
        let shown = format!("{address}, processes {ranks}");
        assert!(page.text.contains(&shown), "{shown}: {}", page.text);
        assert!(page.text.contains(node));
    }
    for rank in 0..4 {
        assert!(page.text.contains(&format!("said by {rank}")));
        let path = format!("/jobs/j1/log?process={rank}");
        let log = azure.control(Method::GET, &path, None).await.expect(200);
        assert_eq!(log.text, format!("said by {rank}\n"));
    }
    let none = azure.control(Method::GET, "/jobs/j1/log?process=4", None);
    none.await.expect(404);
    let all = azure.control(Method::GET, "/", None).await.expect(200);
    assert!(all.text.contains(" and 1 more"));
}

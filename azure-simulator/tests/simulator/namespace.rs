//! Nodes on the addresses of their subnet, and the instance metadata service, in a network namespace
//! of the test's own. Skipped, loudly, where the machine does not allow one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use azure_simulator::{NodeAddressing, World};
use serde_json::json;

use crate::client::{Azure, Reply, until};
use crate::fixtures::{low_priority_body, network_body};

const METADATA: &str = "http://169.254.169.254/metadata";

/// Makes the range of the tests' subnets local, and the address of the metadata service.
const ROUTES: &str = "ip link set lo up && ip route add local 10.20.0.0/22 dev lo && \
                      ip route add local 169.254.169.254/32 dev lo";

/// A job that says the name by which its node is called.
const WHO_AM_I: &str = "python3 -c \"import urllib.request as u; \
    request = u.Request('http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text', \
    headers={'Metadata': 'true'}); \
    print('name', u.build_opener(u.ProxyHandler({})).open(request).read().decode())\"; sleep 1000";

fn in_a_namespace(command: &str) -> Command {
    let mut unshare = Command::new("unshare");
    let script = format!("{ROUTES} && {command}");
    unshare.args(["-Urn", "sh", "-c", &script]);
    unshare
}

#[test]
fn nodes_are_found_in_their_subnet_where_the_machine_allows_namespaces() {
    let probe = in_a_namespace("true").stderr(Stdio::piped()).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        // Past the test harness, which keeps what a test that passes prints to itself.
        let told = b"SKIPPED: this machine allows no network namespaces (unshare -Urn, ip)\n";
        std::io::stderr().write_all(told).unwrap();
        return;
    }
    let mut inside = in_a_namespace("exec \"$0\" \"$@\"");
    inside.arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "namespace::inside_a_namespace", "--ignored"]);
    let output = inside.args(["--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{problems}");
    assert!(told.contains("1 passed"), "{told}");
}

async fn metadata(azure: &Azure, path: &str) -> Reply {
    let request = azure.http.get(format!("{METADATA}{path}"));
    Reply::of(request.header("Metadata", "true").send().await.unwrap()).await
}

#[tokio::test]
#[ignore = "runs in the namespace that the test before this one makes"]
async fn inside_a_namespace() {
    let world = World {
        node_addresses: NodeAddressing::Subnet,
        ..World::default().without_delays()
    };
    let mut azure = Azure::start(world).await;
    let body = network_body(&[("default", "10.20.0.0/22")]);
    let network = azure.network("virtualNetworks/v1");
    azure.put(&network, body).await.expect(201);
    let subnet = format!(
        "{}/providers/Microsoft.Network/virtualNetworks/v1/subnets/default",
        azure.group
    );
    let mut pool = low_priority_body(2);
    pool["properties"]["properties"]["subnet"] = json!({"id": subnet});
    let path = azure.ml("computes/pool");
    azure.put(&path, pool).await.expect(201);
    let image = json!({"properties": {"image": "i"}});
    let path = azure.ml("environments/plain/versions/1");
    azure.put(&path, image).await.expect(201);

    // A job listens on its node's address, and is reached there.
    let serve = "exec python3 -m http.server 8787 --bind $AZURE_SIMULATOR_NODE_ADDRESS";
    azure.submit("j1", serve).await;
    azure.job_is("j1", "Running").await;
    assert_eq!(azure.nodes()[0]["address"], "10.20.0.4");
    until("the job answers at 10.20.0.4", async || {
        let answer = azure.http.get("http://10.20.0.4:8787/").send().await;
        answer.ok().filter(|answer| answer.status() == 200)
    })
    .await;

    // A job is told who it is and what is to come; others are nobody.
    azure.submit("j2", WHO_AM_I).await;
    let log = azure.job_says("j2", "name tvmps_").await;
    let nodes = azure.nodes();
    let own = nodes.iter().find(|node| node["job"] == "j2").unwrap();
    let id = own["id"].as_str().unwrap();
    assert_eq!(log.trim(), format!("name {id}"));
    assert_eq!(own["address"], "10.20.0.5");
    let name = "/instance/compute/name?api-version=2021-02-01";
    metadata(&azure, name).await.expect(404);
    azure.simulator.set_pace(azure_simulator::Pace::Manual);
    let notice = json!({"notice_seconds": 30});
    let path = format!("/nodes/{id}/preempt");
    azure.tell(&path, notice).await.expect(204);
    metadata(&azure, "/scheduledevents").await.expect(400);
    let events = "/scheduledevents?api-version=2020-07-01";
    let told = metadata(&azure, events).await.expect(200).body;
    assert_eq!(told["Events"][0]["Resources"], json!([id]));

    // A managed identity signs in.
    let ask = "/identity/oauth2/token?api-version=2019-08-01&resource=https://management.azure.com";
    let token = metadata(&azure, ask).await.expect(200).body;
    assert!(token["expires_on"].is_string(), "{token}");
    azure.token = token["access_token"].as_str().unwrap().to_owned();
    azure.get(&azure.ml("computes")).await.expect(200);
    let unknown = format!("{ask}&client_id=nobody");
    metadata(&azure, &unknown).await.expect(400);
    let plain = azure.http.get(format!("{METADATA}{ask}")).send().await;
    assert_eq!(plain.unwrap().status(), 400, "without the header");
}

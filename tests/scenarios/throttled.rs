use azure_simulator::{Fault, FaultAction};
use dask_azureml_operator::api::{DaskCluster, Reason};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::harness::Line;

const ASKED_SECONDS: u32 = 5;

fn has_reason(cluster: &DaskCluster, condition: &str, reason: Reason) -> bool {
    let status = cluster.status.clone().unwrap_or_default();
    status
        .conditions
        .iter()
        .any(|held| held.type_ == condition && held.reason == reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_one_throttle_all_writes_wait_as_long_as_azure_asks_and_say_so() {
    let mut line = Line::without_operator(azure_simulator::World::default().without_delays()).await;
    line.azure.fault(Fault::once(
        "PUT",
        "/virtualNetworks/",
        FaultAction::Throttle {
            retry_after_seconds: ASKED_SECONDS,
            form: Default::default(),
        },
    ));
    line.start_operator();
    line.apply(&line.manifest("patient", 1)).await;
    line.wait_for("patient", "its writes wait", |cluster| {
        has_reason(cluster, "NetworkReady", Reason::Throttled)
            && has_reason(cluster, "EnvironmentReady", Reason::WaitingForBudget)
    })
    .await;
    let writes = line.azure_writes();
    assert_eq!(writes.len(), 1, "{writes:#?}");
    line.wait_until_ready("patient").await;

    let mut writes = line.azure_writes();
    let all = writes.len();
    writes.sort();
    writes.dedup();
    assert_eq!(
        writes.len(),
        all - 1,
        "only what was refused went out twice"
    );
    assert_eq!(line.azure.meter()["throttled"]["writes"], 1);
    let events = Api::<Event>::namespaced(line.client.clone(), &line.namespace)
        .list(&ListParams::default())
        .await
        .unwrap();
    let waits = Reason::WaitingForBudget.as_str();
    let told = |event: &Event| event.reason.as_deref() == Some(waits);
    assert!(!events.iter().any(told), "a wait is no event");
    line.delete("patient").await;
    line.wait_until_gone("patient").await;
}

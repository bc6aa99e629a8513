use dask_azureml_operator::azure::{HttpSettings, Roots, http_client};
use serde_json::{Value, json};

use crate::harness::Line;

const NETWORK_API: &str = "2024-03-01";
const MACHINE_LEARNING_API: &str = "2025-12-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_and_network_of_somebody_else_are_used_and_never_written_or_deleted() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    owner.make_pool().await;
    let before = line.azure.world();
    line.forget_requests();

    let mut manifest = line.manifest("guest", 1);
    let spec = manifest["spec"].as_object_mut().expect("a spec");
    spec.remove("network");
    spec.insert(
        "compute".to_owned(),
        json!({"name": "shared-pool", "creationPolicy": "UseExisting"}),
    );
    line.apply(&manifest).await;
    line.wait_until_ready("guest").await;
    line.delete("guest").await;
    line.wait_until_gone("guest").await;

    let touched: Vec<_> = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.contains("/virtualNetworks/") || write.contains("/computes/"))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    let after = line.azure.world();
    assert_eq!(before["networks"], after["networks"]);
    assert_eq!(before["computes"][0]["tags"], after["computes"][0]["tags"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_made_in_a_network_of_somebody_else_and_goes_alone() {
    let line = Line::start().await;
    let owner = Owner::signed_in(&line).await;
    owner.make_network().await;
    let before = line.azure.world();
    line.forget_requests();

    let mut manifest = line.manifest("tenant", 1);
    manifest["spec"]["network"] = json!({
        "virtualNetwork": {"name": "shared-vnet"},
        "subnet": {"name": "default"},
        "creationPolicy": "UseExisting",
    });
    line.apply(&manifest).await;
    line.wait_until_ready("tenant").await;
    line.delete("tenant").await;
    line.wait_until_gone("tenant").await;

    let after = line.azure.world();
    assert_eq!(before["networks"], after["networks"]);
    assert_eq!(after["computes"], json!([]));
    let touched = line
        .azure_writes()
        .into_iter()
        .filter(|write| write.contains("/virtualNetworks/"));
    assert_eq!(touched.count(), 0);
}

/// Somebody else with rights on the subscription.
struct Owner {
    http: reqwest::Client,
    token: String,
    group: String,
    workspace: String,
}

impl Owner {
    async fn signed_in(line: &Line) -> Self {
        let env = line.azure.env();
        let arm = line.azure.arm_url();
        let http = http_client(&HttpSettings {
            roots: Roots::File(line.azure.directory().join("ca.crt")),
            ..HttpSettings::default()
        })
        .expect("a client");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", env["AZURE_CLIENT_ID"].as_str()),
            ("client_secret", env["AZURE_CLIENT_SECRET"].as_str()),
            ("scope", &format!("{arm}/.default")),
        ];
        let answer: Value = http
            .post(format!(
                "{arm}/{}/oauth2/v2.0/token",
                env["AZURE_TENANT_ID"]
            ))
            .form(&form)
            .send()
            .await
            .expect("Entra answers")
            .json()
            .await
            .expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let group = format!(
            "{arm}/subscriptions/{}/resourceGroups/{}/providers",
            env["AZURE_SUBSCRIPTION_ID"], env["AZURE_RESOURCE_GROUP"]
        );
        let workspace = format!("{arm}{}", line.azure.workspace_id());
        Self {
            http,
            token,
            group,
            workspace,
        }
    }

    async fn make_network(&self) {
        let network = format!(
            "{}/Microsoft.Network/virtualNetworks/shared-vnet",
            self.group
        );
        let body = json!({
            "location": "eastus",
            "tags": {"team": "platform"},
            "properties": {"addressSpace": {"addressPrefixes": ["10.30.0.0/16"]}},
        });
        self.put(&network, NETWORK_API, body).await;
        let body = json!({"properties": {"addressPrefix": "10.30.0.0/24"}});
        self.put(&format!("{network}/subnets/default"), NETWORK_API, body)
            .await;
    }

    async fn make_pool(&self) {
        let subnet = format!(
            "{}/Microsoft.Network/virtualNetworks/shared-vnet/subnets/default",
            self.group
        );
        let id = subnet.split_once("/subscriptions").expect("a URL of ARM").1;
        let body = json!({
            "location": "eastus",
            "tags": {"team": "platform"},
            "properties": {
                "computeType": "AmlCompute",
                "properties": {
                    "vmSize": "STANDARD_DS13_V2",
                    "vmPriority": "Dedicated",
                    "osType": "Linux",
                    "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S"},
                    "subnet": {"id": format!("/subscriptions{id}")},
                },
            },
        });
        self.put(
            &format!("{}/computes/shared-pool", self.workspace),
            MACHINE_LEARNING_API,
            body,
        )
        .await;
    }

    async fn put(&self, url: &str, api_version: &str, body: Value) {
        let answer = self
            .http
            .put(format!("{url}?api-version={api_version}"))
            .bearer_auth(&self.token)
            .json(&body)
            .send()
            .await
            .expect("ARM answers");
        let status = answer.status();
        assert!(
            status.is_success(),
            "{url}: {status} {}",
            answer.text().await.unwrap_or_default()
        );
    }
}

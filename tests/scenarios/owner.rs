//! Somebody else who has rights on the subscription.

#![allow(dead_code, reason = "what only some need stays in one place")]

use std::time::Duration;

use dask_azureml_operator::azure::{HttpSettings, Roots, http_client};
use dask_azureml_operator::clock::Clock;
use serde_json::{Value, json};

use crate::harness::Line;

pub(crate) const NETWORK_API: &str = "2024-03-01";
/// What [`Owner::eats_half_of_the_budget`] reads and writes.
pub(crate) const EATEN: &str = "eaten";
const MACHINE_LEARNING_API: &str = "2025-12-01";

/// Somebody else with rights on the subscription.
pub(crate) struct Owner {
    http: reqwest::Client,
    token: String,
    /// URL of the resource group's providers.
    pub(crate) group: String,
    workspace: String,
}

impl Owner {
    pub(crate) async fn signed_in(line: &Line) -> Self {
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

    /// Reads and writes at half of the rate that ARM grants, for ever.
    pub(crate) async fn eats_half_of_the_budget(self) {
        let data = format!("{}/data/{EATEN}/versions", self.workspace);
        for round in 0_u64.. {
            let version = format!("{data}/{round}?api-version={MACHINE_LEARNING_API}");
            let body = json!({"properties": {"dataType": "uri_folder", "dataUri": "https://example.com/x"}});
            let write = self.http.put(&version).bearer_auth(&self.token).json(&body);
            // That it is refused now and then is what this is for.
            let _ = write.send().await;
            for _ in 0..2 {
                let read = self.http.get(&version).bearer_auth(&self.token);
                let _ = read.send().await;
            }
            Clock::system().sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn make_network(&self) {
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

    pub(crate) async fn make_pool(&self) {
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

    pub(crate) async fn put(&self, url: &str, api_version: &str, body: Value) {
        let request = self.http.put(format!("{url}?api-version={api_version}"));
        self.send(url, request.json(&body)).await;
    }

    /// As the portal does it.
    pub(crate) async fn delete_pool(&self, name: &str) {
        let url = format!("{}/computes/{name}", self.workspace);
        let query = format!("api-version={MACHINE_LEARNING_API}&underlyingResourceAction=Delete");
        self.send(&url, self.http.delete(format!("{url}?{query}")))
            .await;
    }

    async fn send(&self, url: &str, request: reqwest::RequestBuilder) {
        let answer = request
            .bearer_auth(&self.token)
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

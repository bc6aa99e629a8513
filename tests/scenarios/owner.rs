//! Somebody else who works in the same subscription, as a person in the portal does.

#![allow(dead_code, reason = "what only some need stays in one place")]

use std::time::Duration;

use dask_azureml_operator::azure::{HttpSettings, Roots, http_client};
use dask_azureml_operator::clock::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Line;

/// What [`Owner::eats_half_of_the_budget`] reads and writes.
const EATEN: &str = "eaten";
const NETWORK_API: &str = "2024-03-01";
const MACHINE_LEARNING_API: &str = "2025-12-01";

/// Somebody else with rights on the subscription.
pub(crate) struct Owner {
    http: reqwest::Client,
    token: String,
    group: String,
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
            let write = self
                .http
                .put(&version)
                .header("user-agent", "somebody-else")
                .bearer_auth(&self.token)
                .json(&body);
            // That it is refused now and then is what this is for.
            let _ = write.send().await;
            for _ in 0..2 {
                let read = self
                    .http
                    .get(&version)
                    .header("user-agent", "somebody-else")
                    .bearer_auth(&self.token);
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

    /// The virtual network of this name in the workspace's group.
    pub(crate) fn network(&self, name: &str) -> Resource<'_> {
        let url = format!("{}/Microsoft.Network/virtualNetworks/{name}", self.group);
        self.resource(url, NETWORK_API)
    }

    pub(crate) fn pool(&self, name: &str) -> Resource<'_> {
        let url = format!("{}/computes/{name}", self.workspace);
        self.resource(url, MACHINE_LEARNING_API)
    }

    fn resource(&self, url: String, api_version: &'static str) -> Resource<'_> {
        Resource {
            owner: self,
            url,
            api_version,
        }
    }

    async fn put(&self, url: &str, api_version: &'static str, body: Value) {
        self.resource(url.to_owned(), api_version).put(body).await;
    }
}

/// Something in Azure, in the hands of its owner.
pub(crate) struct Resource<'a> {
    owner: &'a Owner,
    url: String,
    api_version: &'static str,
}

impl Resource<'_> {
    pub(crate) fn id(&self) -> String {
        let path = self
            .url
            .split_once("/subscriptions")
            .expect("a URL of ARM")
            .1;
        format!("/subscriptions{path}")
    }

    pub(crate) fn child(&self, kind: &str, name: &str) -> Self {
        Self {
            url: format!("{}/{kind}/{name}", self.url),
            ..*self
        }
    }

    /// `None` when it is not there.
    pub(crate) async fn get(&self) -> Option<Value> {
        let answer = self.send(Method::GET, "", None).await;
        (answer.status() != StatusCode::NOT_FOUND).then_some(())?;
        Some(answer.json().await.expect("JSON"))
    }

    pub(crate) async fn put(&self, body: Value) {
        self.taken(self.send(Method::PUT, "", Some(body)).await)
            .await;
    }

    /// Reads it, and writes it back with a change.
    pub(crate) async fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut body = self.get().await.expect("it is there");
        for read_only in ["id", "name", "type", "systemData"] {
            body.as_object_mut().expect("an object").remove(read_only);
        }
        let properties = body["properties"].as_object_mut().expect("properties");
        let writable = [
            "computeType",
            "description",
            "addressSpace",
            "subnets",
            "virtualNetworkPeerings",
        ];
        if let Some(inner) = properties
            .get_mut("properties")
            .and_then(Value::as_object_mut)
        {
            inner.retain(|name, value| {
                [
                    "vmSize",
                    "vmPriority",
                    "osType",
                    "scaleSettings",
                    "subnet",
                    "remoteLoginPortPublicAccess",
                ]
                .contains(&name.as_str())
                    && !value.is_null()
            });
        }
        properties.retain(|name, value| {
            (writable.contains(&name.as_str()) || name == "properties") && !value.is_null()
        });
        change(&mut body);
        self.put(body).await;
    }

    pub(crate) async fn delete(&self) {
        let query = if self.url.contains("/computes/") {
            "&underlyingResourceAction=Delete"
        } else {
            ""
        };
        self.taken(self.send(Method::DELETE, query, None).await)
            .await;
    }

    async fn taken(&self, answer: reqwest::Response) {
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "{}: {status} {text}", self.url);
    }

    async fn send(&self, verb: Method, query: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("{}?api-version={}{query}", self.url, self.api_version);
        let request = self
            .owner
            .http
            .request(verb, url)
            .header("user-agent", "somebody-else")
            .bearer_auth(&self.owner.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.expect("ARM answers")
    }
}

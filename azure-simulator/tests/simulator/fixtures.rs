//! Bodies that tests send, and resources that many of them need.

use azure_simulator::World;
use serde_json::{Value, json};

use crate::client::Azure;

pub(crate) fn pool_body(most: u64) -> Value {
    json!({
        "location": "eastus",
        "tags": {"owner": "me"},
        "properties": {
            "computeType": "AmlCompute",
            "properties": {
                "vmSize": "Standard_DS3_v2",
                "scaleSettings": {"minNodeCount": 0, "maxNodeCount": most},
            },
        },
    })
}

pub(crate) fn network_body(subnets: &[(&str, &str)]) -> Value {
    let subnets: Vec<Value> = subnets
        .iter()
        .map(|(name, prefix)| json!({"name": name, "properties": {"addressPrefix": prefix}}))
        .collect();
    json!({
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": ["10.20.0.0/16"]}, "subnets": subnets},
    })
}

/// What an operation that has not ended says: the world's word, as nobody knows Azure's.
pub(crate) fn running() -> String {
    World::default().operations.running_status
}

/// A pool that Azure may take nodes back from.
pub(crate) fn low_priority_body(most: u64) -> Value {
    let mut body = pool_body(most);
    body["properties"]["properties"]["vmPriority"] = json!("LowPriority");
    body
}

impl Azure {
    /// What only tests of what happens to nodes change: limits, losses.
    pub(crate) async fn tell(&self, path: &str, body: Value) -> crate::client::Reply {
        self.control(reqwest::Method::POST, path, Some(body)).await
    }

    /// The `errors` of a compute's pool: their codes.
    pub(crate) async fn errors_of(&self, compute: &str) -> Vec<String> {
        let compute = self.compute(compute).await;
        let errors = compute["properties"]["properties"]["errors"].clone();
        let codes = errors.as_array().into_iter().flatten();
        codes
            .map(|error| error["error"]["code"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn with_pool(self, most: u64) -> Self {
        self.put(&self.ml("computes/pool"), pool_body(most))
            .await
            .expect(201);
        let image = json!({"properties": {"image": "ghcr.io/dask/dask:latest"}});
        self.put(&self.ml("environments/plain/versions/1"), image)
            .await
            .expect(201);
        self
    }

    pub(crate) fn job_body(&self, command: &str) -> Value {
        json!({"properties": {
            "jobType": "Command",
            "experimentName": "dask",
            "command": command,
            "computeId": format!("{}/computes/pool", self.workspace),
            "environmentId": format!("{}/environments/plain/versions/1", self.workspace),
        }})
    }

    /// Submits a command to the pool.
    pub(crate) async fn submit(&self, id: &str, command: &str) -> Value {
        let body = self.job_body(command);
        self.put(&self.ml(&format!("jobs/{id}")), body)
            .await
            .expect(201)
            .body
    }

    /// The run history's view of a run.
    pub(crate) async fn run(&self, id: &str) -> Value {
        let path = format!("/history/v1.0{}/runs/{id}", self.workspace);
        self.get(&path).await.expect(200).body
    }
}

//! A client of ARM and the data plane that asserts nothing by itself.

use std::time::Duration;

use azure_simulator::{Simulator, World};
use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const ML: &str = "api-version=2025-12-01";
pub(crate) const NETWORK: &str = "api-version=2024-03-01";

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Azure {
    pub(crate) simulator: Simulator,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    /// ARM id of the workspace.
    pub(crate) workspace: String,
    /// ARM id of the resource group.
    pub(crate) group: String,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self {
            status,
            headers,
            text,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Code of the error envelope.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

/// An HTTP client that trusts a simulator's CA and nothing else.
pub(crate) fn http_client(ca_pem: &str) -> reqwest::Client {
    // Installed by the first test of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(ca_pem.as_bytes()).unwrap()])
        .no_proxy()
        .build()
        .unwrap()
}

impl Azure {
    pub(crate) async fn start(world: World) -> Self {
        Self::of(Simulator::start(world).await.unwrap()).await
    }

    pub(crate) async fn of(simulator: Simulator) -> Self {
        let http = http_client(simulator.ca_pem());
        let env = simulator.env().clone();
        let mut azure = Self {
            workspace: simulator.workspace_id(),
            group: format!(
                "/subscriptions/{}/resourceGroups/{}",
                env["AZURE_SUBSCRIPTION_ID"], env["AZURE_RESOURCE_GROUP"]
            ),
            simulator,
            http,
            token: String::new(),
        };
        let reply = azure.sign_in(&[]).await.expect(200);
        azure.token = reply.body["access_token"].as_str().unwrap().to_owned();
        azure
    }

    /// Nothing takes time.
    pub(crate) async fn without_delays() -> Self {
        Self::start(World::default().without_delays()).await
    }

    /// Asks Entra for a token, with some fields of the form replaced or added; `tenant` is one of them.
    pub(crate) async fn sign_in(&self, changed: &[(&str, &str)]) -> Reply {
        let env = self.simulator.env();
        let mut form = vec![
            ("client_id", env["AZURE_CLIENT_ID"].as_str()),
            ("client_secret", env["AZURE_CLIENT_SECRET"].as_str()),
            ("grant_type", "client_credentials"),
            ("scope", "https://management.azure.com/.default"),
        ];
        let mut tenant = env["AZURE_TENANT_ID"].as_str();
        for (name, value) in changed {
            if *name == "tenant" {
                tenant = value;
            } else if let Some(field) = form.iter_mut().find(|field| field.0 == *name) {
                field.1 = value;
            } else {
                form.push((name, value));
            }
        }
        let url = format!("{}{tenant}/oauth2/v2.0/token", env["AZURE_AUTHORITY_HOST"]);
        Reply::of(self.http.post(url).form(&form).send().await.unwrap()).await
    }

    /// Sends to a path of the simulator, or to an absolute URL as it is.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.try_send(method, path, body).await.unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Reply> {
        let url = if path.starts_with("https://") {
            path.to_owned()
        } else {
            format!("{}{path}", self.simulator.arm_url())
        };
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(Reply::of(request.send().await?).await)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.send(Method::POST, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// A path below the workspace, with the api-version of Azure ML.
    pub(crate) fn ml(&self, path: &str) -> String {
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{}/{path}{joint}{ML}", self.workspace)
    }

    /// A path of Microsoft.Network below the resource group.
    pub(crate) fn network(&self, path: &str) -> String {
        format!(
            "{}/providers/Microsoft.Network/{path}?{NETWORK}",
            self.group
        )
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&self.ml(&format!("jobs/{id}")))
            .await
            .expect(200)
            .body
    }

    pub(crate) async fn compute(&self, name: &str) -> Value {
        self.get(&self.ml(&format!("computes/{name}")))
            .await
            .expect(200)
            .body
    }

    /// Waits until a job has a status.
    pub(crate) async fn job_is(&self, id: &str, status: &str) -> Value {
        let what = format!("job {id} is {status}");
        until(&what, async || {
            let job = self.job(id).await;
            (job["properties"]["status"] == status).then_some(job)
        })
        .await
    }

    pub(crate) fn log_path(&self, id: &str) -> std::path::PathBuf {
        let directory = self.simulator.directory();
        directory.join(format!("jobs/{id}/user_logs/std_log_process_00.txt"))
    }

    pub(crate) fn log(&self, id: &str) -> String {
        std::fs::read_to_string(self.log_path(id)).unwrap_or_default()
    }

    /// Waits until a job runs and has written a text.
    pub(crate) async fn job_says(&self, id: &str, text: &str) -> String {
        self.job_is(id, "Running").await;
        until(&format!("job {id} says {text}"), async || {
            let log = self.log(id);
            log.contains(text).then_some(log)
        })
        .await
    }

    /// The entry of a job in the control port's world.
    pub(crate) fn job_in_world(&self, id: &str) -> Value {
        let world = self.simulator.world();
        let jobs = world["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["name"] == id).unwrap().clone()
    }

    /// The processes of a job, once it has any: it is Running before the first one is there, as in Azure.
    pub(crate) async fn processes_of(&self, id: &str) -> Value {
        until(&format!("job {id} has a process"), async || {
            let pids = self.job_in_world(id)["pids"].clone();
            (pids != json!([])).then_some(pids)
        })
        .await
    }

    pub(crate) fn nodes(&self) -> Vec<Value> {
        let world = self.simulator.world();
        let computes = world["computes"].as_array().unwrap();
        computes
            .iter()
            .flat_map(|compute| compute["nodes"].as_array().unwrap().clone())
            .collect()
    }
}

/// Waits for something, and says what did not come.
#[expect(
    clippy::disallowed_methods,
    reason = "tests wait for conditions in real time"
)]
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("did not come within {DEADLINE:?}: {what}"),
    }
}

//! Each way to be somebody in Azure, against the simulator's Entra and metadata service.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, its helpers too"
)]

use std::sync::Arc;

use azure_simulator::{FederatedCredential, Simulator, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dask_azureml_operator::azure::{
    ArmClient, Budgets, Class, Credential, Endpoint, Error, HttpSettings, Identity,
    NoServiceAccountToken, ResourceId, Roots, ServiceAccount, ServiceAccountTokens, TokenSources,
    Unobserved, http_client,
};
use dask_azureml_operator::clock::Clock;
use serde_json::{Value, json};

const API_VERSION: &str = "2024-10-01";
const ISSUER: &str = "https://kubernetes.test";

/// A token as the API server signs them; nobody here looks at the signature.
fn token_of(account: &str) -> String {
    let now = Clock::system().now().as_second();
    let claims = json!({
        "iss": ISSUER,
        "sub": format!("system:serviceaccount:weather:{account}"),
        "aud": ["api://AzureADTokenExchange"],
        "nbf": now - 60,
        "exp": now + 600,
    });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(json!({"alg": "none"})), part(claims))
}

struct Kubernetes;

#[async_trait::async_trait]
impl ServiceAccountTokens for Kubernetes {
    async fn token(&self, account: &ServiceAccount) -> Result<String, NoServiceAccountToken> {
        Ok(token_of(&account.name))
    }
}

struct Azure {
    simulator: Simulator,
    tenant_id: String,
    client_id: String,
}

impl Azure {
    /// One that trusts the service account `weather/dask`.
    async fn start() -> Self {
        let mut world = World::default().without_delays();
        let (tenant_id, client_id) = (world.tenant_id.clone(), world.clients[0].client_id.clone());
        world.federated_credentials = vec![FederatedCredential {
            client_id: client_id.clone(),
            issuer: ISSUER.to_owned(),
            subject: "system:serviceaccount:weather:dask".to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
            jwks: None,
        }];
        Self {
            simulator: Simulator::start(world).await.unwrap(),
            tenant_id,
            client_id,
        }
    }

    fn client_secret(&self, secret: &str) -> Identity {
        Identity::ClientSecret {
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: secret.to_owned().into(),
        }
    }

    fn right_secret(&self) -> Identity {
        self.client_secret(&self.simulator.env()["AZURE_CLIENT_SECRET"])
    }

    fn service_account(&self, name: &str) -> Identity {
        Identity::FederatedServiceAccount {
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            service_account: ServiceAccount {
                namespace: "weather".to_owned(),
                name: name.to_owned(),
            },
        }
    }

    fn client(&self, identity: Identity) -> ArmClient {
        let arm = self.simulator.arm_url();
        let endpoint = Endpoint::new(Some(&arm), Some(&arm), None).unwrap();
        let http = http_client(&HttpSettings {
            roots: Roots::File(self.simulator.directory().join("ca.crt")),
            ..HttpSettings::default()
        })
        .unwrap();
        let metadata = self.simulator.control_url().parse().unwrap();
        let sources = TokenSources::new(http.clone(), Some(metadata), Arc::new(Kubernetes));
        let (clock, observer) = (Clock::system(), Arc::new(Unobserved));
        let budgets = Budgets::new(clock.clone(), observer.clone());
        let credential = Credential::new(
            identity,
            &endpoint,
            sources.unwrap(),
            clock.clone(),
            observer.clone(),
        );
        ArmClient::new(endpoint, credential, http, clock, observer, budgets)
    }

    async fn look(&self, client: &ArmClient) -> Result<(), Error> {
        let workspace: ResourceId = self.simulator.workspace_id().parse().unwrap();
        client.get(&workspace, API_VERSION).await.map(drop)
    }

    /// The forms of the requests for tokens, oldest first.
    fn token_requests(&self) -> Vec<String> {
        let exchanges = self.simulator.exchanges();
        let requests = exchanges.iter().map(|exchange| &exchange["request"]);
        requests
            .filter(|request| request["path"].as_str().unwrap().ends_with("/token"))
            .map(|request| request["body"].to_string())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_identity_is_let_in() {
    let azure = Azure::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("azure-identity-token");
    std::fs::write(&token_file, token_of("dask")).unwrap();
    let by_file = Identity::WorkloadIdentity {
        tenant_id: azure.tenant_id.clone(),
        client_id: azure.client_id.clone(),
        token_file,
    };
    let client_id = Some(azure.client_id.clone());
    for identity in [
        azure.right_secret(),
        by_file,
        azure.service_account("dask"),
        Identity::ManagedIdentity { client_id: None },
        Identity::ManagedIdentity { client_id },
    ] {
        let what = format!("{identity:?}");
        let looked = azure.look(&azure.client(identity)).await;
        assert!(looked.is_ok(), "{what}: {looked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_identity_that_is_not_known_is_refused_with_the_way_out() {
    let azure = Azure::start().await;
    let mut stranger = azure.right_secret();
    if let Identity::ClientSecret { client_id, .. } = &mut stranger {
        *client_id = "99999999-0000-0000-0000-000000000000".to_owned();
    }
    let nobody = Some("99999999-0000-0000-0000-000000000000".to_owned());
    for (identity, code, hint) in [
        (
            azure.client_secret("guessed"),
            "AADSTS7000215",
            "AZURE_CLIENT_SECRET is wrong",
        ),
        (stranger, "AADSTS700016", "AZURE_CLIENT_ID names no"),
        (
            azure.service_account("default"),
            "AADSTS700213",
            "no federated credential",
        ),
        (
            Identity::ManagedIdentity { client_id: nobody },
            "invalid_request",
            "assign the managed identity",
        ),
    ] {
        let what = format!("{identity:?}");
        let error = azure.look(&azure.client(identity)).await.unwrap_err();
        assert_eq!(error.class(), Class::CredentialsRefused, "{what}: {error}");
        assert_eq!(error.code(), Some(code), "{what}");
        assert!(error.hint().unwrap().contains(hint), "{what}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("guessed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_is_replaced_at_once_by_one_with_the_claims_that_azure_asks_for() {
    let azure = Azure::start().await;
    let client = azure.client(azure.right_secret());
    azure.look(&client).await.unwrap();
    azure.simulator.revoke_tokens();
    azure.look(&client).await.unwrap();
    azure.simulator.expire_tokens();
    azure.look(&client).await.unwrap();
    let asked = azure.token_requests();
    let with_claims: Vec<_> = asked.iter().map(|form| form.contains("claims=")).collect();
    assert_eq!(with_claims, [false, true, false], "{asked:#?}");
    assert!(
        asked[1].contains("nbf") && asked[1].contains("essential"),
        "{}",
        asked[1]
    );
}

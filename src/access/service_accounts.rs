//! Tokens of service accounts, from the API server.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount as KubernetesServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::azure::{
    NoServiceAccountToken, ServiceAccount, ServiceAccountTokens, TOKEN_EXCHANGE_AUDIENCE,
};

/// Asks by TokenRequest: the token is for Entra alone, and for as short as Kubernetes makes them.
pub(crate) struct TokenRequests(pub(crate) Client);

/// Seconds: the shortest life that the API server grants. Entra is shown the token at once.
const LIFE: i64 = 600;

#[async_trait::async_trait]
impl ServiceAccountTokens for TokenRequests {
    async fn token(&self, account: &ServiceAccount) -> Result<String, NoServiceAccountToken> {
        let ServiceAccount { namespace, name } = account;
        let api: Api<KubernetesServiceAccount> = Api::namespaced(self.0.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![TOKEN_EXCHANGE_AUDIENCE.to_owned()]),
                expiration_seconds: Some(LIFE),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(|error| refusal(account, &error))?;
        let token = answer.status.and_then(|status| status.token);
        token.ok_or_else(|| NoServiceAccountToken {
            message: format!("the API server gave no token of service account {namespace}/{name}"),
            refused: false,
        })
    }
}

fn refusal(account: &ServiceAccount, error: &kube::Error) -> NoServiceAccountToken {
    let ServiceAccount { namespace, name } = account;
    let code = match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    let message = match code {
        404 => format!(
            "service account {namespace}/{name} does not exist: create it, or correct AZURE_FEDERATED_SERVICE_ACCOUNT"
        ),
        403 => format!(
            "the operator may not ask for tokens of service account {namespace}/{name}: allow it to create serviceaccounts/token (value serviceAccountTokens of the chart)"
        ),
        _ => format!("no token of service account {namespace}/{name}: {error}"),
    };
    NoServiceAccountToken {
        message,
        refused: matches!(code, 400..=499) && code != 429,
    }
}

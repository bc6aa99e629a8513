//! Tokens: who gets one, and what it is good for.

use azure_simulator::{Client, FederatedCredential, Simulator, World};
use serde_json::{Value, json};

use crate::client::{Azure, Reply};

/// The public keys of an issuer, and tokens that were signed once; the private keys were not kept.
const ASSERTIONS: &str = include_str!("testdata/assertions.json");

fn problem(reply: &Reply) -> (u16, &str, i64) {
    (
        reply.status.as_u16(),
        reply.body["error"].as_str().unwrap_or_default(),
        reply.body["error_codes"][0].as_i64().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_wrong_secret_gets_no_token() {
    let azure = Azure::without_delays().await;
    let reply = azure.sign_in(&[("client_secret", "guessed")]).await;
    assert_eq!(problem(&reply), (401, "invalid_client", 7_000_215));
    let text = reply.body["error_description"].as_str().unwrap();
    assert!(text.starts_with("AADSTS7000215: "), "{text}");
}

#[tokio::test]
async fn a_wrong_tenant_an_unknown_client_and_an_unknown_scope_get_no_token() {
    let azure = Azure::without_delays().await;
    let reply = azure
        .sign_in(&[("tenant", "11111111-0000-4000-8000-000000000000")])
        .await;
    assert_eq!(problem(&reply), (400, "invalid_request", 90002));
    let reply = azure.sign_in(&[("client_id", "nobody")]).await;
    assert_eq!(problem(&reply), (400, "unauthorized_client", 700_016));
    let reply = azure
        .sign_in(&[("scope", "https://graph.microsoft.com/.default")])
        .await;
    assert_eq!(problem(&reply), (400, "invalid_resource", 500_011));
}

#[tokio::test]
async fn every_client_of_the_world_can_sign_in() {
    let mut world = World::default().without_delays();
    world.clients.push(Client {
        client_id: "second".to_owned(),
        client_secret: "of the second".to_owned(),
    });
    let azure = Azure::start(world).await;
    let second = [("client_id", "second"), ("client_secret", "of the second")];
    let reply = azure.sign_in(&second).await.expect(200);
    assert_eq!(reply.body["token_type"], "Bearer");
    assert_eq!(reply.body["expires_in"], 3599);
}

#[tokio::test]
async fn a_call_without_a_token_that_was_issued_is_refused_in_arms_shape() {
    let mut azure = Azure::without_delays().await;
    let path = azure.ml("computes");
    let url = format!("{}{path}", azure.simulator.arm_url());
    let reply = Reply::of(azure.http.get(url).send().await.unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (401, "AuthenticationFailed")
    );
    let challenge = reply.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer authorization_uri="),
        "{challenge}"
    );
    azure.token = "made.up.token".to_owned();
    let reply = azure.get(&path).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (401, "InvalidAuthenticationToken")
    );
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_and_nothing_else() {
    let mut azure = Azure::without_delays().await.with_pool(1).await;
    azure.submit("j1", "true").await;
    azure.job_is("j1", "Completed").await;
    let (arm, data) = (
        azure.ml("computes"),
        format!("/history/v1.0{}/runs/j1", azure.workspace),
    );
    for (resource, opens) in [
        ("https://management.azure.com", [200, 200]),
        ("https://management.core.windows.net", [200, 200]),
        ("https://ml.azure.com", [401, 200]),
        ("https://storage.azure.com", [401, 401]),
    ] {
        let scope = format!("{resource}/.default");
        let signed_in = azure.sign_in(&[("scope", &scope)]).await.expect(200).body;
        azure.token = signed_in["access_token"].as_str().unwrap().to_owned();
        let managed = azure.get(&arm).await;
        let asked = azure.get(&data).await;
        let statuses = [managed.status.as_u16(), asked.status.as_u16()];
        assert_eq!(statuses, opens, "{resource}");
        if opens[0] == 401 {
            assert_eq!(managed.code(), "InvalidAuthenticationTokenAudience");
            assert!(
                managed.message().contains(resource),
                "{}",
                managed.message()
            );
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_wrong_one() {
    let azure = Azure::without_delays().await;
    azure.simulator.expire_tokens();
    let reply = azure.get(&azure.ml("computes")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (401, "ExpiredAuthenticationToken")
    );
    let message = reply.message();
    assert!(
        message.starts_with("The access token expiry UTC time '")
            && message.contains("' is earlier than current UTC time '"),
        "{message}"
    );
}

#[tokio::test]
async fn the_openid_configuration_leads_to_the_token_endpoint() {
    let azure = Azure::without_delays().await;
    let tenant = azure.simulator.env()["AZURE_TENANT_ID"].clone();
    let path = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    let endpoint = azure.get(&path).await.expect(200).body["token_endpoint"].clone();
    let expected = format!("{}/{tenant}/oauth2/v2.0/token", azure.simulator.arm_url());
    assert_eq!(endpoint, expected.as_str());
    azure.get("/common/discovery/instance").await.expect(200);
}

/// A world whose client may sign in with a service account's token, signed by one of these keys.
fn federated(jwks: Value) -> World {
    let mut world = World::default().without_delays();
    let credential = json!({
        "client_id": world.clients[0].client_id,
        "issuer": "https://kubernetes.default.svc",
        "subject": "system:serviceaccount:dask:operator",
        "jwks": jwks,
    });
    let credential: FederatedCredential = serde_json::from_value(credential).unwrap();
    world.federated_credentials.push(credential);
    world
}

impl Azure {
    async fn sign_in_by(&self, assertion: &str) -> Reply {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let fields = [
            ("client_assertion", assertion),
            ("client_assertion_type", kind),
        ];
        self.sign_in(&fields).await
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_counts_only_as_one_of_its_keys_has_signed_it() {
    let given: Value = serde_json::from_str(ASSERTIONS).unwrap();
    let azure = Azure::start(federated(given["jwks"].clone())).await;
    let token = |name: &str| given[name].as_str().unwrap().to_owned();
    for good in ["signed", "signed_without_kid"] {
        azure.sign_in_by(&token(good)).await.expect(200);
    }
    let (signed, without_kid) = (token("signed"), token("signed_without_kid"));
    let (said, _) = signed.rsplit_once('.').unwrap();
    let (_, signature) = without_kid.rsplit_once('.').unwrap();
    for forged in [
        token("signed_by_another"),
        token("of_an_unknown_key"),
        token("of_another_algorithm"),
        format!("{said}.{signature}"),
        format!("{said}."),
        format!("{said}.no+base64"),
    ] {
        let reply = azure.sign_in_by(&forged).await;
        assert_eq!(problem(&reply), (401, "invalid_client", 0), "{forged}");
        assert_eq!(reply.body["error_codes"], json!([]));
        let text = reply.body["error_description"].as_str().unwrap();
        assert!(text.contains("not signed by a key of its issuer"), "{text}");
    }
}

#[tokio::test]
async fn a_well_signed_token_that_is_too_old_too_young_or_for_others_does_not_count() {
    let given: Value = serde_json::from_str(ASSERTIONS).unwrap();
    let azure = Azure::start(federated(given["jwks"].clone())).await;
    for (name, code) in [
        ("expired", 700_024),
        ("too_early", 700_024),
        ("for_others", 700_213),
    ] {
        let reply = azure.sign_in_by(given[name].as_str().unwrap()).await;
        assert_eq!(problem(&reply), (401, "invalid_client", code), "{name}");
    }
}

#[tokio::test]
async fn a_managed_identity_is_one_that_is_known_or_none_is_had() {
    let azure = Azure::without_delays().await;
    let id = azure.simulator.env()["AZURE_CLIENT_ID"].clone();
    let version = "api-version=2018-02-01";
    for (query, status) in [
        (version.to_owned(), 200),
        (format!("{version}&client_id={id}"), 200),
        (format!("{version}&object_id={id}"), 200),
        (format!("{version}&client_id=nobody"), 400),
        (format!("{version}&object_id=nobody"), 400),
        (format!("{version}&msi_res_id=/subscriptions/s"), 400),
        (format!("{version}&client_id={id}&object_id={id}"), 400),
        ("api-version=2001-01-01".to_owned(), 400),
        (String::new(), 400),
    ] {
        let url = format!(
            "{}/metadata/identity/oauth2/token?resource=https://management.azure.com&{query}",
            azure.simulator.control_url()
        );
        let request = azure.http.get(url).header("Metadata", "true");
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text);
    }
}

#[tokio::test]
async fn keys_that_check_no_signature_are_no_world() {
    for keys in [
        json!([]),
        json!([{"kty": "EC", "kid": "curve"}]),
        json!([{"kty": "RSA", "n": "no base64", "e": "AQAB"}]),
    ] {
        let error = Simulator::start(federated(json!({"keys": keys}))).await;
        let error = error.err().map(|error| format!("{error:?}"));
        assert!(
            error
                .as_deref()
                .is_some_and(|text| text.contains("RSA key")),
            "{keys}: {error:?}"
        );
    }
}

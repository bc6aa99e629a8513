//! Tokens: who gets one, and what it is good for.

use azure_simulator::{Client, World};

use crate::client::{Azure, Reply};

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
async fn an_expired_token_is_told_from_a_wrong_one() {
    let azure = Azure::without_delays().await;
    azure.simulator.expire_tokens();
    let reply = azure.get(&azure.ml("computes")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (401, "ExpiredAuthenticationToken")
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

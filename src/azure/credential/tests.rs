use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::http_client::{HttpSettings, insecure_http_client};
use super::super::identity::ServiceAccount;
use super::super::test_server::{FakeEntra, Observations, client_secret, credential, token};
use super::super::token_source::NoServiceAccountToken;
use super::super::{Class, Retry, Unobserved};
use super::*;
use crate::clock::ManualClock;

fn standing_clock() -> ManualClock {
    ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap())
}

fn of(entra: &FakeEntra, clock: &ManualClock) -> Credential {
    credential(entra, client_secret(), clock.clock(), Arc::new(Unobserved))
}

async fn text(credential: &Credential) -> String {
    credential.token().await.unwrap().secret().to_owned()
}

fn overloaded() -> Value {
    json!({"error": "temporarily_unavailable", "error_description": "Try later."})
}

#[tokio::test]
async fn entra_is_asked_once_for_the_audience_of_arm() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    assert_eq!(text(&credential).await, "token-1");
    assert_eq!(text(&credential.clone()).await, "token-1");
    assert_eq!(
        entra.asked(),
        [
            "https://login.microsoftonline.com/the-tenant/oauth2/v2.0/token client_id=the-client&client_secret=hush-hush&grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        ]
    );
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    assert_eq!(text(&credential).await, "token-1");
    clock.advance(Duration::from_secs(3290));
    assert_eq!(text(&credential).await, "token-1");
    clock.advance(Duration::from_secs(20));
    assert_eq!(text(&credential).await, "token-2");
}

#[tokio::test]
async fn tokens_that_begin_together_are_renewed_apart_and_all_of_them_before_they_end() {
    for (spread, due) in [(0.0, 3300), (0.5, 3225), (1.0, 3150)] {
        let (entra, clock) = (FakeEntra::default(), standing_clock());
        let endpoint = Endpoint::new(None, None, None).unwrap();
        let asking = Entra::new(client_secret(), &endpoint, entra.sources(), clock.clock());
        let credential = Credential::of(asking, clock.clock(), Arc::new(Unobserved), spread);
        assert_eq!(text(&credential).await, "token-1");
        clock.advance(Duration::from_secs(due - 10));
        assert_eq!(text(&credential).await, "token-1", "{spread}");
        clock.advance(Duration::from_secs(20));
        assert_eq!(text(&credential).await, "token-2", "{spread}");
    }
}

#[tokio::test]
async fn a_short_lived_token_is_used_for_most_of_its_life() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    entra.answers_next(200, token("short", 60));
    let credential = of(&entra, &clock);
    assert_eq!(text(&credential).await, "short");
    clock.advance(Duration::from_secs(45));
    assert_eq!(text(&credential).await, "short");
    clock.advance(Duration::from_secs(5));
    assert_eq!(text(&credential).await, "token-2");
}

#[tokio::test]
async fn a_renewal_that_fails_costs_nothing_while_the_token_is_good() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    assert_eq!(text(&credential).await, "token-1");
    clock.advance(Duration::from_secs(3310));
    entra.answers_next(503, overloaded());
    assert_eq!(text(&credential).await, "token-1");
    assert_eq!(text(&credential).await, "token-1");
    assert_eq!(entra.asked().len(), 2);
    clock.advance(Duration::from_secs(30));
    assert_eq!(text(&credential).await, "token-3");
    clock.advance(Duration::from_secs(3700));
    entra.answers_next(503, overloaded());
    let error = credential.token().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
}

#[tokio::test]
async fn a_crowd_shares_one_answer_a_failure_too() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    entra.answers_next(503, overloaded());
    let crowd = || join_all((0..10).map(|_| credential.token()));
    assert!(crowd().await.iter().all(Result::is_err));
    assert_eq!(entra.asked().len(), 1);
    assert!(crowd().await.iter().all(Result::is_ok));
    assert_eq!(entra.asked().len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_who_hold_it() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    let refused = credential.token().await.unwrap();
    let renewed = join_all((0..5).map(|_| credential.renew(&refused, None))).await;
    assert!(
        renewed
            .iter()
            .all(|token| token.as_ref().unwrap().secret() == "token-2")
    );
    assert_eq!(entra.asked().len(), 2);
}

#[tokio::test]
async fn the_claims_that_azure_asks_for_go_into_the_next_request_for_a_token_alone() {
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = of(&entra, &clock);
    let refused = credential.token().await.unwrap();
    let claims = r#"{"access_token":{"nbf":"1"}}"#;
    let renewed = credential.renew(&refused, Some(claims)).await.unwrap();
    assert_eq!(renewed.secret(), "token-2");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(text(&credential).await, "token-3");
    let asked = entra.asked();
    assert!(
        asked[1]
            .ends_with(".default&claims=%7B%22access%5Ftoken%22%3A%7B%22nbf%22%3A%221%22%7D%7D"),
        "{}",
        asked[1]
    );
    assert!(!asked[0].contains("claims") && !asked[2].contains("claims"));
}

#[tokio::test]
async fn what_entra_says_is_told_apart() {
    let refusal = |code: i64| {
        json!({"error": "invalid_client", "error_codes": [code], "correlation_id": "c-1",
            "error_description": format!("AADSTS{code}: No. Trace ID: t-1 Correlation ID: c-1 Timestamp: 2026-01-01 12:00:00Z")})
    };
    for (status, body, class, code, hint) in [
        (
            401,
            refusal(7_000_215),
            Class::CredentialsRefused,
            "AADSTS7000215",
            "not its id",
        ),
        (
            401,
            refusal(7_000_222),
            Class::CredentialsRefused,
            "AADSTS7000222",
            "expired",
        ),
        (
            400,
            refusal(700_016),
            Class::CredentialsRefused,
            "AADSTS700016",
            "AZURE_CLIENT_ID",
        ),
        (
            400,
            refusal(90_002),
            Class::CredentialsRefused,
            "AADSTS90002",
            "AZURE_TENANT_ID",
        ),
        (
            400,
            refusal(1),
            Class::CredentialsRefused,
            "AADSTS1",
            "check",
        ),
        (400, refusal(90_033), Class::Unavailable, "AADSTS90033", ""),
        (429, refusal(2), Class::Throttled, "AADSTS2", ""),
        (500, refusal(3), Class::Unavailable, "AADSTS3", ""),
    ] {
        let (entra, clock) = (FakeEntra::default(), standing_clock());
        entra.answers_next(status, body);
        let error = of(&entra, &clock).check().await.unwrap_err();
        assert_eq!((error.class(), error.status()), (class, Some(status)));
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.message(), "No.", "what differs each time is left out");
        assert_eq!(error.request_id(), Some("c-1"));
        assert!(error.hint().unwrap_or_default().contains(hint), "{error}");
    }
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    entra.answers_next(200, json!("<html>"));
    let error = of(&entra, &clock).check().await.unwrap_err();
    assert_eq!(error.class(), Class::Undecodable);
}

#[tokio::test]
async fn values_that_cannot_be_an_identity_are_refused_without_asking() {
    let identity = Identity::ClientSecret {
        tenant_id: "not a tenant".to_owned(),
        client_id: "c".to_owned(),
        client_secret: "hush-hush".to_owned().into(),
    };
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = credential(&entra, identity, clock.clock(), Arc::new(Unobserved));
    let error = credential.check().await.unwrap_err();
    assert_eq!(error.class(), Class::CredentialsRefused);
    assert_eq!(error.retry(), Retry::Slow);
    assert!(!format!("{error} {error:?} {credential:?}").contains("hush"));
    assert!(entra.asked().is_empty());
}

#[tokio::test]
async fn a_federated_token_is_read_anew_for_each_token() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("azure-identity-token");
    let identity = Identity::WorkloadIdentity {
        tenant_id: "the-tenant".to_owned(),
        client_id: "the-client".to_owned(),
        token_file: token_file.clone(),
    };
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = credential(&entra, identity, clock.clock(), Arc::new(Unobserved));
    let error = credential.check().await.unwrap_err();
    assert_eq!(error.class(), Class::CredentialsRefused);
    assert!(error.message().contains("azure-identity-token"), "{error}");

    std::fs::write(&token_file, "assertion-1").unwrap();
    credential.check().await.unwrap();
    std::fs::write(&token_file, "assertion-2").unwrap();
    clock.advance(Duration::from_secs(3600));
    credential.check().await.unwrap();
    let asked = entra.asked();
    assert!(asked[0].contains("client_assertion=assertion-1&"));
    assert!(asked[1].contains("client_assertion=assertion-2&"));
}

#[tokio::test]
async fn a_service_account_of_a_namespace_proves_itself_by_its_own_token() {
    let identity = Identity::FederatedServiceAccount {
        tenant_id: "the-tenant".to_owned(),
        client_id: "the-client".to_owned(),
        service_account: ServiceAccount {
            namespace: "weather".to_owned(),
            name: "dask".to_owned(),
        },
    };
    let (entra, clock) = (FakeEntra::default(), standing_clock());
    let credential = credential(&entra, identity, clock.clock(), Arc::new(Unobserved));
    credential.check().await.unwrap();
    let asked = entra.asked();
    assert!(
        asked[0].contains("/the-tenant/oauth2/v2.0/token client_assertion=weather.dask&"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains("&client_id=the-client&"), "{}", asked[0]);

    for (refused, class) in [
        (true, Class::CredentialsRefused),
        (false, Class::Unavailable),
    ] {
        entra.has_no_service_account(NoServiceAccountToken {
            message: "no service account dask".to_owned(),
            refused,
        });
        clock.advance(Duration::from_secs(3600));
        let error = credential.check().await.unwrap_err();
        assert_eq!(
            (error.class(), error.message()),
            (class, "no service account dask")
        );
    }
    assert_eq!(entra.asked().len(), 1, "Entra has nothing to judge");
}

#[tokio::test]
async fn a_managed_identity_is_asked_for_by_the_metadata_service() {
    const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com";
    for (client_id, query) in [(None, ""), (Some("the-client"), "&client_id=the-client")] {
        let identity = Identity::ManagedIdentity {
            client_id: client_id.map(str::to_owned),
        };
        let (entra, clock) = (FakeEntra::default(), standing_clock());
        let observations = Observations::default();
        let credential = credential(
            &entra,
            identity,
            clock.clock(),
            Arc::new(observations.clone()),
        );
        for (status, class) in [
            (400, Class::CredentialsRefused),
            (404, Class::Unavailable),
            (410, Class::Unavailable),
            (429, Class::Throttled),
            (500, Class::Unavailable),
        ] {
            let body =
                json!({"error": "invalid_request", "error_description": "Identity not found"});
            entra.answers_next(status, body);
            let error = credential.check().await.unwrap_err();
            assert_eq!((error.class(), error.status()), (class, Some(status)));
            let assign = error.hint().is_some_and(|hint| hint.starts_with("assign"));
            assert_eq!(assign, status == 400);
        }
        // Numbers are texts here.
        let end = Clock::system().now().as_second() + 3600;
        let token = json!({"access_token": "t", "expires_on": end.to_string(), "token_type": "Bearer", "resource": "r"});
        entra.answers_next(200, token);
        assert_eq!(text(&credential).await, "t");
        assert_eq!(entra.asked().last().unwrap(), &format!("{IMDS}{query} "));
        assert_eq!(observations.all().last().unwrap(), "GET token 200 ok");
    }
}

#[tokio::test]
async fn an_entra_that_is_not_there_or_never_answers_is_unreachable_within_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), closed.local_addr().unwrap()];
    drop(closed);
    for address in addresses {
        let authority = format!("https://{address}");
        let endpoint = Endpoint::new(Some(&authority), None, None).unwrap();
        let http = insecure_http_client(&HttpSettings {
            connect_timeout: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            ..HttpSettings::default()
        });
        let observations = Observations::default();
        let credential = Credential::new(
            client_secret(),
            &endpoint,
            TokenSources {
                entra: Arc::new(http),
                ..FakeEntra::default().sources()
            },
            Clock::system(),
            Arc::new(observations.clone()),
        );
        let check = tokio::time::timeout(Duration::from_secs(30), credential.check()).await;
        let error = check.expect("asking has a deadline").unwrap_err();
        assert_eq!(error.class(), Class::Unreachable, "{error}");
        assert_eq!(observations.all(), ["POST token - unreachable"]);
    }
}

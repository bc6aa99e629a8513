use std::sync::atomic::{AtomicUsize, Ordering};

use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::azure::{Budgets, HttpSettings, Unobserved, insecure_http_client};
use crate::clock::ManualClock;

/// An API server with Secrets of one namespace, which counts how often they are read.
#[derive(Clone, Default)]
struct Secrets {
    by_name: Arc<Mutex<HashMap<String, serde_json::Value>>>,
    reads: Arc<AtomicUsize>,
}

impl Secrets {
    fn hold(&self, name: &str, version: &str, client_secret: &str) {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version},
            "data": {
                "AZURE_TENANT_ID": ByteString(b"tenant".to_vec()),
                "AZURE_CLIENT_ID": ByteString(b"client".to_vec()),
                "AZURE_CLIENT_SECRET": ByteString(client_secret.as_bytes().to_vec()),
            },
        });
        self.by_name.lock().unwrap().insert(name.to_owned(), secret);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn answer(&self, path: &str) -> http::Response<Body> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let name = path.rsplit('/').next().unwrap_or_default();
        let (status, body) = match self.by_name.lock().unwrap().get(name) {
            Some(secret) => (200, secret.clone()),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "NotFound", "code": 404}),
            ),
        };
        let body = Body::from(body.to_string().into_bytes());
        http::Response::builder().status(status).body(body).unwrap()
    }

    fn client(&self) -> Client {
        let own = self.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let answer = own.answer(request.uri().path());
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn pool(&self, clock: &ManualClock) -> AccessPool {
        let http = insecure_http_client(&HttpSettings::default());
        let tokens = TokenSources::new(http.clone(), None, Arc::new(TokenRequests(self.client())));
        let settings = AccessSettings {
            endpoint: Endpoint::new(None, None, None).unwrap(),
            tokens: tokens.unwrap(),
            http,
            own: None,
            lends_own: false,
            observer: Arc::new(Unobserved),
            budgets: Budgets::new(clock.clock(), Arc::new(Unobserved)),
            lead: Lead::always(clock.clock()),
        };
        AccessPool::new(settings, clock.clock(), self.client())
    }
}

fn named(name: &str) -> Source {
    Source::Secret(name.to_owned())
}

fn standing_clock() -> ManualClock {
    ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap())
}

/// Clones of one access share its client.
fn is_shared(one: &Granted, other: &Granted) -> bool {
    Arc::ptr_eq(&one.access.name, &other.access.name)
}

#[tokio::test]
async fn equal_secrets_share_one_client_and_a_wrong_one_shares_nothing() {
    let (secrets, clock) = (Secrets::default(), standing_clock());
    secrets.hold("one", "1", "hush-hush");
    secrets.hold("other", "2", "hush-hush");
    secrets.hold("wrong", "3", "guessed");
    let pool = secrets.pool(&clock);
    let one = pool.of("a", &named("one"), None).await.unwrap();
    let other = pool.of("b", &named("other"), None).await.unwrap();
    let wrong = pool.of("b", &named("wrong"), None).await.unwrap();
    assert!(is_shared(&one, &other));
    assert_eq!(one.access.principal, other.access.principal);
    assert_ne!(one.access.principal, wrong.access.principal);
    assert!(!is_shared(&one, &wrong));
    // Azure counts the requests of both all the same.
    assert_eq!(*one.access.name, *wrong.access.name);
    // A Secret that is not watched is read at each look, and keeps its client.
    let again = pool.of("a", &named("one"), None).await.unwrap();
    assert!(is_shared(&one, &again));
    assert_eq!(secrets.reads(), 4);
}

#[tokio::test]
async fn a_watched_secret_is_read_once_a_version_and_a_new_version_takes_effect() {
    let (secrets, clock) = (Secrets::default(), standing_clock());
    secrets.hold("own", "1", "old");
    let pool = secrets.pool(&clock);
    let old = pool.of("n", &named("own"), Some("1")).await.unwrap();
    let same = pool.of("n", &named("own"), Some("1")).await.unwrap();
    assert!(is_shared(&old, &same));
    assert_eq!(secrets.reads(), 1);

    secrets.hold("own", "2", "new");
    let new = pool.of("n", &named("own"), Some("2")).await.unwrap();
    assert_ne!(new.access.principal, old.access.principal);
    // A label of ours changed the version, and nothing else.
    pool.secret_was_touched("n", "own", Some("3".to_owned()));
    let touched = pool.of("n", &named("own"), Some("3")).await.unwrap();
    assert!(is_shared(&new, &touched));
    assert_eq!(secrets.reads(), 2);
}

#[tokio::test]
async fn a_secret_that_is_missing_is_asked_for_every_five_seconds_however_many_wait_for_it() {
    let (secrets, clock) = (Secrets::default(), standing_clock());
    let pool = secrets.pool(&clock);
    for _ in 0..10 {
        let refused = pool.of("n", &named("later"), None).await.err().unwrap();
        assert_eq!(refused.reason, Reason::CredentialsMissing);
        assert!(refused.message.contains("Secret later does not exist"));
    }
    assert_eq!(secrets.reads(), 1);
    secrets.hold("later", "1", "hush-hush");
    clock.advance(Duration::from_secs(5));
    assert!(pool.of("n", &named("later"), None).await.is_ok());
}

#[tokio::test]
async fn a_watched_secret_that_lacks_a_key_is_read_again_when_it_changes() {
    let (secrets, clock) = (Secrets::default(), standing_clock());
    secrets.hold("own", "1", "");
    let pool = secrets.pool(&clock);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(60));
        let refused = pool.of("n", &named("own"), Some("1")).await.err().unwrap();
        assert!(
            refused
                .message
                .contains("Secret own is incomplete: AZURE_CLIENT_SECRET is not set"),
            "{}",
            refused.message
        );
    }
    assert_eq!(secrets.reads(), 1);
    secrets.hold("own", "2", "hush-hush");
    assert!(pool.of("n", &named("own"), Some("2")).await.is_ok());
}

#[tokio::test]
async fn the_operator_acts_for_others_only_where_it_lends_itself() {
    let (secrets, clock) = (Secrets::default(), standing_clock());
    let pool = secrets.pool(&clock);
    assert!(pool.source(None, false).is_err());
    assert_eq!(
        pool.source(None, true),
        Ok(named(crate::kubernetes::NAMESPACE_CREDENTIALS))
    );
}

//! Campaigns against an API server of one Lease, on a clock that is moved by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use kube::{Api, Client};
use prometheus::IntCounter;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::{BoxError, service_fn};

use super::*;
use crate::clock::ManualClock;

const TIMING: Timing = Timing {
    duration: Duration::from_secs(15),
    renew: Duration::from_secs(5),
    retry: Duration::from_secs(1),
};
/// The hand moves in steps of that.
const STEP: Duration = Duration::from_millis(100);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Weather {
    #[default]
    Fine,
    /// It does not arrive, and nobody says so.
    Hangs,
    /// It is refused at once.
    Refuses,
    /// It takes two seconds, and is carried out then.
    Slow,
    /// It arrives and is carried out, but a write's answer never comes.
    LosesAnswers,
}

/// An API server that holds one Lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    lease: Option<Value>,
    version: u64,
    writes: Vec<Value>,
}

impl Server {
    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn spec(&self, field: &str) -> Value {
        self.with(|held| held.lease.clone().unwrap_or_default()["spec"][field].clone())
    }

    fn holder(&self) -> String {
        self.spec("holderIdentity")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// As somebody with kubectl.
    fn edit(&self, field: &str, value: Value) {
        self.with(|held| {
            held.version += 1;
            let version = held.version.to_string();
            let lease = held.lease.as_mut().unwrap();
            lease["spec"][field] = value;
            lease["metadata"]["resourceVersion"] = json!(version);
        });
    }

    fn client(&self, weather: &Arc<Mutex<Weather>>, clock: Clock) -> Client {
        let (server, weather) = (self.clone(), Arc::clone(weather));
        let service = service_fn(move |request: Request<Body>| {
            let (server, clock) = (server.clone(), clock.clone());
            let weather = *weather.lock().unwrap();
            async move {
                let is_write = request.method() != Method::GET;
                match weather {
                    Weather::Hangs => std::future::pending().await,
                    Weather::Refuses => return Err(BoxError::from("connection refused")),
                    Weather::Slow => clock.sleep(2 * SECOND).await,
                    Weather::Fine | Weather::LosesAnswers => {}
                }
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await?;
                let (status, body) = server.with(|held| held.answer(&method, &body));
                if is_write && weather == Weather::LosesAnswers {
                    std::future::pending::<()>().await;
                }
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
            }
        });
        Client::new(service, "default")
    }
}

impl Held {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        let refused = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
            (code, status)
        };
        let current = self
            .lease
            .as_ref()
            .map(|lease| lease["metadata"]["resourceVersion"].clone());
        match *method {
            Method::GET => match &self.lease {
                Some(lease) => (200, lease.clone()),
                None => refused(404, "NotFound"),
            },
            Method::POST if self.lease.is_some() => refused(409, "AlreadyExists"),
            Method::PUT if self.lease.is_none() => refused(404, "NotFound"),
            _ => {
                let mut lease: Value = serde_json::from_slice(body).unwrap();
                if *method == Method::PUT
                    && Some(&lease["metadata"]["resourceVersion"]) != current.as_ref()
                {
                    return refused(409, "Conflict");
                }
                self.version += 1;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease.clone());
                self.writes.push(lease.clone());
                (200, lease)
            }
        }
    }
}

/// A candidate, and its own way to the server.
struct Operator {
    lead: Lead,
    weather: Arc<Mutex<Weather>>,
    transitions: IntCounter,
    resign: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Lost>>,
}

impl Operator {
    fn start(server: &Server, hand: &ManualClock, holder: &str) -> Self {
        Self::of_instance(server, hand, holder, "dask/weather")
    }

    fn of_instance(server: &Server, hand: &ManualClock, holder: &str, instance: &str) -> Self {
        let weather = Arc::default();
        let settings = LeaseSettings {
            namespace: None,
            name: "weather".into(),
            holder: holder.into(),
            instance: instance.into(),
            timing: TIMING,
        };
        let (candidate, lead) = Candidate::new(settings, hand.clock());
        let transitions = IntCounter::new("transitions", "Of a test").unwrap();
        let client = server.client(&weather, hand.clock());
        let Standing { resign, task } =
            candidate.stand(&client, Caches::default(), transitions.clone());
        Self {
            lead,
            weather,
            transitions,
            resign: Some(resign),
            task,
        }
    }

    fn weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    fn leads(&self) -> bool {
        self.lead.is_current()
    }

    async fn ended(mut self) -> Result<(), Lost> {
        tokio::time::timeout(Duration::from_secs(10), &mut self.task)
            .await
            .unwrap()
            .unwrap()
    }
}

impl Drop for Operator {
    /// As SIGKILL: nothing is let go.
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn noon() -> ManualClock {
    ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap())
}

/// Everybody does what can be done without any time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// So much time passes. At no moment do two of these lead.
async fn pass(hand: &ManualClock, time: Duration, operators: &[&Operator]) {
    settle().await;
    let end = hand.clock().elapsed() + time;
    while hand.clock().elapsed() < end {
        let leaders = operators.iter().filter(|operator| operator.leads()).count();
        assert!(
            leaders <= 1,
            "{leaders} lead at {:?}",
            hand.clock().elapsed()
        );
        hand.advance(STEP);
        settle().await;
    }
}

/// How long it takes until this one leads.
async fn until_leads(hand: &ManualClock, operator: &Operator, others: &[&Operator]) -> Duration {
    let began = hand.clock().elapsed();
    loop {
        settle().await;
        let passed = hand.clock().elapsed() - began;
        if operator.leads() {
            return passed;
        }
        assert!(passed < Duration::from_secs(60), "it never leads");
        let mut all = others.to_vec();
        all.push(operator);
        pass(hand, STEP, &all).await;
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_first_takes_the_lease_and_keeps_it_and_the_second_writes_nothing() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    assert_eq!(until_leads(&hand, &one, &[]).await, Duration::ZERO);
    let other = Operator::start(&server, &hand, "other");
    pass(&hand, 60 * SECOND, &[&one, &other]).await;
    assert!(one.leads() && !other.leads());
    assert_eq!((one.transitions.get(), other.transitions.get()), (1, 0));
    let writes = server.with(|held| std::mem::take(&mut held.writes));
    assert!((12..=13).contains(&writes.len()), "{}", writes.len());
    for write in &writes {
        assert_eq!(write["spec"]["holderIdentity"], "one");
        assert_eq!(write["spec"]["leaseDurationSeconds"], 15);
        assert_eq!(write["spec"]["acquireTime"], "2026-01-01T12:00:00.000000Z");
        assert_eq!(write["spec"]["leaseTransitions"], 0);
    }
}

#[tokio::test]
async fn one_that_resigns_is_succeeded_within_two_seconds_and_one_that_is_killed_within_seventeen()
{
    let (server, hand) = (Server::default(), noon());
    let mut one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    let other = Operator::start(&server, &hand, "other");
    pass(&hand, 7 * SECOND, &[&one, &other]).await;
    one.resign.take().unwrap().send(()).unwrap();
    let passed = until_leads(&hand, &other, &[&one]).await;
    assert!(passed <= 2 * SECOND, "{passed:?}");
    assert_eq!(one.ended().await, Ok(()));
    assert_eq!(server.spec("leaseTransitions"), 1);
    let third = Operator::start(&server, &hand, "third");
    pass(&hand, 7 * SECOND, &[&other, &third]).await;
    drop(other);
    let passed = until_leads(&hand, &third, &[]).await;
    assert!(passed > 10 * SECOND && passed <= 17 * SECOND, "{passed:?}");
}

#[tokio::test]
async fn one_that_resigns_does_not_lead_from_then_on_and_ends_though_nobody_answers() {
    for weather in [Weather::Hangs, Weather::Refuses, Weather::LosesAnswers] {
        let (server, hand) = (Server::default(), noon());
        let mut one = Operator::start(&server, &hand, "one");
        until_leads(&hand, &one, &[]).await;
        let other = Operator::start(&server, &hand, "other");
        pass(&hand, SECOND, &[&one, &other]).await;
        one.weather(weather);
        one.resign.take().unwrap().send(()).unwrap();
        settle().await;
        assert!(!one.leads(), "before the lease is let go");
        let passed = until_leads(&hand, &other, &[&one]).await;
        assert!(passed <= 17 * SECOND, "{weather:?} {passed:?}");
        pass(&hand, 5 * SECOND, &[&one, &other]).await;
        assert_eq!(one.ended().await, Ok(()), "{weather:?}");
    }
}

#[tokio::test]
async fn one_that_resigns_as_a_standby_leaves_the_lease_to_its_holder() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    let mut other = Operator::start(&server, &hand, "other");
    pass(&hand, SECOND, &[&one, &other]).await;
    other.resign.take().unwrap().send(()).unwrap();
    pass(&hand, 30 * SECOND, &[&one]).await;
    assert_eq!(other.ended().await, Ok(()));
    assert!(one.leads());
    assert_eq!(server.holder(), "one");
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_found_and_held() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    one.weather(Weather::LosesAnswers);
    pass(&hand, SECOND, &[&one]).await;
    assert_eq!(server.holder(), "one");
    assert!(!one.leads(), "nobody told it");
    one.weather(Weather::Fine);
    let passed = until_leads(&hand, &one, &[]).await;
    assert!(passed <= 5 * SECOND, "{passed:?}");
    assert_eq!(server.spec("leaseTransitions"), 0, "it was its own before");
}

#[tokio::test]
async fn a_renewal_whose_answer_is_lost_is_made_again_and_counts_from_when_that_was_sent() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    pass(&hand, 4 * SECOND, &[&one]).await;
    one.weather(Weather::LosesAnswers);
    pass(&hand, 2 * SECOND, &[&one]).await;
    one.weather(Weather::Fine);
    pass(&hand, 60 * SECOND, &[&one]).await;
    assert!(one.leads());
    assert_eq!(one.transitions.get(), 1);
}

#[tokio::test]
async fn a_claim_counts_from_when_it_was_sent_however_long_its_answer_took() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    one.weather(Weather::Slow);
    // The look takes two seconds, and so does the claim that is sent then.
    assert_eq!(until_leads(&hand, &one, &[]).await, 4 * SECOND);
    one.weather(Weather::Hangs);
    pass(&hand, 9 * SECOND, &[&one]).await;
    assert!(one.leads());
    pass(&hand, SECOND, &[&one]).await;
    assert!(!one.leads(), "twelve seconds after it was sent");
}

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_costs_nobody_the_lead() {
    for weather in [Weather::Hangs, Weather::Refuses, Weather::LosesAnswers] {
        let (server, hand) = (Server::default(), noon());
        let one = Operator::start(&server, &hand, "one");
        until_leads(&hand, &one, &[]).await;
        pass(&hand, 4 * SECOND, &[&one]).await;
        one.weather(weather);
        pass(&hand, 4 * SECOND, &[&one]).await;
        one.weather(Weather::Fine);
        pass(&hand, 60 * SECOND, &[&one]).await;
        assert!(one.leads(), "{weather:?}");
    }
}

#[tokio::test]
async fn one_that_cannot_renew_stops_before_another_takes_the_lease_and_ends() {
    for weather in [Weather::Hangs, Weather::Refuses] {
        let (server, hand) = (Server::default(), noon());
        let one = Operator::start(&server, &hand, "one");
        until_leads(&hand, &one, &[]).await;
        let other = Operator::start(&server, &hand, "other");
        pass(&hand, 21 * SECOND, &[&one, &other]).await;
        one.weather(weather);
        // `until_leads` holds that there are never two.
        let passed = until_leads(&hand, &other, &[&one]).await;
        assert!(passed <= 17 * SECOND, "{passed:?}");
        let lost = Lost {
            lease: "weather".into(),
            why: Why::NotRenewed,
        };
        assert_eq!(one.ended().await, Err(lost), "{weather:?}");
    }
}

#[tokio::test]
async fn when_the_api_server_is_away_for_everybody_the_lead_ends_and_one_takes_it_afterwards() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    let other = Operator::start(&server, &hand, "other");
    pass(&hand, 3 * SECOND, &[&one, &other]).await;
    one.weather(Weather::Hangs);
    other.weather(Weather::Hangs);
    pass(&hand, 60 * SECOND, &[&one, &other]).await;
    assert!(!one.leads() && !other.leads());
    other.weather(Weather::Fine);
    let passed = until_leads(&hand, &other, &[&one]).await;
    assert!(
        passed <= 5 * SECOND,
        "its own clock says that it is over: {passed:?}"
    );
    assert_eq!(
        one.ended().await.map_err(|lost| lost.why),
        Err(Why::NotRenewed)
    );
}

#[tokio::test]
async fn time_that_passes_at_once_ends_the_claim_before_its_task_knows() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    let other = Operator::start(&server, &hand, "other");
    pass(&hand, SECOND, &[&one, &other]).await;
    // As after SIGSTOP and SIGCONT: nothing has run in between, and the first thing that does is a write.
    hand.advance(60 * SECOND);
    assert!(!one.leads());
    settle().await;
    pass(&hand, 3 * SECOND, &[&one, &other]).await;
    assert!(other.leads());
    assert_eq!(
        one.ended().await.map_err(|lost| lost.why),
        Err(Why::NotRenewed)
    );
}

#[tokio::test]
async fn clocks_of_other_machines_mean_nothing() {
    for years in [-30, 30] {
        let (server, hand) = (Server::default(), noon());
        let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let skewed = start.saturating_add(jiff::SignedDuration::from_hours(years * 24 * 365));
        // Both hands are moved together, but show other years.
        let other_hand = ManualClock::starting_at(skewed.unwrap());
        let one = Operator::start(&server, &hand, "one");
        until_leads(&hand, &one, &[]).await;
        let other = Operator::start(&server, &other_hand, "other");
        for _ in 0..300 {
            other_hand.advance(STEP);
            pass(&hand, STEP, &[&one, &other]).await;
        }
        assert!(one.leads() && !other.leads(), "{years}");
        drop(one);
        for tenths in 0.. {
            if other.leads() {
                assert!((100..=170).contains(&tenths), "{tenths}");
                break;
            }
            assert!(tenths < 600, "it never leads");
            other_hand.advance(STEP);
            settle().await;
        }
    }
}

#[tokio::test]
async fn whoever_is_taken_out_of_the_lease_ends() {
    for holder in ["she", ""] {
        let (server, hand) = (Server::default(), noon());
        let one = Operator::start(&server, &hand, "one");
        until_leads(&hand, &one, &[]).await;
        server.edit("holderIdentity", json!(holder));
        pass(&hand, 6 * SECOND, &[&one]).await;
        assert!(!one.leads());
        let ended = one.ended().await;
        assert_eq!(
            ended.map_err(|lost| lost.why),
            Err(Why::Taken),
            "{holder:?}"
        );
        assert_eq!(server.holder(), holder, "it is not taken back");
    }
}

#[tokio::test]
async fn a_lease_that_is_deleted_is_made_again_by_its_holder_and_by_nobody_else() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::start(&server, &hand, "one");
    until_leads(&hand, &one, &[]).await;
    let other = Operator::start(&server, &hand, "other");
    pass(&hand, SECOND, &[&one, &other]).await;
    server.with(|held| held.lease = None);
    pass(&hand, 30 * SECOND, &[&one, &other]).await;
    assert_eq!(server.holder(), "one");
    assert!(one.leads());
}

#[tokio::test]
async fn of_many_that_begin_together_one_leads() {
    let (server, hand) = (Server::default(), noon());
    let names = ["a", "b", "c", "d", "e"];
    let all = names.map(|name| Operator::start(&server, &hand, name));
    let all: Vec<&Operator> = all.iter().collect();
    pass(&hand, 30 * SECOND, &all).await;
    assert_eq!(all.iter().filter(|operator| operator.leads()).count(), 1);
}

#[tokio::test]
async fn two_operators_that_share_a_lease_by_mistake_never_both_work() {
    let (server, hand) = (Server::default(), noon());
    let one = Operator::of_instance(&server, &hand, "one", "dask/weather");
    until_leads(&hand, &one, &[]).await;
    let other = Operator::of_instance(&server, &hand, "other", "dask/climate");
    pass(&hand, 30 * SECOND, &[&one, &other]).await;
    assert!(one.leads() && !other.leads());
    let annotations =
        server.with(|held| held.lease.clone().unwrap()["metadata"]["annotations"].clone());
    assert_eq!(
        annotations,
        json!({"azureml.dask.dev/instance": "dask/weather"})
    );
}

#[tokio::test]
async fn one_whose_caches_are_not_filled_leaves_the_lease_to_others_and_can_resign() {
    let (server, hand) = (Server::default(), noon());
    let caches = Caches::default();
    let _empty = caches.another::<Lease>();
    let settings = LeaseSettings {
        namespace: None,
        name: "weather".into(),
        holder: "blind".into(),
        instance: "dask/weather".into(),
        timing: TIMING,
    };
    let (candidate, lead) = Candidate::new(settings, hand.clock());
    let client = server.client(&Arc::default(), hand.clock());
    let transitions = IntCounter::new("transitions", "Of a test").unwrap();
    let standing = candidate.stand(&client, caches.clone(), transitions);
    settle().await;
    assert_eq!(server.holder(), "");
    assert!(!lead.is_current() && lead.trouble().is_none());
    tokio::time::timeout(Duration::from_secs(10), standing.resign())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_writes_only_while_leading_reads_always() {
    let server = Server::default();
    let hand = noon();
    let (candidate, lead) = Candidate::new(
        LeaseSettings {
            namespace: None,
            name: "weather".into(),
            holder: "one".into(),
            instance: "dask/weather".into(),
            timing: TIMING,
        },
        hand.clock(),
    );
    let plain = server.client(&Arc::default(), hand.clock());
    let leases: Api<Lease> = Api::default_namespaced(only_while_leading(&plain, &lead));
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    let refused = leases
        .create(&Default::default(), &lease)
        .await
        .unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(cause, NotLeading.to_string());
    assert!(leases.get_opt("a").await.unwrap().is_none());
    assert!(server.with(|held| held.writes.is_empty()));
    candidate
        .tell
        .send_modify(|told| told.claim = lead::Claim::Until(SECOND));
    leases.create(&Default::default(), &lease).await.unwrap();
    hand.advance(SECOND);
    assert!(leases.create(&Default::default(), &lease).await.is_err());
    // What the API server itself refuses is told as such.
    hand.advance(SECOND);
    candidate
        .tell
        .send_modify(|told| told.claim = lead::Claim::Always);
    let refused = leases
        .create(&Default::default(), &lease)
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 409));
}

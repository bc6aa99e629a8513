use super::*;
use crate::azure::Lane;
use crate::azure::observer::Unobserved;
use crate::clock::ManualClock;

const WRITE: OperationType = OperationType::Write;

struct Scene {
    hand: ManualClock,
    budgets: Budgets,
    principal: Arc<str>,
}

impl Scene {
    fn new() -> Self {
        let hand = ManualClock::starting_at("2026-01-01T12:00:00Z".parse().unwrap());
        let budgets = Budgets::new(hand.clock(), Arc::new(Unobserved));
        Self {
            hand,
            budgets,
            principal: "tenant/client".into(),
        }
    }

    async fn turn(&self, cluster: &str) -> Result<Slot, Refusal> {
        let errand = Errand {
            lane: Lane::UserChange,
            cluster: Some(cluster.into()),
        };
        self.budgets
            .turn(&self.principal, "0", WRITE, &errand)
            .await
    }

    /// A write after which so many are left.
    async fn write(&self, left: &'static str) {
        let mut slot = self.turn("first").await.unwrap();
        slot.hear(&said(left));
    }

    async fn until_sleepers(&self, count: usize) {
        let slept = async {
            while self.hand.sleepers() < count {
                tokio::task::yield_now().await;
            }
        };
        let deadline = Duration::from_secs(30);
        tokio::time::timeout(deadline, slept).await.unwrap();
    }
}

fn said(left: &'static str) -> HeaderMap {
    let name = reqwest::header::HeaderName::from_static(headers_of(WRITE).0);
    HeaderMap::from_iter([(name, reqwest::header::HeaderValue::from_static(left))])
}

#[tokio::test]
async fn who_waits_is_let_through_as_tokens_come_back() {
    let scene = Scene::new();
    scene.write("10").await;
    let (one, two) = (scene.turn("one"), scene.turn("two"));
    let both = async { tokio::join!(one, two) };
    let time = async {
        // Both have their patience, and one task waits for the next token.
        scene.until_sleepers(3).await;
        scene.hand.advance(Duration::from_millis(110));
        scene.until_sleepers(2).await;
        scene.hand.advance(Duration::from_millis(110));
    };
    let ((one, two), ()) = tokio::join!(both, time);
    assert!(one.is_ok() && two.is_ok());
}

#[tokio::test]
async fn an_answer_that_tells_of_more_lets_through_at_once() {
    let scene = Scene::new();
    scene.write("10").await;
    scene.hand.advance(Duration::from_millis(110));
    let mut under_way = scene.turn("one").await.unwrap();
    let waiting = scene.turn("two");
    let answer = async {
        scene.until_sleepers(2).await;
        under_way.hear(&said("150"));
        drop(under_way);
    };
    let (waiting, ()) = tokio::join!(waiting, answer);
    assert!(waiting.is_ok());
}

#[tokio::test]
async fn who_does_not_come_to_turn_in_time_is_sent_away_and_keeps_the_place() {
    let scene = Scene::new();
    scene.write("10").await;
    let waiting = scene.turn("one");
    let throttle = async {
        scene.until_sleepers(2).await;
        // Azure takes nothing any more.
        let state = &scene.budgets.gates(&scene.principal, "0")[WRITE as usize];
        let mut state = lock(&state.state);
        let errand = Errand {
            lane: Lane::Delete,
            cluster: None,
        };
        let now = scene.hand.clock().elapsed();
        state.allowance.enter(&errand, now);
        let admitted = state.allowance.admit(now).unwrap();
        let minute = Some(Duration::from_secs(60));
        state.allowance.throttle(admitted.passage, minute, 0.0, now);
        drop(state);
        scene.hand.advance(Duration::from_secs(2));
    };
    let (refusal, ()) = tokio::join!(waiting, throttle);
    let refusal = refusal.err().unwrap();
    assert_eq!(
        refusal,
        Refusal {
            before: 0,
            wait: Duration::from_secs(57)
        }
    );
    let later = scene.turn("two").await.err().unwrap();
    assert_eq!(later.before, 1);
    scene.hand.advance(Duration::from_secs(58));
    assert!(scene.turn("one").await.is_ok());
}

#[tokio::test]
async fn who_is_let_go_of_while_waiting_leaves_no_trace() {
    let scene = Scene::new();
    scene.write("10").await;
    {
        let mut waiting = std::pin::pin!(scene.turn("one"));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
    }
    let gates = scene.budgets.gates(&scene.principal, "0");
    let state = lock(&gates[WRITE as usize].state);
    assert!(state.waiting.is_empty());
    assert!(state.allowance.due(Duration::ZERO).is_none());
    drop(state);
    scene.hand.advance(Duration::from_secs(3600));
    let state = lock(&gates[WRITE as usize].state);
    assert!(state.allowance.is_idle(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_slot_whose_request_was_let_go_of_is_free_again() {
    let scene = Scene::new();
    scene.write("10").await;
    scene.hand.advance(Duration::from_millis(110));
    let slot = scene.turn("one").await.unwrap();
    drop(slot);
    scene.hand.advance(Duration::from_millis(110));
    assert!(scene.turn("one").await.is_ok());
}

#[tokio::test]
async fn principals_and_subscriptions_have_budgets_of_their_own_and_idle_ones_are_forgotten() {
    let scene = Scene::new();
    scene.write("3").await;
    let errand = Errand::default();
    let other: Arc<str> = "tenant/other".into();
    for (principal, subscription) in [(&scene.principal, "1"), (&other, "0")] {
        let turn = scene.budgets.turn(principal, subscription, WRITE, &errand);
        assert!(turn.await.is_ok(), "{principal} {subscription}");
    }
    scene.budgets.gates(&other, "A");
    // The casing of a subscription's id does not matter.
    scene.budgets.gates(&other, "a");
    assert_eq!(lock(&scene.budgets.0.gates).len(), 4);
    scene.hand.advance(Duration::from_secs(1));
    assert_eq!(scene.budgets.least_left(WRITE), Some(13.0));
    assert_eq!(scene.budgets.least_left(OperationType::Read), Some(250.0));
    scene.hand.advance(Duration::from_secs(60));
    scene.budgets.gates(&other, "b");
    assert_eq!(lock(&scene.budgets.0.gates).len(), 1);
}

#[tokio::test]
async fn who_was_sent_away_takes_nothing_from_who_came_for_the_place_meanwhile() {
    let scene = Scene::new();
    scene.write("10").await;
    let gates = scene.budgets.gates(&scene.principal, "0");
    let gate = &gates[WRITE as usize];
    let errand = Errand {
        lane: Lane::UserChange,
        cluster: Some("one".into()),
    };
    let mut sent_away = gate.enter(&errand);
    assert!(gate.postpone(&mut sent_away).is_some());
    // The next request of the cluster comes before the first has quite gone.
    let mut came = gate.enter(&errand);
    assert_eq!(came.ticket, sent_away.ticket);
    drop(sent_away);
    scene.hand.advance(Duration::from_secs(60));
    gate.let_through();
    assert!(came.turn.try_recv().is_ok());
}

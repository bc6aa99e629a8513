use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn errand(lane: Lane) -> Errand {
    Errand {
        lane,
        cluster: Some("one".into()),
    }
}

fn told(of_principal: u64, of_all: u64) -> Remaining {
    Remaining {
        of_principal: Some(of_principal),
        of_all: Some(of_all),
    }
}

/// Writes, with a bucket of which it is known that so many are left.
fn with_left(left: u64) -> Allowance {
    let mut allowance = Allowance::new(OperationType::Write, at(0.0));
    allowance.enter(&errand(Lane::Delete), at(0.0));
    let first = allowance.admit(at(0.0)).unwrap();
    allowance.end(first.passage, told(left, 2999), at(0.0));
    allowance
}

/// Lets requests of the lane enter until one is not let through; says how many were.
fn let_through(allowance: &mut Allowance, lane: Lane, now: Duration) -> usize {
    std::iter::repeat_with(|| {
        allowance.enter(&errand(lane), now);
        allowance.admit(now)
    })
    .take(1000)
    .take_while(Option::is_some)
    .count()
}

#[test]
fn it_starts_with_what_azure_documents() {
    for (operation, left) in [
        (OperationType::Read, 250.0),
        (OperationType::Write, 200.0),
        (OperationType::Delete, 200.0),
    ] {
        assert_eq!(Allowance::new(operation, at(0.0)).left(at(0.0)), left);
    }
}

#[test]
fn the_last_tokens_are_kept_for_the_lanes_above() {
    let mut allowance = with_left(199);
    for (lane, left) in [
        (Lane::Drift, 40.0),
        (Lane::Poll, 20.0),
        (Lane::UserChange, 10.0),
        (Lane::Delete, 2.0),
    ] {
        let_through(&mut allowance, lane, at(0.0));
        assert_eq!(allowance.left(at(0.0)), left, "{lane:?}");
    }
}

#[test]
fn a_delete_goes_before_all_that_wait() {
    let mut allowance = with_left(10);
    let waiting: Vec<_> = (0..30)
        .map(|_| allowance.enter(&errand(Lane::UserChange), at(0.0)))
        .collect();
    assert!(allowance.admit(at(0.0)).is_none());
    assert_eq!(allowance.due(at(0.0)), Some(Duration::from_millis(101)));
    let last = allowance.estimate(waiting[29], at(0.0));
    assert_eq!((last.before, last.wait), (29, Duration::from_millis(3001)));
    let delete = allowance.enter(&errand(Lane::Delete), at(0.0));
    let admitted = allowance.admit(at(0.0)).unwrap();
    assert_eq!(admitted.ticket, delete);
    assert!(allowance.admit(at(0.0)).is_none());
}

#[test]
fn something_is_left_of_what_all_principals_share() {
    let mut allowance = Allowance::new(OperationType::Write, at(0.0));
    allowance.enter(&errand(Lane::Delete), at(0.0));
    let first = allowance.admit(at(0.0)).unwrap();
    allowance.end(first.passage, told(199, 62), at(0.0));
    assert_eq!(let_through(&mut allowance, Lane::Delete, at(0.0)), 2);
}

#[test]
fn a_throttle_pauses_every_lane_for_as_long_as_azure_asks_and_a_little_more() {
    let seconds = Duration::from_secs;
    for (asked, jitter, expected) in [
        (Some(seconds(17)), 0.0, at(17.0)),
        (Some(seconds(20)), 1.0, at(22.0)),
        (Some(seconds(3600)), 0.0, at(600.0)),
        (Some(seconds(0)), 0.0, at(0.301)),
        (None, 0.0, at(1.0)),
    ] {
        let mut allowance = with_left(100);
        allowance.enter(&errand(Lane::Delete), at(0.0));
        let refused = allowance.admit(at(0.0)).unwrap();
        allowance.throttle(refused.passage, asked, jitter, at(0.0));
        allowance.enter(&errand(Lane::Delete), at(0.0));
        assert!(allowance.admit(at(0.0)).is_none(), "{asked:?}");
        assert_eq!(allowance.due(at(0.0)), Some(expected), "{asked:?}");
        assert!(allowance.admit(expected).is_some(), "{asked:?}");
    }
}

#[test]
fn throttles_in_a_row_that_tell_no_time_pause_for_longer_each_time() {
    let mut allowance = with_left(100);
    let mut now = 0.0;
    for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
        allowance.enter(&errand(Lane::Delete), at(now));
        let refused = allowance.admit(at(now)).unwrap();
        allowance.throttle(refused.passage, None, 0.0, at(now));
        allowance.enter(&errand(Lane::Delete), at(now));
        assert_eq!(allowance.due(at(now)), Some(at(expected)));
        now += expected;
        let answered = allowance.admit(at(now)).unwrap();
        allowance.end(answered.passage, Remaining::default(), at(now));
    }
    allowance.enter(&errand(Lane::Delete), at(now));
    let answered = allowance.admit(at(now)).unwrap();
    allowance.end(answered.passage, told(50, 2000), at(now));
    allowance.enter(&errand(Lane::Delete), at(now));
    let refused = allowance.admit(at(now)).unwrap();
    allowance.throttle(refused.passage, None, 0.0, at(now));
    allowance.enter(&errand(Lane::Delete), at(now));
    assert_eq!(allowance.due(at(now)), Some(at(1.0)));
}

#[test]
fn who_is_postponed_goes_first_when_coming_again_and_has_waited_all_the_time() {
    let mut allowance = with_left(10);
    let other = allowance.enter(
        &Errand {
            lane: Lane::UserChange,
            cluster: Some("other".into()),
        },
        at(0.0),
    );
    let ticket = allowance.enter(&errand(Lane::UserChange), at(0.0));
    let estimate = allowance.estimate(ticket, at(0.0));
    assert!(allowance.postpone(ticket, estimate, at(0.0)));
    assert_eq!(allowance.admit(at(0.2)).unwrap().ticket, other);
    for _ in 0..5 {
        allowance.enter(&Errand::default(), at(0.2));
    }
    assert_eq!(allowance.enter(&errand(Lane::UserChange), at(0.3)), ticket);
    let admitted = allowance.admit(at(0.3)).unwrap();
    assert_eq!((admitted.ticket, admitted.waited), (ticket, at(0.3)));
}

#[test]
fn nothing_is_lost_with_one_that_is_full_and_has_nobody_waiting() {
    let mut allowance = Allowance::new(OperationType::Write, at(0.0));
    assert!(allowance.is_idle(at(0.0)));
    let ticket = allowance.enter(&errand(Lane::Poll), at(0.0));
    assert!(!allowance.is_idle(at(0.0)));
    let admitted = allowance.admit(at(0.0)).unwrap();
    assert!(!allowance.is_idle(at(60.0)));
    allowance.end(admitted.passage, Remaining::default(), at(60.0));
    assert!(!allowance.is_idle(at(60.0)));
    assert!(allowance.is_idle(at(61.0)));
    allowance.forget(ticket);
}

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const SIZE: Size = Size {
    tokens: 200.0,
    per_second: 10.0,
};

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn full() -> Bucket {
    Bucket::full(SIZE, at(0.0))
}

#[test]
fn a_bucket_fills_up_to_its_size_and_not_by_what_is_still_under_way() {
    let mut bucket = full();
    let first = bucket.send(at(0.0));
    bucket.send(at(0.0));
    assert_eq!(bucket.available(at(0.0)), 198.0);
    // Both may arrive only now.
    assert_eq!(bucket.available(at(60.0)), 198.0);
    bucket.end(first, None, at(60.0));
    assert_eq!(bucket.available(at(60.0)), 198.0);
    assert_eq!(bucket.available(at(60.05)), 198.5);
    assert_eq!(bucket.available(at(99.0)), 199.0);
}

#[test]
fn what_others_took_is_told_by_the_answers() {
    let mut bucket = full();
    let first = bucket.send(at(0.0));
    bucket.end(first, Some(57), at(0.1));
    assert_eq!(bucket.available(at(0.1)), 57.0);
    let second = bucket.send(at(0.1));
    // Nobody took any: 57, one back in a tenth of a second, one for itself.
    bucket.end(second, Some(57), at(0.2));
    assert_eq!(bucket.available(at(0.2)), 57.0);
}

#[test]
fn an_answer_that_comes_late_does_not_undo_what_a_later_request_told() {
    let mut bucket = full();
    let early = bucket.send(at(0.0));
    let late = bucket.send(at(0.0));
    bucket.end(late, Some(20), at(0.1));
    assert_eq!(bucket.available(at(0.1)), 19.0);
    // It was there before others took theirs; as far as it depends on us, so many may be left.
    bucket.end(early, Some(21), at(0.1));
    assert_eq!(bucket.available(at(0.1)), 20.0);
    let next = bucket.send(at(0.1));
    let other = bucket.send(at(0.1));
    bucket.end(other, Some(10), at(0.1));
    bucket.end(next, Some(5), at(0.1));
    // The older one says less, and it is no news: the newer one has counted it.
    assert_eq!(bucket.available(at(0.1)), 9.0);
}

#[test]
fn a_larger_subscription_shows_by_what_remains() {
    let mut bucket = full();
    let first = bucket.send(at(0.0));
    bucket.end(first, Some(799), at(0.1));
    assert_eq!(bucket.size().tokens, 800.0);
    assert_eq!(bucket.available(at(0.1)), 799.0);
    // It fills faster than is known.
    let next = bucket.send(at(0.1));
    bucket.end(next, Some(798), at(0.1));
    let later = bucket.send(at(0.2));
    bucket.end(later, Some(799), at(0.2));
    assert_eq!(bucket.available(at(0.2)), 799.0);
}

#[test]
fn few_are_sent_a_second_while_nothing_is_known_of_the_bucket() {
    let mut bucket = full();
    let mut probes: Vec<_> = (0..PROBES).map(|_| bucket.send(at(0.0))).collect();
    assert_eq!(bucket.wait_to_probe(at(0.2)), at(0.8));
    bucket.end(probes.remove(0), None, at(0.2));
    assert_eq!(bucket.wait_to_probe(at(0.2)), at(0.0), "one has ended");
    bucket.send(at(0.2));
    assert_eq!(bucket.wait_to_probe(at(0.2)), at(0.8));
    assert_eq!(bucket.wait_to_probe(at(1.0)), at(0.0), "answers are slow");
    bucket.end(probes.remove(0), Some(197), at(0.3));
    for _ in 0..50 {
        assert_eq!(bucket.wait_to_probe(at(0.3)), at(0.0));
        bucket.send(at(0.3));
    }
    let later = at(0.3) + FRESH;
    for _ in 0..PROBES {
        assert_eq!(bucket.wait_to_probe(later), at(0.0));
        bucket.send(later);
    }
    assert_eq!(bucket.wait_to_probe(later), PROBED, "that was long ago");
}

#[test]
fn a_bucket_that_ran_dry_is_empty_and_unknown() {
    let mut bucket = full();
    let first = bucket.send(at(0.0));
    bucket.end(first, Some(199), at(0.1));
    let other = bucket.send(at(0.1));
    bucket.run_dry(at(0.1));
    assert_eq!(bucket.available(at(0.1)), 0.0);
    assert_eq!(bucket.wait_for(1.0, at(0.1)), Duration::from_millis(101));
    bucket.end(other, None, at(0.1));
    assert_eq!(bucket.available(at(0.1)), 0.0);
    for _ in 0..PROBES {
        bucket.send(at(5.0));
    }
    assert_eq!(bucket.wait_to_probe(at(5.0)), PROBED);
}

/// A bucket that is soon empty.
const SMALL: Size = Size {
    tokens: 30.0,
    per_second: 5.0,
};

/// Azure's side of it.
struct Azure {
    left: f64,
    at: f64,
    refused: usize,
}

impl Azure {
    fn fill(&mut self, now: f64) {
        self.left = (self.left + (now - self.at) * SMALL.per_second).min(SMALL.tokens);
        self.at = now;
    }

    /// What remains, or nothing where it is refused.
    fn take(&mut self, now: f64) -> Option<u64> {
        self.fill(now);
        if self.left < 1.0 - 1e-6 {
            self.refused += 1;
            return None;
        }
        self.left -= 1.0;
        Some((self.left + 1e-6).max(0.0) as u64)
    }
}

/// One request of a drawn history: the pause before it is tried, and how long it takes there and
/// back, in seconds.
#[derive(Debug, Clone)]
struct Trip {
    pause: f64,
    there: f64,
    back: f64,
    told: bool,
}

fn trips(there: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = Vec<Trip>> {
    let pause = prop_oneof![30 => Just(0.0), 5 => 0.0..0.2, 1 => 0.0..10.0];
    let trip = (pause, there, 0.0..3.0, prop::bool::weighted(0.9)).prop_map(
        |(pause, there, back, told)| Trip {
            pause,
            there,
            back,
            told,
        },
    );
    prop::collection::vec(trip, 1..400)
}

/// Sends each trip as soon as the bucket has a token for it; in order of time, as they arrive and
/// as their answers come. Says how many Azure refused.
fn refused(trips: &[Trip], left: f64) -> usize {
    #[derive(Clone, Copy)]
    enum Event {
        Arrives(usize, Number),
        Ends(Number, Option<u64>),
    }
    let mut azure = Azure {
        left,
        at: 0.0,
        refused: 0,
    };
    let mut bucket = Bucket::full(SMALL, at(0.0));
    let mut events: Vec<(f64, Event)> = Vec::new();
    let mut now = 0.0;
    for (number, trip) in trips.iter().enumerate() {
        let mut due = now + trip.pause;
        loop {
            let next = events
                .iter()
                .enumerate()
                .min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0))
                .map(|(place, event)| (place, event.0));
            if let Some((place, when)) = next
                && when <= due
            {
                now = when;
                match events.swap_remove(place).1 {
                    Event::Arrives(trip, sent) => {
                        let told = azure.take(now).filter(|_| trips[trip].told);
                        events.push((now + trips[trip].back, Event::Ends(sent, told)));
                    }
                    Event::Ends(sent, told) => bucket.end(sent, told, at(now)),
                }
                continue;
            }
            now = due;
            let wait = bucket
                .wait_for(1.0, at(now))
                .max(bucket.wait_to_probe(at(now)));
            if wait.is_zero() {
                break;
            }
            due = now + wait.as_secs_f64();
        }
        let sent = bucket.send(at(now));
        events.push((now + trip.there, Event::Arrives(number, sent)));
    }
    while let Some((place, when)) = events
        .iter()
        .enumerate()
        .min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0))
        .map(|(place, event)| (place, event.0))
    {
        if let (_, Event::Arrives(..)) = events.swap_remove(place) {
            azure.take(when);
        }
    }
    azure.refused
}

fn config() -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn alone_it_never_overdraws_in_whatever_order_requests_arrive_and_answers_come(
        trips in trips(0.0..3.0),
    ) {
        prop_assert_eq!(refused(&trips, SMALL.tokens), 0);
    }

    #[test]
    fn what_others_left_at_the_start_is_learnt_before_it_is_spent(
        trips in trips(Just(0.1)),
        left in PROBES as f64..SMALL.tokens,
    ) {
        prop_assert_eq!(refused(&trips, left), 0);
    }
}

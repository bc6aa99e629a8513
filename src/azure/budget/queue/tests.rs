use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const NOW: Duration = Duration::ZERO;

fn errand(lane: Lane, cluster: &str) -> Errand {
    Errand {
        lane,
        cluster: Some(cluster.into()),
    }
}

/// Lets `count` requests of a cluster enter.
fn enter(queue: &mut Queue, cluster: &str, count: usize) -> Vec<Ticket> {
    let errand = errand(Lane::UserChange, cluster);
    (0..count).map(|_| queue.enter(&errand, NOW)).collect()
}

/// Serves the next one and says whose it is.
fn serve(queue: &mut Queue, names: &[(Ticket, &'static str)]) -> &'static str {
    let next = queue.first().unwrap();
    queue.serve(next).unwrap();
    let (_, name) = names.iter().find(|(ticket, _)| *ticket == next).unwrap();
    name
}

fn named(tickets: Vec<Ticket>, name: &'static str) -> Vec<(Ticket, &'static str)> {
    tickets.into_iter().map(|ticket| (ticket, name)).collect()
}

#[test]
fn clusters_of_a_lane_take_turns() {
    let mut queue = Queue::default();
    let mut names = named(enter(&mut queue, "large", 4), "large");
    names.extend(named(enter(&mut queue, "small", 2), "small"));
    let mut order = vec![serve(&mut queue, &names), serve(&mut queue, &names)];
    names.extend(named(enter(&mut queue, "late", 1), "late"));
    order.extend((0..5).map(|_| serve(&mut queue, &names)));
    assert_eq!(
        order,
        ["large", "small", "late", "large", "small", "large", "large"]
    );
    assert!(queue.is_empty());
}

#[test]
fn lanes_go_in_their_order_whoever_came_first() {
    let mut queue = Queue::default();
    let tickets = Lane::ALL
        .into_iter()
        .rev()
        .map(|lane| queue.enter(&errand(lane, "one"), NOW))
        .collect::<Vec<_>>();
    let before: Vec<_> = tickets.iter().map(|ticket| queue.before(*ticket)).collect();
    assert_eq!(before, [3, 2, 1, 0]);
    for lane in Lane::ALL {
        let next = queue.first().unwrap();
        assert_eq!(next.lane(), lane);
        queue.serve(next);
    }
}

#[test]
fn who_goes_away_and_comes_again_has_the_place_as_before() {
    let mut queue = Queue::default();
    enter(&mut queue, "other", 3);
    let ours = enter(&mut queue, "ours", 2);
    let later = enter(&mut queue, "later", 1);
    let turn = Some(Duration::from_secs(5));
    for ticket in &ours {
        assert!(queue.leave(*ticket, turn));
        assert!(!queue.leave(*ticket, turn), "it has gone already");
    }
    // It is expected again, so it still counts.
    assert_eq!(queue.before(later[0]), 2);
    let errand = errand(Lane::UserChange, "ours");
    let now = Duration::from_secs(60);
    let again: Vec<_> = (0..3).map(|_| queue.enter(&errand, now)).collect();
    assert_eq!(again[..2], ours);
    assert!(!ours.contains(&again[2]));
}

#[test]
fn a_place_that_nobody_comes_for_is_given_up() {
    let mut queue = Queue::default();
    let ours = enter(&mut queue, "ours", 50);
    for ticket in ours {
        queue.leave(ticket, Some(Duration::from_secs(5)));
    }
    let other = enter(&mut queue, "other", 2);
    assert_eq!(queue.before(other[1]), 3, "other's first, and two of ours");
    let now = Duration::from_secs(66);
    let again = queue.enter(&errand(Lane::UserChange, "ours"), now);
    assert_eq!(queue.before(other[1]), 2, "other's first, and ours anew");
    assert_eq!(queue.before(again), 1, "as if it had never been there");
}

#[test]
fn those_who_ask_for_nobody_share_a_turn() {
    let mut queue = Queue::default();
    let nobody = Errand::default();
    for _ in 0..10 {
        queue.enter(&nobody, NOW);
    }
    let ours = queue.enter(&errand(Lane::Poll, "ours"), NOW);
    assert_eq!(queue.before(ours), 1);
}

fn config() -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    }
}

/// `Some` enters, `None` serves the next one.
fn history() -> impl Strategy<Value = Vec<Option<(Lane, usize)>>> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    // Most come from one cluster.
    let entry = (lane, prop_oneof![3 => Just(0), 1 => 1..CLUSTERS]);
    prop::collection::vec(prop::option::weighted(0.6, entry), 1..300)
}

const CLUSTERS: usize = 6;

struct Waiting {
    ticket: Ticket,
    cluster: usize,
    /// How often each cluster was served in its lane since it is the first one of its own.
    passed_by: [usize; CLUSTERS],
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lanes_keep_their_order_and_inside_a_lane_nobody_starves(history in history()) {
        let mut queue = Queue::default();
        let mut waiting: Vec<Waiting> = Vec::new();
        for happening in history {
            if let Some((lane, cluster)) = happening {
                let ticket = queue.enter(&errand(lane, &cluster.to_string()), NOW);
                waiting.push(Waiting { ticket, cluster, passed_by: [0; CLUSTERS] });
                continue;
            }
            let Some(next) = queue.first() else { continue };
            prop_assert_eq!(queue.before(next), 0);
            let highest = waiting.iter().map(|one| one.ticket.lane()).min();
            prop_assert_eq!(Some(next.lane()), highest);
            queue.serve(next);
            let place = waiting.iter().position(|one| one.ticket == next).unwrap();
            let served = waiting.remove(place).cluster;
            let mut seen = [false; CLUSTERS];
            for one in waiting.iter_mut().filter(|one| one.ticket.lane() == next.lane()) {
                let is_first = !std::mem::replace(&mut seen[one.cluster], true);
                if is_first && one.cluster != served {
                    one.passed_by[served] += 1;
                    // Once in the round that goes on, once in its own.
                    prop_assert!(one.passed_by[served] <= 2, "{:?}", one.passed_by);
                }
            }
        }
    }

    #[test]
    fn whoever_goes_away_others_are_served(
        history in history(),
        goers in prop::collection::vec(any::<(usize, bool)>(), 0..50),
    ) {
        let mut queue = Queue::default();
        let entries = history.into_iter().flatten();
        let mut waiting: Vec<_> = entries
            .map(|(lane, cluster)| queue.enter(&errand(lane, &cluster.to_string()), NOW))
            .collect();
        for (which, comes_again) in goers {
            if !waiting.is_empty() {
                let goes = waiting.swap_remove(which % waiting.len());
                prop_assert!(queue.leave(goes, comes_again.then_some(NOW)));
            }
        }
        let mut served = Vec::new();
        while let Some(next) = queue.first() {
            prop_assert!(queue.serve(next).is_some());
            served.push(next);
        }
        waiting.sort_by_key(|ticket| (ticket.lane, ticket.place));
        prop_assert_eq!(served, waiting);
    }
}

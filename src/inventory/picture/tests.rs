mod cost;

use serde_json::json;

use super::*;
use crate::api::Reason;

const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws";
const NETWORK: &str =
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet";
const API: &str = "2025-12-01";

fn id(text: &str) -> ResourceId {
    text.parse().unwrap()
}

fn pool() -> ResourceId {
    id(WORKSPACE).child("computes", "pool").unwrap()
}

fn job(of: &ClusterIdentity, name: &str) -> ResourceId {
    let id_of_job = format!("{}{name}", of.job_prefix());
    id(WORKSPACE).child("jobs", &id_of_job).unwrap()
}

fn cluster(name: &str) -> ClusterIdentity {
    ClusterIdentity {
        namespace: "weather".into(),
        name: name.into(),
        uid: format!("{name}-uid-of-many-digits"),
    }
}

fn in_state(state: &str) -> Value {
    json!({"properties": {"provisioningState": state}})
}

fn with_status(id: &ResourceId, status: &str) -> Value {
    json!({"name": id.name(), "properties": {"status": status, "command": "long"}})
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A picture with its hands: each read takes no time.
struct World {
    picture: Picture,
    now: Duration,
}

impl World {
    /// `noaa` looks, and both lists have been read: nothing is there.
    fn empty() -> Self {
        let mut world = Self {
            picture: Picture::new(id(WORKSPACE), seconds(0)),
            now: seconds(100),
        };
        world.picture.follow(&cluster("noaa"), Pace::Moving);
        world.list(Listed::Computes, &[]);
        world.list(Listed::Jobs, &[]);
        world
    }

    fn later(&mut self, by: u64) {
        self.now += seconds(by);
    }

    fn list(&mut self, of: Listed, found: &[(ResourceId, Value)]) -> Vec<String> {
        self.learn(Read::List(of), Found::Listed(found.to_vec(), 1))
    }

    fn get(&mut self, of: &ResourceId, found: Option<Value>) -> Vec<String> {
        self.learn(Read::One(of.clone(), API), Found::One(found))
    }

    /// Names of the clusters that a read concerns.
    fn learn(&mut self, read: Read, found: Found) -> Vec<String> {
        let concerned = self.picture.learn(&read, found, self.now, self.now);
        concerned.into_iter().map(|cluster| cluster.name).collect()
    }

    fn wrote(&mut self, of: &ResourceId, wrote: Wrote) {
        self.picture
            .wrote(&cluster("noaa"), of, API, wrote, self.now);
    }

    fn look(&mut self, of: &ResourceId) -> Option<Lookup<Value>> {
        self.picture.resource(&cluster("noaa"), of, API, self.now)
    }

    fn jobs(&self) -> Option<Result<Vec<String>, Trouble>> {
        let jobs = self.picture.jobs(&cluster("noaa"))?;
        Some(jobs.map(|jobs| jobs.keys().map(|id| id.name().to_owned()).collect()))
    }

    /// What is due, in the order of the reads.
    fn due(&mut self) -> Vec<Read> {
        let (due, _) = self.picture.due(self.now);
        let mut reads: Vec<_> = due.into_iter().map(|due| due.read).collect();
        reads.sort();
        reads
    }

    fn is_due(&mut self, read: &Read) -> bool {
        self.due().contains(read)
    }
}

fn one(of: &ResourceId) -> Read {
    Read::One(of.clone(), API)
}

#[test]
fn nothing_is_known_before_the_first_look_and_an_empty_list_is_an_absence() {
    let mut picture = Picture::new(id(WORKSPACE), seconds(0));
    let noaa = cluster("noaa");
    picture.follow(&noaa, Pace::Moving);
    assert_eq!(picture.resource(&noaa, &pool(), API, seconds(1)), None);
    assert_eq!(picture.jobs(&noaa), None);
    let mut world = World::empty();
    assert_eq!(world.look(&pool()), Some(Lookup::Absent));
    assert_eq!(world.jobs(), Some(Ok(vec![])));
}

#[test]
fn what_stands_in_no_list_is_read_by_its_id_once_for_all_who_look() {
    let mut world = World::empty();
    assert_eq!(world.look(&id(NETWORK)), None);
    world.picture.follow(&cluster("other"), Pace::Settled);
    let other = world
        .picture
        .resource(&cluster("other"), &id(NETWORK), API, world.now);
    assert_eq!(other, None);
    let reads = world.due();
    assert_eq!(
        reads
            .iter()
            .filter(|read| **read == one(&id(NETWORK)))
            .count(),
        1
    );
    let concerned = world.get(&id(NETWORK), Some(in_state("Succeeded")));
    assert_eq!(concerned, ["noaa", "other"]);
    assert_eq!(
        world.look(&id(NETWORK)),
        Some(Lookup::Present(in_state("Succeeded")))
    );
}

#[test]
fn a_read_that_found_nothing_new_wakes_nobody_and_a_change_wakes_whom_it_concerns() {
    let mut world = World::empty();
    world.picture.follow(&cluster("other"), Pace::Settled);
    let head = job(&cluster("noaa"), "head-1");
    let queued = [(head.clone(), with_status(&head, "Queued"))];
    world.later(1);
    assert_eq!(world.list(Listed::Jobs, &queued), ["noaa"]);
    world.later(1);
    assert_eq!(world.list(Listed::Jobs, &queued), Vec::<String>::new());
    world.later(1);
    let running = [(head.clone(), with_status(&head, "Running"))];
    assert_eq!(world.list(Listed::Jobs, &running), ["noaa"]);
}

#[test]
fn what_a_job_was_given_to_run_is_not_held() {
    let mut world = World::empty();
    let head = job(&cluster("noaa"), "head-1");
    world.list(
        Listed::Jobs,
        &[(head.clone(), with_status(&head, "Queued"))],
    );
    let jobs = world.picture.jobs(&cluster("noaa")).unwrap().unwrap();
    assert_eq!(jobs[&head]["properties"], json!({"status": "Queued"}));
}

#[test]
fn what_a_write_answered_is_known_at_once_and_no_earlier_read_takes_it_back() {
    let mut world = World::empty();
    world.look(&pool());
    let begun = world.now;
    world.later(1);
    world.wrote(&pool(), Wrote::Resource(in_state("Creating")));
    assert_eq!(
        world.look(&pool()),
        Some(Lookup::Present(in_state("Creating")))
    );
    // A LIST that began before the write ends after it.
    let list = Read::List(Listed::Computes);
    world
        .picture
        .learn(&list, Found::Listed(vec![], 1), begun, world.now);
    assert_eq!(
        world.look(&pool()),
        Some(Lookup::Present(in_state("Creating")))
    );
}

#[test]
fn shortly_after_a_write_neither_a_404_nor_a_stale_list_is_an_absence() {
    let mut world = World::empty();
    world.look(&pool());
    world.look(&id(NETWORK));
    world.get(&id(NETWORK), None);
    for written in [pool(), id(NETWORK)] {
        world.wrote(&written, Wrote::Resource(in_state("Creating")));
    }
    world.later(29);
    world.list(Listed::Computes, &[]);
    world.get(&id(NETWORK), None);
    for written in [pool(), id(NETWORK)] {
        assert_eq!(
            world.look(&written),
            Some(Lookup::Present(in_state("Creating")))
        );
    }
    world.later(2);
    world.get(&id(NETWORK), None);
    assert_eq!(world.look(&id(NETWORK)), Some(Lookup::Absent));
    assert_eq!(
        world.look(&pool()),
        None,
        "everything else is looked at again"
    );
}

#[test]
fn a_list_that_still_shows_what_was_there_before_a_write_is_behind() {
    let mut world = World::empty();
    world.look(&pool());
    world.later(1);
    let old = in_state("Succeeded");
    world.list(Listed::Computes, &[(pool(), old.clone())]);
    world.later(1);
    world.wrote(&pool(), Wrote::Deleting);
    world.later(1);
    world.list(Listed::Computes, &[(pool(), old.clone())]);
    assert_eq!(
        world.look(&pool()),
        Some(Lookup::Present(in_state("Deleting")))
    );
    world.later(31);
    world.list(Listed::Computes, &[(pool(), old.clone())]);
    assert_eq!(
        world.look(&pool()),
        Some(Lookup::Present(old)),
        "nothing came of the deletion"
    );
}

#[test]
fn what_nobody_knows_the_outcome_of_is_read_by_its_id_before_anything_is_said_of_it() {
    let mut world = World::empty();
    let head = job(&cluster("noaa"), "head-1");
    world.wrote(&head, Wrote::Unknown);
    assert_eq!(world.jobs(), None);
    assert!(world.is_due(&one(&head)));
    world.later(1);
    world.get(&head, Some(with_status(&head, "Starting")));
    assert_eq!(world.jobs(), Some(Ok(vec![head.name().to_owned()])));
}

#[test]
fn a_network_is_read_again_after_a_write_to_what_lies_in_it() {
    let mut world = World::empty();
    world.look(&id(NETWORK));
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    world.later(1);
    let subnet = id(NETWORK).child("subnets", "default").unwrap();
    world.wrote(&subnet, Wrote::Resource(in_state("Succeeded")));
    assert!(world.look(&subnet).is_some());
    assert_eq!(world.look(&id(NETWORK)), None);
    assert!(world.is_due(&one(&id(NETWORK))));
}

#[test]
fn a_network_is_read_again_once_something_in_it_is_gone() {
    let mut world = World::empty();
    let subnet = id(NETWORK).child("subnets", "default").unwrap();
    world.look(&subnet);
    world.look(&id(NETWORK));
    world.get(&subnet, Some(in_state("Deleting")));
    world.get(&id(NETWORK), Some(in_state("Updating")));
    world.later(1);
    assert!(world.look(&id(NETWORK)).is_some());
    world.get(&subnet, None);
    assert_eq!(world.look(&id(NETWORK)), None, "its etag is another one");
    assert!(world.is_due(&one(&id(NETWORK))));
    world.later(1);
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    assert!(world.look(&id(NETWORK)).is_some());
    world.get(&subnet, None);
    assert!(world.look(&id(NETWORK)).is_some(), "that is no news");
}

#[test]
fn what_a_list_leaves_out_is_gone_only_when_its_id_says_so() {
    let mut world = World::empty();
    let head = job(&cluster("noaa"), "head-1");
    world.later(1);
    world.list(
        Listed::Jobs,
        &[(head.clone(), with_status(&head, "Running"))],
    );
    world.later(60);
    world.list(Listed::Jobs, &[]);
    assert_eq!(world.jobs(), Some(Ok(vec![head.name().to_owned()])));
    assert!(world.is_due(&one(&head)));
    // Somebody archived it: it runs on.
    world.get(&head, Some(with_status(&head, "Running")));
    assert!(!world.is_due(&one(&head)));
    world.later(60);
    world.list(Listed::Jobs, &[]);
    assert!(world.is_due(&one(&head)));
    assert_eq!(world.get(&head, None), ["noaa"]);
    world.later(1);
    world.list(Listed::Jobs, &[]);
    assert_eq!(world.jobs(), Some(Ok(vec![])));
}

#[test]
fn a_job_that_has_ended_is_remembered_when_the_list_drops_it() {
    let mut world = World::empty();
    let worker = job(&cluster("noaa"), "w00-1");
    world.later(1);
    world.list(
        Listed::Jobs,
        &[(worker.clone(), with_status(&worker, "Completed"))],
    );
    world.later(1);
    world.list(Listed::Jobs, &[]);
    assert_eq!(world.jobs(), Some(Ok(vec![worker.name().to_owned()])));
    assert!(!world.is_due(&one(&worker)));
    world.picture.forget(|_| true);
    world.later(1);
    world.list(Listed::Jobs, &[]);
    assert!(world.picture.items.is_empty());
}

#[test]
fn when_something_is_taken_away_everything_is_looked_at_again_before_anything_is_said() {
    let mut world = World::empty();
    world.look(&id(NETWORK));
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    world.look(&pool());
    world.list(Listed::Computes, &[(pool(), in_state("Succeeded"))]);
    world.later(40);
    world.list(Listed::Computes, &[]);
    assert!(world.look(&id(NETWORK)).is_some());
    assert_eq!(world.get(&pool(), None), ["noaa"]);
    assert_eq!(world.look(&id(NETWORK)), None);
    assert!(world.is_due(&one(&id(NETWORK))));
    assert!(world.is_due(&Read::List(Listed::Jobs)));
}

#[test]
fn a_failed_read_is_told_as_such_and_tried_again_later_each_time() {
    let mut world = World::empty();
    world.look(&id(NETWORK));
    let trouble = Trouble::passing(Reason::AzureUnreachable, "no answer");
    let fail = |world: &mut World, read: Read| {
        world.learn(read, Found::Failed(trouble.clone(), Retry::Backoff))
    };
    assert_eq!(fail(&mut world, one(&id(NETWORK))), ["noaa"]);
    assert_eq!(
        world.look(&id(NETWORK)),
        Some(Lookup::Unavailable(trouble.clone()))
    );
    assert!(!world.is_due(&one(&id(NETWORK))));
    world.later(1);
    assert!(world.is_due(&one(&id(NETWORK))));
    assert_eq!(
        fail(&mut world, one(&id(NETWORK))),
        Vec::<String>::new(),
        "no news"
    );
    world.later(1);
    assert!(!world.is_due(&one(&id(NETWORK))), "two seconds this time");

    let jobs = Read::List(Listed::Jobs);
    assert_eq!(fail(&mut world, jobs.clone()), ["noaa"]);
    assert_eq!(world.jobs(), Some(Err(trouble.clone())));
    world.later(1);
    assert!(world.is_due(&jobs));
    assert_eq!(world.list(Listed::Jobs, &[]), ["noaa"]);
    assert_eq!(world.jobs(), Some(Ok(vec![])));
}

#[test]
fn a_read_that_waits_for_its_turn_takes_nothing_back_of_what_is_known() {
    let mut world = World::empty();
    let turn = || {
        let trouble = Trouble::passing(Reason::WaitingForBudget, "37 requests are before it");
        Found::Failed(trouble, Retry::After(seconds(4)))
    };
    let jobs = Read::List(Listed::Jobs);
    assert_eq!(world.learn(jobs, turn()), Vec::<String>::new());
    assert_eq!(world.jobs(), Some(Ok(vec![])));
    world.look(&id(NETWORK));
    assert_eq!(world.learn(one(&id(NETWORK)), turn()), ["noaa"]);
    assert!(matches!(
        world.look(&id(NETWORK)),
        Some(Lookup::Unavailable(trouble)) if trouble.reason == Reason::WaitingForBudget
    ));
}

#[test]
fn lists_are_read_more_and_more_seldom_and_hardly_at_all_once_everybody_is_settled() {
    let mut world = World::empty();
    let jobs = Read::List(Listed::Jobs);
    world.later(60);
    world.list(Listed::Jobs, &[]);
    let until_due = |world: &mut World| {
        (0..600)
            .find(|_| {
                let due = world.is_due(&jobs);
                world.now += Duration::from_millis(100);
                due
            })
            .map(|tenths| Duration::from_millis(tenths * 100))
    };
    assert_eq!(until_due(&mut world), Some(seconds(15)), "something moves");
    world.picture.follow(&cluster("noaa"), Pace::Settled);
    world.list(Listed::Jobs, &[]);
    assert_eq!(until_due(&mut world), Some(seconds(30)));
}

#[test]
fn few_moving_pools_are_read_by_themselves_and_many_by_the_list() {
    let mut world = World::empty();
    let pool_of = |name: &str| id(WORKSPACE).child("computes", name).unwrap();
    let pools: Vec<_> = ["a", "b"]
        .map(|name| (pool_of(name), in_state("Succeeded")))
        .into();
    for (pool, _) in &pools {
        world.look(pool);
    }
    world.list(Listed::Computes, &pools);
    world.later(20);
    assert_eq!(
        world.due(),
        [Read::List(Listed::Computes), Read::List(Listed::Jobs)]
    );
    let longer = Found::Listed(pools.clone(), 3);
    world.learn(Read::List(Listed::Computes), longer);
    world.list(Listed::Jobs, &[]);
    world.later(20);
    assert_eq!(
        world.due(),
        [Read::List(Listed::Jobs), one(&pools[0].0), one(&pools[1].0)],
    );
}

#[test]
fn who_has_waited_longest_is_read_first_and_nobody_starves_where_little_is_allowed() {
    let mut world = World::empty();
    let networks: Vec<_> = (0..20)
        .map(|n| format!("{NETWORK}-{n:02}").parse::<ResourceId>().unwrap())
        .collect();
    for network in &networks {
        world.look(network);
        world.get(network, Some(in_state("Updating")));
    }
    let mut allowance = Allowance::full(world.now);
    let mut reads: BTreeMap<ResourceId, u32> = BTreeMap::new();
    for _ in 0..600 {
        world.now += Duration::from_millis(100);
        // Everything moves all the time, and asks for far more than is allowed.
        world.picture.changed_at = world.now;
        for item in world.picture.items.values_mut() {
            item.changed_at = world.now;
        }
        let (due, _) = world.picture.take(usize::MAX, &mut allowance, world.now);
        for Due { read, .. } in due {
            match &read {
                Read::List(of) => drop(world.list(*of, &[])),
                Read::One(id, _) => {
                    *reads.entry(id.clone()).or_default() += 1;
                    let found = Found::One(Some(in_state("Updating")));
                    drop(world.learn(read.clone(), found));
                }
            }
        }
    }
    let (least, most) = (reads.values().min(), reads.values().max());
    assert_eq!(reads.len(), networks.len());
    assert!(least.unwrap() + 2 >= *most.unwrap(), "{reads:?}");
}

#[test]
fn what_nobody_has_asked_for_in_a_long_time_is_looked_at_no_longer() {
    let mut world = World::empty();
    world.look(&id(NETWORK));
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    world.later(899);
    assert!(world.is_due(&one(&id(NETWORK))));
    world.later(1);
    assert!(!world.is_due(&one(&id(NETWORK))));
}

#[test]
fn after_a_doubt_nothing_is_told_before_it_has_been_read_again() {
    let mut world = World::empty();
    let head = job(&cluster("noaa"), "head-1");
    world.look(&id(NETWORK));
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    world.later(1);
    world.list(
        Listed::Jobs,
        &[(head.clone(), with_status(&head, "Running"))],
    );
    // An archived job: only its id tells that it is there.
    world.later(1);
    world.list(Listed::Jobs, &[]);
    world.get(&head, Some(with_status(&head, "Running")));
    world.later(1);
    world.picture.doubt(world.now);
    assert_eq!(world.look(&id(NETWORK)), None);
    assert_eq!(world.look(&pool()), None);
    assert_eq!(world.jobs(), None);
    for read in [
        one(&id(NETWORK)),
        one(&head),
        Read::List(Listed::Computes),
        Read::List(Listed::Jobs),
    ] {
        assert!(world.is_due(&read), "{read:?}");
    }
    world.get(&id(NETWORK), Some(in_state("Succeeded")));
    world.get(&head, Some(with_status(&head, "Running")));
    world.list(Listed::Computes, &[]);
    world.list(Listed::Jobs, &[]);
    assert_eq!(world.look(&pool()), Some(Lookup::Absent));
    assert_eq!(world.jobs(), Some(Ok(vec![head.name().to_owned()])));
}

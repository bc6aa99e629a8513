//! What looking costs: reads an hour, whatever the number of clusters.

use super::*;
use crate::inventory::pace::Allowance;

/// Azure's page of jobs or computes, as the simulator has it.
const PAGE: usize = 100;

/// So many clusters with ten jobs and a pool each, in one network; nothing changes.
struct Fleet {
    world: World,
    jobs: Vec<(ResourceId, Value)>,
    pools: Vec<(ResourceId, Value)>,
}

impl Fleet {
    fn of(count: usize, pace: Pace) -> Self {
        let clusters: Vec<_> = (0..count).map(|n| cluster(&format!("c{n:04}"))).collect();
        let jobs = clusters.iter().flat_map(|of| {
            (0..10).map(move |slot| {
                let id = job(of, &format!("w{slot:02}-1"));
                (id.clone(), with_status(&id, "Running"))
            })
        });
        let pool = |of: &ClusterIdentity| id(WORKSPACE).child("computes", &of.name).unwrap();
        let pools = clusters.iter().map(|of| (pool(of), in_state("Succeeded")));
        let mut fleet = Self {
            world: World::empty(),
            jobs: jobs.collect(),
            pools: pools.collect(),
        };
        fleet.world.picture.forget(|_| true);
        for of in &clusters {
            fleet.world.picture.follow(of, pace);
        }
        fleet.look(&clusters);
        fleet
    }

    /// As every reconcile does.
    fn look(&mut self, clusters: &[ClusterIdentity]) {
        for (of, (pool, _)) in clusters.iter().zip(&self.pools) {
            let picture = &mut self.world.picture;
            picture.resource(of, pool, API, self.world.now);
            picture.resource(of, &id(NETWORK), API, self.world.now);
        }
    }

    fn answer(&self, read: &Read) -> Found {
        let list = |found: &[(ResourceId, Value)]| {
            let pages = found.len().div_ceil(PAGE).max(1);
            Found::Listed(found.to_vec(), u32::try_from(pages).unwrap())
        };
        match read {
            Read::List(Listed::Jobs) => list(&self.jobs),
            Read::List(Listed::Computes) => list(&self.pools),
            Read::One(..) => Found::One(Some(in_state("Succeeded"))),
        }
    }

    /// Reads of so long a time, after as long a time to find everything. `stirs`: something changes all the time.
    fn reads_in(&mut self, time: Duration, stirs: bool) -> u32 {
        let clusters: Vec<_> = self.world.picture.clusters.keys().cloned().collect();
        let mut allowance = Allowance::full(self.world.now);
        let begin = self.world.now;
        let mut looked = begin;
        let mut reads = 0;
        while self.world.now < begin + time + time {
            let now = self.world.now;
            if stirs {
                self.world.picture.changed_at = now;
            }
            let (due, mut next) = self.world.picture.take(usize::MAX, &mut allowance, now);
            if !due.is_empty() {
                // What comes next is known once they are back.
                next = Duration::ZERO;
            }
            for due in due {
                let found = self.answer(&due.read);
                let cost = match &found {
                    Found::Listed(_, pages) => *pages,
                    Found::One(_) | Found::Failed(..) => 1,
                };
                self.world.learn(due.read, found);
                reads += if now >= begin + time { cost } else { 0 };
            }
            if now - looked > seconds(60) {
                looked = now;
                self.look(&clusters);
            }
            self.world.now += next.clamp(Duration::from_millis(1), seconds(60));
        }
        reads
    }
}

#[test]
fn settled_clusters_cost_the_pages_of_two_lists_each_half_minute_and_their_network_now_and_then() {
    for (count, pages) in [(1, 1 + 1), (100, 10 + 1), (1000, 100 + 10)] {
        let reads = Fleet::of(count, Pace::Settled).reads_in(seconds(300), false);
        let lists = pages * 300 / 30;
        let network = 1;
        // A look at either end.
        assert!(
            (lists..=lists + pages + network + 1).contains(&reads),
            "{count} clusters: {reads} reads, lists alone {lists}"
        );
    }
}

#[test]
fn clusters_that_move_cost_no_more_than_a_fifth_of_the_bucket_however_many_they_are() {
    for count in [1, 10, 100] {
        let reads = Fleet::of(count, Pace::Moving).reads_in(seconds(60), true);
        let fifth = 60 * 25 / 5;
        // A list of many pages is paid for at once, or afterwards.
        let tolerance = 60;
        assert!(
            (fifth - tolerance..=fifth + tolerance).contains(&reads),
            "{count} clusters: {reads} reads, a fifth are {fifth}"
        );
    }
}

//! Changes of the spec on clusters whose jobs start late, die and cannot hand over their data.

use std::collections::BTreeSet;

use dask_azureml_operator::api::Reason;
use dask_azureml_operator::azure::ResourceId;
use dask_azureml_operator::dask::{Load, Retired, Retirement, RetirementOutcome, State, Worker};
use dask_azureml_operator::lookup::Lookup;
use dask_azureml_operator::reconcile::{Observed, PlannedAction, Wanted, carry_out, plan};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config;
use crate::draft::{self, World};

/// Seconds between two looks.
const LOOK: i64 = 5;
/// Looks in which nothing goes wrong any more, and after which all is done.
const QUIET: usize = 400;

/// Azure and Dask, as far as a rollout sees them.
struct Simulation {
    wanted: Wanted,
    observed: Observed,
    replicas: u32,
    /// The most that were ever wanted.
    most: u32,
    /// Job ids of the workers that the scheduler holds.
    registered: BTreeSet<String>,
    retired: BTreeSet<String>,
    asked: Option<(u32, Vec<String>)>,
    /// Workers that are missing because they failed.
    failed: u32,
}

impl Simulation {
    fn of(world: World, replicas: u32) -> Self {
        Self {
            wanted: world.wanted,
            observed: world.observed,
            replicas,
            most: replicas,
            registered: BTreeSet::new(),
            retired: BTreeSet::new(),
            asked: None,
            failed: 0,
        }
    }

    fn jobs(&self) -> Vec<(ResourceId, String, Value)> {
        let jobs = self.observed.resources.iter().filter_map(|(id, found)| {
            let Lookup::Present(body) = found else {
                return None;
            };
            let is_worker = id.name().starts_with("noaa-isd-6f9619ff-w");
            is_worker.then(|| (id.clone(), id.name().to_owned(), body.clone()))
        });
        jobs.collect()
    }

    fn set(&mut self, id: &ResourceId, status: &str) {
        let now = self.observed.seen_at.to_string();
        if let Some(Lookup::Present(body)) = self.observed.resources.get_mut(id) {
            body["properties"]["status"] = json!(status);
            let field = if status == "Running" {
                "StartTimeUtc"
            } else {
                "EndTimeUtc"
            };
            body["properties"]["properties"][field] = json!(now);
        }
    }

    /// One look, and `chance` for what happens until the next one.
    fn round(&mut self, chance: u8, may_fail: bool) -> Result<(), TestCaseError> {
        let plan = plan(&self.wanted, &self.observed);
        let retirements: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                PlannedAction::RetireWorkers { count, first } => Some((*count, first.clone())),
                _ => None,
            })
            .collect();
        prop_assert!(retirements.len() <= 1, "{plan}");
        if let Some(asked) = retirements.into_iter().next() {
            let before = self.observed.scheduler.retirement.as_ref();
            let is_free = match before.map(|retirement| &retirement.outcome) {
                None => true,
                Some(RetirementOutcome::UnderWay) => false,
                Some(
                    RetirementOutcome::Answered { at, .. } | RetirementOutcome::Failed { at, .. },
                ) => self.observed.seen_at.duration_since(*at) >= SignedDuration::from_secs(10),
            };
            prop_assert!(is_free, "{plan}");
            self.asked = Some(asked);
        }
        for step in &plan.steps {
            if let PlannedAction::CancelJob { id, .. } = &step.action {
                prop_assert!(
                    !self.registered.contains(id.name()),
                    "cancelled blindly: {step}"
                );
            }
        }
        let is_old = !self.is_up_to_date();
        let is_told = !plan.waits.is_empty() || !plan.steps.is_empty() || !plan.blocked.is_empty();
        prop_assert!(!is_old || is_told, "{plan}");
        carry_out(&plan, &mut self.observed);
        self.observed.seen_at += SignedDuration::from_secs(LOOK);
        self.happens(chance, may_fail);
        let alive = self
            .jobs()
            .iter()
            .filter(|(_, _, body)| !has_ended(body))
            .count();
        prop_assert!(alive <= self.most as usize + 1, "{alive} jobs\n{plan}");
        Ok(())
    }

    fn happens(&mut self, chance: u8, may_fail: bool) {
        for (number, (id, name, body)) in self.jobs().into_iter().enumerate() {
            let chance = chance.rotate_left(u32::try_from(number % 8).unwrap());
            match body["properties"]["status"].as_str().unwrap() {
                "NotStarted" if chance % 3 > 0 => self.set(&id, "Running"),
                "Running" if self.retired.contains(&name) && chance % 2 > 0 => {
                    self.set(&id, "Completed");
                }
                "Running" if self.retired.contains(&name) => {}
                "Running" if may_fail && chance % 16 == 5 => {
                    self.set(&id, "Failed");
                    self.registered.remove(&name);
                    self.failed += 1;
                }
                "Running" if chance % 3 > 0 => {
                    self.registered.insert(name);
                }
                _ => {}
            }
        }
        self.answer(chance);
        let workers = self.registered.iter().map(|job| Worker {
            name: format!("{job}.0a"),
            status: "running".into(),
            nbytes: 1 << 20,
            ..Worker::default()
        });
        self.observed.scheduler.state = Some(State {
            id: "s1".into(),
            total_threads: 8,
            total_memory: 1 << 30,
            workers: workers.collect(),
            load: Load::default(),
        });
    }

    fn answer(&mut self, chance: u8) {
        let Some((count, first)) = self.asked.clone() else {
            return;
        };
        if chance.is_multiple_of(3) {
            return;
        }
        self.asked = None;
        let mut retired = Retired::default();
        let mut candidates: Vec<String> = self.registered.iter().cloned().collect();
        candidates.sort_by_key(|job| !first.contains(job));
        candidates.truncate(count as usize);
        for job in candidates {
            let worker = format!("{job}.0a");
            if chance % 5 == 1 {
                retired.refused.push(worker);
            } else {
                self.registered.remove(&job);
                self.retired.insert(job);
                retired.retired.push(worker);
            }
        }
        self.observed.scheduler.retirement = Some(Retirement {
            asked_at: self.observed.seen_at,
            outcome: RetirementOutcome::Answered {
                at: self.observed.seen_at,
                retired,
            },
        });
    }

    fn is_up_to_date(&self) -> bool {
        let Wanted::Cluster(cluster) = &self.wanted else {
            return true;
        };
        let is_new = cluster.worker.env.contains_key("NEW");
        self.jobs()
            .iter()
            .filter(|(_, _, body)| !has_ended(body))
            .all(|(_, _, body)| {
                body["properties"]["environmentVariables"]
                    .get("NEW")
                    .is_some()
                    == is_new
            })
    }

    fn is_done(&self) -> bool {
        let alive: BTreeSet<String> = self
            .jobs()
            .into_iter()
            .filter(|(_, _, body)| !has_ended(body))
            .map(|(_, name, _)| name)
            .collect();
        alive.len() == self.replicas as usize && alive == self.registered && self.is_up_to_date()
    }

    fn scale(&mut self, replicas: u32) {
        self.replicas = replicas;
        self.most = self.most.max(replicas);
        if let Wanted::Cluster(cluster) = &mut self.wanted {
            cluster.worker.replicas = replicas;
        }
    }

    fn change(&mut self) {
        if let Wanted::Cluster(cluster) = &mut self.wanted {
            cluster.worker.env.insert("NEW".into(), "1".into());
        }
    }

    /// What is told at last.
    fn told(&self) -> String {
        plan(&self.wanted, &self.observed).to_string()
    }

    fn quiet(&mut self) -> Result<(), TestCaseError> {
        for round in 0..QUIET {
            // All goes well: starts, registers, is retired and ends.
            self.round(0b0101_0101 | u8::try_from(round % 2).unwrap() << 1, false)?;
            if self.is_done() && plan(&self.wanted, &self.observed).steps.is_empty() {
                return Ok(());
            }
        }
        Err(TestCaseError::fail(format!(
            "it does not settle:\n{}",
            self.told()
        )))
    }
}

fn has_ended(body: &Value) -> bool {
    let status = body["properties"]["status"].as_str();
    status.is_some_and(|status| ["Completed", "Failed", "Canceled"].contains(&status))
}

fn settled(replicas: u32, has_room: bool) -> Simulation {
    let mut world = draft::ready(replicas);
    if let Wanted::Cluster(cluster) = &mut world.wanted
        && !has_room
    {
        cluster.compute.max_nodes = 1 + replicas;
        let pool = world.observed.resources.get_mut(&cluster.place.compute);
        if let Some(Lookup::Present(body)) = pool {
            body["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = json!(1 + replicas);
        }
    }
    Simulation::of(world, replicas)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, ..config() })]

    #[test]
    fn a_change_replaces_every_worker_and_no_more_than_one_is_missing_for_it(
        replicas in 1..5_u32,
        has_room in any::<bool>(),
        chances in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut simulation = settled(replicas, has_room);
        simulation.quiet()?;
        simulation.change();
        for chance in chances {
            simulation.round(chance, false)?;
            let there = simulation.registered.len();
            prop_assert!(there + 1 >= replicas as usize, "{there} of {replicas}\n{}", simulation.told());
        }
        simulation.quiet()?;
        let there = simulation.registered.len();
        prop_assert_eq!(there, replicas as usize);
    }

    #[test]
    fn workers_that_die_on_the_way_are_replaced_and_it_settles_all_the_same(
        replicas in 1..5_u32,
        has_room in any::<bool>(),
        chances in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut simulation = settled(replicas, has_room);
        simulation.quiet()?;
        simulation.change();
        for chance in chances {
            simulation.round(chance, true)?;
        }
        simulation.quiet()?;
        let told = simulation.told();
        let reason = Reason::Updating.as_str();
        prop_assert!(!told.contains(reason), "{}", told);
    }

    #[test]
    fn whatever_number_is_asked_for_on_the_way_nobody_goes_that_is_needed_and_it_settles(
        changes in any::<bool>(),
        chances in prop::collection::vec((any::<u8>(), prop::option::weighted(0.1, 0..6_u32)), 0..120),
    ) {
        let mut simulation = settled(3, true);
        simulation.quiet()?;
        let mut fewest = 3;
        if changes {
            simulation.change();
        }
        for (chance, asked) in chances {
            if let Some(replicas) = asked {
                simulation.scale(replicas);
                fewest = fewest.min(replicas);
            }
            simulation.round(chance, false)?;
            let there = u32::try_from(simulation.registered.len()).unwrap();
            let missing = u32::from(changes);
            prop_assert!(there + missing >= fewest, "{there} of {fewest}\n{}", simulation.told());
        }
        simulation.quiet()?;
    }
}

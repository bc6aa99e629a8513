//! What autoscaling costs and how late it is, over simulated days of bursts: the operator's own decisions each five
//! seconds, against a model of a pool with Azure's durations and of a scheduler with Dask's estimates. No network, no
//! processes, no operator around it: what a retirement refuses or a request waits for is not in it.
//!
//! `make bench` prints a table and writes `bench/results/scaling.json`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench ends at the first surprise, and has the machine's own time"
)]

#[path = "../tests/scaling/model.rs"]
mod model;
#[path = "../bench/result.rs"]
mod result;
#[allow(dead_code, reason = "the tests see more")]
#[path = "../tests/scaling/sight.rs"]
mod sight;

use std::collections::VecDeque;

use serde_json::{Value, json};

use model::{Burst, IDLE, Model};
use sight::Sight;

const DAY: u64 = 86_400;
const DECIDES_EACH: u64 = 5;
const THREADS: u32 = 8;
const MAX_REPLICAS: u32 = 30;
const BURSTS: u32 = 48;
const DAYS: u64 = 5;

fn main() {
    // `cargo test` runs bench targets as well, and passes no `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let autoscaling = match std::env::args().find(|argument| argument.starts_with('{')) {
        Some(other) => serde_json::from_str(&other).unwrap(),
        None => json!({"maxReplicas": MAX_REPLICAS}),
    };
    let days: Vec<Day> = (1..=DAYS).map(|seed| Day::of(seed, &autoscaling)).collect();
    println!(
        "{:>6} {:>12} {:>12} {:>8} {:>12} {:>9} {:>11} {:>11} {:>8}",
        "day",
        "paid h",
        "worked h",
        "changes",
        "paid/worked",
        "paid/ask",
        "median late",
        "95 % late",
        "anew"
    );
    let all = days.iter().fold(Day::default(), |sum, day| sum.and(day));
    let rows = days.iter().map(Day::told).chain([all.told()]);
    let rows: Vec<Value> = rows.collect();
    for (number, row) in rows.iter().enumerate() {
        let name = if number < days.len() {
            format!("{}", number + 1)
        } else {
            "all".to_owned()
        };
        println!(
            "{name:>6} {:>12} {:>12} {:>8} {:>12} {:>9} {:>11} {:>11} {:>8}",
            row["node_hours_paid"],
            row["node_hours_with_work"],
            row["changes_of_the_number"],
            row["paid_over_worked"],
            row["paid_over_asked_for"],
            row["late_seconds_median"],
            row["late_seconds_95_percent"],
            row["tasks_begun_anew"],
        );
    }
    let told = json!({
        "what": "simulated days of 48 bursts (a few seconds to an hour of 30 workers, one in four of few long tasks): boot 180 s, idle 120 s, start 20 s, retire 15 s; worker nodes only; late against 30 workers that are always there",
        "autoscaling": autoscaling,
        "node_hours_of_a_fixed_day": u64::from(MAX_REPLICAS) * DAY / 3600,
        "days": rows[..days.len()],
        "all": rows[days.len()],
    });
    result::write("scaling", told).unwrap();
}

#[derive(Default)]
struct Day {
    paid: u64,
    worked: u64,
    asked: u64,
    changes: u32,
    begun_anew: u32,
    late: Vec<u64>,
}

impl Day {
    fn of(seed: u64, autoscaling: &Value) -> Self {
        let bursts = bursts(seed);
        let fixed = {
            let mut model = Model::new(THREADS, true, bursts.clone());
            model.aim(MAX_REPLICAS as usize);
            // The nodes are there before the day begins.
            let mut model = warmed_up(model);
            while model.now < DAY || !model.is_done() {
                model.pass();
            }
            model.done_at
        };
        let mut model = Model::new(THREADS, true, bursts);
        let mut sight = Sight::of(autoscaling, true);
        let mut day = Self::default();
        let mut lately: VecDeque<u32> = VecDeque::new();
        while model.now < DAY || !model.is_done() || model.jobs().next().is_some() {
            if model.now.is_multiple_of(DECIDES_EACH) {
                sight.set_time(model.now as f64);
                sight.set_jobs(model.jobs());
                let (load, workers) = model.answer();
                sight.set_answer(load, workers);
                sight.refuse_nodes(model.refuses());
                let (decision, changed) = sight.decide();
                day.changes += u32::from(changed);
                model.aim(decision.replicas as usize);
            }
            model.pass();
            lately.push_back(sight.replicas());
            if lately.len() as u64 > IDLE {
                lately.pop_front();
            }
            day.asked += u64::from(lately.iter().copied().max().unwrap_or(0));
        }
        day.paid = model.seconds.paid;
        day.worked = model.seconds.worked;
        day.begun_anew = model.begun_anew;
        let done = model.done_at.iter().zip(&fixed);
        day.late = done
            .map(|(done, fixed)| done.unwrap().saturating_sub(fixed.unwrap()))
            .collect();
        day
    }

    fn and(mut self, other: &Self) -> Self {
        self.paid += other.paid;
        self.worked += other.worked;
        self.asked += other.asked;
        self.changes += other.changes;
        self.begun_anew += other.begun_anew;
        self.late.extend(&other.late);
        self
    }

    fn told(&self) -> Value {
        let mut late = self.late.clone();
        late.sort_unstable();
        let share = |percent: usize| late[(late.len() - 1) * percent / 100];
        json!({
            "node_hours_paid": rounded(self.paid as f64 / 3600.0),
            "node_hours_with_work": rounded(self.worked as f64 / 3600.0),
            "paid_over_worked": rounded(self.paid as f64 / self.worked as f64),
            "paid_over_asked_for": rounded(self.paid as f64 / self.asked as f64),
            "changes_of_the_number": self.changes,
            "tasks_begun_anew": self.begun_anew,
            "late_seconds_median": share(50),
            "late_seconds_95_percent": share(95),
            "late_seconds_most": share(100),
        })
    }
}

/// The same, with its nodes there at the first second.
fn warmed_up(mut model: Model) -> Model {
    model.nodes_are_there();
    model
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// One day's work: at any time, of sizes that are as often below a minute of the full size as above.
fn bursts(seed: u64) -> Vec<Burst> {
    let mut draw = Draw(seed);
    let one = |draw: &mut Draw| {
        let at = (draw.share() * DAY as f64) as u64;
        if draw.share() < 0.25 {
            let tasks = draw.between(1.0, 40.0) as u32;
            let seconds = draw.between(60.0, 3600.0) as u32;
            return Burst { at, tasks, seconds };
        }
        let seconds = draw.between(1.0, 300.0);
        let full_size = f64::from(THREADS * MAX_REPLICAS);
        let tasks = draw.between(5.0, 3600.0) * full_size / seconds;
        Burst {
            at,
            tasks: (tasks as u32).max(1),
            seconds: seconds as u32,
        }
    };
    (0..BURSTS).map(|_| one(&mut draw)).collect()
}

/// Numbers by splitmix64, the same at every run.
struct Draw(u64);

impl Draw {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// As often in each octave.
    fn between(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.share())
    }
}

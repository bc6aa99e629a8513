use dask_azureml_operator::dask::Load;
use dask_azureml_operator::scaling::Decision;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use crate::model::{Burst, Model};
use crate::sight::{Sight, worker};

const CASES: u32 = 16;
const DECIDES_EACH: u64 = 5;
/// Number of the look after which nothing goes wrong any more.
const LAST_MISHAP: u64 = 600;

fn config() -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    }
}

fn autoscaling() -> impl Strategy<Value = Value> {
    (
        0..5_u32,
        0..20_u32,
        60..900_u32,
        0..60_u32,
        0..300_u32,
        1..30_u32,
        1..=100_u32,
    )
        .prop_map(|(min, more, target, up, down, step, percent)| {
            json!({
                "minReplicas": min, "maxReplicas": (min + more).max(1),
                "targetDurationSeconds": target,
                "scaleUpStabilizationSeconds": up, "scaleDownStabilizationSeconds": down,
                "maxScaleUpStep": step, "maxScaleDownPercent": percent,
            })
        })
}

fn bound(autoscaling: &Value, name: &str) -> u32 {
    u32::try_from(autoscaling[name].as_u64().unwrap()).unwrap()
}

#[derive(Clone, Debug)]
enum Mishap {
    /// The scheduler is silent for so many looks.
    Silent(u32),
    /// It answers for so many looks what it answered before.
    Late(u32),
    Death(usize),
    /// From now on the pool has no more than so many nodes.
    Refusal(usize),
    /// The operator's clock jumps by so many seconds.
    Jump(i32),
    /// Another process takes over, and has seen nothing.
    Restart,
    Nonsense,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        (1..40_u32).prop_map(Mishap::Silent),
        (1..10_u32).prop_map(Mishap::Late),
        (0..30_usize).prop_map(Mishap::Death),
        (0..30_usize).prop_map(Mishap::Refusal),
        (-4000..4000_i32).prop_map(Mishap::Jump),
        Just(Mishap::Restart),
        Just(Mishap::Nonsense),
    ]
}

fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let one = (0..3000_u64, 1..400_u32, 1..60_u32);
    prop::collection::vec(one, 0..4).prop_map(|bursts| {
        let burst = |(at, tasks, seconds)| Burst { at, tasks, seconds };
        bursts.into_iter().map(burst).collect()
    })
}

fn explains(decision: &Decision, why: &str) -> Result<(), TestCaseError> {
    let begin = format!("want {}: ", decision.replicas);
    prop_assert!(decision.why.starts_with(&begin), "{}", decision.why);
    prop_assert!(
        decision.why.len() > begin.len() && decision.why.len() <= 1024,
        "{why}"
    );
    Ok(())
}

/// Lets a cluster run; the mishaps happen at the looks that they are numbered with.
fn run(
    autoscaling: &Value,
    bursts: Vec<Burst>,
    mishaps: &[(u64, Mishap)],
) -> Result<(Sight, Decision), TestCaseError> {
    let [min, max, step] =
        ["minReplicas", "maxReplicas", "maxScaleUpStep"].map(|name| bound(autoscaling, name));
    let mut model = Model::new(8, true, bursts);
    let mut sight = Sight::of(autoscaling, true);
    let (mut silent, mut late, mut jumped) = (0, 0, 0.0);
    let mut answer = model.answer();
    let mut quiet_since = None;
    loop {
        if model.now.is_multiple_of(DECIDES_EACH) {
            let look = model.now / DECIDES_EACH;
            let mut nonsense = false;
            for (_, mishap) in mishaps.iter().filter(|(at, _)| *at == look) {
                match mishap {
                    Mishap::Silent(looks) => silent = *looks,
                    Mishap::Late(looks) => late = *looks,
                    Mishap::Death(nth) => model.kill(*nth),
                    Mishap::Refusal(nodes) => model.at_most = *nodes,
                    Mishap::Jump(seconds) => jumped += f64::from(*seconds),
                    Mishap::Restart => sight.observed.recommendations = Default::default(),
                    Mishap::Nonsense => nonsense = true,
                }
            }
            if late == 0 {
                answer = model.answer();
            }
            late = late.saturating_sub(1);
            sight.set_time(100_000.0 + model.now as f64 + jumped);
            sight.set_jobs(model.jobs());
            let (mut load, workers) = answer.clone();
            if nonsense {
                load.work_seconds = f64::NAN;
            }
            let registered = u32::try_from(workers.len()).unwrap();
            sight.set_answer(load, workers);
            if silent > 0 {
                sight.set_silent();
                silent -= 1;
            }
            sight.refuse_nodes(model.refuses());
            let before = sight.replicas();
            let told = sight.observed.told.clone();
            let (decision, changed) = sight.decide();
            explains(&decision, &decision.why)?;
            prop_assert!((min..=max).contains(&decision.replicas), "{}", decision.why);
            if changed && decision.useful.is_none() {
                prop_assert_eq!(decision.replicas, before.max(min), "{}", decision.why);
            }
            if decision.replicas > before && decision.replicas > min {
                let most = registered.saturating_add(step);
                prop_assert!(decision.replicas <= most, "{}", decision.why);
                prop_assert!(!model.refuses(), "{}", decision.why);
            }
            if decision.replicas < before {
                let since = told
                    .last_scale_time
                    .map(|last| sight.observed.seen_at.duration_since(last).as_secs().abs());
                prop_assert!(since.is_none_or(|since| since >= 60), "{}", decision.why);
            }
            model.aim(decision.replicas as usize);
            let is_quiet = model.is_done() && look > LAST_MISHAP;
            let since = *quiet_since.get_or_insert(model.now);
            if !is_quiet {
                quiet_since = None;
            } else if model.now - since > 2000 {
                return Ok((sight, decision));
            }
            prop_assert!(model.now < 200_000, "it does not settle: {}", decision.why);
        }
        model.pass();
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_the_bounds_hold_and_a_quiet_cluster_comes_to_its_least_number(
        autoscaling in autoscaling(),
        bursts in bursts(),
        mishaps in prop::collection::vec((0..LAST_MISHAP, mishap()), 0..12),
    ) {
        // Without a node nothing is ever done; the head has a worker of its own.
        let (_, last) = run(&autoscaling, bursts, &mishaps)?;
        prop_assert_eq!(last.replicas, bound(&autoscaling, "minReplicas"), "{}", last.why);
        prop_assert_eq!(last.look_again, None, "{}", last.why);
    }
}

/// A scheduler that has the same to do all the time, whoever comes and goes.
#[derive(Clone, Debug)]
struct Constant {
    tasks: u32,
    work_seconds: f64,
    gib_held: u64,
    begins_with: u32,
    own: bool,
}

fn constant() -> impl Strategy<Value = Constant> {
    (
        0..3000_u32,
        0.01..400.0_f64,
        0..900_u64,
        0..25_u32,
        any::<bool>(),
    )
        .prop_map(|(tasks, each, gib_held, begins_with, own)| Constant {
            tasks,
            work_seconds: f64::from(tasks) * each,
            gib_held: gib_held.saturating_sub(450),
            begins_with,
            own,
        })
}

fn show(sight: &mut Sight, constant: &Constant) {
    let replicas = sight.replicas();
    let slots = 0..usize::try_from(replicas).unwrap();
    sight.set_jobs(slots.clone().map(|slot| (slot, "Running")));
    let takers = replicas + u32::from(constant.own);
    let given = constant.tasks.min(8 * takers);
    let share = given.checked_div(takers).unwrap_or(0);
    let mut rest = given.checked_rem(takers).unwrap_or(0);
    let slots = slots.map(Some).chain(constant.own.then_some(None));
    let workers = slots.map(|slot| {
        let more = u32::from(rest > 0);
        rest -= more;
        worker(slot, 8, share + more)
    });
    let workers = workers.collect();
    let load = Load {
        idle_since: None,
        clients: 1,
        processing: given,
        queued: constant.tasks - given,
        unrunnable: 0,
        work_seconds: constant.work_seconds,
        nbytes: constant.gib_held << 30,
    };
    sight.set_answer(load, workers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * CASES))]

    #[test]
    fn under_constant_load_the_number_moves_one_way_settles_and_is_of_use(
        autoscaling in autoscaling(),
        constant in constant(),
    ) {
        let [min, max] = ["minReplicas", "maxReplicas"].map(|name| bound(&autoscaling, name));
        let mut sight = Sight::of(&autoscaling, constant.own);
        sight.observed.told.desired_replicas = Some(constant.begins_with.clamp(min, max));
        let mut numbers = vec![sight.replicas()];
        let mut last = None;
        for look in 0..400_u32 {
            sight.set_time(f64::from(look) * 10.0);
            show(&mut sight, &constant);
            let (decision, changed) = sight.decide();
            explains(&decision, &decision.why)?;
            if changed {
                numbers.push(decision.replicas);
            }
            last = Some(decision);
        }
        let last = last.unwrap();
        let ups = numbers.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let downs = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
        prop_assert!(ups == 0 || downs == 0, "it flaps: {numbers:?}, {}", last.why);
        prop_assert_eq!(last.look_again, None, "it does not settle: {:?}, {}", numbers, last.why);
        // No more than is of use, or holds the data, or is at something long.
        let useful = last.useful.unwrap();
        let long = constant.work_seconds > 60.0 * f64::from(constant.tasks);
        let at_long_tasks = if long { constant.tasks } else { 0 };
        let to_hold = u32::try_from(constant.gib_held.div_ceil(28)).unwrap();
        let most = useful.keep.max(min).max(at_long_tasks).max(to_hold);
        prop_assert!(last.replicas <= most, "{numbers:?}, {}", last.why);
        prop_assert!(last.replicas >= useful.grow.min(max), "{numbers:?}, {}", last.why);
    }
}

//! Faults that a test sets: which request they strike, and what becomes of it.

pub(crate) mod action;
pub(crate) mod answer;
pub(crate) mod lag;

use std::sync::Mutex;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lock;
use crate::resource_id::ResourceId;
use action::{Action, FaultAnswer};
use lag::Lag;

/// A fault: the first request that matches (or the `nth`) and `count - 1` after it get `action`.
///
/// ```
/// use azure_simulator::{Fault, FaultAnswer};
///
/// let busy = Fault::answer("PUT", "/computes/", FaultAnswer::error(429, "TooManyRequests"));
/// assert_eq!(busy.count, Some(1));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// HTTP method; every one where absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Text that the path contains, in any casing; `*` stands for any characters.
    #[serde(default)]
    pub path: String,
    /// ARM resource type that the request is about, in any casing: `computes`, or in full
    /// `Microsoft.MachineLearningServices/workspaces/computes`. Every request where absent.
    #[serde(default)]
    pub kind: Option<String>,
    /// Strikes at the nth match first, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How often it strikes; for ever where `null`.
    #[serde(default = "once")]
    pub count: Option<u64>,
    /// How likely each match is struck, from 0 to 1; certainly where absent.
    #[serde(default)]
    pub probability: Option<f64>,
    /// Chooses which matches `probability` strikes: the same ones each time.
    #[serde(default)]
    pub seed: u64,
    /// What becomes of the request.
    pub action: Action,
}

fn one() -> u64 {
    1
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn once() -> Option<u64> {
    Some(1)
}

impl Fault {
    /// Strikes once, with an answer.
    #[must_use]
    pub fn answer(method: &str, path: &str, answer: FaultAnswer) -> Self {
        Self::once(method, path, Action::Answer(answer))
    }

    /// Strikes once.
    #[must_use]
    pub fn once(method: &str, path: &str, action: Action) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            kind: None,
            nth: 1,
            count: Some(1),
            probability: None,
            seed: 0,
            action,
        }
    }

    /// Strikes only what is about this ARM resource type.
    #[must_use]
    pub fn on(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// Strikes at the nth match first, counted from 1.
    #[must_use]
    pub fn from_nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Strikes for ever, but each match only with this probability; the seed chooses which.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.probability = Some(probability);
        self.seed = seed;
        self.always()
    }

    /// Strikes so many times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Strikes for ever.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.count = None;
        self
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|named| method.as_str().eq_ignore_ascii_case(named))
            && contains(&path.to_lowercase(), &self.path.to_lowercase())
            && self.kind.as_deref().is_none_or(|kind| is_about(path, kind))
    }
}

/// Whether `path` contains `pattern`, whose `*` stand for any characters.
fn contains(path: &str, pattern: &str) -> bool {
    let mut rest = path;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Whether a path is of a resource of this type, of its collection, or of an action on it.
fn is_about(path: &str, kind: &str) -> bool {
    let Some(id) = ResourceId::parse(path) else {
        return false;
    };
    let kind = kind.to_lowercase();
    let is = |id: &ResourceId| {
        let own = id.resource_type().to_lowercase();
        own == kind || own.ends_with(&format!("/{kind}"))
    };
    is(&id) || id.split_action().is_some_and(|(id, _)| is(&id))
}

/// A number from 0 to 1 that depends on nothing but the seed and the draw (splitmix64).
fn chance(seed: u64, draw: u64) -> f64 {
    let mut mixed = seed.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = (mixed ^ (mixed >> 31)) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Mutex<FaultList>,
    pub(crate) lag: Lag,
}

#[derive(Debug, Default)]
struct FaultList {
    last: u64,
    faults: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    number: u64,
    fault: Fault,
    matched: u64,
    struck: u64,
    unused: u64,
}

/// A fault that strikes a request.
#[derive(Debug)]
pub(crate) struct Strike {
    pub(crate) number: u64,
    pub(crate) action: Action,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> u64 {
        let mut list = lock(&self.set);
        list.last += 1;
        let number = list.last;
        list.faults.push(Set {
            number,
            fault,
            matched: 0,
            struck: 0,
            unused: 0,
        });
        number
    }

    /// Counts a strike that nothing came of: its request began nothing that could go so.
    pub(crate) fn note_unused(&self, number: u64) {
        let mut list = lock(&self.set);
        if let Some(set) = list.faults.iter_mut().find(|set| set.number == number) {
            set.unused += 1;
        }
    }

    pub(crate) fn clear(&self) {
        lock(&self.set).faults.clear();
        self.lag.clear();
    }

    /// The first fault that strikes this request; each counts its matches.
    pub(crate) fn matching(&self, method: &Method, path: &str) -> Option<Strike> {
        let mut strike = None;
        for set in &mut lock(&self.set).faults {
            let fault = &set.fault;
            if !fault.matches(method, path) {
                continue;
            }
            set.matched += 1;
            let left = fault.count.is_none_or(|count| set.struck < count);
            let likely = fault
                .probability
                .is_none_or(|probability| chance(fault.seed, set.matched) < probability);
            if strike.is_none() && set.matched >= fault.nth && left && likely {
                set.struck += 1;
                strike = Some(Strike {
                    number: set.number,
                    action: fault.action.clone(),
                });
            }
        }
        strike
    }

    /// `GET /faults`.
    pub(crate) fn shown(&self) -> Value {
        let list = lock(&self.set);
        let shown = list.faults.iter().map(|set| {
            json!({
                "number": set.number,
                "fault": set.fault,
                "matched": set.matched,
                "struck": set.struck,
                "unused": set.unused,
            })
        });
        Value::Array(shown.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_from_its_nth_match_as_often_as_it_is_told() {
        let faults = Faults::default();
        let mut fault = Fault::once("PUT", "/jobs/", Action::LoseAnswer).times(2);
        fault.nth = 2;
        faults.add(fault);
        let struck: Vec<bool> = (0..5)
            .map(|_| faults.matching(&Method::PUT, "/x/JOBS/1").is_some())
            .collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.matching(&Method::GET, "/x/jobs/1").is_none());
    }

    const JOB: &str = "/subscriptions/s/resourceGroups/g/providers/\
                       Microsoft.MachineLearningServices/workspaces/w/jobs/j1";

    #[test]
    fn a_path_may_have_gaps() {
        assert!(contains("/workspaces/w/jobs/j1/cancel", "/jobs/*/cancel"));
        assert!(!contains("/workspaces/w/jobs/j1", "/jobs/*/cancel"));
        assert!(contains("/anything", ""));
    }

    #[test]
    fn a_kind_is_known_by_its_type_its_collection_and_its_actions() {
        let jobs = JOB.trim_end_matches("/j1");
        for (path, kind, about) in [
            (JOB.to_owned(), "jobs", true),
            (jobs.to_owned(), "JOBS", true),
            (format!("{JOB}/cancel"), "jobs", true),
            (
                JOB.to_owned(),
                "Microsoft.MachineLearningServices/workspaces/jobs",
                true,
            ),
            (JOB.to_owned(), "obs", false),
            (JOB.to_owned(), "computes", false),
            ("/common/discovery/instance".to_owned(), "jobs", false),
        ] {
            assert_eq!(is_about(&path, kind), about, "{path} {kind}");
        }
    }

    #[test]
    fn a_seed_strikes_the_same_matches_each_time() {
        let struck = |seed| -> Vec<bool> {
            let faults = Faults::default();
            faults.add(Fault::once("GET", "/", Action::LoseAnswer).with_probability(0.25, seed));
            (0..400)
                .map(|_| faults.matching(&Method::GET, "/x").is_some())
                .collect()
        };
        assert_eq!(struck(1), struck(1));
        assert_ne!(struck(1), struck(2));
        let hits = struck(1).into_iter().filter(|hit| *hit).count();
        assert!((70..130).contains(&hits), "{hits} of 400");
    }
}

use super::{Round, condition, running, told};
use crate::api::{ConditionType, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, usages};

const PREFLIGHT: ConditionType = ConditionType::PreflightPassed;

fn with_family_cores(limit: i64) -> World {
    World::empty(|_| {}).with(|observed| {
        observed.usages = Lookup::Present(usages(limit, 800).into());
    })
}

#[test]
fn the_condition_tells_stops_warnings_and_the_price() {
    for (limit, expected, message) in [
        (
            800,
            "True Ready",
            "a node (STANDARD_DS13_V2 in eastus) costs 0.741 USD an hour",
        ),
        (
            80,
            "True PassedWithWarnings",
            "warning: quota: the pool stops growing at 10 nodes",
        ),
        (
            16,
            "False QuotaExceeded",
            "stop: quota: 3 nodes take 24 vCPUs at once",
        ),
    ] {
        let status = Round::of(with_family_cores(limit)).status();
        assert_eq!(told(&status, PREFLIGHT), expected);
        let said = &condition(&status, PREFLIGHT).message;
        assert!(said.starts_with(message), "{said}");
    }
}

#[test]
fn a_cluster_that_is_stopped_for_quota_waits_without_being_stalled() {
    let status = Round::of(with_family_cores(16)).status();
    assert_eq!(told(&status, ConditionType::Ready), "False QuotaExceeded");
    assert_eq!(
        told(&status, ConditionType::ComputeReady),
        "False QuotaExceeded"
    );
    assert_eq!(told(&status, ConditionType::Stalled), "False Progressing");
}

#[test]
fn a_stop_is_one_warning_event_and_what_passes_is_none() {
    let events = |world: World| Round::of(world).conclude().events;
    let stopped = events(with_family_cores(16));
    let warnings: Vec<_> = stopped.iter().filter(|event| event.warning).collect();
    assert_eq!(warnings.len(), 1, "{stopped:#?}");
    let told = |world: World| {
        events(world)
            .into_iter()
            .filter(|event| event.action == "Preflight")
            .map(|event| event.reason)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(with_family_cores(800)), []);
    assert_eq!(told(with_family_cores(80)), [Reason::PassedWithWarnings]);
}

#[test]
fn what_has_passed_stays_so_while_azure_cannot_be_asked() {
    let before = Round::of(running()).status();
    let unreachable = running().with(|observed| {
        let trouble = Trouble::passing(Reason::AzureUnreachable, "no answer");
        observed.workspace = Lookup::Unavailable(trouble);
    });
    let round = Round::of(unreachable.clone());
    assert_eq!(told(&round.status(), PREFLIGHT), "False AzureUnreachable");
    assert_eq!(told(&round.after(before).status(), PREFLIGHT), "True Ready");
}

#[test]
fn what_has_not_been_looked_at_is_not_known() {
    let unseen = World::empty(|_| {}).with(|observed| observed.usages = Lookup::NotAsked);
    assert_eq!(
        told(&Round::of(unseen).status(), PREFLIGHT),
        "Unknown Pending"
    );
}

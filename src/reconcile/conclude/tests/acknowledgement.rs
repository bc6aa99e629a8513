//! The first status of a generation.

use super::{Round, condition, running, told, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Phase};
use crate::reconcile::conclude::acknowledge;
use crate::reconcile::fixtures::{noon, seconds_after_noon};

#[test]
fn a_new_cluster_is_unknown_and_reconciling_before_anything_is_asked() {
    let status = acknowledge(&DaskClusterStatus::default(), 1, noon()).unwrap();
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(told(&status, ConditionType::Ready), "Unknown Pending");
    assert_eq!(
        told(&status, ConditionType::Reconciling),
        "True Progressing"
    );
    assert_eq!(told(&status, ConditionType::Stalled), "False Progressing");
    for stage in super::super::STAGES {
        assert_eq!(told(&status, stage), "Unknown Pending", "{stage}");
    }
}

#[test]
fn a_changed_spec_of_a_running_cluster_takes_ready_back_and_keeps_the_rest() {
    let before = told_of_running();
    let status = acknowledge(&before, 2, seconds_after_noon(9)).unwrap();
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(told(&status, ConditionType::Ready), "Unknown Pending");
    assert_eq!(
        told(&status, ConditionType::Reconciling),
        "True Progressing"
    );
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!(status.scheduler, before.scheduler);
    assert_eq!(status.workers, before.workers);
    for stage in super::super::STAGES {
        let (was, is) = (condition(&before, stage), condition(&status, stage));
        assert_eq!(told(&status, stage), "True Ready", "{stage}");
        assert_eq!(is.last_transition_time, was.last_transition_time);
        assert_eq!(is.observed_generation, Some(2));
    }
}

#[test]
fn a_generation_is_acknowledged_once() {
    let status = Round::of(running()).status();
    assert_eq!(acknowledge(&status, 1, seconds_after_noon(9)), None);
}

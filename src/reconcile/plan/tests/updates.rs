//! Changes of the spec on running clusters, and data that fits nowhere.

use serde_json::json;

use super::assert_plan;
use crate::api::UpdatePolicy;
use crate::dask::{Retired, Retirement, RetirementOutcome};
use crate::reconcile::Wanted;
use crate::reconcile::fixtures::{World, seconds_after_noon};

/// These of the jobs that run were started with another `worker.env`.
fn rolling(workers: &[&str], old: &[&str]) -> World {
    let world = World::answering(2, &[&["head-1"], workers].concat());
    old.iter().fold(world, |world, job| {
        world.job(job, "Running", |body| {
            body["properties"]["tags"]["dask-azureml-spec"] = json!("worker.env=00000000");
        })
    })
}

#[test]
fn a_change_brings_a_new_worker_before_an_old_one_goes() {
    let old = ["w00-1", "w01-1"];
    assert_plan("update_1_surge", &rolling(&old, &old));
    let comes = rolling(&old, &old).job("w02-1", "Running", |_| {});
    assert_plan("update_2_registers", &comes);
    let all = ["w00-1", "w01-1", "w02-1"];
    assert_plan("update_3_retire", &rolling(&all, &old));
    let failed = rolling(&old, &old).job("w02-1", "Failed", |_| {});
    assert_plan("update_failed", &failed);
}

#[test]
fn recreate_cancels_the_head_alone() {
    let mut world = rolling(&["w00-1", "w01-1"], &["w00-1"]).job("head-1", "Running", |body| {
        let tags = &mut body["properties"]["tags"];
        tags["dask-azureml-spec"] = json!("scheduler.jupyter=00000000");
        tags["scheduler"] = json!("tcp://10.20.0.4:8786");
        tags["dashboard"] = json!("http://10.20.0.4:8787");
    });
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.update_policy = UpdatePolicy::Recreate;
    assert_plan("update_recreate", &world);
}

#[test]
fn what_fits_nowhere_goes_after_the_grace() {
    let mut world = World::answering(1, &["head-1", "w00-1", "w01-1"]).with(|observed| {
        observed.told.desired_workers = Some(2);
        observed.told.last_scale_time = Some(seconds_after_noon(-601));
        observed.scheduler.retirement = Some(Retirement {
            asked_at: seconds_after_noon(-4),
            outcome: RetirementOutcome::Answered {
                at: seconds_after_noon(-3),
                retired: Retired::default(),
            },
        });
        for worker in &mut observed.scheduler.state.as_mut().unwrap().workers {
            worker.nbytes = 3 << 30;
        }
    });
    assert_plan("data_held", &world);
    let Wanted::Cluster(cluster) = &mut world.wanted else {
        unreachable!()
    };
    cluster.worker.scale_down_grace = Some(jiff::SignedDuration::from_secs(600));
    assert_plan("data_lost", &world);
}

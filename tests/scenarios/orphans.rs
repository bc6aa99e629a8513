use std::time::Duration;

use azure_simulator::{Jobs, World};

use dask_azureml_operator::sweep::{OrphanPolicy, SweepSettings};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{Line, wait_for};
use crate::owner::Owner;

/// Without mercy: an orphan is removed at the second sweep.
fn sweep(orphans: OrphanPolicy) -> SweepSettings {
    SweepSettings {
        interval: Duration::from_secs(1),
        orphans,
        grace: Duration::ZERO,
    }
}

/// Two clusters on one workspace, of which `lost` is gone from Kubernetes: its finalizer was forced away while no
/// operator was there.
async fn with_a_lost_cluster(orphans: OrphanPolicy, change: fn(&str, &mut Value)) -> Line {
    let mut line = Line::start().await;
    for name in ["keeper", "lost"] {
        let mut manifest = line.manifest(name, 1);
        manifest["spec"]["compute"]["name"] = json!(format!("{name}-pool"));
        manifest["spec"]["network"]["virtualNetwork"]["name"] = json!(format!("{name}-vnet"));
        change(name, &mut manifest["spec"]);
        line.apply(&manifest).await;
        line.wait_until_ready(name).await;
    }
    line.kill_operator();
    let nothing = json!({"metadata": {"finalizers": null}});
    line.clusters()
        .patch("lost", &PatchParams::default(), &Patch::Merge(nothing))
        .await
        .expect("the API server takes the finalizer off");
    line.delete("lost").await;
    line.wait_until_gone("lost").await;
    line.forget_requests();
    line.set_sweep(sweep(orphans));
    line.start_operator();
    line
}

/// The event that tells what the lost cluster has left behind.
async fn event(line: &Line) -> String {
    wait_for("the orphans are told", async || {
        let events: Api<Event> = Api::namespaced(line.client.clone(), &line.namespace);
        let events = events
            .list(&ListParams::default())
            .await
            .expect("the API server lists events");
        let told = events.items.into_iter().find(|event| {
            let regarding = event.regarding.as_ref();
            event.reason.as_deref() == Some("Orphaned")
                && regarding.and_then(|regarding| regarding.name.as_deref()) == Some("lost")
        });
        told.and_then(|event| event.note)
            .ok_or("no event".to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_left_whose_finalizer_was_forced_away_is_told_and_not_touched() {
    let line = with_a_lost_cluster(OrphanPolicy::Report, |name, spec| {
        spec["scheduler"]["compute"] = json!({"name": format!("{name}-head")});
    })
    .await;
    let told = event(&line).await;
    for what in [
        "ComputeCluster lost-pool (1 nodes of STANDARD_DS13_V2), ",
        "ComputeCluster lost-head (1 nodes of STANDARD_DS13_V2), ",
        " USD an hour",
        "VirtualNetwork lost-vnet",
        "-head-1 (Running)",
        "-w00-1 (Running)",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert!(!told.contains("keeper"), "{told}");
    line.wait_until_ready("keeper").await;
    assert_eq!(line.azure_writes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_that_cost_money_are_removed_where_the_setting_says_so_and_nothing_else_is() {
    let line = with_a_lost_cluster(OrphanPolicy::Remove, |_, _| {}).await;
    let keeper = line.wait_until_ready("keeper").await;
    // Three of so few are more than one in five.
    event(&line).await;
    assert_eq!(
        line.azure_writes(),
        [""; 0],
        "a sweep that would take too much takes nothing"
    );

    let tags = json!({
        "dask-azureml-owner": keeper.uid(),
        "dask-azureml-instance": instance(&line),
    });
    let owner = Owner::signed_in(&line).await;
    for number in 0..8 {
        let body = json!({
            "location": "eastus",
            "tags": tags,
            "properties": {"addressSpace": {"addressPrefixes": ["10.40.0.0/16"]}},
        });
        owner.network(&format!("more-{number}")).put(body).await;
    }
    wait_for("the orphans are gone", async || {
        let world = line.azure.world();
        let pools = world["computes"].as_array().map_or(0, Vec::len);
        let running = line.jobs_with_status("Running").len();
        (pools == 1 && running == 2)
            .then_some(())
            .ok_or(format!("{pools} pools, {running} jobs"))
    })
    .await;
    let world = line.azure.world();
    assert_eq!(world["computes"][0]["name"], "keeper-pool");
    let networks = world["networks"].as_array().map_or(0, Vec::len);
    assert_eq!(networks, 2 + 8, "a network costs nothing");
    line.wait_until_ready("keeper").await;
}

/// What the operator tags its resources with.
fn instance(line: &Line) -> String {
    let world = line.azure.world();
    let tag = &world["computes"][0]["tags"]["dask-azureml-instance"];
    tag.as_str().expect("a tag of the operator").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_job_that_has_ended_and_was_followed_is_archived_and_its_number_not_used_again() {
    let world = World {
        jobs: Jobs::Pretend,
        ..World::default().without_delays()
    };
    let mut line = Line::without_operator(world).await;
    line.take_time_into_our_hands();
    line.set_sweep(SweepSettings {
        interval: Duration::from_secs(600),
        ..sweep(OrphanPolicy::Report)
    });
    line.start_operator();
    line.apply(&line.manifest("tidy", 1)).await;
    line.wait_until_ready("tidy").await;
    let jobs = |suffix: &'static str| {
        let world = line.azure.world();
        let jobs = world["jobs"].as_array().cloned().unwrap_or_default();
        jobs.into_iter().find(move |job| {
            job["name"]
                .as_str()
                .is_some_and(|name| name.ends_with(suffix))
        })
    };
    let worker = jobs("-w00-1").expect("the worker's job");
    let control = line.azure.control_url();
    let url = format!(
        "{}/pretend/{}",
        control.trim_end_matches('/'),
        worker["name"].as_str().expect("a name")
    );
    let ended = reqwest::Client::new()
        .post(url)
        .json(&json!({"exit": 1}))
        .send()
        .await;
    assert!(ended.is_ok_and(|answer| answer.status().is_success()));
    line.hurry(300);
    wait_for("the job that was followed is archived", async || {
        let (first, second) = (jobs("-w00-1"), jobs("-w00-2"));
        let is_archived = first.as_ref().is_some_and(|job| job["archived"] == true);
        (is_archived && second.is_some())
            .then_some(())
            .ok_or(format!("{first:?} {second:?}"))
    })
    .await;
    let second = jobs("-w00-2").expect("the job that followed");
    assert_eq!(
        (&second["archived"], &second["status"]),
        (&json!(false), &json!("Running"))
    );
    line.wait_until_ready("tidy").await;
    let submitted = line.azure_writes();
    let submitted = submitted.iter().filter(|write| write.ends_with("-w00-1"));
    assert_eq!(submitted.count(), 1);
}

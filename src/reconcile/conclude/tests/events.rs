//! What is told once, and what is not told at all.

use serde_json::{Value, json};

use super::{Round, running, throttled, told, told_of_running};
use crate::api::{ConditionType, DaskClusterStatus, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::conclude::Event;
use crate::reconcile::fixtures::World;

fn events(round: &Round) -> Vec<Event> {
    round.conclude().events
}

/// `Warning Provision NotOurs: ComputeReady is False`, without what follows the second colon.
fn lines(round: &Round) -> Vec<String> {
    let line = |event: Event| {
        let kind = if event.warning { "Warning" } else { "Normal" };
        let note = event.note.split(": ").next().unwrap().to_owned();
        format!("{kind} {} {}: {note}", event.action, event.reason)
    };
    events(round).into_iter().map(line).collect()
}

fn all_gone(change: impl FnOnce(&mut Value)) -> World {
    World::empty(change).deleted()
}

fn farewell(world: World, before: DaskClusterStatus) -> String {
    let told = events(&Round::of(world).after(before));
    let last = told.last().unwrap();
    assert_eq!((last.action, last.reason), ("Delete", Reason::Deleting));
    last.note.clone()
}

#[test]
fn each_stage_that_moves_is_told() {
    for (world, expected) in [
        (
            World::empty(|_| {}),
            vec![
                "Normal Provision Provisioning: NetworkReady is False",
                "Normal Provision Provisioning: DatasetsReady is False",
                "Normal Provision Provisioning: EnvironmentReady is False",
            ],
        ),
        (
            running(),
            vec![
                "Normal Reconcile Ready: Ready is True",
                "Normal Provision Ready: NetworkReady is True",
                "Normal Provision Ready: ComputeReady is True",
                "Normal Provision Ready: DatasetsReady is True",
                "Normal Provision Ready: EnvironmentReady is True",
                "Normal Connect Ready: SchedulerReady is True",
                "Normal Scale Ready: WorkersReady is True",
            ],
        ),
        (
            World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = Value::Null),
            vec![
                "Warning Reconcile NotOurs: Stalled is True",
                "Normal Provision Ready: NetworkReady is True",
                "Warning Provision NotOurs: ComputeReady is False",
                "Normal Provision Ready: DatasetsReady is True",
                "Normal Provision Ready: EnvironmentReady is True",
            ],
        ),
    ] {
        assert_eq!(lines(&Round::of(world)), expected);
    }
}

#[test]
fn a_turn_that_is_waited_for_stands_in_the_condition_and_is_no_event() {
    let waits = Trouble::passing(Reason::WaitingForBudget, "waits for Azure's rate limit");
    let round = Round::of(World::empty(|_| {})).failing("PUT VirtualNetwork dask-vnet", waits);
    let conclusion = round.conclude();
    for kind in [ConditionType::NetworkReady, ConditionType::Ready] {
        assert_eq!(told(&conclusion.status, kind), "False WaitingForBudget");
    }
    assert_eq!(
        told(&conclusion.status, ConditionType::Stalled),
        "False Progressing"
    );
    assert_eq!(
        lines(&round),
        [
            "Normal Provision Provisioning: DatasetsReady is False",
            "Normal Provision Provisioning: EnvironmentReady is False",
        ]
    );
}

#[test]
fn the_note_is_the_conditions_message() {
    let told = events(&Round::of(World::empty(|_| {})));
    assert_eq!(
        told[0].note,
        "NetworkReady is False: PUT VirtualNetwork dask-vnet"
    );
}

#[test]
fn nothing_is_told_twice() {
    for world in [
        World::empty(|_| {}),
        running(),
        World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = Value::Null),
        running().deleted(),
    ] {
        let first = Round::of(world);
        let again = first.clone().after(first.status());
        assert_eq!(events(&again), []);
    }
}

#[test]
fn another_message_of_the_same_reason_is_no_event() {
    let network = Round::of(World::empty(|_| {})).status();
    let updating = Round::of(World::empty(|_| {}).network("Updating")).after(network);
    assert_eq!(events(&updating), []);
}

#[test]
fn another_reason_is_told_though_the_status_is_the_same() {
    let before = Round::of(World::empty(|_| {})).status();
    let failed = Round::of(World::empty(|_| {}))
        .failing("PUT VirtualNetwork dask-vnet", throttled())
        .after(before);
    assert_eq!(
        lines(&failed),
        ["Warning Provision Throttled: NetworkReady is False"]
    );
}

#[test]
fn a_trouble_that_no_stage_tells_is_told_by_the_summary() {
    let without_credentials = running().with(|observed| {
        let trouble = Trouble::passing(Reason::CredentialsMissing, "Secret is not there");
        observed.credentials.trouble = Some(trouble);
    });
    let round = Round::of(without_credentials);
    assert_eq!(
        lines(&round),
        ["Warning Reconcile CredentialsMissing: Ready is False"]
    );
    let without_workspace = running().with(|observed| observed.workspace = Lookup::Absent);
    assert_eq!(
        lines(&Round::of(without_workspace)),
        ["Warning Reconcile WorkspaceNotFound: Stalled is True"]
    );
}

#[test]
fn a_deletion_is_told_by_the_summary_alone() {
    let round = Round::of(running().deleted()).after(told_of_running());
    assert_eq!(lines(&round), ["Normal Reconcile Deleting: Ready is False"]);
}

#[test]
fn the_last_event_names_what_was_registered_and_stays() {
    let told = told_of_running();
    assert_eq!(
        farewell(all_gone(|_| {}), told),
        "nothing that costs money is left in Azure; data asset noaa-isd:1 and the environment version stay in the workspace, as they are shared"
    );
    let started_with = |job: &str, world: World, hash: &'static str| {
        world.job(job, "Completed", |body| {
            body["properties"]["tags"]["dask-azureml-spec"] = json!(format!("datasets={hash}"));
        })
    };
    let same = started_with("w00-1", started_with("w01-1", all_gone(|_| {}), "1"), "1");
    let changed = started_with("w00-1", started_with("w01-1", all_gone(|_| {}), "1"), "2");
    let names_earlier = |world| {
        farewell(world, told_of_running()).contains(
            "the environment version and what was registered before the spec was changed stay",
        )
    };
    assert!(!names_earlier(same));
    assert!(names_earlier(changed));
}

#[test]
fn the_last_event_names_nothing_that_was_never_made() {
    let nothing = "nothing that costs money is left in Azure";
    assert_eq!(
        farewell(all_gone(|_| {}), DaskClusterStatus::default()),
        nothing,
        "the cluster never got so far"
    );
    let theirs = |spec: &mut Value| {
        spec["environment"] = json!({"name": "curated", "version": "7"});
        spec["datasets"] = json!([{"name": "isd", "version": "3"}]);
    };
    let mut world = World::empty(theirs);
    let cluster = world.cluster().clone();
    world = world
        .found(cluster.environment.id, json!({"properties": {}}))
        .found(cluster.datasets[0].id.clone(), json!({"properties": {}}));
    let told = Round::of(world).status();
    assert_eq!(farewell(all_gone(theirs), told), nothing, "both were there");
}

#[test]
fn the_last_event_says_what_retain_has_left() {
    let mut tags = crate::reconcile::fixtures::our_tags();
    tags["dask-azureml-retained"] = json!("true");
    let world = World::provisioned(|spec| {
        spec["deletionPolicy"] = json!("Retain");
        spec["datasets"] = json!([]);
    });
    let network = world.place().network.clone().unwrap().virtual_network;
    let marked = world
        .pool("Succeeded", |body| body["tags"] = tags.clone())
        .found(network, json!({"tags": tags, "properties": {}}));
    let told = Round::of(marked.clone()).status();
    assert_eq!(
        farewell(marked.deleted(), told),
        "the jobs have ended; pool ds13-cluster and its network stay, as deletionPolicy is Retain; the environment version stays in the workspace, as it is shared"
    );
}

#[test]
fn a_secret_that_is_deleted_under_a_cluster_is_told_once_and_not_to_one_that_goes_itself() {
    let going = || running().with(|observed| observed.credentials.going = true);
    let first = Round::of(going()).after(told_of_running());
    assert_eq!(
        lines(&first),
        ["Warning Reconcile SecretBeingDeleted: CredentialsTrouble is True"]
    );
    assert!(
        events(&first)[0]
            .note
            .contains("name another Secret in spec.credentialsSecretName")
    );
    assert_eq!(events(&first.clone().after(first.status())), []);
    let leaving = Round::of(going().deleted()).after(told_of_running());
    assert_eq!(
        lines(&leaving),
        ["Normal Reconcile Deleting: Ready is False"]
    );
    let namespace = going().with(|observed| observed.namespace_is_going = true);
    assert!(!lines(&Round::of(namespace)).concat().contains("Secret"));
}

#[test]
fn a_cluster_that_is_ready_says_too_that_its_credentials_are_refused() {
    let refused = || {
        running().with(|observed| {
            let trouble = Trouble::lasting(Reason::CredentialsRefused, "AADSTS7000222: expired");
            observed.workspace = Lookup::Unavailable(trouble);
        })
    };
    let ready = Round::of(refused()).after(told_of_running());
    assert_eq!(
        lines(&ready),
        ["Warning Reconcile CredentialsRefused: CredentialsTrouble is True"]
    );
    assert!(events(&ready)[0].note.ends_with("AADSTS7000222: expired"));
    assert_eq!(
        lines(&Round::of(refused())),
        ["Warning Reconcile CredentialsRefused: Stalled is True"],
        "one that is not Ready says it once"
    );
}

#[test]
fn a_cluster_that_leaves_and_is_not_let_into_azure_says_what_it_lacks_and_the_way_out() {
    let missing = Trouble::passing(
        Reason::CredentialsMissing,
        "Secret azure-credentials does not exist",
    );
    let refused = Trouble::lasting(Reason::CredentialsRefused, "the client secret has expired");
    let without_secret =
        running().with(|observed| observed.credentials.trouble = Some(missing.clone()));
    let expired =
        running().with(|observed| observed.workspace = Lookup::Unavailable(refused.clone()));
    for (world, trouble) in [(without_secret, missing), (expired, refused)] {
        let first = Round::of(world.deleted()).after(told_of_running());
        let told = events(&first);
        assert_eq!(
            (told.len(), told[1].warning, told[1].action, told[1].reason),
            (2, true, "Delete", trouble.reason)
        );
        assert_eq!(
            told[1].note,
            format!(
                "{}; without that nothing can be removed from Azure. To let the DaskCluster go and leave everything there: kubectl annotate -n weather daskcluster noaa-isd azureml.dask.dev/abandon=true",
                trouble.message
            )
        );
        assert_eq!(events(&first.clone().after(first.status())), []);
    }
}

#[test]
fn the_last_event_of_an_abandoned_cluster_names_everything_that_it_may_have_left() {
    let abandoned = |world: World| {
        let round = Round::of(
            world
                .deleted()
                .with(|observed| observed.is_abandoned = true),
        );
        events(&round.after(told_of_running())).pop().unwrap()
    };
    let last = abandoned(running());
    assert_eq!(
        (last.warning, last.action, last.reason),
        (true, "Delete", Reason::Abandoned)
    );
    let place = running().place().clone();
    for left in [
        format!("pool {};", place.compute),
        format!("network {};", place.network.unwrap().virtual_network),
        format!(
            "the jobs of workspace {} whose names begin with noaa-isd-6f9619ff- (the head is noaa-isd-6f9619ff-head-1);",
            place.workspace
        ),
        "data asset noaa-isd:1".to_owned(),
    ] {
        assert!(last.note.contains(&left), "{left}: {}", last.note);
    }
    assert!(last.note.len() < 1024, "{}", last.note.len());
}

#[test]
fn an_address_that_kubernetes_refuses_is_told_once() {
    let loopback = running()
        .job("head-1", "Running", |body| {
            body["properties"]["tags"]["scheduler"] = json!("tcp://127.0.20.4:8786");
            body["properties"]["tags"]["dashboard"] = json!("http://127.0.20.4:8787");
        })
        .with(|observed| {
            let node = json!({"privateIpAddress": "127.0.20.4"});
            observed.pool_nodes = Lookup::Present(vec![serde_json::from_value(node).unwrap()]);
        });
    let first = Round::of(loopback);
    let unroutable = |round: &Round| {
        let told = events(round);
        let about = |event: &&Event| {
            event
                .note
                .contains("Kubernetes takes no endpoint for tcp://127.0.20.4:8786")
        };
        told.iter().filter(about).count()
    };
    assert_eq!(unroutable(&first), 1);
    assert_eq!(unroutable(&first.clone().after(first.status())), 0);
    assert_eq!(first.status().scheduler.unwrap().service, None);
    let routable = Round::of(running());
    assert_eq!(unroutable(&routable), 0);
}

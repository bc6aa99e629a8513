use serde_json::json;

use super::*;

const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws";
const LIVING: &str = "11111111-aaaa";
const GONE: &str = "22222222-bbbb";

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn after_noon(seconds: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_secs(seconds)
}

fn tags(owner: &str) -> Tags {
    [
        (OWNER, owner),
        (INSTANCE, "cluster/operator"),
        (CLUSTER, "weather/noaa"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn id(kind: &str, name: &str) -> ResourceId {
    format!("{WORKSPACE}/{kind}/{name}").parse().unwrap()
}

fn of_nodes(being_deleted: bool) -> What {
    What::Pool(Pool {
        location: "eastus".into(),
        vm_size: "STANDARD_DS3_V2".into(),
        priority: Priority::Dedicated,
        nodes: 3,
        being_deleted,
    })
}

fn pool(owner: &str, name: &str) -> Carrier {
    Carrier {
        id: id("computes", name),
        tags: tags(owner),
        what: of_nodes(false),
    }
}

fn job(owner: &str, name: &str, status: &str) -> Carrier {
    let body = json!({
        "name": name,
        "properties": {
            "status": status,
            "experimentName": "noaa",
            "properties": {"EndTimeUtc": "2026-01-01 11:30:00"},
        },
    });
    Carrier {
        id: id("jobs", name),
        tags: tags(owner),
        what: What::Job(Box::new(JobFacts::read(&body).unwrap())),
    }
}

fn network(owner: &str) -> Carrier {
    Carrier {
        id: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet"
            .parse()
            .unwrap(),
        tags: tags(owner),
        what: What::Network,
    }
}

fn sweep(carriers: &[Carrier], orphans: OrphanPolicy, seconds: i64) -> Findings {
    let settings = SweepSettings {
        interval: Duration::from_secs(60),
        orphans,
        grace: Duration::from_secs(600),
    };
    let living = BTreeSet::from([LIVING.to_owned()]);
    let known = carriers
        .iter()
        .map(|carrier| (carrier.id.clone(), noon()))
        .collect();
    findings(carriers, &living, &known, settings, after_noon(seconds))
}

/// What five times as many living pools leave room for.
fn many_living() -> impl Iterator<Item = Carrier> {
    (0..40).map(|n| pool(LIVING, &format!("living{n}")))
}

fn removed(findings: &Findings) -> Vec<&str> {
    findings.remove.iter().map(|one| one.id.name()).collect()
}

#[test]
fn what_carries_our_tag_without_a_living_owner_is_an_orphan_and_what_was_retained_is_none() {
    let mut retained = pool(GONE, "retained");
    retained.tags.insert(RETAINED.into(), "true".into());
    let mut leaving = pool(GONE, "leaving");
    leaving.what = of_nodes(true);
    let carriers = [
        pool(LIVING, "lives"),
        pool(GONE, "orphan"),
        network(GONE),
        job(GONE, "noaa-22222222-head-1", "Running"),
        job(GONE, "noaa-22222222-w00-1", "CancelRequested"),
        job(GONE, "noaa-22222222-w01-1", "Completed"),
        retained,
        leaving,
    ];
    let found = sweep(&carriers, OrphanPolicy::Report, 0);
    let orphans = found.orphans.iter().map(|orphan| orphan.carrier.id.name());
    assert_eq!(
        orphans.collect::<Vec<_>>(),
        ["orphan", "vnet", "noaa-22222222-head-1"]
    );
    assert_eq!(found.remove, []);
}

#[test]
fn what_another_operator_made_or_nobody_is_none_of_ours() {
    assert!(pool(GONE, "ours").is_of("cluster/operator"));
    assert!(!pool(GONE, "theirs").is_of("cluster/another"));
    let mut nobodys = pool(GONE, "nobodys");
    nobodys.tags.remove(OWNER);
    assert!(!nobodys.is_of("cluster/operator"));
}

#[test]
fn only_what_costs_money_is_removed_and_only_after_its_grace() {
    let carriers: Vec<_> = [pool(GONE, "orphan"), network(GONE)]
        .into_iter()
        .chain([job(GONE, "noaa-22222222-head-1", "Running")])
        .chain(many_living())
        .collect();
    assert_eq!(
        removed(&sweep(&carriers, OrphanPolicy::Remove, 599)),
        [""; 0]
    );
    assert_eq!(
        removed(&sweep(&carriers, OrphanPolicy::Remove, 600)),
        ["orphan", "noaa-22222222-head-1"]
    );
    assert_eq!(
        removed(&sweep(&carriers, OrphanPolicy::Report, 600)),
        [""; 0]
    );
}

#[test]
fn a_sweep_that_would_take_much_takes_nothing_and_says_so() {
    let orphans = |count: usize| (0..count).map(|n| pool(GONE, &format!("orphan{n}")));
    for (count, living) in [(11, 40), (21, 200), (1, 3)] {
        let carriers: Vec<_> = orphans(count)
            .chain((0..living).map(|n| pool(LIVING, &format!("living{n}"))))
            .collect();
        let found = sweep(&carriers, OrphanPolicy::Remove, 600);
        assert_eq!(removed(&found), [""; 0], "{count} beside {living}");
        let told = found.held_back.unwrap();
        assert!(
            told.starts_with(&format!("{count} of the {}", count + living)),
            "{told}"
        );
    }
    let carriers: Vec<_> = orphans(10).chain(many_living()).collect();
    assert_eq!(sweep(&carriers, OrphanPolicy::Remove, 600).remove.len(), 10);
}

#[test]
fn ended_workers_are_archived_but_no_head_and_no_slots_newest_of_a_cluster_that_lives() {
    let carriers = [
        job(LIVING, "noaa-11111111-head-1", "Failed"),
        job(LIVING, "noaa-11111111-head-2", "Running"),
        job(LIVING, "noaa-11111111-w00-1", "Failed"),
        job(LIVING, "noaa-11111111-w00-2", "Completed"),
        job(LIVING, "noaa-11111111-w01-9", "Failed"),
        job(LIVING, "noaa-11111111-w01-10", "Running"),
        job(GONE, "noaa-22222222-head-1", "Canceled"),
        job(GONE, "noaa-22222222-w00-1", "Completed"),
    ];
    let archived = |seconds| {
        let found = sweep(&carriers, OrphanPolicy::Report, seconds).archive;
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(
        archived(0),
        [
            "noaa-11111111-w00-1",
            "noaa-11111111-w01-9",
            "noaa-22222222-w00-1",
        ]
    );
    assert_eq!(archived(-1000), [""; 0], "they have just ended");
}

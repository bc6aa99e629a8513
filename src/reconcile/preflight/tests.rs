//! Tables of what is found in a world before the first spend.

use serde_json::{Value, json};

use super::{Check, Preflight};
use crate::api::{ConditionType, Reason};
use crate::lookup::{Lookup, Trouble};
use crate::reconcile::fixtures::{World, ds13, our_tags, usages};

fn preflight(world: &World) -> Preflight {
    Preflight::of(world.cluster(), &world.observed)
}

/// `stop quota QuotaExceeded` of each finding.
fn found(world: &World) -> Vec<String> {
    let findings = preflight(world).findings.into_iter();
    findings
        .map(|finding| {
            let weight = if finding.stops { "stop" } else { "warn" };
            format!(
                "{weight} {} {}",
                finding.check.as_str(),
                finding.trouble.reason
            )
        })
        .collect()
}

/// Three nodes of eight cores are asked for at once, and 100 at most.
fn with_usages(of_family: i64, in_all: i64) -> World {
    World::empty(|_| {}).with(|observed| {
        observed.usages = Lookup::Present(usages(of_family, in_all).into());
    })
}

fn existing_network(subnet: Value) -> World {
    let world = World::empty(|spec| {
        spec["network"] = json!({
            "virtualNetwork": {"name": "theirs"},
            "subnet": {"name": "nodes"},
            "creationPolicy": "UseExisting",
        });
    });
    let network = world.place().network.clone().unwrap();
    world
        .found(network.virtual_network, json!({"properties": {}}))
        .found(network.subnet, json!({"properties": subnet}))
}

#[test]
fn where_all_suffices_nothing_is_found_and_the_price_is_known() {
    let preflight = preflight(&with_usages(800, 800));
    assert!(preflight.has_passed());
    assert_eq!(
        preflight.to_string(),
        "a node (STANDARD_DS13_V2 in eastus) costs 0.741 USD an hour"
    );
}

#[test]
fn quota_below_what_is_needed_at_once_stops_and_below_what_it_may_grow_to_warns() {
    for (of_family, in_all, wanted) in [
        (
            0,
            0,
            vec!["stop quota QuotaExceeded", "stop quota QuotaExceeded"],
        ),
        (23, 800, vec!["stop quota QuotaExceeded"]),
        (24, 800, vec!["warn quota QuotaExceeded"]),
        (799, 800, vec!["warn quota QuotaExceeded"]),
        (800, 23, vec!["stop quota QuotaExceeded"]),
        (800, -1, vec![]),
    ] {
        assert_eq!(
            found(&with_usages(of_family, in_all)),
            wanted,
            "{of_family} {in_all}"
        );
    }
}

#[test]
fn a_quota_finding_names_family_need_have_and_limit() {
    let world = with_usages(16, 800);
    let message = preflight(&world).findings[0].trouble.message.clone();
    assert_eq!(
        message,
        "3 nodes take 24 vCPUs at once (Standard DSv2 Family Cluster Dedicated vCPUs: 16 of 16 are free): ask Azure for more, or lower spec.worker.replicas and spec.compute.minNodes"
    );
}

#[test]
fn nodes_that_the_pool_keeps_are_needed_at_once() {
    let world = World::empty(|spec| spec["compute"]["minNodes"] = json!(10)).with(|observed| {
        observed.usages = Lookup::Present(usages(79, 800).into());
    });
    assert_eq!(found(&world), ["stop quota QuotaExceeded"]);
}

#[test]
fn low_priority_has_one_quota_for_all_families() {
    let world = World::empty(|spec| spec["compute"]["priority"] = json!("LowPriority"));
    let with = |in_all| {
        world.clone().with(|observed| {
            observed.usages = Lookup::Present(usages(0, in_all).into());
        })
    };
    assert_eq!(found(&with(800)), Vec::<String>::new());
    assert_eq!(found(&with(8)), ["stop quota QuotaExceeded"]);
}

#[test]
fn nodes_that_are_there_already_are_not_needed_once_more() {
    let world = with_usages(8, 800).pool("Succeeded", |body| {
        body["properties"]["properties"]["currentNodeCount"] = json!(2);
    });
    assert_eq!(found(&world), ["warn quota QuotaExceeded"]);
    assert!(
        preflight(&world).findings[0]
            .trouble
            .message
            .starts_with("the pool stops growing at 3 nodes")
    );
}

#[test]
fn once_there_is_a_pool_of_ours_nothing_stops_any_more() {
    let short = |world: World| {
        world.with(|observed| observed.usages = Lookup::Present(usages(0, 800).into()))
    };
    let ours = short(World::provisioned(|_| {}));
    assert_eq!(found(&ours), ["warn quota QuotaExceeded"]);
    let theirs =
        short(World::provisioned(|_| {}).pool("Succeeded", |body| body["tags"] = json!(null)));
    assert_eq!(
        found(&theirs),
        ["stop quota QuotaExceeded", "stop resource NotOurs"]
    );
}

#[test]
fn another_pool_is_not_made_where_there_may_be_no_more() {
    let world = with_usages(800, 800).with(|observed| {
        let mut rows = usages(800, 800);
        rows[0].current_value = rows[0].limit;
        observed.usages = Lookup::Present(rows.into());
    });
    assert_eq!(found(&world), ["stop quota QuotaExceeded"]);
}

#[test]
fn a_size_that_the_region_does_not_offer_or_not_for_this_use_stops() {
    let with = |change: fn(&mut crate::reconcile::VmSize)| {
        let mut size = ds13();
        change(&mut size);
        World::empty(|spec| spec["compute"]["priority"] = json!("LowPriority"))
            .with(|observed| observed.vm_sizes = Lookup::Present([size].into()))
    };
    let unknown = ["stop vmSize VmSizeUnknown"];
    assert_eq!(found(&with(|_| {})), Vec::<String>::new());
    assert_eq!(
        found(&with(|size| size.name = "Standard_D2".into())),
        unknown
    );
    assert_eq!(
        found(&with(|size| size.low_priority_capable = Some(false))),
        unknown
    );
    assert_eq!(
        found(&with(
            |size| size.supported_compute_types = Some(vec!["ComputeInstance".into()])
        )),
        unknown
    );
}

#[test]
fn what_cannot_be_read_of_the_region_warns_and_is_looked_at_again() {
    let refused = || Trouble::passing(Reason::AuthorizationFailed, "no right to usages/read");
    let world =
        World::empty(|_| {}).with(|observed| observed.usages = Lookup::Unavailable(refused()));
    assert_eq!(found(&world), ["warn quota AuthorizationFailed"]);
    let preflight = preflight(&world);
    assert!(!preflight.stops() && !preflight.has_passed());
    let world =
        World::empty(|_| {}).with(|observed| observed.vm_sizes = Lookup::Unavailable(refused()));
    assert_eq!(found(&world), ["warn vmSize AuthorizationFailed"]);
}

#[test]
fn a_subnet_with_fewer_addresses_than_nodes_are_needed_stops_or_warns() {
    let used = |count: usize| vec![json!({"id": "x"}); count];
    for (subnet, wanted) in [
        (json!({"addressPrefix": "10.0.0.0/24"}), vec![]),
        (
            json!({"addressPrefix": "10.0.0.0/24", "addressPrefixes": ["10.0.0.0/24"]}),
            vec![],
        ),
        (
            json!({"addressPrefix": "10.0.0.0/29"}),
            vec!["warn subnet SubnetFull"],
        ),
        (
            json!({"addressPrefix": "10.0.0.0/29", "ipConfigurations": used(1)}),
            vec!["stop subnet SubnetFull"],
        ),
        (
            json!({"addressPrefixes": ["10.0.0.0/25"], "ipConfigurations": used(24)}),
            vec!["warn subnet SubnetFull"],
        ),
        (
            json!({"addressPrefix": "10.0.0.0/28", "ipConfigurations": used(9)}),
            vec!["stop subnet SubnetFull"],
        ),
        (json!({}), vec![]),
    ] {
        assert_eq!(found(&existing_network(subnet.clone())), wanted, "{subnet}");
    }
}

#[test]
fn every_resource_that_is_missing_or_somebody_elses_is_told_and_not_only_the_first() {
    let world = World::empty(|spec| {
        spec["environment"] = json!({"name": "theirs", "version": "3"});
        spec["datasets"] = json!([
            {"name": "one", "version": "1", "type": "UriFolder", "mode": "Mount"},
            {"name": "two", "version": "2", "type": "UriFolder", "mode": "Mount"},
        ]);
    })
    .pool("Succeeded", |body| body["tags"] = json!({"team": "theirs"}))
    .with(|observed| observed.usages = Lookup::Present(usages(0, 800).into()));
    assert_eq!(
        found(&world),
        [
            "stop quota QuotaExceeded",
            "stop resource NotOurs",
            "stop resource DatasetNotFound",
            "stop resource DatasetNotFound",
            "stop resource EnvironmentNotFound",
        ]
    );
}

#[test]
fn what_stops_keeps_everything_from_being_made_in_azure() {
    let worlds = [
        with_usages(16, 800),
        existing_network(json!({"addressPrefix": "10.0.0.0/29", "ipConfigurations": [{}, {}]})),
        World::empty(|spec| {
            spec["environment"] = json!({"name": "theirs", "version": "3"});
        }),
    ];
    for world in worlds {
        let plan = world.plan();
        assert!(
            !plan.steps.iter().any(|step| step.action.writes_azure()),
            "{plan}"
        );
        assert!(!plan.blocked.is_empty(), "{plan}");
    }
}

#[test]
fn what_has_passed_is_not_looked_at_again() {
    let passed = preflight(&with_usages(800, 800));
    let world = with_usages(0, 0).with(|observed| observed.passed = Some(passed));
    assert!(
        world
            .plan()
            .steps
            .iter()
            .any(|step| step.action.writes_azure())
    );
}

#[test]
fn a_workspace_that_is_of_no_use_is_the_only_finding() {
    let world = with_usages(0, 0).with(|observed| observed.workspace = Lookup::Absent);
    let preflight = preflight(&world);
    assert_eq!(preflight.findings.len(), 1);
    assert_eq!(preflight.findings[0].check, Check::Workspace);
    assert_eq!(preflight.findings[0].stage, ConditionType::Ready);
    assert!(preflight.stops() && !preflight.is_complete);
}

#[test]
fn a_pool_of_somebody_else_has_its_own_quota() {
    let world = World::empty(|spec| {
        spec["compute"] = json!({"name": "shared", "creationPolicy": "UseExisting"});
        spec.as_object_mut().unwrap().remove("network");
    })
    .pool("Succeeded", |body| body["tags"] = our_tags())
    .with(|observed| observed.usages = Lookup::NotAsked);
    assert!(preflight(&world).has_passed());
}

#[test]
fn a_suspended_cluster_needs_no_node_at_once_and_an_autoscaled_one_what_it_starts_with() {
    let of = |change: fn(&mut Value)| {
        let world = World::empty(|spec| {
            spec["worker"]["replicas"] = json!(5);
            change(spec);
        });
        // Four nodes of eight cores.
        found(&world.with(|observed| {
            observed.usages = Lookup::Present(usages(32, 800).into());
        }))
    };
    let (stops, warns) = (["stop quota QuotaExceeded"], ["warn quota QuotaExceeded"]);
    assert_eq!(of(|_| {}), stops);
    assert_eq!(of(|spec| spec["suspend"] = json!(true)), warns);
    let least = |spec: &mut Value| {
        spec["suspend"] = json!(true);
        spec["compute"]["minNodes"] = json!(8);
    };
    assert_eq!(of(least), warns);
    let small = |spec: &mut Value| {
        spec["worker"]["replicas"] = json!(2);
        spec["autoscaling"] = json!({"minReplicas": 0, "maxReplicas": 50});
    };
    assert_eq!(of(small), warns, "it may grow to more");
    let wide = |spec: &mut Value| {
        spec["autoscaling"] = json!({"minReplicas": 4, "maxReplicas": 50});
    };
    assert_eq!(of(wide), stops);
}

/// A pool of the head's own beside three workers' nodes, all of eight cores.
fn apart(priority: &str, change: fn(&mut Value)) -> World {
    World::empty(|spec| {
        spec["worker"]["replicas"] = json!(3);
        spec["compute"]["priority"] = json!(priority);
        spec["scheduler"]["compute"] = json!({});
        change(spec);
    })
}

fn short(world: World, of_family: i64, in_all: i64) -> World {
    world.with(|observed| observed.usages = Lookup::Present(usages(of_family, in_all).into()))
}

#[test]
fn a_head_with_a_pool_of_its_own_counts_in_the_quota_of_its_own_machine() {
    let messages = |world: &World| {
        let findings = preflight(world).findings.into_iter();
        let told = findings.map(|finding| finding.trouble.message);
        told.map(|message| message.split(" (").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // Dedicated workers and head share the quotas: four nodes at once, 101 at most.
    let same = |of_family| short(apart("Dedicated", |_| {}), of_family, 808);
    assert_eq!(found(&same(31)), ["stop quota QuotaExceeded"]);
    assert_eq!(messages(&same(31)), ["4 nodes take 32 vCPUs at once"]);
    assert_eq!(found(&same(32)), ["warn quota QuotaExceeded"]);
    assert_eq!(
        messages(&same(32)),
        [
            "the pool stops growing at 3 nodes instead of 100, as 100 more take 800 vCPUs beside the head's 8"
        ]
    );
    assert_eq!(found(&same(808)), Vec::<String>::new());
    // At low priority the workers have another quota.
    let other = |of_family| short(apart("LowPriority", |_| {}), of_family, 800);
    assert_eq!(found(&other(8)), Vec::<String>::new());
    assert_eq!(found(&other(7)), ["stop quota QuotaExceeded"]);
    assert_eq!(messages(&other(7)), ["the head's node takes 8 vCPUs"]);
    let suspended = apart("LowPriority", |spec| spec["suspend"] = json!(true));
    assert_eq!(
        found(&short(suspended, 7, 800)),
        ["warn quota QuotaExceeded"]
    );
}

#[test]
fn two_pools_are_made_only_where_there_may_be_two_more() {
    let with_room_for = |more: i64| {
        apart("Dedicated", |_| {}).with(|observed| {
            let mut rows = usages(900, 900);
            rows[0].current_value = rows[0].limit.map(|limit| limit - more);
            observed.usages = Lookup::Present(rows.into());
        })
    };
    assert_eq!(found(&with_room_for(1)), ["stop quota QuotaExceeded"]);
    assert_eq!(found(&with_room_for(2)), Vec::<String>::new());
}

#[test]
fn what_a_node_of_each_pool_costs_is_told() {
    assert_eq!(
        preflight(&short(apart("LowPriority", |_| {}), 808, 808)).to_string(),
        "a worker's node (STANDARD_DS13_V2 in eastus) costs 0.148 USD an hour; the head's node (STANDARD_DS13_V2 in eastus) costs 0.741 USD an hour"
    );
    let theirs = apart("LowPriority", |spec| {
        spec["scheduler"]["compute"] = json!({"name": "heads", "creationPolicy": "UseExisting"});
    })
    .head_pool("Succeeded", |_| {});
    let theirs = preflight(&short(theirs, 0, 800));
    assert!(theirs.has_passed(), "its quota is theirs: {theirs}");
    assert!(theirs.to_string().ends_with("0.741 USD an hour"));
}

#[test]
fn a_size_that_the_region_lacks_for_the_head_is_told_by_its_own_field() {
    let world = apart("Dedicated", |spec| {
        spec["scheduler"]["compute"]["vmSize"] = json!("STANDARD_X");
    });
    let preflight = preflight(&short(world, 900, 900));
    let message = &preflight.findings[0].trouble.message;
    assert!(
        message.contains("no VM size STANDARD_X")
            && message.contains("another spec.scheduler.compute.vmSize"),
        "{message}"
    );
    assert_eq!(preflight.findings.len(), 1);
}

#[test]
fn the_heads_node_takes_an_address_of_the_subnet_too() {
    let in_subnet = |used: usize| {
        let world = World::empty(|spec| {
            spec["network"] = json!({
                "virtualNetwork": {"name": "theirs"}, "subnet": {"name": "nodes"}, "creationPolicy": "UseExisting",
            });
            spec["worker"]["replicas"] = json!(2);
            spec["compute"]["maxNodes"] = json!(2);
            spec["scheduler"]["compute"] = json!({});
        });
        let network = world.place().network.clone().unwrap();
        let subnet =
            json!({"addressPrefix": "10.0.0.0/28", "ipConfigurations": vec![json!({}); used]});
        let world = world
            .found(network.virtual_network, json!({"properties": {}}))
            .found(network.subnet, json!({"properties": subnet}));
        found(&world)
    };
    // Eleven addresses.
    assert_eq!(in_subnet(8), Vec::<String>::new());
    assert_eq!(in_subnet(9), ["stop subnet SubnetFull"]);
}

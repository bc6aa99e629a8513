//! Tables of what is refused, and of what is filled in.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::names::Slot;
use crate::reconcile::fixtures::{UID, dask_cluster, defaults, valid_cluster};

/// What is done to the story's spec.
type Change = Box<dyn FnOnce(&mut Value)>;

fn refused(change: impl FnOnce(&mut Value)) -> String {
    validate(&dask_cluster(change), &defaults())
        .unwrap_err()
        .to_string()
}

fn environment_of(spec: Value) -> ValidEnvironment {
    valid_cluster(|story| story["environment"] = spec).environment
}

#[test]
fn what_neither_schema_nor_cel_can_say_is_refused_by_its_field() {
    let set = |pointer: &'static str, value: Value| {
        move |spec: &mut Value| *spec.pointer_mut(pointer).unwrap() = value
    };
    let conda = |text: &'static str| {
        move |spec: &mut Value| spec["environment"] = json!({"condaFile": text})
    };
    let refusals: Vec<(Change, &str)> = vec![
        (
            Box::new(set("/workspace/name", json!("a/b"))),
            "spec: spec.workspace gives no Azure resource id",
        ),
        (
            Box::new(set("/network/virtualNetwork/name", json!(""))),
            "spec: spec.network.virtualNetwork gives no Azure resource id",
        ),
        (
            Box::new(|spec| spec["network"]["subnet"]["name"] = json!("a/b")),
            "spec: spec.network.subnet gives no Azure resource id",
        ),
        (
            Box::new(set("/compute/name", json!("a/b"))),
            "spec: spec.compute.name gives no Azure resource id",
        ),
        (
            Box::new(set(
                "/network/virtualNetwork/addressPrefix",
                json!("10.20.0.0"),
            )),
            "spec.network.virtualNetwork.addressPrefix: '10.20.0.0' is no IPv4 range in CIDR notation",
        ),
        (
            Box::new(set("/network/subnet/addressPrefix", json!("fd00::/64"))),
            "spec.network.subnet.addressPrefix: 'fd00::/64' is no IPv4 range in CIDR notation",
        ),
        (
            Box::new(|spec| spec["worker"]["memoryLimit"] = json!("much")),
            "spec.worker.memoryLimit: 'much' is no quantity, as '8Gi' and '12.5' are",
        ),
        (
            Box::new(conda("a: [")),
            "spec.environment.condaFile: is no YAML: ",
        ),
        (
            Box::new(conda("name: dask")),
            "spec.environment.condaFile: is no conda environment: a mapping with a list 'dependencies' is expected",
        ),
        (
            Box::new(conda("dependencies: dask")),
            "spec.environment.condaFile: is no conda environment",
        ),
        (
            Box::new(conda("- dask")),
            "spec.environment.condaFile: is no conda environment",
        ),
        (
            Box::new(conda("# nothing")),
            "spec.environment.condaFile: is no conda environment",
        ),
        (
            Box::new(|spec| spec["environment"] = json!({"name": "a/b", "version": "1"})),
            "spec.environment: ",
        ),
        (
            Box::new(|spec| spec["datasets"][0]["name"] = json!("a/b")),
            "spec.datasets: ",
        ),
    ];
    for (change, expected) in refusals {
        let told = refused(change);
        assert!(told.starts_with(expected), "{told}\nis not\n{expected}");
    }
}

#[test]
fn a_refused_conda_file_is_told_in_one_line() {
    let told =
        refused(|spec| spec["environment"] = json!({"condaFile": "dependencies:\n  - [dask"}));
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let told = refused(|spec| {
        spec["network"]["subnet"]["addressPrefix"] = json!("x");
        spec["worker"]["memoryLimit"] = json!("much");
        spec["environment"] = json!({"condaFile": "[]"});
        spec["datasets"][0]["name"] = json!("a/b");
    });
    for field in [
        "spec.network.subnet.addressPrefix: ",
        "; spec.worker.memoryLimit: ",
        "; spec.environment.condaFile: ",
        "; spec.datasets: ",
    ] {
        assert!(told.contains(field), "{told} lacks {field}");
    }
}

#[test]
fn an_object_without_name_namespace_or_uid_means_nothing() {
    for field in ["name", "namespace", "uid"] {
        let mut cluster = dask_cluster(|_| {});
        match field {
            "name" => cluster.metadata.name = None,
            "namespace" => cluster.metadata.namespace = None,
            _ => cluster.metadata.uid = None,
        }
        let told = validate(&cluster, &defaults()).unwrap_err().to_string();
        assert_eq!(told, format!("spec: metadata.{field} is missing"));
    }
}

#[test]
fn the_owner_speaks_for_this_object_and_this_operator() {
    let cluster = valid_cluster(|spec| spec["tags"] = json!({"team": "climate"}));
    let owner = Owner {
        uid: UID.into(),
        instance: "i1".into(),
        cluster: "weather/noaa-isd".into(),
    };
    assert_eq!(cluster.owner, owner);
    assert_eq!(cluster.user_tags["team"], "climate");
}

#[test]
fn what_was_left_out_of_network_pool_and_workers_is_filled_in() {
    let cluster = valid_cluster(|spec| {
        spec["compute"] = json!({"vmSize": "STANDARD_DS13_V2"});
        spec["network"]["subnet"] = json!({"addressPrefix": "10.20.0.0/22"});
        let fields = spec.as_object_mut().unwrap();
        for field in ["scheduler", "worker", "experimentName", "datasets"] {
            fields.remove(field);
        }
    });
    assert_eq!(cluster.place.compute.name(), "dask6f9619ff8b86d011");
    let network = cluster.place.network.clone().unwrap();
    assert!(network.is_ours && cluster.place.compute_is_ours);
    assert_eq!(network.subnet.name(), "default");
    assert_eq!(network.virtual_network.resource_group(), Some("rg-dask"));
    assert_eq!(
        cluster.compute,
        ValidCompute {
            vm_size: Some("STANDARD_DS13_V2".into()),
            identities: Vec::new(),
            adopt: false,
            priority: Priority::Dedicated,
            min_nodes: 0,
            max_nodes: 100,
            idle_seconds_before_scale_down: 120,
        }
    );
    assert!(cluster.network.clone().unwrap().node_public_ip);
    assert_eq!(cluster.experiment_name, "dask");
    assert_eq!(
        cluster.scheduler,
        ValidScheduler {
            compute: None,
            run_worker: true,
            jupyter: false,
            env: BTreeMap::new(),
            start_timeout_seconds: 1800,
        }
    );
    assert_eq!(
        cluster.worker,
        ValidWorker {
            replicas: 1,
            threads: None,
            memory_limit: None,
            env: BTreeMap::new(),
            start_timeout: SignedDuration::from_mins(30),
            scale_down_grace: None,
        }
    );
    assert_eq!(cluster.datasets, []);
}

#[test]
fn the_heads_own_pool_has_a_derived_name_and_the_size_of_the_workers_unless_it_says_another() {
    for (compute, name, vm_size, is_ours) in [
        (
            json!({}),
            "daskhead6f9619ff8b86d011",
            Some("STANDARD_DS13_V2"),
            true,
        ),
        (
            json!({"name": "heads", "vmSize": "STANDARD_DS3_V2"}),
            "heads",
            Some("STANDARD_DS3_V2"),
            true,
        ),
        (
            json!({"name": "heads", "creationPolicy": "UseExisting"}),
            "heads",
            None,
            false,
        ),
    ] {
        let cluster = valid_cluster(|spec| spec["scheduler"]["compute"] = compute);
        let head = cluster.place.head_compute.as_ref().unwrap();
        assert_eq!((head.id.name(), head.is_ours), (name, is_ours));
        let machine = cluster.scheduler.compute.as_ref().unwrap();
        assert_eq!(machine.vm_size.as_deref(), vm_size);
        assert_eq!(cluster.head_nodes(), 0);
        assert_eq!(cluster.place.pool_of(Slot::Head), &head.id);
        assert_eq!(
            cluster.place.pool_of(Slot::Worker(0)),
            &cluster.place.compute
        );
        assert_eq!(
            cluster.place.own_pools().count(),
            if is_ours { 2 } else { 1 }
        );
    }
    let beside = valid_cluster(|_| {});
    assert_eq!(beside.head_nodes(), 1);
    assert_eq!(beside.place.pool_of(Slot::Head), &beside.place.compute);
}

#[test]
fn a_network_may_lie_in_another_resource_group() {
    let cluster = valid_cluster(|spec| {
        spec["network"]["virtualNetwork"]["resourceGroup"] = json!("rg-net");
    });
    let network = cluster.place.network.clone().unwrap();
    assert_eq!(network.virtual_network.resource_group(), Some("rg-net"));
    assert_eq!(network.subnet.resource_group(), Some("rg-net"));
    assert_eq!(cluster.place.compute.resource_group(), Some("rg-dask"));
}

#[test]
fn what_is_used_as_it_is_has_no_size_or_range_of_ours() {
    let their_network = valid_cluster(|spec| {
        spec["network"] =
            json!({"virtualNetwork": {"name": "their-vnet"}, "creationPolicy": "UseExisting"});
    });
    assert!(!their_network.place.network.clone().unwrap().is_ours);
    let network = their_network.network.unwrap();
    assert_eq!(
        (network.address_prefix, network.subnet_address_prefix),
        (None, None)
    );
    let their_pool = valid_cluster(|spec| {
        spec.as_object_mut().unwrap().remove("network");
        spec["compute"] = json!({"name": "theirs", "vmSize": "X", "creationPolicy": "UseExisting"});
    });
    assert!(!their_pool.place.compute_is_ours);
    assert_eq!(their_pool.compute.vm_size, None);
    assert_eq!(their_pool.network, None);
}

#[test]
fn memory_is_bytes_and_a_variable_without_a_value_is_empty() {
    for (limit, bytes) in [
        (json!("48Gi"), 48 << 30),
        (json!("1.5G"), 1_500_000_000),
        (json!("67108864"), 64 << 20),
    ] {
        let cluster = valid_cluster(|spec| spec["worker"]["memoryLimit"] = limit);
        assert_eq!(cluster.worker.memory_limit, Some(bytes));
    }
    let cluster = valid_cluster(|spec| {
        spec["worker"]["env"] = json!([{"name": "A", "value": "1"}, {"name": "B"}]);
        spec["scheduler"] = json!({"env": [{"name": "C", "value": "2"}]});
    });
    let variables = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    };
    assert_eq!(cluster.worker.env, variables(&[("A", "1"), ("B", "")]));
    assert_eq!(cluster.scheduler.env, variables(&[("C", "2")]));
}

#[test]
fn the_head_adds_a_worker_unless_it_must_not() {
    for (replicas, run_worker, desired) in
        [(39, true, 40), (39, false, 39), (0, true, 1), (0, false, 0)]
    {
        let cluster = valid_cluster(|spec| {
            spec["worker"]["replicas"] = json!(replicas);
            spec["scheduler"] = json!({"runWorker": run_worker});
        });
        assert_eq!(cluster.desired_dask_workers(), desired);
    }
}

#[test]
fn a_dataset_with_a_uri_is_registered_and_one_without_is_there() {
    let cluster = valid_cluster(|spec| {
        spec["datasets"] = json!([
            {"name": "made", "uri": "https://a/b/"},
            {"name": "made-too", "uri": "https://a/c", "version": "7", "type": "UriFile", "mode": "Download", "path": "/mnt/c"},
            {"name": "there", "version": "3", "type": "MLTable", "mode": "Direct"},
        ]);
    });
    let workspace = cluster.place.workspace.to_string();
    let told: Vec<_> = cluster
        .datasets
        .iter()
        .map(|dataset| {
            let id = dataset.id.to_string();
            (
                id.strip_prefix(&workspace).unwrap().to_owned(),
                dataset.uri.as_deref(),
                dataset.kind,
                dataset.mode,
                dataset.path.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "/data/made/versions/1".into(),
                Some("https://a/b/"),
                DatasetType::UriFolder,
                DatasetMode::Mount,
                None
            ),
            (
                "/data/made-too/versions/7".into(),
                Some("https://a/c"),
                DatasetType::UriFile,
                DatasetMode::Download,
                Some("/mnt/c")
            ),
            (
                "/data/there/versions/3".into(),
                None,
                DatasetType::MlTable,
                DatasetMode::Direct,
                None
            ),
        ]
    );
    assert_eq!(cluster.place.registered_datasets, ["made", "made-too"]);
}

#[test]
fn an_environment_is_the_given_one_or_is_made_of_image_and_conda_file() {
    let conda = "dependencies: [dask]";
    let base = defaults().environment;
    let definition = |image: &str, conda_file: Option<&str>| EnvironmentDefinition {
        image: image.into(),
        conda_file: conda_file.map(str::to_owned),
    };
    assert_eq!(
        valid_cluster(|_| {}).environment.definition,
        Some(base.clone()),
        "left out, it is the operator's"
    );
    for (spec, expected) in [
        (json!({"image": "a/b:1"}), definition("a/b:1", None)),
        (
            json!({"condaFile": conda}),
            definition(&base.image, Some(conda)),
        ),
        (
            json!({"image": "a/b:1", "condaFile": conda}),
            definition("a/b:1", Some(conda)),
        ),
    ] {
        assert_eq!(environment_of(spec).definition, Some(expected));
    }
    let registered = environment_of(json!({"name": "curated", "version": "7"}));
    assert_eq!(registered.definition, None);
    assert_eq!(registered.id.title(), "curated:7");
}

#[test]
fn a_version_is_named_by_all_of_its_content() {
    let version = |spec: Value| environment_of(spec).id.name().to_owned();
    let image = json!({"image": "a/b:1"});
    assert_eq!(version(image.clone()), version(image.clone()));
    assert_eq!(version(image.clone()).len(), 16);
    let versions: std::collections::BTreeSet<_> = [
        image,
        json!({"image": "a/b:2"}),
        json!({"image": "a/b:1", "condaFile": "dependencies: []"}),
        json!({"image": "a/b:1", "condaFile": "dependencies: [a]"}),
        json!({"image": "a/b:1dependencies", "condaFile": "dependencies: []"}),
    ]
    .into_iter()
    .map(version)
    .collect();
    assert_eq!(versions.len(), 5);
}

#[test]
fn what_is_registered_for_a_cluster_is_known_without_a_valid_manifest() {
    for (environment, registers) in [
        (Value::Null, true),
        (json!({"image": "a/b:1"}), true),
        (json!({"condaFile": "is: [no yaml"}), true),
        (json!({"name": "curated", "version": "7"}), false),
    ] {
        let cluster = dask_cluster(|spec| {
            if !environment.is_null() {
                spec["environment"] = environment;
            }
        });
        assert_eq!(
            Place::of(&cluster).unwrap().registers_environment,
            registers
        );
    }
}

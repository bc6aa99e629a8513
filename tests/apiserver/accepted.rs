//! Manifests that are taken, and what is filled in.

use serde_json::{Value, json};

use crate::definition::optional_fields;
use crate::manifest::{
    Edit, REMOTE, adopted_pool, edited, everything, existing_network, existing_pool, least, remove,
    set, story,
};
use crate::server::Server;

#[tokio::test]
async fn manifests_within_the_rules_are_taken() {
    let env = |name: &str| set("/spec/worker/env", json!([{"name": name, "value": "1"}]));
    let dataset = |dataset: Value| set("/spec/datasets", json!([dataset]));
    let prefixes = |network: &str, subnet: &str, nodes: u32| {
        edited(
            least(),
            &[
                set("/spec/network/virtualNetwork/addressPrefix", network),
                set("/spec/network/subnet/addressPrefix", subnet),
                set("/spec/compute/maxNodes", nodes),
            ],
        )
    };
    let with = |edit: Edit| edited(least(), &[edit]);
    let manifests = [
        story(),
        least(),
        everything(),
        existing_pool(),
        existing_network(),
        adopted_pool(),
        edited(
            adopted_pool(),
            &[
                set("/spec/compute/vmSize", "STANDARD_DS13_V2"),
                set("/spec/compute/priority", "LowPriority"),
                set("/spec/network", least()["spec"]["network"].clone()),
                set("/spec/network/creationPolicy", "Adopt"),
            ],
        ),
        with(set("/spec/network/creationPolicy", "Adopt")),
        with(set("/spec/driftPolicy", "Report")),
        with(set(
            "/spec/network/peerings",
            json!([
                {"remoteVirtualNetworkId": REMOTE},
                {"remoteVirtualNetworkId": REMOTE.replace("/resourceGroups/", "/resourcegroups/").replace("aks-vnet", "hub"), "remote": "Leave"},
            ]),
        )),
        with(set("/metadata/name", "a")),
        with(set("/metadata/name", "a".repeat(53))),
        with(set("/spec/workspace/resourceGroup", "Größe_(日本語).rg")),
        with(set("/spec/workspace/resourceGroup", "ü".repeat(90))),
        prefixes("192.168.0.0/16", "192.168.3.0/25", 100),
        prefixes("10.0.0.0/8", "10.0.0.64/26", 59),
        prefixes("172.18.0.0/24", "172.18.0.32/27", 27),
        prefixes("10.0.0.0/28", "10.0.0.0/28", 11),
        prefixes("10.0.0.0/29", "10.0.0.0/29", 3),
        with(set("/spec/compute/name", "a12")),
        with(set("/spec/compute/name", "ds13-1x")),
        with(set("/spec/compute/name", "a".repeat(24))),
        with(set("/spec/compute/minNodes", 100)),
        edited(
            least(),
            &[
                set("/spec/compute/maxNodes", 1),
                set("/spec/worker/replicas", 0),
            ],
        ),
        with(set(
            "/spec/environment",
            json!({"image": "localhost:5000/team/dask@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}),
        )),
        with(set(
            "/spec/environment",
            json!({"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240101.v1"}),
        )),
        with(set(
            "/spec/environment",
            json!({"condaFile": "dependencies: [dask]"}),
        )),
        with(set(
            "/spec/environment",
            json!({"name": "dask", "version": "7"}),
        )),
        with(dataset(json!({"name": "registered", "version": "3"}))),
        with(dataset(
            json!({"name": "direct", "uri": "https://example.org/data.parquet?version=2&design=x", "mode": "Direct", "type": "UriFile"}),
        )),
        with(dataset(
            json!({"name": "lake", "uri": "abfss://container@account.dfs.core.windows.net/noaa"}),
        )),
        with(dataset(
            json!({"name": "blob", "uri": "wasbs://container@account.blob.core.windows.net"}),
        )),
        with(dataset(
            json!({"name": "store", "uri": "azureml://datastores/weather/paths/user@site/"}),
        )),
        with(dataset(
            json!({"name": "paths", "version": "1", "path": "/mnt/.hidden/..data/a..b/_"}),
        )),
        with(set(
            "/spec/datasets",
            json!([
                {"name": "one", "version": "1", "path": "/mnt/noaa"},
                {"name": "two", "version": "1", "path": "/mnt/noaa2"},
                {"name": "three", "version": "1"},
            ]),
        )),
        with(env("PATH")),
        with(env("dask_azureml_x")),
        with(env("DASK_DISTRIBUTED__WORKER__MEMORY__SPILL")),
        with(env("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES")),
        with(set("/spec/scheduler/env", json!([{"name": "EMPTY"}]))),
        with(set("/spec/worker/memoryLimit", "64Mi")),
        with(set("/spec/worker/memoryLimit", 67_108_864)),
        with(set("/spec/worker/memoryLimit", "1.5G")),
        with(set("/spec/worker/threads", 1024)),
        // A default cannot be told from a typed 1, so it is no contradiction.
        with(set("/spec/worker", json!({}))),
        edited(
            story(),
            &[
                remove("/spec/worker"),
                set(
                    "/spec/autoscaling",
                    json!({"minReplicas": 5, "maxReplicas": 99}),
                ),
            ],
        ),
        with(set("/spec/scheduler/compute", json!({}))),
        edited(
            least(),
            &[
                set("/spec/scheduler/compute", json!({})),
                set("/spec/worker/replicas", 100),
            ],
        ),
        edited(
            prefixes("10.0.0.0/28", "10.0.0.0/28", 10),
            &[
                set("/spec/scheduler/compute", json!({})),
                set("/spec/autoscaling", json!({"maxReplicas": 10})),
            ],
        ),
        edited(
            existing_pool(),
            &[set(
                "/spec/scheduler/compute",
                json!({"name": "heads", "creationPolicy": "UseExisting"}),
            )],
        ),
        edited(
            adopted_pool(),
            &[set(
                "/spec/scheduler/compute",
                json!({"vmSize": "STANDARD_DS3_V2"}),
            )],
        ),
        with(set("/spec/budget", json!({"maxTotal": "0.01"}))),
        with(set("/spec/budget", json!({"maxPerHour": 3}))),
        with(set("/spec/suspend", true)),
        with(set(
            "/spec/tags",
            json!({"cost center": "äöü $1 {2}", "scheduler-team": "", "mlflow": "x"}),
        )),
    ];
    let server = Server::new().await;
    for manifest in manifests {
        if let Err(words) = server.try_create(&manifest).await {
            panic!("refused: {manifest:#}\n{words}");
        }
    }
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let server = Server::new().await;
    let stored = server
        .try_create(&least())
        .await
        .expect("the manifest is taken");
    assert_eq!(
        stored["spec"],
        json!({
            "workspace": least()["spec"]["workspace"],
            "network": {
                "virtualNetwork": {"name": "dask-vnet", "addressPrefix": "10.20.0.0/16"},
                "subnet": {"name": "default", "addressPrefix": "10.20.0.0/22"},
                "creationPolicy": "Create",
                "nodePublicIp": true,
            },
            "compute": {
                "vmSize": "STANDARD_DS13_V2",
                "priority": "Dedicated",
                "minNodes": 0,
                "maxNodes": 100,
                "idleSecondsBeforeScaleDown": 120,
                "creationPolicy": "Create",
            },
            "experimentName": "dask",
            "scheduler": {"runWorker": true, "jupyter": false, "startTimeoutSeconds": 1800},
            "worker": {"replicas": 1, "startTimeoutSeconds": 1800},
            "suspend": false,
            "idleTimeoutSeconds": 0,
            "updatePolicy": "RollingUpdate",
            "deletionPolicy": "Delete",
            "driftPolicy": "Correct",
        })
    );

    let dataset = edited(
        least(),
        &[set(
            "/spec/datasets",
            json!([{"name": "noaa-isd", "version": "1"}]),
        )],
    );
    let stored = server
        .try_create(&dataset)
        .await
        .expect("the manifest is taken");
    assert_eq!(
        stored["spec"]["datasets"],
        json!([{"name": "noaa-isd", "version": "1", "type": "UriFolder", "mode": "Mount"}])
    );
}

#[tokio::test]
async fn null_means_the_same_as_leaving_a_field_out() {
    let server = Server::new().await;
    let spec_of = |outcome: Result<Value, String>| outcome.map(|stored| stored["spec"].clone());
    let optional = optional_fields();
    assert!(optional.len() > 25, "{optional:?}");
    for field in optional {
        let without = edited(everything(), &[remove(&field)]);
        let null = edited(everything(), &[set(&field, Value::Null)]);
        let without = spec_of(server.try_create(&without).await);
        let null = spec_of(server.try_create(&null).await);
        assert_eq!(null, without, "{field}");
    }
}

#[tokio::test]
async fn applying_the_same_manifest_twice_changes_nothing() {
    let server = Server::new().await;
    for manifest in [story(), everything()] {
        let first = server
            .apply(&manifest)
            .await
            .expect("the manifest is taken");
        let second = server
            .apply(&manifest)
            .await
            .expect("the manifest is taken");
        assert_eq!(first["metadata"], second["metadata"]);
        assert_eq!(first["spec"], second["spec"]);
    }
}

#[tokio::test]
async fn what_is_stored_reads_back_as_the_rust_types_and_writes_the_same() {
    use dask_azureml_operator::api::DaskCluster;

    let server = Server::new().await;
    for manifest in [
        story(),
        least(),
        everything(),
        existing_pool(),
        existing_network(),
        adopted_pool(),
    ] {
        let stored = server
            .try_create(&manifest)
            .await
            .expect("the manifest is taken");
        let read: DaskCluster = serde_json::from_value(stored.clone()).expect("the types fit");
        let written = serde_json::to_value(&read).expect("the types are JSON");
        assert_eq!(written["spec"], stored["spec"]);

        let unfilled: DaskCluster =
            serde_json::from_value(manifest).expect("the types have the same defaults");
        assert_eq!(unfilled.spec, read.spec);
    }
}

#[tokio::test]
async fn the_largest_manifest_stays_within_the_api_servers_budget() {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number).expect("few"));
    let datasets: Vec<_> = (0..16)
        .map(|number| {
            json!({
                "name": letter(number).to_string().repeat(255),
                "version": "1".repeat(255),
                "uri": format!("https://host/{}", "x".repeat(2035)),
                "path": format!("/{}", letter(number).to_string().repeat(255)),
            })
        })
        .collect();
    let env: Vec<_> = (0..64)
        .map(|number| json!({"name": format!("A{number:0>255}"), "value": "x".repeat(4096)}))
        .collect();
    let tags: serde_json::Map<_, _> = (0..15)
        .map(|number| {
            (
                letter(number).to_string().repeat(100),
                json!("x".repeat(256)),
            )
        })
        .collect();
    let peerings: Vec<_> = (0..16)
        .map(|number| {
            let group = letter(number).to_string().repeat(90);
            let network = letter(number).to_string().repeat(64);
            let id = REMOTE
                .replace("rg-aks", &group)
                .replace("aks-vnet", &network);
            json!({"remoteVirtualNetworkId": id})
        })
        .collect();
    let largest = edited(
        everything(),
        &[
            set("/spec/environment/condaFile", "x".repeat(16_384)),
            set("/spec/datasets", datasets),
            set("/spec/scheduler/env", env.clone()),
            set("/spec/worker/env", env),
            set("/spec/tags", tags),
            set("/spec/network/peerings", peerings),
        ],
    );
    let server = Server::new().await;
    let stored = server.create(&largest).await;
    server
        .try_replace(&edited(stored, &[set("/spec/autoscaling/minReplicas", 3)]))
        .await
        .expect("the rules on changes stay within the budget too");
}

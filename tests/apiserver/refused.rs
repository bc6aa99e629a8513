//! Each rule on what a manifest holds, broken: the refusal names the field and the way out.

use serde_json::{Value, json};

use crate::definition::messages;
use crate::immutable;
use crate::manifest::{
    Edit, edited, everything, existing_network, existing_pool, least, remove, set, story,
};
use crate::server::Server;

/// A manifest that is refused, and how.
pub(crate) struct Refusal {
    manifest: Value,
    /// The field that the refusal names.
    field: &'static str,
    /// A part of the words in which it is refused.
    says: &'static str,
}

fn refusal(base: Value, edits: &[Edit], field: &'static str, says: &'static str) -> Refusal {
    Refusal {
        manifest: edited(base, edits),
        field,
        says,
    }
}

/// The story's manifest with each value in turn at `pointer`.
fn values(
    pointer: &str,
    values: impl IntoIterator<Item = impl Into<Value>>,
    field: &'static str,
    says: &'static str,
) -> Vec<Refusal> {
    values
        .into_iter()
        .map(|value| refusal(story(), &[set(pointer, value)], field, says))
        .collect()
}

async fn all_refused(refusals: Vec<Refusal>) {
    let server = Server::new().await;
    let mut wrong = Vec::new();
    for Refusal {
        manifest,
        field,
        says,
    } in refusals
    {
        match server.try_create(&manifest).await {
            Ok(_) => wrong.push(format!(
                "taken, against {field} {says:?}: {}",
                manifest["spec"]
            )),
            Err(words) if words.contains(&format!("{field}:")) && words.contains(says) => {}
            Err(words) => wrong.push(format!("{field} does not say {says:?}:\n  {words}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn metadata_and_workspace() -> Vec<Refusal> {
    let mut refusals = values(
        "/metadata/name",
        ["noaa.isd", "9noaa", &"a".repeat(54)],
        "<nil>",
        "metadata.name must be at most 53",
    );
    refusals.extend(values(
        "/spec/workspace/subscriptionId",
        [
            "",
            "my-subscription",
            "11111111-2222-3333-4444-55555555555g",
        ],
        "spec.workspace.subscriptionId",
        "must be a GUID",
    ));
    refusals.extend(values(
        "/spec/workspace/resourceGroup",
        ["", "rg.", "rg dask", "rg/dask", "rg\u{301}"],
        "spec.workspace.resourceGroup",
        "must be the name of a resource group",
    ));
    refusals.extend(values(
        "/spec/workspace/resourceGroup",
        ["ü".repeat(91)],
        "spec.workspace.resourceGroup",
        "Too long: may not be more than 90",
    ));
    refusals.extend(values(
        "/spec/workspace/name",
        ["", "ws", "-ws", "ws.dask"],
        "spec.workspace.name",
        "workspace.name must be 3 to 33",
    ));
    for field in ["subscriptionId", "resourceGroup", "name"] {
        refusals.push(refusal(
            story(),
            &[remove(&format!("/spec/workspace/{field}"))],
            match field {
                "subscriptionId" => "spec.workspace.subscriptionId",
                "resourceGroup" => "spec.workspace.resourceGroup",
                _ => "spec.workspace.name",
            },
            "Required value",
        ));
    }
    refusals.push(refusal(
        story(),
        &[remove("/spec/workspace")],
        "spec.workspace",
        "Required value",
    ));
    refusals.extend(values(
        "/spec/credentialsSecretName",
        ["-azure", "Azure", "azure_credentials", "a..b"],
        "spec.credentialsSecretName",
        "must be the name of a Secret",
    ));
    refusals.extend(values(
        "/spec/credentialsSecretName",
        [""],
        "spec.credentialsSecretName",
        "should be at least 1 chars long",
    ));
    refusals
}

fn network() -> Vec<Refusal> {
    let mut refusals = vec![
        refusal(
            story(),
            &[remove("/spec/network")],
            "spec.network",
            "network is required",
        ),
        refusal(
            existing_pool(),
            &[set("/spec/network", story()["spec"]["network"].clone())],
            "spec.network",
            "must be left out with compute.creationPolicy UseExisting",
        ),
        refusal(
            story(),
            &[remove("/spec/network/virtualNetwork/addressPrefix")],
            "spec.network.virtualNetwork.addressPrefix",
            "is required with creationPolicy Create",
        ),
        refusal(
            story(),
            &[remove("/spec/network/subnet")],
            "spec.network.subnet.addressPrefix",
            "is required with creationPolicy Create",
        ),
        refusal(
            existing_network(),
            &[set(
                "/spec/network/virtualNetwork/addressPrefix",
                "10.20.0.0/16",
            )],
            "spec.network.virtualNetwork.addressPrefix",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            existing_network(),
            &[set(
                "/spec/network/subnet",
                json!({"addressPrefix": "10.20.0.0/22"}),
            )],
            "spec.network.subnet.addressPrefix",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            story(),
            &[remove("/spec/network/virtualNetwork/name")],
            "spec.network.virtualNetwork.name",
            "Required value",
        ),
    ];
    refusals.extend(values(
        "/spec/network/creationPolicy",
        ["Adopt", "create", ""],
        "spec.network.creationPolicy",
        "supported values: \"Create\", \"UseExisting\"",
    ));
    refusals.extend(values(
        "/spec/network/virtualNetwork/name",
        ["", "v", "-vnet", "vnet-", "my vnet"],
        "spec.network.virtualNetwork.name",
        "virtualNetwork.name must be 2 to 64",
    ));
    refusals.extend(values(
        "/spec/network/virtualNetwork/resourceGroup",
        ["rg."],
        "spec.network.virtualNetwork.resourceGroup",
        "must be the name of a resource group",
    ));
    refusals.extend(values(
        "/spec/network/subnet/name",
        ["", "_nodes", "nodes.", "my nodes"],
        "spec.network.subnet.name",
        "subnet.name must be 1 to 80",
    ));
    for (pointer, field) in [
        (
            "/spec/network/virtualNetwork/addressPrefix",
            "spec.network.virtualNetwork.addressPrefix",
        ),
        (
            "/spec/network/subnet/addressPrefix",
            "spec.network.subnet.addressPrefix",
        ),
    ] {
        refusals.extend(values(
            pointer,
            [
                "",
                "10.20.0.0",
                "10.20.0.0/33",
                "10.20.0/16",
                "fd00::/48",
                "::ffff:10.20.0.0/112",
            ],
            field,
            "must be an IPv4 range",
        ));
        refusals.extend(values(
            pointer,
            ["10.20.0.1/16", "10.20.1.0/22"],
            field,
            "must not have bits set behind its prefix length",
        ));
        refusals.extend(values(
            pointer,
            [
                "0.0.0.0/0",
                "0.0.0.0/8",
                "127.0.0.0/16",
                "169.254.169.0/24",
                "172.17.4.0/22",
                "172.16.0.0/12",
                "224.0.0.0/24",
                "240.0.0.0/8",
                "168.63.0.0/16",
            ],
            field,
            "must not overlap 0.0.0.0/8",
        ));
    }
    refusals.extend(values(
        "/spec/network/subnet/addressPrefix",
        ["10.21.0.0/22", "10.0.0.0/8"],
        "spec.network.subnet.addressPrefix",
        "must lie inside virtualNetwork.addressPrefix",
    ));
    for (prefix, nodes) in [
        ("10.20.0.0/26", 60),
        ("10.20.0.0/27", 28),
        ("10.20.0.0/28", 12),
        ("10.20.0.0/29", 4),
        ("10.20.0.0/30", 1),
        ("10.20.0.0/32", 1),
    ] {
        refusals.push(refusal(
            least(),
            &[
                set("/spec/network/subnet/addressPrefix", prefix),
                set("/spec/compute/maxNodes", nodes),
                set("/spec/worker/replicas", 0),
            ],
            "spec.network.subnet.addressPrefix",
            "is too small for compute.maxNodes",
        ));
    }
    refusals
}

fn compute() -> Vec<Refusal> {
    let mut refusals = vec![
        refusal(
            story(),
            &[remove("/spec/compute")],
            "spec.compute",
            "Required value",
        ),
        refusal(
            story(),
            &[remove("/spec/compute/vmSize")],
            "spec.compute.vmSize",
            "vmSize is required with creationPolicy Create",
        ),
        refusal(
            existing_pool(),
            &[set("/spec/compute/vmSize", "STANDARD_DS13_V2")],
            "spec.compute.vmSize",
            "must be left out with creationPolicy UseExisting",
        ),
        refusal(
            existing_pool(),
            &[remove("/spec/compute/name")],
            "spec.compute.name",
            "name is required with creationPolicy UseExisting",
        ),
        refusal(
            story(),
            &[
                set("/spec/compute/minNodes", 50),
                set("/spec/compute/maxNodes", 49),
            ],
            "spec.compute.minNodes",
            "must not be greater than maxNodes",
        ),
        refusal(
            story(),
            &[set("/spec/compute/maxNodes", 39)],
            "spec.worker.replicas",
            "lower worker.replicas or raise compute.maxNodes",
        ),
    ];
    for (field, value) in [
        ("priority", json!("LowPriority")),
        ("minNodes", json!(1)),
        ("maxNodes", json!(99)),
        ("idleSecondsBeforeScaleDown", json!(121)),
    ] {
        refusals.push(refusal(
            existing_pool(),
            &[set(&format!("/spec/compute/{field}"), value)],
            "spec.compute.creationPolicy",
            "do nothing with creationPolicy UseExisting",
        ));
    }
    refusals.extend(values(
        "/spec/compute/name",
        ["", "ds", "1pool", "-pool", "ds13_pool"],
        "spec.compute.name",
        "compute.name must be 3 to 24",
    ));
    refusals.extend(values(
        "/spec/compute/name",
        ["ds13-1", "pool-0", "pool--42"],
        "spec.compute.name",
        "must not end in - and digits",
    ));
    refusals.extend(values(
        "/spec/compute/vmSize",
        ["", "D2", "_DS13", "STANDARD DS13"],
        "spec.compute.vmSize",
        "must be the name of a VM size",
    ));
    refusals.extend(values(
        "/spec/compute/priority",
        ["Spot"],
        "spec.compute.priority",
        "supported values: \"Dedicated\", \"LowPriority\"",
    ));
    refusals.extend(values(
        "/spec/compute/creationPolicy",
        ["Adopt"],
        "spec.compute.creationPolicy",
        "supported values: \"Create\", \"UseExisting\"",
    ));
    refusals.extend(values(
        "/spec/compute/minNodes",
        [-1],
        "spec.compute.minNodes",
        "greater than or equal to 0",
    ));
    refusals.extend(values(
        "/spec/compute/maxNodes",
        [0],
        "spec.compute.maxNodes",
        "greater than or equal to 1",
    ));
    refusals.extend(values(
        "/spec/compute/maxNodes",
        [101],
        "spec.compute.maxNodes",
        "less than or equal to 100",
    ));
    refusals.extend(values(
        "/spec/compute/idleSecondsBeforeScaleDown",
        [59],
        "spec.compute.idleSecondsBeforeScaleDown",
        "greater than or equal to 60",
    ));
    refusals.extend(values(
        "/spec/compute/idleSecondsBeforeScaleDown",
        [86_401],
        "spec.compute.idleSecondsBeforeScaleDown",
        "less than or equal to 86400",
    ));
    refusals
}

fn environment() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/environment",
        [
            json!({}),
            json!({"image": "dask:1", "name": "dask", "version": "1"}),
            json!({"condaFile": "x", "name": "dask", "version": "1"}),
        ],
        "spec.environment",
        "must hold either image, condaFile or both",
    );
    refusals.extend(values(
        "/spec/environment",
        [json!({"name": "dask"}), json!({"version": "1"})],
        "spec.environment",
        "must be given together",
    ));
    refusals.extend(values(
        "/spec/environment/image",
        [
            "",
            "dask image",
            "https://ghcr.io/dask/dask",
            "ghcr.io/Dask/dask",
            "dask:",
            "dask@sha256:1",
            "${{x}}",
        ],
        "spec.environment.image",
        "must be an image reference",
    ));
    refusals.extend(values(
        "/spec/environment/condaFile",
        [""],
        "spec.environment.condaFile",
        "should be at least 1 chars long",
    ));
    refusals.extend(values(
        "/spec/environment/condaFile",
        ["x".repeat(16_385)],
        "spec.environment.condaFile",
        "Too long: may not be more than 16384",
    ));
    refusals.extend(values(
        "/spec/environment",
        [json!({"name": "dask.env", "version": "1"})],
        "spec.environment.name",
        "must start with a letter or digit",
    ));
    refusals.extend(values(
        "/spec/environment",
        [
            json!({"name": "dask", "version": "latest"}),
            json!({"name": "dask", "version": "@1"}),
        ],
        "spec.environment.version",
        "must be one fixed version",
    ));
    refusals
}

fn datasets() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/datasets",
        [
            json!([{"name": "noaa.isd", "version": "1"}]),
            json!([{"name": "", "version": "1"}]),
        ],
        "spec.datasets[0].name",
        "must start with a letter or digit",
    );
    refusals.extend(values(
        "/spec/datasets",
        [
            json!([{"name": "noaa-isd", "version": "1"}, {"name": "noaa_isd", "version": "1"}]),
            json!([{"name": "noaa", "version": "1"}, {"name": "NOAA", "version": "1"}]),
        ],
        "spec.datasets",
        "must not share the variable",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [json!([{"name": "noaa", "version": "1"}, {"name": "noaa", "version": "2"}])],
        "spec.datasets[1]",
        "Duplicate value",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [
            json!([{"name": "a", "version": "1", "path": "/mnt/noaa"}, {"name": "b", "version": "1", "path": "/mnt/noaa"}]),
            json!([{"name": "a", "version": "1", "path": "/mnt/noaa/x"}, {"name": "b", "version": "1", "path": "/mnt/noaa"}]),
        ],
        "spec.datasets",
        "must be neither another's nor under another's",
    ));
    let many: Vec<_> = (0..17)
        .map(|n| json!({"name": format!("d{n}"), "version": "1"}))
        .collect();
    refusals.extend(values(
        "/spec/datasets",
        [many],
        "spec.datasets",
        "must have at most 16 items",
    ));
    refusals.extend(values(
        "/spec/datasets",
        [json!([{"name": "noaa"}])],
        "spec.datasets[0].version",
        "a dataset needs its version or its uri",
    ));
    refusals.extend(values(
        "/spec/datasets/0/version",
        ["latest", "", "1 2"],
        "spec.datasets[0].version",
        "must be one fixed version",
    ));
    refusals.extend(values(
        "/spec/datasets/0/type",
        ["Folder"],
        "spec.datasets[0].type",
        "supported values: \"UriFolder\", \"UriFile\", \"MLTable\"",
    ));
    refusals.extend(values(
        "/spec/datasets/0/mode",
        ["Upload"],
        "spec.datasets[0].mode",
        "supported values: \"Mount\", \"Download\", \"Direct\"",
    ));
    refusals.push(refusal(
        story(),
        &[set("/spec/datasets/0/mode", "Direct")],
        "spec.datasets[0].path",
        "must be left out with mode Direct",
    ));
    refusals
}

fn dataset_places() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/datasets/0/uri",
        [
            "",
            "s3://bucket/x",
            "http://x/y",
            "azureml:noaa:1",
            "file:///x",
            "HTTPS://x/y",
            "https://",
            "https://x/\n",
        ],
        "spec.datasets[0].uri",
        "must start with azureml://",
    );
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "abfss://account.dfs.core.windows.net/x",
            "wasbs://c:secret@account/x",
            "abfss://c@a:443/x",
            "abfss://a@b@c/x",
        ],
        "spec.datasets[0].uri",
        "must be scheme://container@account.host/path",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "https://user:password@host/x",
            "azureml://user@datastores/x",
        ],
        "spec.datasets[0].uri",
        "must not hold a user or password",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [
            "https://a.blob.core.windows.net/c/x?sv=2020&sig=abc",
            "https://a.blob.core.windows.net/c/x?SIG=abc",
            "abfss://c@a.dfs.core.windows.net/x?sv=1;Sig=abc",
        ],
        "spec.datasets[0].uri",
        "must not hold a SAS signature",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        ["https://host/${{inputs.x}}"],
        "spec.datasets[0].uri",
        "must not hold ${{",
    ));
    refusals.extend(values(
        "/spec/datasets/0/uri",
        [format!("https://host/{}", "x".repeat(2048))],
        "spec.datasets[0].uri",
        "Too long: may not be more than 2048",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [
            "",
            "/",
            "mnt/noaa",
            "/mnt/",
            "/mnt//noaa",
            "/mnt/./noaa",
            "/mnt/../etc",
            "/mnt/..",
            "/mnt/.",
            "/mnt/my data",
            "/mnt/ü",
        ],
        "spec.datasets[0].path",
        "must be an absolute path",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [
            "/proc",
            "/sys/x",
            "/dev/shm",
            "/etc/x",
            "/usr/local/x",
            "/bin",
            "/sbin",
            "/lib/x",
            "/boot",
        ],
        "spec.datasets[0].path",
        "take one under /mnt",
    ));
    refusals.extend(values(
        "/spec/datasets/0/path",
        [format!("/{}", "x".repeat(256))],
        "spec.datasets[0].path",
        "Too long: may not be more than 256",
    ));
    refusals
}

fn scheduler_and_worker() -> Vec<Refusal> {
    let mut refusals = values(
        "/spec/experimentName",
        ["", "-dask", "dask jobs", "${{x}}"],
        "spec.experimentName",
        "must start with a letter or digit",
    );
    refusals.extend(values(
        "/spec/scheduler/startTimeoutSeconds",
        [59],
        "spec.scheduler.startTimeoutSeconds",
        "greater than or equal to 60",
    ));
    refusals.extend(values(
        "/spec/scheduler/startTimeoutSeconds",
        [86_401],
        "spec.scheduler.startTimeoutSeconds",
        "less than or equal to 86400",
    ));
    refusals.extend(values(
        "/spec/worker/replicas",
        [-1],
        "spec.worker.replicas",
        "greater than or equal to 0",
    ));
    refusals.extend(values(
        "/spec/worker/replicas",
        [100],
        "spec.worker.replicas",
        "less than or equal to 99",
    ));
    refusals.extend(values(
        "/spec/worker/threads",
        [0],
        "spec.worker.threads",
        "greater than or equal to 1",
    ));
    refusals.extend(values(
        "/spec/worker/threads",
        [1025],
        "spec.worker.threads",
        "less than or equal to 1024",
    ));
    refusals.extend(values(
        "/spec/worker/memoryLimit",
        [
            json!("63Mi"),
            json!(67_108_863),
            json!("0.06Gi"),
            json!("-1Gi"),
            json!("much"),
            json!(""),
            json!("48 GB"),
        ],
        "spec.worker.memoryLimit",
        "must be a quantity of at least 64Mi",
    ));
    refusals.extend(values(
        "/spec/worker/memoryLimit",
        ["1".repeat(33)],
        "spec.worker.memoryLimit",
        "Too long: may not be more than 32",
    ));
    refusals.extend(values(
        "/spec/deletionPolicy",
        ["Orphan"],
        "spec.deletionPolicy",
        "supported values: \"Delete\", \"Retain\"",
    ));
    refusals
}

fn environment_variables() -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let named = |name: &str| json!([{"name": name, "value": "x"}]);
    for (pointer, name, value, value_from, list) in [
        (
            "/spec/scheduler/env",
            "spec.scheduler.env[0].name",
            "spec.scheduler.env[0].value",
            "spec.scheduler.env[0].valueFrom",
            "spec.scheduler.env",
        ),
        (
            "/spec/worker/env",
            "spec.worker.env[0].name",
            "spec.worker.env[0].value",
            "spec.worker.env[0].valueFrom",
            "spec.worker.env",
        ),
    ] {
        refusals.extend(values(
            pointer,
            ["", "1A", "A-B", "A.B", "A B"].map(named),
            name,
            "must be letters, digits and _",
        ));
        refusals.extend(values(
            pointer,
            [
                "AZUREML_RUN_ID",
                "AZURE_ML_INPUT",
                "AZ_BATCH_NODE_ID",
                "AZ_BATCHX",
                "MLFLOW_TRACKING_URI",
                "AZURE_SIMULATOR_NODE_ADDRESS",
                "DASK_AZUREML_ROLE",
                "DASK_azureml_role",
                "DASK_DISTRIBUTED",
                "DASK_distributed",
                "DASK_DISTRIBUTED__SCHEDULER",
                "DASK_DISTRIBUTED__WORKER",
                "DASK_DISTRIBUTED__NANNY",
                "DASK_DISTRIBUTED__SCHEDULER__HTTP",
                "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
                "DASK_DISTRIBUTED__Scheduler__Worker_TTL",
                "DASK_DISTRIBUTED__SCHEDULER__PRELOAD",
                "DASK_DISTRIBUTED__WORKER__preload",
                "DASK_DISTRIBUTED__NANNY__PRELOAD",
                "DASK_INTERNAL_INHERIT_CONFIG",
            ]
            .map(named),
            name,
            "is set by the operator or by Azure Machine Learning",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "x\u{0}y"}])],
            value,
            "must not hold a NUL",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "${{inputs.x}}"}])],
            value,
            "must not hold ${{",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A", "value": "x".repeat(4097)}])],
            value,
            "Too long: may not be more than 4096",
        ));
        refusals.extend(values(
            pointer,
            [
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                json!([{"name": "A", "value": "x", "valueFrom": {}}]),
            ],
            value_from,
            "valueFrom is not supported",
        ));
        refusals.extend(values(
            pointer,
            [json!([{"name": "A"}, {"name": "A", "value": "x"}])],
            match list {
                "spec.scheduler.env" => "spec.scheduler.env[1]",
                _ => "spec.worker.env[1]",
            },
            "Duplicate value",
        ));
        let many: Vec<_> = (0..65).map(|n| json!({"name": format!("A{n}")})).collect();
        refusals.extend(values(pointer, [many], list, "must have at most 64 items"));
    }
    refusals
}

fn tags() -> Vec<Refusal> {
    let keyed = |key: &str| json!({key: "x"});
    let mut refusals = values(
        "/spec/tags",
        [keyed(""), keyed(&"x".repeat(101))],
        "spec.tags",
        "must be 1 to 100 characters long",
    );
    refusals.extend(values(
        "/spec/tags",
        [
            "a<b", "a>b", "a%b", "a&b", "a\\b", "a?b", "a/b", "a\nb", "a\u{85}b",
        ]
        .map(keyed),
        "spec.tags",
        "must hold no control character",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"Team": "a", "team": "b"})],
        "spec.tags",
        "must differ in more than case",
    ));
    refusals.extend(values(
        "/spec/tags",
        [
            "dask-azureml-owner",
            "Dask-AzureML-x",
            "headnode",
            "Scheduler",
            "dashboard",
            "jupyter",
            "mlflow.user",
            "azureml.x",
            "_aml_x",
            "microsoftx",
            "Azure-x",
            "windows",
        ]
        .map(keyed),
        "spec.tags",
        "tags must not use headnode",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"a${{b": "x"}), json!({"a": "${{x}}"})],
        "spec.tags",
        "must not hold ${{",
    ));
    refusals.extend(values(
        "/spec/tags",
        [json!({"a": "x".repeat(257)})],
        "spec.tags.a",
        "Too long: may not be more than 256",
    ));
    let many: serde_json::Map<_, _> = (0..16).map(|n| (format!("k{n}"), json!("x"))).collect();
    refusals.extend(values(
        "/spec/tags",
        [many],
        "spec.tags",
        "must have at most 15 items",
    ));
    refusals
}

#[tokio::test]
async fn names_and_workspaces_that_cannot_be_are_refused() {
    all_refused(metadata_and_workspace()).await;
}

#[tokio::test]
async fn networks_that_cannot_hold_the_nodes_are_refused() {
    all_refused(network()).await;
}

#[tokio::test]
async fn pools_that_azure_would_refuse_are_refused() {
    all_refused(compute()).await;
}

#[tokio::test]
async fn environments_that_are_neither_made_nor_named_are_refused() {
    all_refused(environment()).await;
}

#[tokio::test]
async fn datasets_that_cannot_be_told_apart_or_read_are_refused() {
    all_refused(datasets()).await;
}

#[tokio::test]
async fn dataset_places_that_leak_or_hide_something_are_refused() {
    all_refused(dataset_places()).await;
}

#[tokio::test]
async fn sizes_and_times_out_of_range_are_refused() {
    all_refused(scheduler_and_worker()).await;
}

#[tokio::test]
async fn environment_variables_of_others_and_secrets_are_refused() {
    all_refused(environment_variables()).await;
}

#[tokio::test]
async fn tags_that_azure_or_others_use_are_refused() {
    all_refused(tags()).await;
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let server = Server::new().await;
    for (pointer, says) in [
        ("/spec/suspend", "unknown field \"spec.suspend\""),
        ("/spec/worker/nodes", "unknown field \"spec.worker.nodes\""),
        (
            "/spec/datasets/0/url",
            "unknown field \"spec.datasets[0].url\"",
        ),
        (
            "/spec/network/peerings",
            "unknown field \"spec.network.peerings\"",
        ),
    ] {
        let words = server
            .try_create(&edited(story(), &[set(pointer, true)]))
            .await
            .expect_err("an unknown field is refused");
        assert!(words.contains(says), "{words}");
    }
}

#[tokio::test]
async fn every_rule_of_the_schema_has_a_manifest_here_that_breaks_it() {
    let server = Server::new().await;
    let mut heard = String::new();
    for refusals in [
        metadata_and_workspace(),
        network(),
        compute(),
        environment(),
        datasets(),
        dataset_places(),
        scheduler_and_worker(),
        environment_variables(),
        tags(),
    ] {
        for refusal in refusals {
            let words = server.try_create(&refusal.manifest).await.err();
            heard.push_str(&words.unwrap_or_default());
        }
    }
    let stored = server.create(&everything()).await;
    for change in immutable::changes() {
        let words = server
            .try_replace(&edited(stored.clone(), &[change.edit]))
            .await
            .err();
        heard.push_str(&words.unwrap_or_default());
    }
    let silent: Vec<_> = messages()
        .into_iter()
        .filter(|(_, message)| !heard.contains(message))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

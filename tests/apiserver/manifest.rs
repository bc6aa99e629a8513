//! Manifests to start from, and edits of them.

use serde_json::{Value, json};

/// The ARM id of a managed identity that reads the data.
pub(crate) const READER: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-dask/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader";
/// The network of the Kubernetes cluster.
pub(crate) const REMOTE: &str = "/subscriptions/99999999-2222-3333-4444-555555555555/resourceGroups/rg-aks/providers/Microsoft.Network/virtualNetworks/aks-vnet";

/// The manifest of the story: network and pool are made, 40 workers on 40 nodes.
pub(crate) fn story() -> Value {
    json!({
        "apiVersion": "azureml.dask.dev/v1alpha1",
        "kind": "DaskCluster",
        "metadata": {"name": "noaa-isd"},
        "spec": {
            "workspace": {
                "subscriptionId": "11111111-2222-3333-4444-555555555555",
                "resourceGroup": "rg-dask",
                "name": "ws-dask",
            },
            "credentialsSecretName": "azure-credentials",
            "network": {
                "virtualNetwork": {"name": "dask-vnet", "addressPrefix": "10.20.0.0/16"},
                "subnet": {"name": "default", "addressPrefix": "10.20.0.0/22"},
            },
            "compute": {"name": "ds13-cluster", "vmSize": "STANDARD_DS13_V2", "maxNodes": 100},
            "datasets": [{
                "name": "noaa-isd",
                "uri": "https://azureopendatastorage.blob.core.windows.net/isdweatherdatacontainer/ISDWeather/",
                "path": "/mnt/noaa",
            }],
            "worker": {"replicas": 39},
        },
    })
}

/// The least that a manifest with a network and pool of its own must say.
pub(crate) fn least() -> Value {
    edited(
        story(),
        &[
            remove("/spec/credentialsSecretName"),
            remove("/spec/network/subnet/name"),
            remove("/spec/compute/name"),
            remove("/spec/compute/maxNodes"),
            remove("/spec/datasets"),
            remove("/spec/worker"),
        ],
    )
}

/// A pool that exists already, with the network it lies in.
pub(crate) fn existing_pool() -> Value {
    edited(
        least(),
        &[
            remove("/spec/network"),
            set(
                "/spec/compute",
                json!({"name": "ds13-cluster", "creationPolicy": "UseExisting"}),
            ),
        ],
    )
}

/// A network that exists already.
pub(crate) fn existing_network() -> Value {
    edited(
        least(),
        &[set(
            "/spec/network",
            json!({"virtualNetwork": {"name": "dask-vnet"}, "creationPolicy": "UseExisting"}),
        )],
    )
}

/// A pool that exists and is taken over, in a network that exists.
pub(crate) fn adopted_pool() -> Value {
    edited(
        existing_network(),
        &[set(
            "/spec/compute",
            json!({"name": "ds13-cluster", "creationPolicy": "Adopt"}),
        )],
    )
}

/// Every field given, each with a value that is not its default.
pub(crate) fn everything() -> Value {
    json!({
        "apiVersion": "azureml.dask.dev/v1alpha1",
        "kind": "DaskCluster",
        "metadata": {"name": "everything"},
        "spec": {
            "workspace": {
                "subscriptionId": "11111111-2222-3333-4444-555555555555",
                "resourceGroup": "Größe_(日本語).rg",
                "name": "ws-dask",
            },
            "credentialsSecretName": "azure-credentials",
            "network": {
                "virtualNetwork": {
                    "name": "dask-vnet",
                    "resourceGroup": "rg-network",
                    "addressPrefix": "10.20.0.0/16",
                },
                "subnet": {"name": "nodes", "addressPrefix": "10.20.4.0/24"},
                "creationPolicy": "Create",
                "nodePublicIp": false,
                "peerings": [{"remoteVirtualNetworkId": REMOTE, "remote": "Leave"}],
            },
            "compute": {
                "name": "ds13-cluster",
                "vmSize": "Standard_DS13-2_v2",
                "priority": "LowPriority",
                "identity": {"userAssigned": [READER]},
                "minNodes": 1,
                "maxNodes": 50,
                "idleSecondsBeforeScaleDown": 600,
                "creationPolicy": "Create",
            },
            "environment": {
                "image": "ghcr.io/dask/dask:2025.1.0",
                "condaFile": "dependencies: [python=3.12]\n",
            },
            "datasets": [{
                "name": "noaa-isd",
                "version": "2024.1",
                "type": "MLTable",
                "uri": "azureml://datastores/weather/paths/noaa/",
                "mode": "Download",
                "path": "/mnt/noaa",
            }],
            "experimentName": "weather",
            "scheduler": {
                "compute": {
                    "name": "ds3-head",
                    "vmSize": "STANDARD_DS3_V2",
                    "creationPolicy": "Create",
                },
                "runWorker": false,
                "jupyter": true,
                "env": [{"name": "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH", "value": "1000"}],
                "startTimeoutSeconds": 900,
            },
            "worker": {
                "replicas": 39,
                "threads": 8,
                "memoryLimit": "48Gi",
                "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
                "startTimeoutSeconds": 600,
                "scaleDownGraceSeconds": 3600,
            },
            "autoscaling": {
                "minReplicas": 2,
                "maxReplicas": 49,
                "targetDurationSeconds": 600,
                "scaleUpStabilizationSeconds": 60,
                "scaleDownStabilizationSeconds": 900,
                "maxScaleUpStep": 10,
                "maxScaleDownPercent": 50,
            },
            "suspend": true,
            "idleTimeoutSeconds": 7200,
            "idleAction": "ScaleToZero",
            "maxLifetimeSeconds": 864_000,
            "budget": {"maxPerHour": "12.50", "maxTotal": "500", "action": "Suspend"},
            "updatePolicy": "Recreate",
            "deletionPolicy": "Retain",
            "driftPolicy": "Report",
            "tags": {"team": "weather"},
        },
    })
}

/// One edit of a manifest, at a JSON pointer.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Puts a value there, making its parents where they are missing.
    Set(String, Value),
    /// Takes the field away.
    Remove(String),
}

pub(crate) fn set(pointer: &str, value: impl Into<Value>) -> Edit {
    Edit::Set(pointer.to_owned(), value.into())
}

pub(crate) fn remove(pointer: &str) -> Edit {
    Edit::Remove(pointer.to_owned())
}

/// The manifest with the edits made in their order.
pub(crate) fn edited(mut manifest: Value, edits: &[Edit]) -> Value {
    for edit in edits {
        let (Edit::Set(pointer, _) | Edit::Remove(pointer)) = edit;
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer starts with /");
        let mut place = &mut manifest;
        for step in parent.split('/').skip(1) {
            place = match place {
                Value::Array(items) => {
                    let index: usize = step.parse().expect("an index");
                    items.get_mut(index).expect("an item that exists")
                }
                other => &mut other[step],
            };
        }
        match (edit, place) {
            (Edit::Set(_, value), place) => {
                place[field.replace("~1", "/").as_str()] = value.clone()
            }
            (Edit::Remove(_), Value::Object(fields)) => {
                fields.remove(field);
            }
            (Edit::Remove(_), _) => {}
        }
    }
    manifest
}

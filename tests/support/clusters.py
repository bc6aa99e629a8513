"""DaskClusters as a user writes, reads and deletes them."""

import copy
import json
import subprocess
import time
from collections.abc import Callable


def manifest(name: str, env: dict[str, str], changes: dict) -> dict:
    """A small cluster that would work, with `changes` (a `spec`) merged into it. A `None` removes."""
    spec = {
        "workspace": {
            "subscriptionId": env["AZURE_SUBSCRIPTION_ID"],
            "resourceGroup": env["AZURE_RESOURCE_GROUP"],
            "name": env["AZURE_ML_WORKSPACE"],
        },
        "credentialsSecretName": "azure-credentials",
        "network": {
            "virtualNetwork": {"name": f"{name}-vnet", "addressPrefix": "10.20.0.0/16"},
            "subnet": {"name": "default", "addressPrefix": "10.20.0.0/24"},
        },
        # Pools have short names.
        "compute": {"name": f"{name[:18]}-pool", "vmSize": "STANDARD_DS13_V2", "maxNodes": 2},
        "environment": {"image": f"registry.example/{name}:1"},
        "scheduler": {"runWorker": False},
        "worker": {"replicas": 1, "threads": 1, "memoryLimit": "512Mi"},
    }
    return {
        "apiVersion": "azureml.dask.dev/v1alpha1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": _merged(spec, changes),
    }


def _merged(base: dict, changes: dict) -> dict:
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


class Kubernetes:
    def __init__(self, environment: dict[str, str]):
        self._environment = environment

    def run(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            ["kubectl", *arguments],
            env=self._environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def apply(self, *objects: dict) -> None:
        everything = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "--server-side", "-f", "-", given=json.dumps(everything))

    def clusters(self) -> dict[str, dict]:
        listed = json.loads(self.run("get", "daskclusters", "-o", "json"))["items"]
        return {cluster["metadata"]["name"]: cluster for cluster in listed}

    def cluster(self, name: str) -> dict:
        return json.loads(self.run("get", "daskcluster", name, "-o", "json"))

    def delete(self, *names: str) -> None:
        self.run("delete", "daskcluster", "--wait=false", *names)


def condition(cluster: dict, kind: str) -> dict:
    """A condition; one that says nothing where there is none yet."""
    conditions = cluster.get("status", {}).get("conditions", [])
    found = [held for held in conditions if held["type"] == kind]
    return found[0] if found else {"type": kind, "status": "", "reason": "", "message": ""}


def eventually(holds: Callable[[], object], *, seconds: float, otherwise: Callable[[], object]):
    """What `holds` returns as soon as that is true; fails with what `otherwise` tells."""
    deadline = time.monotonic() + seconds
    while not (held := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {otherwise()}")
        time.sleep(0.25)
    return held

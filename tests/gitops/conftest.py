"""Lives of DaskClusters, recorded from a real API server as the tools watch it."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from line.running import Line
from support.azure import Azure
from support.clusters import Kubernetes, condition, eventually, manifest
from tools import ARGO_CD

# Seconds: long enough that each stage is seen. What is not named takes none.
TIMINGS = {
    "request_seconds": 0.01,
    "network_write_seconds": 0.3,
    "compute_write_seconds": 0.3,
    "pool_settle_seconds": 0.1,
    "node_boot_seconds": 0.3,
    "node_leave_seconds": 0.1,
    "compute_delete_seconds": 0.3,
    "compute_delete_with_nodes_seconds": 0.5,
    "subnet_release_seconds": 0.0,
    "network_delete_seconds": 0.2,
    "job_start_seconds": 0.1,
    "image_build_seconds": 0.0,
    "job_launch_seconds": 0.1,
    "job_finalize_seconds": 0.0,
    "cancel_seconds": 0.3,
}


class Stage:
    def __init__(self, line: Line):
        self.line = line
        self.kubernetes = Kubernetes(line.environment)
        self.azure = Azure(line.env)

    def manifest(self, name: str, changes: dict | None = None) -> dict:
        return manifest(name, self.line.env, changes or {})

    def secret(self, name: str, **changes: str) -> dict:
        """Credentials of Azure, with some of them changed."""
        keys = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        data = {key: self.line.env[key] for key in keys} | changes
        metadata = {"name": name, "namespace": "default"}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}

    def until(self, name: str, holds: Callable[[dict], bool], *, seconds: float = 90) -> dict:
        """The cluster as soon as it is so."""

        def found() -> dict | None:
            cluster = self.kubernetes.cluster(name)
            return cluster if holds(cluster) else None

        def conditions() -> str:
            return json.dumps(self.kubernetes.cluster(name).get("status", {}).get("conditions"), indent=1)

        return eventually(found, seconds=seconds, otherwise=conditions)

    def until_settled(self, name: str, *, ready: str = "Ready", workers: int = 1) -> dict:
        """The cluster once everything about its present spec holds."""

        def is_settled(cluster: dict) -> bool:
            status = cluster.get("status", {})
            told = condition(cluster, "Ready")
            return (
                status.get("observedGeneration") == cluster["metadata"]["generation"]
                and (told["status"], told["reason"]) == ("True", ready)
                and status.get("workers", {}).get("ready") == workers
            )

        return self.until(name, is_settled)

    def until_gone(self, name: str) -> None:
        eventually(
            lambda: name not in self.kubernetes.clusters(),
            seconds=60,
            otherwise=lambda: self.kubernetes.cluster(name)["status"],
        )

    @contextmanager
    def recorded(self, name: str, folder: Path) -> Iterator[list[dict]]:
        """Every version of the cluster that a watch shows, in the list once this has ended."""
        file = folder / f"{name}.watched"
        seen: list[dict] = []
        command = ["kubectl", "get", "daskcluster", "--field-selector", f"metadata.name={name}"]
        command += ["--watch", "--output-watch-events", "-o", "json"]
        with file.open("w") as output:
            watch = subprocess.Popen(command, env=self.line.environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                yield seen
            finally:
                watch.terminate()
                watch.wait()
        text, decoder = file.read_text(), json.JSONDecoder()
        at = 0
        while text[at:].strip():
            event, at = decoder.raw_decode(text, text.index("{", at))
            if event["type"] != "DELETED":
                seen.append(event["object"])


def keep(name: str, version: dict) -> None:
    """Writes an object of a real run into the test data of Argo CD's scripts, where that is asked for."""
    if os.environ.get("RECORD_TESTDATA"):
        kept = json.loads(json.dumps(version))
        for unread in ("managedFields", "uid", "resourceVersion"):
            kept["metadata"].pop(unread, None)
        (ARGO_CD / "testdata" / f"{name}.yaml").write_text(yaml.safe_dump(kept, sort_keys=False, width=110))


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("gitops")
    world = folder / "world.json"
    world.write_text(json.dumps({"timings": TIMINGS}))
    with Line(folder / "line", world=world, operator_arguments=["--resync-seconds", "5"]) as line:
        yield Stage(line)

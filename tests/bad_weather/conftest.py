"""One line, parts of which are killed, stopped or cut off, a test after the other."""

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest
from line.running import Line
from support.azure import Azure
from support.clusters import Kubernetes, condition, eventually, manifest

# Seconds: short, but long enough that something can happen in between. What is not named takes none.
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
RESYNC_SECONDS = 5


class Stage:
    """The line, and what every test of it does."""

    def __init__(self, line: Line):
        self.line = line
        self.kubernetes = Kubernetes(line.environment)
        self.sign_in()

    def sign_in(self) -> None:
        """An Azure that was started anew does not know the old token."""
        self.azure = Azure(self.line.env)

    def apply(self, name: str, changes: dict | None = None) -> None:
        self.kubernetes.apply(manifest(name, self.line.env, changes or {}))

    def ready(self, name: str) -> dict:
        return condition(self.kubernetes.cluster(name), "Ready")

    def until_ready(self, name: str, *, seconds: float = 60) -> None:
        """Returns when the cluster is Ready with every worker."""

        def is_ready() -> bool:
            cluster = self.kubernetes.cluster(name)
            kinds = ("Ready", "WorkersReady")
            return all(condition(cluster, kind)["status"] == "True" for kind in kinds)

        eventually(is_ready, seconds=seconds, otherwise=lambda: self.told(name))

    def until_told(self, name: str, reason: str, *words: str, kind: str = "Ready", seconds: float = 30) -> None:
        """Returns when a condition has this reason and these words."""

        def is_told() -> bool:
            told = condition(self.kubernetes.cluster(name), kind)
            return told["reason"] == reason and all(word in told["message"] for word in words)

        eventually(is_told, seconds=seconds, otherwise=lambda: self.told(name))

    def until_gone(self, name: str) -> None:
        self.kubernetes.delete(name)
        self.until_left(name)

    def until_left(self, name: str) -> None:
        """Returns when a cluster that is being deleted is gone."""
        eventually(
            lambda: name not in self.kubernetes.clusters(), seconds=60, otherwise=lambda: self.told(name)
        )

    def told(self, name: str) -> str:
        conditions = self.kubernetes.cluster(name).get("status", {}).get("conditions", [])
        return json.dumps([held for held in conditions if held["status"] != "True"], indent=1)

    def events(self, name: str) -> Counter[tuple[str, str]]:
        """How often what was told of a cluster: reason and note."""
        listed = json.loads(self.kubernetes.run("get", "events.events.k8s.io", "-o", "json"))["items"]
        told: Counter[tuple[str, str]] = Counter()
        for event in listed:
            if event["regarding"]["name"] == name:
                series = event.get("series") or {"count": 1}
                told[event["reason"], event["note"]] += series["count"]
        return told

    def until(self, holds, what: str, *, seconds: float = 30):
        return eventually(holds, seconds=seconds, otherwise=lambda: f"never: {what}; {self.azure.world()}")

    def restart_operator(self) -> None:
        self.line.kill_operator()
        self.line.start_operator()

    def reconciles(self) -> int:
        """Reconciles that this operator process has finished."""
        address = self.line.env["DASK_AZUREML_OPERATOR_METRICS"]
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        counts = re.findall(r"^dask_azureml_reconciles_total\{.*\} (\d+)$", text, re.MULTILINE)
        return sum(map(int, counts))

    def assert_nothing_is_written(self, name: str, *, reconciles: int) -> None:
        """So many reconciles of a cluster at rest, alone on the line, write to neither side."""
        written, version = self.azure.writes(), self.version(name)
        done = self.reconciles()
        eventually(
            lambda: self.reconciles() >= done + reconciles,
            seconds=RESYNC_SECONDS * reconciles + 15,
            otherwise=lambda: f"{self.reconciles() - done} of {reconciles} reconciles",
        )
        assert self.azure.writes() == written
        assert self.version(name) == version

    def version(self, name: str) -> str:
        return self.kubernetes.cluster(name)["metadata"]["resourceVersion"]


def twice(writes: list[str]) -> list[str]:
    """Writes that were made more than once."""
    return [write for write, times in Counter(writes).items() if times > 1]


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("bad-weather")
    world = folder / "world.json"
    world.write_text(json.dumps({"timings": TIMINGS}))
    arguments = ["--resync-seconds", str(RESYNC_SECONDS)]
    with Line(folder / "line", world=world, operator_arguments=arguments) as line:
        yield Stage(line)

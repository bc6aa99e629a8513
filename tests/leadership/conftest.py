"""One line with several operators that share a Lease; some are ended, killed or stopped, and one of the others takes over."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from line.running import Line
from support.azure import Azure
from support.clusters import Kubernetes, condition, eventually, manifest

# Seconds: short, but long enough that something can happen in between. What is not named takes none.
TIMINGS = {
    "request_seconds": 0.05,
    "network_write_seconds": 0.5,
    "compute_write_seconds": 0.5,
    "pool_settle_seconds": 0.1,
    "node_boot_seconds": 0.5,
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
LEASE = "weather"
NAMESPACE = "default"
FLAGS = ["--leader-election=true", f"--lease-name={LEASE}", f"--lease-namespace={NAMESPACE}", "--resync-seconds=5"]
# More rounds of each kind, for a long run.
ROUNDS = int(os.environ.get("LEADERSHIP_ROUNDS", "1"))


class Operator:
    """One process of several."""

    def __init__(self, stage: "Stage", pod: str, *arguments: str):
        self.pod = pod
        self._address = stage.line.start_one_operator(pod, *arguments)
        self.process: subprocess.Popen[bytes] = stage.line.processes[pod]
        self.log = stage.line.directory / f"{pod}.log"

    def page(self, path: str = "/metrics") -> str:
        """What it serves; nothing while it does not."""
        try:
            with urllib.request.urlopen(self._address + path, timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def leads(self) -> bool:
        return "\ndask_azureml_leader 1\n" in self.page()

    def is_ready(self) -> bool:
        return self.page("/readyz") == "ok"

    def reconciles(self) -> int:
        counts = re.findall(r"^dask_azureml_reconciles_total\{.*\} (\d+)$", self.page(), re.MULTILINE)
        return sum(map(int, counts))

    def resident_mebibytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024

    def runs(self) -> bool:
        return self.process.poll() is None


class Stage:
    """The line, its operators, and what every test does with them."""

    def __init__(self, line: Line):
        self.line = line
        self.kubernetes = Kubernetes(line.environment)
        self.azure = Azure(line.env)
        self.operators: list[Operator] = []
        # Clusters, in the order in which they were begun.
        self.begun: list[str] = []
        # Writes of an operator that landed after another had taken over.
        self.late: list[str] = []
        # The condition Ready of the first cluster, once it was.
        self.ready_once: dict = {}
        self._started = 0
        # The line's own is in nobody's way: it ends.
        line.kill_operator()

    def start(self, *arguments: str) -> Operator:
        self._started += 1
        operator = Operator(self, f"pod-{self._started}", *arguments)
        self.operators.append(operator)
        return operator

    def have(self, count: int) -> None:
        """Starts operators until so many run, and waits until all are ready and one of them leads."""
        self.operators = [operator for operator in self.operators if operator.runs()]
        while len(self.operators) < count:
            self.start()
        self.until(lambda: all(operator.is_ready() for operator in self.operators), "every operator is ready")
        self.leader(seconds=25)

    def leader(self, *, seconds: float) -> Operator:
        """The one that leads, once there is one."""
        return self.until(self.leads, "one of them leads", seconds=seconds)

    def leads(self) -> Operator | None:
        leaders = [operator for operator in self.operators if operator.runs() and operator.leads()]
        assert len(leaders) <= 1, [operator.pod for operator in leaders]
        return leaders[0] if leaders else None

    def lease(self) -> dict:
        got = self.kubernetes.run("get", "lease", LEASE, "-n", NAMESPACE, "-o", "json")
        return json.loads(got)["spec"]

    def until_succeeded(self, old: Operator, *, within: float) -> tuple[Operator, float, float]:
        """Who leads after `old`, and after how many seconds it leads, and has looked at every cluster."""
        began = time.monotonic()
        others = [operator for operator in self.operators if operator is not old]
        clusters = len(self.kubernetes.clusters())
        while not (leaders := [operator for operator in others if operator.leads()]):
            assert time.monotonic() - began < within + 5, "nobody takes over"
            time.sleep(0.02)
        taken = time.monotonic() - began
        new = leaders[0]
        while new.reconciles() < clusters:
            assert time.monotonic() - began < within + 5, f"{new.reconciles()} of {clusters} clusters"
            time.sleep(0.02)
        return new, taken, time.monotonic() - began

    def begin(self, name: str) -> None:
        self.begun.append(name)
        self.kubernetes.apply(manifest(name, self.line.env, {}))

    def begin_and_see_it_begun(self, name: str) -> None:
        """Returns when the first write for it has arrived in Azure."""
        self.begin(name)
        self.until(lambda: any(name in write for write in self.azure.writes()), f"{name} is begun")

    def ready(self, name: str) -> dict:
        return condition(self.kubernetes.cluster(name), "Ready")

    def until_ready(self, *names: str, seconds: float = 60) -> None:
        """Returns when these are Ready with every worker."""
        kinds = ("Ready", "WorkersReady")

        def is_ready() -> bool:
            clusters = self.kubernetes.clusters()
            return all(condition(clusters[name], kind)["status"] == "True" for name in names for kind in kinds)

        def told() -> str:
            clusters = [self.kubernetes.cluster(name) for name in names]
            return json.dumps([cluster.get("status", {}).get("conditions") for cluster in clusters], indent=1)

        eventually(is_ready, seconds=seconds, otherwise=told)

    def until(self, holds: Callable[[], object], what: str, *, seconds: float = 30):
        def told() -> str:
            logs = [f"{operator.pod}: {operator.log.read_text()[-1500:]}" for operator in self.operators]
            return "\n".join([f"never: {what}", *logs])

        return eventually(holds, seconds=seconds, otherwise=told)

    def requests(self, operator: Operator) -> list[dict]:
        """What an operator asked of Azure, but for tokens: exchanges, oldest first."""
        return [
            exchange
            for exchange in self.azure.exchanges()
            if f"({operator.pod})" in exchange["request"]["headers"].get("user-agent", "")
        ]

    def tokens(self) -> int:
        """How often operators asked Entra for a token. Microsoft's library does that, in its own name."""
        requests = [exchange["request"] for exchange in self.azure.exchanges()]
        library = [
            request for request in requests if request["headers"].get("user-agent", "").startswith("azsdk-rust")
        ]
        assert all(request["path"].endswith("/oauth2/v2.0/token") for request in library), library
        return len(library)

    def writes(self, operator: Operator) -> list[tuple[float, str]]:
        """When its writes to Azure arrived, in seconds since 1970, and what they were."""
        return [
            (arrived(exchange), f"{exchange['request']['method']} {exchange['request']['path']}")
            for exchange in self.requests(operator)
            if exchange["request"]["method"] != "GET"
            and "/subscriptions/" in exchange["request"]["path"]
            and not exchange["request"]["path"].endswith("/listNodes")
        ]

    def twice(self) -> list[str]:
        """Writes that were made more than once, whoever made them."""
        return [write for write, times in Counter(self.azure.writes()).items() if times > 1]


def arrived(exchange: dict) -> float:
    return datetime.fromisoformat(exchange["time"].replace("Z", "+00:00")).timestamp()


class Figures:
    """Seconds of failovers, and late requests, printed at the end."""

    def __init__(self) -> None:
        self.by_kind: dict[str, list[float]] = {}
        self.late: list[int] = []
        self.resident = ""

    def add(self, kind: str, seconds: float) -> None:
        self.by_kind.setdefault(kind, []).append(seconds)

    def __str__(self) -> str:
        def row(kind: str, times: list[float]) -> str:
            times = sorted(times)
            middle = times[len(times) // 2]
            return f"{kind}: {times[0]:.2f} / {middle:.2f} / {times[-1]:.2f} s (min / median / max of {len(times)})"

        rows = [row(kind, times) for kind, times in self.by_kind.items()]
        late = f"writes of stopped leaders that landed after the takeover: {self.late}"
        return "\n".join([*rows, late, self.resident])


FIGURES = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    return FIGURES


def pytest_terminal_summary(terminalreporter) -> None:
    if FIGURES.by_kind:
        terminalreporter.write_sep("-", "failovers")
        terminalreporter.write_line(str(FIGURES))


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("leadership")
    world = folder / "world.json"
    world.write_text(json.dumps({"timings": TIMINGS}))
    with Line(folder / "line", world=world, operator_arguments=FLAGS) as line:
        stage = Stage(line)
        yield stage
        # One that is stopped cannot hear that it should end.
        for operator in stage.operators:
            if operator.runs():
                operator.process.send_signal(signal.SIGCONT)

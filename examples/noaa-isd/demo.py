"""The story of this example from an empty machine to an empty Azure, on the simulator: `make demo`.

    python demo.py --workers 3 --directory run/demo

Starts a Kubernetes control plane, the simulator and the operator, applies `cluster.yaml`, runs
`explore.py` on both datasets, scales the cluster up and down under a client that works, deletes the
DaskCluster and looks whether anything is left of it in Azure. Ends with exit code 0 only if every step did what it should.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import isd_data
import simulated
from breathe import breathe
from evidence import Untrue, check_everything_is_there, check_nothing_is_left, check_status

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from line import Line, NotStarted  # noqa: E402  (found by the path above)

CLUSTER = "noaa-isd"
KIND = "daskclusters.azureml.dask.dev"
CONDITIONS = (
    '{range .status.conditions[*]}{.type}{"\\t"}{.status}{"\\t"}{.reason}{"\\t"}{.message}{"\\n"}{end}'
)


class Steps:
    """Says and times the steps; each may say how long Azure takes for the same."""

    def __init__(self):
        self._taken: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, what: str, on_azure: str = "the same"):
        print(f"\n{len(self._taken) + 1}. {what}", flush=True)
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self._taken.append((what, seconds, on_azure))
        print(f"   took {seconds:.1f} s; on Azure: {on_azure}", flush=True)

    def print_table(self) -> None:
        width = max(len(what) for what, _, _ in self._taken)
        print(f"\n{'':{width}}      here    on Azure")
        for what, seconds, on_azure in self._taken:
            print(f"{what:{width}}  {seconds:6.1f} s    {on_azure}")
        print(f"{'all':{width}}  {sum(seconds for _, seconds, _ in self._taken):6.1f} s")


class Kubernetes:
    """kubectl on the control plane of the demo."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment

    def show(self, *arguments: str) -> None:
        """Runs kubectl for the reader, with its command line."""
        print(f"   $ kubectl {' '.join(arguments)}", flush=True)
        subprocess.run(["kubectl", *arguments], env=self._environment, check=True)

    def read(self, *arguments: str) -> str:
        command = ["kubectl", *arguments]
        return subprocess.run(
            command, env=self._environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def apply(self, manifest: dict) -> None:
        print("   $ kubectl apply -f -", flush=True)
        command = ["kubectl", "apply", "-f", "-"]
        subprocess.run(command, env=self._environment, check=True, input=json.dumps(manifest), text=True)

    def scale_to(self, replicas: int) -> None:
        """Scales, and waits until so many workers have registered, the head's own beside them."""
        self.show("scale", f"{KIND}/{CLUSTER}", f"--replicas={replicas}")
        for field, value in [("replicas", replicas), ("workers.ready", replicas + 1)]:
            wait = f"--for=jsonpath={{.status.{field}}}={value}"
            self.show("wait", f"{KIND}/{CLUSTER}", wait, "--timeout=300s")
        self.show("get", "adsk")

    def cost(self) -> str:
        cost = json.loads(self.read("get", KIND, CLUSTER, "-o", "jsonpath={.status.cost}"))
        accrued = cost["accrued"]
        return (
            f"{cost['hourly']} {cost['currency']} an hour now, {accrued['amount']} so far"
            f" (as of {accrued['asOf']}; an estimate from Azure's list prices)"
        )

    @contextmanager
    def watched(self, kind: str):
        """Shows each change of the objects of a kind while something else is waited for."""
        watch = subprocess.Popen(
            ["kubectl", "get", kind, "--watch"], env=self._environment, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            watch.terminate()
            watch.wait()


def world(environment: dict[str, str]) -> dict:
    """Everything that exists in the simulated Azure, by the simulator's control port."""
    with urllib.request.urlopen(f"{environment['AZURE_SIMULATOR_CONTROL']}/world", timeout=30) as answer:
        return json.load(answer)


def explore(environment: dict[str, str], dataset: str, folder: Path, plot: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("explore.py")), CLUSTER, "--dataset", dataset]
    command += ["--plot", str(plot), "--check-against", str(folder)]
    print(f"   $ explore.py {' '.join(command[2:])}", flush=True)
    if subprocess.run(command, env=environment).returncode:
        raise Untrue(f"explore.py found differences in {dataset}, or ended early")


def tell_what_happened(kubernetes: Kubernetes, directory: Path) -> None:
    """What a person needs who looks for the reason: conditions, events and the ends of the logs."""
    for title, arguments in [
        ("conditions", ["get", KIND, CLUSTER, "-o", f"jsonpath={CONDITIONS}"]),
        ("events", ["get", "events", "--sort-by=.lastTimestamp"]),
    ]:
        print(f"\n{title}:", file=sys.stderr, flush=True)
        try:
            print(kubernetes.read(*arguments), file=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"kubectl: {error}", file=sys.stderr)
    logs = [*directory.rglob("*.log"), *directory.rglob("user_logs/*.txt")]
    for log in sorted(logs, key=lambda path: path.stat().st_mtime)[-8:]:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        print(f"\n{log}:", *lines, sep="\n  ", file=sys.stderr)


def tell_the_story(steps: Steps, workers: int, rows_per_month: int, directory: Path) -> None:
    real, generated = directory / "data" / "real", directory / "data" / "generated"
    with steps.step("prepare the data", "nothing: it is there"):
        for folder, kind in [(real, "real"), (generated, "generated")]:
            rows = isd_data.prepare(folder, kind, rows_per_month)
            print(f"   {folder}: {rows:,} rows")

    world_file = directory / "world.json"
    world_file.write_text(json.dumps(simulated.world(real, generated), indent=2))
    # What an interrupted demo left: its DaskCluster belongs to an Azure that is no more.
    shutil.rmtree(directory / "line", ignore_errors=True)
    line = Line(directory / "line", world=world_file, tell=lambda what: print(f"   {what}", flush=True))
    with steps.step("start Kubernetes, the simulated Azure and the operator", "nothing: they run"):
        line.start()
    environment = line.environment
    kubernetes = Kubernetes(environment)
    try:
        with steps.step("apply the manifest"):
            workspace = simulated.workspace_of(environment)
            kubernetes.apply(simulated.manifest(workers, workspace))

        with steps.step("wait until it is Ready", "5 to 10 minutes; 10 to 20 more to build the image, once"):
            patience = 300 + 15 * workers
            with kubernetes.watched("adsk"):
                kubernetes.show(
                    "wait", f"{KIND}/{CLUSTER}", "--for=condition=Ready", f"--timeout={patience}s"
                )
            kubernetes.show("get", "adsk", "-o", "wide")
            print(kubernetes.read("get", KIND, CLUSTER, "-o", f"jsonpath={CONDITIONS}").expandtabs(16))
            cluster = json.loads(kubernetes.read("get", KIND, CLUSTER, "-o", "json"))
            print(f"   status: {check_status(cluster['status'], workers)}")
            print(f"   Azure:  {check_everything_is_there(world(environment), workers)}")

        for dataset, folder in [("noaa-isd", real), (simulated.GENERATED["name"], generated)]:
            with steps.step(f"explore {dataset}", "depends on the data"):
                explore(environment, dataset, folder, directory / f"{dataset}.png")

        with steps.step("scale up and down while a client works", "3 minutes: nodes boot"):
            address = cluster["status"]["scheduler"]["address"]
            print(f"   {breathe(address, kubernetes.scale_to, [workers + 1, 1])}")
            print(f"   cost: {kubernetes.cost()}")

        before = world(environment)
        with steps.step("delete the cluster", "3 to 10 minutes"):
            kubernetes.show("delete", KIND, CLUSTER, "--wait", "--timeout=600s")
        with steps.step("look for what is left in Azure"):
            print(f"   {check_nothing_is_left(before, world(environment))}")
            print("   Data assets and environments stay: they are shared versions, and cost nothing.")
    except (Untrue, OSError, subprocess.CalledProcessError):
        tell_what_happened(kubernetes, directory)
        raise
    finally:
        line.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workers", type=int, default=3, help="worker nodes beside the head; the story has 39"
    )
    parser.add_argument(
        "--rows-per-month", type=int, default=20_000, help="of the generated set, which has 144 months"
    )
    parser.add_argument(
        "--directory", type=Path, default=ROOT / "run" / "demo", help="where data, plots and logs go"
    )
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    steps = Steps()
    try:
        tell_the_story(steps, arguments.workers, arguments.rows_per_month, arguments.directory)
    except (Untrue, NotStarted, OSError, subprocess.CalledProcessError) as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    steps.print_table()
    print(f"\nplots: {', '.join(str(path) for path in sorted(arguments.directory.glob('*.png')))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

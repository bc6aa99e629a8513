"""The chart on a real API server, and the operator under exactly the account, roles and flags that the chart gives it."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import NamedTuple

import yaml
from line.running import Line
from rendering import CHART, EVERYTHING, NAME, NAMESPACE, RELEASE, helm, objects, one
from support.azure import Azure
from support.clusters import Kubernetes, condition, eventually, manifest

HERE = Path(__file__).parent
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"
# Of the flags of the chart: those that this machine cannot give, and those that another branch brings.
LEFT_OUT = ("--metrics-listen=", "--leader-election=", "--lease-")


class Call(NamedTuple):
    group: str
    resource: str
    verb: str


class Installed(Line):
    """A line whose operator is the release's: the chart's CRD, account, roles and flags."""

    def _install(self) -> None:
        # The CRD by hand, as the chart before this one asked for it.
        super()._install()
        kubernetes = Kubernetes(self.environment)
        kubernetes.run("apply", "--server-side", "-f", str(HERE / "monitoring_crds.yaml"))
        kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": NAMESPACE,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                },
            }
        )
        self.helm("install", "--take-ownership")
        token = kubernetes.run("create", "token", "--namespace", NAMESPACE, "--duration=2h", NAME).strip()
        config = yaml.safe_load(Path(self.env["KUBECONFIG"]).read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path = self.directory / "operator-kubeconfig"
        path.write_text(yaml.safe_dump(config))
        self.operator_env = {"KUBECONFIG": str(path)}
        (container,) = one(objects(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"]
        self._operator_arguments += [each for each in container["args"][1:] if not each.startswith(LEFT_OUT)]

    def helm(self, command: str, *arguments: str, values: dict | None = None) -> str:
        given = yaml.safe_dump(EVERYTHING | (values or {}))
        chart = [RELEASE, str(CHART), "--values", "-"]
        whole = [command, *chart, "--namespace", NAMESPACE, *arguments]
        return helm(*whole, given=given, environment=self.environment)

    def calls(self) -> tuple[set[Call], list[dict]]:
        """What the operator asked the API server for, and what of it was refused. Watches are in it once they have
        ended, so once the operator has."""
        made, refused = set(), []
        for line in (self.directory / "control-plane" / "audit.log").read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] != ACCOUNT or "objectRef" not in event:
                continue
            about = event["objectRef"]
            resource = "/".join(filter(None, [about["resource"], about.get("subresource")]))
            made.add(Call(about.get("apiGroup", ""), resource, event["verb"]))
            if event.get("responseStatus", {}).get("code") == 403:
                refused.append(event)
        return made, refused


class Stage:
    """The line, and what the tests do with it."""

    def __init__(self, line: Installed):
        self.line = line
        self.kubernetes = Kubernetes(line.environment)
        self.azure = Azure(line.env)

    def apply(self, name: str, changes: dict) -> None:
        self.kubernetes.apply(manifest(name, self.line.env, changes))

    def until(self, name: str, kind: str, status: str) -> None:
        """Returns when the condition has that status."""
        eventually(
            lambda: condition(self.kubernetes.cluster(name), kind)["status"] == status,
            seconds=90,
            otherwise=lambda: self.kubernetes.cluster(name).get("status"),
        )

    def until_left(self, name: str) -> None:
        eventually(
            lambda: name not in self.kubernetes.clusters(),
            seconds=60,
            otherwise=lambda: self.kubernetes.cluster(name).get("status"),
        )

    def scrape(self) -> str:
        address = self.line.env["DASK_AZUREML_OPERATOR_METRICS"]
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def resident_mebibytes(self) -> float:
        """Memory of the operator's process."""
        status = Path(f"/proc/{self.line.processes['operator'].pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def samples(scrape: str) -> dict[str, str]:
    """Series and value of each line, as Prometheus keeps them: with the labels of the target."""
    target = f'pod="operator-1",job="{NAMESPACE}/{NAME}"'
    found = {}
    for line in scrape.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line).groups()
            labels = labels or ""
            # Labels of the series win, as honorLabels has it.
            if not re.search(r'(^|,)namespace="', labels):
                labels = ",".join(filter(None, [labels, f'namespace="{NAMESPACE}"']))
            found[f"{name}{{{labels},{target}}}"] = value
    return found


def kubectl(line: Line, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kubectl", *arguments], env=line.environment, capture_output=True, text=True, timeout=60
    )

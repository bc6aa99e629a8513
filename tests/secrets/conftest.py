"""One line whose operator logs all that it can, and what was secret on it."""

import base64
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from line.running import Line
from support.azure import Azure
from support.clusters import Kubernetes

# Azure's own durations, so many times faster.
TIME_SCALE = 120
# What is shorter is found by chance.
SHORTEST = 16


class Stage:
    def __init__(self, line: Line, folder: Path):
        self.line = line
        self.azure = Azure(line.env)
        self.kubernetes = Kubernetes(line.environment)
        self.log = line.directory / "operator.log"
        self.filter = folder / "filter"

    def lines(self) -> list[dict]:
        """What the operator has logged so far: an object a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def secrets(self) -> set[str]:
        """Everything secret that was in use, in each form in which it might be told."""
        with urllib.request.urlopen(f"{self.line.env['AZURE_SIMULATOR_CONTROL']}/secrets", timeout=10) as answer:
            plain = set(json.loads(answer.read()))
        plain.add(self.line.env["AZURE_CLIENT_SECRET"])
        secrets = json.loads(self.kubernetes.run("get", "secrets", "-A", "-o", "json"))["items"]
        for secret in secrets:
            for key, value in secret.get("data", {}).items():
                # Certificates and ids are told to everybody.
                if key.upper().endswith(("TOKEN", "SECRET", "PASSWORD", "KEY")):
                    plain |= {value, base64.b64decode(value).decode()}
        kubeconfig = Path(self.line.env["KUBECONFIG"]).read_text()
        plain |= set(re.findall(r"(?:client-key-data|token): (\S+)", kubeconfig))
        every = plain | {urllib.parse.unquote(secret) for secret in plain}
        return {secret for secret in every if len(secret) >= SHORTEST}

    def told(self) -> dict[str, str]:
        """All that the operator shows to others, by where."""
        kinds = ["daskclusters", "events.events.k8s.io", "services", "endpointslices"]
        told = {kind: self.kubernetes.run("get", kind, "-A", "-o", "json") for kind in kinds}
        metrics = f"{self.line.env['DASK_AZUREML_OPERATOR_METRICS']}/metrics"
        with urllib.request.urlopen(metrics, timeout=10) as answer:
            told["metrics"] = answer.read().decode()
        told["log"] = self.log.read_text()
        return told


def found(told: dict[str, str], secrets: set[str]) -> list[str]:
    """Where a secret is told: the place, and a little of what stands around it."""
    return [
        f"{place}: ...{text[max(0, at - 160) : at]}[{secret[:6]}...]"
        for place, text in told.items()
        for secret in secrets
        if (at := text.find(secret)) >= 0
    ]


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("secrets")
    world = folder / "world.json"
    environments = [{"image": "registry.example/no-python:1", "python": False}]
    world.write_text(json.dumps({"time_scale": TIME_SCALE, "tells_secrets": True, "environments": environments}))
    (folder / "filter").write_text("trace\n")
    arguments = ["--log-format", "json", "--log-filter-file", str(folder / "filter"), "--resync-seconds", "5"]
    with Line(folder / "line", world=world, operator_arguments=arguments) as line:
        yield Stage(line, folder)

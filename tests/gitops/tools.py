"""What Flux and Argo CD make of an object, asked of their own libraries."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import yaml
from line import go_tools
from line.running import REPOSITORY

ARGO_CD = REPOSITORY / "gitops/argo-cd/resource_customizations/azureml.dask.dev/DaskCluster"
FLUX = REPOSITORY / "gitops/flux/dask.yaml"


class Told(NamedTuple):
    """What the tools say of one object."""

    kstatus: str
    # What Flux's expressions say; empty where they cannot be evaluated yet.
    flux: str
    # Argo CD's health.
    health: str
    message: str


def told(objects: list[dict]) -> list[Told]:
    """What is said of each of these DaskClusters."""
    expressions = yaml.safe_load(FLUX.read_text())["spec"]["healthCheckExprs"][0]
    health = (ARGO_CD / "health.lua").read_text()
    asked = [{}, {"expressions": expressions}, {"lua": health}]
    answers = iter(_ask([{"object": each} | more for each in objects for more in asked]))
    return [
        Told(kstatus["status"], flux.get("status", ""), lua["returned"]["status"], lua["returned"]["message"])
        for kstatus, flux, lua in zip(answers, answers, answers, strict=True)
    ]


def script(path: Path, of: dict) -> dict:
    """What a script of Argo CD returns for an object."""
    (answer,) = _ask([{"object": of, "lua": path.read_text()}])
    assert "error" not in answer, answer["error"]
    return answer["returned"]


def _ask(requests: list[dict]) -> list[dict]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([str(go_tools.gitops())], input=lines, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]

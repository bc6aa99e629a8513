"""The chart as helm renders it."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml
from line import go_tools
from line.running import REPOSITORY

CHART = REPOSITORY / "charts" / "dask-azureml-operator"
# What has no default, and everything that is off by default.
REQUIRED = {"image": {"repository": "registry.example/operator"}}
EVERYTHING = REQUIRED | {
    "metrics": {"podMonitor": {"enabled": True}},
    "alerts": {"enabled": True, "runbookUrl": "https://runbooks.example"},
    "dashboards": {"enabled": True},
}
RELEASE, NAMESPACE = "dask", "operators"
NAME = f"{RELEASE}-dask-azureml-operator"


class HelmFailed(Exception):
    """What helm told."""


def helm(*arguments: str, given: str | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(go_tools.find(go_tools.HELM)), *arguments],
        input=given,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise HelmFailed(done.stderr)
    return done.stdout


def text(values: dict) -> str:
    """All manifests with these values, as text."""
    return _text(yaml.safe_dump(values))


@functools.cache
def _text(values: str) -> str:
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-", given=values)


def objects(values: dict) -> list[dict]:
    loaded = yaml.load_all(text(values), Loader=yaml.CSafeLoader)
    return [document for document in loaded if document]


def of_kind(rendered: list[dict], kind: str) -> list[dict]:
    return [each for each in rendered if each["kind"] == kind]


def one(rendered: list[dict], kind: str) -> dict:
    (found,) = of_kind(rendered, kind)
    return found


def rules(rendered: list[dict]) -> Iterator[dict]:
    for group in one(rendered, "PrometheusRule")["spec"]["groups"]:
        yield from group["rules"]


def dashboards() -> list[Path]:
    return sorted((CHART / "files" / "dashboards").glob("*.json"))

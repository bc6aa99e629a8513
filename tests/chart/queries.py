"""The queries of alerts and dashboards, and the metrics in them."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from line.running import REPOSITORY
from rendering import dashboards, rules

# Metrics of the process itself, which come with the library.
OF_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
# What Prometheus and the PodMonitor add, and histograms have.
ADDED_LABELS = {"namespace", "pod", "job", "instance", "le", "alertname", "name"}


class Query(NamedTuple):
    where: str
    expression: str


def of_alerts(rendered: list[dict]) -> Iterator[Query]:
    for rule in rules(rendered):
        yield Query(rule["alert"], rule["expr"])


def of_dashboards() -> Iterator[Query]:
    """With Grafana's variables filled in."""
    for path in dashboards():
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield Query(f"{path.stem}: {panel['title']}", _filled(target["expr"]))


def _filled(expression: str) -> str:
    replaced = expression.replace("$__rate_interval", "5m")
    return re.sub(r'(=~?)"\$\w+"', r'=~".*"', replaced)


def variables(board: dict) -> set[str]:
    return {variable["name"] for variable in board["templating"]["list"]}


def metrics(expression: str) -> set[str]:
    """By the names that the page of metrics gives them."""
    named = set(re.findall(r"\b(?:dask_azureml|daskcluster|process)_[a-z0-9_]+", expression))
    return {metric(name) for name in named}


def metric(series: str) -> str:
    """The metric of a series, by the name that the page of metrics gives it."""
    return re.sub(r"_(bucket|sum|count)$", "", series.split("{")[0])


def labels(expression: str) -> set[str]:
    """All that are named in it."""
    matchers = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression)
    grouped = re.findall(r"\b(?:by|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression)
    return set(matchers) | {label.strip() for group in grouped for label in group.split(",") if label.strip()}


def documented() -> dict[str, set[str]]:
    """The metrics of docs/metrics.md with their labels."""
    found = {}
    for line in (REPOSITORY / "docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = set(re.findall(r"`(\w+)`", cells[2]))
    return found

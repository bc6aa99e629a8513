"""Values, their schema, their page in the README, and that each of them does something."""

import copy
import json
import re
import subprocess
from pathlib import Path

import pytest
import values_page
import yaml
from line.running import binary
from rendering import CHART, EVERYTHING, HelmFailed, helm, objects, one, text

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
EVERY = yaml.safe_load((Path(__file__).parent / "every_value.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def merged(base: dict, changes: dict) -> dict:
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def at(values: dict, path: tuple[str, ...]) -> object:
    for key in path:
        values = values[key]
    return values


def only(path: tuple[str, ...], value: object) -> dict:
    for key in reversed(path):
        value = {key: value}
    return value


PATHS = [
    each.path for each in values_page.values((CHART / "values.yaml").read_text()) if each.default is not None
]


def test_helm_finds_nothing_to_say_of_the_chart(tmp_path):
    for values in (EVERYTHING, EVERY):
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        told = helm("lint", "--strict", str(CHART), "--values", str(tmp_path / "values.yaml"))
        said = [line for line in told.splitlines() if re.match(r"\[(WARNING|ERROR)", line)]
        assert not said, told


def test_the_page_of_the_values_is_current_and_says_what_each_is_for():
    readme, values = (CHART / "README.md").read_text(), (CHART / "values.yaml").read_text()
    assert values_page.with_values(readme, values) == readme, "run `make generate`"
    silent = [".".join(each.path) for each in values_page.values(values) if not each.meaning]
    assert not silent, silent


def test_the_schema_has_the_values_of_the_chart_and_no_others():
    def properties(schema: dict, above: tuple[str, ...]) -> set[tuple[str, ...]]:
        found = set()
        for key, value in schema["properties"].items():
            path = (*above, key)
            nested = "properties" in value and path != ("resources",)
            found |= properties(value, path) if nested else {path}
        return found

    assert properties(SCHEMA, ()) - {("global",)} == set(PATHS)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"alerts": {"thresholds": {"noLeaderFor": "soon"}}}, "noLeaderFor"),
        ({"alerts": {"thresholds": {"notReadySecond": 1}}}, "notReadySecond"),
        ({"alerts": {"disabled": ["DaskClusterTypo"]}}, "disabled"),
        ({"extraArgs": ["resync-seconds=120"]}, "extraArgs"),
        ({"networkPolicy": {"schedulerCidrs": ["10.0.0.0"]}}, "schedulerCidrs"),
        ({"image": {"repository": ""}}, "image.repository"),
        ({"leaderElection": False}, "leaderElection: false is for one replica"),
        ({"serviceAccount": {"create": False}}, r"serviceAccount\.name"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(wrong, told):
    with pytest.raises(HelmFailed, match=told):
        text(merged(EVERYTHING, wrong))


def test_every_value_is_set_once_and_to_something_else():
    for path in PATHS:
        assert at(EVERY, path) != at(DEFAULTS, path) or path == ("leaderElection",), path


# What else it takes for a value to show.
WITH = {
    ("leaderElection",): {"replicas": 1},
    ("serviceAccount", "create"): {"serviceAccount": {"name": "given"}},
}
# Nothing is rendered with their defaults.
REQUIRED_PATHS = (("image", "repository"), ("alerts", "runbookUrl"))


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_each_value_by_itself_changes_what_is_rendered(path):
    base = merged(EVERYTHING, WITH.get(path, {}))
    if path not in REQUIRED_PATHS:
        base = merged(base, only(path, at(DEFAULTS, path)))
    value = False if path == ("leaderElection",) else at(EVERY, path)
    assert text(merged(base, only(path, value))) != text(base)


def test_every_value_at_once_is_rendered_and_shows():
    rendered = text(EVERY)
    for path in PATHS:
        value = at(EVERY, path)
        if path[:2] == ("alerts", "thresholds"):
            assert str(value) in rendered, path


def test_the_operator_knows_every_flag_that_the_chart_gives_it():
    told = subprocess.run([binary("dask-azureml-operator"), "run", "--help"], capture_output=True, text=True)
    known = set(re.findall(r"--[a-z-]+", told.stdout))
    for values in (EVERYTHING, EVERY):
        (container,) = one(objects(values), "Deployment")["spec"]["template"]["spec"]["containers"]
        given = {argument.split("=")[0] for argument in container["args"][1:]}
        assert given <= known, given - known

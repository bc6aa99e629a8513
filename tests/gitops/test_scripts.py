"""Argo CD's scripts on objects of real runs, in the layout that its own repository asks for and runs."""

import pytest
import yaml
from tools import ARGO_CD, script

HEALTH = yaml.safe_load((ARGO_CD / "health_test.yaml").read_text())["tests"]
ACTIONS = yaml.safe_load((ARGO_CD / "actions/action_test.yaml").read_text())


@pytest.mark.parametrize("case", HEALTH, ids=lambda case: case["inputPath"])
def test_health(case):
    of = yaml.safe_load((ARGO_CD / case["inputPath"]).read_text())
    assert script(ARGO_CD / "health.lua", of) == case["healthStatus"]


@pytest.mark.parametrize("case", ACTIONS["discoveryTests"], ids=lambda case: case["inputPath"])
def test_which_actions_are_offered(case):
    of = yaml.safe_load((ARGO_CD / "actions" / case["inputPath"]).read_text())
    offered = script(ARGO_CD / "actions/discovery.lua", of)
    expected = {action["name"]: {"disabled": action["disabled"]} for action in case["result"]}
    assert offered == expected


@pytest.mark.parametrize("case", ACTIONS["actionTests"], ids=lambda case: case["action"])
def test_what_an_action_changes(case):
    folder = ARGO_CD / "actions"
    of = yaml.safe_load((folder / case["inputPath"]).read_text())
    expected = yaml.safe_load((folder / case["expectedOutputPath"]).read_text())
    assert script(folder / case["action"] / "action.lua", of) == expected
    assert of != expected

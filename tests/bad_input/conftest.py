"""One line on which every wrong manifest is applied at once: they do not meet."""

import json
import os
import sys
from pathlib import Path

import pytest
from line.running import Line
from support.azure import Azure
from support.clusters import Kubernetes

DATA = "https://weather.blob.core.windows.net/isd/"
# Azure's own durations, so many times faster.
TIME_SCALE = 120


class Stage:
    """The line with what others have on it already."""

    def __init__(self, line: Line, folder: Path):
        self.line = line
        self.folder = folder
        self.azure = Azure(line.env)
        self.kubernetes = Kubernetes(line.environment)

    def secret(self, name: str, **changes: str | None) -> dict:
        keys = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        data = {key: self.line.env[key] for key in keys} | changes
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "stringData": {key: value for key, value in data.items() if value is not None},
        }


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad-input")
    for name in ("data", "not-empty", "bare", "hanging"):
        (folder / name).mkdir()
    (folder / "not-empty" / "keep").write_text("somebody's")
    # Below a file not even root can make a folder.
    (folder / "file").write_text("somebody's")
    (folder / "hanging" / "python").write_text("#!/bin/sh\nexec sleep 1000\n")
    (folder / "hanging" / "python").chmod(0o755)
    # A Python without any package.
    (folder / "bare" / "python").symlink_to(os.path.realpath(sys.executable))
    world = folder / "world.json"
    world.write_text(
        json.dumps(
            {
                "time_scale": TIME_SCALE,
                "workspaces": [
                    {"name": "ws-dask"},
                    {"name": "ws-managed", "managed_network": "AllowInternetOutbound"},
                ],
                "data": [{"uri": DATA, "path": str(folder / "data")}],
                "environments": [
                    {"image": "registry.example/no-python:1", "python": False},
                    {"image": "registry.example/no-dask:1", "path": str(folder / "bare")},
                    {"image": "registry.example/hanging:1", "path": str(folder / "hanging")},
                ],
            }
        )
    )
    with Line(folder / "line", world=world) as line:
        yield Stage(line, folder)

"""A simulator of its own, and where Microsoft's clients find it."""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from line import process
from line.running import binary, read_exports

# Seconds: it takes one, but a machine that builds beside it takes its time.
START_DEADLINE = 60.0
GRACE = 10.0


class Simulator:
    """A running simulator in a folder, with `env` as it wrote it."""

    def __init__(self, folder: Path, world: dict):
        self.folder = folder.absolute()
        (self.folder / "world.json").write_text(json.dumps(world))
        log = self.folder.with_suffix(".log")
        command = [binary("azure-simulator"), "serve", "--directory", str(self.folder)]
        self._process = process.start(
            [*command, "--world", str(self.folder / "world.json")], log, os.environ
        )
        deadline = time.monotonic() + START_DEADLINE
        while not (self.folder / "env").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"the simulator did not start:\n{log.read_text()}")
            time.sleep(0.05)
        self.env = read_exports(self.folder / "env")
        self.arm = self.env["AZURE_RESOURCE_MANAGER_ENDPOINT"].rstrip("/")
        self.authority = self.env["AZURE_AUTHORITY_HOST"]
        self.subscription = self.env["AZURE_SUBSCRIPTION_ID"]
        self.group = self.env["AZURE_RESOURCE_GROUP"]
        self.workspace = self.env["AZURE_ML_WORKSPACE"]

    @property
    def port(self) -> str:
        return self.arm.rpartition(":")[2]

    @property
    def workspace_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/"
            f"Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    def control(self, path: str, method: str = "GET", body: object = None) -> str:
        """The answer of the control port."""
        data = None if body is None else json.dumps(body).encode()
        url = self.env["AZURE_SIMULATOR_CONTROL"] + path
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read().decode()

    def exchanges(self) -> list[dict]:
        return [json.loads(line) for line in self.control("/exchanges").splitlines()]

    def end(self) -> None:
        process.stop(self._process, GRACE)


def sdk_python() -> Path:
    """The folder of the Python that these tests run on: jobs get it too."""
    return Path(sys.executable).parent

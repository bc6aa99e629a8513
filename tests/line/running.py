"""Starts control plane, simulator and operator, and ends them together."""

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from line import control_plane_build, process, python_environment

REPOSITORY = Path(__file__).parents[2]
CREDENTIALS = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
CREDENTIALS_SECRET = "azure-credentials"
# In the order in which they end: nobody works on what is gone.
PARTS = ("operator", "simulator", "control-plane")

# Seconds: each takes a few, but a machine that builds beside it takes its time.
START_DEADLINE = 180.0
# Seconds for a part to end by itself.
GRACE = 15.0
FREE_PORT = "127.0.0.1:0"


class NotStarted(Exception):
    """A part of the line did not start; the message holds the end of its log."""


class Line:
    """A control plane, a simulator and an operator in one folder: their files and logs.

    To be started from a thread that lives as long as the line should, best the main one: the parts
    end with it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        world: Path | None = None,
        simulator_arguments: Sequence[str] = (),
        operator_arguments: Sequence[str] = (),
        audit: bool = False,
        tell: Callable[[str], None] = lambda message: None,
    ):
        """`world` is a world file of the simulator; `tell` gets a line a step. With `audit` the API server
        writes down who asked for what."""
        self.directory = directory.absolute()
        self.env: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._simulator_arguments = [*(["--world", str(world)] if world else []), *simulator_arguments]
        self._operator_arguments = list(operator_arguments)
        self._audit = audit
        self._tell = tell

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, with `env` over it: for programs that work on the line."""
        return os.environ | self.env

    def start(self) -> None:
        """Returns once everything can be used, and `env` holds the variables that lead to it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            self._log(part).unlink(missing_ok=True)
        kubectl, python = control_plane_build.kubectl(), python_environment.python()
        self.env["PATH"] = os.pathsep.join(
            [str(python.parent), str(kubectl.parent), os.environ.get("PATH", os.defpath)]
        )
        self.env["KUBECONFIG"] = str(self.directory / "control-plane" / "kubeconfig")
        try:
            self._tell("start the Kubernetes control plane and the simulator")
            self._launch_control_plane()
            self._launch_simulator()
            self._await("control-plane", Path(self.env["KUBECONFIG"]))
            self._await("simulator", self.directory / "simulator" / "env")
            self.env |= read_exports(self.directory / "simulator" / "env")
            self._tell("install the CustomResourceDefinitions and the Secret of the credentials")
            self._install()
            self._tell("start the operator")
            self.start_operator()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every part, the operators first; what is ended already is no error."""
        others = [name for name in self.processes if name not in PARTS]
        for name in (*others, *PARTS):
            if part := self.processes.pop(name, None):
                process.stop(part, GRACE)

    def start_operator(self) -> None:
        """Starts the operator, or starts it again after `kill_operator`."""
        self.env["DASK_AZUREML_OPERATOR_METRICS"] = self.start_one_operator("operator")

    def start_one_operator(self, pod: str, *arguments: str) -> str:
        """Starts one of several operators, which is told what its pod is called. Where it serves its metrics."""
        address = self.directory / f"{pod}-metrics-address"
        address.unlink(missing_ok=True)
        command = [binary("dask-azureml-operator"), "run", "--metrics-listen", FREE_PORT, "--pod-name", pod]
        command += ["--metrics-address-file", str(address), *self._operator_arguments, *arguments]
        self._launch(pod, command)
        self._await(pod, address)
        return _http_url(address.read_text().strip())

    def kill_operator(self) -> None:
        """Ends the operator alone, by SIGKILL: nothing is finished, nothing is told."""
        process.kill(self.processes.pop("operator"))

    def restart_simulator(self) -> None:
        """Kills the simulator, and returns when it serves again at the same addresses: an Azure that
        has forgotten everything."""
        process.kill(self.processes.pop("simulator"))
        self._launch_simulator(
            _authority(self.env["AZURE_RESOURCE_MANAGER_ENDPOINT"]),
            _authority(self.env["AZURE_SIMULATOR_CONTROL"]),
        )
        self._await("simulator", self.directory / "simulator" / "env")

    def restart_api_server(self) -> None:
        """Kills the API server alone, and returns when it serves again on the same port."""
        pids = self.directory / "control-plane" / "pids"
        before = pids.read_text()
        self.processes["control-plane"].send_signal(signal.SIGHUP)
        self._await("control-plane", pids, lambda: pids.read_text() != before)

    def _launch_control_plane(self) -> None:
        command = [control_plane_build.launcher(), "--directory", self.directory / "control-plane"]
        command += ["--audit"] if self._audit else []
        Path(self.env["KUBECONFIG"]).unlink(missing_ok=True)
        self._launch("control-plane", list(map(str, command)))

    def _launch_simulator(self, listen: str = FREE_PORT, control: str = FREE_PORT) -> None:
        folder = self.directory / "simulator"
        folder.mkdir(exist_ok=True)
        (folder / "env").unlink(missing_ok=True)
        command = [binary("azure-simulator"), "serve", "--listen", listen, "--control", control]
        command += ["--directory", str(folder), *self._simulator_arguments]
        self._launch("simulator", command)

    def _launch(self, name: str, command: list[str]) -> None:
        try:
            self.processes[name] = process.start(command, self._log(name), self.environment)
        except OSError as error:
            raise NotStarted(f"{name}: {error}") from error

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _await(self, name: str, path: Path, holds: Callable[[], bool] | None = None) -> None:
        """Waits for the file that a part writes last, or for what `holds` says of it."""
        holds = holds or path.exists
        deadline = time.monotonic() + START_DEADLINE
        while not holds():
            ended = self.processes[name].poll()
            if ended is not None or time.monotonic() > deadline:
                why = f"ended with exit code {ended}" if ended is not None else f"wrote no {path} in time"
                raise NotStarted(f"{name} {why}; the end of its log:\n{self._end_of_log(name)}")
            time.sleep(0.05)

    def _end_of_log(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join(lines[-25:])

    def _install(self) -> None:
        definitions = str(REPOSITORY / "crds")
        self._kubectl("apply", "--server-side", "-f", definitions)
        self._kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", definitions)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": CREDENTIALS_SECRET, "namespace": "default"},
            "stringData": {name: self.env[name] for name in CREDENTIALS},
        }
        self._kubectl("apply", "--server-side", "-f", "-", standard_input=json.dumps(secret))

    def _kubectl(self, *arguments: str, standard_input: str | None = None) -> None:
        done = subprocess.run(
            ["kubectl", *arguments],
            env=self.environment,
            input=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise NotStarted(f"kubectl {' '.join(arguments)}: {done.stdout}")


def read_exports(path: Path) -> dict[str, str]:
    """The variables of a file of shell lines `export NAME='VALUE'`."""
    exports = {}
    for line in path.read_text().splitlines():
        match shlex.split(line, comments=True):
            case ["export", assignment]:
                name, _, value = assignment.partition("=")
                exports[name] = value
            case []:
                pass
            case _:
                raise ValueError(f"{path}: not an export: {line!r}")
    return exports


def binary(name: str) -> str:
    """A program of the workspace, built by `make build`, in `DASK_AZUREML_BIN` or where cargo puts
    it."""
    given = os.environ.get("DASK_AZUREML_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = Path(given) / name if given else target / "debug" / name
    if not path.exists():
        raise NotStarted(f"there is no {path}: `make build` builds it")
    return str(path.absolute())


def _authority(url: str) -> str:
    """`HOST:PORT` of a URL."""
    return urllib.parse.urlsplit(url).netloc


def _http_url(address: str) -> str:
    return address if "://" in address else f"http://{address}"

"""`make up` and `make down`: a line that goes on in the background for a person to play with.

`up` starts a supervisor, which starts the line, writes `pids.json` and `env`, and waits. It is the
parent of everything, so that everything ends with it, however it ends.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from line import process
from line.long_step import StepFailed
from line.process import Identity
from line.running import GRACE, Line, NotStarted

# Seconds between two looks whether a part has ended by itself.
WATCH_INTERVAL = 1.0


def up(directory: Path, simulator_arguments: list[str], operator_arguments: list[str]) -> int:
    """Starts a line in the background. The exit code for the shell."""
    directory = directory.absolute()
    if any(identity.runs() for identity in _recorded(directory).values()):
        print(f"A line runs in {directory} already; `make down` ends it.", file=sys.stderr)
        print(_how_to_use(directory), file=sys.stderr)
        return 1
    directory.mkdir(parents=True, exist_ok=True)
    _forget(directory)
    command = [sys.executable, "-m", "line", "supervise", "--directory", str(directory)]
    command += [f"--simulator-arguments={shlex.join(simulator_arguments)}"]
    command += [f"--operator-arguments={shlex.join(operator_arguments)}"]
    with (directory / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    assert supervisor.stdout is not None
    try:
        # The supervisor tells its steps, and closes its output once everything runs.
        for step in supervisor.stdout:
            print(step, end="", flush=True)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        return 130
    if not (directory / "env").exists():
        supervisor.wait()
        print((directory / "supervisor.log").read_text(), file=sys.stderr)
        return 1
    print(_how_to_use(directory))
    return 0


def down(directory: Path) -> int:
    """Ends exactly what `up` started. The exit code for the shell."""
    directory = directory.absolute()
    recorded = _recorded(directory)
    running = [name for name, identity in recorded.items() if identity.runs()]
    if not running:
        print(f"No line runs in {directory}.")
    elif "supervisor" in running:
        recorded["supervisor"].end(3 * GRACE + 5)
    for name, identity in recorded.items():
        if name != "supervisor":
            # They end with the supervisor; only a moment may lie between.
            identity.end(GRACE)
    _forget(directory)
    if running:
        print(f"Ended: {', '.join(sorted(running))}.")
    return 0


def supervise(directory: Path, simulator_arguments: list[str], operator_arguments: list[str]) -> int:
    """The process behind `up`."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _interrupt(ended))
    line = Line(
        directory,
        simulator_arguments=simulator_arguments,
        operator_arguments=operator_arguments,
        tell=lambda step: print(f"  {step}", flush=True),
    )
    # From now on a second `up` sees this one, and `down` ends it.
    _record(directory, {})
    try:
        line.start()
        _record(directory, line.processes)
        _write_env(directory, line.env)
        _close_standard_output()
        _watch(line, ended)
    except (NotStarted, StepFailed) as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    finally:
        # A second signal must not break off what the first one asked for.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        line.stop()
        _forget(directory)
    return 0


def _interrupt(ended: threading.Event) -> None:
    ended.set()
    raise KeyboardInterrupt


def _watch(line: Line, ended: threading.Event) -> None:
    """Notes a part that ends by itself, and leaves the others to be looked at."""
    noted: set[str] = set()
    while not ended.wait(WATCH_INTERVAL):
        for name, part in line.processes.items():
            if part.poll() is not None and name not in noted:
                noted.add(name)
                at = time.strftime("%H:%M:%S")
                print(f"{at} {name} ended with exit code {part.returncode}", file=sys.stderr, flush=True)


def _close_standard_output() -> None:
    """Tells `up` that everything runs."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _record(directory: Path, parts: dict[str, subprocess.Popen[bytes]]) -> None:
    identities = {"supervisor": Identity.of(os.getpid())}
    identities |= {name: Identity.of(part.pid) for name, part in parts.items()}
    content = {name: asdict(identity) for name, identity in identities.items()}
    _write_at_once(directory / "pids.json", json.dumps(content, indent=2) + "\n")


def _recorded(directory: Path) -> dict[str, Identity]:
    try:
        content = json.loads((directory / "pids.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: Identity(**identity) for name, identity in content.items()}


def _forget(directory: Path) -> None:
    for name in ("env", "pids.json"):
        (directory / name).unlink(missing_ok=True)


def _write_env(directory: Path, variables: dict[str, str]) -> None:
    before = os.environ.get("PATH", os.defpath)
    lines = []
    for name, value in sorted(variables.items()):
        if name == "PATH":
            # In front of the PATH of the shell that reads the file, whatever that one is.
            added = value.removesuffix(before)
            lines.append(f'export PATH={shlex.quote(added)}"$PATH"')
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    _write_at_once(directory / "env", "\n".join(lines) + "\n")


def _write_at_once(path: Path, content: str) -> None:
    """Readable by this user alone: the simulator's client secret is in it."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(content)
    unfinished.rename(path)


def _how_to_use(directory: Path) -> str:
    variables = {}
    try:
        for text in (directory / "env").read_text().splitlines():
            name, _, value = text.removeprefix("export ").partition("=")
            variables[name] = value.strip("'")
    except FileNotFoundError:
        return "It is still starting, or it is ending."
    where = os.path.relpath(directory)
    return f"""
Everything runs. In each shell that is to use it:

  . {where}/env
  kubectl explain daskcluster.spec
  kubectl get adsk --all-namespaces

A first DaskCluster: README.md, "A first manifest"

Pages:
  {variables.get("AZURE_SIMULATOR_CONTROL")}/            the simulated Azure: pools, jobs, requests, money
  {variables.get("AZURE_SIMULATOR_CONTROL")}/world       what exists in it, as JSON
  {variables.get("AZURE_SIMULATOR_CONTROL")}/exchanges   every request to it and its answer
  {variables.get("DASK_AZUREML_OPERATOR_METRICS")}/metrics     the operator's metrics
  the dashboard of a DaskCluster: kubectl get adsk -o wide
  the run of a DaskCluster's head: kubectl get adsk NAME -o 'jsonpath={{.status.run.studioUrl}}'

Logs are {where}/*.log; `make down` ends everything."""

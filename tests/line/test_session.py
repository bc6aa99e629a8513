"""`make up` and `make down` on the real programs."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from line.process import Identity
from line.running import read_exports

PARTS = {"supervisor", "control-plane", "simulator", "operator"}


def session(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "line", command, "--directory", str(directory)],
        capture_output=True,
        text=True,
        timeout=600,
    )


def recorded(directory: Path) -> dict[str, Identity]:
    content = json.loads((directory / "pids.json").read_text())
    return {name: Identity(**fields) for name, fields in content.items()}


def until_ended(identities: list[Identity]) -> None:
    deadline = time.monotonic() + 60
    while any(identity.runs() for identity in identities):
        assert time.monotonic() < deadline, "not in time: every part ends"
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "a folder's name"
    done = session("up", directory)
    assert done.returncode == 0, done.stderr
    yield directory
    session("down", directory)


def test_what_is_up_can_be_used_by_a_shell_that_reads_env(running: Path) -> None:
    script = """
        . "$1"
        kubectl get secret azure-credentials -o 'jsonpath={.data}' &&
        kubectl get crd daskclusters.azureml.dask.dev -o name &&
        python -c 'import distributed' &&
        python - <<'END'
import os, urllib.request
for name, path in [("AZURE_SIMULATOR_CONTROL", "/healthz"), ("DASK_AZUREML_OPERATOR_METRICS", "/metrics")]:
    urllib.request.urlopen(os.environ[name] + path, timeout=30).close()
END
    """
    bare = {name: os.environ[name] for name in ("PATH", "HOME")}
    command = ["sh", "-ec", script, "sh", str(running / "env")]
    done = subprocess.run(command, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    credentials, definition = done.stdout.splitlines()[0].split("customresource")
    assert set(json.loads(credentials)) == {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"}
    assert definition


def test_the_file_with_the_credentials_is_readable_by_its_user_alone(running: Path) -> None:
    assert (running / "env").stat().st_mode & 0o077 == 0
    assert "AZURE_CLIENT_SECRET" in read_exports(running / "env")


def test_a_second_up_says_that_one_runs_and_where_its_pages_are_and_leaves_it_alone(running: Path) -> None:
    before = recorded(running)
    again = session("up", running)
    assert again.returncode == 1
    assert "runs in" in again.stderr
    pages = re.findall(r"^  (http\S+)", again.stderr, re.MULTILINE)
    assert len(pages) == 4, again.stderr
    for page in pages:
        urllib.request.urlopen(page, timeout=30).close()
    assert recorded(running) == before
    assert all(identity.runs() for identity in before.values())


def test_down_ends_what_up_started(running: Path) -> None:
    parts = recorded(running)
    assert set(parts) == PARTS
    assert session("down", running).returncode == 0
    until_ended(list(parts.values()))
    assert not (running / "env").exists()
    assert "No line runs" in session("down", running).stdout


def test_everything_ends_when_the_supervisor_is_killed(running: Path) -> None:
    parts = recorded(running)
    os.kill(parts["supervisor"].pid, 9)
    until_ended(list(parts.values()))


def test_down_leaves_a_process_alone_that_got_the_id_of_a_part(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        real = Identity.of(other.pid)
        earlier = {"pid": real.pid, "started": real.started - 1, "boot": real.boot}
        (tmp_path / "pids.json").write_text(json.dumps({"operator": earlier}))
        assert "No line runs" in session("down", tmp_path).stdout
        assert other.poll() is None
        other.kill()

"""The control plane's launcher, as tests and `make up` rely on it. `DASK_AZUREML_CONTROL_PLANE`
names it, and kubectl is in the PATH: `python -m line run -- python -m pytest tests/control-plane`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LAUNCHER = os.environ["DASK_AZUREML_CONTROL_PLANE"]
DEADLINE = 120.0

# A parent that tells the process it started, and waits for it.
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
child.wait()
"""


class ControlPlane:
    """A running control plane in a folder."""

    def __init__(self, directory: Path, *arguments: str):
        self.directory = directory
        command = [LAUNCHER, "--directory", str(directory), *arguments]
        self.launcher = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def await_ready(self) -> None:
        assert self.launcher.stdout.readline() == "ready\n"

    def pids(self) -> dict[str, int]:
        return json.loads((self.directory / "pids").read_text())

    def kubectl(self, *arguments: str, standard_input: str | None = None) -> str:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.directory / "kubeconfig"), *arguments],
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def exists(self, *arguments: str) -> bool:
        return self.kubectl("get", "--ignore-not-found", "-o", "name", *arguments) != ""

    def end(self) -> None:
        self.launcher.terminate()
        self.launcher.wait(DEADLINE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("shared"), "--audit")
    plane.await_ready()
    yield plane
    plane.end()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def none_runs(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(map(runs, pids))


def manifest(kind: str, name: str, **fields: object) -> str:
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields})


def listening_addresses(pid: int) -> set[str]:
    """Addresses that the process listens on, as the kernel writes them (hexadecimal)."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_what_is_ready_has_kube_system_and_the_default_service_account(shared: ControlPlane) -> None:
    assert shared.exists("namespace", "kube-system")
    assert shared.exists("serviceaccount", "default")


def test_everything_listens_on_127_0_0_1_alone(shared: ControlPlane) -> None:
    found = {name: listening_addresses(pid) for name, pid in shared.pids().items()}
    loopback = "0100007F"
    assert found == {
        "etcd": {loopback},
        "kube-apiserver": {loopback},
        "kube-controller-manager": set(),
    }


def test_a_namespace_that_is_deleted_ends_with_what_is_in_it(shared: ControlPlane) -> None:
    shared.kubectl("create", "namespace", "short")
    shared.kubectl("-n", "short", "create", "configmap", "kept-by-nobody")
    shared.kubectl("delete", "namespace", "short", "--wait", "--timeout=60s")
    assert not shared.exists("namespace", "short")


def test_the_garbage_collector_deletes_what_an_owner_leaves(shared: ControlPlane) -> None:
    shared.kubectl("create", "configmap", "owner")
    uid = shared.kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    child = {"name": "child", "ownerReferences": [owner]}
    shared.kubectl("create", "-f", "-", standard_input=manifest("Secret", "child", metadata=child))
    shared.kubectl("delete", "configmap", "owner")
    until(lambda: not shared.exists("secret", "child"), "the child goes with its owner")


def test_a_user_without_a_role_is_refused(shared: ControlPlane) -> None:
    answer = subprocess.run(
        ["kubectl", "--kubeconfig", str(shared.directory / "kubeconfig"), "--as=nobody", "get", "secrets"],
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert "Forbidden" in answer.stderr


def test_a_service_with_a_selector_gets_an_endpoint_slice(shared: ControlPlane) -> None:
    service = manifest("Service", "selecting", spec={"selector": {"app": "x"}, "ports": [{"port": 80}]})
    shared.kubectl("create", "-f", "-", standard_input=service)
    label = "-lkubernetes.io/service-name=selecting"
    until(lambda: shared.exists("endpointslice", label), "the slice appears")


def test_the_audit_log_has_a_line_for_each_request(shared: ControlPlane) -> None:
    shared.kubectl("create", "configmap", "audited")
    lines = map(json.loads, (shared.directory / "audit.log").read_text().splitlines())
    audited = [line for line in lines if line.get("objectRef", {}).get("name") == "audited"]
    made = [line for line in audited if line["verb"] == "create"]
    assert [(line["user"]["username"], line["responseStatus"]["code"]) for line in made] == [("admin", 201)]


def test_sighup_kills_the_api_server_and_starts_it_on_the_same_port_and_data(shared: ControlPlane) -> None:
    shared.kubectl("create", "configmap", "written-before")
    before = shared.pids()
    shared.launcher.send_signal(signal.SIGHUP)
    shared.await_ready()
    after = shared.pids()
    assert not runs(before["kube-apiserver"])
    assert after["kube-apiserver"] != before["kube-apiserver"]
    assert after["etcd"] == before["etcd"]
    assert shared.exists("configmap", "written-before")


def test_two_side_by_side_do_not_meet(shared: ControlPlane, tmp_path: Path) -> None:
    other = ControlPlane(tmp_path)
    try:
        other.await_ready()
        other.kubectl("create", "configmap", "only-in-the-other")
        assert not shared.exists("configmap", "only-in-the-other")
        crossed = json.loads((shared.directory / "kubeconfig").read_text())
        there = json.loads((tmp_path / "kubeconfig").read_text())
        crossed["clusters"][0]["cluster"]["server"] = there["clusters"][0]["cluster"]["server"]
        (tmp_path / "crossed").write_text(json.dumps(crossed))
        answer = subprocess.run(
            ["kubectl", "--kubeconfig", str(tmp_path / "crossed"), "get", "namespaces"],
            capture_output=True,
            text=True,
        )
        assert answer.returncode != 0
        assert "x509" in answer.stderr
    finally:
        other.end()


def test_a_second_one_in_the_same_folder_is_refused_and_the_first_goes_on(shared: ControlPlane) -> None:
    second = subprocess.run([LAUNCHER, "--directory", str(shared.directory)], capture_output=True, text=True)
    assert second.returncode == 1
    assert "another control plane runs in" in second.stderr
    assert shared.exists("namespace", "default")


def test_sigterm_ends_everything_and_takes_the_kubeconfig_away(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path)
    plane.await_ready()
    pids = list(plane.pids().values())
    plane.end()
    assert plane.launcher.returncode == 0
    assert none_runs(pids)()
    assert not (tmp_path / "kubeconfig").exists()


def test_everything_ends_when_standard_input_closes_if_asked_to(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, "--until-stdin-closes")
    plane.await_ready()
    pids = list(plane.pids().values())
    plane.launcher.stdin.close()
    assert plane.launcher.wait(DEADLINE) == 0
    assert none_runs(pids)()


def test_everything_ends_when_the_launcher_is_killed(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path)
    plane.await_ready()
    pids = list(plane.pids().values())
    plane.launcher.kill()
    plane.launcher.wait()
    until(none_runs(pids), "the components end with the launcher")


def test_everything_ends_when_the_parent_is_killed_even_while_starting(tmp_path: Path) -> None:
    for state, holds in {
        "starting": lambda: (tmp_path / "kube-apiserver.log").exists(),
        "ready": lambda: (tmp_path / "kubeconfig").exists(),
    }.items():
        command = [sys.executable, "-c", PARENT, LAUNCHER, "--directory", str(tmp_path)]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        launcher = int(parent.stdout.readline())
        until(holds, f"the control plane is {state}")
        pids = [launcher, *children_of(launcher)]
        parent.kill()
        parent.wait()
        until(none_runs(pids), f"launcher and components end with the parent while {state}")
        (tmp_path / "kube-apiserver.log").unlink()


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_it_ends_with_an_error_when_a_component_ends_by_itself(tmp_path: Path) -> None:
    command = [LAUNCHER, "--directory", str(tmp_path)]
    with (tmp_path / "errors").open("w") as errors:
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert launcher.stdout.readline() == "ready\n"
    pids = json.loads((tmp_path / "pids").read_text())
    os.kill(pids["etcd"], signal.SIGKILL)
    assert launcher.wait(DEADLINE) == 1
    assert "etcd ended by itself" in (tmp_path / "errors").read_text()
    assert none_runs(list(pids.values()))()


def test_kubebuilder_assets_win_for_the_programs_they_hold(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "etcd").write_text("#!/bin/sh\necho the etcd of the assets; exit 3\n")
    (assets / "etcd").chmod(0o755)
    done = subprocess.run(
        [LAUNCHER, "--directory", str(tmp_path / "plane")],
        env=os.environ | {"KUBEBUILDER_ASSETS": str(assets)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the etcd of the assets" in done.stderr

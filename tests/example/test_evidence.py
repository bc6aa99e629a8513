"""The demo's claims: each check passes on what it claims, and fails on anything else."""

import copy
import os
import subprocess
import sys

import pytest
import simulated
from evidence import Untrue, bytes_of, check_everything_is_there, check_nothing_is_left, check_status

GONE = {"networks": [], "computes": [], "jobs": [{"id": "jobs/head", "status": "Canceled", "pids": []}]}


def running(pid: int) -> dict:
    node = {"id": "tvmps_1", "address": "127.0.3.1", "state": "running", "job": "jobs/head"}
    return {
        "networks": [{"id": "virtualNetworks/dask-vnet"}],
        "computes": [{"id": "computes/ds13-cluster", "nodes": [node]}],
        "jobs": [{"id": "jobs/head", "status": "Running", "pids": [pid]}],
    }


@pytest.fixture
def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def status(ready: int, cores: int, memory: str) -> dict:
    return {"workers": {"ready": ready, "cores": cores, "memory": memory}}


def test_the_story_has_40_workers_320_cores_and_2_36_tb():
    assert check_status(status(40, 320, "2360G"), 39) == "40 workers, 320 cores, 2.36 TB"
    assert check_status(status(40, 320, "2360000000000"), 39) == "40 workers, 320 cores, 2.36 TB"


@pytest.mark.parametrize(
    "counted", [(39, 312, "2301G"), (40, 319, "2360G"), (40, 320, "2361G"), (40, 320, "2240Gi")]
)
def test_other_numbers_than_the_storys_are_untrue(counted):
    with pytest.raises(Untrue, match="instead of"):
        check_status(status(*counted), 39)


@pytest.mark.parametrize(
    ("quantity", "expected"), [("1Ki", 1024), ("59G", 59 * 10**9), ("0.5Ti", 2**39), ("12", 12)]
)
def test_quantities_are_read_as_kubernetes_writes_them(quantity, expected):
    assert bytes_of(quantity) == expected


def test_an_empty_azure_is_not_taken_for_a_running_cluster():
    assert check_everything_is_there(running(1), 0) == "1 network, 1 compute, 1 nodes, 1 running jobs"
    with pytest.raises(Untrue):
        check_everything_is_there(GONE, 0)
    with pytest.raises(Untrue):
        check_everything_is_there(running(1), 1)


def test_an_azure_of_ended_jobs_alone_is_empty(ended_process):
    assert check_nothing_is_left(running(ended_process), GONE).startswith("no network, no compute, no node")


@pytest.mark.parametrize("kind", ["networks", "computes", "jobs"])
def test_whatever_is_left_is_named(kind, ended_process):
    before = running(ended_process)
    with pytest.raises(Untrue, match=before[kind][0]["id"]):
        check_nothing_is_left(before, GONE | {kind: before[kind]})


def test_a_job_that_ended_but_whose_process_runs_is_named(ended_process):
    after = copy.deepcopy(GONE)
    after["jobs"][0]["pids"] = [ended_process]
    with pytest.raises(Untrue, match="jobs/head, Canceled"):
        check_nothing_is_left(running(ended_process), after)


def test_a_process_that_azure_forgot_is_named():
    with pytest.raises(Untrue, match=f"process {os.getpid()}"):
        check_nothing_is_left(running(os.getpid()), GONE)


def test_the_manifest_differs_from_the_storys_only_where_the_simulator_does():
    workspace = {"subscriptionId": "s", "resourceGroup": "g", "name": "w"}
    simulated_spec = simulated.manifest(39, workspace)["spec"]
    story = simulated.yaml.safe_load(simulated.MANIFEST.read_text())["spec"]
    changed = {key for key in simulated_spec if simulated_spec[key] != story.get(key)}
    assert changed == {"workspace", "worker", "datasets"}
    assert simulated_spec["worker"] == {"replicas": 39, "threads": 8, "memoryLimit": "59G"}
    assert simulated_spec["datasets"][0] == story["datasets"][0]


def test_the_world_stands_for_every_dataset_of_the_manifest(tmp_path):
    datasets = simulated.manifest(3, {})["spec"]["datasets"]
    world = simulated.world(tmp_path / "real", tmp_path / "generated")
    assert [mapping["uri"] for mapping in world["data"]] == [dataset["uri"] for dataset in datasets]

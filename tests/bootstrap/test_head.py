"""The head: start, publishing, and what it outlives."""

from __future__ import annotations

import os
import signal
import socket
import sys

import psutil
import pytest


def dask_processes(job) -> dict:
    """The children of a job's process by kind: `scheduler`, `worker`."""
    children = psutil.Process(job.process.pid).children()
    return {child.cmdline()[4]: child for child in children}


def test_the_head_publishes_its_addresses_once_they_answer(lab):
    # The service is busy: that an earlier address cannot be looked for does not matter, and the head
    # comes back twice as told.
    lab.mlflow.refusals += [
        (500, {}),
        (503, {"Retry-After": "0"}),
        (429, {"Retry-After": "1"}),
    ]
    head = lab.head()
    scheduler = lab.scheduler_of(head)
    assert lab.mlflow.runs["head"]["tags"] == {
        "headnode": head.address,
        "scheduler": f"tcp://{head.address}:8786",
        "dashboard": f"http://{head.address}:8787",
    }
    assert scheduler.request("GET", "/health") == (200, "ok")
    assert scheduler.state()["workers"] == []
    lines = [line for line in head.own_lines() if "cannot be published yet" in line]
    assert [line.split(": ")[1][:8] for line in lines] == ["HTTP 503", "HTTP 429"]

    head.terminate()
    assert head.exit_code() == 0
    assert "as asked (SIGTERM)" in head.own_lines()[-1]


def test_the_addresses_of_an_earlier_start_are_taken_back_before_new_ones_are_published(lab):
    old = {"headnode": "127.0.0.9", "scheduler": "tcp://127.0.0.9:8786", "mine": "kept"}
    lab.mlflow.start_run("head", **old)
    lab.scheduler_of(lab.head())
    taken_back, published = lab.mlflow.batches[-2:]
    assert taken_back == {"headnode": "gone", "scheduler": "gone"}
    assert lab.mlflow.runs["head"]["tags"] == {"mine": "kept", **published}


def test_taken_ports_are_given_way_to(lab, addresses):
    address = next(addresses)
    with socket.create_server((address, 8786)), socket.create_server((address, 8787)):
        head = lab.head(address=address)
        scheduler = lab.scheduler_of(head)
        for url, taken in ((scheduler.address, 8786), (scheduler.dashboard, 8787)):
            host, port = url.split("//")[1].split(":")
            assert host == address and int(port) != taken
        assert scheduler.state()["address"] == scheduler.address


def test_two_heads_on_one_machine_have_the_fixed_ports_each(lab):
    one, two = lab.head("head-1"), lab.head("head-2")
    ids = {lab.scheduler_of(job).state()["id"] for job in (one, two)}
    assert len(ids) == 2
    for job in (one, two):
        tags = lab.mlflow.runs[job.run]["tags"]
        assert tags["scheduler"] == f"tcp://{job.address}:8786"
        assert tags["dashboard"] == f"http://{job.address}:8787"


def test_the_own_worker_comes_back_and_the_scheduler_stays(lab):
    head = lab.head(DASK_AZUREML_RUN_WORKER="true")
    scheduler = lab.scheduler_of(head)
    first = scheduler.worker_of(head)["name"]
    started = scheduler.state()["id"]
    dask_processes(head)["worker"].kill()
    head.wait_for_line("the head's own worker ended with exit code 137")
    assert scheduler.worker_of(head, but=[first])["name"] != first
    assert scheduler.state()["id"] == started


def test_the_head_ends_as_its_scheduler_ends(lab):
    shut, crashed = lab.head("shut"), lab.head("crashed")
    for job in (shut, crashed):
        lab.scheduler_of(job)
    dask_processes(shut)["scheduler"].terminate()
    dask_processes(crashed)["scheduler"].kill()
    assert (shut.exit_code(), crashed.exit_code()) == (0, 137)
    assert shut.own_lines()[-1] == "the scheduler was shut down"
    assert crashed.own_lines()[-1] == "the scheduler failed: 137"


def test_a_killed_head_leaves_no_process_behind(lab):
    head = lab.head(DASK_AZUREML_RUN_WORKER="true")
    lab.scheduler_of(head).worker_of(head)
    family = psutil.Process(head.process.pid).children(recursive=True)
    assert len(family) >= 3
    os.kill(head.process.pid, signal.SIGKILL)
    head.exit_code()
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


def test_a_head_that_cannot_publish_gives_up_in_time(lab):
    lab.mlflow.refusals += [(403, {})] * 100
    head = lab.head(DASK_AZUREML_START_TIMEOUT_SECONDS="5")
    assert head.exit_code() == 1
    assert head.own_lines()[-1] == "5 s have passed before its addresses were published"


def test_the_start_is_given_up_where_the_own_routes_are_missing(bootstrap, lab, tmp_path):
    # A module without routes, as when the scheduler loads another one of that name.
    source = tmp_path / "dask_azureml.py"
    text = open(bootstrap.__file__).read()
    changed = text.replace("routes.extend(own_routes(", "list(own_routes(")
    assert changed != text
    source.write_text(changed)

    head = lab.head(command=[sys.executable, str(source)])
    assert head.exit_code() == 1
    assert "the scheduler's own routes are not there (HTTP 404)" in head.own_lines()[-1]
    assert lab.mlflow.runs["head"]["tags"] == {}


@pytest.mark.parametrize("asked", [None, 59 * 2**30])
def test_the_own_worker_leaves_memory_to_the_scheduler(bootstrap, monkeypatch, asked):
    node = 56 * 2**30
    monkeypatch.setattr(bootstrap.system, "MEMORY_LIMIT", node)
    options = {"memory_limit": asked, "shared_machine": False, "spare_memory": True}
    assert bootstrap.memory_limit(options) == node - node // 10
    options["spare_memory"] = False
    assert bootstrap.memory_limit(options) == node


def test_nodes_that_share_a_machine_have_the_memory_they_are_said_to_have(lab):
    asked = 4 * psutil.virtual_memory().total
    head = lab.head(
        DASK_AZUREML_RUN_WORKER="true",
        DASK_AZUREML_WORKER_MEMORY_LIMIT=str(asked),
        DASK_AZUREML_WORKER_THREADS="8",
    )
    scheduler = lab.scheduler_of(head)
    worker = scheduler.worker_of(head)
    assert (worker["memory_limit"], worker["threads"]) == (asked, 8)
    state = scheduler.state()
    assert (state["total_memory"], state["total_threads"]) == (asked, 8)


def test_the_own_address_is_the_one_inside_the_subnet(bootstrap):
    settings = bootstrap.Settings(
        {"DASK_AZUREML_ROLE": "worker", "DASK_AZUREML_HEAD_RUN": "h", "AZUREML_RUN_ID": "w"}
        | {"DASK_AZUREML_SUBNET": "127.0.0.0/8"}
    )
    assert bootstrap.own_address(settings).startswith("127.")


def test_loopback_and_bridges_are_no_addresses_of_a_node(bootstrap, monkeypatch):
    settings = bootstrap.Settings(
        {"DASK_AZUREML_ROLE": "worker", "DASK_AZUREML_HEAD_RUN": "h", "AZUREML_RUN_ID": "w"}
    )
    for address, on_a_bridge in (("127.0.0.1", False), (None, False), ("172.17.0.1", True)):
        monkeypatch.setattr(bootstrap, "source_address", lambda _, found=address: found)
        monkeypatch.setattr(bootstrap, "on_a_bridge", lambda _, answer=on_a_bridge: answer)
        with pytest.raises(bootstrap.CannotRun, match="no address of this node"):
            bootstrap.own_address(settings)
    monkeypatch.setattr(bootstrap, "source_address", lambda _: "10.20.0.8")
    monkeypatch.setattr(bootstrap, "on_a_bridge", lambda _: False)
    assert bootstrap.own_address(settings) == "10.20.0.8"

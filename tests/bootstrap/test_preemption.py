"""Azure takes a node back: its worker leaves in time."""

from __future__ import annotations

import json
import sys
import time

import pytest
from azure_ml import BOOTSTRAP, Service


@pytest.fixture
def metadata(addresses):
    """The node's metadata service; `events` are the scheduled ones."""

    def answer(request, _body):
        if request.headers.get("Metadata") != "true":
            return 400, b"{}", {}
        if service.away:
            return 503, b"", {}
        if request.path.startswith("/metadata/instance/compute/name?"):
            return 200, b"aml_17", {}
        if request.path == "/metadata/scheduledevents?api-version=2020-07-01":
            return (
                200,
                json.dumps({"DocumentIncarnation": 1, "Events": service.events}).encode(),
                {},
            )
        return 404, b"{}", {}

    service = Service(next(addresses), answer)
    service.events, service.away = [], False
    service.url = f"http://{service.netloc}"
    yield service
    service.close()


def event(kind, *nodes):
    return {"EventId": "1", "EventType": kind, "ResourceType": "VirtualMachine"} | {
        "Resources": list(nodes),
        "EventStatus": "Scheduled",
    }


# The base URL is an argument of `main`, so that no environment can move it.
DRIVER = """
import sys
sys.path.insert(0, {folder!r})
import os, dask_azureml
source = open({path!r}, 'rb').read()
sys.exit(dask_azureml.main([], os.environ, source, metadata={url!r}))
"""


def test_a_preempted_worker_hands_its_data_over_and_ends_with_0(lab, connect, metadata):
    driver = DRIVER.format(folder=str(BOOTSTRAP.parent), path=str(BOOTSTRAP), url=metadata.url)
    stays = lab.worker("stays")
    goes = lab.worker("goes", command=[sys.executable, "-c", driver])
    scheduler = lab.scheduler_of(lab.head())
    scheduler.worker_of(stays)
    worker = scheduler.worker_of(goes)
    held = connect(scheduler).scatter(list(range(3)), workers=[worker["address"]])
    metadata.events = [event("Freeze", "aml_17"), event("Preempt", "aml_16", "aml_17")]
    assert goes.exit_code() == 0
    assert "this node has to go (Preempt): handing the worker's data over" in goes.own_lines()
    assert held[0].client.gather(held) == [0, 1, 2]


def test_only_the_end_of_this_node_stops_it(bootstrap, metadata):
    stop = bootstrap.Stop()
    metadata.events = [event("Preempt", "aml_16"), event("Reboot", "aml_17")]
    asked = []

    def look_on():
        asked.append(stop.reason)
        if len(asked) == 3:
            metadata.events = [event("Terminate", "aml_17")]

    watch(bootstrap, stop, metadata.url, look_on)
    assert asked[:3] == [None] * 3
    assert stop.reason == "Terminate"


def test_a_node_without_a_metadata_service_is_left_in_peace(bootstrap, addresses):
    stop = bootstrap.Stop()
    rounds = []
    watch(bootstrap, stop, f"http://{next(addresses)}:9", lambda: rounds.append(1))
    assert len(rounds) == 5
    assert stop.reason is None


def test_a_metadata_service_that_is_away_for_a_while_is_asked_again(bootstrap, metadata):
    stop = bootstrap.Stop()
    rounds = []

    def look_on():
        rounds.append(1)
        metadata.away = 1 <= len(rounds) < 9
        if len(rounds) == 10:
            metadata.events = [event("Preempt", "aml_17")]

    watch(bootstrap, stop, metadata.url, look_on)
    assert stop.reason == "Preempt"


def watch(bootstrap, stop, url, between):
    """Watches with `between` in place of the pause between two looks."""

    class Clock:
        @staticmethod
        def sleep(_seconds):
            between()

        monotonic = staticmethod(time.monotonic)

    module_time = bootstrap.time
    bootstrap.time = Clock
    try:
        bootstrap.watch_for_preemption(stop, url)
    finally:
        bootstrap.time = module_time

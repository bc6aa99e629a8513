"""Schedulers that hang, and schedulers that the operator cannot reach."""

import os
import signal

import pytest

# Seconds in which a small cluster becomes Ready, on a busy machine too. One that waited for a hung
# scheduler, which is given five seconds for each answer, would take several times as long.
SOON = 25


@pytest.fixture(scope="module")
def beacon(stage):
    """A Ready cluster: its head's job."""
    stage.apply("beacon")
    stage.until_ready("beacon")
    yield next(job for name, job in stage.azure.jobs("head-1").items() if name.startswith("beacon-"))
    stage.until_gone("beacon")


def test_a_scheduler_that_hangs_is_told_and_delays_nobody_else_and_is_taken_back(stage, beacon):
    stage.azure.forget_exchanges()
    for pid in beacon["pids"]:
        os.kill(pid, signal.SIGSTOP)
    try:
        stage.apply("neighbour")
        stage.until_ready("neighbour", seconds=SOON)
        stage.until_told("beacon", "SchedulerLost", beacon["tags"]["dashboard"].removeprefix("http://"))
    finally:
        for pid in beacon["pids"]:
            os.kill(pid, signal.SIGCONT)
    stage.until_ready("beacon")
    assert not [write for write in stage.azure.writes() if "beacon" in write]
    stage.until_gone("neighbour")


def test_a_scheduler_out_of_reach_is_told_with_address_and_port_and_found_when_the_way_is_open(stage, beacon):
    tags = beacon["tags"]
    address = tags["headnode"]
    # Nobody listens there, as behind a firewall that rejects.
    stage.azure.tag_run(beacon["name"], scheduler=f"tcp://{address}:6", dashboard=f"http://{address}:7")
    # At rest, jobs are listed every half minute only; this one looks at once.
    stage.restart_operator()
    # For a minute after its start a head may still have tags of a start before.
    told = ("SchedulerUnreachable", f"{address}:7", "ports 6 and 7", address)
    stage.until_told("beacon", *told, seconds=90)
    stage.azure.tag_run(beacon["name"], scheduler=tags["scheduler"], dashboard=tags["dashboard"])
    stage.until_ready("beacon")

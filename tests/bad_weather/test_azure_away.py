"""An Azure that cannot be reached, does not answer, or has forgotten everything."""

import signal
import time

import pytest
from conftest import twice

CUT = {"action": "lose_request", "count": None}
# Seconds that the simulator is stopped for.
STOPPED = 3.0


@pytest.fixture
def calm_afterwards(stage):
    yield
    stage.azure.clear_faults()


@pytest.mark.usefixtures("calm_afterwards")
def test_while_azure_cannot_be_reached_a_ready_cluster_stays_so_and_a_new_one_says_why_it_waits(stage):
    stage.apply("anchor")
    stage.until_ready("anchor")
    before = stage.ready("anchor")
    stage.azure.fault(CUT)
    # This one remembers nothing, so it asks for everything.
    stage.restart_operator()
    stage.apply("sailor")
    stage.until_told("sailor", "AzureUnreachable", "token")
    assert stage.ready("anchor") == before
    assert not stage.azure.jobs("sailor")


@pytest.mark.usefixtures("calm_afterwards")
def test_once_azure_is_back_the_cluster_is_made_and_no_write_repeated_whose_answer_is_lost(stage):
    stage.azure.forget_exchanges()
    stage.azure.fault({"method": "PUT", "path": "/subscriptions/", "count": None, "action": "lose_answer"})
    stage.until_ready("sailor")
    written = stage.azure.writes()
    assert not twice(written)
    assert len(written) == 6, written
    stage.until_gone("sailor")


@pytest.mark.usefixtures("calm_afterwards")
def test_a_ready_cluster_stays_so_while_its_jobs_cannot_be_listed(stage):
    before = stage.ready("anchor")
    stage.azure.fault(CUT | {"method": "GET", "path": "/jobs"})
    stage.restart_operator()
    stage.until(lambda: stage.reconciles() >= 2, "two reconciles")
    assert stage.ready("anchor") == before


def test_an_azure_that_does_not_answer_for_a_while_delays_a_cluster_and_nothing_else(stage):
    stage.azure.forget_exchanges()
    before = stage.ready("anchor")
    stage.apply("becalmed")
    stage.until(stage.azure.writes, "a write is under way")
    simulator = stage.line.processes["simulator"]
    simulator.send_signal(signal.SIGSTOP)
    try:
        time.sleep(STOPPED)
    finally:
        simulator.send_signal(signal.SIGCONT)
    stage.until_ready("becalmed")
    assert stage.ready("anchor") == before
    assert not twice(stage.azure.writes())
    stage.until_gone("becalmed")


def test_an_azure_that_has_forgotten_everything_gets_everything_again_and_events_tell_it(stage):
    told = stage.events("anchor")
    stage.line.restart_simulator()
    stage.sign_in()
    stage.until(lambda: stage.azure.jobs("head-1"), "its head is submitted again", seconds=60)
    stage.until_ready("anchor")
    written = stage.azure.writes()
    assert not twice(written)
    assert len(written) == 6, written
    news = [f"{reason}: {note}" for reason, note in stage.events("anchor") - told]
    # What is provisioned within the seconds between two writes of the status is told by its outcome.
    for words in ("SchedulerLost: ", "Ready: SchedulerReady is True", "Ready: Ready is True"):
        assert any(words in event for event in news), "\n".join(news)
    stage.until_gone("anchor")
    world = stage.azure.world()
    assert not world["computes"] and not world["networks"]

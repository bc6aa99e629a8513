"""What the state tells of the work: the numbers that the operator's autoscaler decides from."""

from __future__ import annotations

import statistics
import time

import pytest
from azure_ml import wait_until


def _tasks() -> tuple:
    """Functions that are sent whole: neither scheduler nor workers have this file."""

    def slow(seconds: float) -> float:
        import time

        time.sleep(seconds)
        return seconds

    def seceded(seconds: float) -> None:
        import time

        from distributed import secede

        secede()
        time.sleep(seconds)

    return slow, seceded


slow, seceded = _tasks()


@pytest.fixture
def without_workers(lab, connect):
    """A scheduler on a head that runs no worker, and its client."""
    scheduler = lab.scheduler_of(lab.head())
    return scheduler, connect(scheduler)


@pytest.fixture
def with_a_worker(lab, connect):
    """A scheduler with one worker of one thread, and its client."""
    scheduler = lab.scheduler_of(lab.head(DASK_AZUREML_RUN_WORKER="true"))
    client = connect(scheduler)
    wait_until(lambda: len(scheduler.state()["workers"]) == 1, "the head's own worker")
    return scheduler, client


def work(state: dict) -> tuple:
    return state["processing"], state["queued"], state["unrunnable"]


def test_tasks_that_no_worker_is_there_for_wait_for_one(without_workers):
    scheduler, client = without_workers
    assert work(scheduler.state()) == (0, 0, 0)
    assert scheduler.state()["work_seconds"] == 0
    futures = client.map(slow, range(1000))
    wait_until(lambda: scheduler.state()["queued"] == 1000, "1000 tasks that wait")
    state = scheduler.state()
    assert work(state) == (0, 1000, 0)
    assert state["idle_since"] is None
    # Dask takes half a second for what it does not know.
    assert state["work_seconds"] == pytest.approx(500)
    del futures


def test_tasks_that_ask_for_what_nobody_has_are_told_apart(with_a_worker):
    scheduler, client = with_a_worker
    futures = client.map(slow, range(5), resources={"GPU": 1}, pure=False)
    wait_until(lambda: scheduler.state()["unrunnable"] == 5, "five tasks that cannot run")
    state = scheduler.state()
    assert work(state) == (0, 0, 5)
    assert state["work_seconds"] == 0
    assert state["idle_since"] is None
    del futures


def test_work_is_told_in_seconds_as_soon_as_one_task_has_ended(with_a_worker):
    scheduler, client = with_a_worker
    futures = client.map(slow, [1.0] * 30, pure=False)
    wait_until(lambda: sum(f.done() for f in futures) >= 1, "a first task has ended")
    state = scheduler.state()
    left = state["processing"] + state["queued"]
    assert 20 < left < 30
    assert state["work_seconds"] == pytest.approx(left, rel=0.2)
    del futures


def test_tasks_of_unknown_length_are_taken_for_longer_the_longer_they_run(with_a_worker):
    scheduler, client = with_a_worker
    future = client.submit(slow, 8.0)
    wait_until(lambda: scheduler.state()["processing"] == 1, "the task runs")
    wait_until(lambda: scheduler.state()["work_seconds"] > 4, "it is taken for a long one")
    assert not future.done()


def test_a_task_that_has_seceded_keeps_the_cluster_busy(with_a_worker):
    scheduler, client = with_a_worker
    future = client.submit(seceded, 5.0)
    busy = lambda: scheduler.state()["workers"][0]["long_running"] == 1  # noqa: E731
    wait_until(busy, "it has seceded")
    state = scheduler.state()
    assert (state["processing"], state["idle_since"]) == (1, None)
    future.result(timeout=30)
    wait_until(lambda: scheduler.state()["idle_since"] is not None, "the cluster is idle")


def test_data_that_is_held_is_no_work(with_a_worker):
    scheduler, client = with_a_worker
    held = client.scatter(b"x" * 1_000_000)
    wait_until(lambda: scheduler.state()["nbytes"] >= 1_000_000, "the data is there")
    wait_until(lambda: scheduler.state()["idle_since"] is not None, "the cluster is idle")
    assert work(scheduler.state()) == (0, 0, 0)
    assert held.status == "finished"


def test_a_hundred_thousand_tasks_are_told_as_quickly_as_a_hundred(without_workers):
    scheduler, client = without_workers

    def milliseconds() -> float:
        def once() -> float:
            began = time.perf_counter()
            scheduler.state()
            return time.perf_counter() - began

        return 1000 * statistics.median(once() for _ in range(15))

    few = client.map(slow, range(100))
    wait_until(lambda: scheduler.state()["queued"] == 100, "the tasks")
    with_few = milliseconds()
    many = client.map(slow, range(1000, 101_000), batch_size=10_000)
    wait_until(lambda: scheduler.state()["queued"] == 100_100, "the tasks", 90)
    # Looking at each of them takes some hundred times as long as looking at a hundred.
    assert milliseconds() < 10 * with_few + 5
    del few, many

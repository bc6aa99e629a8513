"""What the state says of the work that there is: on a real scheduler in process."""

from __future__ import annotations

import asyncio
import time

import pytest
from test_data_rule import gate, hold, on_cluster

UNKNOWN = 0.5  # What Dask assumes of a kind of task that it has never seen.


async def at_the_gate(n):
    while not gate["open"]:
        await asyncio.sleep(0.01)
    return n


async def kind(n):
    """Takes 0.05 s; a negative one waits at the gate."""
    await asyncio.sleep(0.05)
    return await at_the_gate(n) if n < 0 else n


def seceding():
    from distributed import secede

    secede()
    while not gate["open"]:
        time.sleep(0.01)


async def reached(condition):
    """Waits until the condition holds; `on_cluster` has the deadline."""
    while not condition():
        await asyncio.sleep(0.01)


def gpu_tasks(client, count):
    return client.map(kind, range(count), key="bound", resources={"GPU": 1})


@pytest.fixture
def load(bootstrap):
    return lambda scheduler: bootstrap.scheduler_state(scheduler)["load"]


def test_without_a_worker_all_tasks_are_queued(load):
    async def test(scheduler, workers, client):
        futures = client.map(kind, range(1000))
        await reached(lambda: len(scheduler.tasks) == 1000)
        told = load(scheduler)
        assert told["idle_since"] is None and told["clients"] == 1
        assert (told["processing"], told["queued"], told["unrunnable"]) == (0, 1000, 0)
        assert told["work_seconds"] == pytest.approx(1000 * UNKNOWN)
        del futures

    on_cluster(test, [])


def test_tasks_that_run_are_processing_and_the_others_queued(load):
    async def test(scheduler, workers, client):
        futures = client.map(at_the_gate, range(20))
        await reached(lambda: all(ws.processing for ws in scheduler.workers.values()))
        told = load(scheduler)
        # 1.1 tasks are given to each thread, rounded up.
        assert (told["processing"], told["queued"], told["unrunnable"]) == (4, 16, 0)
        assert told["processing"] == sum(len(ws.processing) for ws in scheduler.workers.values())
        gate["open"] = True
        await client.gather(futures)

    on_cluster(test, [100, 100])


def test_tasks_of_a_kind_never_seen_take_at_least_as_long_as_the_longest_has_so_far(load):
    async def test(scheduler, workers, client):
        futures = client.map(at_the_gate, range(12))
        # A worker tells in its heartbeats how long its tasks run by now.
        longest = scheduler.task_prefixes
        await reached(lambda: "at_the_gate" in longest)
        await reached(lambda: longest["at_the_gate"].max_exec_time > 2 * UNKNOWN)
        told, seconds = load(scheduler), longest["at_the_gate"].max_exec_time
        assert told["work_seconds"] >= 10 * seconds and (told["queued"], told["processing"]) == (10, 2)
        gate["open"] = True
        await client.gather(futures)

    on_cluster(test, [100])


def test_tasks_of_a_known_kind_take_as_long_as_those_did(load):
    async def test(scheduler, workers, client):
        await client.gather(client.map(kind, range(4)))
        average = scheduler.task_prefixes["kind"].duration_average
        assert 0.05 <= average < UNKNOWN
        blockers = client.map(at_the_gate, range(2))
        await reached(lambda: all(ws.processing for ws in scheduler.workers.values()))
        running = scheduler.total_occupancy
        futures = client.map(kind, range(100, 300), priority=-1)
        await reached(lambda: len(scheduler.queued) == 200)
        assert load(scheduler)["work_seconds"] == pytest.approx(running + 200 * average, rel=0.05)
        gate["open"] = True
        await client.gather([*blockers, *futures])

    on_cluster(test, [100])


def test_a_task_that_runs_longer_than_its_kind_does_counts_as_long_as_it_runs(load):
    async def test(scheduler, workers, client):
        await client.gather(client.map(kind, range(4)))
        slow = client.submit(kind, -1)
        await reached(lambda: any(t > 1 for t in scheduler.workers[workers[0].address].executing.values()))
        assert 1.0 < load(scheduler)["work_seconds"] < 30.0
        gate["open"] = True
        await slow
        assert load(scheduler)["work_seconds"] == 0.0

    on_cluster(test, [100])


def test_one_straggler_does_not_make_all_of_its_kind_slow(load):
    async def test(scheduler, workers, client):
        await client.gather(client.map(kind, range(9)))
        slow = client.submit(kind, -1)
        await reached(lambda: scheduler.workers[workers[0].address].processing)
        others = client.map(kind, range(100, 200))
        await reached(lambda: scheduler.task_prefixes["kind"].max_exec_time > 1)
        dask_thinks = scheduler._get_prefix_duration(scheduler.task_prefixes["kind"])
        assert dask_thinks > 2.0
        assert load(scheduler)["work_seconds"] < 100 * dask_thinks / 5
        gate["open"] = True
        await client.gather([slow, *others])

    on_cluster(test, [100])


def test_tasks_that_no_worker_here_may_run_are_unrunnable(load):
    async def test(scheduler, workers, client):
        bound = gpu_tasks(client, 7)
        await reached(lambda: len(scheduler.unrunnable) == 7)
        told = load(scheduler)
        assert (told["processing"], told["queued"], told["unrunnable"]) == (0, 0, 7)
        assert told["work_seconds"] == 0.0 and told["idle_since"] is None
        del bound

    on_cluster(test, [100])


def test_tasks_that_wait_for_just_any_worker_are_queued_though_dask_calls_them_unrunnable(load):
    async def test(scheduler, workers, client):
        scheduler.handle_worker_status_change("paused", workers[0].address, "test")
        free = client.submit(kind, 1)
        rather = client.submit(
            kind, 2, workers=[workers[0].address], allow_other_workers=True
        )
        bound = client.submit(kind, 3, workers=["tcp://127.0.0.1:1"])
        await reached(lambda: len(scheduler.unrunnable) == 3)
        told = load(scheduler)
        assert (told["queued"], told["unrunnable"]) == (2, 1)
        assert told["work_seconds"] == pytest.approx(2 * UNKNOWN)
        del free, rather, bound

    on_cluster(test, [100])


def test_the_cost_of_a_look_does_not_grow_with_the_tasks(load, bootstrap, monkeypatch):
    looks = {"is_bound": 0, "seconds": 0}
    for place, name in ((bootstrap, "is_bound"), (bootstrap.Kinds, "seconds")):

        def counted(*arguments, name=name, function=getattr(place, name)):
            looks[name] += 1
            return function(*arguments)

        monkeypatch.setattr(place, name, counted)

    async def test(scheduler, workers, client):
        rather = {"workers": ["tcp://127.0.0.1:1"], "allow_other_workers": True}
        futures = [*client.map(kind, range(2000), key="rather", **rather), *gpu_tasks(client, 1000)]
        free = client.map(kind, range(5000))
        await reached(lambda: len(scheduler.tasks) == 3000 + len(free))
        told = load(scheduler)
        assert told["queued"] + told["unrunnable"] == 3000 + len(free)
        assert told["unrunnable"] == pytest.approx(1000, rel=0.1)
        assert looks["is_bound"] <= 200 and looks["seconds"] <= 100
        del futures, free

    on_cluster(test, [])


def test_a_task_that_has_seceded_is_processing_and_takes_no_thread(load):
    async def test(scheduler, workers, client):
        long = client.submit(seceding)
        await reached(lambda: any(ws.long_running for ws in scheduler.workers.values()))
        told = load(scheduler)
        assert (told["processing"], told["queued"], told["work_seconds"]) == (1, 0, 0.0)
        assert told["idle_since"] is None
        gate["open"] = True
        await long

    on_cluster(test, [100])


def test_a_published_dataset_is_no_client(load):
    async def test(scheduler, workers, client):
        held = await hold(client, workers[0], 1)
        await client.publish_dataset(held, name="kept")
        told = load(scheduler)
        assert told["nbytes"] >= 1_000_000 and told["clients"] == 1

    on_cluster(test, [100])


def test_idle_since_stays_while_only_data_is_held(load):
    async def test(scheduler, workers, client):
        held = await hold(client, workers[0], 60)
        before = time.time()
        await reached(lambda: load(scheduler)["idle_since"])
        told = load(scheduler)
        assert told["idle_since"] == pytest.approx(before, abs=30)
        assert told["nbytes"] >= 60_000_000 and told["clients"] == 1
        await asyncio.sleep(0.05)
        assert load(scheduler)["idle_since"] == told["idle_since"]
        assert (told["processing"], told["queued"], told["work_seconds"]) == (0, 0, 0.0)
        del held

    on_cluster(test, [100])

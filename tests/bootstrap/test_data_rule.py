"""How many workers may go so that the rest can hold the data: on a real scheduler in process."""

from __future__ import annotations

import asyncio
import contextlib

import dask
import pytest
from distributed import Client, Scheduler, Worker

MB = 1_000_000

# Tasks and test share one process: a task runs until the gate is opened.
gate = {"open": False}


async def wait_at_the_gate():
    while not gate["open"]:
        await asyncio.sleep(0.01)
    return "result"


def on_cluster(test, memory_limits, names=None):
    """Runs `test` with a scheduler, workers `head.0`, `job.1`, ... (or `names`) and a client."""
    names = names or ["head"] + ["job"] * (len(memory_limits) - 1)

    async def run():
        # The workers share this process's memory, which says nothing about theirs.
        quiet = {f"distributed.worker.memory.{x}": False for x in ("pause", "spill", "target")}
        with dask.config.set({**quiet, "distributed.worker.memory.terminate": False}):
            async with contextlib.AsyncExitStack() as stack:
                enter = stack.enter_async_context
                scheduler = await enter(
                    Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0")
                )
                workers = [
                    await enter(
                        Worker(
                            scheduler.address,
                            name=f"{names[n]}.{n}",
                            nthreads=1,
                            memory_limit=limit * MB,
                        )
                    )
                    for n, limit in enumerate(memory_limits)
                ]
                client = await enter(Client(scheduler.address, asynchronous=True))
                await test(scheduler, workers, client)

    gate["open"] = False
    asyncio.run(asyncio.wait_for(run(), 60))


def names_to_close(retirements, *arguments) -> list:
    return retirements.to_close(*arguments)["names"]


async def hold(client, worker, megabytes):
    return await client.scatter(bytes(megabytes * MB), workers=[worker.address], hash=False)


@pytest.fixture
def retirements(bootstrap):
    return bootstrap.Retirements("head.")


def test_what_is_left_must_hold_the_data_twice_over(retirements):
    async def test(scheduler, workers, client):
        assert names_to_close(retirements, scheduler, 9) == ["job.1", "job.2", "job.3"]
        held = [await hold(client, workers[2], 70)]
        # 100 MB would be left by three, 200 MB by two.
        assert names_to_close(retirements, scheduler, 9) == ["job.1", "job.3"]
        held.append(await hold(client, workers[1], 30))
        assert names_to_close(retirements, scheduler, 9) == ["job.3", "job.1"]
        held.append(await hold(client, workers[0], 2))
        assert names_to_close(retirements, scheduler, 9) == ["job.3"]
        assert names_to_close(retirements, scheduler, 0) == []

    on_cluster(test, [100, 100, 100, 100])


def test_a_worker_without_a_limit_holds_any_data(retirements):
    async def test(scheduler, workers, client):
        _held = await hold(client, workers[1], 90)
        assert names_to_close(retirements, scheduler, 9) == ["job.1"]

    on_cluster(test, [0, 100])


def test_busy_workers_go_last(retirements):
    async def test(scheduler, workers, client):
        held = await hold(client, workers[2], 1)
        running = client.submit(wait_at_the_gate, workers=[workers[1].address])
        while not scheduler.workers[workers[1].address].processing:
            await asyncio.sleep(0.01)
        assert names_to_close(retirements, scheduler, 2) == ["job.2", "job.1"]
        gate["open"] = True
        await running
        assert held.status == "finished"

    on_cluster(test, [100, 100, 100])


def test_workers_whose_data_the_rest_cannot_hold_are_refused(retirements):
    async def test(scheduler, workers, client):
        held = [await hold(client, workers[1], 40), await hold(client, workers[2], 40)]
        answer = await retirements.retire(scheduler, ["job.1", "job.2"])
        assert (answer["retired"], answer["refused"]) == (["job.1"], ["job.2"])
        assert answer["reasons"] == {"job.2": "the other workers cannot hold its data"}
        assert [len(data) for data in await client.gather(held)] == [40 * MB, 40 * MB]

    on_cluster(test, [50, 100, 100])


def test_a_worker_refused_again_and_again_still_works(bootstrap):
    # Dask's own route leaves it in `closing_gracefully` for good.
    retirements = bootstrap.Retirements("another-head.")
    retirements.REFUSED_SECONDS = 0.0
    # Our own rule would refuse it before Dask does: here Dask has to.
    retirements._rest_holds_data = lambda *_: True

    async def test(scheduler, workers, client):
        held = await hold(client, workers[0], 1)
        answers = []
        while answers.count(["head.0"]) < 3:
            try:
                answer = await retirements.retire(scheduler, ["head.0"])
                answers.append(answer["refused"])
            except bootstrap.Refused as refused:
                assert refused.status == 409 and refused.body["error"] == "already leaving"
                await asyncio.sleep(0.01)
        assert answers == [["head.0"]] * 3
        assert await asyncio.wait_for(client.submit(len, held), 30) == MB
        assert scheduler.workers[workers[0].address].status.name == "running"

    on_cluster(test, [100])


def test_results_that_come_while_a_worker_leaves_are_moved(retirements):
    async def test(scheduler, workers, client):
        running = client.submit(
            wait_at_the_gate, workers=[workers[1].address], allow_other_workers=True
        )
        while not workers[1].active_keys:
            await asyncio.sleep(0.01)
        retirements.REPLY_SECONDS = 0.2
        answer = await retirements.retire(scheduler, ["job.1"])
        assert answer["leaving"] == ["job.1"] and not answer["retired"]
        gate["open"] = True
        while len(scheduler.workers) > 1:
            await asyncio.sleep(0.01)
        transitions = [event for event in scheduler.transition_log if event[0] == running.key]
        assert [e[2] for e in transitions].count("processing") == 1
        assert await running == "result"

    on_cluster(test, [100, 100])


def test_actors_keep_their_worker(retirements):
    class Counter:
        pass

    async def test(scheduler, workers, client):
        actor = await client.submit(Counter, actor=True, workers=[workers[1].address])
        assert names_to_close(retirements, scheduler, 1) == []
        answer = await retirements.retire(scheduler, ["job.1"])
        assert answer["refused"] == ["job.1"] and "actors" in answer["reasons"]["job.1"]
        del actor

    on_cluster(test, [100, 100])


def test_who_is_named_first_goes_first_and_the_data_rule_stays(retirements):
    async def test(scheduler, workers, client):
        first = ["old", "job"]
        assert names_to_close(retirements, scheduler, 1, ["gone", "old"]) == ["old.3"]
        assert names_to_close(retirements, scheduler, 9, ["old"]) == ["old.3", "job.1", "job.2"]
        held = [await hold(client, workers[3], 60)]
        assert names_to_close(retirements, scheduler, 1) == ["job.1"]
        assert names_to_close(retirements, scheduler, 9, ["old"]) == ["old.3", "job.1"]
        held.append(await hold(client, workers[0], 95))
        answer = retirements.to_close(scheduler, 1, first)
        why = "the other workers cannot hold the data twice over"
        assert answer == {"names": [], "reasons": {"job.1": why}}

    on_cluster(test, [100, 100, 100, 100], names=["head", "job", "job", "old"])


def test_nobody_goes_in_the_place_of_one_that_is_named_and_cannot_go(retirements):
    class Counter:
        pass

    async def test(scheduler, workers, client):
        actor = await client.submit(Counter, actor=True, workers=[workers[1].address])
        scheduler.handle_worker_status_change("paused", workers[2].address, "test")
        answer = retirements.to_close(scheduler, 2, ["actor", "paused"])
        assert answer == {
            "names": [],
            "reasons": {
                "paused.2": "it is paused",
                "actor.1": "it holds actors, which cannot be moved",
            },
        }
        # Another one that is named may go in its place.
        named = ["actor", "job"]
        assert names_to_close(retirements, scheduler, 1, named) == ["job.3"]
        assert names_to_close(retirements, scheduler, 2, named) == ["job.3", "job.4"]
        # A third and a fourth may be others; and where nobody is preferred, others go in their place.
        assert names_to_close(retirements, scheduler, 4, ["actor", "paused"]) == ["job.3", "job.4"]
        assert names_to_close(retirements, scheduler, 2) == ["job.3", "job.4"]
        # The head's own worker never goes, and holds no place.
        assert names_to_close(retirements, scheduler, 1, ["head"]) == ["job.3"]
        del actor

    on_cluster(test, [100] * 5, names=["head", "actor", "paused", "job", "job"])

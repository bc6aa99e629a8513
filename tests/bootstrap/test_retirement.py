"""Letting workers go: nothing is lost, nothing runs twice."""

from __future__ import annotations

import sys
import threading

import psutil
from azure_ml import wait_until


def in_background(function, *arguments):
    """Runs it in a thread; the returned function waits for its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*arguments)))
    thread.start()

    def wait():
        thread.join()
        return result[0]

    return wait


def status_of(scheduler, name):
    return {w["name"]: w["status"] for w in scheduler.state()["workers"]}.get(name)


def test_a_retired_worker_leaves_its_data_and_its_job_ends_with_0(lab, connect):
    head = lab.head(DASK_AZUREML_RUN_WORKER="true")
    job = lab.worker()
    scheduler = lab.scheduler_of(head)
    scheduler.worker_of(head)
    worker = scheduler.worker_of(job)
    client = connect(scheduler)
    held = client.scatter([bytes([n]) * 10_000 for n in range(10)], workers=[worker["address"]])

    status, answer = scheduler.retire(worker["name"])
    assert status == 200
    assert answer["retired"] == [worker["name"]] and not answer["refused"]
    assert status_of(scheduler, worker["name"]) is None
    assert job.exit_code() == 0
    assert job.own_lines()[-1] == "the worker is retired: the others have its data"
    assert client.gather(held) == [bytes([n]) * 10_000 for n in range(10)]
    assert scheduler.retire(worker["name"])[1]["unknown"] == [worker["name"]]


def test_a_refused_worker_stays_usable(lab, connect):
    head, job = lab.head(), lab.worker()
    scheduler = lab.scheduler_of(head)
    worker = scheduler.worker_of(job)
    client = connect(scheduler)
    held = client.scatter(list(range(5)), workers=[worker["address"]])

    status, answer = scheduler.retire(worker["name"])
    assert status == 200
    assert answer["refused"] == [worker["name"]] and not answer["retired"]
    status, answer = scheduler.retire(worker["name"])
    assert status == 409
    assert answer["names"] == [worker["name"]] and 0 < answer["retry_after"] <= 10
    assert scheduler.to_close(1) == []
    assert status_of(scheduler, worker["name"]) == "running"
    assert client.submit(lambda n: n + 1, held[4]).result(timeout=30) == 5
    assert client.gather(held) == list(range(5))


def test_tasks_that_run_come_to_their_end_and_the_others_move(lab, connect, tmp_path):
    head, busy = lab.head(), lab.worker("busy")
    scheduler = lab.scheduler_of(head)
    leaving = scheduler.worker_of(busy)
    client = connect(scheduler)
    ran, release = tmp_path / "ran", tmp_path / "release"

    def hold(n):
        import os
        import time

        with open(ran, "a") as file:
            file.write(f"{n}\n")
        while not os.path.exists(release):
            time.sleep(0.05)
        return n

    def quick(n):
        return os.environ["AZUREML_RUN_ID"], n

    import os

    first = client.submit(hold, 1, key="hold")
    wait_until(ran.exists, "the task has begun")
    waiting = [
        client.submit(quick, n, workers=[leaving["address"]], allow_other_workers=True)
        for n in range(4)
    ]
    wait_until(lambda: scheduler.worker_of(busy)["processing"] == 5, "tasks are assigned")
    idle = lab.worker("idle")
    scheduler.worker_of(idle)
    assert scheduler.to_close(2)[0].startswith("idle.")

    answer = in_background(scheduler.retire, leaving["name"])
    # What has not begun there goes to the other worker while the first task still runs.
    assert {where for where, _ in client.gather(waiting)} == {"idle"}
    assert status_of(scheduler, leaving["name"]) == "closing_gracefully"
    status, conflict = scheduler.retire(leaving["name"])
    assert (status, conflict["names"]) == (409, [leaving["name"]])
    assert conflict["error"] == "already leaving" and conflict["retry_after"] > 0

    release.touch()
    assert answer()[1]["retired"] == [leaving["name"]]
    assert first.result(timeout=30) == 1
    assert ran.read_text() == "1\n"
    assert busy.exit_code() == 0


def test_one_retirement_at_a_time(lab, connect):
    head, one, two = lab.head(), lab.worker("one"), lab.worker("two")
    scheduler = lab.scheduler_of(head)
    first, second = scheduler.worker_of(one), scheduler.worker_of(two)
    client = connect(scheduler)

    class SlowToMove:
        def __reduce__(self):
            import time

            time.sleep(3)
            return (str, ("moved",))

    held = client.submit(SlowToMove, workers=[first["address"]], key="slow")
    wait_until(lambda: held.status == "finished", "the data is there")
    answer = in_background(scheduler.retire, first["name"])
    wait_until(lambda: status_of(scheduler, first["name"]) == "closing_gracefully", "it is leaving")
    status, conflict = scheduler.retire(second["name"])
    assert (status, conflict["error"]) == (409, "another retirement is under way")
    assert conflict["names"] == [first["name"]] and conflict["retry_after"] > 0
    assert answer()[1]["retired"] == [first["name"]]
    assert held.result(timeout=30) == "moved"
    assert status_of(scheduler, second["name"]) == "running"


def test_several_workers_leave_together(lab, connect):
    head = lab.head(DASK_AZUREML_RUN_WORKER="true")
    jobs = [lab.worker("one"), lab.worker("two")]
    scheduler = lab.scheduler_of(head)
    scheduler.worker_of(head)
    workers = [scheduler.worker_of(job) for job in jobs]
    client = connect(scheduler)
    held = [client.scatter([n], workers=[workers[n]["address"]])[0] for n in range(2)]
    names = [worker["name"] for worker in workers]

    assert sorted(scheduler.to_close(5)) == sorted(names)
    status, answer = scheduler.retire(*names)
    assert (status, sorted(answer["retired"])) == (200, sorted(names))
    assert client.gather(held) == [0, 1]
    assert [job.exit_code() for job in jobs] == [0, 0]


def test_a_worker_that_is_not_heard_of_keeps_no_other_from_leaving(bootstrap, lab, connect, tmp_path):
    # Ten seconds stand for the minute.
    source = tmp_path / "dask_azureml.py"
    text = open(bootstrap.__file__).read()
    changed = text.replace("HEARD_OF_SECONDS = 60.0", "HEARD_OF_SECONDS = 10.0")
    assert changed != text
    source.write_text(changed)
    head = lab.head(command=[sys.executable, str(source)])
    one, two, three = lab.worker("one"), lab.worker("two"), lab.worker("three")
    scheduler = lab.scheduler_of(head)
    frozen, other = (scheduler.worker_of(job)["name"] for job in (one, two))
    scheduler.worker_of(three)
    client = connect(scheduler)
    on_it = [scheduler.worker_of(one)["address"]]
    held = client.scatter([bytes([n]) for n in range(10)], workers=on_it)
    tree = psutil.Process(one.process.pid)
    tree = [tree, *tree.children(recursive=True)]
    for process in tree:
        process.suspend()
    try:
        # Nobody knows yet, so it is asked, and waits for what does not come.
        first = in_background(scheduler.retire, frozen)
        wait_until(lambda: status_of(scheduler, frozen) == "closing_gracefully", "it is asked")
        status, answer = scheduler.retire(other)
        assert (status, answer["error"]) == (409, "another retirement is under way")
        why = "it has not been heard of for a minute"
        _, answer = first()
        assert answer["reasons"] == {frozen: why}, answer
        _, answer = scheduler.retire(other)
        assert answer["retired"] == [other], answer
        assert frozen not in scheduler.to_close(9)
    finally:
        for process in tree:
            process.resume()
    # It is what it was, and may go.
    assert client.gather(held) == [bytes([n]) for n in range(10)]
    goes = lambda: scheduler.retire(frozen)[1].get("retired") == [frozen]  # noqa: E731
    wait_until(goes, "it goes")
    assert client.gather(held) == [bytes([n]) for n in range(10)]

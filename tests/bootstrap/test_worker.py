"""The worker: finding its head, and how it ends."""

from __future__ import annotations

import psutil
from azure_ml import wait_until
from test_head import dask_processes


def test_a_worker_waits_for_a_late_head(lab):
    job = lab.worker()
    job.wait_for_line("waiting for the head's job head: the head's job does not exist")
    # An earlier attempt of the head has left its tags: nobody answers there.
    stale = {"scheduler": "tcp://127.63.0.1:8786", "dashboard": "http://127.63.0.1:8787"}
    lab.mlflow.start_run("head", **stale)
    job.wait_for_line("the scheduler does not answer at http://127.63.0.1:8787")
    scheduler = lab.scheduler_of(lab.head())
    assert scheduler.worker_of(job)["address"].startswith(f"tcp://{job.address}:")


def test_every_attempt_has_a_name_of_its_own(lab):
    scheduler = lab.scheduler_of(lab.head())
    first = scheduler.worker_of(lab.worker("job"))["name"]
    second = scheduler.worker_of(lab.worker("job"), but=[first])["name"]
    for name in (first, second):
        assert name.startswith("job.") and len(name) > len("job.")


def test_a_worker_of_a_head_that_has_ended_ends_too(lab):
    for status in ("FINISHED", "FAILED", "KILLED"):
        lab.mlflow.start_run(f"head-{status}", status, scheduler="tcp://127.63.0.1:8786")
    jobs = {
        status: lab.worker(f"worker-{status}", head=f"head-{status}")
        for status in ("FINISHED", "FAILED", "KILLED")
    }
    for status, job in jobs.items():
        assert job.exit_code() == 1
        assert f"the head's job head-{status} has ended ({status})" in job.own_lines()[-1]


def test_a_worker_gives_up_in_time(lab):
    lab.mlflow.start_run("head", "SCHEDULED")
    job = lab.worker(DASK_AZUREML_START_TIMEOUT_SECONDS="1")
    assert job.exit_code() == 1
    assert job.own_lines()[-1] == "no scheduler within 1 s: the head has not published its addresses"


def test_a_worker_that_is_stopped_while_it_waits_ends_with_0(lab):
    job = lab.worker()
    job.wait_for_line("waiting for the head's job")
    job.terminate()
    assert job.exit_code() == 0
    assert job.own_lines()[-1] == "asked to stop (SIGTERM) before there was a worker"


def test_sigterm_hands_the_data_over(lab, connect):
    stays, goes = lab.worker("stays"), lab.worker("goes")
    scheduler = lab.scheduler_of(lab.head())
    scheduler.worker_of(stays)
    worker = scheduler.worker_of(goes)
    client = connect(scheduler)
    held = client.scatter(list(range(10)), workers=[worker["address"]])
    goes.terminate()
    assert goes.exit_code() == 0
    assert "the others have the worker's data" in goes.own_lines()
    assert client.gather(held) == list(range(10))


def test_the_end_of_the_scheduler_fails_its_workers(lab):
    for run, end in (("crashed", "kill"), ("shut", "terminate")):
        head = lab.head(f"head-{run}")
        job = lab.worker(f"worker-{run}", head=f"head-{run}")
        lab.scheduler_of(head).worker_of(job)
        getattr(dask_processes(head)["scheduler"], end)()
        assert job.exit_code() == 3
        assert "the scheduler is gone" in job.own_lines()[-1]


def test_a_crashed_worker_process_is_started_anew_in_the_same_job(lab):
    job = lab.worker()
    scheduler = lab.scheduler_of(lab.head())
    before = scheduler.worker_of(job)
    nanny = psutil.Process(job.process.pid).children()[0]
    for process in nanny.children(recursive=True):
        if "spawn_main" in " ".join(process.cmdline()):
            process.kill()
    wait_until(
        lambda: scheduler.worker_of(job)["address"] != before["address"], "a new worker process"
    )
    assert scheduler.worker_of(job)["name"] == before["name"]
    assert job.process.poll() is None

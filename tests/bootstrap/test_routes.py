"""The scheduler's own HTTP routes: who may call them, and what they say."""

from __future__ import annotations

import threading
import time

import pytest

STATE = "/dask-azureml/v1/state"
TO_CLOSE = "/dask-azureml/v1/to-close"
RETIRE = "/dask-azureml/v1/retire"

FIELDS = {
    "id": str,
    "address": str,
    "started": float,
    "now": float,
    "tasks": int,
    "total_threads": int,
    "total_memory": int,
    "adaptive_target": int,
    "load": dict,
    "workers": list,
}
LOAD_FIELDS = {
    "idle_since": (float, type(None)),
    "clients": int,
    "processing": int,
    "queued": int,
    "unrunnable": int,
    "work_seconds": float,
    "nbytes": int,
}
WORKER_FIELDS = {
    "name": str,
    "address": str,
    "status": str,
    "threads": int,
    "memory_limit": int,
    "memory": (int, type(None)),
    "nbytes": int,
    "keys": int,
    "processing": int,
    "long_running": int,
    "last_seen": float,
}


@pytest.fixture(scope="module")
def cluster(shared_lab):
    """A head with its own worker, and a worker job beside it."""
    head = shared_lab.head(DASK_AZUREML_RUN_WORKER="true")
    worker = shared_lab.worker()
    scheduler = shared_lab.scheduler_of(head)
    scheduler.own = scheduler.worker_of(head)
    scheduler.other = scheduler.worker_of(worker)
    return scheduler


@pytest.fixture
def client(cluster, connect):
    return connect(cluster)


@pytest.mark.parametrize("token", [None, "", "wrong-token"])
@pytest.mark.parametrize("method, path", [("GET", STATE), ("POST", TO_CLOSE), ("POST", RETIRE)])
def test_who_brings_no_valid_token_is_refused(cluster, method, path, token):
    body = {"names": [cluster.other["name"]], "count": 1}
    assert cluster.request(method, path, body, token) == (401, {"error": "unauthorized"})
    assert len(cluster.state()["workers"]) == 2


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/retire_workers", "/api/v1/get_workers"])
def test_the_stock_routes_that_change_the_cluster_are_absent(cluster, path):
    assert cluster.request("GET", path)[0] == 404
    assert cluster.request("POST", path, {"n": 1})[0] == 404
    assert len(cluster.state()["workers"]) == 2


@pytest.mark.parametrize("path", ["/health", "/metrics", "/json/counts.json", "/status"])
def test_the_stock_routes_that_only_read_are_there(cluster, path):
    assert cluster.request("GET", path, token=None)[0] == 200


def test_the_state_has_every_field_of_the_contract(cluster):
    state = cluster.state()
    assert {name: isinstance(state[name], kind) for name, kind in FIELDS.items()} == {
        name: True for name in FIELDS
    }
    assert set(state) == set(FIELDS)
    assert set(state["load"]) == set(LOAD_FIELDS)
    assert all(isinstance(state["load"][name], kind) for name, kind in LOAD_FIELDS.items())
    for worker in state["workers"]:
        assert set(worker) == set(WORKER_FIELDS)
        assert all(isinstance(worker[name], kind) for name, kind in WORKER_FIELDS.items())
        assert worker["status"] == "running"
    assert state["total_threads"] == 2


def test_the_state_counts_clients_tasks_and_data(cluster, client):
    before = cluster.state()
    held = client.scatter(b"x" * 1_000_000, workers=[cluster.other["address"]])
    state = cluster.state()
    assert state["load"]["clients"] == 1
    assert state["tasks"] == before["tasks"] + 1
    assert state["load"]["nbytes"] - before["load"]["nbytes"] >= 1_000_000
    worker = next(w for w in state["workers"] if w["name"] == cluster.other["name"])
    assert worker["keys"] == 1 and worker["nbytes"] >= 1_000_000
    assert held.status == "finished"


def test_the_state_answers_at_all_times_under_load(cluster, client):
    # Dask's own identity.json answers 500 here, as metrics then have keys that JSON cannot hold.
    def work(n):
        import time

        time.sleep(0.002)
        return n

    stop = threading.Event()
    answers = []

    def poll():
        while not stop.wait(0.02):
            answers.append(cluster.request("GET", STATE))

    poller = threading.Thread(target=poll)
    poller.start()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        futures = client.map(work, range(100), pure=False)
        client.gather(client.map(lambda n: n + 1, futures, pure=False))
    stop.set()
    poller.join()
    assert len(answers) > 20
    assert {status for status, _ in answers} == {200}
    assert any(state["load"]["processing"] for _, state in answers)
    assert any(state["load"]["idle_since"] is None for _, state in answers)


@pytest.mark.parametrize(
    "path, body",
    [
        (RETIRE, b""),
        (RETIRE, b"{"),
        (RETIRE, []),
        (RETIRE, {}),
        (RETIRE, {"names": []}),
        (RETIRE, {"names": "worker"}),
        (RETIRE, {"names": [1]}),
        (RETIRE, {"names": [""]}),
        (TO_CLOSE, {}),
        (TO_CLOSE, {"count": "1"}),
        (TO_CLOSE, {"count": -1}),
        (TO_CLOSE, {"count": True}),
        (TO_CLOSE, []),
        (TO_CLOSE, {"count": 1, "first": "worker"}),
        (TO_CLOSE, {"count": 1, "first": [1]}),
    ],
)
def test_a_malformed_body_is_answered_400(cluster, path, body):
    status, answer = cluster.request("POST", path, body)
    assert status == 400 and set(answer) == {"error"}


def test_unknown_names_are_told(cluster):
    status, answer = cluster.retire("worker.gone", "worker.gone", "worker.never")
    assert status == 200
    assert (answer["retired"], answer["refused"]) == ([], [])
    assert answer["unknown"] == ["worker.gone", "worker.never"]


def test_the_heads_own_worker_is_never_let_go(cluster):
    assert cluster.to_close(9) == [cluster.other["name"]]
    assert cluster.to_close(9, first=["head", "worker"]) == [cluster.other["name"]]
    status, answer = cluster.retire(cluster.own["name"])
    assert status == 200
    assert (answer["retired"], answer["refused"]) == ([], [cluster.own["name"]])
    assert {w["status"] for w in cluster.state()["workers"]} == {"running"}

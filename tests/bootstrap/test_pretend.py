"""The simulator's stand-in for a scheduler (`--jobs pretend`) answers as the real one does.

Both are led through the same steps, and every answer must have the same status, keys and types.
Whoever changes a route of the bootstrap finds here that the stand-in no longer tells the truth.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import ssl
import subprocess
import urllib.parse
import urllib.request

import pytest
from azure_ml import TOKEN_SHA256, Scheduler, wait_until
from test_routes import FIELDS, LOAD_FIELDS, RETIRE, STATE, TO_CLOSE, WORKER_FIELDS

ML = "api-version=2025-12-01"


def simulator_binary() -> pathlib.Path:
    top = pathlib.Path(__file__).parents[2]
    target = top / (os.environ.get("CARGO_TARGET_DIR") or "target")
    folder = top / os.environ.get("DASK_AZUREML_BIN", target / "debug")
    return folder / "azure-simulator"


class Pretended:
    """A simulator whose jobs only pretend, with a pool in it."""

    def __init__(self, folder: pathlib.Path) -> None:
        command = [simulator_binary(), "serve", "--directory", folder, "--jobs", "pretend"]
        command += ["--time-scale", "instant"]
        self._log = open(folder.parent / "pretend.log", "wb")
        self._process = subprocess.Popen(command, stderr=self._log)
        env_file = folder / "env"
        wait_until(
            lambda: env_file.exists() or self._process.poll() is not None, "the simulator is there"
        )
        assert self._process.poll() is None, "the simulator has ended"
        lines = (line.removeprefix("export ") for line in env_file.read_text().splitlines())
        self._env = {name: value.strip("'") for name, _, value in (x.partition("=") for x in lines)}
        trust = ssl.create_default_context(cafile=folder / "ca.crt")
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        self._opener = urllib.request.build_opener(*handlers)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._env["AZURE_CLIENT_ID"],
            "client_secret": self._env["AZURE_CLIENT_SECRET"],
            "scope": "https://management.azure.com/.default",
        }
        entra = self._env["AZURE_AUTHORITY_HOST"] + self._env["AZURE_TENANT_ID"]
        answer = self._open(entra + "/oauth2/v2.0/token", urllib.parse.urlencode(form).encode())
        self._token = answer["access_token"]
        self._workspace = (
            f"/subscriptions/{self._env['AZURE_SUBSCRIPTION_ID']}"
            f"/resourceGroups/{self._env['AZURE_RESOURCE_GROUP']}/providers"
            f"/Microsoft.MachineLearningServices/workspaces/{self._env['AZURE_ML_WORKSPACE']}"
        )
        scale = {"minNodeCount": 0, "maxNodeCount": 8}
        pool = {"vmSize": "Standard_DS3_v2", "scaleSettings": scale}
        self._put(
            "computes/pool",
            {
                "location": "eastus",
                "properties": {"computeType": "AmlCompute", "properties": pool},
            },
        )
        self._put("environments/e/versions/1", {"properties": {"image": "i"}})

    def _open(self, url: str, body: bytes | None, method: str | None = None) -> dict:
        request = urllib.request.Request(url, body, method=method)
        if hasattr(self, "_token"):
            request.add_header("Authorization", "Bearer " + self._token)
            request.add_header("Content-Type", "application/json")
        with self._opener.open(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _url(self, path: str) -> str:
        return f"{self._env['AZURE_RESOURCE_MANAGER_ENDPOINT']}{self._workspace}/{path}?{ML}"

    def _put(self, path: str, body: dict) -> None:
        self._open(self._url(path), json.dumps(body).encode(), "PUT")

    def _job(self, job: str, **variables: str) -> None:
        properties = {
            "jobType": "Command",
            "command": "python bootstrap.py",
            "computeId": f"{self._workspace}/computes/pool",
            "environmentId": f"{self._workspace}/environments/e/versions/1",
            "environmentVariables": {f"DASK_AZUREML_{k}": v for k, v in variables.items()},
        }
        self._put(f"jobs/{job}", {"properties": properties})

    def head(self, job: str) -> Scheduler:
        control = {"TOKEN_SHA256": TOKEN_SHA256, "RUN_WORKER": "true", "WORKER_THREADS": "1"}
        self._job(job, ROLE="head", **control)

        def tags():
            found = self._open(self._url(f"jobs/{job}"), None)["properties"]["tags"]
            return found if "dashboard" in found else None

        return Scheduler(wait_until(tags, f"tags of {job}"))

    def worker(self, job: str, head: str) -> None:
        self._job(job, ROLE="worker", HEAD_RUN=head, WORKER_THREADS="1")

    def tell(self, job: str, **what) -> None:
        url = f"{self._env['AZURE_SIMULATOR_CONTROL']}/pretend/{job}"
        self._open(url, json.dumps(what).encode())

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def pretended(tmp_path_factory):
    if not simulator_binary().exists():
        pytest.fail(f"{simulator_binary()} is not there: `make build` builds it")
    simulator = Pretended(tmp_path_factory.mktemp("pretend") / "simulator")
    with contextlib.closing(simulator):
        yield simulator


def shape(value):
    """Keys and types; of the names in it, only which job they belong to."""
    if isinstance(value, dict):
        return {job_of(key): shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    if isinstance(value, str) and "." in value and "://" not in value:
        return job_of(value)
    return type(value).__name__


def job_of(name: str) -> str:
    return name.split(".")[0]


class Steps:
    """Everything that the operator asks, in an order in which each answer has something to say."""

    def __init__(self, scheduler: Scheduler, hold, let_go) -> None:
        self._scheduler = scheduler
        self._hold, self._let_go = hold, let_go
        self.answers: dict = {}

    def _note(self, what: str, method: str, path: str, *body, **token):
        self.answers[what] = self._scheduler.request(method, path, *body, **token)
        return self.answers[what]

    def _names(self) -> dict:
        return {job_of(w["name"]): w["name"] for w in self._scheduler.state()["workers"]}

    def take(self) -> dict:
        wait_until(lambda: len(self._names()) == 3, "the three workers")
        names = self._names()
        self._note("health", "GET", "/health", token=None)
        self._note("state", "GET", STATE)
        for path in (STATE, TO_CLOSE, RETIRE):
            method = "GET" if path == STATE else "POST"
            self._note(f"no token {path}", method, path, {"names": ["x"]}, token=None)
            self._note(f"wrong token {path}", method, path, {"names": ["x"]}, token="wrong")
        for body in (b"", b"{", [], {}, {"names": []}, {"names": "x"}, {"names": [1]}):
            self._note(f"malformed retire {body}", "POST", RETIRE, body)
        malformed = [{}, {"count": "1"}, {"count": -1}, {"count": True}, {"count": 1.5}, []]
        malformed += [{"count": 1, "first": first} for first in ("w1", [1], [""], {}, None)]
        for body in malformed:
            self._note(f"malformed to-close {body}", "POST", TO_CLOSE, body)
        self._note("not a route", "GET", "/dask-azureml/v1/none")
        self._note("stock retirement", "POST", "/api/v1/retire_workers", {"n": 1})
        self._note("all that could go", "POST", TO_CLOSE, {"count": 9})
        self._note("none asked", "POST", TO_CLOSE, {"count": 0})
        for job in ("w1", "w2", "head", "gone"):
            body = {"count": 1, "first": [job, "gone"]}
            self._note(f"{job} first", "POST", TO_CLOSE, body)
        self._note("unknown", "POST", RETIRE, {"names": ["gone.1", "gone.1"]})
        self._note("the head's own", "POST", RETIRE, {"names": [names["head"]]})
        self._hold("w1")
        self._note("state with data", "GET", STATE)
        self._note("the idle one first", "POST", TO_CLOSE, {"count": 1})
        self._note("retired with data", "POST", RETIRE, {"names": [names["w1"]]})
        wait_until(lambda: "w1" not in self._names(), "w1 is gone")
        self._note("its data is elsewhere", "GET", STATE)
        self._let_go()
        self._note("retired without data", "POST", RETIRE, {"names": [names["w2"], "gone.1"]})
        wait_until(lambda: set(self._names()) == {"head"}, "w2 is gone")
        self._note("state at the end", "GET", STATE)
        return self.answers


def real_answers(lab, connect) -> dict:
    head = lab.head(DASK_AZUREML_RUN_WORKER="true")
    jobs = {name: lab.worker(name) for name in ("w1", "w2")}
    scheduler = lab.scheduler_of(head)
    client = connect(scheduler)
    held = []

    def hold(job):
        worker = scheduler.worker_of(jobs[job])
        held.extend(client.scatter([b"x" * 1000] * 3, workers=[worker["address"]], hash=False))

    def let_go():
        held.clear()
        wait_until(lambda: scheduler.state()["tasks"] == 0, "the data is let go")

    return Steps(scheduler, hold, let_go).take()


def pretended_answers(pretended) -> dict:
    scheduler = pretended.head("head")
    for name in ("w1", "w2"):
        pretended.worker(name, "head")
    pretended.tell("head", clients=1)

    def hold(job):
        pretended.tell(job, keys=3, nbytes=3000)

    def let_go():
        for worker in scheduler.state()["workers"]:
            pretended.tell(job_of(worker["name"]), keys=0, nbytes=0)

    return Steps(scheduler, hold, let_go).take()


# Numbers that must be equal: the others depend on the machine and the moment.
COUNTED = ("tasks", "total_threads")
LOAD_COUNTED = ("clients", "processing", "queued", "unrunnable", "work_seconds")


def by_job(state: dict) -> dict:
    """A state whose workers are in the order of their jobs."""
    return {**state, "workers": sorted(state["workers"], key=lambda w: job_of(w["name"]))}


def test_stand_in_and_real_dask_answer_the_routes_alike(lab, connect, pretended):
    real = real_answers(lab, connect)
    told = pretended_answers(pretended)
    assert list(told) == list(real)
    for what, (status, answer) in real.items():
        told_status, told_answer = told[what]
        assert told_status == status, what
        if status in (404, 405):
            continue  # Tornado's own page, which nobody reads.
        if isinstance(answer, dict) and "workers" in answer:
            answer, told_answer = by_job(answer), by_job(told_answer)
            assert set(told_answer) == set(FIELDS) and set(answer) == set(FIELDS)
            assert [set(w) for w in told_answer["workers"]] == [set(WORKER_FIELDS)] * len(
                answer["workers"]
            )
            assert [told_answer[x] for x in COUNTED] == [answer[x] for x in COUNTED], what
            loads = told_answer["load"], answer["load"]
            assert [set(load) for load in loads] == [set(LOAD_FIELDS)] * 2
            told_load, load = ([load[x] for x in LOAD_COUNTED] for load in loads)
            assert told_load == load, what
            keys = [[w["keys"] for w in state["workers"]] for state in (told_answer, answer)]
            assert sum(keys[0]) == sum(keys[1]), what
        if isinstance(answer, dict) and "names" in answer and status == 200:
            answer["names"].sort()
            told_answer["names"].sort()
        if status == 400:
            assert set(told_answer) == set(answer) == {"error"}
            continue
        assert shape(told_answer) == shape(answer), what


def test_a_busy_worker_is_let_go_and_a_refused_one_left_alone_alike(lab, connect, pretended):
    head, job = lab.head("lone"), lab.worker("w3", head="lone")
    real = lab.scheduler_of(head)
    worker = real.worker_of(job)
    held = connect(real).scatter([b"x"] * 3, workers=[worker["address"]], hash=False)
    stand_in = pretended.head("crowded")
    pretended.worker("w3", "crowded")
    wait_until(lambda: len(stand_in.state()["workers"]) == 2, "the worker has joined")
    # More than the head's own worker can take in: a limit of 14 GiB each.
    for name in ("crowded", "w3"):
        pretended.tell(name, keys=3, nbytes=10 << 30)
    both = (real, stand_in)
    names = [
        next(w["name"] for w in scheduler.state()["workers"] if w["name"].startswith("w3."))
        for scheduler in both
    ]
    for _ in range(2):
        answers = [s.retire(name) for s, name in zip(both, names, strict=True)]
        assert shape(list(answers[0])) == shape(list(answers[1]))
        assert answers[0][0] == answers[1][0]
    assert answers[0][0] == 409 and held

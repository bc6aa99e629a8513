"""As much of Azure ML as the bootstrap sees: jobs that are processes, MLflow and node metadata."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

BOOTSTRAP = pathlib.Path(__file__).parents[2] / "src" / "bootstrap" / "dask_azureml.py"

# What the operator PUTs as the job's command, without the dataset arguments.
COMMAND = (
    'exec python -c "import base64,gzip,os;'
    "source=gzip.decompress(base64.b64decode(os.environ.pop('DASK_AZUREML_BOOTSTRAP')));"
    "exec(compile(source,'dask_azureml.py','exec'))\""
)

TOKEN = "token-of-this-incarnation"
TOKEN_SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
MLFLOW_TOKEN = "token-of-the-job"

# Far above what anything takes; other builds may share the machine.
DEADLINE = 60.0


def encoded_bootstrap() -> str:
    """The bootstrap as the operator puts it into the job's environment."""
    return base64.b64encode(gzip.compress(BOOTSTRAP.read_bytes(), 9)).decode()


def wait_until(condition, what: str, deadline: float = DEADLINE):
    """The first true value of `condition()`; fails the test when none comes."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline:.0f} s: {what}"
        time.sleep(0.05)


class Service:
    """An HTTP server of the test on a loopback address of its own."""

    def __init__(self, address: str, answer, tls: tuple | None = None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, body, headers = answer(self, self.rfile.read(length))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do

            def log_message(self, *_args) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((address, 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.netloc = f"{address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Mlflow(Service):
    """Runs with tags over MLflow's REST API, as the workspace's data plane serves it."""

    WORKSPACE = (
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices"
        "/workspaces/ws"
    )

    def __init__(self, address: str, tls: tuple) -> None:
        self.runs: dict = {}
        self.refusals: list = []  # Answers to give before the true ones: (status, headers).
        self.requests: list = []
        self.batches: list = []  # The tags of each request that set some.
        super().__init__(address, self._answer, tls)
        self.tracking_uri = f"azureml://{self.netloc}/mlflow/v1.0{self.WORKSPACE}?"

    def start_run(self, run: str, status: str = "RUNNING", **tags) -> None:
        self.runs[run] = {"status": status, "tags": tags}

    def _answer(self, request, body: bytes):
        self.requests.append(f"{request.command} {request.path}")
        url = urllib.parse.urlsplit(request.path)
        prefix = f"/mlflow/v2.0{self.WORKSPACE}/api/2.0/mlflow/runs/"
        if request.headers.get("Authorization") != "Bearer " + MLFLOW_TOKEN:
            return self._error(401, "UNAUTHENTICATED")
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return status, b"{}", headers
        if not url.path.startswith(prefix):
            return self._error(404, "ENDPOINT_NOT_FOUND")
        method = url.path[len(prefix) :]
        if request.command == "GET" and method == "get":
            return self._get(urllib.parse.parse_qs(url.query)["run_id"][0])
        if request.command == "POST" and method == "log-batch":
            batch = json.loads(body)
            if batch["run_id"] not in self.runs:
                return self._error(404, "RESOURCE_DOES_NOT_EXIST")
            tags = {tag["key"]: tag["value"] for tag in batch["tags"]}
            self.batches.append(tags)
            self.runs[batch["run_id"]]["tags"].update(tags)
            return 200, b"{}", {}
        return self._error(404, "ENDPOINT_NOT_FOUND")

    def _get(self, run: str):
        if run not in self.runs:
            return self._error(404, "RESOURCE_DOES_NOT_EXIST")
        tags = [{"key": k, "value": v} for k, v in self.runs[run]["tags"].items()]
        info = {"run_id": run, "status": self.runs[run]["status"]}
        return 200, json.dumps({"run": {"info": info, "data": {"tags": tags}}}).encode(), {}

    @staticmethod
    def _error(status: int, code: str):
        return status, json.dumps({"error_code": code, "message": code}).encode(), {}


class Job:
    """One job on one node: the process that `sh -c <command>` becomes, and its log."""

    def __init__(self, run: str, address: str, command: list, environ: dict, log) -> None:
        self.run = run
        self.address = address
        self._log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def own_lines(self) -> list:
        """What the bootstrap itself has said."""
        prefix = "dask_azureml: "
        return [x[len(prefix) :] for x in self.log().splitlines() if x.startswith(prefix)]

    def wait_for_line(self, part: str) -> str:
        def line():
            found = [line for line in self.own_lines() if part in line]
            assert found or self.process.poll() is None, f"ended without {part!r}:\n{self.log()}"
            return found and found[0]

        return wait_until(line, f"line with {part!r} of {self.run}")

    def exit_code(self) -> int:
        """Waits for the job's end."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.run} does not end:\n{self.log()}") from None

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Lab:
    """Starts head and worker jobs of one cluster on loopback addresses of their own."""

    def __init__(self, folder, addresses, mlflow: Mlflow, ca_file: str) -> None:
        self._folder = folder
        self._addresses = addresses
        self._ca_file = ca_file
        self._jobs: list = []
        self.mlflow = mlflow

    def environ(self, run: str, address: str, **extra) -> dict:
        return {
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            # A killed job leaves its scratch folder behind.
            "TMPDIR": str(self._folder),
            "AZUREML_RUN_ID": run,
            "MLFLOW_TRACKING_URI": self.mlflow.tracking_uri,
            "MLFLOW_TRACKING_TOKEN": MLFLOW_TOKEN,
            "MLFLOW_RUN_ID": run,
            "SSL_CERT_FILE": self._ca_file,
            "AZURE_SIMULATOR_NODE_ADDRESS": address,
            "DASK_AZUREML_START_TIMEOUT_SECONDS": "60",
            "DASK_AZUREML_WORKER_THREADS": "1",
            "DASK_AZUREML_DATASETS": "[]",
            "DASK_AZUREML_BOOTSTRAP": encoded_bootstrap(),
            **extra,
        }

    def start(self, run, arguments="", address=None, command=None, without=(), **extra) -> Job:
        address = address or next(self._addresses)
        environ = self.environ(run, address, **extra)
        for name in without:
            del environ[name]
        command = command or ["sh", "-c", f"{COMMAND} {arguments}"]
        self.mlflow.runs.setdefault(run, {"status": "RUNNING", "tags": {}})
        log = self._folder / f"{run}-{len(self._jobs)}.log"
        job = Job(run, address, command, environ, log)
        self._jobs.append(job)
        return job

    def head(self, run="head", **more) -> Job:
        control = {
            "DASK_AZUREML_ROLE": "head",
            "DASK_AZUREML_TOKEN_SHA256": TOKEN_SHA256,
            "DASK_AZUREML_RUN_WORKER": "false",
        }
        return self.start(run, **{**control, **more})

    def worker(self, run="worker", head="head", **more) -> Job:
        control = {"DASK_AZUREML_ROLE": "worker", "DASK_AZUREML_HEAD_RUN": head}
        return self.start(run, **{**control, **more})

    def scheduler_of(self, head: Job) -> Scheduler:
        """The scheduler, once its head has published it."""
        head.wait_for_line("published headnode")
        return Scheduler(self.mlflow.runs[head.run]["tags"])

    def close(self) -> None:
        for job in self._jobs:
            job.kill()


class Scheduler:
    """A scheduler as the operator sees it: by the tags of its run, and over HTTP."""

    def __init__(self, tags: dict) -> None:
        self.address = tags["scheduler"]
        self.dashboard = tags["dashboard"]

    def request(self, method: str, path: str, body=None, token: str | None = TOKEN):
        """Status and JSON (or text) of an answer."""
        headers = {"Authorization": "Bearer " + token} if token is not None else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.dashboard).netloc)
        with contextlib.closing(connection):
            connection.timeout = DEADLINE
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def state(self) -> dict:
        status, state = self.request("GET", "/dask-azureml/v1/state")
        assert status == 200, state
        return state

    def to_close(self, count: int, **first) -> list:
        body = {"count": count, **first}
        status, answer = self.request("POST", "/dask-azureml/v1/to-close", body)
        assert status == 200, answer
        return answer["names"]

    def retire(self, *names: str):
        return self.request("POST", "/dask-azureml/v1/retire", {"names": list(names)})

    def worker_of(self, job: Job, but=()) -> dict:
        """The registered worker of a job, once it is there; `but` names those not meant."""

        def find():
            workers = self.state()["workers"]
            found = [w for w in workers if w["name"].startswith(job.run + ".")]
            found = [w for w in found if w["name"] not in but]
            assert found or job.process.poll() is None, f"{job.run} has ended:\n{job.log()}"
            return found and found[0]

        return wait_until(find, f"worker of {job.run}")

"""What the head and worker jobs of a DaskCluster run on their nodes.

The operator carries this file inside each job (gzip + base64 in one environment variable) and
starts it with `exec python -c ...`, so this process is the one that Azure ML watches: its output
is the job's log and its exit code is the job's result.

| exit code | head                                     | worker                             |
|-----------|------------------------------------------|------------------------------------|
| 0         | asked to stop, or the scheduler was shut | retired, asked to stop, preempted  |
| 1         | did not start, or the scheduler failed   | did not start, or the worker failed|
| 3         |                                          | scheduler gone, or worker dropped  |
| 128 + n   | scheduler ended by signal n              | worker ended by signal n           |

The upper half is the job's own process, which needs the standard library only. It starts the
scheduler and the workers as children that import this file from a scratch folder: the lower half
is what runs inside those. Both are one file, longer than others, as a job carries one string.
"""

from __future__ import annotations

import ctypes
import glob
import http.client
import importlib.metadata
import importlib.util
import ipaddress
import json
import os
import platform
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787

# Exit codes of the worker's child process and of this one.
FAILED = 1
SCHEDULER_GONE = 3

# Routes of the scheduler's HTTP server. Dask replaces its own list by this one, so all wanted ones
# are named. `distributed.http.scheduler.api` is left out on purpose: it retires workers for anyone
# who can reach the port.
HTTP_ROUTES = [
    "dask_azureml",
    "distributed.http.scheduler.prometheus",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.health",
    "distributed.http.proxy",
    "distributed.http.statics",
]

# Azure's instance metadata service, reachable from a job's container.
INSTANCE_METADATA = "http://169.254.169.254"

CONTROL_PREFIX = "DASK_AZUREML_"
DATASET_PREFIX = "DASK_AZUREML_DATASET_"

TERMINAL_RUN_STATES = ("FINISHED", "FAILED", "KILLED")

# What a failed HTTP exchange raises: network, TLS and HTTP errors, and an unreadable body.
EXCHANGE_ERRORS = (OSError, ValueError, http.client.HTTPException)


class CannotRun(Exception):
    """Ends the job with exit code 1; the message is its one plain line."""


class AskedToStop(Exception):
    """A signal or a scheduled event asked this node to go."""


def say(line: str) -> None:
    """One step, one line in the job's log. Never given a token, a hash or a signed URL."""
    print("dask_azureml: " + line, flush=True)


class Stop:
    """Tells the main thread to stop, and wakes it when a child ends.

    A pipe instead of `threading.Event`: a signal handler that sets an Event while the main thread
    holds the Event's lock would hang for ever.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        # A second signal means now: the default action ends this process, and the kernel its
        # children (PR_SET_PDEATHSIG).
        signal.signal(number, signal.SIG_DFL)
        self.request(signal.Signals(number).name)

    def request(self, reason: str) -> None:
        self.reason = self.reason or reason
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # The pipe is full of wake-ups already.

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or sooner when a signal came or a child ended."""
        select.select([self._reader], [], [], max(0.0, seconds))
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass

    def sleep(self, seconds: float, until: float) -> None:
        """Waits `seconds`, but not past `until`; raises AskedToStop when asked to stop."""
        end = min(time.monotonic() + seconds, until)
        while not self.reason and time.monotonic() < end:
            self.wait(end - time.monotonic())
        if self.reason:
            raise AskedToStop(self.reason)


# ---------------------------------------------------------------------------------------------
# What the operator asks of this node


class Settings:
    """The control variables of the job, taken out of the environment that children inherit."""

    def __init__(self, environ) -> None:
        control = {
            name: environ.pop(name)
            for name in list(environ)
            if name.startswith(CONTROL_PREFIX) and not name.startswith(DATASET_PREFIX)
        }

        def take(name: str, default: str = "") -> str:
            return control.get(CONTROL_PREFIX + name, default).strip()

        def take_number(name: str, default: int | None = None) -> int | None:
            text = take(name)
            if text and not text.isdecimal():
                raise CannotRun(f"{CONTROL_PREFIX}{name} is not a whole number: {text!r}")
            return int(text) if text else default

        def take_json(name: str, kind: type):
            try:
                value = json.loads(take(name) or json.dumps(kind()))
            except ValueError:
                value = None
            if not isinstance(value, kind):
                raise CannotRun(f"{CONTROL_PREFIX}{name} is not a JSON {kind.__name__}")
            return value

        self.role = take("ROLE")
        if self.role not in ("head", "worker"):
            raise CannotRun(f"DASK_AZUREML_ROLE is neither head nor worker: {self.role!r}")
        self.run = environ.get("AZUREML_RUN_ID") or environ.get("MLFLOW_RUN_ID") or ""
        if not self.run:
            raise CannotRun("neither AZUREML_RUN_ID nor MLFLOW_RUN_ID names this job")
        self.token_sha256 = take("TOKEN_SHA256").lower()
        if self.role == "head" and not re.fullmatch("[0-9a-f]{64}", self.token_sha256):
            raise CannotRun("DASK_AZUREML_TOKEN_SHA256 is not a SHA-256 in hexadecimal")
        self.head_run = take("HEAD_RUN")
        if self.role == "worker" and not self.head_run:
            raise CannotRun("DASK_AZUREML_HEAD_RUN does not name the head's job")
        self.subnet = None
        if take("SUBNET"):
            try:
                self.subnet = ipaddress.IPv4Network(take("SUBNET"), strict=False)
            except ValueError as error:
                raise CannotRun(f"DASK_AZUREML_SUBNET: {error}") from None
        self.run_worker = take("RUN_WORKER", "false").lower() == "true"
        self.jupyter = take("JUPYTER", "false").lower() == "true"
        self.start_timeout = take_number("START_TIMEOUT_SECONDS", 1800)
        self.worker_threads = take_number("WORKER_THREADS")
        self.worker_memory_limit = take_number("WORKER_MEMORY_LIMIT")
        self.datasets = take_json("DATASETS", list)
        self.worker_env = {k: str(v) for k, v in take_json("WORKER_ENV", dict).items()}
        self.shared_machine_address = environ.get("AZURE_SIMULATOR_NODE_ADDRESS")


def check_image(settings: Settings) -> str:
    """The versions that the image brings; raises CannotRun when it cannot run Dask."""
    if importlib.util.find_spec("distributed") is None:
        raise CannotRun(
            f"the image has no package 'distributed' for {sys.executable or 'python'}: "
            "use an environment whose python has dask and distributed"
        )
    # Jupyter was asked for by name; a cluster that goes on without it would be silently less than
    # what the manifest says.
    if settings.jupyter and importlib.util.find_spec("jupyter_server") is None:
        raise CannotRun(
            "jupyter is asked for, but the image has no package 'jupyter-server': "
            "add it to the environment or set scheduler.jupyter to false"
        )
    version = importlib.metadata.version("distributed")
    return f"python {platform.python_version()}, distributed {version}"


# ---------------------------------------------------------------------------------------------
# The node's own address


def own_address(settings: Settings) -> str:
    """The address under which the other nodes reach this one."""
    if settings.shared_machine_address:
        return settings.shared_machine_address
    if settings.subnet is not None:
        address = source_address(str(settings.subnet.network_address + 1))
        if address and ipaddress.IPv4Address(address) in settings.subnet:
            return address
        say(f"no interface of this node has an address inside {settings.subnet}")
    address = source_address("10.255.255.255")
    if not address or ipaddress.IPv4Address(address).is_loopback or on_a_bridge(address):
        raise CannotRun(f"no address of this node can be reached by others (found: {address})")
    return address


def source_address(destination: str) -> str | None:
    """The address that the kernel would send from. `hostname -i` may say 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 9))  # UDP: no packet is sent.
        except OSError:
            return None
        return probe.getsockname()[0]


def on_a_bridge(address: str) -> bool:
    """Whether `address` belongs to a bridge, such as Docker's, that no other node can reach."""
    import fcntl

    SIOCGIFADDR = 0x8915
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for path in glob.glob("/sys/class/net/*/bridge"):
            name = path.split("/")[-2].encode()[:15].ljust(256, b"\0")
            try:
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, name)
            except OSError:
                continue  # A bridge without an address.
            if socket.inet_ntoa(answer[20:24]) == address:
                return True
    return False


def free_port(address: str, wanted: int) -> int:
    """`wanted` where it is free on `address`, else 0 (any)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, wanted))
        except OSError:
            say(f"port {wanted} of {address} is taken: another one is used")
            return 0
    return wanted


# ---------------------------------------------------------------------------------------------
# Datasets


def link_datasets(datasets: list, inputs: dict) -> dict:
    """Makes each dataset appear at its path.

    `inputs` maps the job's input names to what Azure ML put there: a path, which differs from job
    to job, or a URI in Direct mode. Returns the environment variables that tell where data is.
    """
    found = {}
    for dataset in datasets:
        name, path = dataset["name"], dataset.get("path")
        where = inputs.get(dataset["input"])
        if not where:
            raise CannotRun(f"dataset {name}: the job has no input {dataset['input']}")
        if dataset.get("mode") != "Direct":
            if not os.path.exists(where):
                raise CannotRun(f"dataset {name}: Azure ML did not put it at {where}")
            if path:
                link(name, path, os.path.realpath(where))
        elif path:
            raise CannotRun(f"dataset {name}: a Direct dataset has no path to link {path} to")
        variable = DATASET_PREFIX + name.upper().replace("-", "_")
        found[variable] = path or where
        say(f"dataset {name} is at {found[variable]}")
    return found


def link(name: str, path: str, target: str) -> None:
    """Makes `path` a symbolic link to `target`, at once where a link stands there already."""
    if os.path.realpath(path) == target:
        return
    temporary = f"{path.rstrip('/')}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(path.rstrip("/")) or "/", exist_ok=True)
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)  # Only an empty folder can be replaced.
        elif os.path.exists(path) and not os.path.islink(path):
            raise CannotRun(f"dataset {name}: {path} is a file already")
        os.symlink(target, temporary)
        os.replace(temporary, path.rstrip("/"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        ours = (None, path, temporary, target)
        at = "" if error.filename in ours else f"{error.filename}: "
        raise CannotRun(f"dataset {name}: {path} cannot be made: {at}{reason}") from None


# ---------------------------------------------------------------------------------------------
# HTTP


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would carry the bearer token to wherever a redirect points."""

    def redirect_request(self, *_args, **_kwargs):
        return None


# The data plane may lie behind the user's proxy; nodes and the metadata service never do.
_BY_PROXY = urllib.request.build_opener(_NoRedirect)
_DIRECTLY = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def fetch(opener, url: str, timeout: float, headers=None, body=None) -> bytes:
    request = urllib.request.Request(url, data=body, headers=headers or {})
    with opener.open(request, timeout=timeout) as answer:
        return answer.read()


def describe(error: Exception) -> str:
    """An error in few words, without the URL."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


class Runs:
    """Runs of the workspace over MLflow's REST API (contract section 10), with the job's token."""

    def __init__(self, environ) -> None:
        uri = environ.get("MLFLOW_TRACKING_URI", "").split("?")[0].rstrip("/")
        if not uri:
            raise CannotRun("MLFLOW_TRACKING_URI is not set: is this an Azure ML job?")
        if uri.startswith("azureml://"):
            # As azureml-mlflow does: jobs are told v1.0, the service of today is v2.0.
            uri = "https://" + uri[len("azureml://") :].replace("/mlflow/v1.0/", "/mlflow/v2.0/")
        self._base = uri + "/api/2.0/mlflow/runs/"
        self._headers = {"Content-Type": "application/json"}
        token = environ.get("MLFLOW_TRACKING_TOKEN")
        if token:
            self._headers["Authorization"] = "Bearer " + token

    def get(self, run: str) -> tuple[str, dict]:
        """The status and tags of a run."""
        query = urllib.parse.urlencode({"run_id": run, "run_uuid": run})
        answer = json.loads(fetch(_BY_PROXY, self._base + "get?" + query, 15, self._headers))
        found = answer["run"]
        tags = {tag["key"]: tag["value"] for tag in found.get("data", {}).get("tags") or []}
        return found["info"].get("status", ""), tags

    def set_tags(self, run: str, tags: dict) -> None:
        """Sets all `tags` in one request, so that nobody reads half of them."""
        body = {"run_id": run, "tags": [{"key": k, "value": v} for k, v in tags.items()]}
        fetch(_BY_PROXY, self._base + "log-batch", 15, self._headers, json.dumps(body).encode())


def retry_after(error: Exception) -> float:
    """Seconds that the service asks to be left alone, at most 60."""
    value = getattr(error, "headers", None) and error.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value and value.isdecimal() else 0.0


def healthy(dashboard: str) -> bool:
    try:
        return fetch(_DIRECTLY, dashboard + "/health", 3).strip() == b"ok"
    except EXCHANGE_ERRORS:
        return False


# ---------------------------------------------------------------------------------------------
# Children: the scheduler and the workers

# PATH[0] is the scratch folder that holds this file; children import it from there.
_CHILD = "import sys;sys.path.insert(0,sys.argv[1]);import dask_azureml;dask_azureml.child()"


class Scratch:
    """A folder of this process for its own source and the scheduler's file."""

    def __init__(self, source: bytes) -> None:
        self.folder = tempfile.mkdtemp(prefix="dask-azureml-")
        self.scheduler_file = os.path.join(self.folder, "scheduler.json")
        with open(os.path.join(self.folder, "dask_azureml.py"), "wb") as file:
            file.write(source)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Child:
    """A Dask process in a process group of its own, so that only this process signals it."""

    def __init__(self, scratch: Scratch, kind: str, options: dict, environ) -> None:
        options = {**options, "parent": os.getpid()}
        command = [sys.executable, "-c", _CHILD, scratch.folder, kind, json.dumps(options)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def ask_to_stop(self, stop: Stop, seconds: float) -> int | None:
        """SIGTERM, then at most `seconds` of patience. Returns the exit code, None if it stays."""
        if self.process.poll() is None:
            self.process.terminate()
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            stop.wait(end - time.monotonic())
        return self.exit_code()

    def kill(self) -> None:
        """Ends the whole process group: the nanny, its worker, and what tasks have started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


# ---------------------------------------------------------------------------------------------
# The head

ADDRESS_TAGS = ("headnode", "scheduler", "dashboard", "jupyter")
# The value of a tag whose address is gone: tags cannot be deleted, and may not be empty.
TAKEN_BACK = "gone"


class Head:
    """Runs the scheduler, publishes where it is, and keeps the head's own worker alive."""

    PATIENCE_SECONDS = 10.0

    def __init__(self, settings, stop, scratch, environ) -> None:
        self._settings = settings
        self._stop = stop
        self._scratch = scratch
        self._environ = environ
        self._runs = Runs(environ)
        self._scheduler: Child | None = None
        self._worker: Child | None = None
        self._restart_delay = 1.0

    def run(self, address: str) -> int:
        deadline = time.monotonic() + self._settings.start_timeout
        try:
            self._start_scheduler(address)
            self._take_back()
            tcp, dashboard = self._wait_for_addresses(address, deadline)
            self._wait_until_guarded(dashboard, deadline)
            say(f"the scheduler answers at {tcp}, its dashboard at {dashboard}")
            if self._settings.run_worker:
                self._start_worker(address, tcp)
            tags = {"headnode": address, "scheduler": tcp, "dashboard": dashboard}
            if self._settings.jupyter:
                tags["jupyter"] = dashboard + "/jupyter"
            self._publish(tags, deadline)
            return self._supervise(address, tcp)
        except AskedToStop:
            self._scheduler.ask_to_stop(self._stop, self.PATIENCE_SECONDS)
            say(f"stopped the scheduler, as asked ({self._stop.reason})")
            return 0
        finally:
            for child in (self._worker, self._scheduler):
                if child:
                    child.kill()

    def _start_scheduler(self, address: str) -> None:
        environ = {
            **self._environ,
            "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": json.dumps(HTTP_ROUTES),
            # A scheduler that pauses longer than the default 5 minutes would restart its workers,
            # and scattered data would be gone.
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "None",
            # The operator decides about rest; Dask's own idea of idle ignores clients.
            "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "None",
            CONTROL_PREFIX + "TOKEN_SHA256": self._settings.token_sha256,
        }
        options = {
            "host": address,
            "port": free_port(address, SCHEDULER_PORT),
            "dashboard": f"{address}:{free_port(address, DASHBOARD_PORT)}",
            "scheduler_file": self._scratch.scheduler_file,
            "jupyter": self._settings.jupyter,
            "run": self._settings.run,
        }
        self._scheduler = Child(self._scratch, "scheduler", options, environ)

    def _wait(self, seconds: float, deadline: float, what: str) -> None:
        """One pause of a start that is not through yet."""
        code = self._scheduler.exit_code()
        if code is not None:
            raise CannotRun(f"the scheduler ended with exit code {code} before {what}")
        if time.monotonic() >= deadline:
            raise CannotRun(f"{self._settings.start_timeout} s have passed before {what}")
        self._stop.sleep(seconds, deadline)

    def _wait_for_addresses(self, address: str, deadline: float) -> tuple[str, str]:
        """The true addresses: Dask takes a random dashboard port when its own is taken."""
        while True:
            try:
                with open(self._scratch.scheduler_file) as file:
                    identity = json.load(file)
                break
            except (OSError, ValueError):
                self._wait(0.05, deadline, "it listened")
        port = identity["address"].rsplit(":", 1)[1]
        return f"tcp://{address}:{port}", f"http://{address}:{identity['services']['dashboard']}"

    def _wait_until_guarded(self, dashboard: str, deadline: float) -> None:
        """Waits for /health, and for our own routes to refuse whoever brings no token.

        Dask starts without a module that it cannot load; then nothing must be published.
        """
        while not healthy(dashboard):
            self._wait(0.05, deadline, "it was healthy")
        for headers in ({}, {"Authorization": "Bearer " + secrets.token_hex(16)}):
            while True:
                try:
                    fetch(_DIRECTLY, dashboard + "/dask-azureml/v1/state", 5, headers)
                    raise CannotRun("the scheduler's own routes answer without the token")
                except urllib.error.HTTPError as error:
                    if error.code == 401 and b'"unauthorized"' in error.read():
                        break
                    raise CannotRun(
                        f"the scheduler's own routes are not there (HTTP {error.code})"
                    ) from None
                except EXCHANGE_ERRORS:
                    self._wait(0.2, deadline, "its own routes answered")

    def _take_back(self) -> None:
        """Takes back the addresses of a start before this one: Azure runs a preempted job again.

        Whoever reads them meanwhile asks there and gets no answer, so this may fail.
        """
        try:
            _, tags = self._runs.get(self._settings.run)
            old = [key for key in ADDRESS_TAGS if tags.get(key)]
            if old:
                self._runs.set_tags(self._settings.run, dict.fromkeys(old, TAKEN_BACK))
                say("the addresses of an earlier start are taken back")
        except (KeyError, TypeError, AttributeError):
            say("MLflow gave an unreadable answer about earlier addresses")
        except EXCHANGE_ERRORS as error:
            say(f"earlier addresses cannot be taken back: {describe(error)}")

    def _publish(self, tags: dict, deadline: float) -> None:
        delay = 0.5
        while True:
            try:
                self._runs.set_tags(self._settings.run, tags)
                say(f"published {', '.join(tags)} as tags of the run {self._settings.run}")
                return
            except EXCHANGE_ERRORS as error:
                say(f"the tags cannot be published yet: {describe(error)}")
                pause = max(delay * (0.75 + secrets.randbelow(50) / 100), retry_after(error))
                self._wait(pause, deadline, "its addresses were published")
                delay = min(delay * 2, 30.0)

    def _start_worker(self, address: str, tcp: str) -> None:
        environ = {**self._environ, **self._settings.worker_env}
        options = worker_options(self._settings, address, tcp)
        # The scheduler lives on the same memory.
        options["spare_memory"] = True
        self._worker = Child(self._scratch, "worker", options, environ)

    def _supervise(self, address: str, tcp: str) -> int:
        """Until the scheduler ends. The head outlives its own worker, whatever ends that one."""
        restart_at = None
        while True:
            code = self._scheduler.exit_code()
            if code is not None:
                say("the scheduler was shut down" if code == 0 else f"the scheduler failed: {code}")
                return code
            if self._stop.reason:
                raise AskedToStop
            now = time.monotonic()
            if self._worker and self._worker.exit_code() is not None:
                lived = now - self._worker.started
                self._worker.kill()  # What its tasks have started may still run.
                self._restart_delay = 1.0 if lived > 60 else min(self._restart_delay * 2, 60.0)
                restart_at = now + self._restart_delay
                say(
                    f"the head's own worker ended with exit code {self._worker.exit_code()}; "
                    f"next one in {self._restart_delay:.0f} s"
                )
                self._worker = None
            if restart_at is not None and now >= restart_at:
                restart_at = None
                self._start_worker(address, tcp)
            self._stop.wait(60 if restart_at is None else restart_at - now)


# ---------------------------------------------------------------------------------------------
# The worker


def worker_options(settings: Settings, address: str, scheduler: str) -> dict:
    return {
        "scheduler": scheduler,
        "host": address,
        # Azure may run the same job again; the scheduler refuses a name that it still knows.
        "name": f"{settings.run}.{secrets.token_hex(3)}",
        "threads": settings.worker_threads,
        "memory_limit": settings.worker_memory_limit,
        "shared_machine": bool(settings.shared_machine_address),
    }


class WorkerNode:
    """Finds the head, runs one worker there, and hands its data over when the node has to go."""

    # How long handing over may take. Azure ends an evicted node after some 30 s anyway.
    PATIENCE_SECONDS = 600.0

    def __init__(self, settings, stop, scratch, environ) -> None:
        self._settings = settings
        self._stop = stop
        self._scratch = scratch
        self._environ = environ
        self._runs = Runs(environ)

    def run(self, address: str) -> int:
        try:
            deadline = time.monotonic() + self._settings.start_timeout
            scheduler, dashboard = self._find_head(deadline)
        except AskedToStop:
            say(f"asked to stop ({self._stop.reason}) before there was a worker")
            return 0
        options = worker_options(self._settings, address, scheduler)
        say(f"starting the worker {options['name']} of {scheduler}")
        child = Child(self._scratch, "worker", options, self._environ)
        try:
            while child.exit_code() is None and not self._stop.reason:
                self._stop.wait(60)
            if child.exit_code() is None:
                return self._leave(child)
            code = child.exit_code()
            # A nanny whose scheduler ends while its worker starts only says that the start failed.
            if code == FAILED and not healthy(dashboard):
                code = SCHEDULER_GONE
            return self._ended(code)
        finally:
            child.kill()

    def _leave(self, child: Child) -> int:
        say(f"this node has to go ({self._stop.reason}): handing the worker's data over")
        if child.ask_to_stop(self._stop, self.PATIENCE_SECONDS) is None:
            say("handing over took too long")
        say("the worker is stopped")
        return 0

    def _ended(self, code: int) -> int:
        if code == 0:
            say("the worker is retired: the others have its data")
        elif code == SCHEDULER_GONE:
            say("the worker ended because the scheduler is gone or has dropped it")
        else:
            say(f"the worker failed with exit code {code}")
        return code

    def _find_head(self, deadline: float) -> tuple[str, str]:
        """The addresses of the scheduler and its dashboard, once it answers.

        The tags are read anew each time: Azure may have run the head's job again on another node,
        and then they hold an address of the past for a while.
        """
        delay, told = 0.25, ""
        while True:
            status, pause = "", 0.0
            try:
                status, tags = self._runs.get(self._settings.head_run)
                scheduler, dashboard = tags.get("scheduler"), tags.get("dashboard")
                if status in TERMINAL_RUN_STATES:
                    raise CannotRun(
                        f"the head's job {self._settings.head_run} has ended ({status}): "
                        "there is no scheduler to join"
                    )
                if not scheduler or not dashboard or TAKEN_BACK in (scheduler, dashboard):
                    waiting = "the head has not published its addresses"
                elif healthy(dashboard):
                    return scheduler, dashboard
                else:
                    waiting = f"the scheduler does not answer at {dashboard}"
            except (KeyError, TypeError, AttributeError):
                waiting = "MLflow gave an unreadable answer"
            except EXCHANGE_ERRORS as error:
                pause = retry_after(error)
                missing = getattr(error, "code", None) == 404
                waiting = "the head's job does not exist" if missing else describe(error)
            if waiting != told:
                say(f"waiting for the head's job {self._settings.head_run}: {waiting}")
                told = waiting
            if time.monotonic() >= deadline:
                raise CannotRun(f"no scheduler within {self._settings.start_timeout} s: {waiting}")
            jitter = 0.75 + secrets.randbelow(50) / 100
            self._stop.sleep(max(delay * jitter, pause), deadline)
            # A running head publishes within seconds; a queued one may wait for its node for
            # minutes, and a hundred workers ask the same service.
            delay = min(delay * 1.5, 2.0 if status == "RUNNING" else 10.0)


# ---------------------------------------------------------------------------------------------
# Preemption


def watch_for_preemption(stop: Stop, metadata: str, interval: float = 5.0) -> None:
    """Asks `stop` when Azure schedules the end of this node, some 30 s ahead.

    Given up where the metadata service has never answered: not every node has one. The event is not
    acknowledged, as that would end the node at once.
    """
    header = {"Metadata": "true"}
    node = None
    refusals, answered = 0, False
    while (answered or refusals < 5) and not stop.reason:
        try:
            url = metadata + "/metadata/scheduledevents?api-version=2020-07-01"
            events = json.loads(fetch(_DIRECTLY, url, 3, header)).get("Events", [])
            if events and node is None:
                url = metadata + "/metadata/instance/compute/name"
                url += "?api-version=2021-02-01&format=text"
                node = fetch(_DIRECTLY, url, 3, header).decode().strip()
            answered = True
            for event in events:
                # A scale set's events name other nodes too.
                here = node in (event.get("Resources") or [node])
                if here and event.get("EventType") in ("Preempt", "Terminate"):
                    stop.request(event["EventType"])
                    return
        except (AttributeError, *EXCHANGE_ERRORS):
            refusals += 1
        time.sleep(interval)


# ---------------------------------------------------------------------------------------------


def main(arguments: list, environ, source: bytes, metadata: str = INSTANCE_METADATA) -> int:
    """Runs the role that the environment asks for. Returns the job's exit code."""
    scratch = None
    try:
        stop = Stop()
        stop.listen_to_signals()
        settings = Settings(environ)
        say(f"{settings.role} of the job {settings.run}, {check_image(settings)}")
        inputs = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        environ.update(link_datasets(settings.datasets, inputs))
        address = own_address(settings)
        say(f"this node's address is {address}")
        scratch = Scratch(source)
        role = Head if settings.role == "head" else WorkerNode
        node = role(settings, stop, scratch, dict(environ))
        if settings.role == "worker":
            watched = (stop, metadata)
            threading.Thread(target=watch_for_preemption, args=watched, daemon=True).start()
        return node.run(address)
    except CannotRun as error:
        say(str(error))
        return FAILED
    finally:
        if scratch:
            scratch.remove()


if __name__ == "__main__":
    # `source` is there when the operator's one-liner runs this text.
    if "source" not in globals():
        with open(__file__, "rb") as _file:
            source = _file.read()
    sys.exit(main(sys.argv[1:], os.environ, source))


# =============================================================================================
# From here on: what runs inside the scheduler and the workers, which import this file. The job's
# own process has ended above, and so never pays for importing distributed.

import asyncio  # noqa: E402
import hashlib  # noqa: E402
import hmac  # noqa: E402
import itertools  # noqa: E402
import logging  # noqa: E402
import math  # noqa: E402
import resource  # noqa: E402

from distributed import Nanny, Worker, system  # noqa: E402
from distributed.core import Status  # noqa: E402
from distributed.http.utils import RequestHandler  # noqa: E402

logger = logging.getLogger("distributed.dask_azureml")

GiB = 2**30

# Dask reads this list when the scheduler starts. Empty until `run_scheduler` has the token's hash:
# whoever loads this module otherwise gets no routes, and the head refuses to publish.
routes: list = []


def child() -> None:
    """Entry of a child process: argv is [-c, folder, kind, options]."""
    kind, options = sys.argv[2], json.loads(sys.argv[3])
    die_with(options["parent"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard // 2), hard))
    if kind == "scheduler":
        run_scheduler(options)
    else:
        sys.exit(asyncio.run(run_worker(options)))


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, even by SIGKILL."""
    PR_SET_PDEATHSIG = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # Not Linux: the process group is killed when the parent ends in order.
    if os.getppid() != parent:
        sys.exit(FAILED)


# ---------------------------------------------------------------------------------------------
# The scheduler


def run_scheduler(options: dict) -> None:
    from distributed.cli import dask_scheduler

    token_sha256 = os.environ.pop(CONTROL_PREFIX + "TOKEN_SHA256")
    routes.extend(own_routes(token_sha256, Retirements(options["run"] + ".")))
    command = ["--host", options["host"], "--port", str(options["port"])]
    command += ["--dashboard-address", options["dashboard"]]
    command += ["--scheduler-file", options["scheduler_file"]]
    if options["jupyter"]:
        command.append("--jupyter")
    dask_scheduler.main(args=command, prog_name="dask scheduler")


def job_of(ws) -> str:
    """The job that the worker `<job>.<attempt>` runs in."""
    return str(ws.name).split(".")[0]


def capacity(workers) -> float:
    """The bytes that `workers` may hold; a limit of 0 is none."""
    return sum(ws.memory_limit or math.inf for ws in workers)


class Refused(Exception):
    """An answer other than 200: its HTTP status and its body."""

    def __init__(self, status: int, **body) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


HOLDS_ACTORS = "it holds actors, which cannot be moved"
UNHEARD_OF = "it has not been heard of for a minute"


class Retirements:
    """Lets workers go so that no data is lost and no task runs twice.

    Dask's own retirement moves the data, but drops a worker whose tasks still run: they start from
    zero elsewhere, and results that come in between are lost. So a worker leaves in three steps:

    1. Dask moves its data away and gives it no new tasks (status `closing_gracefully`).
    2. Tasks that have not begun there go to other workers; those that run come to their end.
    3. Dask moves what these have left behind and closes the worker.

    A refused retirement must not be tried again at once, nor overlap with another of the same
    worker: Dask then takes `closing_gracefully` for the status to return to, and the worker never
    runs a task again.
    """

    # How long a request waits for its workers; those that are still busy then go on leaving.
    REPLY_SECONDS = 20.0
    # How long a worker that could not leave is left alone.
    REFUSED_SECONDS = 10.0
    # Whoever sends no heartbeat for so long hands nothing over, and keeps others from it.
    HEARD_OF_SECONDS = 60.0

    def __init__(self, own_prefix: str) -> None:
        self._own_prefix = own_prefix
        self._leaving: set = set()
        self._moving: list = []
        self._refused_at: dict = {}

    def _is_own(self, ws) -> bool:
        """Whether `ws` is the head's own worker. It stays: the head would start it again."""
        return str(ws.name).startswith(self._own_prefix)

    def _is_unheard_of(self, ws) -> bool:
        return time.time() - ws.last_seen > self.HEARD_OF_SECONDS

    def to_close(self, scheduler, count: int, first=()) -> dict:
        """Names of at most `count` workers in the order they should go, and why others stay.

        Never so many that the rest cannot hold the data twice over, which is also Dask's measure.
        Workers of the jobs `first` go before the others, and none of the others goes in the place
        of one that cannot: whoever has old workers replaced would lose new ones.
        """
        first = set(first)

        def order(ws) -> tuple:
            work = len(ws.long_running), len(ws.processing)
            return job_of(ws) not in first, *work, ws.nbytes, str(ws.name)

        staying = set(scheduler.running)
        needed = 2 * sum(ws.nbytes for ws in scheduler.workers.values())
        names, reasons, kept = [], {}, 0
        for ws in sorted(scheduler.workers.values(), key=order):
            if count <= (0 if job_of(ws) in first else kept):
                break
            if self._is_own(ws) or ws.name is None:
                continue
            if ws.status is not Status.running:
                reasons[str(ws.name)] = f"it is {ws.status.name}"
            elif self._is_unheard_of(ws):
                reasons[str(ws.name)] = UNHEARD_OF
            elif ws.actors:
                reasons[str(ws.name)] = HOLDS_ACTORS
            elif capacity(staying.difference([ws])) < needed:
                reasons[str(ws.name)] = "the other workers cannot hold the data twice over"
                break
            else:
                staying.discard(ws)
                names.append(str(ws.name))
            if str(ws.name) not in reasons:
                count -= 1
            elif job_of(ws) in first:
                kept += 1
        return {"names": names, "reasons": reasons}

    async def retire(self, scheduler, names: list) -> dict:
        """Retires the workers of these names; raises Refused when it cannot be tried now."""
        by_name = {str(ws.name): ws for ws in scheduler.workers.values()}
        unknown = [name for name in names if name not in by_name]
        workers = [by_name[name] for name in names if name in by_name]
        self._check_not_too_early(workers)
        going, reasons = self._admit(scheduler, workers)
        outcome = {str(ws.name): "leaving" for ws in going}
        if going:
            self._leaving.update(ws.address for ws in going)
            self._moving = list(outcome)
            task = asyncio.ensure_future(self._let_go(scheduler, going, outcome, reasons))
            # The worker leaves even when the operator hangs up.
            await asyncio.wait({task}, timeout=self.REPLY_SECONDS)

        def ended(what: str) -> list:
            return [name for name in names if outcome.get(name) == what]

        return {
            "retired": ended("retired"),
            "refused": [name for name in names if name in reasons],
            "unknown": unknown + ended("lost"),
            "leaving": ended("leaving"),
            "reasons": reasons,
        }

    def _check_not_too_early(self, workers: list) -> None:
        leaving = [
            str(ws.name)
            for ws in workers
            if ws.address in self._leaving or ws.status not in (Status.running, Status.paused)
        ]
        if leaving:
            raise Refused(409, error="already leaving", names=leaving, retry_after=5)
        if self._moving:
            raise Refused(
                409, error="another retirement is under way", names=self._moving, retry_after=2
            )
        now = time.monotonic()
        self._refused_at = {
            address: at
            for address, at in self._refused_at.items()
            if now - at < self.REFUSED_SECONDS
        }
        recent = [ws for ws in workers if ws.address in self._refused_at]
        if recent:
            oldest = min(self._refused_at[ws.address] for ws in recent)
            raise Refused(
                409,
                error="refused a moment ago",
                names=[str(ws.name) for ws in recent],
                retry_after=math.ceil(self.REFUSED_SECONDS - (now - oldest)),
            )

    def _admit(self, scheduler, workers: list) -> tuple[list, dict]:
        """Those of `workers` that can go together, and why the others cannot."""
        going, reasons = [], {}
        for ws in workers:
            if self._is_own(ws):
                reasons[str(ws.name)] = "it is the head's own worker"
            elif self._is_unheard_of(ws):
                reasons[str(ws.name)] = UNHEARD_OF
            elif ws.actors:
                reasons[str(ws.name)] = HOLDS_ACTORS
            else:
                going.append(ws)
        while going and not self._rest_holds_data(scheduler, going):
            ws = going.pop()
            reasons[str(ws.name)] = "the other workers cannot hold its data"
            self._refused_at[ws.address] = time.monotonic()
        return going, reasons

    @staticmethod
    def _rest_holds_data(scheduler, going: list) -> bool:
        staying = scheduler.running.difference(going)
        leaving = set(going)
        keys = set().union(*(ws.has_what for ws in going))
        to_move = sum(ts.get_nbytes() for ts in keys if leaving.issuperset(ts.who_has))
        held = sum(ws.nbytes for ws in staying)
        return not to_move or held + to_move <= capacity(staying)

    async def _let_go(self, scheduler, going: list, outcome: dict, reasons: dict) -> None:
        """Moves the data of all of them first, so that none goes to another that leaves too."""
        try:
            try:
                moved = await self._retire(scheduler, going, close_workers=False, remove=False)
            finally:
                self._moving = []
            if not moved and any(map(self._is_unheard_of, going)):
                for ws in going:
                    silent = self._is_unheard_of(ws)
                    reason = UNHEARD_OF if silent else "it was to go with one that is silent"
                    self._refuse(scheduler, ws, outcome, reasons, reason)
                return
            await asyncio.gather(
                *(
                    self._finish(scheduler, ws, ws.address in moved, outcome, reasons)
                    for ws in going
                )
            )
        except Exception:
            logger.exception("a retirement failed")
            for ws in going:
                if outcome[str(ws.name)] == "leaving":
                    self._refuse(scheduler, ws, outcome, reasons, "the scheduler failed at it")
        finally:
            self._leaving.difference_update(ws.address for ws in going)

    async def _retire(self, scheduler, going: list, **more) -> dict:
        """Dask's own retirement, which ends only when all of them have handed over: given up once
        one of them is not heard of any more. Nobody has handed over then."""
        addresses = [ws.address for ws in going]
        task = asyncio.ensure_future(scheduler.retire_workers(workers=addresses, **more))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=1.0)
                if not task.done() and any(map(self._is_unheard_of, going)):
                    return {}
            return task.result()
        finally:
            task.cancel()

    async def _finish(self, scheduler, ws, moved: bool, outcome: dict, reasons: dict) -> None:
        name = str(ws.name)
        if moved:
            await self._let_tasks_end(scheduler, ws)
            while self._moving:
                await asyncio.sleep(0.05)
            self._moving = [name]
            try:
                last = await self._retire(scheduler, [ws], close_workers=True, remove=True)
                moved = ws.address in last
            finally:
                self._moving = []
        if moved and scheduler.workers.get(ws.address) is not ws:
            outcome[name] = "retired"
        elif scheduler.workers.get(ws.address) is not ws:
            outcome[name] = "lost"
        else:
            self._refuse(scheduler, ws, outcome, reasons, "no other worker takes its data")

    async def _let_tasks_end(self, scheduler, ws) -> None:
        seen, heartbeats = ws.last_seen, 0
        while ws.processing and scheduler.workers.get(ws.address) is ws:
            await asyncio.sleep(0.05)
            if ws.last_seen == seen:
                continue
            seen, heartbeats = ws.last_seen, heartbeats + 1
            # The first heartbeat may have been on its way when the worker was told to begin nothing
            # new; from the second on, what it does not say it executes has not begun there.
            begun = ws.executing
            waiting = {ts.key: "released" for ts in ws.processing if ts not in begun}
            if heartbeats > 1 and waiting:
                scheduler.transitions(waiting, stimulus_id=f"dask-azureml-retire-{time.time()}")

    def _refuse(self, scheduler, ws, outcome: dict, reasons: dict, reason: str) -> None:
        """Puts a worker that cannot leave back to work."""
        outcome[str(ws.name)] = "refused"
        reasons[str(ws.name)] = reason
        self._refused_at[ws.address] = time.monotonic()
        comm = scheduler.stream_comms.get(ws.address)
        if comm is not None and ws.status is Status.closing_gracefully:
            comm.send(
                {
                    "op": "worker-status-change",
                    "status": Status.running.name,
                    "stimulus_id": f"dask-azureml-refuse-{time.time()}",
                }
            )


# How many tasks stand for all that wait; Dask's own adaptive_target looks at as many.
SAMPLED_TASKS = 100


def scheduler_state(s) -> dict:
    """What the operator wants to know. The stock identity.json fails while the cluster works."""
    workers = list(s.workers.values())
    return {
        "id": s.id,
        "address": s.address,
        "started": s.time_started,
        "now": time.time(),
        "tasks": len(s.tasks),
        "total_threads": sum(ws.nthreads for ws in workers),
        "total_memory": sum(ws.memory_limit for ws in workers),
        "adaptive_target": s.adaptive_target(),
        "load": load(s, workers),
        "workers": [
            {
                "name": str(ws.name),
                "address": ws.address,
                "status": ws.status.name,
                "threads": ws.nthreads,
                "memory_limit": ws.memory_limit,
                "memory": ws.metrics.get("memory"),
                "nbytes": ws.nbytes,
                "keys": len(ws.has_what),
                "processing": len(ws.processing),
                "long_running": len(ws.long_running),
                "last_seen": ws.last_seen,
            }
            for ws in workers
        ],
    }


def load(s, workers: list) -> dict:
    """What there is to do and to hold. Its cost does not grow with the tasks: they are sampled."""
    homeless = sample(s.unrunnable)
    unbound = [ts for ts in homeless if not is_bound(ts)]
    unbound_count = round(len(s.unrunnable) * len(unbound) / max(1, len(homeless)))
    queued = len(s.queued) + unbound_count
    waiting = list(itertools.islice(itertools.chain(s.queued, unbound), SAMPLED_TASKS))
    kinds = Kinds(s, workers)
    each = sum(kinds.seconds(ts.prefix) for ts in waiting) / max(1, len(waiting))
    return {
        # To ask is to note: Dask takes the first look after a change for busy.
        "idle_since": s.check_idle(),
        # `s.clients` also names datasets, queues and variables that hold results.
        "clients": len(s.client_comms),
        "processing": sum(len(ws.processing) for ws in workers),
        "queued": queued,
        "unrunnable": len(s.unrunnable) - unbound_count,
        "work_seconds": float(kinds.processing_seconds() + queued * each),
        "nbytes": sum(ws.nbytes for ws in workers),
    }


class Kinds:
    """How long tasks take, by their kind: Dask's prefix.

    Dask forgets a kind's average as soon as one of its tasks runs for twice as long, takes each for
    twice the longest ever, and has a new average when the next one ends. With one straggler among
    a thousand its occupancy so jumps up and down by orders of magnitude. Here it is one of them.
    """

    def __init__(self, s, workers: list) -> None:
        self._s = s
        # Seconds that the tasks run by now, as workers say in their heartbeats.
        self._running: dict = {}
        for ws in workers:
            for ts, elapsed in ws.executing.items():
                if ts in ws.processing and ts not in ws.long_running:
                    self._running.setdefault(ts.prefix.name, []).append(elapsed)

    def seconds(self, prefix) -> float:
        """What a task takes: as those that have ended did, or as those do that run."""
        if prefix.duration_average >= 0:
            return prefix.duration_average
        running = self._running.get(prefix.name, [])
        ended = prefix.state_counts["memory"]
        if not ended:
            return max(running + [self._s.UNKNOWN_TASK_DURATION])
        return (prefix.all_durations["compute"] + sum(running)) / (ended + len(running))

    def processing_seconds(self) -> float:
        """What the tasks take that workers have been given, and the transfers for them."""
        total = self._s._network_occ_global / self._s.bandwidth
        for name, count in self._s._task_prefix_count_global.items():
            each = self.seconds(self._s.task_prefixes[name])
            total += count * each
            total += sum(max(0.0, elapsed - each) for elapsed in self._running.get(name, []))
        return total


def sample(tasks: dict) -> list:
    """Some of `tasks`, spread over all of them; all where they are few."""
    return list(itertools.islice(tasks, 0, None, max(1, len(tasks) // SAMPLED_TASKS)))


def is_bound(ts) -> bool:
    """Whether only certain workers may run this task."""
    somewhere = ts.host_restrictions or ts.worker_restrictions or ts.resource_restrictions
    return bool(somewhere) and not ts.loose_restrictions


class OwnRoute(RequestHandler):
    """A route for whoever brings the cluster's token; the job knows only its hash."""

    def initialize(self, dask_server=None, token_sha256="", retirements=None):
        super().initialize(dask_server=dask_server)
        self.token_sha256 = token_sha256
        self.retirements = retirements

    def prepare(self):
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self.token_sha256):
            self.set_header("WWW-Authenticate", "Bearer")
            self.answer(401, {"error": "unauthorized"})

    def answer(self, status: int, body: dict) -> None:
        self.set_status(status)
        self.finish(body)

    def body_with(self, name: str, is_valid, default=None):
        """The value of a field of the body; raises Refused when it is not what it should be."""
        try:
            body = json.loads(self.request.body)
            value = body[name] if default is None else body.get(name, default)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Refused(400, error=f"the body is not a JSON object with {name!r}") from None
        if not is_valid(value):
            raise Refused(400, error=f"{name!r} has a value that it cannot have")
        return value

    def write_error(self, status_code, **kwargs):
        refused = kwargs.get("exc_info", (None, None))[1]
        if isinstance(refused, Refused):
            self.answer(refused.status, refused.body)
        else:
            self.answer(status_code, {"error": self._reason})

    def log_exception(self, kind, value, trace):
        if not isinstance(value, Refused):
            super().log_exception(kind, value, trace)


class StateRoute(OwnRoute):
    def get(self):
        self.answer(200, scheduler_state(self.server))


def are_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


class ToCloseRoute(OwnRoute):
    def post(self):
        count = self.body_with("count", lambda value: type(value) is int and value >= 0)
        first = self.body_with("first", are_names, default=[])
        self.answer(200, self.retirements.to_close(self.server, count, first))


class RetireRoute(OwnRoute):
    async def post(self):
        names = self.body_with("names", lambda value: value and are_names(value))
        names = list(dict.fromkeys(names))
        self.answer(200, await self.retirements.retire(self.server, names))


def own_routes(token_sha256: str, retirements: Retirements) -> list:
    common = {"token_sha256": token_sha256, "retirements": retirements}
    return [
        ("dask-azureml/v1/state", StateRoute, common),
        ("dask-azureml/v1/to-close", ToCloseRoute, common),
        ("dask-azureml/v1/retire", RetireRoute, common),
    ]


# ---------------------------------------------------------------------------------------------
# The worker

# Why Dask closes a worker, as it tells the nanny.
REASONS_TO_LEAVE = (
    "scheduler-remove-worker",
    "scheduler-close-worker",
    "worker-close-gracefully",
    "worker-lifetime-reached",
)
REASONS_SCHEDULER_GONE = (
    "scheduler-close",
    "worker-handle-scheduler-connection-broken",
    "worker-heartbeat-missing",
)


def allow_memory(limit) -> None:
    """On nodes that share one machine, a node's memory is what it is said to be.

    Dask cuts a limit to the memory of the machine, which says nothing about such a node.
    """
    if limit:
        system.MEMORY_LIMIT = max(system.MEMORY_LIMIT, limit)


class NodeWorker(Worker):
    """Dask's worker, which knows when it was asked to leave."""

    def __init__(self, *args, shared_machine=False, memory_limit="auto", **kwargs):
        if shared_machine and isinstance(memory_limit, int):
            allow_memory(memory_limit)
        super().__init__(*args, memory_limit=memory_limit, **kwargs)

    async def close(self, *args, reason="worker-close", **kwargs):
        # When a retired worker's heartbeat overtakes the scheduler's order to close, it hears that
        # it is unknown. It is retired all the same.
        leaving = self.status is Status.closing_gracefully
        if leaving and reason == "worker-heartbeat-missing":
            reason = "scheduler-remove-worker"
        return await super().close(*args, reason=reason, **kwargs)


class NodeNanny(Nanny):
    """Dask's nanny, which remembers why its worker left and can hand its data over."""

    reason: str | None = None

    def close_gracefully(self, reason="nanny-close-gracefully"):
        self.reason = self.reason or reason
        if self.status not in (Status.closing, Status.closed):
            super().close_gracefully(reason=reason)
        # The worker's process, which is closing, would wait 2 s for an order of its nanny that
        # never comes, and then log a traceback as the last thing of a job that went well.
        orders = getattr(self.process, "child_stop_q", None)
        if orders is not None:
            orders.put({"op": "stop"})

    async def hand_over(self) -> bool:
        """Moves the worker's data to the others. False when nobody takes it.

        The same request as Worker.close_gracefully makes, but asked from here: the worker's own
        would not tell whether it worked, and would wait for tasks that run again elsewhere anyway.
        A plain SIGTERM to `dask worker` loses scattered data.
        """
        # A worker has tasks and data a moment before its nanny knows that it has started.
        end = time.monotonic() + 5
        while self.worker_address is None and time.monotonic() < end:
            await asyncio.sleep(0.05)
        address = self.worker_address
        if address is None:
            return True
        retired = await self.scheduler.retire_workers(
            workers=[address], close_workers=False, remove=True
        )
        return address in retired


async def run_worker(options: dict) -> int:
    """Runs one worker under its nanny until it leaves. Returns the exit code."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    nanny = NodeNanny(
        options["scheduler"],
        name=options["name"],
        host=options["host"],
        dashboard_address=f"{options['host']}:0",
        nthreads=options["threads"],
        memory_limit=memory_limit(options),
        worker_class=NodeWorker,
        shared_machine=options["shared_machine"],
        death_timeout=60,
    )

    async def live() -> None:
        await nanny
        await nanny.finished()

    life = asyncio.ensure_future(live())
    stop = asyncio.ensure_future(asked.wait())
    await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not life.done():
        await leave(nanny)
        return 0
    if life.exception() is not None:
        say(f"the worker did not start: {describe(life.exception())}")
        return FAILED
    if nanny.reason in REASONS_TO_LEAVE:
        return 0
    return SCHEDULER_GONE if nanny.reason in REASONS_SCHEDULER_GONE else FAILED


async def leave(nanny: NodeNanny) -> None:
    try:
        if await nanny.hand_over():
            say("the others have the worker's data")
        else:
            say("no other worker takes the worker's data: what cannot be computed again is lost")
    except Exception as error:
        say(f"the worker's data could not be handed over: {describe(error)}")
    # Tasks that still run have been given to others by now, so they need no time.
    await nanny.close(timeout=2, reason="dask-azureml-leave")


def memory_limit(options: dict) -> int:
    """Bytes for the worker: what was asked for, else the node's memory.

    With a scheduler on the same node, a tenth of it is left to that one (1 to 16 GiB).
    """
    asked = options["memory_limit"]
    if asked and options["shared_machine"]:
        allow_memory(asked)
        return asked
    node = system.MEMORY_LIMIT
    if options.get("spare_memory"):
        node -= min(max(node // 10, GiB), 16 * GiB, node // 2)
    return min(asked or node, node)

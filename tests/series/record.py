"""Records what the operator hears of a real Dask scheduler while it works.

    PYTHONPATH=tests python3 -m line run -- python tests/series/record.py [WORKLOAD ...]

Each workload gets a scheduler with the routes of `src/bootstrap/dask_azureml.py`, workers that are
processes of their own, and a client. Once a second `GET /dask-azureml/v1/state` is written to
`tests/series/<workload>.jsonl`; README.md beside this file says what the lines hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1] / "src" / "bootstrap"))

import dask  # noqa: E402
import dask_azureml  # noqa: E402
from distributed import Client, Scheduler  # noqa: E402

TOKEN = "token-of-the-recorder"
MB = 1_000_000
MEMORY_LIMIT = 512 * MB

WORKER_FIELDS = ("name", "status", "threads", "memory_limit", "nbytes", "processing")

# The workers' data is blank and never written to, so what this machine's memory says is beside the
# point; and all of them share it.
LEAVE_MEMORY_ALONE = {
    f"DASK_DISTRIBUTED__WORKER__MEMORY__{what}": "False"
    for what in ("TARGET", "SPILL", "PAUSE", "TERMINATE")
}


class Cluster:
    """A scheduler of this process, with the bootstrap's routes, and its workers."""

    def __init__(self, scheduler: Scheduler, folder: str) -> None:
        self.scheduler = scheduler
        self._folder = folder
        self._processes: list = []
        self.base = f"http://127.0.0.1:{scheduler.http_server.port}/dask-azureml/v1/"

    async def add(self, *names: str, threads: int = 2) -> None:
        """Starts workers, as jobs of these names would, and waits until they have joined."""
        for name in names:
            command = [sys.executable, "-m", "dask", "worker", self.scheduler.address]
            command += ["--name", f"{name}.0", "--nthreads", str(threads), "--no-nanny"]
            command += ["--memory-limit", str(MEMORY_LIMIT), "--no-dashboard"]
            command += ["--host", "127.0.0.1", "--local-directory", self._folder]
            environ = {**os.environ, **LEAVE_MEMORY_ALONE}
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._processes.append(subprocess.Popen(command, env=environ, **quiet))
        while not {f"{name}.0" for name in names} <= {ws.name for ws in self._workers()}:
            await asyncio.sleep(0.1)

    def _workers(self):
        return self.scheduler.workers.values()

    async def ask(self, route: str, body: dict | None = None) -> dict:
        def ask() -> dict:
            data = None if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {TOKEN}"}
            request = urllib.request.Request(self.base + route, data, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)

    async def retire(self, count: int) -> None:
        """Lets workers go as the operator does."""
        names = (await self.ask("to-close", {"count": count}))["names"]
        print("retired:", await self.ask("retire", {"names": names}), flush=True)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)


class Recorder:
    """Writes a line a second, but none that tells nothing new, save each fifth."""

    def __init__(self, cluster: Cluster, path: pathlib.Path) -> None:
        self._cluster = cluster
        self._path = path

    async def run(self) -> None:
        start, second, before = time.time(), 0, None
        with open(self._path, "w") as lines:
            while True:
                state = await self._cluster.ask("state")
                told = self._told(state, start)
                if told != before or second % 5 == 0:
                    line = {"at": second, **told}
                    lines.write(json.dumps(line, separators=(",", ":")) + "\n")
                    lines.flush()
                before, second = told, second + 1
                await asyncio.sleep(max(0.0, start + second - time.time()))

    @staticmethod
    def _told(state: dict, start: float) -> dict:
        load = state["load"]
        load["work_seconds"] = round(load["work_seconds"], 2)
        if load["idle_since"] is not None:
            load["idle_since"] = round(max(0.0, load["idle_since"] - start), 1)
        workers = [{x: worker[x] for x in WORKER_FIELDS} for worker in state["workers"]]
        return {"load": load, "workers": workers}


# What the workloads do. Their functions run inside the workers, which cannot import this file.


def task(name: str):
    """A function that sleeps; tasks of one name are of one kind to Dask."""
    source = f"def {name}(seconds, n):\n    import time\n    time.sleep(seconds)\n    return n\n"
    space: dict = {"__name__": "__main__"}
    exec(source, space)  # noqa: S102
    return space[name]


async def short_burst(cluster: Cluster, client: Client) -> None:
    """200 tasks of 0.2 s on 2 workers of 2 threads, then silence."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(5)
    await client.gather(client.map(task("short"), [0.2] * 200, range(200)))
    await asyncio.sleep(30)


async def workers_come_and_go(cluster: Cluster, client: Client) -> None:
    """300 tasks of 2 s on 1 worker of 2 threads; 3 and then 4 more come, and 4 go."""
    await cluster.add("w1")
    await asyncio.sleep(3)
    futures = client.map(task("long"), [2.0] * 300, range(300))
    await asyncio.sleep(20)
    await cluster.add("w2", "w3", "w4")
    await asyncio.sleep(20)
    await cluster.add("w5", "w6", "w7", "w8")
    await asyncio.sleep(15)
    await cluster.retire(4)
    await client.gather(futures)
    await asyncio.sleep(20)


async def unknown_durations(cluster: Cluster, client: Client) -> None:
    """60 tasks of 12 s, of a kind that the scheduler has never seen, on 2 workers of 2 threads."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(3)
    await client.gather(client.map(task("unknown"), [12.0] * 60, range(60)))
    await asyncio.sleep(10)


async def data_held(cluster: Cluster, client: Client) -> None:
    """Results that fill 65 % of the memory of 2 workers are persisted; then silence."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(3)
    each = int(0.65 * 2 * MEMORY_LIMIT / 40)
    held = client.map(lambda n: bytes(each), range(40), key="chunk")
    while any(future.status != "finished" for future in held):
        await asyncio.sleep(0.1)
    await asyncio.sleep(60)


async def nobody_has_the_resource(cluster: Cluster, client: Client) -> None:
    """20 tasks ask for a resource that no worker has, beside 10 that do not."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(3)
    bound = client.map(task("bound"), [1.0] * 20, range(20), resources={"GPU": 1})
    await client.gather(client.map(task("free"), [1.0] * 10, range(10)))
    await asyncio.sleep(40)
    await client.cancel(bound)
    await asyncio.sleep(10)


async def trickle(cluster: Cluster, client: Client) -> None:
    """One task of 1 s each 3 s."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(3)
    for n in range(30):
        began = time.monotonic()
        await client.submit(task("drop"), 1.0, n)
        await asyncio.sleep(max(0.0, began + 3 - time.monotonic()))
    await asyncio.sleep(10)


async def client_holds_data(cluster: Cluster, client: Client) -> None:
    """A client scatters 8 x 5 MB and only holds them; it lets them go after 45 s."""
    await cluster.add("w1", "w2")
    await asyncio.sleep(3)
    held = await client.scatter([os.urandom(5 * MB) for _ in range(8)])
    await asyncio.sleep(45)
    del held
    await asyncio.sleep(10)


WORKLOADS = {
    "short-burst": short_burst,
    "workers-come-and-go": workers_come_and_go,
    "unknown-durations": unknown_durations,
    "data-held": data_held,
    "nobody-has-the-resource": nobody_has_the_resource,
    "trickle": trickle,
    "client-holds-data": client_holds_data,
}


async def record(name: str) -> None:
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    dask_azureml.routes[:] = dask_azureml.own_routes(hashed, dask_azureml.Retirements("head."))
    dask.config.set({"distributed.scheduler.http.routes": dask_azureml.HTTP_ROUTES})
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        local = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
        scheduler = await stack.enter_async_context(Scheduler(**local))
        cluster = Cluster(scheduler, folder)
        stack.callback(cluster.close)
        recording = asyncio.ensure_future(Recorder(cluster, FOLDER / f"{name}.jsonl").run())
        async with Client(scheduler.address, asynchronous=True) as client:
            await WORKLOADS[name](cluster, client)
        # The client is gone, and what it held.
        await asyncio.sleep(10)
        recording.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await recording
    print(f"{name}: {(FOLDER / f'{name}.jsonl').stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    for workload in sys.argv[1:] or WORKLOADS:
        asyncio.run(record(workload))

"""A simulator of its own, and what its clients do in it."""

import json
import os
import ssl
import time
import urllib.parse
import urllib.request
from pathlib import Path

from line import process
from line.running import binary, read_exports

# Seconds: it takes one, but a machine that builds beside it takes its time.
START_DEADLINE = 60.0
GRACE = 10.0

ML = "Microsoft.MachineLearningServices"
API_VERSION = "2025-12-01"


class SimulatedAzure:
    """A running simulator; `control` is the address of its control port, which has the pages."""

    def __init__(self, folder: Path, world: dict):
        self.directory = folder
        file = folder.with_suffix(".json")
        file.write_text(json.dumps(world))
        log = folder.with_suffix(".log")
        command = [binary("azure-simulator"), "serve", "--directory", str(folder), "--world", str(file)]
        self._process = process.start(command, log, os.environ)
        deadline = time.monotonic() + START_DEADLINE
        while not (folder / "env").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"the simulator did not start:\n{log.read_text()}")
            time.sleep(0.05)
        env = read_exports(folder / "env")
        self.control = env["AZURE_SIMULATOR_CONTROL"]
        self._arm = env["AZURE_RESOURCE_MANAGER_ENDPOINT"].rstrip("/")
        self._trust = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
        self.workspace = (
            f"/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{env['AZURE_RESOURCE_GROUP']}"
            f"/providers/{ML}/workspaces/{env['AZURE_ML_WORKSPACE']}"
        )
        form = {
            "grant_type": "client_credentials",
            "client_id": env["AZURE_CLIENT_ID"],
            "client_secret": env["AZURE_CLIENT_SECRET"],
            "scope": "https://management.azure.com/.default",
        }
        url = f"{env['AZURE_AUTHORITY_HOST']}{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        self._headers: dict[str, str] = {}
        token = self._send("POST", url, urllib.parse.urlencode(form).encode())["access_token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def put(self, kind_and_name: str, properties: dict, **fields: object) -> dict:
        """Writes a resource of the workspace."""
        body = {"properties": properties, **fields}
        return self._send("PUT", self._url(kind_and_name), json.dumps(body).encode())

    def get(self, kind_and_name: str) -> dict:
        return self._send("GET", self._url(kind_and_name))

    def pool(self, name: str, nodes: int, **changes: object) -> None:
        scale = {"minNodeCount": 0, "maxNodeCount": nodes}
        inner = {"vmSize": "STANDARD_DS3_V2", "scaleSettings": scale, **changes}
        self.put(f"computes/{name}", {"computeType": "AmlCompute", "properties": inner}, location="eastus")

    def submit(self, name: str, pool: str, command: str, **properties: object) -> str:
        """The address of the run's page."""
        self.put("environments/plain/versions/1", {"image": "registry.example/plain:1"})
        job = {
            "jobType": "Command",
            "experimentName": "weather",
            "command": command,
            "computeId": f"{self.workspace}/computes/{pool}",
            "environmentId": f"{self.workspace}/environments/plain/versions/1",
            **properties,
        }
        answer = self.put(f"jobs/{name}", job)
        return answer["properties"]["services"]["Studio"]["endpoint"]

    def track(self, call: str, run: str, **body: object) -> None:
        """A call of MLflow about a run: `log-metric`, `set-tag`."""
        url = f"{self._arm}/mlflow/v2.0{self.workspace}/api/2.0/mlflow/runs/{call}"
        self._send("POST", url, json.dumps({"run_id": run, **body}).encode())

    def upload(self, run: str, path: str, content: bytes) -> None:
        query = urllib.parse.urlencode({"path": path})
        artifacts = f"{self._arm}/artifact/v2.0{self.workspace}/artifacts/ExperimentRun"
        self._send("POST", f"{artifacts}/dcid.{run}/content?{query}", content)

    def tell(self, path: str, body: dict) -> None:
        """Something to the control port."""
        request = urllib.request.Request(self.control + path, data=json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=30).close()

    def end(self) -> None:
        process.stop(self._process, GRACE)

    def _url(self, kind_and_name: str) -> str:
        return f"{self._arm}{self.workspace}/{kind_and_name}?api-version={API_VERSION}"

    def _send(self, method: str, url: str, body: bytes | None = None) -> dict:
        request = urllib.request.Request(url, data=body, headers=self._headers, method=method)
        with urllib.request.urlopen(request, context=self._trust, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

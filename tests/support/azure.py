"""Azure as somebody else uses it: makes and reads what the operator finds there."""

import json
import os
import signal
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

ML = "Microsoft.MachineLearningServices"
ML_VERSION = "2025-12-01"
NETWORK_VERSION = "2024-03-01"


class Azure:
    """ARM and the control port of one simulator, by the variables of its `env` file."""

    def __init__(self, env: dict[str, str]):
        self._arm = env["AZURE_RESOURCE_MANAGER_ENDPOINT"].rstrip("/")
        self._control = env["AZURE_SIMULATOR_CONTROL"]
        self._trust = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
        self.group = f"/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{env['AZURE_RESOURCE_GROUP']}"
        self.workspace = f"{self.group}/providers/{ML}/workspaces/{env['AZURE_ML_WORKSPACE']}"
        form = {
            "grant_type": "client_credentials",
            "client_id": env["AZURE_CLIENT_ID"],
            "client_secret": env["AZURE_CLIENT_SECRET"],
            "scope": f"{self._arm}/.default",
        }
        authority = env["AZURE_AUTHORITY_HOST"].rstrip("/")
        answer = self._open(
            urllib.request.Request(
                f"{authority}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token",
                data=urllib.parse.urlencode(form).encode(),
            )
        )
        self._token = answer["access_token"]

    def network(self, name: str) -> str:
        return f"{self.group}/providers/Microsoft.Network/virtualNetworks/{name}"

    def pool(self, name: str) -> str:
        return f"{self.workspace}/computes/{name}"

    def put(self, path: str, body: dict) -> None:
        """Makes a resource, and returns when Azure has made it."""
        self._call("PUT", path, body)
        deadline = time.monotonic() + 30
        while (state := self.get(path)["properties"]["provisioningState"]) != "Succeeded":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is {state}")
            time.sleep(0.1)

    def get(self, path: str) -> dict | None:
        """The resource; `None` where there is none."""
        try:
            return self._call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def world(self) -> dict:
        """Everything that exists, nodes and processes included."""
        with urllib.request.urlopen(f"{self._control}/world", timeout=10) as answer:
            return json.loads(answer.read())

    def jobs(self, suffix: str = "") -> dict[str, dict]:
        """Jobs by name: those whose name ends so."""
        return {job["name"]: job for job in self.world()["jobs"] if job["name"].endswith(suffix)}

    def kill_job(self, name: str) -> None:
        """The processes of a job die, as by the kernel's hand."""
        for pid in self.jobs(name)[name]["pids"]:
            os.kill(pid, signal.SIGKILL)

    def writes(self) -> list[str]:
        """`METHOD path` of every write to ARM so far, oldest first, ours included."""
        requests = [exchange["request"] for exchange in self.exchanges()]
        return [
            f"{request['method']} {request['path']}"
            for request in requests
            if request["method"] != "GET" and request["path"].startswith("/subscriptions/")
            # A POST that only reads.
            and not request["path"].endswith("/listNodes")
        ]

    def tag_run(self, run: str, **tags: str) -> None:
        """Tags of a job, by MLflow, as whoever may write to the workspace can set them."""
        for key, value in tags.items():
            self._open(
                urllib.request.Request(
                    f"{self._arm}/mlflow/v2.0{self.workspace}/api/2.0/mlflow/runs/set-tag",
                    data=json.dumps({"run_id": run, "key": key, "value": value}).encode(),
                    headers=self._headers(),
                )
            )

    def exchanges(self) -> list[dict]:
        """Every request and answer so far, ours included."""
        with urllib.request.urlopen(f"{self._control}/exchanges", timeout=10) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def forget_exchanges(self) -> None:
        self._knob("DELETE", "/exchanges")

    def fault(self, fault: dict) -> None:
        self._knob("POST", "/faults", fault)

    def struck(self) -> int:
        """How many requests the faults have struck that are set."""
        with urllib.request.urlopen(f"{self._control}/faults", timeout=10) as answer:
            return sum(fault["struck"] for fault in json.loads(answer.read()))

    def clear_faults(self) -> None:
        self._knob("DELETE", "/faults")

    def _knob(self, method: str, path: str, body: dict | None = None) -> None:
        """The control port: what the real Azure has not."""
        request = urllib.request.Request(
            self._control + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def _call(self, method: str, path: str, body: dict | None = None) -> dict:
        version = NETWORK_VERSION if "/Microsoft.Network/" in path else ML_VERSION
        return self._open(
            urllib.request.Request(
                f"{self._arm}{path}?api-version={version}",
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers=self._headers(),
            )
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}

    def _open(self, request: urllib.request.Request) -> dict:
        with urllib.request.urlopen(request, context=self._trust, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")

"""One run of an Azure ML workspace: log metrics, tags and files to it, and read them back.

Standard library only. The calls are those of MLflow's REST API and of Azure ML's artifact service;
`azureml-mlflow` makes the same ones.
"""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT_SECONDS = 60
WORKSPACE_API_VERSION = "2025-12-01"


class AzureMlRun:
    """The run `run_id` of a workspace, as the service principal of the environment may see it.

    Needs `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`. `AZURE_AUTHORITY_HOST` and
    `AZURE_RESOURCE_MANAGER_ENDPOINT` lead to another cloud or to a simulator; `SSL_CERT_FILE`
    replaces the trusted roots, as everywhere in Python.
    """

    def __init__(self, subscription_id: str, resource_group: str, workspace: str, run_id: str):
        self.run_id = run_id
        self._endpoint = os.environ.get(
            "AZURE_RESOURCE_MANAGER_ENDPOINT", "https://management.azure.com"
        ).rstrip("/")
        self._token = _request_token(self._endpoint)
        self._workspace = (
            f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
        )
        properties = self._call(
            "GET", f"{self._endpoint}{self._workspace}?api-version={WORKSPACE_API_VERSION}"
        )["properties"]
        # Data planes are regional; the workspace knows where its own one is.
        self._data_plane = self._call("GET", properties["discoveryUrl"])["api"].rstrip("/")

    def log_metric(self, name: str, value: float) -> None:
        self._mlflow("log-metric", key=name, value=float(value), timestamp=int(time.time() * 1000), step=0)

    def set_tag(self, name: str, value: str) -> None:
        self._mlflow("set-tag", key=name, value=value)

    def data(self) -> dict[str, dict]:
        """Metrics and tags of the run, by name."""
        query = urllib.parse.urlencode({"run_id": self.run_id, "run_uuid": self.run_id})
        data = self._call("GET", f"{self._mlflow_runs}/get?{query}")["run"]["data"]
        return {
            kind: {item["key"]: item["value"] for item in data.get(kind) or []}
            for kind in ("metrics", "tags")
        }

    def upload(self, path: str, content: bytes) -> None:
        """Puts a file into the run's artifacts, where Azure ML studio shows it."""
        self._call("POST", self._artifact("content", path), content, "application/octet-stream")

    def download(self, path: str) -> bytes:
        """Reads a file of the run's artifacts, by the signed URL that the service gives out."""
        url = self._call("GET", self._artifact("contentinfo", path))["contentUri"]
        return _send(urllib.request.Request(url), f"GET the content of {path}")

    @property
    def _mlflow_runs(self) -> str:
        return f"{self._data_plane}/mlflow/v2.0{self._workspace}/api/2.0/mlflow/runs"

    def _mlflow(self, call: str, **body) -> None:
        body = {"run_id": self.run_id, "run_uuid": self.run_id, **body}
        self._call("POST", f"{self._mlflow_runs}/{call}", json.dumps(body).encode(), "application/json")

    def _artifact(self, kind: str, path: str) -> str:
        container = urllib.parse.quote(f"dcid.{self.run_id}")
        query = urllib.parse.urlencode({"path": path})
        artifacts = f"{self._data_plane}/artifact/v2.0{self._workspace}/artifacts/ExperimentRun"
        return f"{artifacts}/{container}/{kind}?{query}"

    def _call(
        self, method: str, url: str, body: bytes | None = None, content_type: str | None = None
    ) -> dict:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        request = urllib.request.Request(url, body, headers, method=method)
        return json.loads(_send(request, f"{method} {url.partition('?')[0]}") or "{}")


def _request_token(resource_manager: str) -> str:
    authority = os.environ.get("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com").rstrip("/")
    try:
        tenant, client, secret = (
            os.environ[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")
        )
    except KeyError as missing:
        raise SystemExit(
            f"{missing.args[0]} is not set: this needs a service principal of the workspace"
        ) from None
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "client_secret": secret,
        "scope": f"{resource_manager}/.default",
    }
    request = urllib.request.Request(
        f"{authority}/{tenant}/oauth2/v2.0/token", urllib.parse.urlencode(form).encode()
    )
    return json.loads(_send(request, "ask Microsoft Entra for a token"))["access_token"]


def _send(request: urllib.request.Request, what: str) -> bytes:
    """Sends; an error says what was tried and Azure's answer, but neither token nor signed URL."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        answer = error.read(2000).decode(errors="replace")
        raise RuntimeError(f"could not {what}: {error.code} {answer}") from None
    except urllib.error.URLError as error:
        raise RuntimeError(f"could not {what}: {error.reason}") from None

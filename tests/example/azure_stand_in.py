"""The calls of Azure that `azure_ml_run.py` makes, answered from memory over plain HTTP.

For tests of the example alone: it is strict about what it is asked, and no more of Azure than that.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-bearer-token"
SECRET = "a-client-secret"
SIGNATURE = "a-signature"
WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-dask"
    "/providers/Microsoft.MachineLearningServices/workspaces/ws-dask"
)
RUN = "dask-head-1"


class AzureStandIn:
    def __init__(self):
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.artifacts: dict[str, bytes] = {}
        self.damages_artifacts = False
        self.url = ""


@contextmanager
def serve_azure():
    azure = AzureStandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(None)

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body):
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            status, content = self.route(unquote(url.path), query, body)
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def route(self, path, query, body):
            if path == "/tenant/oauth2/v2.0/token":
                form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
                known = form["grant_type"] == "client_credentials" and form["client_secret"] == SECRET
                return (200, {"access_token": TOKEN}) if known else (401, {"error": "invalid_client"})
            if path.startswith("/signed/"):
                content = azure.artifacts[path.removeprefix("/signed/")]
                signed = query.get("sig") == SIGNATURE and "Authorization" not in self.headers
                return (200, content[:-1] if azure.damages_artifacts else content) if signed else (403, {})
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return 401, {"error": {"code": "InvalidAuthenticationToken"}}
            if path == WORKSPACE:
                return 200, {"properties": {"discoveryUrl": f"{azure.url}/discovery"}}
            if path == "/discovery":
                return 200, {"api": azure.url}
            if path.startswith(f"/mlflow/v2.0{WORKSPACE}/api/2.0/mlflow/runs/"):
                return self.mlflow(path.rpartition("/")[2], query, json.loads(body) if body else {})
            if path.startswith(f"/artifact/v2.0{WORKSPACE}/artifacts/ExperimentRun/dcid.{RUN}/"):
                return self.artifact(path.rpartition("/")[2], query["path"], body)
            return 404, {"error": {"code": "NotFound", "message": path}}

        def mlflow(self, call, query, body):
            if (query | body).get("run_id") != RUN:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
            if call == "log-metric":
                azure.metrics[body["key"]] = body["value"]
            elif call == "set-tag":
                azure.tags[body["key"]] = body["value"]
            elif call == "get":
                kinds = {"metrics": azure.metrics, "tags": azure.tags}
                data = {
                    kind: [{"key": k, "value": v} for k, v in items.items()] for kind, items in kinds.items()
                }
                return 200, {"run": {"data": data}}
            return 200, {}

        def artifact(self, call, path, body):
            if call == "content" and body is not None:
                azure.artifacts[path] = body
                return 200, {}
            if call == "contentinfo" and path in azure.artifacts:
                return 200, {"contentUri": f"{azure.url}/signed/{path}?sig={SIGNATURE}"}
            return 404, {"error": {"code": "NotFound", "message": path}}

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    azure.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield azure
    finally:
        server.shutdown()
        server.server_close()

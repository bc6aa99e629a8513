"""The chart on a real API server, and the operator as its pod: with the account, roles and flags of the chart,
and the files of the image."""

import base64
import json
import os
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

import yaml
from line import process
from line.running import Line, binary
from rendering import CHART, EVERYTHING, NAME, NAMESPACE, RELEASE, helm, objects, one
from support.azure import Azure
from support.clusters import Kubernetes, condition, eventually, manifest

HERE = Path(__file__).parent
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"


# Runs a program in a root as a user without any capability. Like every container it has /proc and some of /dev.
DEVICES = ("null", "random", "urandom")
IN_ROOT = [
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"),
    'root=$1; shift; mount --rbind /proc "$root/proc"; '
    f'for device in {" ".join(DEVICES)}; do mount --bind "/dev/$device" "$root/dev/$device"; done; '
    'exec unshare --user --map-user=65532 --map-group=65532 --root="$root" --wd=/ "$@"',
    "sh",
]


class Call(NamedTuple):
    group: str
    resource: str
    verb: str


class Installed(Line):
    """A line whose operator is the release's: the chart's CRD, account, roles and flags."""

    def _install(self) -> None:
        # The CRD by hand, as the chart before this one asked for it.
        super()._install()
        kubernetes = Kubernetes(self.environment)
        kubernetes.run("apply", "--server-side", "-f", str(HERE / "monitoring_crds.yaml"))
        kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": NAMESPACE,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                },
            }
        )
        self.helm("install", "--take-ownership")
        (container,) = one(objects(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"]
        # The port has to be a free one.
        given = [each for each in container["args"][1:] if not each.startswith("--metrics-listen=")]
        self._operator_arguments += given
        token = kubernetes.run("create", "token", "--namespace", NAMESPACE, "--duration=2h", NAME).strip()
        self._lay_out_root(token)

    @property
    def root(self) -> Path:
        """All that the operator finds."""
        return self.directory / "root"

    def _lay_out_root(self, token: str) -> None:
        """What the image holds, what the kubelet puts there, and the libraries of a program that is not static:
        `make static` gives one that is. Azure's certificate comes where those of public authorities are."""
        program = os.environ.get("DASK_AZUREML_STATIC") or binary("dask-azureml-operator")
        self._put("dask-azureml-operator", Path(program).read_bytes())
        told = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", told):
            self._put(library, Path(library).read_bytes())
        self._put("etc/ssl/certs/ca-certificates.crt", Path(self.env["SSL_CERT_FILE"]).read_bytes())
        account = Path("var/run/secrets/kubernetes.io/serviceaccount")
        kubeconfig = yaml.safe_load(Path(self.env["KUBECONFIG"]).read_text())
        (cluster,) = (each["cluster"] for each in kubeconfig["clusters"])
        self._put(account / "ca.crt", _certificate(cluster))
        self._put(account / "token", token.encode())
        self._put(account / "namespace", NAMESPACE.encode())
        server = urllib.parse.urlsplit(cluster["server"])
        self._pod_env = {
            "KUBERNETES_SERVICE_HOST": server.hostname,
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }
        (self.root / "proc").mkdir()
        for device in DEVICES:
            self._put(f"dev/{device}", b"")
        for folder in (self.root, *self.root.rglob("*")):
            folder.chmod(0o555)

    def _put(self, path: str | Path, content: bytes) -> None:
        file = self.root / str(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def start_operator(self) -> None:
        """In a root of its own where nothing can be written, without any capability and under another user's id."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        address = f"127.0.0.1:{port}"
        given = ["run", f"--metrics-listen={address}", *self._operator_arguments]
        command = [*IN_ROOT, str(self.root), "/dask-azureml-operator", *given]
        of_azure = ("AZURE_AUTHORITY_HOST", "AZURE_RESOURCE_MANAGER_ENDPOINT")
        environment = self._pod_env | {name: self.env[name] for name in of_azure}
        self.processes["operator"] = process.start(command, self.directory / "operator.log", environment)
        self.env["DASK_AZUREML_OPERATOR_METRICS"] = f"http://{address}"
        eventually(
            lambda: self._lives(f"http://{address}/readyz"),
            seconds=60,
            otherwise=lambda: (self.directory / "operator.log").read_text()[-3000:],
        )

    def _lives(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def helm(self, command: str, *arguments: str, values: dict | None = None) -> str:
        given = yaml.safe_dump(EVERYTHING | (values or {}))
        chart = [RELEASE, str(CHART), "--values", "-"]
        whole = [command, *chart, "--namespace", NAMESPACE, *arguments]
        return helm(*whole, given=given, environment=self.environment)

    def calls(self) -> tuple[set[Call], list[dict]]:
        """What the operator asked the API server for, and what of it was refused. Watches are in it once they
        have ended, so once the operator has."""
        made, refused = set(), []
        for line in (self.directory / "control-plane" / "audit.log").read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] != ACCOUNT or "objectRef" not in event:
                continue
            about = event["objectRef"]
            resource = "/".join(filter(None, [about["resource"], about.get("subresource")]))
            made.add(Call(about.get("apiGroup", ""), resource, event["verb"]))
            if event.get("responseStatus", {}).get("code") == 403:
                refused.append(event)
        return made, refused


class Stage:
    """The line, and what the tests do with it."""

    def __init__(self, line: Installed):
        self.line = line
        self.kubernetes = Kubernetes(line.environment)
        self.azure = Azure(line.env)

    def apply(self, name: str, changes: dict) -> None:
        self.kubernetes.apply(manifest(name, self.line.env, changes))

    def until(self, name: str, kind: str, status: str) -> None:
        """Returns when the condition has that status."""
        eventually(
            lambda: condition(self.kubernetes.cluster(name), kind)["status"] == status,
            seconds=90,
            otherwise=lambda: self.kubernetes.cluster(name).get("status"),
        )

    def until_left(self, name: str) -> None:
        eventually(
            lambda: name not in self.kubernetes.clusters(),
            seconds=60,
            otherwise=lambda: self.kubernetes.cluster(name).get("status"),
        )

    def scrape(self) -> str:
        address = self.line.env["DASK_AZUREML_OPERATOR_METRICS"]
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def resident_mebibytes(self) -> float:
        """Memory of the operator's process."""
        status = Path(f"/proc/{self.line.processes['operator'].pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def samples(scrape: str) -> dict[str, str]:
    """Series and value of each line, as Prometheus keeps them: with the labels of the target."""
    target = f'pod="operator-1",job="{NAMESPACE}/{NAME}"'
    found = {}
    for line in scrape.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line).groups()
            labels = labels or ""
            # Labels of the series win, as honorLabels has it.
            if not re.search(r'(^|,)namespace="', labels):
                labels = ",".join(filter(None, [labels, f'namespace="{NAMESPACE}"']))
            found[f"{name}{{{labels},{target}}}"] = value
    return found


def _certificate(cluster: dict) -> bytes:
    if "certificate-authority-data" in cluster:
        return base64.b64decode(cluster["certificate-authority-data"])
    return Path(cluster["certificate-authority"]).read_bytes()


def kubectl(line: Line, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kubectl", *arguments], env=line.environment, capture_output=True, text=True, timeout=60
    )

"""Builds the Kubernetes control plane of `tests/control-plane`, once a machine and version."""

import os
import re
from pathlib import Path

from line import cache, go_build, long_step

SOURCES = Path(__file__).parents[1] / "control-plane"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def launcher() -> Path:
    """The program `control-plane`, with the components beside it. Built if missing;
    `DASK_AZUREML_CONTROL_PLANE` wins, and so do the components in `KUBEBUILDER_ASSETS`."""
    if given := os.environ.get("DASK_AZUREML_CONTROL_PLANE"):
        return Path(given).absolute()
    assets = _assets()
    if assets and all((assets / name).exists() for name in COMPONENTS):
        name = f"control-plane-launcher-{cache.key(_sources('launcher'))}"
        return cache.made_once(name, _make_launcher) / "bin" / "control-plane"
    name = f"control-plane-{cache.key(_sources('components', 'launcher'))}"
    return cache.made_once(name, _make_control_plane) / "bin" / "control-plane"


def kubectl() -> Path:
    """kubectl of `KUBEBUILDER_ASSETS`, else the one that stands beside the launcher."""
    beside = launcher().parent
    for folder in (_assets(), beside):
        if folder and (folder / "kubectl").exists():
            return folder / "kubectl"
    raise long_step.StepFailed(f"no kubectl in KUBEBUILDER_ASSETS or {beside}")


def _assets() -> Path | None:
    given = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(given).absolute() if given else None


def _sources(*packages: str) -> list[Path]:
    code = [path for package in packages for path in (SOURCES / package).glob("*.go")]
    return [SOURCES / "go.mod", SOURCES / "go.sum", *code]


def _make_control_plane(folder: Path) -> None:
    # By itself, so that a change of the launcher does not cost the build of Kubernetes.
    name = f"control-plane-components-{cache.key(_sources('components'))}"
    program = cache.made_once(name, _make_components) / "control-plane-components"
    (folder / "bin").mkdir()
    for component in COMPONENTS:
        (folder / "bin" / component).symlink_to(program)
    _make_launcher(folder)
    go_build.remove_what_builds_left()


def _make_launcher(folder: Path) -> None:
    """Last and at once: where the launcher stands, everything does."""
    (folder / "bin").mkdir(exist_ok=True)
    unfinished = folder / "control-plane"
    go_build.build(SOURCES, "./launcher", unfinished, folder / "build-launcher.log")
    unfinished.rename(folder / "bin" / "control-plane")


def _make_components(folder: Path) -> None:
    kubernetes = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\S*)", (SOURCES / "go.mod").read_text())
    if kubernetes is None:
        raise long_step.StepFailed(f"{SOURCES}/go.mod names no k8s.io/kubernetes")
    version, major, minor = kubernetes.groups()
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    linked = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
    cache.say(
        f"building Kubernetes {version} and etcd from their Go modules, once for this machine: about "
        "8 minutes on 2 cores; takes 4 GB of disk meanwhile and 130 MB in the end"
    )
    program = folder / "control-plane-components"
    log = folder / "build.log"
    go_build.build(SOURCES, "./components", program, log, link=f"-s -w {linked}", counted=True)

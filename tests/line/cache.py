"""The folder of the user in which everything that is built or installed is kept."""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/dask-azureml-operator`, which exists afterwards."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base).absolute() / "dask-azureml-operator"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(files: Iterable[Path], *more: str) -> str:
    """A short hash of files (names and contents) and of what else the result depends on."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    for text in more:
        digest.update(f"{len(text)} {text}\n".encode())
    return digest.hexdigest()[:16]


def say(message: str) -> None:
    """A line for the person who waits; standard output is for results."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock of the cache folder, so that of two builds side by side one waits."""
    path = folder() / f"{name}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build, which holds {path}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, made by `make` unless it is there and complete. A build that was
    interrupted leaves no mark and is made anew."""
    path = folder() / name
    mark = path / ".complete"
    if mark.exists():
        return path
    with locked(name):
        if not mark.exists():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            make(path)
            mark.touch()
    return path

"""Long commands that say what they do and how far they are."""

import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from line.cache import say

# Seconds between two lines that tell how far a step is.
INTERVAL = 15.0


class StepFailed(Exception):
    """A build step ended with an error; the message holds the end of its output."""


def run(
    what: str,
    command: Sequence[str],
    log: Path,
    *,
    counts: Callable[[str], bool],
    total: int | None = None,
    unit: str = "packages",
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> None:
    """Runs a command whose output goes to `log`. Every line of it that `counts` is one step of
    `total` further."""
    started = time.monotonic()
    say(f"{what} (log: {log})")
    done, told, rest = 0, started, b""
    with log.open("wb") as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
        )
        assert process.stdout is not None
        with process, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            try:
                while True:
                    if selector.select(timeout=1.0):
                        chunk = process.stdout.read1()
                        if not chunk:
                            break
                        written.write(chunk)
                        *lines, rest = (rest + chunk).split(b"\n")
                        done += sum(counts(line.decode(errors="replace")) for line in lines)
                    if time.monotonic() - told >= INTERVAL:
                        told = time.monotonic()
                        of = f" of {total}" if total else ""
                        say(f"  {done}{of} {unit}, {told - started:.0f} s")
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise StepFailed(f"{what}: exit code {process.returncode}; the end of {log}:\n{end}")
    say(f"  done in {time.monotonic() - started:.0f} s")

"""Processes that end with the one that started them, and that are told from others of the same
id."""

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def start(
    command: Sequence[str], log: Path, environment: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Starts a program with its output at the end of `log`. The kernel ends it when the thread that called
    this ends, so call it from a thread that lives as long as the process should."""
    parent = os.getpid()

    def end_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Control-C in a terminal reaches the one that started it, which ends the others.
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, and SIGKILL after `grace` seconds."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL."""
    process.kill()
    process.wait()


@dataclass(frozen=True)
class Identity:
    """What tells a process from every other one, also from a later one of the same id."""

    pid: int
    # Clock ticks between the start of the machine and that of the process.
    started: int
    # Changes with every start of the machine.
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Raises `ProcessLookupError` if no such process runs."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError as missing:
            raise ProcessLookupError(pid) from missing
        # The command, in parentheses, may hold blanks: count from behind it.
        fields = status.rpartition(")")[2].split()
        if fields[0] in "ZX":
            raise ProcessLookupError(pid)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(pid, int(fields[19]), boot)

    def runs(self) -> bool:
        try:
            return Identity.of(self.pid) == self
        except ProcessLookupError:
            return False

    def end(self, grace: float) -> bool:
        """Ends exactly this process: SIGTERM, and SIGKILL after `grace` seconds. False if it did
        not run any more."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The handle stays with its process, so what is true after it was opened stays true.
            if not self.runs():
                return False
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], grace)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [])
        except ProcessLookupError:
            return True
        finally:
            os.close(handle)
        return True

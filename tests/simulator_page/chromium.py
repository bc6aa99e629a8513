"""A headless Chromium that is led by its DevTools protocol, over a pipe."""

import base64
import contextlib
import fcntl
import functools
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from line import debian_chromium
from line.long_step import StepFailed

# Seconds: on a machine that builds beside it, a browser takes its time.
DEADLINE = 60.0
GRACE = 10.0

# Debian's name, and those of others.
NAMES = ("chromium", "chromium-browser", "google-chrome")


@functools.cache
def program() -> tuple[str | None, str]:
    """The browser, or why there is none."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found, ""
    try:
        return str(debian_chromium.program()), ""
    except (StepFailed, OSError, subprocess.CalledProcessError) as failure:
        return None, f"none of {', '.join(NAMES)} is on the PATH, and {failure}"


def _out_of_the_way(descriptor: int) -> int:
    """The same with a number that the shell below does not need for something else."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class NoAnswer(Exception):
    """A call that Chromium answers with an error."""


class Chromium:
    """One tab. `requests` are the addresses it asked for, `complaints` what it reported of them: errors
    of scripts, and what a policy forbade."""

    def __init__(self, command: str, log: Path):
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._received = b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._in, theirs_out = map(_out_of_the_way, os.pipe())
        theirs_in, self._out = map(_out_of_the_way, os.pipe())
        arguments = [
            "--headless=new",
            "--remote-debugging-pipe",
            # Its own pages alone are looked at, also by root in a container.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            # Nothing but this machine is asked for anything.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--user-data-dir={self._profile.name}",
            "about:blank",
        ]
        # The protocol is on descriptors 3 and 4, which a shell puts in their places.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-'
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", shell, command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Returns when the document and what it names are loaded."""
        self._call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> object:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until an expression holds in the page."""
        self._until(lambda: self.evaluate(expression), expression)

    def text(self) -> str:
        # A document that is being loaded has no body yet.
        return str(self.evaluate("document.body?.innerText ?? ''"))

    def until_text(self, text: str) -> None:
        self._until(lambda: text in self.text(), f"the page says {text!r}")

    def without_scripts(self) -> None:
        self._call("Emulation.setScriptExecutionDisabled", value=True)

    def appear(self, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, path: Path) -> None:
        """All of the page, however long, as PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def _until(self, look: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            # What is asked while another document comes may get no answer.
            with contextlib.suppress(NoAnswer):
                if look():
                    return
            assert time.monotonic() < deadline, f"not in time: {what}; the page:\n{self.text()}"
            time.sleep(0.05)

    def _call(self, method: str, **parameters: object) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE
        while True:
            message = self._receive(deadline, method)
            if message.get("id") == number:
                if "error" in message:
                    raise NoAnswer(f"{method}: {message['error']}")
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def _receive(self, deadline: float, waited_for: str) -> dict:
        while b"\0" not in self._received:
            ready = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]
            more = os.read(self._in, 1 << 16) if ready else b""
            assert more, f"Chromium did not answer: {waited_for}"
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event: str | None, parameters: dict) -> None:
        match event:
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(json.dumps(parameters["entry"]))

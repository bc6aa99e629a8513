"""A client that computes and holds data while its cluster gets larger and smaller."""

import threading
from collections.abc import Callable

from dask.distributed import Client
from evidence import Untrue

KEYS = 32
KEY_BYTES = 1_000_000


class Breath:
    """What a client holds, and what it computes in the meantime; looks whether all of it is right."""

    def __init__(self, scheduler: str):
        self._client = Client(scheduler, timeout=60)
        self._known = {f"known-{n}": bytes([n]) * KEY_BYTES for n in range(KEYS)}
        self._held = self._client.scatter(self._known)
        self._ended = threading.Event()
        self._tasks = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        try:
            while not self._ended.is_set():
                inputs = range(self._tasks, self._tasks + 16)
                # A lambda is sent whole: the workers have no file of this name.
                futures = self._client.map(lambda n: n * n, inputs, pure=False)
                results = self._client.gather(futures)
                if results != [n * n for n in inputs]:
                    raise Untrue(f"wrong results: {results}")
                self._tasks += len(results)
        except Exception as failure:  # Told by the thread that waits.
            self._failure = failure

    def end(self) -> str:
        """Says what was seen.

        Raises Untrue when anything is lost or wrong.
        """
        self._ended.set()
        self._thread.join(timeout=120)
        with self._client:
            if self._failure is not None:
                raise Untrue(f"the client could not go on: {self._failure}") from self._failure
            if self._thread.is_alive():
                raise Untrue("the client hangs")
            if self._client.gather(self._held) != self._known:
                raise Untrue("what was scattered is not what is found")
        return f"{self._tasks:,} tasks meanwhile, each result right; all {KEYS} scattered keys are there"


def breathe(scheduler: str, scale_to: Callable[[int], None], sizes: list[int]) -> str:
    """Lets the cluster have each of the sizes in turn while a client works.

    Raises Untrue when the client lost anything.
    """
    breath = Breath(scheduler)
    for size in sizes:
        scale_to(size)
    return breath.end()

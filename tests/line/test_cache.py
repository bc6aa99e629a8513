"""The cache folder."""

import multiprocessing
import os
from pathlib import Path

import pytest

from line import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def make(path: Path) -> None:
    with (path.parent / "made").open("a") as made:
        made.write(f"{os.getpid()}\n")
    (path / "result").write_text("complete")


def read(barrier: object) -> str:
    barrier.wait()
    return (cache.made_once("thing", make) / "result").read_text()


def test_two_builds_side_by_side_make_a_thing_once() -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(4) as pool:
        assert pool.map(read, [manager.Barrier(4)] * 4, chunksize=1) == ["complete"] * 4
    assert len((cache.folder() / "made").read_text().splitlines()) == 1


def test_a_build_that_was_interrupted_is_made_anew() -> None:
    def interrupted(path: Path) -> None:
        (path / "result").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.made_once("thing", interrupted)
    assert (cache.made_once("thing", make) / "result").read_text() == "complete"


def test_another_content_has_another_key(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("a==1")
    before = cache.key([file])
    file.write_text("a==2")
    assert cache.key([file]) != before
    assert cache.key([file], "3.11") != cache.key([file], "3.12")

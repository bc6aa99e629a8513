"""The simulator's pages, as a browser has them."""

import struct
import zlib
from pathlib import Path

# What the first document had; a document that is loaded anew has not.
MARK = "window.mark"


def png(width: int, height: int) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x2a\x6f\xdb" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def assert_clean(browser, azure) -> None:
    """Nothing came from elsewhere, nothing failed, nothing was forbidden."""
    elsewhere = [url for url in browser.requests if not url.startswith((azure.control, "about:", "data:"))]
    assert elsewhere == []
    assert browser.complaints == []


def test_the_start_page_changes_with_the_world_and_is_not_loaded_anew(
    browser, azure, tmp_path: Path
) -> None:
    browser.open(azure.control)
    assert "No pool." in browser.text()
    browser.evaluate(f"{MARK} = 'the first document'")
    azure.pool("weather", 2)
    azure.submit("j1", "weather", "sleep 1000")
    browser.until("document.querySelector('.node.running a')?.textContent === 'j1'")
    browser.until("document.querySelector('#jobs tbody td:nth-child(2)').textContent === 'Running'")
    # What somebody opened stays open, however often the page changes.
    browser.evaluate("document.querySelector('#money details').open = true")
    azure.submit("j2", "weather", "exit 3")
    browser.until("document.querySelectorAll('#jobs tbody tr').length === 2")
    browser.until("document.querySelector('#jobs .badge.ill')?.textContent === 'Failed'")
    assert browser.evaluate("document.querySelector('#money details').open") is True
    assert browser.evaluate(MARK) == "the first document"
    browser.screenshot(tmp_path / "start.png")
    assert_clean(browser, azure)


def test_a_runs_page_shows_its_log_its_metrics_and_its_images_as_they_come(
    browser, azure, tmp_path: Path
) -> None:
    azure.pool("weather", 1)
    lines = "for i in $(seq 300); do echo line $i; done"
    command = f"{lines}; until [ -e more ]; do sleep 0.1; done; echo one more; sleep 1000"
    page = azure.submit("j1", "weather", command)
    browser.open(page)
    browser.evaluate(f"{MARK} = 'the first document'")
    browser.until_text("line 300")
    azure.track("log-metric", "j1", key="loss", value=2.5, timestamp=1, step=0)
    azure.track("log-metric", "j1", key="loss", value=1.25, timestamp=2, step=1)
    azure.track("set-tag", "j1", key="station", value="<b>Oslo</b>")
    azure.upload("j1", "plots/map.png", png(40, 30))
    browser.until("document.querySelector('#metrics polyline') !== null")
    browser.until_text("<b>Oslo</b>")
    browser.until("document.querySelector('#images img')?.naturalWidth === 40")
    # A plot that is drawn anew is seen anew.
    azure.upload("j1", "plots/map.png", png(60, 30))
    browser.until("document.querySelector('#images img')?.naturalWidth === 60")
    # The log is read at its end, and stays there.
    at_the_end = "(log => log.scrollTop > 0 && log.scrollTop + log.clientHeight >= log.scrollHeight - 4)"
    browser.until(f"{at_the_end}(document.querySelector('pre.log'))")
    (azure.directory / "jobs/j1/exe/wd/more").touch()
    browser.until_text("one more")
    browser.until(f"{at_the_end}(document.querySelector('pre.log'))")
    assert browser.evaluate(MARK) == "the first document"
    browser.screenshot(tmp_path / "run.png")
    assert_clean(browser, azure)


def test_without_javascript_the_pages_say_the_same(browser, azure) -> None:
    azure.pool("weather", 1)
    page = azure.submit("j1", "weather", "echo said by j1; sleep 1000")
    browser.without_scripts()
    browser.open(azure.control)
    # It comes anew by itself.
    browser.until_text("1 node: 1 running.")
    assert "j1" in browser.text()
    browser.open(page)
    browser.until_text("said by j1")
    assert_clean(browser, azure)


def test_a_page_says_when_the_simulator_does_not_answer_any_more(browser, azure) -> None:
    browser.open(azure.control)
    assert "does not answer" not in browser.text()
    azure.end()
    browser.until_text("The simulator does not answer; this is as of")

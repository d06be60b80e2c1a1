"""The page in headless Chromium: it loads, updates, reconnects after a restart and shows outages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.settings.service import WebSettings
from fer_edge.status import SourceState, SourceStatus, StatusBoard, UpdateStatus
from fer_edge.web import open_web
from support.web.browser import Browser, browser_is_missing
from support.web.service import DemoDaemon, lost

pytestmark = pytest.mark.skipif(browser_is_missing() is not None, reason=str(browser_is_missing()))

COUNT_JUMPS = """
    window.jumps = 0;
    window.moved = [];
    const name = (source) => source.node && (source.node.id || source.node.className);
    const add = (found) => found.getEntries().forEach((entry) => {
        window.jumps += entry.value;
        window.moved.push([entry.value, entry.sources.map(name)]);
    });
    new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""
TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser with a window as narrow as a phone's."""
    with Browser(tmp_path_factory.mktemp("browser"), 360, 780) as browser:
        yield browser


@pytest.mark.slow
def test_the_page_loads_updates_and_reconnects(browser: Browser) -> None:
    with DemoDaemon(WebSettings(True, port=0)) as daemon:
        port = daemon.web.port
        daemon.board.set_update(UpdateStatus("shadow", "1.3.0", "1.3.0", 0.98))
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("a watching camera", lambda: browser.text(".camera .pill") == "Watching")
        browser.wait("a face with its emotion", lambda: "Happy" in browser.text(".faces"))
        browser.wait("an event", lambda: "appeared: happy" in browser.text("#events"))
        assert browser.text("#overall") == "OK"
        assert "fer-edge-s" in browser.text("#device")
        assert re.search(r"1\.3\.0 is compared, agrees on 98\s?%", browser.text("#device"))
        browser.run("document.getElementById('timings').open = true")
        assert "Whole frame" in browser.text("#stages")
        browser.wait("the chart", lambda: browser.run("return document.querySelectorAll('#chart rect').length > 0"))
        label = browser.run("return document.querySelector('#chart svg').getAttribute('aria-label')")
        # Before a face has been there for a second, and after that.
        assert re.match(r"No faces in|Faces for \d+", label), label

        # Updates did not shift the layout; below 0.1 is good: https://web.dev/cls
        browser.run(COUNT_JUMPS)
        browser.wait("a count", lambda: browser.run("return performance.now()") > 6000)
        assert browser.run("return window.jumps") < 0.1, browser.run("return window.moved")
        browser.run("document.getElementById('hour-table').closest('details').open = true")
        browser.wait("the table", lambda: "Watched" in browser.text("#hour-table"))
        calls = "return document.querySelector('#stages tr.whole td:last-child').textContent"
        before = browser.run(calls)
        browser.wait("more frames", lambda: browser.run(calls) != before)
        # The page is not wider than the window.
        assert browser.run("return document.documentElement.scrollWidth") <= 360
        assert browser.console() == []
    browser.wait("the lost connection", lambda: "No connection since" in browser.text("#offline"))
    assert browser.text("#overall") == "No connection"
    browser.console()  # clear the failed requests
    with DemoDaemon(WebSettings(True, port=port)):
        browser.wait("the new connection", lambda: browser.text("#overall") == "OK")
        assert browser.text("#offline") == ""
        browser.console()


def test_zones_show_their_faces(browser: Browser) -> None:
    zones = {"left half": (0.0, 0.0, 0.5, 1.0), "a zone whose name is much longer than its place": (0.5, 0.0, 0.5, 1.0)}
    with DemoDaemon(WebSettings(True, port=0), zones=zones) as daemon:
        browser.open(f"http://127.0.0.1:{daemon.web.port}/")
        browser.wait("a face in a zone", lambda: "1 now" in browser.text(".zones"))
        assert "left half" in browser.text(".zones")
        assert browser.run("return document.documentElement.scrollWidth") <= 360
        assert browser.console() == []


def test_outages_are_shown(browser: Browser) -> None:
    board = StatusBoard()
    now = time.monotonic()
    board.update_source(SourceStatus("<b>hall</b>", SourceState.WATCHING, now, last_frame_at=now, fps=9.0))
    board.update_source(lost("door", 134, "rtsp://door/live: no frame for 10 s", 6))
    board.set_ready()
    with open_web(WebSettings(True, port=0), board, stale_after_s=600.0) as web:
        browser.open(web.url)
        browser.wait("the outage", lambda: browser.text("#overall") == "1 of 2 cameras down")
        shown = browser.text(".camera:nth-child(2)")
        assert "Lost" in shown and "No frames since" in shown and "(2 min " in shown
        assert "rtsp://door/live: no frame for 10 s. Attempts to reopen: 6." in shown
        assert browser.text(".camera h3") == "<b>hall</b>"  # shown as text, not as markup
        board.update_source(replace(board.source("door"), state=SourceState.WATCHING, last_frame_at=time.monotonic()))
        browser.wait("the new connection", lambda: browser.text("#overall") == "OK")
        night = replace(board.source("door"), state=SourceState.DARK, last_frame_at=time.monotonic())
        board.update_source(night)
        browser.wait("night", lambda: "Too dark to detect faces." in browser.text(".camera:nth-child(2)"))
        assert browser.text("#overall") == "OK"
        assert "No frames" not in browser.text("#cameras")
        assert browser.console() == []


def test_every_control_is_reachable_with_the_keyboard(browser: Browser) -> None:
    board = StatusBoard()
    board.set_ready()
    with open_web(WebSettings(True, port=0), board) as web:
        browser.open(web.url)
        browser.wait("the page", lambda: browser.text("#no-cameras") != "")
        reached = []
        for _ in range(8):
            browser.press_tab()
            reached.append(browser.run("const e = document.activeElement; return e.textContent.trim() || e.id"))
        assert reached[0] == "Skip to the cameras"
        assert "Show as table" in reached
        assert reached.index("Metrics") > reached.index("Show as table")


def test_the_login_form_asks_for_the_token_once(browser: Browser, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    board = StatusBoard()
    board.set_ready()
    with open_web(WebSettings(True, port=0, token_file=str(secret)), board) as web:
        browser.open(web.url)
        assert browser.run("return location.pathname") == "/login"
        browser.keys("#token", "wrong\ue007")
        browser.wait("the refusal", lambda: "Wrong token." in browser.text("form"))
        browser.console()  # clear the 401
        browser.keys("#token", f"{TOKEN}\ue007")
        browser.wait("the page", lambda: browser.text("#no-cameras") != "")
        assert browser.run("return document.cookie") == ""  # not readable by scripts
        assert browser.console() == []


def test_images_are_shown_with_a_notice(browser: Browser) -> None:
    with DemoDaemon(WebSettings(True, port=0, preview=True)) as daemon:
        browser.open(daemon.web.url)
        browser.wait("the notice", lambda: "This page shows camera images" in browser.text("#pictures"))
        width = "return document.querySelector('.camera img')?.naturalWidth"
        browser.wait("a picture", lambda: browser.run(width) == 640)
        assert browser.console() == []

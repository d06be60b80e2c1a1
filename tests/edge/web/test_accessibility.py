"""axe finds no fault on the status page: each state, light and dark, phone and desktop. Cards have the same height."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from fer_edge.settings.service import WebSettings
from fer_edge.status import ModelStatus, SinkStatus, SourceState, SourceStatus, StatusBoard
from fer_edge.telemetry import Telemetry
from fer_edge.types import Box, EmotionEvent, EventKind, TrackedEmotion
from fer_edge.web import History, open_web
from support.web.axe import faults, install_axe
from support.web.browser import Browser, browser_is_missing
from support.web.service import LABELS, DemoDaemon, fill_hour, lost

pytestmark = pytest.mark.skipif(browser_is_missing() is not None, reason=str(browser_is_missing()))

PHONE, DESKTOP = 390, 1280
WHY = "rtsp://door.local/live: no frame for 10 s; is the camera switched on?"
STATES = ("one camera", "four cameras", "a lost camera", "preview", "a paused camera", "a dark camera")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(
    scope="module", params=product((PHONE, DESKTOP), (False, True)), ids=lambda found: f"{found[0]}-{found[1]}"
)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    width, dark = request.param
    with Browser(tmp_path_factory.mktemp("browser"), width, 900, dark=dark) as browser:
        yield browser


def sources(state: str) -> list[SourceStatus]:
    """Return the cameras of ``state``."""
    now = time.monotonic()
    face = TrackedEmotion("hall", 7, Box(0, 0, 90, 90), "happy", 0.93, now)
    seen = SourceStatus("hall", SourceState.WATCHING, now, size=(640, 480), last_frame_at=now, fps=14.8, tracks=(face,))
    gone = lost("door", 134, WHY, 6)
    night = replace(seen, name="garden", state=SourceState.DARK, tracks=(), size=(1280, 720))
    closed = replace(
        seen, name="kitchen", state=SourceState.PAUSED, tracks=(), since=now - 4000, last_frame_at=now - 4000
    )
    return {
        "one camera": [seen],
        "four cameras": [seen, gone, night, closed],
        "a lost camera": [gone],
        "a paused camera": [closed],
        "a dark camera": [night],
    }[state]


def serve(state: str, stack: ExitStack) -> str:
    """Serve a page with ``state`` until ``stack`` is closed; return its address."""
    if state == "preview":
        daemon = stack.enter_context(DemoDaemon(WebSettings(True, port=0, preview=True)))
        fill_hour(daemon.history, "demo")
        return daemon.web.url
    board, history = StatusBoard(), History()
    board.set_model(ModelStatus("fer-edge-s", "1.4.0", "int8", LABELS))
    telemetry = Telemetry()
    for stage in ("frame", "classify"):
        telemetry.record(stage, 0.005)
    for source in sources(state):
        board.update_source(source)
        board.watch_runtime(source.name, telemetry.snapshot)
    board.watch_sink(lambda: SinkStatus("mqtt broker.local:1883", False, "Connection refused", 1204, 37, 0))
    board.tell(EmotionEvent(EventKind.SOURCE_LOST, "door", time.time() - 134, 0.0, reason=WHY))
    fill_hour(history, "hall")
    board.set_ready()
    return stack.enter_context(open_web(WebSettings(True, port=0), board, history, stale_after_s=600.0)).url


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(browser: Browser, axe: str, state: str) -> None:
    with ExitStack() as stack:
        browser.open(serve(state, stack))
        browser.wait("the cameras", lambda: browser.text(".camera .pill") not in ("", "Opening"))
        browser.wait("the hour", lambda: browser.run("return document.querySelectorAll('#chart rect').length > 0"))
        if state == "preview":
            browser.wait("an image", lambda: browser.run("return document.querySelector('.camera img').naturalWidth"))
        browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        browser.wait("the table", lambda: browser.text("#hour-table tbody") != "")
        browser.wait("the times", lambda: "hole frame" in browser.text("#stages"))
        assert faults(browser, axe) == []


def test_axe_finds_a_fault_that_is_there(browser: Browser, axe: str) -> None:
    browser.open(
        "data:text/html,<html lang=en><title>T</title><main><h1>T</h1><img src=x><p style='color:%23aaa'>pale</p>"
    )
    found = faults(browser, axe)
    assert any(line.startswith("image-alt") for line in found)
    assert any(line.startswith("color-contrast") for line in found)


def test_cards_side_by_side_have_one_height_and_one_layout(tmp_path: Path) -> None:
    with ExitStack() as stack:
        browser = stack.enter_context(Browser(tmp_path, DESKTOP, 900))
        browser.open(serve("four cameras", stack))
        browser.wait("four cameras", lambda: browser.run("return document.querySelectorAll('.camera').length") == 4)
        boxes = browser.run(
            "return [...document.querySelectorAll('.camera')].map((card) => [card.clientHeight, card.clientWidth,"
            " card.querySelector('.facts').offsetTop - card.offsetTop,"
            " card.querySelector('.panel:not([hidden])').offsetTop - card.offsetTop])"
        )
        # A pixel more or less comes from rounding.
        assert all(max(values) - min(values) <= 1 for values in zip(*boxes, strict=True)), boxes
        # Three facts stay apart, and the reason of the outage is one sentence after the other.
        gaps = browser.run(
            "return [...document.querySelectorAll('.camera .facts div + div')].map((fact) =>"
            " fact.getBoundingClientRect().left - fact.previousElementSibling.getBoundingClientRect().right)"
        )
        assert min(gaps) > 8, gaps
        shown = browser.text(".camera:nth-child(2) .outage")
        assert "is the camera switched on? Attempts to reopen: 6." in shown


@pytest.mark.slow
def test_stage_times_are_folded_on_a_phone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = serve("one camera", stack)
        for width, shown in ((PHONE, False), (DESKTOP, True)):
            folder = tmp_path / str(width)
            folder.mkdir()
            with Browser(folder, width, 900) as browser:
                browser.open(url)
                browser.wait("the page", lambda browser=browser: browser.text("#timings summary") == "Time per stage")
                assert ("Whole frame" in browser.text("#stages")) is shown

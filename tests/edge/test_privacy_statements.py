"""The statements of page, status, log and notice about pictures are true for each combination of settings."""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.daemon import running_daemon
from support.processes.edge_command import assert_one_line, fer_edge
from support.web.browser import Browser, browser_is_missing

pytestmark = pytest.mark.skipif(browser_is_missing() is not None, reason=str(browser_is_missing()))
ALL = list(itertools.product((False, True), (False, True), ("events", "aggregate")))
FORBIDDEN = [
    (record, preview, privacy) for record, preview, privacy in ALL if privacy == "aggregate" and record | preview
]
PICTURES_STORED = "Camera images are stored in a film on the device."
NO_PICTURES = "No images are stored."
COUNTS = "Only counts are published, nothing about individuals."


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def config(bundle: Path, record: bool, preview: bool, privacy: str) -> str:
    annotate = 'annotate = "film.webm"' if record else ""
    return f"""
[source]
uris = ["demo"]
realtime = true
[model]
bundle = "{bundle}"
[output]
events = "events.jsonl"
privacy = "{privacy}"
{annotate}
[web]
enabled = true
port = 0
preview = {str(preview).lower()}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("record", "preview", "privacy"), [case for case in ALL if case not in FORBIDDEN])
def test_what_is_said_about_pictures(
    browser: Browser, tiny_bundle: Path, tmp_path: Path, record: bool, preview: bool, privacy: str
) -> None:
    with running_daemon(tmp_path, config(tiny_bundle, record, preview, privacy)) as daemon:
        daemon.wait_for(lambda: "status page at" in daemon.errors() and daemon.count("READY=1"))
        found = re.search(r"status page at (http://127.0.0.1:\d+/)", daemon.errors())
        assert found is not None
        browser.open(found.group(1))
        browser.wait("the page", lambda: browser.text("#privacy") != "")
        banners = browser.text("#pictures"), browser.text("#recording")
        footer = browser.text("#privacy")
        with urllib.request.urlopen(f"{found.group(1)}api/status", timeout=20) as answer:
            status = json.load(answer)
        log = daemon.errors()
        notice = " ".join(fer_edge("notice", "--config", "c.toml", cwd=tmp_path).stdout.split())
        assert daemon.stop() == 0
    # The facts: whether a film is written, and whether the page has pictures.
    assert (tmp_path / "film.webm").exists() == record
    assert (status["recording"], status["preview"]) == (record, preview)
    assert banners[0].startswith("This page shows camera images") == bool(banners[0]) == preview
    assert banners[1].startswith("A film of the people in view is being recorded") == bool(banners[1]) == record
    assert footer == (PICTURES_STORED if record else COUNTS if privacy == "aggregate" else NO_PICTURES)
    assert ("the people in view are recorded in film.webm (output.annotate)" in log) == record
    assert ("it shows the pictures of the cameras (web.preview)" in log) == preview
    assert ("A video with boxes and expressions is recorded." in notice) == record
    assert ("The operator can see the live picture on a web page" in notice) == preview
    assert ("They are not stored and not sent anywhere." in notice) == (not record and not preview)


@pytest.mark.parametrize(("record", "preview", "privacy"), FORBIDDEN)
def test_pictures_and_counts_alone_exclude_each_other(
    tiny_bundle: Path, tmp_path: Path, record: bool, preview: bool, privacy: str
) -> None:
    (tmp_path / "c.toml").write_text(config(tiny_bundle, record, preview, privacy))
    result = fer_edge("run", "--config", "c.toml", cwd=tmp_path)
    assert_one_line(result, 2, 'output.privacy = "aggregate"', "annotate" if record else "web.preview")
    assert not (tmp_path / "film.webm").exists()

"""Text from outside (file names, answers of servers) cannot control the terminal or flood the log."""

from __future__ import annotations

import http.server
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fer_edge.settings.service import WebhookSettings
from fer_edge.sinks.base import Pace
from fer_edge.sinks.event_json import encode_json
from fer_edge.sinks.queued import QueuedSink
from fer_edge.sinks.webhook import Webhook
from fer_edge.system.messages import RepeatedFaults
from support.processes.edge_command import assert_one_line, face_picture, fer_edge
from support.processes.waiting import wait_for
from support.results.events import numbered

EVIL = "\x1b]0;evil\x07\x1b[2J\r\nfer-edge: all is well\x9b31m"


@contextmanager
def answers(*lines: str) -> Iterator[int]:
    """Yield the port of a web server that answers requests with these status lines, in turn."""
    following = itertools.cycle(lines)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.wfile.write(f"HTTP/1.1 {next(following)}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
            self.close_connection = True

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def assert_tame(text: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in text), ascii(text)


def test_a_cameras_reason_phrase_is_escaped(tmp_path: Path) -> None:
    with answers("418 \x1b]0;evil\x07\x1b[2J\x9b31m") as port:
        done = fer_edge("run", f"http://127.0.0.1:{port}/stream", cwd=tmp_path)
    assert_one_line(done, 3, r"the server answered 418 \x1b]0;evil\x07\x1b[2J")
    assert_tame(done.stderr)


def test_names_of_files_are_escaped_in_messages_lines_and_tables(tmp_path: Path, tiny_bundle: Path) -> None:
    missing = fer_edge("run", f"no{EVIL}.mp4", cwd=tmp_path)
    assert_one_line(missing, 2, r"\x1b]0;evil\x07\x1b[2J")
    shown = fer_edge("run", f"no{EVIL}.mp4", "--debug", cwd=tmp_path)
    assert_tame(shown.stderr)
    folder = tmp_path / EVIL
    folder.mkdir()
    import cv2

    cv2.imwrite(str(tmp_path / "face.png"), face_picture())
    shutil.move(tmp_path / "face.png", folder / f"{EVIL}.png")
    table = fer_edge("predict", folder / f"{EVIL}.png", "--bundle", tiny_bundle, cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert_tame(table.stdout)
    assert len(table.stdout.splitlines()) == 2, "a heading and a face"
    assert r"\x1b[2J\r\nfer-edge" in table.stdout
    lines = fer_edge("run", folder, "--bundle", tiny_bundle, cwd=tmp_path)
    assert lines.returncode == 0, lines.stderr
    assert "appeared" in lines.stdout
    assert_tame(lines.stdout + lines.stderr)
    assert not any(line.startswith("fer-edge: all is well") for line in lines.stdout.splitlines())


def test_faults_that_change_each_time_are_counted_and_said_less_and_less(capfd: pytest.CaptureFixture[str]) -> None:
    lines = [f"{code} No" for code in range(430, 450)]
    with answers(*lines) as port:
        url = f"http://127.0.0.1:{port}/"
        sink = QueuedSink(
            Webhook(WebhookSettings(url=url)),
            encode_json,
            "webhook",
            max_queued=1000,
            pace=Pace(live=True, drain_s=0.1),
            max_retry_s=1.0,
        )
        began = time.monotonic()
        for number in range(100):  # each is rejected, with another code
            sink.emit(numbered(number))
            time.sleep(0.04)
        wait_for(lambda: sink.status().dropped == 100)
        took = time.monotonic() - began
        sink.close()
    said = [line for line in capfd.readouterr().err.splitlines() if "rejected an event" in line]
    assert 2 <= len(said) <= 2 + took, "after 0 s, 1 s, 3 s, ..."
    assert "more faults since the last message)" in said[1]


def test_an_output_that_works_now_and_then_is_one_fault() -> None:
    faults, said, ends = RepeatedFaults(), [], 0
    for second in range(0, 3600, 2):
        said += [message] if (message := faults.add(f"fault {second}", float(second))) else []
        ends += faults.ended()
    assert said[0] == "fault 0"
    assert "more faults since the last message)" in said[4]
    assert len(said) == ends < 14
    assert faults.add("fault", 3600.0 + 700) == "fault", "after a long time without one, it is said at once"

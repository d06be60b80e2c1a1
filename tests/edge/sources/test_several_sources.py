"""Several sources at once: each starts when it is open, and none waits for another."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.errors import SourceLostError
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import NamedSource, Opening, first_to_open, open_sources, source_names
from fer_edge.sources.demo.source import DemoSource
from fer_edge.sources.opening import Unopened
from fer_edge.system.opencv_setup import set_up_opencv
from support.cameras.mjpeg_server import MjpegServer, mjpeg_server
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge, lines_of
from support.servers.loopback import free_port, port_of, silent_server

PATIENT = SourceSettings(timeout_s=300)
"""So long that no test waits for it, even on a busy machine."""
HURRIED = SourceSettings(timeout_s=1)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    set_up_opencv()


@pytest.fixture(scope="module")
def server() -> Iterator[MjpegServer]:
    with mjpeg_server() as running:
        yield running


def named(uris: list[str], settings: SourceSettings) -> list[NamedSource]:
    return [NamedSource(name, uri, settings) for name, uri in zip(source_names(uris), uris, strict=True)]


def test_each_is_open_as_soon_as_it_answers(server: MjpegServer) -> None:
    stop = threading.Event()
    told: list[SourceLostError] = []
    with silent_server() as listener, contextlib.ExitStack() as closing:
        dead, silent = f"rtsp://127.0.0.1:{free_port()}/a", f"rtsp://127.0.0.1:{port_of(listener)}/b"
        began = time.monotonic()
        openings = open_sources(named([dead, silent, server.url("stream")], PATIENT))
        for opening in openings:
            closing.callback(opening.close)
        while not (openings[0].settled and openings[2].settled):  # in either order
            assert time.monotonic() - began < PATIENT.timeout_s / 2
            time.sleep(0.02)
        first, left = first_to_open(openings, stop, told.append)
        assert first is not None and first.live
        assert time.monotonic() - began < PATIENT.timeout_s / 2
        assert ["refuses the connection" in str(error) for error in told] == [True]
        assert left == openings[1:]
        assert left[1].wait(stop) is first
        assert not left[0].settled
        stop.set()
        assert left[0].wait(stop) is None
        assert first_to_open(left[:1], stop, told.append) == (None, left[:1])
    assert first.read(0.0) is NoFrame.ENDED


def test_one_that_does_not_answer_is_lost_in_its_time() -> None:
    told: list[SourceLostError] = []
    with silent_server() as listener:
        began = time.monotonic()
        openings = open_sources(named([f"http://127.0.0.1:{port_of(listener)}/b"], HURRIED))
        assert first_to_open(openings, threading.Event(), told.append) == (None, [])
        assert time.monotonic() - began < 60
    assert "no answer from" in str(told[0])


def test_what_hangs_in_its_driver_is_given_up_and_closed_when_it_comes() -> None:
    answer, closed = threading.Event(), threading.Event()

    class Late(DemoSource):
        def close(self) -> None:
            closed.set()

    def open_late() -> FrameSource:
        answer.wait(30)
        return Late(HURRIED)

    opening = Opening("video9", Unopened(open_late), limit_s=0.05)
    with pytest.raises(SourceLostError, match="video9: cannot be opened: it does not answer"):
        opening.wait(threading.Event())
    answer.set()
    assert closed.wait(10)


# As a process


def test_one_dead_source_never_stops_another(tiny_bundle: Path, server: MjpegServer, tmp_path: Path) -> None:
    dead, dying = f"rtsp://127.0.0.1:{free_port()}/live", server.url("short")
    flags = ("--bundle", tiny_bundle, "--max-frames", 60, "--trace", "t.jsonl", "--stats", "s.json")
    result = fer_edge("run", dead, dying, "demo", *flags, cwd=tmp_path)
    assert result.returncode == 3
    reasons = ("refuses the connection", "the stream stopped")
    told = [[reason for reason in reasons if reason in line] for line in result.stderr.splitlines()]
    assert sorted(told) == [[reason] for reason in reasons], result.stderr
    assert "frames" in result.stdout
    seen = [line["source"] for line in lines_of(tmp_path / "t.jsonl")]
    assert seen.count("demo") == 60
    assert 1 <= seen.count("127.0.0.1-2") <= 5
    assert json.loads((tmp_path / "s.json").read_text())["sources"]["demo"]["frames"] == 60


def test_a_silent_source_delays_no_other(tiny_bundle: Path, tmp_path: Path) -> None:
    with silent_server() as listener:
        process = subprocess.Popen(
            command_line(
                "run", f"rtsp://127.0.0.1:{port_of(listener)}/a", "demo", "--bundle", tiny_bundle, "--max-frames", 45
            ),
            cwd=tmp_path,
            env=clean_environment() | {"FER_EDGE_SOURCE_TIMEOUT_S": "60"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "appeared" in process.stdout.readline()
        while "left" not in (line := process.stdout.readline()):
            assert line
        assert process.poll() is None  # the silent one has its time
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert "45 frames" in rest


def test_what_is_refused_is_refused_at_once_beside_a_silent_source(tiny_bundle: Path, tmp_path: Path) -> None:
    with silent_server() as listener:
        silent, flags = f"rtsp://127.0.0.1:{port_of(listener)}/a", ("--bundle", tiny_bundle, "--trace", "t.jsonl")
        # A program that waits for the silent source would exceed the test's time limit.
        patient = {"FER_EDGE_SOURCE_TIMEOUT_S": "3600"}
        typo = fer_edge("run", silent, "nosuchfile.mp4", *flags, cwd=tmp_path, settings=patient)
        assert_one_line(typo, 2, "nosuchfile.mp4: no such file")
        variant = fer_edge("run", silent, *flags, "--variant", "int3", cwd=tmp_path, settings=patient)
        assert_one_line(variant, 4, "int3")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_has_one_form_also_when_only_one_source_is_left(tiny_bundle: Path, tmp_path: Path) -> None:
    dead = f"rtsp://127.0.0.1:{free_port()}/live"
    flags = ("--bundle", tiny_bundle, "--max-frames", 3, "--trace", "t.jsonl", "--stats", "s.json")
    assert fer_edge("run", dead, "demo", *flags, cwd=tmp_path).returncode == 3
    assert [line["source"] for line in lines_of(tmp_path / "t.jsonl")] == ["demo"] * 3
    assert json.loads((tmp_path / "s.json").read_text())["sources"]["demo"]["frames"] == 3


def test_when_all_are_dead_each_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:{free_port()}/", f"rtsp://127.0.0.1:{free_port()}/"]
    result = fer_edge("run", *urls, "--bundle", tiny_bundle, "--trace", "t.jsonl", cwd=tmp_path)
    assert result.returncode == 3
    assert [line.count("refuses the connection") for line in result.stderr.splitlines()] == [1, 1]
    assert list(tmp_path.iterdir()) == []
